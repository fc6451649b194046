"""The ring all-reduce that scenarios run, held against its formula slice by slice.

In step s of 2(n-1) rank r sends part (r - s) mod n to rank r + 1: n - 1 steps that add, n - 1 that replace. It has its
own part at the start; every other slice it sends is one it has received from rank r - 1, in the order these come.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.collectives.algorithms import program
from testbed.collectives.collective import RING
from testbed.collectives.operation import bus_factor
from testbed.collectives.schedule import Schedule
from testbed.collectives.slices import Slice, default_slice_bytes
from testbed.units import KIB, MIB


def ring(n: int, size_bytes: int, slice_bytes: int) -> Schedule:
    return Schedule(RING.program(n, size_bytes), slice_bytes)


def hop_by_formula(n: int, floats: int, slice_floats: int, rank: int) -> list[Slice]:
    """Return all that ``rank`` sends in one ring all-reduce."""
    parts = [(floats * part // n, floats * (part + 1) // n) for part in range(n)]
    own = -(-(parts[rank][1] - parts[rank][0]) // slice_floats)
    slices: list[Slice] = []
    for step in range(2 * (n - 1)):
        start, end = parts[(rank - step) % n]
        for first in range(start, end, slice_floats):
            number = len(slices)
            after = ((rank - 1) % n, number - own)
            place = (4 * first, 4 * min(first + slice_floats, end))
            slices.append(Slice(number, *place, step < n - 1, (after,) if step else ()))
    return slices


@given(st.integers(2, 12), st.integers(1, 300), st.integers(1, 40), st.integers(1, 5))
def test_every_slice_is_that_of_the_formula(n: int, floats: int, slice_floats: int, flows: int) -> None:
    schedule = ring(n, 4 * floats, 4 * slice_floats)
    for rank in range(n):
        expected = hop_by_formula(n, floats, slice_floats, rank)
        stream = schedule.stream(rank, (rank + 1) % n)
        assert (stream.slices, stream.size_bytes) == (
            len(expected),
            sum(one.end_byte - one.start_byte for one in expected),
        )
        for flow in range(flows):
            assert list(stream.stripe(flow, flows)) == expected[flow::flows]
        incoming = schedule.incoming(rank, (rank + 1) % n)
        assert list(incoming.stripe(0, 1)) == [one._replace(after=()) for one in expected]


def test_four_ranks_pass_parts_round_the_ring() -> None:
    # 64 bytes / 4 ranks = parts of 16; rank 1 sends parts 1, 0, 3 (to be added), then 2, 1, 0 (sums)
    hop = ring(4, 64, 8).stream(1, 2)
    slices = list(hop.stripe(0, 1))
    assert [piece.start_byte for piece in slices[::2]] == [16, 0, 48, 32, 16, 0]
    assert [piece.reduce for piece in slices[::2]] == [True, True, True, False, False, False]
    assert [(piece.start_byte, piece.end_byte) for piece in slices[:4]] == [(16, 24), (24, 32), (0, 8), (8, 16)]
    # the own part (2 slices) waits for nothing, what follows for the slice that rank 0 sent two numbers earlier
    assert [piece.after for piece in slices] == [(), (), *(((0, number),) for number in range(10))]
    assert hop.slices == 12
    assert hop.size_bytes == 6 * 16  # 2(n-1)/n x M = 1.5 x 64


def test_slices_are_dealt_to_flows_in_turn() -> None:
    hop = ring(4, 64, 8).stream(0, 1)
    dealt = [[piece.number for piece in hop.stripe(flow, 5)] for flow in range(5)]
    assert dealt == [[0, 5, 10], [1, 6, 11], [2, 7], [3, 8], [4, 9]]


def test_uneven_parts_differ_by_one_float_and_the_last_slice_is_short() -> None:
    # 7 floats on 3 ranks: 2 + 2 + 3; rank 0 sends parts 0, 2, 1, 0: 8 + 12 + 8 + 8 bytes in 1 + 2 + 1 + 1 slices
    hop = ring(3, 7 * 4, 8).stream(0, 1)
    assert (hop.size_bytes, hop.slices) == (36, 5)
    assert [piece.end_byte - piece.start_byte for piece in hop.stripe(0, 1)] == [8, 8, 4, 8, 8]


def test_empty_parts_are_skipped() -> None:
    # 2 floats for 4 ranks: parts 0 and 2 are empty; rank 0 sends parts 3, 1, 3
    assert [piece.start_byte for piece in ring(4, 2 * 4, 4).stream(0, 1).stripe(0, 1)] == [4, 0, 4]


@pytest.mark.parametrize(
    ("n_ranks", "size_bytes", "expected"),
    [
        (16, 8 * MIB, 64 * KIB),  # a quarter of 512 KiB is 128 KiB: capped
        (16, 2 * MIB, 32 * KIB),
        (16, 64 * KIB, 4 * KIB),  # a quarter of 4 KiB is 1 KiB: raised
        (3, 100_000, 8332),  # 100000 // 3 // 4 = 8333, down to a whole float
    ],
)
def test_default_slice_is_a_quarter_part_within_bounds(n_ranks: int, size_bytes: int, expected: int) -> None:
    assert default_slice_bytes(n_ranks, size_bytes) == expected


def test_bus_factor_is_that_of_nccl_tests() -> None:
    assert bus_factor("allreduce", 16) == 1.875  # 2 x 15 / 16


@pytest.mark.parametrize(
    "n_ranks, size_bytes, slice_bytes", [(1, 64, 4), (4, 63, 4), (4, 0, 4), (4, 64, 0), (4, 64, 6)]
)
def test_what_cannot_be_is_refused(n_ranks: int, size_bytes: int, slice_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        Schedule(program("allreduce", n_ranks, size_bytes), slice_bytes)
