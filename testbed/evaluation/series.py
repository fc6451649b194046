"""Cumulative counters over time, and what happened between two moments. Pure.

A counter is sampled; between samples it is taken to grow evenly. ``None`` means the samples do not say.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from testbed.evaluation.records import LinkRow, QueueRow
from testbed.model.topology import Direction, Topology
from testbed.units import bytes_to_mbps

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one quantity in order of time; ``times_s`` are strictly increasing."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]

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
        """Return the growth over several windows together."""
        return total(self.increase(start, end) for start, end in windows)

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
        """Return the growth over the part of ``windows`` the samples cover: for things that come and go."""
        if not self.times_s:
            return 0.0
        first, last = self.times_s[0], self.times_s[-1]
        inside = ((max(start, first), min(end, last)) for start, end in windows)
        return self.increase_over((start, end) for start, end in inside if start < end) or 0.0

    def rates(self) -> Series:
        """Return the growth per second between samples, at the later sample's time."""
        steps = zip(self.times_s, self.times_s[1:], self.values, self.values[1:], strict=False)
        return Series(self.times_s[1:], tuple((v1 - v0) / (t1 - t0) for t0, t1, v0, v1 in steps))

    def _grows(self, start_s: float, end_s: float) -> bool:
        low, high = bisect_left(self.times_s, start_s), bisect_right(self.times_s, end_s)
        inside = self.values[low:high]
        return all(b >= a for a, b in zip(inside, inside[1:], strict=False))


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


def rate_series_mbps(topology: Topology, links: Sequence[LinkRow], kinds: Sequence[str]) -> dict[str, Series]:
    """Return direction name -> rate in Mbit/s between samples (Ethernet frames), for these kinds of direction."""
    names = {direction.name for direction in topology.directions if direction.kind in kinds}
    rates = {
        name: series.rates() for name, series in direction_series(topology, links, "bytes").items() if name in names
    }
    return {
        name: Series(series.times_s, tuple(bytes_to_mbps(value, 1.0) for value in series.values))
        for name, series in rates.items()
    }
