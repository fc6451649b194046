"""When there are seeds enough: the interval of every ratio to the baseline is as narrow as was asked for. Pure.

Looking after every seed and stopping at the first narrow interval favours moments at which the seeds happen to agree,
so such an interval covers the truth less often than it says. Two things hold that back: nobody looks before
``LEAST_SEEDS`` pairs, and no spread counts for less than runs of one thing have (``contrast.REPEATABILITY``). What is
left of it: docs/compare.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from testbed.inference.speedup import paired_speedup

LEAST_SEEDS: Final = 10


@dataclass(frozen=True, slots=True)
class Reach:
    """How well a speed-up over the baseline is known; all but ``pairs`` None for fewer pairs than have an interval.

    ``half_width`` is relative: the interval is ratio / (1 + half_width) to ratio x (1 + half_width).
    """

    pairs: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    half_width: float | None = None

    def is_within(self, target: float) -> bool:
        """Return whether the interval is as narrow as ``target``, of seeds enough to say so."""
        return self.half_width is not None and self.pairs >= LEAST_SEEDS and self.half_width <= target


def reach(baseline_s: Mapping[int, float], other_s: Mapping[int, float]) -> Reach:
    """Return how well the speed-up (baseline time / other time; seed -> s > 0) is known."""
    found = paired_speedup(baseline_s, other_s)
    if found is None or found.low is None or found.high is None:
        return Reach(0 if found is None else found.pairs)
    return Reach(found.pairs, found.mean, found.low, found.high, found.high / found.mean - 1)
