"""Cumulative counters over time, and what happened between two moments. Pure.

A counter is sampled; between samples it is taken to grow evenly. ``None`` means the samples do not say.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from testbed.evaluation.during import During
from testbed.evaluation.during import Window as Window  # part of what this module tells
from testbed.evaluation.records import LinkRow, QueueRow
from testbed.model.topology import Direction, Topology
from testbed.units import bytes_to_mbps

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rates:
    """Growth per second from each sample to the next, at the later one's time; None: the counter was reset between."""

    times_s: tuple[float, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Series:
    """Samples of one quantity in order of time; ``times_s`` are strictly increasing."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]

    @cached_property
    def falls(self) -> tuple[int, ...]:
        """Which samples are below the one before: a counter was reset in between."""
        steps = zip(self.values, self.values[1:], strict=False)
        return tuple(index for index, (before, after) in enumerate(steps, start=1) if after < before)

    def at(self, t_s: float) -> float | None:
        """Return the value at ``t_s`` by linear interpolation, None outside the samples."""
        if not self.times_s or not self.times_s[0] <= t_s <= self.times_s[-1]:
            return None
        after = bisect_left(self.times_s, t_s)
        if self.times_s[after] == t_s:
            return self.values[after]
        t0, t1 = self.times_s[after - 1], self.times_s[after]
        v0, v1 = self.values[after - 1], self.values[after]
        return v0 + (v1 - v0) * (t_s - t0) / (t1 - t0)

    def increase(self, start_s: float, end_s: float) -> float | None:
        """Return the growth from ``start_s`` to ``end_s``; None outside the samples or if the counter was reset."""
        return self.change(start_s, end_s) if self._grows(start_s, end_s) else None

    def change(self, start_s: float, end_s: float) -> float | None:
        """Return the difference between two moments, of a quantity that may also fall; None outside the samples."""
        start, end = self.at(start_s), self.at(end_s)
        return None if start is None or end is None else end - start

    def increase_over(self, windows: Iterable[Window]) -> float | None:
        """Return the growth over several windows together; None if the counter was reset in one of them."""
        during = During.of(windows)
        if any(during.meet(self.times_s[index - 1], self.times_s[index]) for index in self.falls):
            return None
        return self.change_over(during)

    def change_over(self, windows: Iterable[Window]) -> float | None:
        """Return the differences of several windows together, of a quantity that may also fall."""
        during = During.of(windows)
        if not during or not self.times_s or not during.within(self.times_s[0], self.times_s[-1]):
            return None
        if len(during) <= len(self.times_s):
            return total(self.change(start, end) for start, end in during)
        return sum((after - before) * share for before, after, share in self._steps(during))

    def increase_around(self, start_s: float, end_s: float) -> float | None:
        """Return the growth between the samples that enclose the window, however far they are outside it.

        Where no sample encloses it the outermost one is taken: right for counters that are read only at
        the start and the end of a run. None with fewer than two samples, or if the counter was reset.
        """
        if len(self.times_s) < 2:
            return None
        return self.increase(*self.enclosing(start_s, end_s))

    def enclosing(self, start_s: float, end_s: float) -> Window:
        """Return the times of the last sample up to ``start_s`` and the first from ``end_s`` on, or the outermost."""
        before = max(bisect_right(self.times_s, start_s) - 1, 0)
        after = min(bisect_left(self.times_s, end_s), len(self.times_s) - 1)
        return self.times_s[before], self.times_s[after]

    def widest_step(self, start_s: float, end_s: float) -> float:
        """Return the longest time between two samples in a row, of those that enclose the window; 0 for fewer."""
        low, high = max(bisect_right(self.times_s, start_s) - 1, 0), bisect_left(self.times_s, end_s) + 1
        inside = self.times_s[low:high]
        return max((after - before for before, after in zip(inside, inside[1:], strict=False)), default=0.0)

    def between(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """Return the values sampled from ``start_s`` to ``end_s``."""
        return self.values[bisect_left(self.times_s, start_s) : bisect_right(self.times_s, end_s)]

    def clamped(self, windows: Iterable[Window]) -> float:
        """Return the growth over the part of ``windows`` the samples cover: for things that come and go.

        A counter that fell is that of another thing, which came when the one before had gone: nobody saw the time
        between the two samples.
        """
        if not self.times_s:
            return 0.0
        during = During.of(windows).forward
        if self.falls or len(during) > len(self.times_s):
            return sum((after - before) * share for before, after, share in self._steps(during) if after >= before)
        first, last = self.times_s[0], self.times_s[-1]
        inside = ((max(start, first), min(end, last)) for start, end in during)
        return total(self.change(start, end) for start, end in inside if start < end) or 0.0

    def rates(self) -> Rates:
        """Return the growth per second between samples; where it was reset nobody knows it."""
        steps = zip(self.times_s, self.times_s[1:], self.values, self.values[1:], strict=False)
        return Rates(self.times_s[1:], tuple(None if v1 < v0 else (v1 - v0) / (t1 - t0) for t0, t1, v0, v1 in steps))

    def _steps(self, during: During) -> Iterator[tuple[float, float, float]]:
        """Yield the values at both ends of each step, and which share of it the windows have, each by itself.

        Of many windows and few samples the same, but for rounding, as looking at each window.
        """
        covered_s = [during.covered_s(t_s) for t_s in self.times_s]
        steps = zip(self.times_s, self.times_s[1:], covered_s, covered_s[1:], strict=False)
        for (t0, t1, c0, c1), (v0, v1) in zip(steps, zip(self.values, self.values[1:], strict=False), strict=True):
            yield v0, v1, (c1 - c0) / (t1 - t0)

    def _grows(self, start_s: float, end_s: float) -> bool:
        """Whether none of the steps that are in that time, or reach into it, is a fall."""
        first, last = bisect_right(self.times_s, start_s), bisect_left(self.times_s, end_s)
        next_fall = bisect_left(self.falls, first)
        return next_fall == len(self.falls) or self.falls[next_fall] > last


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum, None when any value is unknown or there is none."""
    known = list(values)
    numbers = [value for value in known if value is not None]
    return sum(numbers) if known and len(numbers) == len(known) else None


def collect(
    rows: Iterable[T], *, key: Callable[[T], K], t_s: Callable[[T], float], value: Callable[[T], float]
) -> dict[K, Series]:
    """Return one series per key. Of samples at the same time the last counts; the order of rows does not."""
    points: dict[K, dict[float, float]] = {}
    for row in rows:
        points.setdefault(key(row), {})[t_s(row)] = value(row)
    return {
        name: Series(tuple(times), tuple(samples[t] for t in times))
        for name, samples in points.items()
        for times in [sorted(samples)]
    }


def increases(
    rows: Iterable[T], columns: Sequence[str], *, key: Callable[[T], K], t_s: Callable[[T], float]
) -> dict[str, int] | None:
    """Return how much counters grew from the first reading to the last, all keys together.

    None without two readings, or where a counter fell: what was counted in between nobody knows.
    """
    there, found = list(rows), {}
    for column in columns:
        counted = collect(there, key=key, t_s=t_s, value=lambda row, name=column: float(getattr(row, name)))  # type: ignore[misc]
        grown = total(series.increase_around(series.times_s[0], series.times_s[-1]) for series in counted.values())
        if grown is None:
            return None
        found[column] = round(grown)
    return found


def link_series(links: Sequence[LinkRow], column: str) -> dict[str, Series]:
    """Return interface -> series of one column of links.csv, e.g. ``tx_bytes``."""
    return collect(
        links, key=lambda row: row.intf, t_s=lambda row: row.t_s, value=lambda row: float(getattr(row, column))
    )


def queue_series(queues: Sequence[QueueRow], column: str) -> dict[str, Series]:
    """Return interface -> series of one column of queues.csv, e.g. ``backlog_bytes``."""
    return collect(
        queues, key=lambda row: row.intf, t_s=lambda row: row.t_s, value=lambda row: float(getattr(row, column))
    )


def direction_series(topology: Topology, links: Sequence[LinkRow], unit: str) -> dict[str, Series]:
    """Return direction name -> cumulative ``bytes`` or ``packets``.

    Counted where they are sent; from a host where they arrive, because host ends are read at the start and
    the end only. Directions without samples are left out.
    """
    sent, received = link_series(links, f"tx_{unit}"), link_series(links, f"rx_{unit}")
    found = ((direction, _observed(direction, sent, received)) for direction in topology.directions)
    return {direction.name: series for direction, series in found if series is not None}


def _observed(direction: Direction, sent: Mapping[str, Series], received: Mapping[str, Series]) -> Series | None:
    if direction.kind == "host_tx":
        return received.get(direction.dst.intf)
    return sent.get(direction.src.intf)


def rate_series_mbps(topology: Topology, links: Sequence[LinkRow], kinds: Sequence[str]) -> dict[str, Rates]:
    """Return direction name -> rate in Mbit/s between samples (Ethernet frames), for these kinds of direction.

    None where an interface's counter was reset: it is not measured, and no rate is below 0.
    """
    names = {direction.name for direction in topology.directions if direction.kind in kinds}
    rates = {
        name: series.rates() for name, series in direction_series(topology, links, "bytes").items() if name in names
    }
    return {
        name: Rates(one.times_s, tuple(None if value is None else bytes_to_mbps(value, 1.0) for value in one.values))
        for name, one in rates.items()
    }
