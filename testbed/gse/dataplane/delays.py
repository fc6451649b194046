"""Which paths are slow, seen from the destination: one-way delay of data frames by source and path.

EMULATION: source and destination share a clock, so a delay is a difference of time stamps. Only differences between
the paths of one source count, which clocks that merely run alike would give as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MOST_LEVEL: Final = 3
STREAK: Final = 3
_MASK: Final = 0xFFFF_FFFF
_IMPOSSIBLE_US: Final = 60_000_000  # a stamp older than a minute, or of the future, says nothing


class Slow(NamedTuple):
    """Frames of a source wait on ``path`` (from 1)."""

    src: int
    path: int
    level: int


class PathDelays:
    """Mean delays over one interval. ``unit_s`` of excess over the source's fastest path is one level.

    A path is called slow when it has been so in ``STREAK`` intervals in a row that brought frames by it: containers of
    several sources meet on one path now on another, a link that is slow stays slow.
    """

    def __init__(self, unit_s: float) -> None:
        self._unit_us = unit_s * 1e6
        self._streaks: dict[tuple[int, int], int] = {}  # (source, path) -> intervals in a row with the highest level
        self._sums: dict[tuple[int, int], list[int]] = {}  # (source, path) -> [frames, microseconds]

    def record(self, src: int, path: int, ts_us: int, now_s: float) -> None:
        """A frame with the source's time stamp has come by ``path``."""
        delay_us = (int(now_s * 1e6) - ts_us) & _MASK
        if delay_us > _IMPOSSIBLE_US:
            return
        entry = self._sums.get((src, path))
        if entry is None:
            entry = self._sums[src, path] = [0, 0]
        entry[0] += 1
        entry[1] += delay_us

    def judge(self) -> list[Slow]:
        """Return the paths that are slow against the fastest of the same source, and begin a new interval."""
        means = {key: total / frames for key, (frames, total) in self._sums.items()}
        self._sums.clear()
        fastest: dict[int, float] = {}
        for (src, _path), mean in means.items():
            fastest[src] = min(mean, fastest.get(src, mean))
        found = []
        for (src, path), mean in means.items():
            level = min(MOST_LEVEL, int((mean - fastest[src]) / self._unit_us))
            streak = self._streaks.get((src, path), 0) + 1 if level == MOST_LEVEL else 0
            self._streaks[src, path] = streak
            if streak >= STREAK:
                found.append(Slow(src, path, level))
        return found
