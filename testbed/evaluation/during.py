"""Windows of time that are asked about again and again: what lies in one of them, and how much of the time. Pure.

A run may have 100,000 iterations and millions of rows: nothing here looks at every window for every row.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate

Window = tuple[float, float]


class During(tuple[Window, ...]):
    """Windows in the order they were given, each from its start to its end, both included; they may overlap.

    Answers take time that grows with the logarithm of their number.
    """

    @classmethod
    def of(cls, windows: Iterable[Window]) -> During:
        """Return ``windows`` themselves where they are such already: what is known of them is kept."""
        return windows if isinstance(windows, cls) else cls(windows)

    def has(self, t_s: float) -> bool:
        """Return whether a moment is in one of the windows."""
        return self.hold(t_s, t_s)

    def hold(self, start_s: float, end_s: float) -> bool:
        """Return whether one of the windows, by itself, has all of the time from ``start_s`` to ``end_s``."""
        begun = bisect_right(self._starts_s, start_s)
        return begun > 0 and self._latest_ends_s[begun - 1] >= end_s

    def meet(self, start_s: float, end_s: float) -> bool:
        """Return whether one of the windows overlaps that time; that they touch is not enough."""
        begun = bisect_left(self._starts_s, end_s)
        return begun > 0 and self._latest_ends_s[begun - 1] > start_s

    def within(self, start_s: float, end_s: float) -> bool:
        """Return whether all of the windows lie in that time; true of none."""
        return not self or (self._starts_s[0] >= start_s and self._latest_ends_s[-1] <= end_s)

    def covered_s(self, t_s: float) -> float:
        """Return how much time before ``t_s`` the windows have together; where they overlap it counts for each."""
        begun, ended = bisect_left(self._starts_s, t_s), bisect_left(self._ends_s, t_s)
        return (begun * t_s - self._start_sums_s[begun]) - (ended * t_s - self._end_sums_s[ended])

    @cached_property
    def forward(self) -> During:
        """Those that end after they begin."""
        kept = [window for window in self if window[0] < window[1]]
        return self if len(kept) == len(self) else During(kept)

    @cached_property
    def _by_start(self) -> Sequence[Window]:
        return sorted(self)

    @cached_property
    def _starts_s(self) -> Sequence[float]:
        return [start for start, _end in self._by_start]

    @cached_property
    def _latest_ends_s(self) -> Sequence[float]:
        """Of each window in order of their starts, when it or one that began before it ends at the latest."""
        return list(accumulate((end for _start, end in self._by_start), max))

    @cached_property
    def _ends_s(self) -> Sequence[float]:
        return sorted(end for _start, end in self)

    @cached_property
    def _start_sums_s(self) -> Sequence[float]:
        return list(accumulate(self._starts_s, initial=0.0))

    @cached_property
    def _end_sums_s(self) -> Sequence[float]:
        return list(accumulate(self._ends_s, initial=0.0))
