"""Rings of a job on a cluster: their rates, and how long collectives made of them take. Pure, numpy.

Nothing here is as long as the number of steps or transfers: all hops of a ring move at one rate for as long as it
lasts, so a ring is one stream (``testbed.fluid.fairness``), and what is counted is connections per link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from testbed.fluid.cluster import ROCE_HEADER_BYTES, ClusterSpec
from testbed.fluid.fairness import Floats, Ints, Network, max_min
from testbed.fluid.job import Hops, Order, Ways, hashed_ways, hops_of, node_order, placed_ways, pods_of
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.wire import OVERHEAD_BYTES

ClusterScheme = Literal["ecmp", "gse1", "gse2"]
CLUSTER_SCHEMES: Final[tuple[ClusterScheme, ...]] = ("ecmp", "gse1", "gse2")
PACING: Final[float] = Profile().pacing
GBPS_TO_BYTES_PER_S: Final = 1e9 / 8
# What is held for each connection at once, as measured, and a tenth more: arrays of its ends; of links it is counted
# on, each kind of them (up and down, with three tiers twice), or of all as one; the objects it is coloured as (gse1).
ENDS_BYTES: Final = 80
LINK_BYTES: Final = 115
EVEN_BYTES: Final = 70
EDGE_BYTES: Final = 220
COLOUR_BYTES: Final = 8  # of a leaf, each way
UNEVENNESS: Final = 2  # of connections over leaves: the fullest leaf decides how many colours all have


@dataclass(frozen=True, slots=True, kw_only=True)
class RingRates:
    """Payload bytes/s of each ring, one per NIC of a node. ``most_flows``: on one link; None: spread over all.

    ``limit``: what a NIC or the fullest cut allows if filled evenly, payload bytes/s without GSE2.0's headers.
    ``most_flows_evenly``: on a link if all were spread evenly. ``bottleneck``: the kind of the fullest link.
    """

    rates: Floats
    limit: float
    most_flows: int | None
    most_flows_evenly: float
    bottleneck: str

    @property
    def slowest(self) -> float:
        """Return the rate of the slowest ring: each has an equal part of the data."""
        return float(self.rates.min())


@lru_cache(maxsize=4096)
def ring_rates(
    cluster: ClusterSpec, nodes: int, scheme: ClusterScheme, *, order: Order, flows: int, seed: int
) -> RingRates:
    """Return the rates of a job's rings on so many nodes, two or more. Raises ValueError for more than there are."""
    if not 2 <= nodes <= cluster.nodes:
        raise ValueError(f"{nodes} nodes, expected 2..{cluster.nodes}")
    hops = hops_of(cluster, node_order(cluster, nodes, order, seed), flows)
    header = ROCE_HEADER_BYTES + (OVERHEAD_BYTES if scheme == "gse2" else 0)
    cost = (cluster.payload_bytes + header) / cluster.payload_bytes
    plain = (cluster.payload_bytes + ROCE_HEADER_BYTES) / cluster.payload_bytes
    even = _even_parts(cluster, hops)
    nic = _nic_part(cluster, hops)
    limit = float(max_min(_network([nic, *even], plain, hops.ring.max() + 1)).min())
    if scheme == "gse2":
        # destinations grant for their NICs, in bytes of what is inside the containers
        granted = _Part("grants", nic.capacity * PACING, nic.ring, nic.link, nic.weight * plain / cost)
        parts = [nic, granted, *even]
        most = None
    else:
        ways = hashed_ways(cluster, hops, seed) if scheme == "ecmp" else placed_ways(cluster, hops)
        pathed = _pathed_parts(cluster, hops, ways)
        parts, most = [nic, *pathed], max((part.most for part in pathed), default=0)
    network = _network(parts, cost, hops.ring.max() + 1)
    rates = max_min(network)
    return RingRates(
        rates=rates,
        limit=limit,
        most_flows=most,
        most_flows_evenly=max((part.evenly for part in even), default=0.0),
        bottleneck=_fullest(parts, network, rates),
    )


def memory_bytes(cluster: ClusterSpec, nodes: int, scheme: ClusterScheme, flows: int) -> int:
    """Return about how much memory ``ring_rates`` takes of a job on so many nodes."""
    connections = nodes * cluster.nics_per_node * flows
    counting = EVEN_BYTES if scheme == "gse2" else LINK_BYTES * (4 if cluster.tiers == 3 else 2)
    if scheme == "gse1":  # first places, then counts
        rows = max(min(cluster.leaves, connections) * cluster.spines, cluster.pods * cluster.cores)
        colours = 2 * (UNEVENNESS * connections + rows)
        return connections * ENDS_BYTES + max(connections * counting, connections * EDGE_BYTES + colours * COLOUR_BYTES)
    return connections * (ENDS_BYTES + counting)


