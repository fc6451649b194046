"""What the ranks of a collective hold, chosen so that the right answer is known exactly. Pure.

Rank r of n holds ((r + i) mod n + 1) x base at element i, where base are small whole numbers drawn anew for every
iteration: the factors 1..n take turns. Every partial sum is a whole number float32 represents exactly, so the sum does
not depend on the order of additions and the check needs no tolerance.

A contribution can be missing, late, or come twice in place of others whose sum it is; with one factor per rank that
could be right by chance (rank 2's for those of ranks 0 and 1 and its own: 3 + 3 = 1 + 2 + 3). Here wrong numbers of
contributions e_r in excess are seen as sum over r of e_r x ((r + i) mod n + 1), which is not zero all over n
consecutive elements unless every e_r is zero: the matrix of these factors is circulant, and none of its eigenvalues
n(n+1)/2 and n / (w^k - 1), w = exp(2 pi i / n), is zero.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

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


def turned_values(base: Base, rank: int, n_ranks: int) -> Floats:
    """Return the array rank ``rank`` of ``n_ranks`` brings where factors take turns."""
    return _times(base, 0, _turned_factors((rank,), n_ranks))


def count_unlike_turned(values: Floats, base: Base, start: int, ranks: Collection[int], n_ranks: int) -> int:
    """Return how many of ``values``, from element ``start`` on, are not the sum of what ``ranks`` brought there."""
    factors = _turned_factors(ranks, n_ranks)
    wrong = 0
    for first in range(0, len(values), CHECK_BLOCK):
        block = values[first : first + CHECK_BLOCK]
        at = start + first
        wrong += int(np.count_nonzero(block != _times(base[at : at + len(block)], at, factors)))
    return wrong


def _turned_factors(ranks: Collection[int], n_ranks: int) -> Floats:
    """Return what base is multiplied with at elements 0..n-1 in the sum over ``ranks``; it is the same n further on."""
    factors: Floats = np.zeros(n_ranks, dtype=np.float32)
    for rank in ranks:
        factors += (np.arange(n_ranks, dtype=np.float32) + rank) % n_ranks + 1
    return factors


def _times(base: Base, start: int, factors: Floats) -> Floats:
    """Return base x factors, ``base`` standing from element ``start``."""
    product: Floats = np.resize(np.roll(factors, -start), len(base))
    product *= base
    return product
