"""How long a collective takes at least because its slices wait for each other. Pure.

``testbed.model.oracle.ideal`` is bytes over cuts: a lower bound of the time whatever the order. Where a rank cannot
begin before something has come, or others go on after it has ended, its link idles then, and a tighter bound is

    earliest start of anything the link carries + all its bytes at its rate + shortest way from there to the end

over the host links (scheduling theory's head, body and tail), or the longest chain of slices one after the other if
that is longer. A broadcast along a chain of n ranks ends n - 2 slices after its bytes have passed a link; a ring
all-reduce of a few frames takes 2(n-1) times as long as a slice takes from rank to rank.

What is assumed: a slice leaves its host at its link's rate, one connection carries its slices one after the other,
and every link stores a frame before it sends it on, frames beginning with slices. Nobody shares a link, no program and
no scheme takes any time, but for ``step_s`` a slice. So it is a lower bound, but for token buckets, which let the first
bytes pass for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from testbed.collectives.program import pair_bytes
from testbed.collectives.schedule import Schedule
from testbed.model.pattern import Pattern
from testbed.model.scenario import FabricSpec
from testbed.model.slices import count_slices
from testbed.model.topology import Host
from testbed.model.wire import frame_bytes, tcp_payload_bytes
from testbed.units import mbps_to_bytes_per_s

MAX_SLICES = 400_000  # of a job; more take many seconds


@dataclass(frozen=True, slots=True)
class Rounds:
    """``least_s``: the bound. ``depth``: slices one after the other in the chain that has most of them.

    ``one_way_s`` is the part of it that a slice takes which waits for nothing: from the end of its own sending to its
    arrival, at most.
    """

    least_s: float
    depth: int
    one_way_s: float


def rounds(
    fabric: FabricSpec, hosts: Sequence[Host], pattern: Pattern, schedule: Schedule, flows: int, *, step_s: float = 0.0
) -> Rounds:
    """Return the bound for the job of ``pattern`` for which it is highest; every pair has ``flows`` connections.

    ``schedule`` is that of every job, ``hosts`` are those of the ranks. ``step_s`` is what a slice takes from host to
    host beyond what links take.
    """
    found = [_of_job(fabric, tuple(hosts[rank] for rank in job), schedule, flows, step_s) for job in pattern.jobs]
    return max(found, key=lambda one: one.least_s)


def pattern_rounds(
    fabric: FabricSpec,
    hosts: Sequence[Host],
    pattern: Pattern,
    *,
    size_bytes: int,
    slice_bytes: int,
    flows: int,
    step_s: float = 0.0,
) -> Rounds | None:
    """Return the bound of an iteration; None where nothing waits for anything, or for too many slices to go through."""
    if pattern.collective is None or pattern.independent or not size_bytes:
        return None
    schedule = schedule_of(pattern, size_bytes, slice_bytes)
    slices = sum(count_slices(size, slice_bytes) for size in pair_bytes(schedule.program).values())
    return rounds(fabric, hosts, pattern, schedule, flows, step_s=step_s) if slices <= MAX_SLICES else None


@lru_cache(maxsize=2)
def schedule_of(pattern: Pattern, size_bytes: int, slice_bytes: int) -> Schedule:
    """Return what the ranks of each job do in an iteration. Raises ValueError for sizes that cannot be."""
    if pattern.collective is None:
        raise ValueError(f"{pattern.kind} is no collective")
    return Schedule(pattern.collective.program(pattern.job_ranks, size_bytes), slice_bytes)


@dataclass(slots=True)
class _Node:
    """A slice on its way from one host to another."""

    src: int
    dst: int
    send_s: float  # on its host's link
    further_s: float  # until the links behind have sent it on, and whoever it came to has noticed
    waits: list[int]
    behind: int | None  # the slice before it on the same connection
    followers: list[int] = field(default_factory=list)
    start_s: float = 0.0
    depth: int = 1
    tail_s: float = 0.0  # from its arrival to the end, at least

    @property
    def arrival_s(self) -> float:
        return self.start_s + self.send_s + self.further_s


def _of_job(fabric: FabricSpec, hosts: Sequence[Host], schedule: Schedule, flows: int, step_s: float) -> Rounds:
    nodes = _nodes(fabric, hosts, schedule, flows, step_s)
    order = _in_order(nodes)
    for index in order:
        node = nodes[index]
        for needed in (nodes[one] for one in node.waits):
            node.start_s = max(node.start_s, needed.arrival_s)
            node.depth = max(node.depth, needed.depth + 1)
        if node.behind is not None:
            before = nodes[node.behind]
            node.start_s = max(node.start_s, before.start_s + before.send_s)
            node.depth = max(node.depth, before.depth)
    for index in reversed(order):
        for follower in (nodes[one] for one in nodes[index].followers):
            nodes[index].tail_s = max(nodes[index].tail_s, follower.send_s + follower.further_s + follower.tail_s)
    chain_s = max((node.arrival_s for node in nodes), default=0.0)
    return Rounds(
        least_s=max(chain_s, *_link_bounds(nodes), 0.0),
        depth=max((node.depth for node in nodes), default=0),
        one_way_s=max((node.further_s for node in nodes), default=0.0),
    )


def _link_bounds(nodes: Sequence[_Node]) -> list[float]:
    """Return head + body + tail of every host's link, out and in."""
    out: dict[int, list[_Node]] = {}
    into: dict[int, list[_Node]] = {}
    for node in nodes:
        out.setdefault(node.src, []).append(node)
        into.setdefault(node.dst, []).append(node)
    bounds = [
        min(one.start_s for one in own)
        + sum(one.send_s for one in own)
        + min(one.further_s + one.tail_s for one in own)
        for own in out.values()
    ]
    bounds += [
        min(one.start_s + one.further_s for one in own)
        + sum(one.send_s for one in own)
        + min(one.tail_s for one in own)
        for own in into.values()
    ]
    return bounds


