"""Who sends to whom: every pair once, bytes conserved, and streams that both ends read alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model.pattern import ring
from testbed.model.streams import Direct, stream


def test_a_ring_sends_every_rank_to_the_next() -> None:
    pattern = ring(4)
    assert pattern.pairs == ((0, 1), (1, 2), (2, 3), (3, 0))
    assert (pattern.n_ranks, pattern.job_ranks, pattern.bus_pairs) == (4, 4, 1)
    assert pattern.bus_factor == 1.5  # 2 x 3/4
    assert pattern.pair_bytes(1000) == (1500, 1500, 1500, 1500)
    assert (pattern.sent_by(3), pattern.received_by(0)) == ((3,), (3,))


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(1, 5))
def test_the_flows_of_a_stream_carry_every_byte_once_and_in_order(floats: int, slice_floats: int, flows: int) -> None:
    own = Direct(4 * floats, 4 * slice_floats)
    stripes = [list(own.stripe(flow, flows)) for flow in range(flows)]
    for flow, pieces in enumerate(stripes):
        assert [piece.number for piece in pieces] == list(range(flow, flow + flows * len(pieces), flows))
        assert all(piece.after is None and not piece.reduce for piece in pieces)
    pieces = sorted((piece for stripe in stripes for piece in stripe), key=lambda piece: piece.number)
    ends = [0, *(piece.end_byte for piece in pieces)]
    assert [piece.start_byte for piece in pieces] == ends[:-1]
    assert ends[-1] == own.size_bytes


def test_sizes_that_are_no_whole_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="size_bytes=6, expected a positive multiple of 4"):
        stream("allreduce_ring", (0, 1), (0, 1), 6, 4)
