"""What became of the cross traffic: completion times and slowdowns of flows by size, and of bursts. Pure.

Counted are flows and bursts that began in a measured iteration. One that had not arrived when the run was over counts
as slower than every other: a percentile that would fall on it is unknown, and leaving it out would flatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf, isinf
from statistics import fmean

from testbed.evaluation.during import During
from testbed.evaluation.pairs import rank_hosts
from testbed.evaluation.records import CrossFlowRow, ReplayRow, RunRecord
from testbed.evaluation.series import Window
from testbed.model.cross_flows import chosen, ideal_s
from testbed.model.cross_spec import SIZE_BINS_BYTES
from testbed.model.oracle import ideal
from testbed.percentile import P99_MIN_SAMPLES, nearest_rank
from testbed.units import bytes_to_text, mbps_to_bytes_per_s
from testbed.wire import tcp_payload_fraction

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTimes:
    """Poisson flows of one bin of sizes. ``slowdown`` is completion time / ``testbed.model.cross_flows.ideal_s``.

    ``count`` is all that began, ``missing`` had not arrived; the mean is of those that had.
    """

    count: int
    missing: int
    p50_ms: float | None
    p99_ms: float | None
    slowdown_mean: float | None
    slowdown_p50: float | None
    slowdown_p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstTime:
    """One burst: from the first flow's start until the last byte had arrived; None where some had not."""

    burst: int
    start_s: float
    flows: int
    size_bytes: int
    completion_s: float | None
    ideal_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Frames of a capture that were sent in measured iterations."""

    sent: int
    received: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    lateness_p99_ms: float | None


def bin_names() -> tuple[str, ...]:
    """Return what the bins of sizes are called, in order."""
    borders = [bytes_to_text(size) for size in SIZE_BINS_BYTES]
    return (*(f"to {border}" for border in borders), f"over {borders[-1]}")


def bin_of(size_bytes: int) -> str:
    """Return the name of the bin a size is in; a border belongs to the bin below it."""
    index = sum(size_bytes > border for border in SIZE_BINS_BYTES)
    return bin_names()[index]


def flow_times(run: RunRecord, during: Sequence[Window]) -> dict[str, FlowTimes]:
    """Return bin -> what Poisson flows took, and ``all``; bins without a flow are there, with nothing in them."""
    inside = During.of(during)
    rows = [row for row in run.tables.cross_flows if row.kind == "poisson" and inside.has(row.start_s)]
    bins = {name: [row for row in rows if bin_of(row.size_bytes) == name] for name in bin_names()}
    return {name: _times(run, own) for name, own in {ALL: rows, **bins}.items()}


def offered_load(run: RunRecord, during: Sequence[Window]) -> float | None:
    """Return what Poisson flows that began in ``during`` put on their hosts' links: full frames over the links' rate.

    That is ``load`` on average. Published sizes have their mean from few large flows, of which a short run sees none.
    None where there are no such flows, or no time.
    """
    spec, fabric = run.scenario.cross_traffic.poisson, run.scenario.fabric
    seconds = sum(end - start for start, end in during)
    if spec is None or not seconds:
        return None
    hosts, inside = len(chosen(spec.hosts, run.topology.hosts, rank_hosts(run))), During.of(during)
    rows = (row for row in run.tables.cross_flows if row.kind == "poisson" and inside.has(row.start_s))
    room_bytes_per_s = mbps_to_bytes_per_s(fabric.host_link_mbps) * tcp_payload_fraction(fabric.mtu_bytes)
    return sum(row.size_bytes for row in rows) / (hosts * room_bytes_per_s * seconds)


def slowdowns(run: RunRecord, rows: Sequence[CrossFlowRow]) -> list[float]:
    """Return how many times longer than on an empty fabric each flow took; without end where it had not arrived."""
    topology, fabric = run.topology, run.scenario.fabric
    return [
        inf
        if row.completion_s is None
        else row.completion_s
        / ideal_s(fabric, topology.host(row.src_host), topology.host(row.dst_host), row.size_bytes)
        for row in rows
    ]


def _times(run: RunRecord, rows: Sequence[CrossFlowRow]) -> FlowTimes:
    times_ms = [inf if row.completion_s is None else row.completion_s * 1000 for row in rows]
    slow = slowdowns(run, rows)
    arrived = [value for value in slow if not isinf(value)]
    return FlowTimes(
        count=len(rows),
        missing=len(rows) - len(arrived),
        p50_ms=arrival_percentile(times_ms, 50),
        p99_ms=arrival_percentile(times_ms, 99),
        slowdown_mean=fmean(arrived) if arrived else None,
        slowdown_p50=arrival_percentile(slow, 50),
        slowdown_p99=arrival_percentile(slow, 99),
    )


def arrival_percentile(values: Sequence[float], percent: int) -> float | None:
    """Return a percentile of times that are inf where nothing arrived.

    None: of nothing, where it would fall on one that has not arrived, and p99 of too few.
    """
    if percent == 99 and len(values) < P99_MIN_SAMPLES:
        return None
    found = nearest_rank(values, percent)
    return None if found is None or isinf(found) else found


def burst_times(run: RunRecord, during: Sequence[Window]) -> tuple[BurstTime, ...]:
    """Return the bursts, in order."""
    rows = sorted(
        (row for row in run.tables.cross_flows if row.burst is not None),
        key=lambda row: (row.burst or 0, row.start_s),
    )
    found = (_burst(run, list(own)) for _number, own in groupby(rows, key=lambda row: row.burst))
    inside = During.of(during)
    return tuple(one for one in found if inside.has(one.start_s))


def _burst(run: RunRecord, rows: Sequence[CrossFlowRow]) -> BurstTime:
    topology, start_s = run.topology, min(row.start_s for row in rows)
    ends_s = [None if row.completion_s is None else row.start_s + row.completion_s for row in rows]
    arrived_s = [end_s for end_s in ends_s if end_s is not None]
    pairs = [(topology.host(row.src_host), topology.host(row.dst_host)) for row in rows]
    return BurstTime(
        burst=rows[0].burst or 0,
        start_s=start_s,
        flows=len(rows),
        size_bytes=sum(row.size_bytes for row in rows),
        completion_s=max(arrived_s) - start_s if len(arrived_s) == len(rows) else None,
        ideal_s=ideal(topology, pairs, [row.size_bytes for row in rows]).ideal_s,
    )


def replayed(rows: Sequence[ReplayRow], during: Sequence[Window]) -> Replayed | None:
    """Return what became of replayed frames; None where none was sent."""
    inside = During.of(during)
    sent = [row for row in rows if inside.has(row.sent_s)]
    if not sent:
        return None
    got_ms = sorted(row.latency_s * 1000 for row in sent if row.latency_s is not None)
    late_ms = [row.send_lateness_s * 1000 for row in sent]
    return Replayed(
        sent=len(sent),
        received=len(got_ms),
        p50_ms=nearest_rank(got_ms, 50),
        p99_ms=nearest_rank(got_ms, 99) if len(got_ms) >= P99_MIN_SAMPLES else None,
        max_ms=got_ms[-1] if got_ms else None,
        lateness_p99_ms=nearest_rank(late_ms, 99),
    )
