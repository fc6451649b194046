"""When which host sends how much to which, beside the workload: Poisson flows and bursts, by a seed. Pure.

Times count from when the program that sends is told to start.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Literal

from testbed.model.cross_spec import BurstSpec, HostChoice, PoissonSpec
from testbed.model.fabric_spec import FabricSpec
from testbed.model.flow_sizes import draw_bytes
from testbed.model.scenario import Scenario
from testbed.model.topology import Host
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import (
    ETHERNET_HEADER_BYTES,
    IPV4_HEADER_BYTES,
    TCP_HEADER_BYTES,
    TCP_TIMESTAMP_OPTION_BYTES,
    tcp_payload_bytes,
    tcp_payload_fraction,
)

Kind = Literal["poisson", "burst"]
HEADERS_BYTES = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES + TCP_TIMESTAMP_OPTION_BYTES


@dataclass(frozen=True, slots=True)
class CrossFlow:
    """One flow: ``burst`` counts from 0, None for Poisson flows."""

    due_s: float
    kind: Kind
    burst: int | None
    src: str
    dst: str
    size_bytes: int


def chosen(choice: HostChoice | Sequence[str], hosts: Sequence[Host], ranks: Sequence[Host]) -> list[Host]:
    """Return the hosts meant, in the fabric's order."""
    with_rank = {host.name for host in ranks}
    if choice == "all":
        return list(hosts)
    if choice in ("ranks", "others"):
        return [host for host in hosts if (host.name in with_rank) == (choice == "ranks")]
    return [host for host in hosts if host.name in choice]


def flow_rate_per_s(spec: PoissonSpec, fabric: FabricSpec) -> float:
    """Return how many flows a host begins in a second, on average, for its frames to be ``load`` of its link."""
    payload_bytes_per_s = mbps_to_bytes_per_s(fabric.host_link_mbps) * tcp_payload_fraction(fabric.mtu_bytes)
    return spec.load * payload_bytes_per_s / spec.mean_bytes


def poisson_flows(spec: PoissonSpec, fabric: FabricSpec, hosts: Sequence[Host], rng: Random) -> Iterator[CrossFlow]:
    """Yield flows without end: one Poisson process of all ``hosts``; sender and receiver evenly drawn.

    With ``partners`` other_leaf receivers are on another leaf than their sender. Raises ValueError when a host has no
    receiver.
    """
    possible = {
        src.name: [dst.name for dst in hosts if dst is not src and (spec.partners == "any" or dst.leaf != src.leaf)]
        for src in hosts
    }
    lonely = [name for name, found in possible.items() if not found]
    if lonely or not hosts:
        raise ValueError(f"{', '.join(lonely) or 'nobody'} has no receiver")
    rate_per_s, now_s = len(hosts) * flow_rate_per_s(spec, fabric), 0.0
    while True:
        now_s += rng.expovariate(rate_per_s)
        src = rng.choice(hosts).name
        dst = rng.choice(possible[src])
        yield CrossFlow(now_s, "poisson", None, src, dst, draw_bytes(spec.points, rng, spec.size_scale))


def burst_flows(spec: BurstSpec, senders: Sequence[str]) -> Iterator[CrossFlow]:
    """Yield bursts without end. All flows of one begin together; a sender's bytes add up to ``size_bytes``."""
    storage = spec.storage
    for number in count():
        due_s = spec.first_s + number * spec.period_s
        for index, src in enumerate(senders):
            targets = storage if spec.stripe else (storage[(index + number) % len(storage)],)
            for place, dst in enumerate(targets):
                size = spec.size_bytes * (place + 1) // len(targets) - spec.size_bytes * place // len(targets)
                if size:
                    yield CrossFlow(due_s, "burst", number, src, dst, size)


def seeded_flows(scenario: Scenario, hosts: Sequence[Host], ranks: Sequence[Host], seed: int) -> Iterator[CrossFlow]:
    """Yield all flows of a run by when they are due, without end; the same for every scheme of a seed."""
    cross = scenario.cross_traffic
    sources: list[Iterator[CrossFlow]] = []
    if cross.poisson is not None:
        senders = chosen(cross.poisson.hosts, hosts, ranks)
        sources.append(poisson_flows(cross.poisson, scenario.fabric, senders, Random(f"{seed}/poisson")))
    if cross.bursts is not None:
        writers = [h.name for h in chosen(cross.bursts.senders, hosts, ranks) if h.name not in cross.bursts.storage]
        sources.append(burst_flows(cross.bursts, writers))
    return heapq.merge(*sources, key=lambda flow: flow.due_s)


def ideal_s(fabric: FabricSpec, src: Host, dst: Host, size_bytes: int) -> float:
    """Return how long a flow takes on an empty fabric: no wait but for links, no handshake, no processing.

    Its frames leave at the rate of the slowest link on the way, and the last one is stored and forwarded by every
    switch. With an empty token bucket: a link that was idle lets a frame or two pass at once, so short flows can be
    faster here than on wires of this rate.
    """
    frames = -(-size_bytes // tcp_payload_bytes(fabric.mtu_bytes))
    wire_bytes = size_bytes + frames * HEADERS_BYTES
    last_bytes = size_bytes - (frames - 1) * tcp_payload_bytes(fabric.mtu_bytes) + HEADERS_BYTES
    rates = [fabric.host_link_mbps, fabric.host_link_mbps]
    if src.leaf != dst.leaf:
        rates[1:1] = [fabric.uplink_mbps, fabric.uplink_mbps]
    delay_s = len(rates) * (fabric.delay_ms or 0.0) / 1e3
    slowest = min(rates)
    on_the_way_s = sum(last_bytes / mbps_to_bytes_per_s(rate) for rate in rates)
    on_the_way_s -= last_bytes / mbps_to_bytes_per_s(slowest)
    return wire_bytes / mbps_to_bytes_per_s(slowest) + on_the_way_s + delay_s
