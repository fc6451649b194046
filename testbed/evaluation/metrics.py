"""From the rows of a run to its numbers. Pure; says nothing about whether to believe them (``fidelity`` does).

Definitions, all over the measured iterations (warm-up left out, except for ``wrong_elements``):

- completion_s: median over iterations of last rank's end - common start.
- algbw = size / completion, busbw = algbw x the pattern's bus factor (nccl-tests PERFORMANCE.md).
- efficiency = busbw / busbw_limit = ideal time / completion, the limit from ``testbed.model.oracle.ideal``; of training
  iterations the ideal time is that of all ranks on a network as fast as hosts' links (``testbed.training.rehearsal``).
- uplink_utilization = bytes (Ethernet frames) on the loaded uplinks / (their rate x completion time). Loaded:
  carried payload (bytes - packets x headers: acknowledgements and probes count next to nothing) of at least 1% of
  what the busiest host receives.
- A quantity that was not measured is None, never 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from testbed.evaluation.crossflows import BurstTime, FlowTimes, Replayed, burst_times, flow_times, replayed
from testbed.evaluation.during import During
from testbed.evaluation.pairs import (
    busiest_host_bytes,
    goodput_fairness,
    job_completions_s,
    predict_from_flows,
    rank_hosts,
    receiver_utilization,
    run_pattern,
    run_rounds,
)
from testbed.evaluation.records import IterationRow, MessageRow, ProbeRow, RunRecord
from testbed.evaluation.series import Window, direction_series, queue_series, total
from testbed.evaluation.training import TrainingMetrics, predict_training, training_metrics
from testbed.model.oracle import Ideal, Prediction, pattern_ideal
from testbed.model.rounds import Rounds
from testbed.percentile import P99_MIN_SAMPLES, nearest_rank
from testbed.units import bytes_to_mbps, mbps_to_bytes_per_s
from testbed.wire import frame_bytes, tcp_payload_bytes

LOADED_FRACTION = 0.01
FAULT_REACH_S = 1.0  # a pause beginning later than this after a fault is not its doing
_Stretch = tuple[float, int, int]  # a value, the first place that has it, and the one behind the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One-way latency of what was sent in the measured iterations; percentiles by nearest rank over what arrived."""

    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    count: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkLoad:
    """How the leaf-to-spine directions were used. ``max_over_mean`` is over all uplinks of leaves that sent.

    ``wire_bytes`` and ``packets`` are all they carried in ``enclosing_window``, whoever sent it.
    """

    utilization: float
    max_over_mean: float
    loaded: int
    wire_bytes: float
    packets: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One fault and the longest pause between received bytes that any rank saw because of it.

    ``pause_s`` is None when every rank's longest pause was at another time: then it was shorter than
    ``at_most_s``, the longest pause of any rank in that iteration (None: no iteration was under way).
    """

    t_s: float
    action: str
    target: str
    pause_s: float | None
    at_most_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The numbers of one run."""

    iterations: int
    completion_s: float | None
    completions_s: tuple[float, ...]
    algbw_mbps: float | None
    busbw_mbps: float | None
    ideal: Ideal
    rounds: Rounds | None
    efficiency: float | None
    prediction: Prediction | None
    uplinks: UplinkLoad | None
    job_completions_s: tuple[float, ...]
    fairness: float | None
    receiver_utilization: float | None
    latency: Latency | None
    mice: Latency | None
    flow_times: Mapping[str, FlowTimes]
    bursts: tuple[BurstTime, ...]
    replayed: Replayed | None
    dropped_packets: int | None
    retransmitted_segments: int | None
    timeouts: int | None
    out_of_order_packets: int | None
    wrong_elements: int | None
    outages: tuple[Outage, ...]
    usual_pause_s: float | None
    training: TrainingMetrics | None = None


