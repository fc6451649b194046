"""The interval of a median needs no distribution: counted for every number of runs."""

from __future__ import annotations

from math import comb

import pytest

from testbed.inference.median import median_interval, rank_of_interval


@pytest.mark.parametrize("runs", range(41))
def test_the_interval_is_the_narrowest_that_has_95_percent(runs: int) -> None:
    def outside(k: int) -> float:
        """The kth smallest is above the median, or the kth largest below."""
        return 2 * sum(comb(runs, i) for i in range(k)) / 2**runs

    k = rank_of_interval(runs)
    assert (k == 0) == (runs < 6)
    if k:
        assert outside(k) <= 0.05 < outside(k + 1)


def test_of_ten_runs_the_second_and_the_ninth() -> None:
    assert median_interval([3, 1, 10, 2, 4, 9, 5, 8, 6, 7]) == (2, 9)
    assert median_interval([1, 2, 3, 4, 5]) is None
