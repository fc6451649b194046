"""From a case to a network of streams (``testbed.fluid.fairness``): which link everybody loads, and by how much. Pure.

Links: every host's out and in, every uplink and downlink, and under schemes with grants what each destination grants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from testbed.fluid.case import Case
from testbed.fluid.fairness import Floats, Network
from testbed.fluid.overhead import Overhead, Wire, overhead_of
from testbed.model.oracle import FlowPath
from testbed.model.topology import Host, Topology
from testbed.units import mbps_to_bytes_per_s

Unit = Literal["job", "pair", "flow"]


@dataclass(frozen=True)
class Links:
    """Numbers and names of the links of a topology."""

    topology: Topology

    @cached_property
    def _hosts(self) -> dict[str, int]:
        return {host.name: number for number, host in enumerate(self.topology.hosts)}

    def out(self, host: Host) -> int:
        """Return a host's link to its leaf."""
        return self._hosts[host.name]

    def into(self, host: Host) -> int:
        """Return a leaf's link to a host."""
        return self.topology.fabric.hosts + self._hosts[host.name]

    def up(self, leaf: int, path: int) -> int:
        """Return an uplink."""
        return 2 * self.topology.fabric.hosts + leaf * self.topology.fabric.paths + path

    def down(self, leaf: int, path: int) -> int:
        """Return a downlink; ``path`` names spine and parallel link."""
        return self.up(leaf, path) + self.topology.fabric.leaves * self.topology.fabric.paths

    def grants(self, host: Host) -> int:
        """Return what the destination of a host grants."""
        return self.down(self.topology.fabric.leaves, 0) + self._hosts[host.name]

    @property
    def count(self) -> int:
        """Number of links without grants."""
        return self.down(self.topology.fabric.leaves, 0)

    def capacity(self, overhead: Overhead) -> Floats:
        """Return bytes/s of every link, of grants last."""
        fabric = self.topology.fabric
        host, uplink = mbps_to_bytes_per_s(fabric.host_link_mbps), mbps_to_bytes_per_s(fabric.uplink_mbps)
        uplinks = 2 * fabric.leaves * fabric.paths
        granted = [] if overhead.granted is None else [host * overhead.pacing] * fabric.hosts
        return np.array([host] * (2 * fabric.hosts) + [uplink] * uplinks + granted)

    def name(self, link: int) -> str:
        """Return what a link is called, as in ``testbed.model.topology``."""
        topology, hosts, paths = self.topology, self.topology.fabric.hosts, self.topology.fabric.paths
        if link < 2 * hosts:
            return f"{topology.hosts[link % hosts].name} {'out' if link < hosts else 'in'}"
        if link >= self.count:
            return f"grants for {topology.hosts[link - self.count].name}"
        direction, rest = divmod(link - 2 * hosts, topology.fabric.leaves * paths)
        leaf, path = divmod(rest, paths)
        leaf_name, path_name = topology.leaves[leaf].name, topology.path_name(path)
        return f"{path_name}>{leaf_name}" if direction else f"{leaf_name}>{path_name}"


@dataclass
class _Entries:
    stream: list[int] = field(default_factory=list)
    link: list[int] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)

    def add(self, stream: int, link: int, cost: float) -> None:
        self.stream.append(stream)
        self.link.append(link)
        self.cost.append(cost)


@dataclass(frozen=True)
class Traffic:
    """``sizes``: payload bytes of every stream; ``flows_on``: data flows on each uplink and downlink that has any."""

    network: Network
    sizes: Floats
    flows_on: dict[int, int]
    links: Links

    @property
    def most_flows(self) -> int | None:
        """Return the most flows on one link between leaves; None where every flow uses all."""
        return max(self.flows_on.values(), default=None)

    @property
    def alone_s(self) -> float:
        """Return how long the fullest host link, or its grants, takes for its bytes: links between leaves left out."""
        fabric = self.links.topology.fabric
        network = self.network
        loads = np.bincount(network.link, network.cost * self.sizes[network.stream], len(network.capacity))
        lasts = loads / network.capacity
        return float(max(lasts[: 2 * fabric.hosts].max(), lasts[self.links.count :].max(initial=0.0)))


