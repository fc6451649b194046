"""Traces become iterations, and what does not is listed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from gse_command import Gse
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_files import OURS, file_id, trace_files

from testbed.collectives.operation import OPERATIONS
from testbed.fields import Mistakes
from testbed.traces.files import load
from testbed.traces.trace import Record, Trace, Unknown
from testbed.training.hardware import A100, Hardware
from testbed.training.iteration import Communicate, Compute, Iteration, Total
from testbed.training.layout import Layout
from testbed.training.rehearsal import Job, execute
from testbed.training.scale import Emulation, Native, emulated_seconds, scale
from testbed.training.traced import LeftOut, iterations_of


def layout(**fields: object) -> Layout:
    return Layout.model_validate({"data": 1, "global_batch": fields.get("data", 1), **fields})


SMALL = layout(data=4, tensor=2, expert=2, pipeline=2, sequence_parallel=True, gpus_per_node=2, nics_per_node=1)


def trace_of(*records: Record, unknown: tuple[Unknown, ...] = (), more_unknown: int = 0) -> Trace:
    return Trace(
        source="x", format="aicb", places="line", records=records, unknown=unknown,
        n_unknown=len(unknown) + more_unknown, known=(),
    )  # fmt: skip


def a_record(place: int = 1, **values: object) -> Record:
    return Record(**{"place": place, "kind": "communicate", "operation": "allreduce", "group": "dp", "size_bytes": 8,
                     "stage": "step", **values})  # type: ignore[arg-type]  # fmt: skip


# -- AICB and SimAI --------------------------------------------------------------------------------------------


def test_a_mark_ends_an_iteration_and_a_barrier_moves_nothing() -> None:
    found = iterations_of(load(OURS / "aicb-zero2.csv"), layout(data=16))
    first, second = found.iterations
    assert first.totals() == (Total("init", "broadcast", "dp", 2, 1_052_672),)
    assert second.totals() == (
        Total("backward.allreduce_bucket", "allreduce", "dp", 2, 1_048_576),
        Total("step.allreduce_bucket", "allreduce", "dp", 1, 4096),
        Total("step.has_overflow", "allreduce", "dp", 1, 4),
        Total("step.all_gather_dp_groups", "all_gather", "dp", 1, 1_052_672),
    )
    assert all(op.blocking for op in second.communications)
    assert found.left_out == (LeftOut(3, "barrier", "moves no bytes", "barrier", 0),)


def test_groups_inside_a_node_are_local() -> None:
    (found,) = iterations_of(load(OURS / "simai-gpt.txt"), layout(tensor=8, data=4)).iterations
    assert {op.group for op in found.local} == {"tp"}
    assert [(op.operation, op.group, op.size_bytes, op.blocking) for op in found.communications] == [
        ("reduce_scatter", "dp", 2_097_152, False),
        ("all_gather", "dp", 1_048_576, False),
    ]


def test_layers_of_simai_are_executed_forward_and_then_back_from_the_last() -> None:
    (found,) = iterations_of(
        load(OURS / "simai-gpt.txt"), layout(tensor=8, data=4, gpus_per_node=1, nics_per_node=1)
    ).iterations
    shown = [(op.phase, round(op.duration_s * 1e9) if isinstance(op, Compute) else op.size_bytes) for op in found.ops]
    assert shown == [
        *(("forward", 16384), ("forward", 3000), ("forward", 65536)),  # norm, two without operation, embedding
        *(("forward", 750_000), ("forward", 65536), ("forward", 500_000), ("forward", 65536)),  # attention, mlp
        *(("input_grad", 500_000), ("input_grad", 65536), ("weight_grad", 500_000)),  # mlp
        *(("input_grad", 750_000), ("input_grad", 65536), ("weight_grad", 750_000)),  # attention
        *(("input_grad", 1000), ("input_grad", 65536), ("weight_grad", 1000)),  # embedding
        *(("input_grad", 1000), ("weight_grad", 1000), ("weight_grad", 2_097_152)),  # grad_param
        *(("input_grad", 1000), ("weight_grad", 1000), ("weight_grad", 1_048_576)),  # grad_gather
        *(("input_grad", 1), ("weight_grad", 1)),  # norm
    ]
    blocking = [op.blocking for op in found.communications]
    assert blocking == [True] * 7 + [False] * 2
    assert found.compute_s == pytest.approx(sum(r.compute_s or 0 for r in load(OURS / "simai-gpt.txt").records))


def test_a_receive_and_a_send_of_one_call_become_an_exchange_and_stages_fit_together() -> None:
    job = layout(tensor=2, data=2, pipeline=2, global_batch=4, gpus_per_node=2, nics_per_node=1)
    stages = []
    for name in ("first", "last"):
        trace = load(OURS / f"aicb-pipeline-{name}.csv")
        found = iterations_of(trace, job)
        assert found.left_out == ()
        assert found.bytes_by_operation() == sums_of(trace)
        stages += found.iterations
    assert [(op.operation, op.peer) for op in stages[0].communications if op.group == "pp"] == [
        ("send", "next"), ("exchange", "next"), ("recv", "next")
    ]  # fmt: skip
    assert [(op.operation, op.peer) for op in stages[1].communications if op.group == "pp"] == [
        ("recv", "previous"), ("exchange", "previous"), ("send", "previous")
    ]  # fmt: skip
    # 1F1B: (m + p - 1)(f + b) = 3 x (1 + 2) ms
    assert execute(Job.of(job, stages), lambda op: 0.0).duration_s == pytest.approx(9e-3)


def test_messages_that_follow_each_other_in_other_phases_stay_two() -> None:
    """A single micro-batch: the next stage answers only when it has computed."""
    found = iterations_of(
        trace_of(
            a_record(1, operation="send", group="pp", stage="forward_step", name="send_next"),
            a_record(2, operation="recv", group="pp", stage="backward_step", name="recv_next"),
        ),
        SMALL,
    )
    assert [op.operation for op in found.iterations[0].communications] == ["send", "recv"]


@pytest.mark.parametrize(
    "between", [Record(place=2, kind="compute", stage="forward_step"), a_record(2, group="all", stage="forward_step")]
)
def test_messages_with_something_between_them_stay_two_though_that_is_left_out(between: Record) -> None:
    """A stage without known times: the first activation, the next pass, and then an exchange."""
    send, receive = (
        a_record(place, operation=name[:4], group="pp", stage="forward_step", name=name)
        for place, name in ((1, "send_next"), (3, "recv_next"))
    )
    found = iterations_of(trace_of(send, between, receive, replace(send, place=4)), SMALL)
    assert [op.operation for op in found.iterations[0].communications] == ["send", "exchange"]
    assert [left.place for left in found.left_out] == [2]


# -- what is not in them ---------------------------------------------------------------------------------------


def test_all_that_is_left_out_is_listed_in_the_order_of_the_file() -> None:
    found = iterations_of(
        trace_of(
            a_record(1, group="pg 0"),
            a_record(2, size_bytes=None),
            a_record(3, operation="send", group="pp", name=None),
            Record(place=4, kind="compute", name="gemm"),
            Record(place=5, kind="host", name="aten::mm", compute_s=3.0),
            a_record(7, compute_s=1.0, group=None),
            a_record(8),
            unknown=(Unknown(6, "scan", "no operation we know"),),
            more_unknown=5,
        ),
        SMALL,
    )
    assert [(left.place, left.what, left.why) for left in found.left_out] == [
        (1, "allreduce", "group pg 0, expected dp, tp, pp, ep, dp_ep, ep_dp"),
        (2, "allreduce", "of unknown size"),
        (3, "send", "a message without direction, expected pp and send_next, recv_next, send_prev, recv_prev"),
        (4, "compute gemm", "computing of unknown duration"),
        (5, "host aten::mm", "the host's part, beside the accelerator"),
        (6, "scan", "no operation we know"),
        (7, "allreduce", "group None, expected dp, tp, pp, ep, dp_ep, ep_dp"),
    ]
    assert found.n_unlisted == 5
    # what the rank computes before an operation that is left out, it computes
    assert found.iterations == (Iteration((Compute("step", 1.0), Communicate("step", "allreduce", "dp", 8))),)


def test_groups_may_have_other_names() -> None:
    found = iterations_of(trace_of(a_record(group="pg 0")), SMALL, groups={"pg 0": "dp"})
    assert found.left_out == ()
    assert found.iterations[0].communications[0].group == "dp"


def test_a_layout_with_other_groups_is_refused_with_all_of_them() -> None:
    with pytest.raises(Mistakes) as caught:
        iterations_of(load(OURS / "simai.txt"), layout(data=8))
    source = OURS / "simai.txt"
    assert caught.value.mistakes == [
        f"{source}: header: group dp of 4 ranks; expected 8, the dp of the layout",
        f"{source}: header: group dp_ep of 2 ranks; expected 8, the dp_ep of the layout",
        f"{source}: header: group ep of 2 ranks; expected 1, the ep of the layout",
        f"{source}: header: group pp of 2 ranks; expected 1, the pp of the layout",
        f"{source}: header: group tp of 2 ranks; expected 1, the tp of the layout",
    ]
    with pytest.raises(Mistakes, match="line 4: group dp of 16 ranks; expected 8"):
        iterations_of(load(OURS / "aicb-zero2.csv"), layout(data=8))


def test_one_rank_of_several_is_chosen() -> None:
    trace = trace_of(a_record(1, rank="0"), a_record(2, rank="1", size_bytes=12))
    with pytest.raises(Mistakes, match="records of 2 ranks; expected rank to be one of 0, 1"):
        iterations_of(trace, SMALL)
    with pytest.raises(Mistakes, match="rank=2; expected one of 0, 1"):
        iterations_of(trace, SMALL, rank="2")
    assert iterations_of(trace, SMALL, rank="1").bytes_by_operation() == {"allreduce": 12}


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(["communicate", "communicate", "communicate", "compute", "host", "mark"]))
    operation = draw(st.sampled_from([o for o in OPERATIONS if o != "exchange"])) if kind == "communicate" else None
    return Record(
        place=draw(st.integers(1, 100)),
        kind=kind,
        operation=operation,
        group=draw(st.sampled_from(["dp", "tp", "pp", "ep", "dp_ep", "all", None])),
        size_bytes=draw(st.sampled_from([None, 0, 4, 8])),
        stage=draw(st.sampled_from(["forward", "weight_grad", None])),
        name=draw(st.sampled_from(["send_next", "recv_next", "send_prev", "recv_prev", "x", None])),
        compute_s=draw(st.sampled_from([None, 0.0, 0.5])),
    )


def sums_of(trace: Trace) -> dict[str, int]:
    found: Counter[str] = Counter()
    for record in trace.records:
        if record.operation is not None:
            found[record.operation] += record.size_bytes or 0
    return dict(found)


@settings(deadline=None)
@given(st.lists(records(), max_size=30), st.sampled_from(["aicb", "simai"]))
def test_every_record_is_in_an_iteration_or_left_out(found: list[Record], format: str) -> None:
    trace = Trace(
        source="x", format=format, places="line", records=tuple(found), unknown=(), n_unknown=0, known=()  # type: ignore[arg-type]
    )  # fmt: skip
    made = iterations_of(trace, SMALL)
    assert made.bytes_by_operation() == sums_of(trace)
    operations = [op for iteration in made.iterations for op in (*iteration.communications, *iteration.local)]
    exchanges = sum(op.operation == "exchange" for op in operations)
    left = [one for one in made.left_out if one.operation is not None]
    assert len(operations) + exchanges + len(left) == sum(record.kind == "communicate" for record in found)
    computed = [r.compute_s for r in found if r.kind in ("compute", "communicate") and r.compute_s is not None]
    assert sum(iteration.compute_s for iteration in made.iterations) == pytest.approx(sum(computed))
    untimed = sum(one.what.startswith("compute") for one in made.left_out)
    assert untimed == sum(record.kind == "compute" and record.compute_s is None for record in found)


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


# -- files -----------------------------------------------------------------------------------------------------

LAYOUTS = {
    "aicb-log.csv": layout(data=4),
    "aicb-workload.csv": layout(data=4, tensor=2, gpus_per_node=1, nics_per_node=1),
    "aicb-zero2.csv": layout(data=16),
    "aicb-pipeline-first.csv": layout(data=2, tensor=2, pipeline=2, gpus_per_node=2, nics_per_node=1),
    "aicb-pipeline-last.csv": layout(data=2, tensor=2, pipeline=2, gpus_per_node=2, nics_per_node=1),
    "simai.txt": SMALL,
    "simai-gpt.txt": layout(data=4, tensor=8),
    "simai-micro.txt": layout(data=8),
    # real ones
    "L13B-D1-C03_Llama13B_zero2_mbs1.csv": layout(data=128),
    "G13B-M1-C01_GPT13B_megatron_tp8_pp1_mbs1.csv": layout(data=16, tensor=8),
    "L7B-M1-C04_Llama7B_megatron_tp2_pp1_mbs1.csv": layout(data=64, tensor=2),
    "G13B-M1-C01_GPT13B_megatron_tp8_pp1_mbs1_A100.txt": layout(data=16, tensor=8),
    "L7B-M1-C04_Llama7B_megatron_tp2_pp1_mbs1_A100.txt": layout(data=64, tensor=2),
    "micro_all_reduce.txt": layout(data=8),
}


@pytest.mark.parametrize("path", trace_files("aicb", "simai"), ids=file_id)
def test_bytes_of_a_file_are_those_that_inspect_prints(gse: Gse, path: Path) -> None:
    """``LAYOUTS`` has a layout for each file that is known; a real one that is not has all groups as they are there."""
    if path.name not in LAYOUTS:
        pytest.skip(f"no layout for {path.name} in LAYOUTS")
    found = iterations_of(load(path), LAYOUTS[path.name])
    inspected: Counter[str] = Counter()
    document = json.loads(gse("workload", "inspect", str(path), "--json").out)[0]
    for entry in document["operations"]:
        inspected[entry["operation"]] += entry["size_bytes"]
    assert found.bytes_by_operation() == dict(inspected)
    assert found.iterations
    if path.parent != OURS:  # of the real ones nothing with bytes is left out
        assert sum(left.size_bytes for left in found.left_out) == 0
    if document["computing"]["compute_s"] is not None:
        computed = sum(iteration.compute_s for iteration in found.iterations)
        assert computed == pytest.approx(document["computing"]["compute_s"])


@pytest.mark.parametrize(
    "path",
    [path for path in trace_files("aicb", "simai") if "zero2" in path.name or "gpt" in path.name.lower()],
    ids=file_id,
)
def test_a_file_can_be_scaled_down_and_executed_by_hosts(path: Path) -> None:
    layout, hardware = LAYOUTS[path.name], Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)
    asked = Emulation(hosts=16, link_mbps=10, sent_bytes=15_000_000, mtu_bytes=1500)
    found_in = iterations_of(load(path), layout).iterations
    # GPT's initialisation is a few words
    whole = [one for one in found_in if sum(op.size_bytes for op in one.communications) >= 1000]
    assert whole
    for iteration in whole:
        found = scale([iteration], Native.of(layout, hardware), asked)
        assert found.emulated.sent_bytes == pytest.approx(15_000_000, rel=1e-3)
        executed = execute(Job.emulated(found.iterations, 16), emulated_seconds(asked, 16))
        alone = found.emulated.communication_s + found.emulated.compute_s
        assert found.emulated.communication_s * (1 - 1e-9) <= executed.duration_s <= alone * (1 + 1e-9)
