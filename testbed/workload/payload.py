"""What the ranks of an all-reduce hold, chosen so that the right answer is known exactly. Pure.

Rank r holds (r + 1) x base, where base are small whole numbers drawn anew for every iteration. Every partial
sum is a whole number float32 represents exactly, so the sum does not depend on the order of additions and the
check needs no tolerance. No element is right before the collective, so what never arrives counts as wrong.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Base: TypeAlias = NDArray[np.uint8]

FLOAT32_WHOLE_NUMBERS = 2**24  # float32 represents every whole number up to this one
CHECK_BLOCK = 1 << 18  # elements compared at a time: 1 MiB of float32 rather than a second array


def sum_factor(n_ranks: int) -> int:
    """Return 1 + 2 + ... + n, what base is multiplied with when every rank's array has been added."""
    return n_ranks * (n_ranks + 1) // 2


def make_base(n_ranks: int, size_bytes: int, iteration: int) -> Base:
    """Return the iteration's base numbers, 1..255, smaller where many ranks would leave the exact range.

    Raises ValueError when there are too many ranks for exact sums in float32.
    """
    largest = min(255, FLOAT32_WHOLE_NUMBERS // sum_factor(n_ranks))
    if largest < 1:
        raise ValueError(f"n_ranks={n_ranks}: their sum is not exact in float32; expected at most 5792 ranks")
    rng = np.random.default_rng((iteration, size_bytes))
    return rng.integers(1, largest, size=size_bytes // 4, dtype=np.uint8, endpoint=True)


def rank_values(base: Base, rank: int) -> Floats:
    """Return the array rank ``rank`` brings to the all-reduce."""
    values: Floats = base.astype(np.float32)
    values *= np.float32(rank + 1)
    return values


def count_wrong(values: Floats, base: Base, n_ranks: int) -> int:
    """Return how many elements differ from the exact sum over all ranks (a NaN differs)."""
    factor = np.float32(sum_factor(n_ranks))
    wrong = 0
    for start in range(0, len(base), CHECK_BLOCK):
        block = slice(start, start + CHECK_BLOCK)
        expected: NDArray[Any] = base[block] * factor
        wrong += int(np.count_nonzero(values[block] != expected))
    return wrong
