"""Which host each rank runs on, and the flows between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import TYPE_CHECKING

from testbed.model.topology import Host, Topology

if TYPE_CHECKING:  # GSOS needs flows and nothing of workloads
    from testbed.model.workload_spec import Placement

TCP = 6
UDP = 17
FIRST_RANK_PORT = 20_000  # a rank listens on FIRST_RANK_PORT + rank
SOURCE_PORTS = range(32_768, 60_999)  # Linux's default ephemeral range


@dataclass(frozen=True)
class Flow:
    """A transport flow by its 5-tuple; ``demand_bytes`` is what the job says it will send (0: unknown)."""

    src_ip: str
    dst_ip: str
    proto: int
    src_port: int
    dst_port: int
    demand_bytes: int = 0

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """The 5-tuple, the identity of the flow."""
        return (self.src_ip, self.dst_ip, self.proto, self.src_port, self.dst_port)


def place_ranks(topology: Topology, ranks: int, placement: Placement, rng: Random) -> tuple[Host, ...]:
    """Return the host of each rank.

    ``cross_leaf`` deals ranks out leaf by leaf, so that every ring hop crosses the spine;
    ``leaf_local`` fills a leaf before the next; ``random`` draws ``ranks`` hosts from ``rng``.
    """
    hosts = topology.hosts
    if placement == "random":
        return tuple(rng.sample(hosts, ranks))
    if placement == "leaf_local":
        return hosts[:ranks]
    leaves, per_leaf = topology.fabric.leaves, topology.fabric.hosts_per_leaf
    dealt = [hosts[leaf * per_leaf + index] for index in range(per_leaf) for leaf in range(leaves)]
    return tuple(dealt[:ranks])


def pair_flows(
    hosts: Sequence[Host],
    pairs: Sequence[tuple[int, int]],
    *,
    flows_per_pair: int,
    demand_bytes: int | Sequence[int],
    rng: Random,
) -> tuple[tuple[Flow, ...], ...]:
    """Return the TCP flows of each (source, destination) pair of ranks, ``[pair][flow]``; pairs are ordered by source.

    ``demand_bytes`` is what each pair will send, one number for all or one for each. Source ports are drawn from
    ``rng`` so that a seed fixes the 5-tuples, and with them what ECMP does; no port of a host is used twice.
    """
    flows: list[tuple[Flow, ...]] = []
    demands = [demand_bytes] * len(pairs) if isinstance(demand_bytes, int) else demand_bytes
    for source, own in groupby(pairs, key=lambda pair: pair[0]):
        peers = [peer for _source, peer in own]
        ports = rng.sample(SOURCE_PORTS, flows_per_pair * len(peers))
        for index, peer in enumerate(peers):
            its_ports = ports[index * flows_per_pair : (index + 1) * flows_per_pair]
            ends = (hosts[source].ip, hosts[peer].ip, TCP)
            share = demands[len(flows)] // flows_per_pair
            flows.append(tuple(Flow(*ends, port, FIRST_RANK_PORT + peer, share) for port in its_ports))
    return tuple(flows)
