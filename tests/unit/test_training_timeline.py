"""Iterations as values and how long they take: by hand, and what must hold for any of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fields import Mistakes
from testbed.training.iteration import Communicate, Compute, Iteration, Op, Recorder, Total
from testbed.training.timeline import play


def reduce(size_bytes: int, *, blocking: bool = False) -> Communicate:
    return Communicate("backward", "allreduce", "dp", size_bytes, blocking)


def test_blocking_operations_add_up() -> None:
    # 1 + 2 + 3 + 4 seconds
    iteration = Iteration((Compute("forward", 1), reduce(2, blocking=True), Compute("b", 3), reduce(4, blocking=True)))
    found = play(iteration, lambda op: op.size_bytes)
    assert (found.duration_s, found.compute_s, found.communication_s, found.exposed_s) == (10, 4, 6, 6)
    assert found.exposed_share == 0.6
    assert [(timed.issued_s, timed.start_s, timed.end_s) for timed in found.operations] == [(1, 1, 3), (6, 6, 10)]


def test_operations_behind_the_computation_queue_on_one_channel() -> None:
    # computing ends at 1, 2, 3; the first operation runs 1..3.5, the second waits from 2 and runs 3.5..4, the third
    # 4..4.5
    iteration = Iteration((Compute("b", 1), reduce(5), Compute("b", 1), reduce(1), Compute("b", 1), reduce(1)))
    found = play(iteration, lambda op: op.size_bytes / 2)
    assert [(timed.issued_s, timed.start_s, timed.end_s) for timed in found.operations] == [
        (1, 1, 3.5),
        (2, 3.5, 4),
        (3, 4, 4.5),
    ]
    assert (found.duration_s, found.exposed_s) == (4.5, 1.5)


def test_a_blocking_operation_waits_for_those_before_it() -> None:
    # issued at 1, starts when the first is over at 11, ends at 12; then one more second of computing
    iteration = Iteration((reduce(11), Compute("b", 1), reduce(1, blocking=True), Compute("b", 1)))
    assert play(iteration, lambda op: op.size_bytes).duration_s == 13


def test_a_computation_waits_for_the_operation_it_names_only() -> None:
    # gathers end at 2 and 12; the first computation runs 2..5, the second waits until 12
    gathers = [Communicate("forward", "all_gather", "dp", size, blocking=False) for size in (2, 10)]
    iteration = Iteration((*gathers, Compute("forward", 3, after=0), Compute("forward", 3, after=1)))
    found = play(iteration, lambda op: op.size_bytes)
    assert (found.duration_s, found.exposed_s) == (15, 9)
    assert found.seconds_by_kind() == {("all_gather", "dp"): 12}


def test_an_iteration_of_nothing_takes_no_time() -> None:
    found = play(Iteration(()), lambda op: 1.0)
    assert (found.duration_s, found.exposed_share) == (0, 0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_duration_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number, at least 0"):
        play(Iteration((reduce(1),)), lambda op: seconds)


def test_all_mistakes_of_an_iteration_are_said_at_once() -> None:
    with pytest.raises(Mistakes) as caught:
        Iteration(
            (Compute("f", -1), Compute("f", 1, after=0), reduce(0), Compute("f", 1, after=1)),
            (reduce(-4), reduce(2**60 + 1)),
        )
    assert caught.value.mistakes == [
        "ops[0].duration_s=-1; expected a finite number, at least 0",
        "ops[1].after=0; expected the number of one of the 0 operations before it",
        "ops[3].after=1; expected the number of one of the 1 operations before it",
        "ops[2].size_bytes=0; expected at least 1",
        "local[0].size_bytes=-4; expected at least 1",
        "local[1].size_bytes=1152921504606846977; expected at most 1152921504606846976",
    ]


def test_messages_have_a_peer_and_nothing_else_has() -> None:
    with pytest.raises(Mistakes) as caught:
        Iteration(
            (
                Communicate("f", "send", "pp", 4),
                Communicate("f", "exchange", "dp", 4, peer="next"),
                Communicate("f", "allreduce", "dp", 4, peer="previous"),
                Communicate("f", "recv", "pp", 4, peer="previous"),
            )
        )
    assert caught.value.mistakes == [
        "ops[0]: send with group=pp, peer=None; expected pp and next or previous",
        "ops[1]: exchange with group=dp, peer=next; expected pp and next or previous",
        "ops[2].peer=previous; expected None: allreduce is of the whole group",
    ]


def test_a_recorder_keeps_what_stays_inside_a_node_apart() -> None:
    recorder = Recorder({"tp"})
    gather = Communicate("forward", "all_gather", "dp", 100)
    assert recorder.communicate(gather) == 0
    recorder.compute("forward", 1.0)
    assert recorder.communicate(Communicate("forward", "allreduce", "tp", 50)) is None
    recorder.compute("forward", 2.0)
    assert recorder.communicate(gather) == 1
    recorder.compute("backward", 4.0)
    recorder.compute("backward", 0.5)
    recorder.compute("step", 0.0)
    found = recorder.iteration()
    assert found.ops == (
        gather,
        Compute("forward", 3.0),  # before and after the operation that stays inside the node
        gather,
        Compute("backward", 4.5),
    )
    assert found.local == (Communicate("forward", "allreduce", "tp", 50),)
    assert found.totals() == (Total("forward", "all_gather", "dp", 2, 200),)
    assert found.compute_s == 7.5


# -- what holds for any iteration -------------------------------------------------------------------------------

# whole numbers of sixteenths: sums of floats are exact, so relations hold exactly
sixteenths = st.integers(0, 64).map(lambda n: n / 16)


@st.composite
def iterations(draw: st.DrawFn) -> Iteration:
    ops: list[Op] = []
    issued = 0
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.booleans()):
            ops.append(reduce(draw(st.integers(1, 64)), blocking=draw(st.booleans())))
            issued += 1
        else:
            after = draw(st.none() | st.integers(0, issued - 1)) if issued else None
            ops.append(Compute("f", draw(sixteenths), after))
    return Iteration(tuple(ops))


def all_blocking(iteration: Iteration) -> Iteration:
    return Iteration(
        tuple(
            Communicate(op.phase, op.operation, op.group, op.size_bytes) if isinstance(op, Communicate) else op
            for op in iteration.ops
        )
    )


@given(iterations(), st.integers(0, 8))
def test_duration_is_between_the_longer_part_and_the_sum(iteration: Iteration, rate: int) -> None:
    found = play(iteration, lambda op: op.size_bytes * rate / 16)
    assert max(found.compute_s, found.communication_s) <= found.duration_s <= found.compute_s + found.communication_s
    assert found.exposed_s == found.duration_s - found.compute_s >= 0
    assert 0 <= found.exposed_share <= 1
    assert sum(found.seconds_by_kind().values()) == found.communication_s


@given(iterations())
def test_waiting_for_everything_is_never_faster_and_hides_nothing(iteration: Iteration) -> None:
    free = play(iteration, lambda op: op.size_bytes / 16)
    waiting = play(all_blocking(iteration), lambda op: op.size_bytes / 16)
    assert free.duration_s <= waiting.duration_s
    assert waiting.exposed_s == waiting.communication_s == free.communication_s


@given(iterations(), st.integers(0, 11), st.integers(0, 32))
def test_a_longer_operation_never_makes_an_iteration_shorter(iteration: Iteration, which: int, more: int) -> None:
    calls = iter(range(len(iteration.ops)))
    before = play(iteration, lambda op: op.size_bytes / 16)
    after = play(iteration, lambda op: (op.size_bytes + (more if next(calls) == which else 0)) / 16)
    assert after.duration_s >= before.duration_s
    assert after.duration_s - before.duration_s <= more / 16


@given(iterations())
def test_operations_are_in_order_and_never_at_the_same_time(iteration: Iteration) -> None:
    found = play(iteration, lambda op: op.size_bytes / 16)
    assert [timed.op for timed in found.operations] == list(iteration.communications)
    for timed, following in zip(found.operations, found.operations[1:], strict=False):
        assert timed.issued_s <= timed.start_s <= timed.end_s <= following.start_s
