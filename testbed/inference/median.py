"""Where the median of all values there could be lies, by order statistics: whatever they are distributed like. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Final

CONFIDENCE: Final = 0.95


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval of the median, with at least 95% confidence; None below six values.

    Of n values at most k - 1 are below the median with probability P(Bin(n, 1/2) < k).
    """
    ordered = sorted(values)
    k = rank_of_interval(len(ordered))
    return (ordered[k - 1], ordered[-k]) if k else None


def rank_of_interval(count: int) -> int:
    """Return the largest k for which the kth and the kth last of so many enclose the median with 95%; 0: none does."""
    below, k = 0, 0
    while 2 * (below + comb(count, k)) <= (1 - CONFIDENCE) * 2**count:
        below += comb(count, k)
        k += 1
    return k
