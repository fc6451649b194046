from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.colouring import colour_edges, highest_degree

edge_lists = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60)


def clashes(edges, colours):
    """Count edges that share a node and a colour with another."""
    at_left = Counter((u, c) for (u, _v), c in zip(edges, colours, strict=True))
    at_right = Counter((v, c) for (_u, v), c in zip(edges, colours, strict=True))
    return sum(n - 1 for n in at_left.values()) + sum(n - 1 for n in at_right.values())


def test_highest_degree_counts_parallel_edges_on_either_side():
    assert highest_degree([(0, 1), (0, 1), (2, 1), (0, 3)]) == 3  # right node 1 and left node 0 have three each
    assert highest_degree([]) == 0


@given(edge_lists)
def test_highest_degree_colours_are_enough_and_no_two_edges_of_a_node_share_one(edges):
    colours = colour_edges(edges, highest_degree(edges))
    assert clashes(edges, colours) == 0
    assert all(0 <= colour < highest_degree(edges) for colour in colours)


@given(edge_lists, st.integers(0, 5))
def test_more_colours_than_needed_do_no_harm(edges, spare):
    assert clashes(edges, colour_edges(edges, highest_degree(edges) + spare)) == 0


@given(edge_lists)
def test_the_same_edges_get_the_same_colours(edges):
    assert colour_edges(edges, highest_degree(edges)) == colour_edges(edges, highest_degree(edges))


def test_a_choice_that_blocks_a_later_edge_is_revised():
    # (0,0)=a and (1,1)=b leave edge (0,1) no common colour of two, so one of the earlier ones has to change.
    edges = [(0, 0), (1, 1), (0, 1), (1, 0)]
    assert clashes(edges, colour_edges(edges, 2)) == 0


def test_colours_are_used_about_equally():
    edges = [(leaf, (leaf + 1) % 4) for leaf in range(4)]
    assert sorted(Counter(colour_edges(edges, 4)).values()) == [1, 1, 1, 1]


def test_too_few_colours_are_refused():
    with pytest.raises(ValueError, match="1 colours cannot colour edges of degree 2"):
        colour_edges([(0, 1), (0, 2)], 1)
