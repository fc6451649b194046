"""Which host each rank runs on, and the flows of a ring between them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from testbed.model.scenario import Placement
from testbed.model.topology import Host, Topology

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


def ring_flows(
    hosts: tuple[Host, ...], *, flows_per_hop: int, demand_bytes_per_hop: int, rng: Random
) -> tuple[tuple[Flow, ...], ...]:
    """Return the TCP flows of each ring hop, ``[rank][flow]``; rank r sends to rank (r + 1) % n.

    Source ports are drawn from ``rng`` so that a seed fixes the 5-tuples, and with them what ECMP does.
    """
    hops = []
    for rank, src in enumerate(hosts):
        peer = (rank + 1) % len(hosts)
        ports = rng.sample(SOURCE_PORTS, flows_per_hop)
        share = demand_bytes_per_hop // flows_per_hop
        hops.append(tuple(Flow(src.ip, hosts[peer].ip, TCP, port, FIRST_RANK_PORT + peer, share) for port in ports))
    return tuple(hops)