@dataclass(frozen=True)
class _Part:
    """Links of one kind: ring ``ring[e]`` puts ``weight[e]`` of its hop's bytes on link ``link[e]``."""

    kind: str
    capacity: Floats
    ring: Ints
    link: Ints
    weight: Floats
    most: int = 0  # connections on one of these links
    evenly: float = 0.0


def _nic_part(cluster: ClusterSpec, hops: Hops) -> _Part:
    rings = np.arange(int(hops.ring.max()) + 1)
    return _Part("NICs", np.full(len(rings), cluster.nic_gbps * GBPS_TO_BYTES_PER_S), rings, rings, np.ones(len(rings)))


def _pathed_parts(cluster: ClusterSpec, hops: Hops, ways: Ways) -> list[_Part]:
    crossing = hops.crossing()
    ring, src, dst = hops.ring[crossing], hops.src_leaf[crossing], hops.dst_leaf[crossing]
    rate, spines, cores = cluster.link_gbps * GBPS_TO_BYTES_PER_S, cluster.spines, cluster.cores
    leaf_links = cluster.leaves * spines
    parts = [
        _counted("uplinks", rate, leaf_links, ring, src * spines + ways.spine, hops.flows),
        _counted("downlinks", rate, leaf_links, ring, dst * spines + ways.spine, hops.flows),
    ]
    over = ways.core >= 0
    for kind, ends in (("spines' uplinks", src), ("cores' downlinks", dst)):
        if over.any():
            spine = pods_of(cluster, ends[over]) * spines + ways.spine[over]
            links = cluster.pods * spines * cores
            parts.append(_counted(kind, rate, links, ring[over], spine * cores + ways.core[over], hops.flows))
    return parts


def _counted(kind: str, rate: float, links: int, ring: Ints, link: Ints, flows: int) -> _Part:
    """Count connections of each ring on each link; links nobody uses are left out."""
    if not len(link):
        return _Part(kind, np.zeros(0), ring, link, np.zeros(0))
    keys, counts = np.unique(ring * links + link, return_counts=True)
    used, numbers = np.unique(keys % links, return_inverse=True)
    most = int(np.bincount(numbers, counts).max())
    return _Part(kind, np.full(len(used), rate), keys // links, numbers.astype(np.int64), counts / flows, most)


def _even_parts(cluster: ClusterSpec, hops: Hops) -> list[_Part]:
    """Return all links of a switch upwards, or down to it, as one."""
    crossing = hops.crossing()
    ring, src, dst = hops.ring[crossing], hops.src_leaf[crossing], hops.dst_leaf[crossing]
    src_pod, dst_pod = pods_of(cluster, src), pods_of(cluster, dst)
    over = src_pod != dst_pod
    rate, pod_links = cluster.link_gbps * GBPS_TO_BYTES_PER_S, cluster.spines * cluster.cores
    found = []
    for kind, links, ends, who in (
        ("uplinks", cluster.spines, src, ring),
        ("downlinks", cluster.spines, dst, ring),
        ("spines' uplinks", pod_links, src_pod[over], ring[over]),
        ("cores' downlinks", pod_links, dst_pod[over], ring[over]),
    ):
        if len(ends):
            part = _counted(kind, rate * links, int(ends.max()) + 1, who, ends, hops.flows)
            found.append(_Part(kind, part.capacity, part.ring, part.link, part.weight, part.most, part.most / links))
    return found


def _network(parts: Sequence[_Part], cost: float, rings: int) -> Network:
    offsets = np.cumsum([0, *(len(part.capacity) for part in parts)])
    return Network(
        int(rings),
        np.concatenate([part.capacity for part in parts]),
        np.concatenate([part.ring for part in parts]),
        np.concatenate([part.link + offset for part, offset in zip(parts, offsets, strict=False)]),
        np.concatenate([part.weight for part in parts]) * cost,
    )


def _fullest(parts: Sequence[_Part], network: Network, rates: Floats) -> str:
    fullest = int(np.argmax(network.loads(rates) / network.capacity))
    ends = np.cumsum([len(part.capacity) for part in parts])
    return parts[int(np.searchsorted(ends, fullest, side="right"))].kind
