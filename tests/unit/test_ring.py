from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.model.ring import RingAllReduce, bus_factor, default_slice_bytes
from testbed.model.slices import Slice
from testbed.units import KIB, MIB


def test_four_ranks_pass_chunks_round_the_ring() -> None:
    # 64 bytes / 4 ranks = chunks of 16; rank 1 sends chunks 1, 0, 3 (to be added), then 2, 1, 0 (sums)
    hop = RingAllReduce(4, 64, 8).hop(1)
    slices = list(hop.stripe(0, 1))
    assert [piece.start_byte for piece in slices[::2]] == [16, 0, 48, 32, 16, 0]
    assert [piece.reduce for piece in slices[::2]] == [True, True, True, False, False, False]
    assert [(piece.start_byte, piece.end_byte) for piece in slices[:4]] == [(16, 24), (24, 32), (0, 8), (8, 16)]
    # the own chunk (2 slices) waits for nothing, what follows for the slice that rank 0 sent two numbers earlier
    assert [piece.after for piece in slices] == [(), (), *(((0, number),) for number in range(10))]
    assert hop.slices == 12
    assert hop.size_bytes == 6 * 16  # 2(n-1)/n x M = 1.5 x 64


def test_slices_are_dealt_to_flows_in_turn() -> None:
    hop = RingAllReduce(4, 64, 8).hop(0)
    dealt = [[piece.number for piece in hop.stripe(flow, 5)] for flow in range(5)]
    assert dealt == [[0, 5, 10], [1, 6, 11], [2, 7], [3, 8], [4, 9]]


def test_uneven_chunks_differ_by_one_float_and_the_last_slice_is_short() -> None:
    ring = RingAllReduce(3, 7 * 4, 8)  # 7 floats: 2 + 2 + 3
    assert [ring.chunk(i) for i in range(3)] == [(0, 8), (8, 16), (16, 28)]
    # rank 0 sends chunks 0, 2, 1, 0: 8 + 12 + 8 + 8 bytes in 1 + 2 + 1 + 1 slices
    hop = ring.hop(0)
    assert (hop.size_bytes, hop.slices) == (36, 5)
    assert [piece.end_byte - piece.start_byte for piece in hop.stripe(0, 1)] == [8, 8, 4, 8, 8]


def test_empty_chunks_are_skipped() -> None:
    ring = RingAllReduce(4, 2 * 4, 4)  # 2 floats for 4 ranks: chunks 0 and 2 are empty
    assert [end - start for start, end in map(ring.chunk, range(4))] == [0, 4, 0, 4]
    assert [piece.start_byte for piece in ring.hop(0).stripe(0, 1)] == [4, 0, 4]  # chunks 3, 1, 3


@pytest.mark.parametrize(
    ("n_ranks", "size_bytes", "expected"),
    [
        (16, 8 * MIB, 64 * KIB),  # a quarter of 512 KiB is 128 KiB: capped
        (16, 2 * MIB, 32 * KIB),
        (16, 64 * KIB, 4 * KIB),  # a quarter of 4 KiB is 1 KiB: raised
        (3, 100_000, 8332),  # 100000 // 3 // 4 = 8333, down to a whole float
    ],
)
def test_default_slice_is_a_quarter_chunk_within_bounds(n_ranks: int, size_bytes: int, expected: int) -> None:
    assert default_slice_bytes(n_ranks, size_bytes) == expected


def test_bus_factor_is_that_of_nccl_tests() -> None:
    assert bus_factor(16) == 1.875  # 2 x 15 / 16


@pytest.mark.parametrize(
    "n_ranks, size_bytes, slice_bytes", [(1, 64, 4), (4, 63, 4), (4, 0, 4), (4, 64, 0), (4, 64, 6)]
)
def test_what_cannot_be_is_refused(n_ranks: int, size_bytes: int, slice_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        RingAllReduce(n_ranks, size_bytes, slice_bytes)


ring_sizes = st.fixed_dictionaries(
    {
        "n_ranks": st.integers(2, 9),
        "floats": st.integers(1, 200),
        "slice_floats": st.integers(1, 40),
    }
)


@given(ring_sizes)
def test_a_hop_forwards_what_it_receives_but_the_last_step(sizes: dict[str, int]) -> None:
    n = sizes["n_ranks"]
    ring = RingAllReduce(n, 4 * sizes["floats"], 4 * sizes["slice_floats"])
    for rank in range(n):
        out = list(ring.hop(rank).stripe(0, 1))
        into = list(ring.hop(rank - 1).stripe(0, 1))
        own = [piece for piece in out if not piece.after]
        start, end = ring.chunk(rank)
        assert sum(piece.end_byte - piece.start_byte for piece in own) == end - start
        assert all(start <= piece.start_byte and piece.end_byte <= end for piece in own)
        received = []
        for piece in out[len(own) :]:
            ((peer, number),) = piece.after
            assert peer == (rank - 1) % n
            assert (into[number].start_byte, into[number].end_byte) == (piece.start_byte, piece.end_byte)
            received.append(number)
        assert received == list(range(len(received)))
    assert sum(ring.hop(rank).size_bytes for rank in range(n)) == 2 * (n - 1) * ring.size_bytes


@settings(max_examples=150, deadline=None)
@given(ring_sizes, st.integers(1, 5), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_every_rank_the_sum(sizes: dict[str, int], flows: int, random) -> None:  # type: ignore[no-untyped-def]
    n = sizes["n_ranks"]
    ring = RingAllReduce(n, 4 * sizes["floats"], 4 * sizes["slice_floats"])
    arrays = [np.arange(1, sizes["floats"] + 1, dtype=np.float64) * (rank + 1) for rank in range(n)]
    to_send = {(r, f): deque(ring.hop(r).stripe(f, flows)) for r in range(n) for f in range(flows)}
    wires: dict[tuple[int, int], deque[tuple[Slice, np.ndarray]]] = {key: deque() for key in to_send}
    received: list[set[int]] = [set() for _ in range(n)]

    def place(piece: Slice) -> slice:
        return slice(piece.start_byte // 4, piece.end_byte // 4)

    def may_go(piece: Slice, rank: int) -> bool:
        return all(number in received[rank] for _peer, number in piece.after)

    while True:
        sendable = [k for k, queue in to_send.items() if queue and may_go(queue[0], k[0])]
        arriving = [k for k, wire in wires.items() if wire]
        if not sendable and not arriving:
            break
        rank, flow = random.choice(sendable + arriving)
        if (rank, flow) in arriving and ((rank, flow) not in sendable or random.random() < 0.5):
            piece, data = wires[rank, flow].popleft()
            peer = (rank + 1) % n
            arrays[peer][place(piece)] = arrays[peer][place(piece)] + data if piece.reduce else data
            received[peer].add(piece.number)
        else:
            piece = to_send[rank, flow].popleft()
            wires[rank, flow].append((piece, arrays[rank][place(piece)].copy()))

    assert not any(to_send.values()), "deadlock"
    expected = np.arange(1, sizes["floats"] + 1) * (n * (n + 1) // 2)
    for array in arrays:
        assert np.array_equal(array, expected)