def measure(run: RunRecord) -> Metrics:
    """Compute every number of a run from its rows."""
    scenario, tables = run.scenario, run.tables
    iterations = measured(tables.iterations)
    during = windows(iterations)
    hosts = rank_hosts(run)
    pattern, bulk_bytes = run_pattern(run), scenario.workload.bulk_bytes
    limit = pattern_ideal(run.topology, hosts, pattern, scenario.workload.size_bytes)
    completion_s = median(row.completion_s for row in iterations) if iterations and bulk_bytes else None
    algbw_mbps = bytes_to_mbps(bulk_bytes, completion_s) if completion_s else None
    busbw_mbps = algbw_mbps * pattern.bus_factor if algbw_mbps is not None else None
    efficiency = busbw_mbps / limit.busbw_limit_mbps if busbw_mbps is not None else None
    training = training_metrics(run)
    if training is not None:
        limit = replace(limit, ideal_s=training.ideal_s)
        algbw_mbps = busbw_mbps = None  # of bytes and computing together neither says anything
        efficiency = training.ideal_s / completion_s if completion_s else None
    return Metrics(
        iterations=len(iterations),
        completion_s=completion_s,
        completions_s=tuple(row.completion_s for row in iterations),
        algbw_mbps=algbw_mbps,
        busbw_mbps=busbw_mbps,
        ideal=limit if bulk_bytes else replace(limit, ideal_s=0.0),
        rounds=run_rounds(run) if bulk_bytes else None,
        efficiency=efficiency,
        prediction=_prediction(run) if bulk_bytes else None,
        uplinks=uplink_load(run),
        job_completions_s=job_completions_s(run),
        fairness=goodput_fairness(tables.transfers),
        receiver_utilization=receiver_utilization(
            run, counting_windows(run), sum(row.completion_s for row in iterations)
        ),
        latency=latency(tables.probes, during),
        mice=latency(tables.messages, during),
        flow_times=flow_times(run, during),
        bursts=burst_times(run, during),
        replayed=replayed(tables.replay, during),
        dropped_packets=dropped_packets(run),
        retransmitted_segments=_whole(total(row.retransmitted_segments for row in tables.flows)),
        timeouts=_whole(total(row.timeouts for row in tables.flows)),
        out_of_order_packets=_whole(total(row.out_of_order_packets for row in tables.flows)),
        wrong_elements=_whole(total(row.wrong_elements for row in tables.iterations)),
        outages=outages(run),
        usual_pause_s=usual_pause_s(run),
        training=training,
    )


def _prediction(run: RunRecord) -> Prediction | None:
    return predict_from_flows(run) if run.scenario.workload.training is None else predict_training(run)


def measured(iterations: Sequence[IterationRow]) -> tuple[IterationRow, ...]:
    """Return the iterations that are not warm-up."""
    return tuple(row for row in iterations if not row.warmup)


def windows(iterations: Iterable[IterationRow]) -> During:
    """Return (start, end) of each iteration."""
    return During((row.start_s, row.end_s) for row in iterations)


def span(iterations: Sequence[IterationRow]) -> Window | None:
    """Return first start and last end of the measured part."""
    rows = measured(iterations)
    return (min(row.start_s for row in rows), max(row.end_s for row in rows)) if rows else None


def uplink_load(run: RunRecord) -> UplinkLoad | None:
    """Return how the uplinks were used, None without enclosing samples or where nothing crosses leaves."""
    iterations = measured(run.tables.iterations)
    if not iterations:
        return None
    uplinks = [direction for direction in run.topology.directions if direction.kind == "uplink"]
    series = {unit: direction_series(run.topology, run.tables.links, unit) for unit in ("bytes", "packets")}

    def counted(unit: str, period: Sequence[Window]) -> dict[str, float | None]:
        return {d.name: series[unit][d.name].increase_over(period) if d.name in series[unit] else None for d in uplinks}

    counting, enclosing = counting_windows(run), enclosing_window(run)
    moved, frames = (
        {name: value for name, value in counted(unit, counting).items() if value is not None}
        for unit in ("bytes", "packets")
    )
    wire_bytes, packets = (total(counted(unit, enclosing).values()) for unit in ("bytes", "packets"))
    if min(len(moved), len(frames)) < len(uplinks) or wire_bytes is None or packets is None:
        return None
    least = LOADED_FRACTION * busiest_host_bytes(run) * len(iterations)
    if not least:
        return None
    headers = frame_bytes(run.scenario.fabric.mtu_bytes) - tcp_payload_bytes(run.scenario.fabric.mtu_bytes)
    payload = {name: moved[name] - headers * frames[name] for name in moved}
    loaded = [direction for direction in uplinks if payload[direction.name] >= least]
    if not loaded:
        return None
    busy_s = sum(row.completion_s for row in iterations)
    sending = {direction.src.node for direction in loaded}
    shares = [moved[direction.name] / direction.rate_mbps for direction in uplinks if direction.src.node in sending]
    capacity_bytes = sum(mbps_to_bytes_per_s(direction.rate_mbps) for direction in loaded) * busy_s
    return UplinkLoad(
        utilization=sum(moved[direction.name] for direction in loaded) / capacity_bytes,
        max_over_mean=max(shares) / fmean(shares),
        loaded=len(loaded),
        wire_bytes=wire_bytes,
        packets=packets,
    )


def counting_windows(run: RunRecord) -> tuple[Window, ...]:
    """Return the windows over which to count what the measured iterations sent.

    With nothing else on the network that is the whole measured part, widened to the samples that enclose
    it: no interpolation. Where other traffic runs on between iterations, each iteration by itself, as far as
    interpolation knows it.
    """
    return windows(measured(run.tables.iterations)) if run.scenario.has_other_traffic else enclosing_window(run)


