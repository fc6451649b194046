"""How many times one set's numbers are the other's: ratio, interval, significance, equivalence. Pure.

Everything is Student's t on logarithms: of B/A for pairs (the same seed under both), of each set for Welch's
version where there are no pairs. Why not something else, with the Monte Carlo behind it: docs/compare.md.

Few runs may agree by accident far better than the next ones would, and t divides by how well they agree: so no
standard deviation counts for less than ``floor``, what runs of one and the same thing differ by in any case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

from testbed.inference.student import two_sided_p, two_sided_quantile, upper_tail

LEAST_RUNS: Final = 3  # pairs, or runs of each set: two cannot tell their spread (one degree of freedom)
# Runs of one thing (gse1, five seeds) differ by 0.07%: what looks steadier than this does so by accident.
REPEATABILITY: Final = 0.001
LARGEST_LOG: Final = 700.0
ROUNDING: Final = 1e-9  # of numbers that are computed from each other; runs differ by far more


@dataclass(frozen=True, slots=True)
class Contrast:
    """The mean logarithm of a ratio, its standard error, the degrees of freedom of that, and over how many runs."""

    log_ratio: float
    error: float
    degrees: float
    runs: int
    is_paired: bool

    @property
    def ratio(self) -> float:
        """Geometric mean of the ratio."""
        return _exp(self.log_ratio)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the ratio."""
        reach = self.reach(confidence)
        return (_exp(self.log_ratio - reach), _exp(self.log_ratio + reach))

    def reach(self, confidence: float = 0.95) -> float:
        """Return half the width of the logarithm's confidence interval."""
        return two_sided_quantile(confidence, self.degrees) * self.error

    def says_the_same(self, other: Contrast) -> bool:
        """Return whether the other is this one, or this one upside down: then every test of one is a test of both."""
        mine, others = ((abs(one.log_ratio), one.error, one.degrees) for one in (self, other))
        return all(math.isclose(x, y, rel_tol=ROUNDING, abs_tol=ROUNDING) for x, y in zip(mine, others, strict=True))

    def p_equal(self) -> float:
        """Return the p-value of "the ratio is 1", two-sided."""
        return two_sided_p(self.log_ratio / self.error, self.degrees)

    def p_beyond(self, margin: float) -> float:
        """Return the p-value of "the ratio is off 1 by ``margin`` or more": small means shown to be within.

        Two one-sided tests (Schuirmann 1987) of 1/(1 + margin) and 1 + margin, the bounds a ratio and its inverse
        share. margin > 0.
        """
        bound = math.log1p(margin)
        nearest = bound - abs(self.log_ratio)
        return upper_tail(nearest / self.error, self.degrees)


def paired(log_ratios: Sequence[float], *, floor: float = REPEATABILITY) -> Contrast | None:
    """Contrast pairs by the logarithms of their ratios B/A; None for fewer than ``LEAST_RUNS``.

    ``floor`` > 0: least standard deviation of one pair's logarithm.
    """
    if len(log_ratios) < LEAST_RUNS:
        return None
    spread = max(stdev(log_ratios), floor)
    runs = len(log_ratios)
    return Contrast(fmean(log_ratios), spread / math.sqrt(runs), runs - 1, runs, is_paired=True)


def unpaired(a_logs: Sequence[float], b_logs: Sequence[float], *, floor: float = REPEATABILITY) -> Contrast | None:
    """Contrast two sets that have no pairs (Welch 1947); None when either has fewer than ``LEAST_RUNS``.

    ``floor`` > 0: least standard deviation of one run's logarithm.
    """
    if min(len(a_logs), len(b_logs)) < LEAST_RUNS:
        return None
    parts = [(max(stdev(logs), floor) ** 2 / len(logs), len(logs) - 1) for logs in (a_logs, b_logs)]
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / own for part, own in parts)
    runs = min(len(a_logs), len(b_logs))
    return Contrast(fmean(b_logs) - fmean(a_logs), math.sqrt(variance), degrees, runs, is_paired=False)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for their number (Holm 1979): those at most alpha are significant together.

    Whatever depends on what: the chance of any false one among them is at most alpha.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(p_values[index] * (len(p_values) - rank), 1.0))
        adjusted[index] = largest
    return tuple(adjusted)


def _exp(value: float) -> float:
    return math.exp(min(value, LARGEST_LOG))
