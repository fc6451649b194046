"""Who sends how much to whom, held against formulas of their own, and how trees and groups are made."""

from __future__ import annotations

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.collectives import tree
from testbed.collectives.algorithms import ALGORITHMS, default_algorithm, problems, program
from testbed.collectives.holdings import Holding, after, before
from testbed.collectives.operation import OPERATIONS, PROGRAM_OPERATIONS, ProgramOperation, bus_factor
from testbed.collectives.program import Program, Span, Transfer, pair_bytes, received_bytes, sent_bytes

ranks_and_floats = st.tuples(st.integers(2, 33), st.integers(1, 500))
powers_and_floats = st.tuples(st.sampled_from([2, 4, 8, 16, 32]), st.integers(1, 500))


def part_bytes(floats: int, first: int, parts: int, length: int = 1) -> int:
    """Bytes of ``length`` parts from part ``first`` on."""
    first %= parts
    return 4 * (floats * (first + length) // parts - floats * first // parts)


def totals(
    operation: ProgramOperation, algorithm: str, n: int, floats: int, **more: int
) -> tuple[list[int], list[int]]:
    made = program(operation, n, 4 * floats, algorithm=algorithm, **more)
    for count, end in ((sent_bytes(made), 0), (received_bytes(made), 1)):
        for rank in range(n):
            its = [transfer for transfer in made.transfers if transfer[end] == rank]
            assert count[rank] == sum(transfer.end_byte - transfer.start_byte for transfer in its)
    assert sum(pair_bytes(made).values()) == sum(sent_bytes(made)) == sum(received_bytes(made))
    return list(sent_bytes(made)), list(received_bytes(made))


# -- bytes ----------------------------------------------------------------------------------------------------


@given(ranks_and_floats)
def test_ring_bytes(sizes: tuple[int, int]) -> None:
    n, floats = sizes
    size = 4 * floats
    sent, received = totals("allreduce", "ring", n, floats)
    # all parts twice, but the one it ends up with the sum of and the one that the next rank does
    assert sent == [2 * size - part_bytes(floats, r + 1, n) - part_bytes(floats, r + 2, n) for r in range(n)]
    assert received == [sent[r - 1] for r in range(n)]
    assert all(abs(bytes_ - 2 * (n - 1) * size / n) < 2 * 4 for bytes_ in sent)
    sent, received = totals("reduce_scatter", "ring", n, floats)
    assert sent == [size - part_bytes(floats, r, n) for r in range(n)]  # all but its own
    assert received == [size - part_bytes(floats, r - 1, n) for r in range(n)]
    sent, received = totals("all_gather", "ring", n, floats)
    assert sent == [size - part_bytes(floats, r + 1, n) for r in range(n)]  # all but the next one's
    assert received == [size - part_bytes(floats, r, n) for r in range(n)]
    assert totals("broadcast", "ring", n, floats, root=1) == (
        [0 if r == 0 else size for r in range(n)],  # rank 0 is the last of the chain
        [0 if r == 1 else size for r in range(n)],
    )


@given(powers_and_floats)
def test_halving_and_doubling_bytes(sizes: tuple[int, int]) -> None:
    n, floats = sizes
    own = [part_bytes(floats, r, n) for r in range(n)]
    blocks = [
        sum(part_bytes(floats, r // length * length, n, length) for length in (2**k for k in range(int(log2(n)))))
        for r in range(n)
    ]
    given_up = [4 * floats - part for part in own]
    assert totals("reduce_scatter", "halving", n, floats) == (given_up, blocks)
    assert totals("all_gather", "doubling", n, floats) == (blocks, given_up)
    both = [a + b for a, b in zip(given_up, blocks, strict=True)]
    assert totals("allreduce", "halving_doubling", n, floats) == (both, both)
    if floats % n == 0:
        assert both == [2 * (n - 1) * 4 * floats // n] * n


@given(ranks_and_floats)
def test_ranks_beyond_a_power_of_two_leave_their_arrays_to_partners(sizes: tuple[int, int]) -> None:
    n, floats = sizes
    power = 2 ** int(log2(n))
    rest, size = n - power, 4 * floats
    inner, _received = totals("allreduce", "halving_doubling", power, floats)
    expected = []
    for pair in range(rest):
        expected += [size, size + inner[pair]]
    assert totals("allreduce", "halving_doubling", n, floats) == (expected + inner[rest:],) * 2


@given(ranks_and_floats)
def test_two_trees_send_at_most_twice_the_array(sizes: tuple[int, int]) -> None:
    n, floats = sizes
    size = 4 * floats
    sent, received = totals("allreduce", "double_tree", n, floats)
    assert sum(sent) == 2 * (n - 1) * size  # every byte goes up and down n - 1 edges
    assert sent == received  # an edge is used both ways
    # at most half an array up and two halves down where it is inside, half an array up where it is a leaf
    assert all(bytes_ <= 2 * size + 4 for bytes_ in sent)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 500))
def test_hierarchical_bytes(group: int, groups: int, floats: int) -> None:
    n = group * groups
    if n < 2:
        return
    sent, received = totals("allreduce", "hierarchical", n, floats, group_ranks=group)
    assert sum(sent) == sum(received) == 2 * (n - 1) * 4 * floats
    if floats % n == 0:
        inside, across = 2 * (group - 1) * floats // group, 2 * (groups - 1) * floats // n
        assert sent == received == [4 * (inside + across)] * n
    made = program("allreduce", n, 4 * floats, algorithm="hierarchical", group_ranks=group)
    crossing = sum(size for (a, b), size in pair_bytes(made).items() if a // group != b // group)
    assert crossing == 2 * (groups - 1) * 4 * floats  # once the array from group to group, not once per rank


@given(ranks_and_floats, st.integers(0, 100))
def test_broadcast_tree_bytes(sizes: tuple[int, int], root: int) -> None:
    (n, floats), root = sizes, root % sizes[0]
    sent, received = totals("broadcast", "tree", n, floats, root=root)
    assert received == [0 if r == root else 4 * floats for r in range(n)]
    assert sent[root] == ceil(log2(n)) * 4 * floats == max(sent)


@given(ranks_and_floats)
def test_message_bytes(sizes: tuple[int, int]) -> None:
    n, floats = sizes
    own = [part_bytes(floats, r, n) for r in range(n)]
    assert totals("all_to_all", "direct", n, floats) == (
        [4 * floats - part for part in own],
        [(n - 1) * part for part in own],
    )
    assert totals("sendrecv", "direct", n, floats) == ([4 * floats] * n,) * 2


def test_bus_factors_are_those_of_nccl_tests() -> None:
    factors = {operation: bus_factor(operation, 8) for operation in OPERATIONS}
    assert factors == {
        "allreduce": 1.75,  # 2 x 7/8
        "reduce_scatter": 0.875,
        "all_gather": 0.875,
        "broadcast": 1,
        "all_to_all": 0.875,
        "sendrecv": 1,
        "reduce": 1,
        "gather": 0.875,
        "scatter": 0.875,
        "barrier": 0,
        "send": 1,
        "recv": 1,
        "exchange": 1,
    }


# -- shape ----------------------------------------------------------------------------------------------------


@given(st.integers(2, 300))
def test_two_trees_span_all_ranks_and_no_rank_is_inside_both(n: int) -> None:
    parents = []
    for edges in tree.two_trees(n):
        children = [child for _parent, child in edges]
        (root,) = set(range(n)) - set(children)
        assert len(set(children)) == len(children) == n - 1
        depth = {root: 0}
        for parent, child in edges:  # a parent comes before its children
            depth[child] = depth[parent] + 1
        assert max(depth.values()) <= log2(n) + 1
        counts = [sum(parent == rank for parent, _child in edges) for rank in range(n)]
        assert max(counts) <= 2
        parents.append({rank for rank in range(n) if counts[rank]})
    assert not parents[0] & parents[1]


def test_two_trees_of_six() -> None:
    first, second = tree.two_trees(6)
    assert first == ((3, 1), (1, 0), (1, 2), (3, 5), (5, 4))
    assert second == ((2, 4), (4, 5), (4, 3), (2, 0), (0, 1))


def test_a_binomial_tree_doubles_those_who_have_it() -> None:
    found = program("broadcast", 6, 4, algorithm="tree", root=4)
    # first to the fourth from the root (4 + 4 = 2 of 6), then to the second, then both and the root to their neighbours
    assert [transfer[:2] for transfer in found.transfers] == [(4, 2), (4, 0), (4, 5), (0, 1), (2, 3)]


def test_everybody_begins_with_somebody_else() -> None:
    found = program("all_to_all", 4, 64)
    assert [transfer[:2] for transfer in found.transfers[:4]] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert [dst for src, dst in pair_bytes(found) if src == 2] == [3, 0, 1]


def test_every_operation_has_algorithms_and_a_default() -> None:
    assert set(ALGORITHMS) == set(PROGRAM_OPERATIONS)
    assert [default_algorithm(operation) for operation in ALGORITHMS] == ["ring"] * 4 + ["direct"] * 2


# -- holdings -------------------------------------------------------------------------------------------------


def test_what_ranks_hold_before_and_after() -> None:
    found = {operation: program(operation, 2, 12) for operation in ALGORITHMS}
    assert {name: before(made, 1) for name, made in found.items()} == {
        "allreduce": (Holding(0, 12, (1,)),),
        "reduce_scatter": (Holding(0, 12, (1,)),),
        "all_gather": (Holding(4, 12, (1,)),),
        "broadcast": (),
        "all_to_all": (Holding(0, 4, (1,)),),  # for rank 0, whose part is one float
        "sendrecv": (Holding(0, 12, (1,)),),
    }
    assert {name: after(made, 1) for name, made in found.items()} == {
        "allreduce": (Holding(0, 12, (0, 1)),),
        "reduce_scatter": (Holding(4, 12, (0, 1)),),
        "all_gather": (Holding(0, 4, (0,)), Holding(4, 12, (1,))),
        "broadcast": (Holding(0, 12, (0,)),),
        "all_to_all": (Holding(0, 8, (0,)),),
        "sendrecv": (Holding(0, 12, (0,)),),
    }
    assert before(found["broadcast"], 0) == (Holding(0, 12, (0,)),)


def test_empty_parts_are_not_held() -> None:
    made = program("all_gather", 3, 4)  # one float for three ranks: the last has it
    assert [before(made, rank) for rank in range(3)] == [(), (), (Holding(0, 4, (2,)),)]
    assert after(made, 0) == (Holding(0, 4, (2,)),)


# -- what cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("allreduce", "star", 4, None), "algorithm=star, expected one of ring, halving_doubling"),
        (("allreduce", "ring", 1, None), "n_ranks=1, expected at least 2"),
        (("reduce_scatter", "halving", 6, None), "n_ranks=6, expected a power of two"),
        (("allreduce", "ring", 4, 2), "group_ranks=2, expected none"),
        (("allreduce", "hierarchical", 6, None), "group_ranks=None, expected a divisor of n_ranks=6"),
        (("allreduce", "hierarchical", 6, 4), "group_ranks=4, expected a divisor"),
        (("allreduce", "hierarchical", 6, 0), "group_ranks=0, expected a divisor"),
    ],
)
def test_what_an_algorithm_cannot_do_is_said(
    arguments: tuple[ProgramOperation, str, int, int | None], message: str
) -> None:
    operation, algorithm, n, group = arguments
    (problem,) = problems(*arguments)
    assert message in problem
    with pytest.raises(ValueError, match=message):
        program(operation, n, 64, algorithm=algorithm, group_ranks=group)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_ranks": 1}, "n_ranks=1, expected at least 2"),
        ({"size_bytes": 6}, "size_bytes=6, expected a positive multiple of 4"),
        ({"size_bytes": 0}, "size_bytes=0"),
        ({"root": 0}, "root=0, expected None"),
        ({"operation": "broadcast"}, "root=None, expected one of the ranks 0..1"),
        ({"operation": "broadcast", "root": 2}, "root=2, expected"),
        ({"transfers": (Transfer(0, 0, 0, 4, True),)}, "two different ranks"),
        ({"transfers": (Transfer(0, 2, 0, 4, True),)}, "two different ranks of 0..1"),
        ({"transfers": (Transfer(0, 1, 4, 12, True),)}, "within 8 bytes"),
        ({"transfers": (Transfer(0, 1, 8, 4, True),)}, "within 8 bytes"),
        ({"transfers": (Transfer(0, 1, 2, 4, True),)}, "whole floats"),
        ({"operation": "sendrecv", "transfers": (Transfer(0, 1, 0, 4, True),)}, "sendrecv adds nothing"),
    ],
)
def test_programs_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    plain = {"operation": "allreduce", "n_ranks": 2, "size_bytes": 8, "root": None, "transfers": ()}
    with pytest.raises(ValueError, match=message):
        Program(**{**plain, **fields})  # type: ignore[arg-type]


def test_transfers_of_no_bytes_vanish() -> None:
    none = Transfer(0, 1, 4, 4, True)
    assert Program("allreduce", 2, 8, None, (none, Transfer(0, 1, 0, 4, True), none)).transfers == (
        Transfer(0, 1, 0, 4, True),
    )


def test_parts_are_whole_floats_and_cover_the_span() -> None:
    assert [Span(4, 24).part(index, 3) for index in range(3)] == [(4, 8), (8, 16), (16, 24)]
