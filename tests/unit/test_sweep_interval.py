"""The interval of a median needs no distribution: counted for every number of runs."""

from __future__ import annotations

from math import comb

import pytest

from testbed.views.sweep import _rank_of_interval


@pytest.mark.parametrize("runs", range(41))
def test_the_interval_is_the_narrowest_that_has_95_percent(runs: int) -> None:
    def outside(k: int) -> float:
        """The kth smallest is above the median, or the kth largest below."""
        return 2 * sum(comb(runs, i) for i in range(k)) / 2**runs

    k = _rank_of_interval(runs)
    assert (k == 0) == (runs < 6)
    if k:
        assert outside(k) <= 0.05 < outside(k + 1)


def test_of_ten_runs_the_second_and_the_ninth() -> None:
    assert _rank_of_interval(10) == 2
