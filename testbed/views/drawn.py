"""The values figures show, on paper and on pages, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from testbed.evaluation.crossflows import bin_names, bin_of, burst_times, slowdowns
from testbed.evaluation.metrics import measured, span, windows
from testbed.evaluation.records import CrossFlowRow, IterationRow, MessageRow, ProbeRow
from testbed.evaluation.series import Rates, Series, queue_series, rate_series_mbps
from testbed.views.comparison import Comparison, Entry

CURVE_STEPS: Final = 1000
QUEUE_TIERS: Final = {"uplink": "leaf to spine", "downlink": "spine to leaf", "host_rx": "leaf to host"}


def representatives(comparison: Comparison) -> list[Entry]:
    """Return the run with the median completion time of each scheme that has one."""
    found = (comparison.representative(scheme) for scheme in comparison.schemes)
    return [entry for entry in found if entry is not None and span(entry.run.tables.iterations) is not None]


def began_s(entry: Entry) -> float:
    """Return when the first measured iteration began."""
    period = span(entry.run.tables.iterations)
    return period[0] if period else 0.0


def lasted_s(entry: Entry) -> float:
    """Return how long the measured part was."""
    period = span(entry.run.tables.iterations)
    return period[1] - period[0] if period else 0.0


def link_rates_mbps(entry: Entry, kinds: Sequence[str]) -> dict[str, Rates]:
    """Return direction -> its rate between samples, for these kinds of direction, those with samples only.

    None is a gap: between two samples its counter was reset.
    """
    rates = rate_series_mbps(entry.run.record.topology, entry.run.tables.links, kinds)
    return {name: series for name, series in rates.items() if series.times_s}


def latencies_ms(entries: Sequence[Entry], row_type: type[ProbeRow] | type[MessageRow]) -> tuple[int, list[float]]:
    """Return how many were sent during measured iterations, and the latencies in ms that arrived, ascending."""
    sent = [
        row
        for entry in entries
        for during in [windows(measured(entry.run.rows(IterationRow)))]
        for row in entry.run.rows(row_type)
        if during.has(row.sent_s)
    ]
    return len(sent), sorted(row.latency_s * 1000 for row in sent if row.latency_s is not None)


def distribution(sent: int, arrived: Sequence[float], most_steps: int = CURVE_STEPS) -> tuple[list[float], list[float]]:
    """Return the steps of a distribution: values, and the share of ``sent`` that is at most that.

    A curve of ``most_steps`` looks the same with more; the last, the slowest, is always there. What never arrived
    keeps it below 1.
    """
    if not arrived:
        return [], []
    stride = max(len(arrived) // most_steps, 1)
    ranks = sorted({*range(0, len(arrived), stride), len(arrived) - 1})
    return [arrived[i] for i in ranks], [(i + 1) / sent for i in ranks]


def longest_queues(entry: Entry) -> dict[str, Series]:
    """Return tier -> the largest backlog of its queues at each sample, in bytes."""
    backlog = queue_series(entry.run.tables.queues, "backlog_bytes")
    found = {}
    for kind in QUEUE_TIERS:
        intfs = [d.src.intf for d in entry.run.record.topology.directions if d.kind == kind and d.src.intf in backlog]
        largest: dict[float, float] = {}
        for intf in intfs:
            for t_s, value in zip(backlog[intf].times_s, backlog[intf].values, strict=True):
                largest[t_s] = max(largest.get(t_s, 0.0), value)
        if largest:
            found[kind] = Series(tuple(sorted(largest)), tuple(largest[t] for t in sorted(largest)))
    return found


def flow_slowdowns(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Return bin of sizes -> slowdowns of the Poisson flows of all these runs that began in measured iterations.

    Those that did not arrive are without end (inf); bins without a flow are left out.
    """
    found: dict[str, list[float]] = {name: [] for name in bin_names()}
    for entry in entries:
        during = windows(measured(entry.run.rows(IterationRow)))
        rows = [row for row in entry.run.rows(CrossFlowRow) if row.kind == "poisson" and during.has(row.start_s)]
        for row, slow in zip(rows, slowdowns(entry.run.record, rows), strict=True):
            found[bin_of(row.size_bytes)].append(slow)
    return {name: own for name, own in found.items() if own}


def bursts_s(entries: Sequence[Entry]) -> list[float]:
    """Return how long each burst of these runs took; without end (inf) where it did not arrive whole."""
    during = [(entry, windows(measured(entry.run.rows(IterationRow)))) for entry in entries]
    times = [one.completion_s for entry, own in during for one in burst_times(entry.run.record, own)]
    return [inf if time_s is None else time_s for time_s in times]
