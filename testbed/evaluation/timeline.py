"""What hosts received and how long queues were around a run's first fault, in bins of time. Pure.

All times are seconds after the fault was begun to be made. None is "not measured": outside the samples, where they
are too far apart, or while no measured iteration was under way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Series, Window, direction_series, queue_series, total
from testbed.units import mbps_to_bytes_per_s

FABRIC_TIERS = ("uplink", "downlink")
MOST_MISSED = 2.5  # sample intervals: samples further apart say nothing about one of the bins between them

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A fault of a run; ``t_s`` after the first one, whose mark is at 0."""

    t_s: float
    action: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One value per bin: what all ranks' hosts received, of the sum of their links, and the fullest fabric queue."""

    received_fraction: Values
    queue_bytes: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Median and range over runs, bin by bin; None where no run has a value."""

    median: Values
    low: Values
    high: Values


def marks(run: RunRecord) -> tuple[Mark, ...]:
    """Return the faults of a run in order of time; nothing when none was made."""
    faults = sorted(run.events_named("fault"), key=lambda event: float(event["t_s"]))
    return tuple(
        Mark(
            t_s=float(event["t_s"]) - float(faults[0]["t_s"]), action=str(event["action"]), target=str(event["target"])
        )
        for event in faults
    )


def covered(run: RunRecord) -> Window | None:
    """Return when, seen from the first fault, the first measured iteration began and the last one ended."""
    fault_s, during = _fault_s(run), windows(measured(run.tables.iterations))
    if fault_s is None or not during:
        return None
    return min(start for start, _end in during) - fault_s, max(end for _start, end in during) - fault_s


def bin_edges(start_s: float, end_s: float, bin_s: float) -> tuple[float, ...]:
    """Return the edges of the bins that cover a time; the fault, at 0, is always an edge."""
    first, last = math.floor(start_s / bin_s + 1e-9), math.ceil(end_s / bin_s - 1e-9)
    return tuple(index * bin_s for index in range(first, last + 1))


def timeline(run: RunRecord, edges: Sequence[float]) -> Timeline:
    """Return what happened in each bin. A run without a fault has no values."""
    bins = list(zip(edges, edges[1:], strict=False))
    fault_s = _fault_s(run)
    if fault_s is None:
        return Timeline(received_fraction=(None,) * len(bins), queue_bytes=(None,) * len(bins))
    shifted = [(start + fault_s, end + fault_s) for start, end in bins]
    during = windows(measured(run.tables.iterations))
    busy = [during.hold(start, end) for start, end in shifted]
    interval_s = run.scenario.measure.sample_interval_s
    return Timeline(
        received_fraction=_where(busy, _received(run, shifted, MOST_MISSED * interval_s)),
        queue_bytes=_where(busy, _fullest(run, shifted, interval_s)),
    )


def across(runs: Sequence[Values]) -> Band:
    """Return median and range over the runs that have a value, bin by bin; all have the same bins."""
    columns = [[value for value in column if value is not None] for column in zip(*runs, strict=True)]
    return Band(
        median=tuple(median(column) if column else None for column in columns),
        low=tuple(min(column, default=None) for column in columns),
        high=tuple(max(column, default=None) for column in columns),
    )


def _fault_s(run: RunRecord) -> float | None:
    return min((float(event["t_s"]) for event in run.events_named("fault")), default=None)


def _where(busy: Sequence[bool], values: Iterable[float | None]) -> Values:
    return tuple(value if there else None for there, value in zip(busy, values, strict=True))


def _received(run: RunRecord, bins: Sequence[Window], most_apart_s: float) -> list[float | None]:
    """Return bytes on the links to the ranks' hosts over what these can carry."""
    hosts = {row.host for row in run.tables.ranks}
    links = [d for d in run.topology.directions if d.kind == "host_rx" and d.dst.node in hosts]
    found = direction_series(run.topology, run.tables.links, "bytes")
    if len(hosts) < run.scenario.ranks or any(link.name not in found for link in links):
        return [None] * len(bins)
    capacity_bytes_per_s = sum(mbps_to_bytes_per_s(link.rate_mbps) for link in links)
    counted = [found[link.name] for link in links]
    moved = [total(_increase(series, *window, most_apart_s) for series in counted) for window in bins]
    return [
        None if size is None else size / (capacity_bytes_per_s * (end - start))
        for size, (start, end) in zip(moved, bins, strict=True)
    ]


def _increase(series: Series, start_s: float, end_s: float, most_apart_s: float) -> float | None:
    """Return the growth in a bin, None when one of the samples it is reckoned from is missing."""
    if not series.times_s:
        return None
    return None if series.widest_step(start_s, end_s) > most_apart_s else series.increase(start_s, end_s)


def _fullest(run: RunRecord, bins: Sequence[Window], interval_s: float) -> list[float | None]:
    """Return the largest backlog sampled in a bin or within half an interval of it: samples are never quite on time."""
    backlog = queue_series(run.tables.queues, "backlog_bytes")
    names = [d.src.intf for d in run.topology.directions if d.kind in FABRIC_TIERS]
    if any(name not in backlog for name in names):
        return [None] * len(bins)
    sampled = [backlog[name] for name in names]
    reach_s = interval_s / 2
    return [
        max((value for series in sampled for value in series.between(start - reach_s, end + reach_s)), default=None)
        for start, end in bins
    ]
