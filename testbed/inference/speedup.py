"""How many times faster one thing is than another, over pairs of runs with the same seed. Pure.

The one place where a speed-up and its interval are computed: tables, figures, sweeps and ``--until-ci`` ask here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from testbed.inference.contrast import LARGEST_LOG, paired

CONFIDENCE: Final = 0.95
# By Monte Carlo of hashing's three outcomes Student's interval covers 79% with three seeds, 91% with five, 94% with
# ten.
PAIRS_FOR_AN_INTERVAL: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """Geometric mean of the ratios baseline time / other time, its confidence interval, and the range of the ratios.

    ``low``/``high`` are None for fewer pairs than can tell their spread (``contrast.LEAST_RUNS``).
    """

    mean: float
    low: float | None
    high: float | None
    smallest: float
    largest: float
    pairs: int

    @property
    def told(self) -> tuple[float, float]:
        """What is told beside the mean: the interval where there are pairs enough for one to hold, else the range."""
        if self.is_interval_told and self.low is not None and self.high is not None:
            return self.low, self.high
        return self.smallest, self.largest

    @property
    def is_interval_told(self) -> bool:
        """Whether that is an interval."""
        return self.pairs >= PAIRS_FOR_AN_INTERVAL


def paired_speedup(baseline_s: Mapping[int, float], other_s: Mapping[int, float]) -> Speedup | None:
    """Compare times (seed -> s > 0); None when no seed is in both."""
    seeds = sorted(baseline_s.keys() & other_s.keys())
    if not seeds:
        return None
    ratios = [baseline_s[seed] / other_s[seed] for seed in seeds]
    logs = [math.log(ratio) for ratio in ratios]
    contrast = paired(logs)
    low, high = (None, None) if contrast is None else contrast.interval(CONFIDENCE)
    if contrast is not None and not any(logs):
        low = high = 1.0  # the same runs: nothing that measuring again could change
    return Speedup(
        mean=math.exp(min(fmean(logs), LARGEST_LOG)),  # a number even where two runs hardly have a ratio
        low=low,
        high=high,
        smallest=min(ratios),
        largest=max(ratios),
        pairs=len(ratios),
    )
