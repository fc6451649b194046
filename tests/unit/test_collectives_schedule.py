"""How transfers become slices, and what these wait for."""

from __future__ import annotations

import pytest
from collective_wires import Case, all_slices, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.collectives.algorithms import program
from testbed.collectives.program import Program, Transfer
from testbed.collectives.schedule import Schedule
from testbed.collectives.slices import Slice
from testbed.model.messages import Direct

Where = tuple[int, int, int]  # source, destination, number


def picture(flows: int) -> list[Slice]:
    """What rank 0 sends in the picture in docs/workloads.md."""
    transfers = (Transfer(1, 0, 0, 24, True), Transfer(2, 0, 4, 28, True), Transfer(0, 3, 0, 28, False))
    stream = Schedule(Program("allreduce", 4, 28, None, transfers), 8).stream(0, 3)
    return sorted(piece for flow in range(flows) for piece in stream.stripe(flow, flows))


def test_a_slice_waits_for_those_that_carry_what_it_carries() -> None:
    assert picture(flows=4) == [
        Slice(0, 0, 8, False, ((1, 0), (2, 0))),
        Slice(1, 8, 16, False, ((1, 1), (2, 0), (2, 1))),
        Slice(2, 16, 24, False, ((1, 2), (2, 1), (2, 2))),
        Slice(3, 24, 28, False, ((2, 2),)),
    ]


def test_of_one_flow_the_last_is_enough_and_nothing_is_told_twice() -> None:
    assert [piece.after for piece in picture(flows=1)] == [((1, 0), (2, 0)), ((1, 1), (2, 1)), ((1, 2), (2, 2)), ()]
    # slices 0 and 2 leave by one flow, 1 and 3 by the other; rank 2's 0 and 2 come by one, too
    assert [piece.after for piece in picture(flows=2)] == [
        ((1, 0), (2, 0)),
        ((1, 1), (2, 0), (2, 1)),
        ((1, 2), (2, 1), (2, 2)),
        ((2, 2),),
    ]


def test_what_replaces_stands_for_what_was_there() -> None:
    """What comes back from rank 1 cannot have come before what rank 0 had from rank 2."""
    transfers = (
        Transfer(2, 0, 0, 8, True),
        Transfer(0, 1, 0, 8, True),
        Transfer(1, 0, 0, 8, False),
        Transfer(0, 2, 0, 8, False),
    )
    schedule = Schedule(Program("allreduce", 3, 8, None, transfers), 8)
    assert [piece.after for piece in schedule.stream(0, 2).stripe(0, 1)] == [((1, 0),)]


sizes = st.tuples(st.integers(2, 9), st.integers(1, 200), st.integers(1, 40), st.integers(1, 5))


@given(sizes)
def test_a_message_of_an_all_to_all_is_the_part_of_its_receiver(drawn: tuple[int, int, int, int]) -> None:
    n, floats, slice_floats, flows = drawn
    schedule = Schedule(program("all_to_all", n, 4 * floats), 4 * slice_floats)
    for src, dst in ((src, dst) for src in range(n) for dst in range(n) if src != dst):
        part_bytes = 4 * (floats * (dst + 1) // n - floats * dst // n)
        direct = Direct(part_bytes, 4 * slice_floats)
        for flow in range(flows):
            assert list(schedule.stream(src, dst).stripe(flow, flows)) == list(direct.stripe(flow, flows))


@settings(max_examples=100, deadline=None)
@given(cases(max_ranks=12))
def test_slices_are_the_transfers_in_order_and_dealt_in_turn(case: Case) -> None:
    found = case.schedule
    assert set(found.pairs) == {(transfer.src, transfer.dst) for transfer in case.program.transfers}
    for rank in range(case.program.n_ranks):
        assert [(rank, dst) for dst in found.sent_by(rank)] == [pair for pair in found.pairs if pair[0] == rank]
        assert [(src, rank) for src in found.received_by(rank)] == [pair for pair in found.pairs if pair[1] == rank]
    for src, dst in found.pairs:
        stream = found.stream(src, dst)
        stripes = [list(stream.stripe(flow, case.flows)) for flow in range(case.flows)]
        for flow, stripe in enumerate(stripes):
            assert [piece.number for piece in stripe] == list(range(flow, stream.slices, case.flows))
        pieces = sorted(piece for stripe in stripes for piece in stripe)
        incoming = [piece for flow in range(case.flows) for piece in found.incoming(src, dst).stripe(flow, case.flows)]
        assert sorted(incoming) == [piece._replace(after=()) for piece in pieces]
        at = 0
        for transfer in (one for one in case.program.transfers if one[:2] == (src, dst)):
            place = transfer.start_byte
            while place < transfer.end_byte:
                assert (pieces[at].start_byte, pieces[at].reduce) == (place, transfer.reduce)
                place = pieces[at].end_byte
                assert 0 < place - pieces[at].start_byte <= found.slice_bytes
                at += 1
            assert place == transfer.end_byte
        assert at == len(pieces) == stream.slices


def ancestors(slices: dict[Where, Slice]) -> dict[Where, set[Where]]:
    """Return what must have been received, by anybody, before each slice is sent."""
    found: dict[Where, set[Where]] = {}

    def of(where: Where) -> set[Where]:
        if where not in found:
            direct = [(peer, where[0], number) for peer, number in slices[where].after]
            found[where] = set(direct).union(*(of(one) for one in direct))
        return found[where]

    for where in slices:
        of(where)
    return found


@settings(max_examples=100, deadline=None)
@given(cases(max_ranks=9, aligned=True))
def test_no_dependency_follows_from_another(case: Case) -> None:
    slices = dict(all_slices(case.schedule))
    known = ancestors(slices)
    for (src, _dst, _number), piece in slices.items():
        direct = [(peer, src, number) for peer, number in piece.after]
        for one in direct:
            assert not any(one in known[other] for other in direct if other != one)


@settings(max_examples=100, deadline=None)
@given(cases(max_ranks=9))
def test_flows_leave_out_only_what_their_order_implies(case: Case) -> None:
    """Following a flow, all that its slices wait for anywhere has arrived."""
    slices, flows = all_slices(case.schedule), case.flows
    for src, dst in case.schedule.pairs:
        for flow in range(flows):
            arrived: dict[tuple[int, int], int] = {}
            for piece in case.schedule.stream(src, dst).stripe(flow, flows):
                for peer, number in piece.after:
                    assert arrived.get((peer, number % flows), -1) < number, "told twice"
                    arrived[peer, number % flows] = number
                for peer, number in slices[src, dst, piece.number].after:
                    assert arrived[peer, number % flows] >= number


def test_what_waits_is_told_by_a_stream_alone() -> None:
    """Other ranks' streams need not be made, and a pair that exchanges nothing has an empty one."""
    schedule = Schedule(program("allreduce", 8, 64, algorithm="halving_doubling"), 4)
    assert schedule.sent_by(0) == (4, 2, 1)
    assert schedule.received_by(0) == (4, 2, 1)
    nothing = schedule.stream(0, 3)
    assert (nothing.size_bytes, nothing.slices, list(nothing.stripe(0, 1))) == (0, 0, [])


@pytest.mark.parametrize("slice_bytes", [0, -4, 6])
def test_slices_of_no_whole_floats_are_refused(slice_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"slice_bytes={slice_bytes}, expected a positive multiple of 4"):
        Schedule(program("allreduce", 2, 64), slice_bytes)
