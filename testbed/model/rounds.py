"""How long a collective takes at least because its slices wait for each other. Pure.

``testbed.model.oracle.ideal`` is bytes over cuts: a lower bound of the time whatever the order. Where a rank cannot
begin before something has come, or others go on after it has ended, its link idles then, and a tighter bound is

    earliest start of anything the link carries + all its bytes at its rate + shortest way from there to the end

over the host links (scheduling theory's head, body and tail), or the longest chain of slices one after the other if
that is longer: with slices as large as what is sent, the rounds of an algorithm one after the other.

EMULATION: a link is a token bucket (``testbed.model.shaping``). One that was idle passes ``burst_bytes``, more than a
frame, at once, so that a frame takes no time to cross an idle fabric, and a slice only what it exceeds the bucket by.
The bound is that of such links; each may have one full bucket less to wait for. A ring all-reduce of small parts runs
at the rate of bytes all the same (measured: 64 KiB over 16 ranks in 99 ms, of 99 ms), where links that store frames
would take four times as long.

Assumed else: a connection carries its slices in order, full frames, nobody shares a link, no program and no scheme
takes any time, but for ``step_s`` a slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from testbed.collectives.program import pair_bytes
from testbed.collectives.schedule import Schedule
from testbed.collectives.slices import count_slices
from testbed.model.fabric_spec import FabricSpec
from testbed.model.pattern import Pattern
from testbed.model.shaping import queue_setting
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import tcp_payload_fraction

MAX_SLICES = 400_000  # of a job; more take many seconds
# What ``step_s`` is on this testbed without grants, for predictions and verdicts alike: from the last frame of a slice
# at its host until the first of the slice that waits for it is sent: programs and switches, one after the other.
STEP_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Rounds:
    """``least_s``: the bound. ``depth``: slices one after the other in the chain that has most of them.

    ``waiting_s`` is how much later it is than the bytes over the fullest host link of the job alone would be.
    """

    least_s: float
    depth: int
    waiting_s: float


def rounds(
    fabric: FabricSpec,
    schedule: Schedule,
    flows: int,
    *,
    step_s: float = 0.0,
    burst_bytes: int | None = None,
    share: float = 1.0,
) -> Rounds:
    """Return the bound for ranks on hosts of their own, every pair with ``flows`` connections.

    ``step_s`` is what a slice takes from host to host beyond what links take; ``burst_bytes`` None: of this fabric's
    host links. ``share``: what a slice has of its links' rate; where that is not all, others keep the buckets empty.
    """
    rate = mbps_to_bytes_per_s(fabric.host_link_mbps) * share
    if burst_bytes is None:
        burst_bytes = queue_setting(fabric, fabric.host_link_mbps).burst_bytes if share == 1 else 0
    goodput = rate * tcp_payload_fraction(fabric.mtu_bytes)
    return _bound(_nodes(schedule, flows, goodput, step_s, burst_bytes / rate), step_s, burst_bytes / rate)


def pattern_rounds(
    fabric: FabricSpec,
    pattern: Pattern,
    *,
    size_bytes: int,
    slice_bytes: int,
    flows: int,
    step_s: float = 0.0,
    share: float = 1.0,
) -> Rounds | None:
    """Return the bound of an iteration, all of whose jobs are alike (see ``rounds``).

    None where nothing waits for anything, and for more slices than can be gone through.
    """
    if pattern.collective is None or pattern.independent or not size_bytes:
        return None
    schedule = schedule_of(pattern, size_bytes, slice_bytes)
    slices = sum(count_slices(size, slice_bytes) for size in pair_bytes(schedule.program).values())
    return rounds(fabric, schedule, flows, step_s=step_s, share=share) if slices <= MAX_SLICES else None


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
    send_s: float  # of its bytes at the rate of a host's link
    pass_s: float  # at least, from its start to its arrival: less what a full bucket lets pass, more what programs take
    waits: list[int]
    behind: int | None  # the slice before it on the same connection
    followers: list[int] = field(default_factory=list)
    start_s: float = 0.0
    depth: int = 1
    tail_s: float = 0.0  # from its arrival to the end, at least


def _bound(nodes: Sequence[_Node], step_s: float, burst_s: float) -> Rounds:
    order = _in_order(nodes)
    for index in order:
        node = nodes[index]
        for needed in (nodes[one] for one in node.waits):
            node.start_s = max(node.start_s, needed.start_s + needed.pass_s)
            node.depth = max(node.depth, needed.depth + 1)
        if node.behind is not None:
            before = nodes[node.behind]
            node.start_s = max(node.start_s, before.start_s + before.pass_s - step_s)
            node.depth = max(node.depth, before.depth)
    for index in reversed(order):
        for follower in (nodes[one] for one in nodes[index].followers):
            nodes[index].tail_s = max(nodes[index].tail_s, follower.pass_s + follower.tail_s)
    links = _host_links(nodes)
    bodies_s = [max(0.0, sum(node.send_s for node in own) - burst_s) + step_s for own in links]
    bounds_s = [
        min(node.start_s for node in own) + body_s + min(node.tail_s for node in own)
        for own, body_s in zip(links, bodies_s, strict=True)
    ]
    chain_s = max((node.start_s + node.pass_s for node in nodes), default=0.0)
    least_s = max(chain_s, *bounds_s, 0.0)
    return Rounds(
        least_s=least_s,
        depth=max((node.depth for node in nodes), default=0),
        waiting_s=least_s - max(bodies_s, default=0.0),
    )


def _host_links(nodes: Sequence[_Node]) -> list[list[_Node]]:
    """Return what every host's link carries, out and in."""
    links: dict[tuple[str, int], list[_Node]] = {}
    for node in nodes:
        links.setdefault(("out", node.src), []).append(node)
        links.setdefault(("in", node.dst), []).append(node)
    return list(links.values())


def _nodes(schedule: Schedule, flows: int, goodput: float, step_s: float, burst_s: float) -> list[_Node]:
    nodes: list[_Node] = []
    number_of: dict[tuple[int, int, int], int] = {}
    after: list[tuple[tuple[int, int], ...]] = []
    for src, dst in schedule.pairs:
        stream = schedule.stream(src, dst)
        for flow in range(flows):
            behind = None
            for piece in stream.stripe(flow, flows):
                number_of[src, dst, piece.number] = len(nodes)
                send_s = (piece.end_byte - piece.start_byte) / goodput
                nodes.append(_Node(src, dst, send_s, max(0.0, send_s - burst_s) + step_s, [], behind))
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
