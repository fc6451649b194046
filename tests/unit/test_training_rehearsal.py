"""All ranks together: nobody waits for ever, both ends agree, and how long it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_jobs import Drawn, jobs

from testbed.fields import Mistakes
from testbed.training.groups import Group, groups
from testbed.training.iteration import Communicate, Compute, Iteration, Op, Peer
from testbed.training.layout import Layout
from testbed.training.pipeline import HandOn, one_forward_one_backward
from testbed.training.rehearsal import Job, execute
from testbed.training.timeline import play


def everybody(*ranks: Iteration) -> Job:
    """A job whose ranks are one group of every kind."""
    return Job(ranks, lambda rank, group: tuple(range(len(ranks))))


def reduce(size_bytes: int = 8, *, group: Group = "dp", blocking: bool = True) -> Communicate:
    return Communicate("backward", "allreduce", group, size_bytes, blocking)


def message(operation: str, peer: Peer, size_bytes: int = 8, *, blocking: bool = True) -> Communicate:
    op = Communicate("forward", "send", "pp", size_bytes, blocking, peer)
    return replace(op, operation=operation)


def seconds(op: Communicate) -> float:
    return 0.0 if op.operation == "recv" else op.size_bytes / 8


def mistakes(job: Job) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        execute(job, seconds)
    return caught.value.mistakes


# -- by hand ---------------------------------------------------------------------------------------------------


def test_an_operation_begins_when_its_last_rank_has_come() -> None:
    early = Iteration((Compute("f", 1), reduce(16), Compute("f", 1)))
    late = Iteration((Compute("f", 4), reduce(16)))
    found = execute(everybody(early, late), seconds)
    # both from 4 to 6
    assert [[(t.issued_s, t.start_s, t.end_s) for t in line.operations] for line in found.timelines] == [
        [(1, 4, 6)],
        [(4, 4, 6)],
    ]
    assert [line.duration_s for line in found.timelines] == [7, 6]
    assert found.duration_s == 7


def test_what_is_not_waited_for_is_behind_the_computation_and_in_order() -> None:
    first = Iteration((reduce(8, blocking=False), Compute("f", 5), reduce(8, blocking=False), Compute("f", 1, after=1)))
    second = Iteration((Compute("f", 2), reduce(8, blocking=False), reduce(8, blocking=False)))
    lines = execute(everybody(first, second), seconds).timelines
    # 2..3 while the first computes, then from 5, when the first comes to it, to 6
    assert [(t.issued_s, t.start_s, t.end_s) for t in lines[0].operations] == [(0, 2, 3), (5, 5, 6)]
    assert [(t.issued_s, t.start_s, t.end_s) for t in lines[1].operations] == [(2, 2, 3), (2, 5, 6)]
    assert [line.duration_s for line in lines] == [7, 6]


def test_a_message_takes_what_its_sender_says() -> None:
    lines = execute(
        everybody(Iteration((message("send", "next", 24),)), Iteration((message("recv", "previous", 24),))), seconds
    ).timelines
    assert [line.duration_s for line in lines] == [3, 3]


def test_an_exchange_goes_both_ways_at_once() -> None:
    sides = (Iteration((message("exchange", "next"), Compute("b", 1))), Iteration((message("exchange", "previous"),)))
    assert [line.duration_s for line in execute(everybody(*sides), seconds).timelines] == [2, 1]


def test_groups_that_do_not_share_ranks_do_not_wait_for_each_other() -> None:
    slow, fast = Iteration((Compute("f", 9), reduce())), Iteration((reduce(),))
    job = Job((slow, slow, fast, fast), lambda rank, group: (0, 1) if rank < 2 else (2, 3))
    assert [line.duration_s for line in execute(job, seconds).timelines] == [10, 10, 1, 1]


# -- what cannot be executed -----------------------------------------------------------------------------------


def test_two_that_send_first_wait_for_each_other_and_one_exchange_is_the_way_out() -> None:
    first = Iteration((message("send", "next"), message("recv", "next")))
    second = Iteration((message("send", "previous"), message("recv", "previous")))
    assert mistakes(everybody(first, second)) == [
        "rank 1 ops[0]: send pp with previous of 8 bytes, met with send pp with next of 8 bytes of rank 0 ops[0]; "
        "expected recv of 8 bytes",
        "rank 1 ops[1]: recv pp with previous of 8 bytes, met with recv pp with next of 8 bytes of rank 0 ops[1]; "
        "expected send of 8 bytes",
    ]
    exchanges = [Iteration((message("exchange", peer),)) for peer in ("next", "previous")]
    assert execute(everybody(*exchanges), seconds).duration_s == 1


def test_a_circle_of_ranks_that_wait_is_found() -> None:
    # 0 waits for 1 in tp, 1 for 2 in dp, 2 for 0 in ep
    pairs: dict[Group, list[tuple[int, int]]] = {"tp": [(0, 1)], "dp": [(1, 2)], "ep": [(0, 2)]}
    ranks = (
        Iteration((reduce(group="tp"), reduce(group="ep"))),
        Iteration((reduce(group="dp"), reduce(group="tp"))),
        Iteration((reduce(group="ep"), reduce(group="dp"))),
    )
    job = Job(ranks, lambda rank, group: next(pair for pair in pairs[group] if rank in pair))
    assert mistakes(job) == [
        "rank 0 waits in ops[0] (allreduce tp of 8 bytes); expected rank 1 there, which waits in ops[0] "
        "(allreduce dp of 8 bytes)",
        "rank 1 waits in ops[0] (allreduce dp of 8 bytes); expected rank 2 there, which waits in ops[0] "
        "(allreduce ep of 8 bytes)",
        "rank 2 waits in ops[0] (allreduce ep of 8 bytes); expected rank 0 there, which waits in ops[0] "
        "(allreduce tp of 8 bytes)",
    ]


def test_who_does_less_than_its_group_is_named() -> None:
    assert mistakes(everybody(Iteration((reduce(), reduce())), Iteration((reduce(),)))) == [
        "rank 0 waits in ops[1] (allreduce dp of 8 bytes); expected rank 1 there, which is done"
    ]


@pytest.mark.parametrize("other", [reduce(16), Communicate("b", "all_gather", "dp", 8)])
def test_members_that_do_something_else_are_found(other: Communicate) -> None:
    found = mistakes(everybody(Iteration((reduce(),)), Iteration((reduce(),)), Iteration((other,))))
    assert found == [
        f"rank 2 ops[0]: {other.operation} dp of {other.size_bytes} bytes, met with allreduce dp of 8 bytes of rank 0 "
        "ops[0]; expected allreduce of 8 bytes"
    ]


def test_a_message_of_another_size_is_found() -> None:
    found = mistakes(everybody(Iteration((message("send", "next", 8),)), Iteration((message("recv", "previous", 12),))))
    assert found == [
        "rank 1 ops[0]: recv pp with previous of 12 bytes, met with send pp with next of 8 bytes of rank 0 ops[0]; "
        "expected recv of 8 bytes"
    ]


def test_messages_beyond_the_ends_are_found() -> None:
    ranks = Iteration((message("send", "next"),)), Iteration((message("recv", "previous"), message("send", "next")))
    assert mistakes(everybody(*ranks)) == [
        "rank 1 ops[1]: send pp with next of 8 bytes; expected a stage there",
    ]


def test_jobs_have_an_iteration_for_each_stage() -> None:
    one = Iteration((reduce(),))
    with pytest.raises(Mistakes, match="iterations of 1 stages; expected 2, pipeline of the layout"):
        Job.of(Layout(data=1, pipeline=2, global_batch=1, gpus_per_node=2, nics_per_node=1), [one])
    with pytest.raises(Mistakes, match="hosts=3 with 2 stages; expected a multiple"):
        Job.emulated([one, one], 3)
    with pytest.raises(Mistakes, match="hosts=3 with 0 stages"):
        Job.emulated([], 3)


def test_emulated_hosts_of_a_stage_are_all_its_groups_and_stages_follow_each_other() -> None:
    job = Job.emulated([Iteration(()), Iteration((reduce(),))], 6)
    assert [job.members(host, "ep") for host in (0, 2, 3)] == [(0, 1, 2), (0, 1, 2), (3, 4, 5)]
    assert [job.members(host, "pp") for host in (0, 4)] == [(0, 3), (1, 4)]
    assert [len(iteration.ops) for iteration in job.ranks] == [0, 0, 0, 1, 1, 1]


# -- pipelines -------------------------------------------------------------------------------------------------


def stage_of(stages: int, stage: int, micro_batches: int) -> Iteration:
    """A stage that computes 1 s forward and 2 s backward."""
    ops: list[Op] = []
    for step in one_forward_one_backward(stages, stage, micro_batches):
        if isinstance(step, HandOn):
            ops.append(Communicate(step.phase, step.operation, "pp", 8, peer=step.peer))
        else:
            ops.append(Compute(step.direction, 1 if step.direction == "forward" else 2))
    return Iteration(tuple(ops))


def pipeline(
    stages: int, micro_batches: int, change: Callable[[Iteration], Iteration] = lambda iteration: iteration
) -> Job:
    return everybody(*(change(stage_of(stages, stage, micro_batches)) for stage in range(stages)))


@given(st.integers(1, 6), st.integers(1, 12))
def test_a_pipeline_has_the_known_bubble(stages: int, micro_batches: int) -> None:
    # (m + p - 1)(f + b): a bubble of (p - 1) / m (arXiv 2104.04473, section 2.2)
    assert execute(pipeline(stages, micro_batches), lambda op: 0.0).duration_s == 3 * (micro_batches + stages - 1)


def apart(first: str, second: str) -> Callable[[Iteration], Iteration]:
    """Return what makes two messages, one after the other, of each exchange."""

    def change(iteration: Iteration) -> Iteration:
        ops: list[Op] = []
        for op in iteration.ops:
            if isinstance(op, Communicate) and op.operation == "exchange" and op.peer:
                ops += [message(operation, op.peer) for operation in (first, second)]
            else:
                ops.append(op)
        return Iteration(tuple(ops))

    return change


@pytest.mark.parametrize("order", [("send", "recv"), ("recv", "send")])
@given(stages=st.integers(2, 4), micro_batches=st.integers(3, 6))
def test_without_exchanges_the_same_order_cannot_be_executed(
    order: tuple[str, str], stages: int, micro_batches: int
) -> None:
    """Two micro-batches beyond those ahead are enough: both neighbours send (or receive) first."""
    job = pipeline(stages, micro_batches + stages, apart(*order))
    assert mistakes(job)


def test_the_order_of_the_last_but_one_of_three_stages() -> None:
    found = [
        f"{step.operation} {step.peer}" if isinstance(step, HandOn) else f"{step.direction[0]}{step.micro_batch}"
        for step in one_forward_one_backward(3, 1, 3)
    ]
    assert found == [
        *("recv previous", "f0", "send next"),
        *("recv previous", "f1", "exchange next", "b0", "exchange previous", "f2", "exchange next", "b1"),
        *("send previous", "recv next", "b2", "send previous"),
    ]


# -- any layout ------------------------------------------------------------------------------------------------


def per_byte(op: Communicate) -> float:
    return 0.0 if op.operation == "recv" else op.size_bytes * 1e-12


@settings(deadline=None, max_examples=200)
@given(jobs())
def test_no_layout_deadlocks(job: Drawn) -> None:
    found = execute(Job.of(job.layout, job.stages), per_byte)
    of_stage = job.layout.tensor * job.layout.data
    for rank, line in enumerate(found.timelines):
        iteration = job.stages[rank // of_stage]
        assert [timed.op for timed in line.operations] == list(iteration.communications)
        assert line.duration_s >= play(iteration, per_byte).duration_s * (1 - 1e-12)


@settings(deadline=None, max_examples=200)
@given(jobs())
def test_without_a_pipeline_a_rank_is_as_fast_as_alone(job: Drawn) -> None:
    if job.layout.pipeline == 1:
        alone = play(job.stages[0], per_byte)
        found = execute(Job.of(job.layout, job.stages), per_byte)
        assert all(line == alone for line in found.timelines)


@settings(deadline=None, max_examples=200)
@given(jobs(on_the_fabric=True))
def test_both_sides_have_the_same_messages_and_members_the_same_sequence(job: Drawn) -> None:
    """Counted from the iterations, not by executing them."""
    of_stage = job.layout.tensor * job.layout.data
    streams: dict[tuple[object, ...], list[tuple[str, int]]] = defaultdict(list)  # direction of a link -> its messages
    for rank in range(job.layout.gpus):
        for op in job.stages[rank // of_stage].communications:
            if op.peer is None:
                streams["collective", rank, op.group].append((op.operation, op.size_bytes))
                continue
            other = rank + (of_stage if op.peer == "next" else -of_stage)
            if op.operation in ("send", "exchange"):
                streams["sent", rank, other].append(("message", op.size_bytes))
            if op.operation in ("recv", "exchange"):
                streams["received", other, rank].append(("message", op.size_bytes))
    for key, sent in streams.items():
        if key[0] == "sent":
            assert streams["received", key[1], key[2]] == sent
            assert len(sent) == job.layout.micro_batches
    kinds: tuple[Group, ...] = ("dp", "tp", "ep", "dp_ep")
    for kind in kinds:
        for ranks in groups(job.layout, kind):
            assert all(streams["collective", rank, kind] == streams["collective", ranks[0], kind] for rank in ranks)


@settings(deadline=None, max_examples=100)
@given(jobs(), st.integers(0, 30), st.floats(0, 1e-9))
def test_a_longer_operation_never_makes_a_job_faster(job: Drawn, which: int, more_s: float) -> None:
    found = {op for stage in job.stages for op in stage.communications}
    if not found:
        return
    slow = sorted(found, key=repr)[which % len(found)]
    whole = Job.of(job.layout, job.stages)
    before = execute(whole, per_byte)
    after = execute(whole, lambda op: per_byte(op) + (more_s if op == slow else 0.0))
    assert after.duration_s >= before.duration_s * (1 - 1e-12)
