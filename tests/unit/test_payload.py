from __future__ import annotations

import numpy as np
import pytest

from testbed.workload.payload import count_wrong, make_base, rank_values, sum_factor


@pytest.mark.parametrize("n_ranks", [2, 16, 361, 1000, 5792])
def test_adding_all_ranks_in_any_order_is_exact(n_ranks: int) -> None:
    base = make_base(n_ranks, 400, 1)
    total = np.zeros(100, dtype=np.float32)
    for rank in np.random.default_rng(0).permutation(n_ranks):
        total += rank_values(base, int(rank))
    assert count_wrong(total, base, n_ranks) == 0
    assert total.tolist() == (base.astype(np.int64) * sum_factor(n_ranks)).tolist()


def test_too_many_ranks_for_exact_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="5792"):  # 5793 x 5794 / 2 = 16782321 > 2**24 = 16777216
        make_base(5793, 400, 1)


def test_before_the_collective_every_element_is_wrong() -> None:
    base = make_base(2, 4 << 20, 7)
    assert count_wrong(rank_values(base, 0), base, 2) == 1 << 20  # more than one block


def test_each_wrong_element_is_counted_and_so_is_a_nan() -> None:
    base = make_base(2, 4 << 20, 7)
    values = rank_values(base, 2)  # 1 + 2 = 3 times base: the right sum of two ranks
    assert count_wrong(values, base, 2) == 0
    values[[0, 5, -1]] += 1
    values[17] = np.nan
    assert count_wrong(values, base, 2) == 4


def test_every_iteration_has_its_own_numbers() -> None:
    assert make_base(4, 4000, 1).tolist() == make_base(4, 4000, 1).tolist()
    assert make_base(4, 4000, 1).tolist() != make_base(4, 4000, 2).tolist()
