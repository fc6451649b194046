"""The fabric of a scenario, validated. No I/O, no machine knowledge."""

from __future__ import annotations

from pydantic import Field, model_validator

from testbed.fields import Count, Mistakes, SizeBytes, Spec
from testbed.units import GIB, KIB
from testbed.wire import frame_bytes

MAX_SWITCHES_PER_TIER = 255  # dpid 0x1LL / 0x2SS and the address 10.0.LEAF.PORT
MAX_HOSTS_PER_LEAF = 254
MAX_HOSTS = 4096  # with MAX_LINKS: far beyond what one machine emulates, and arithmetic on it takes seconds, not hours
MAX_LINKS = 16_384  # between leaves and spines


class FabricSpec(Spec):
    """A two-tier leaf-spine fabric. Rates count Ethernet frames without FCS (see testbed.wire)."""

    leaves: Count = Field(4, ge=1, le=MAX_SWITCHES_PER_TIER, description="number of leaf switches (GSP)")
    spines: Count = Field(4, ge=1, le=MAX_SWITCHES_PER_TIER, description="number of spine switches (GSF)")
    hosts_per_leaf: Count = Field(4, ge=1, le=MAX_HOSTS_PER_LEAF, description="hosts on each leaf")
    links_per_pair: Count = Field(1, ge=1, le=16, description="parallel links between each leaf and each spine")
    link_rate_mbps: float = Field(10.0, gt=0, le=100_000, description="rate of every link, Mbit/s")
    host_rate_mbps: float | None = Field(
        None, gt=0, le=100_000, description="rate of host links, Mbit/s; unset: link_rate_mbps"
    )
    uplink_rate_mbps: float | None = Field(
        None, gt=0, le=100_000, description="rate of leaf-spine links, Mbit/s; unset: link_rate_mbps"
    )
    mtu_bytes: Count = Field(9000, ge=576, le=9216, description="IP MTU of every interface")
    queue_bytes: SizeBytes = Field(
        256 * KIB,
        ge=2048,
        le=GIB,
        description="queue limit of every switch port, bytes waiting to be sent; hosts hold a thousand frames",
    )
    delay_ms: float | None = Field(
        None, ge=0, le=10_000, description="one-way delay added to every link; needs sch_netem"
    )
    loss_fraction: float | None = Field(None, ge=0, lt=1, description="random loss on every link; needs sch_netem")
    ecn_threshold_bytes: SizeBytes | None = Field(
        None, ge=1500, le=GIB, description="mark ECN above this backlog; needs sch_red"
    )
    priority_band: bool = Field(
        False, description="IPv4 with DSCP 32 (CS4) or more is served first, by hosts and switches; needs sch_htb"
    )

    @property
    def host_link_mbps(self) -> float:
        """Rate of a host link in Mbit/s."""
        return self.link_rate_mbps if self.host_rate_mbps is None else self.host_rate_mbps

    @property
    def uplink_mbps(self) -> float:
        """Rate of a leaf-spine link in Mbit/s."""
        return self.link_rate_mbps if self.uplink_rate_mbps is None else self.uplink_rate_mbps

    @property
    def paths(self) -> int:
        """Number of parallel paths between two leaves."""
        return self.spines * self.links_per_pair

    @property
    def hosts(self) -> int:
        """Number of hosts in the fabric."""
        return self.leaves * self.hosts_per_leaf

    @model_validator(mode="after")
    def _can_be_counted(self) -> FabricSpec:
        links = self.leaves * self.paths
        mistakes = [
            f"{product}={number}; expected at most {most}"
            for product, number, most in (
                ("leaves x hosts_per_leaf", self.hosts, MAX_HOSTS),
                ("leaves x spines x links_per_pair", links, MAX_LINKS),
            )
            if number > most
        ]
        if self.priority_band and self.ecn_threshold_bytes is not None:
            mistakes.append(
                f"priority_band with ecn_threshold_bytes={self.ecn_threshold_bytes}; expected one of them: a queue "
                "that marks has one band"
            )
        if mistakes:
            raise Mistakes(mistakes)
        return self

    @model_validator(mode="after")
    def _queue_holds_frames(self) -> FabricSpec:
        if self.queue_bytes < 2 * frame_bytes(self.mtu_bytes):
            raise ValueError(
                f"queue_bytes={self.queue_bytes} holds less than two frames of mtu_bytes={self.mtu_bytes}; "
                f"expected >= {2 * frame_bytes(self.mtu_bytes)}"
            )
        return self
