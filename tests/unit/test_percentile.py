from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.percentile import nearest_rank


def test_percentile_is_a_value_that_occurred() -> None:
    assert nearest_rank([], 99) is None
    assert nearest_rank([3.0], 99) == 3.0
    assert nearest_rank([5.0, 1.0, 4.0, 2.0, 3.0], 50) == 3.0  # rank ceil(2.5) = 3
    assert nearest_rank(range(1, 101), 99) == 99
    assert nearest_rank(range(1, 102), 99) == 100  # rank ceil(99.99) = 100


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 100))
def test_enough_are_not_above_it_and_no_value_below_it_would_do(values: list[float], percent: int) -> None:
    found = nearest_rank(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)
