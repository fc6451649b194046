from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.workload.payload import (
    count_unlike_turned,
    make_base,
    sum_factor,
    turned_values,
)


@pytest.mark.parametrize("n_ranks", [2, 16, 361, 1000, 5792])
def test_adding_all_ranks_in_any_order_is_exact(n_ranks: int) -> None:
    base = make_base(n_ranks, 400, 1)
    total = np.zeros(100, dtype=np.float32)
    for rank in np.random.default_rng(0).permutation(n_ranks):
        total += turned_values(base, int(rank), n_ranks)
    assert count_unlike_turned(total, base, 0, range(n_ranks), n_ranks) == 0
    assert total.tolist() == (base.astype(np.int64) * sum_factor(n_ranks)).tolist()


def test_too_many_ranks_for_exact_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="5792"):  # 5793 x 5794 / 2 = 16782321 > 2**24 = 16777216
        make_base(5793, 400, 1)


def test_before_the_collective_every_element_is_wrong() -> None:
    base = make_base(2, 4 << 20, 7)
    assert count_unlike_turned(turned_values(base, 0, 2), base, 0, range(2), 2) == 1 << 20  # more than one block


def test_every_iteration_has_its_own_numbers() -> None:
    assert make_base(4, 4000, 1).tolist() == make_base(4, 4000, 1).tolist()
    assert make_base(4, 4000, 1).tolist() != make_base(4, 4000, 2).tolist()


# -- factors that take turns ----------------------------------------------------------------------------------


def test_factors_take_turns() -> None:
    base = np.array([1, 1, 1, 10, 10], dtype=np.uint8)
    assert [turned_values(base, rank, 3).tolist() for rank in range(3)] == [
        [1, 2, 3, 10, 20],
        [2, 3, 1, 20, 30],
        [3, 1, 2, 30, 10],
    ]


@pytest.mark.parametrize("n_ranks", [2, 3, 361])
def test_turned_sums_are_exact_and_those_of_some_ranks_too(n_ranks: int) -> None:
    base = make_base(n_ranks, 400, 1)
    total, some = np.zeros(100, dtype=np.float32), np.zeros(100, dtype=np.float32)
    for rank in range(n_ranks):
        total += turned_values(base, rank, n_ranks)
        some += turned_values(base, rank, n_ranks) * (rank % 2)
    assert count_unlike_turned(total, base, 0, range(n_ranks), n_ranks) == 0
    assert count_unlike_turned(some, base, 0, range(1, n_ranks, 2), n_ranks) == 0
    assert count_unlike_turned(some[7:50], base, 7, range(1, n_ranks, 2), n_ranks) == 0
    assert count_unlike_turned(some, base, 0, range(n_ranks), n_ranks) == 100


def test_blocks_are_compared_where_they_stand() -> None:
    base = make_base(3, 4 << 20, 7)
    values = turned_values(base, 2, 3)
    assert count_unlike_turned(values, base, 0, (2,), 3) == 0
    assert count_unlike_turned(values[1000:], base, 1000, (2,), 3) == 0
    values[[0, 5, -1]] += 1
    values[17] = np.nan
    assert count_unlike_turned(values, base, 0, (2,), 3) == 4


@given(st.integers(2, 12), st.data())
def test_wrong_numbers_of_contributions_are_seen_within_n_elements(n: int, data: st.DataObject) -> None:
    """Also where factors 1..n would add up to the right sum: 3 + 3 = 1 + 2 + 3."""
    times = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n).filter(lambda drawn: drawn != [1] * n))
    base = make_base(n, 4 * n, 1)
    total = sum(turned_values(base, rank, n) * count for rank, count in enumerate(times))
    assert isinstance(total, np.ndarray)
    assert count_unlike_turned(total.astype(np.float32), base, 0, range(n), n) > 0
