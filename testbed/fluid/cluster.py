"""A training cluster too large to emulate: two or three tiers of switches at native rates, as asked for. Pure.

Nodes with NICs in groups of ``nodes_per_leaf``. ``rail``: NIC k of all nodes of a group goes to leaf k of that group,
so that a leaf is a rail's; ``node``: all NICs of a node go to one leaf. Each leaf has one uplink to each of its pod's
spines; with three tiers spine s of each pod has one uplink to each core of plane s, and a path between pods is a plane
and one of its cores. With two tiers there is one pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pydantic import Field, model_validator

from testbed.fields import Count, Mistakes, Spec

MOST_PORTS: Final = 1 << 20
MOST_UPLINKS: Final = 4096  # of a switch, as many as it may have ports downwards
# Quotients of rates near 0, or without end, are no numbers. The slowest Ethernet there was has 1 Mbit/s (1BASE5), and
# the fastest links there are have a tenth of the most, or less.
LEAST_GBPS, MOST_GBPS = 0.001, 10_000.0
LEAST_GBYTES_PER_S, MOST_GBYTES_PER_S = 0.001, 10_000.0
LEAST_OVERSUBSCRIPTION, MOST_OVERSUBSCRIPTION = 1 / 64, 64.0
# Ethernet 14, FCS 4, preamble 8, gap 12, IPv4 20, UDP 8, BTH 12, ICRC 4 (InfiniBand Architecture, annex A17, RoCEv2)
ROCE_HEADER_BYTES: Final = 82


class ClusterSpec(Spec):
    """Raises ``Mistakes`` with all broken rules. Rates are those of links, preamble and gap included."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")
    tiers: Literal[2, 3] = Field(2, description="leaf and spine, or leaf, spine and core")
    nodes: Count = Field(ge=2, le=MOST_PORTS, description="machines")
    gpus_per_node: Count = Field(8, ge=1, le=64)
    nics_per_node: Count = Field(8, ge=1, le=64)
    nic_gbps: float = Field(200, ge=LEAST_GBPS, le=MOST_GBPS, description="rate of a NIC, Gbit/s")
    link_gbps: float = Field(400, ge=LEAST_GBPS, le=MOST_GBPS, description="rate of a link between switches, Gbit/s")
    wiring: Literal["rail", "node"] = Field("rail", description="a leaf per rail of a group of nodes, or per nodes")
    nodes_per_leaf: Count = Field(64, ge=1, le=4096, description="nodes of a group")
    oversubscription: float = Field(
        1.0,
        ge=LEAST_OVERSUBSCRIPTION,
        le=MOST_OVERSUBSCRIPTION,
        description="rate of a leaf's NIC ports over that of its uplinks; uplinks are whole",
    )
    leaves_per_pod: Count = Field(32, ge=1, le=4096, description="three tiers: leaves of a pod")
    core_oversubscription: float = Field(
        1.0,
        ge=LEAST_OVERSUBSCRIPTION,
        le=MOST_OVERSUBSCRIPTION,
        description="three tiers: rate of a spine's leaf ports over that of its core ports",
    )
    nvlink_gbytes_per_s: float = Field(
        200,
        ge=LEAST_GBYTES_PER_S,
        le=MOST_GBYTES_PER_S,
        description="of an accelerator inside its node, one direction, GB/s",
    )
    payload_bytes: Count = Field(4096, ge=256, le=9000, description="payload of a full RoCE packet (path MTU)")

    @property
    def leaves_per_group(self) -> int:
        """Leaves that a group of nodes shares."""
        return self.nics_per_node if self.wiring == "rail" else 1

    @property
    def leaf_ports(self) -> int:
        """NICs on a leaf."""
        return self.nodes_per_leaf * (1 if self.wiring == "rail" else self.nics_per_node)

    @property
    def groups(self) -> int:
        """Groups of nodes; the last may not be full."""
        return -(-self.nodes // self.nodes_per_leaf)

    @property
    def leaves(self) -> int:
        """Leaf switches."""
        return self.groups * self.leaves_per_group

    @property
    def spines(self) -> int:
        """Spines of a pod, one per uplink of a leaf."""
        return round(self.leaf_ports * self.nic_gbps / self.link_gbps / self.oversubscription)

    @property
    def pods(self) -> int:
        """Pods; the last may not be full."""
        return 1 if self.tiers == 2 else -(-self.leaves // self.leaves_per_pod)

    @property
    def cores(self) -> int:
        """Cores of a plane, one per uplink of a spine; 0 with two tiers."""
        return 0 if self.tiers == 2 else round(self.leaves_per_pod / self.core_oversubscription)

    @property
    def gpus(self) -> int:
        """Accelerators."""
        return self.nodes * self.gpus_per_node

    @model_validator(mode="after")
    def _fits_together(self) -> ClusterSpec:
        mistakes = []
        if self.gpus_per_node % self.nics_per_node:
            mistakes.append(
                f"nics_per_node={self.nics_per_node} with gpus_per_node={self.gpus_per_node}; expected a divisor"
            )
        if self.nodes * self.nics_per_node > MOST_PORTS:
            mistakes.append(f"nodes x nics_per_node={self.nodes * self.nics_per_node}; expected at most {MOST_PORTS}")
        uplinks = self.leaf_ports * self.nic_gbps / self.link_gbps / self.oversubscription
        if not _can_be_uplinks(uplinks):
            mistakes.append(
                f"oversubscription={self.oversubscription:g}: {uplinks:g} uplinks of {self.link_gbps:g} Gbit/s for "
                f"{self.leaf_ports} ports of {self.nic_gbps:g}; expected a whole number, 1 to {MOST_UPLINKS}"
            )
        cores = self.leaves_per_pod / self.core_oversubscription
        if self.tiers == 3 and not _can_be_uplinks(cores):
            mistakes.append(
                f"core_oversubscription={self.core_oversubscription:g}: {cores:g} uplinks for a spine of "
                f"{self.leaves_per_pod} leaves; expected a whole number, 1 to {MOST_UPLINKS}"
            )
        if self.tiers == 3 and self.leaves_per_pod % self.leaves_per_group:
            mistakes.append(
                f"leaves_per_pod={self.leaves_per_pod}; expected a multiple of the {self.leaves_per_group} leaves that "
                "nodes share"
            )
        if mistakes:
            raise Mistakes(mistakes)
        return self


def _can_be_uplinks(number: float) -> bool:
    """Return whether a switch can have so many: a whole number that is not beyond every switch."""
    return 1 <= round(number) <= MOST_UPLINKS and abs(number - round(number)) <= 1e-9


# "harbin_sized" has the number of accelerators published for China Mobile's Harbin cluster, more than 18,000; how
# those are connected is not published, so all else about it is an assumption of ours.
CLUSTERS: Final[Mapping[str, ClusterSpec]] = MappingProxyType(
    {
        cluster.name: cluster
        for cluster in (
            ClusterSpec(name="harbin_sized", tiers=3, nodes=2304),
            ClusterSpec(name="harbin_sized_4_to_1", tiers=3, nodes=2304, core_oversubscription=4),
            ClusterSpec(name="rails_2k", nodes=256, link_gbps=400, nic_gbps=400, nvlink_gbytes_per_s=450),
            ClusterSpec(name="one_nic", nodes=256, nics_per_node=1, nodes_per_leaf=32, link_gbps=200),
        )
    }
)