def traffic_of(case: Case, unit: Unit) -> Traffic:
    """Return the streams of a case: jobs that go in step, pairs, or single flows (in order of pairs)."""
    links = Links(case.topology)
    overhead = overhead_of(case.scheme, case.scenario.fabric, case.scenario.gsp)
    pairs, per_pair = case.pattern.host_pairs(case.hosts), case.scenario.workload.flows_per_hop
    streams, shares, sizes = _streams(case, unit, per_pair)
    entries, flows_on = _Entries(), Counter[int]()
    forward, backward = (None, None) if case.spreads else case.paths
    for index, (src, dst) in enumerate(pairs):
        for flow in range(per_pair):
            stream, share = streams[index][flow], shares[index]
            if not share:
                continue
            there = None if forward is None else forward[index][flow]
            back = None if backward is None else backward[index][flow]
            data, acks = _shared(overhead, share, acks=False), _shared(overhead, share, acks=True)
            _load(entries, links, stream, src, dst, there, data)
            _load(entries, links, stream, dst, src, back, acks)
            if there is not None:
                flows_on.update(_path_links(links, src, dst, there))
    network = Network(
        len(sizes),
        links.capacity(overhead),
        np.array(entries.stream, np.int64),
        np.array(entries.link, np.int64),
        np.array(entries.cost, float),
    )
    return Traffic(network, np.array(sizes, float), dict(flows_on), links)


@dataclass(frozen=True, slots=True)
class _Costs:
    host: float
    fabric: float
    granted: float


def _shared(overhead: Overhead, share: float, *, acks: bool) -> _Costs:
    def of(wire: Wire | None) -> float:
        return 0.0 if wire is None else share * (wire.acks if acks else wire.data)

    return _Costs(of(overhead.host), of(overhead.fabric), of(overhead.granted))


def _streams(case: Case, unit: Unit, per_pair: int) -> tuple[list[list[int]], list[float], list[float]]:
    """Return the stream of each flow of each pair, a flow's bytes per byte of its stream, and sizes of streams."""
    pairs, sizes = case.pattern.pairs, case.sizes
    if unit == "flow":
        numbers = [[index * per_pair + flow for flow in range(per_pair)] for index in range(len(pairs))]
        return numbers, [1.0] * len(pairs), [size / per_pair for size in sizes for _flow in range(per_pair)]
    if unit == "pair":
        return [[index] * per_pair for index in range(len(pairs))], [1 / per_pair] * len(pairs), list(sizes)
    job_of = [case.pattern.job_of(src) for src, _dst in pairs]
    most = [0.0] * len(case.pattern.jobs)
    for job, size in zip(job_of, sizes, strict=True):
        most[job] = max(most[job], size)
    shares = [size / most[job] / per_pair if most[job] else 0.0 for job, size in zip(job_of, sizes, strict=True)]
    return [[job] * per_pair for job in job_of], shares, most


def _path_links(links: Links, src: Host, dst: Host, path: FlowPath) -> tuple[int, int]:
    spine, _link = links.topology.path_spine_link(path.up)
    return links.up(src.leaf, path.up), links.down(dst.leaf, links.topology.path_id(spine, path.down_link))


def _load(
    entries: _Entries, links: Links, stream: int, src: Host, dst: Host, path: FlowPath | None, costs: _Costs
) -> None:
    """Add what goes from ``src`` to ``dst``; ``path`` None: within a leaf, or over all paths evenly."""
    entries.add(stream, links.out(src), costs.host)
    entries.add(stream, links.into(dst), costs.host)
    if costs.granted:
        entries.add(stream, links.grants(dst), costs.granted)
    if src.leaf == dst.leaf:
        return
    if path is not None:
        for link in _path_links(links, src, dst, path):
            entries.add(stream, link, costs.fabric)
        return
    paths = range(links.topology.fabric.paths)
    for link in (*(links.up(src.leaf, one) for one in paths), *(links.down(dst.leaf, one) for one in paths)):
        entries.add(stream, link, costs.fabric / len(paths))


def bottleneck(traffic: Traffic, rates: Sequence[float] | Floats) -> str:
    """Return the name of the link that is fullest where streams move at ``rates``."""
    loads = traffic.network.loads(np.asarray(rates, float)) / traffic.network.capacity
    return traffic.links.name(int(np.argmax(loads)))