def enclosing_window(run: RunRecord) -> tuple[Window, ...]:
    """Return the measured part widened to the samples that enclose it: nothing the iterations sent is outside."""
    whole = span(run.tables.iterations)
    if whole is None:
        return ()
    start_s, end_s = whole
    times = sorted({row.t_s for row in run.tables.links})
    warm_end_s = max((row.end_s for row in run.tables.iterations if row.warmup), default=-math.inf)
    before = max((t for t in times if t <= start_s), default=start_s)
    after = min((t for t in times if t >= end_s), default=end_s)
    return ((before if before >= warm_end_s else start_s, after),)


def latency(rows: Sequence[ProbeRow] | Sequence[MessageRow], during: Sequence[Window]) -> Latency | None:
    """Return the latency of probes or messages sent in ``during``, None when none was sent."""
    inside = During.of(during)
    sent = [row for row in rows if inside.has(row.sent_s)]
    if not sent:
        return None
    got = sorted(row.latency_s * 1000 for row in sent if row.latency_s is not None)
    return Latency(
        p50_ms=nearest_rank(got, 50),
        p99_ms=nearest_rank(got, 99) if len(got) >= P99_MIN_SAMPLES else None,
        max_ms=got[-1] if got else None,
        count=len(got),
        lost=len(sent) - len(got),
    )


def dropped_packets(run: RunRecord) -> int | None:
    """Return the packets the modelled queues dropped, None when a queue was not sampled.

    Host ends are read only at the start and the end of sampling, so theirs include the warm-up.
    """
    period = span(run.tables.iterations)
    series = queue_series(run.tables.queues, "dropped_packets")
    if period is None or any(direction.src.intf not in series for direction in run.topology.directions):
        return None
    return _whole(total(one.increase_around(*period) for one in series.values()))


def outages(run: RunRecord) -> tuple[Outage, ...]:
    """Return the pause each fault caused.

    It is the longest pause between received bytes, of any rank in the iteration under way, that was going
    on at some moment of [fault, fault + FAULT_REACH_S]. Ranks report only their longest pause of an
    iteration, and pauses happen without faults too: compare with ``usual_pause_s``.
    """
    events = sorted(enumerate(run.events_named("fault")), key=lambda numbered: float(numbered[1]["t_s"]))
    if not events:
        return ()
    faults_s = [float(event["t_s"]) for _number, event in events]
    reach_s = [fault_s + FAULT_REACH_S for fault_s in faults_s]
    under_way: list[_Stretch] = []
    going_on: list[_Stretch] = []
    for row in run.tables.ranks:
        length_s, begin_s = row.max_gap_s, row.max_gap_at_s
        if length_s is None or begin_s is None:
            continue
        first, end = bisect_left(faults_s, row.start_s), bisect_right(faults_s, row.end_s)
        under_way.append((length_s, first, end))
        first, end = max(first, bisect_left(reach_s, begin_s)), min(end, bisect_right(faults_s, begin_s + length_s))
        going_on.append((length_s, first, end))
    caused, at_most = _largest_at(len(events), going_on), _largest_at(len(events), under_way)
    found = {
        number: Outage(
            t_s=faults_s[place],
            action=str(event["action"]),
            target=str(event["target"]),
            pause_s=caused[place],
            at_most_s=at_most[place],
        )
        for place, (number, event) in enumerate(events)
    }
    return tuple(found[number] for number in sorted(found))


def _largest_at(places: int, stretches: Iterable[_Stretch]) -> list[float | None]:
    """Return the largest value at each place that a stretch (value, first place, end) has; None where there is none.

    Time does not grow with how many places they have: the largest come first, and each place is taken once.
    """
    found: list[float | None] = [None] * places
    free = list(range(places + 1))  # the next place that is free, or one on the way to it

    def next_free(place: int) -> int:
        while free[place] != place:
            free[place] = free[free[place]]
            place = free[place]
        return place

    for value, first, end in sorted(stretches, reverse=True):
        place = next_free(first)
        while place < end:
            found[place] = value
            free[place] = place + 1
            place = next_free(place)
    return found


def usual_pause_s(run: RunRecord) -> float | None:
    """Return the median over measured iterations without a fault of the longest pause of any rank."""
    faults_s = sorted(float(event["t_s"]) for event in run.events_named("fault"))
    longest: dict[int, float] = {}
    for row in run.tables.ranks:
        if row.warmup or row.max_gap_s is None:
            continue
        next_fault = bisect_left(faults_s, row.start_s)
        if next_fault == len(faults_s) or faults_s[next_fault] > row.end_s:
            longest[row.iteration] = max(longest.get(row.iteration, 0.0), row.max_gap_s)
    return median(longest.values()) if longest else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