def _nodes(fabric: FabricSpec, hosts: Sequence[Host], schedule: Schedule, flows: int, step_s: float) -> list[_Node]:
    mss, header = (
        tcp_payload_bytes(fabric.mtu_bytes),
        frame_bytes(fabric.mtu_bytes) - tcp_payload_bytes(fabric.mtu_bytes),
    )
    host_rate = mbps_to_bytes_per_s(fabric.host_link_mbps)
    uplink_rate = mbps_to_bytes_per_s(fabric.uplink_mbps)
    nodes: list[_Node] = []
    number_of: dict[tuple[int, int, int], int] = {}
    after: list[tuple[tuple[int, int], ...]] = []
    for src, dst in schedule.pairs:
        crossing = hosts[src].leaf != hosts[dst].leaf
        stream = schedule.stream(src, dst)
        for flow in range(flows):
            behind = None
            for piece in stream.stripe(flow, flows):
                size = piece.end_byte - piece.start_byte
                first = min(size, mss) + header
                further_s = step_s + first / host_rate + (2 * first / uplink_rate if crossing else 0.0)
                number_of[src, dst, piece.number] = len(nodes)
                send_s = (size + header * count_slices(size, mss)) / host_rate
                nodes.append(_Node(src, dst, send_s, further_s, [], behind))
                after.append(piece.after)
                behind = len(nodes) - 1
    for index, (node, needed) in enumerate(zip(nodes, after, strict=True)):
        node.waits = [number_of[peer, node.src, number] for peer, number in needed]
        for one in node.waits:
            nodes[one].followers.append(index)
    return nodes


def _in_order(nodes: Sequence[_Node]) -> list[int]:
    """Return the slices so that none comes before what it waits for, nor before the one ahead of it."""
    missing = [len(node.waits) + (node.behind is not None) for node in nodes]
    ahead: Mapping[int, int] = {node.behind: index for index, node in enumerate(nodes) if node.behind is not None}
    ready = [index for index, count in enumerate(missing) if not count]
    order = []
    while ready:
        index = ready.pop()
        order.append(index)
        freed = [*nodes[index].followers, *([ahead[index]] if index in ahead else [])]
        for one in freed:
            missing[one] -= 1
            if not missing[one]:
                ready.append(one)
    return order
