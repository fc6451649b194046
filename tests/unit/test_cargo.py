"""What ranks send each other, checked where it arrives."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.model.messages import Direct
from testbed.workload.cargo import Messages

SIZE_BYTES, SLICE_BYTES = 4 * 1000, 4 * 300


def delivered(sender: Messages, receiver: Messages, *, peers: tuple[int, int], spoil: int = 0, skip: int = 0) -> int:
    """Carry every slice of a stream over, ``spoil`` elements changed and ``skip`` slices left out; return the wrong."""
    src, dst = peers
    scratch = np.empty(SLICE_BYTES // 4, dtype=np.float32)
    for piece in list(Direct(SIZE_BYTES, SLICE_BYTES).stripe(0, 1))[skip:]:
        data = np.frombuffer(sender.outgoing(dst, piece, 0), dtype=np.float32)
        target = np.frombuffer(receiver.target(piece, scratch.data.cast("B")), dtype=np.float32)
        assert len(data) * 4 == piece.end_byte - piece.start_byte
        target[: len(data)] = data
        target[:spoil] += 1
        receiver.take(src, piece, scratch)
    return receiver.count_wrong()


def messages(rank: int, iteration: int = 1) -> Messages:
    return Messages(rank, SIZE_BYTES, SLICE_BYTES, iteration)


def test_what_arrives_as_it_was_sent_is_right() -> None:
    assert delivered(messages(3), messages(5), peers=(3, 5)) == 0


def test_nothing_is_right_before_it_arrives() -> None:
    assert messages(5).count_wrong() == 1000


def test_what_does_not_arrive_counts_as_wrong() -> None:
    assert delivered(messages(3), messages(5), peers=(3, 5), skip=1) == 300


def test_changed_elements_are_counted() -> None:
    assert delivered(messages(3), messages(5), peers=(3, 5), spoil=2) == 2 * 4  # in each of four slices


@pytest.mark.parametrize(("sender", "peers"), [(4, (3, 5)), (3, (3, 6))])
def test_data_of_another_pair_is_wrong(sender: int, peers: tuple[int, int]) -> None:
    receiver = messages(5)
    src, dst = peers
    assert delivered(messages(sender), receiver, peers=(src, dst)) > 990  # some values meet by chance


def test_data_of_another_iteration_is_wrong() -> None:
    assert delivered(messages(3, iteration=2), messages(5), peers=(3, 5)) > 990


def test_a_slice_is_sent_on_where_it_stopped() -> None:
    sender = messages(3)
    (piece, *_rest) = Direct(SIZE_BYTES, SLICE_BYTES).stripe(0, 1)
    whole = bytes(sender.outgoing(5, piece, 0))
    assert bytes(sender.outgoing(5, piece, 10)) == whole[10:]


def test_slices_longer_than_the_pattern_are_read_round() -> None:
    longest = 4 * 200_000
    sender, receiver = (Messages(rank, longest, longest, 1) for rank in (0, 1))
    scratch = np.empty(longest // 4, dtype=np.float32)
    (piece,) = Direct(longest, longest).stripe(0, 1)
    scratch[:] = np.frombuffer(sender.outgoing(1, piece, 0), dtype=np.float32)
    receiver.take(0, piece, scratch)
    assert receiver.count_wrong() == 0
