"""Distributions of flow sizes: the published ones, a user's own, and what is drawn from them."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ScenarioError
from testbed.model.flow_sizes import (
    DATA_MINING,
    TABLES,
    WEB_SEARCH,
    Points,
    draw_bytes,
    mean_bytes,
    mistakes_in,
    parse_table,
    quantile_bytes,
)


@st.composite
def tables(draw: st.DrawFn) -> Points:
    sizes = sorted(draw(st.sets(st.integers(1, 10**9), min_size=1, max_size=12)))
    shares = sorted(draw(st.lists(st.floats(0, 1), min_size=len(sizes) - 1, max_size=len(sizes) - 1)))
    return tuple(zip(map(float, sizes), [*shares, 1.0], strict=True))


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_are_distributions(name: str) -> None:
    assert list(mistakes_in(TABLES[name])) == []


def test_means_are_those_simulators_state() -> None:
    """pFabric's simulations state 1138 packets a flow of the web search's (with 1460 bytes each, 1.66 MB)."""
    assert mean_bytes(WEB_SEARCH) / 1460 == pytest.approx(1140, rel=0.01)
    assert mean_bytes(DATA_MINING) == pytest.approx(12.66e6, rel=0.01)


@given(tables(), st.integers(0, 2**32))
def test_what_is_drawn_lies_within_the_table(points: Points, seed: int) -> None:
    assert list(mistakes_in(points)) == []
    rng = Random(seed)
    for size in (draw_bytes(points, rng) for _ in range(20)):
        assert points[0][0] <= size <= points[-1][0]


@given(tables(), st.floats(0, 1), st.floats(0, 1))
def test_larger_shares_are_of_larger_sizes(points: Points, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert quantile_bytes(points, low) <= quantile_bytes(points, high)


@pytest.mark.parametrize("points", [WEB_SEARCH, ((1000.0, 0.5), (3000.0, 1.0)), ((700.0, 1.0),)])
def test_the_mean_is_that_of_many(points: Points) -> None:
    rng = Random(1)
    assert fmean(draw_bytes(points, rng) for _ in range(100_000)) == pytest.approx(mean_bytes(points), rel=0.02)


def test_points_lie_on_the_distribution() -> None:
    for size, share in WEB_SEARCH:
        assert quantile_bytes(WEB_SEARCH, share) == pytest.approx(size)
    assert quantile_bytes(((1000.0, 0.5), (3000.0, 1.0)), 0.75) == 2000


def test_sizes_are_scaled() -> None:
    assert draw_bytes(((1000.0, 1.0),), Random(1), 0.05) == 50
    assert draw_bytes(((3.0, 1.0),), Random(1), 0.001) == 1  # a flow has a byte


def test_a_file_is_read() -> None:
    text = "# size share\n0 0\n1000, 0.5  # half\n\n2e4 1\n"
    assert parse_table(text, source="x") == ((0, 0), (1000, 0.5), (20000, 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["no point"]),
        ("1000 0.5\n", ["share 0.5 of the last point"]),
        ("1000 0.5\n900 1\n", ["size 900 after 1000"]),
        ("1000 0.5\n2000 0.4\n3000 1\n", ["share 0.4 after 0.5"]),
        ("1000 1.5\n", ["share 1.5"]),
        ("nan 1\n", ["size nan"]),
        ("0 1\n", ["largest size 0"]),
        ("a b\n1 2 3\n-1 0\n5 2\n", ["'a b'", "'1 2 3'", "size -1", "share 2"]),
    ],
)
def test_every_mistake_of_a_file_is_told_with_its_line(text: str, said: list[str]) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_table(text, source="sizes.txt")
    told = [str(problem) for problem in caught.value.problems]
    for words in said:
        assert any(words in one for one in told), told
    assert all("sizes.txt" in one for one in told)


def test_lines_of_mistakes_are_counted_in_the_file() -> None:
    with pytest.raises(ScenarioError, match="line 4"):
        parse_table("# comment\n10 0.2\n\n5 1\n", source="x")
