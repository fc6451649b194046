"""Measured load: from cumulative counters to fractions of link rates and bytes per second of flows. Pure.

Ports: the difference of the last two polls, over the difference of the port's age as the switch
reports it, so that a late answer does not look like a burst. Flows: Open vSwitch brings flow counters
up to date only about twice a second, so their rate is taken over ``FLOW_WINDOW_S``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal, NamedTuple

from testbed.gse.fractions import MeasuredLoad
from testbed.gse.policy import FlowKey, PortCounter
from testbed.model.topology import Topology
from testbed.units import mbps_to_bytes_per_s

FLOW_WINDOW_S = 1.5


class LinkId(NamedTuple):
    """One direction of a leaf-spine link."""

    direction: Literal["up", "down"]  # up: leaf to spine
    leaf: int
    path: int


def links_of_path(src_leaf: int, dst_leaf: int, path: int) -> tuple[LinkId, LinkId]:
    """Return the uplink and the downlink a frame crosses."""
    return (LinkId("up", src_leaf, path), LinkId("down", dst_leaf, path))


class LoadMonitor:
    """Utilisation of every leaf-spine link direction and rates of flows, as of the last poll."""

    def __init__(self, topology: Topology) -> None:
        self._rate_bytes_per_s = mbps_to_bytes_per_s(topology.fabric.uplink_mbps)
        self._names: dict[LinkId, str] = {}
        self._link_of_port: dict[tuple[int, int], LinkId] = {}
        for leaf in topology.leaves:
            for path in range(topology.fabric.paths):
                spine, link = topology.path_spine_link(path)
                lower, upper = topology.link_ends(leaf.index, spine, link)
                up, down = LinkId("up", leaf.index, path), LinkId("down", leaf.index, path)
                self._link_of_port[leaf.dpid, lower.port] = up
                self._link_of_port[topology.spines[spine].dpid, upper.port] = down
                self._names[up], self._names[down] = f"{lower.intf}>{upper.intf}", f"{upper.intf}>{lower.intf}"
        self._counters: dict[LinkId, PortCounter] = {}
        self._utilization: dict[LinkId, MeasuredLoad] = {}
        self._flows: dict[FlowKey, deque[tuple[float, int]]] = {}

    def record(
        self, port_tx: Mapping[tuple[int, int], PortCounter], flow_bytes: Mapping[FlowKey, int], now_s: float
    ) -> None:
        """Take in one poll. Counters that went backwards (a restarted switch) start anew."""
        for port, counter in port_tx.items():
            link = self._link_of_port.get(port)
            if link is not None:
                self._record_port(link, counter)
        for key, size_bytes in flow_bytes.items():
            samples = self._flows.setdefault(key, deque())
            if samples and size_bytes < samples[-1][1]:
                samples.clear()
            samples.append((now_s, size_bytes))
            while len(samples) > 2 and now_s - samples[1][0] >= FLOW_WINDOW_S:
                samples.popleft()

    def _record_port(self, link: LinkId, counter: PortCounter) -> None:
        before = self._counters.get(link)
        self._counters[link] = counter
        if before is None or counter.age_s <= before.age_s or counter.tx_bytes < before.tx_bytes:
            self._utilization.pop(link, None)
            return
        rate = (counter.tx_bytes - before.tx_bytes) / (counter.age_s - before.age_s)
        self._utilization[link] = MeasuredLoad(rate / self._rate_bytes_per_s)

    def utilization(self, link: LinkId) -> MeasuredLoad:
        """Return the link's load as a fraction of its rate; 0 until two polls have seen it."""
        return self._utilization.get(link, MeasuredLoad(0.0))

    def measured(self) -> dict[LinkId, MeasuredLoad]:
        """Return the utilisation of every link measured so far."""
        return dict(self._utilization)

    def named(self) -> dict[str, float]:
        """Return ``measured`` by direction name, e.g. ``l1-eth5>s1-eth1``."""
        return {self._names[link]: round(value, 4) for link, value in sorted(self._utilization.items())}

    def flow_fraction(self, key: FlowKey) -> MeasuredLoad | None:
        """Return a flow's rate as a fraction of a leaf-spine link's; None before two polls ``FLOW_WINDOW_S`` apart."""
        samples = self._flows.get(key)
        if not samples or samples[-1][0] - samples[0][0] < FLOW_WINDOW_S * 0.9:
            return None
        (first_s, first_bytes), (last_s, last_bytes) = samples[0], samples[-1]
        return MeasuredLoad((last_bytes - first_bytes) / (last_s - first_s) / self._rate_bytes_per_s)

    def forget_flow(self, key: FlowKey) -> None:
        """Drop what is known about a flow that is gone."""
        self._flows.pop(key, None)

    def name(self, link: LinkId) -> str:
        """Return the name of a link direction."""
        return self._names[link]
