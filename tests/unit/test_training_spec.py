"""Training jobs as they are asked for: what is refused, what a trace becomes, what hosts do in the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ScenarioError, TraceError
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override, parse_scenario
from testbed.runs.scenario_files import with_trace
from testbed.training import job as training_job
from testbed.training.iteration import Communicate, Compute, Iteration
from testbed.training.layout import Layout
from testbed.training.named import NAMED
from testbed.training.native import native_iteration, spread_computing
from testbed.training.spec import TrainingSpec
from testbed.training.volume import sent_per_byte

TRACES = Path(__file__).resolve().parents[1] / "data" / "traces"
AICB = {
    "trace": str(TRACES / "aicb-zero2.csv"),
    "layout": {"data": 16, "global_batch": 16, "zero": 2},
    "nic_mbps": 1000,
}
SIMAI = {
    "trace": str(TRACES / "simai-gpt.txt"),
    "layout": {"tensor": 8, "data": 4, "global_batch": 4},
    "nic_mbps": 1000,
}
DENSE = {"model": "llama2-13b", "layout": {"data": 64, "global_batch": 64, "nics_per_node": 1}}


def scenario(training: dict[str, Any] | None, **workload: Any) -> Scenario:
    about = {"kind": "training", "size_bytes": 4_000_000, "training": training, **workload}
    return parse_scenario({"name": "x", "workload": about}, source="test")


def problems(training: dict[str, Any] | None, **workload: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        with_trace(scenario(training, **workload))
    return str(caught.value)


@pytest.mark.parametrize("name", NAMED)
def test_every_preset_is_scaled_to_what_was_asked_for(name: str) -> None:
    job = scenario({"preset": name}).job
    assert job is not None
    sent = {rank: 0 for rank in range(16)}
    for (src, _dst), size in zip(job.pairs, job.pair_bytes(job.size_bytes), strict=True):
        sent[src] += size
    assert max(sent.values()) == pytest.approx(4_000_000, rel=0.001)
    assert job.ideal.duration_s >= job.compute_s
    assert job.kind_bytes(job.kinds[0]) <= job.pair_bytes(job.size_bytes)
    total = [sum(sizes) for sizes in zip(*(job.kind_bytes(kind) for kind in job.kinds), strict=True)]
    assert tuple(total) == job.pair_bytes(job.size_bytes)


def test_a_smaller_iteration_is_the_same_without_computing() -> None:
    job = scenario({"preset": "llama2-13b/zero3/1-nic"}).job
    assert job is not None
    (small,) = job.sized(400_000)
    assert small.compute_s == 0
    assert [op.operation for op in small.communications] == [op.operation for op in job.stages[0].communications]
    sent = sum(sent_per_byte(op.operation, 16) * op.size_bytes for op in small.communications)
    assert sent == pytest.approx(400_000, rel=0.001)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (None, "training unset with kind=training"),
        ({}, "no preset, model or trace"),
        ({"preset": "gpt-5"}, "preset=gpt-5, expected one of llama2-13b/dp/8-nics"),
        ({"preset": "llama2-13b/dp/1-nic", "mfu": 0.3}, "with mfu, expected these unset"),
        ({"model": "llama2-13b"}, "layout unset with a model"),
        ({"model": "llama2-13b", "layout": {"data": 1 << 17, "global_batch": 1 << 17}}, "131072 accelerators"),
        (
            {"model": "llama2-13b", "layout": {"data": 64, "global_batch": 64 << 20}},
            "1048576 micro-batches of 40 layers",
        ),
        ({"model": "llama2-13b", "layout": {"data": 64, "global_batch": 64, "bucket_bytes": 2}}, "buckets, about"),
        ({**DENSE, "trace_iteration": 1}, "trace_iteration without a trace"),
        ({**AICB, "layout": {**AICB["layout"], "pipeline": 2, "zero": 0}}, "traces of 1 stages with layout.pipeline=2"),  # type: ignore[dict-item]
        ({**AICB, "layout": {"data": 8, "global_batch": 8}}, "group dp of 16 ranks, expected 8"),
        (
            {**AICB, "mfu": 0.5, "layout": {**AICB["layout"], "overlap": False}},  # type: ignore[dict-item]
            "layout.overlap with a trace, expected these unset",
        ),
        ({**AICB, "mfu": 0.5}, "mfu with a trace and no model"),
        ({**AICB, "trace_iteration": 2}, "trace_iteration=2, expected one of 0..1"),
        ({**AICB, "trace_rank": "7"}, "trace_rank=7, expected one of"),
        ({**AICB, "trace_groups": ["norm=xx"]}, "trace_groups has norm=xx"),
        ({**SIMAI, "trace_groups": ["norms=dp"]}, "trace_groups names norms"),
        ({**SIMAI, "model": "gpt3-13b"}, "a trace that has computing of its own"),
        # GPT-3 13B takes sequences of 2048, and a layout has 4096 unless it is told: twice the computing
        ({**AICB, "model": "gpt3-13b"}, "layout.sequence=4096, expected at most context=2048 of gpt3-13b"),
        ({**SIMAI, "trace_groups": ["none=dp"]}, "trace_groups names none"),
        (
            {
                "trace": str(TRACES / "nccl.log"),
                "trace_rank": "node1:101 [1]",
                "layout": {"data": 2, "global_batch": 2},
            },
            "has no iteration (left out of the trace: 6: allreduce (group commId 0xc0ffee, expected dp",
        ),
        (
            {**AICB, "model": "llama2-7b", "layout": {"data": 16, "global_batch": 16, "gpus_per_node": 16}},
            "no operation uses the fabric",
        ),
        ({"trace": str(TRACES / "param.json"), "layout": {"data": 4, "global_batch": 4}}, "workload.training: "),
    ],
)
def test_what_cannot_be_is_said_with_what_would_do(training: dict[str, Any] | None, said: str) -> None:
    assert said in problems(training)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["all_reduce,dp_group,8000000,step", "reduce,dp_group,8000000,step"], "trace has reduce, expected allreduce"),
        (["epoch_end,None,0,"], "has no iteration, expected operations or computing"),
        (["all_reduce,dp_group,8000000,step"] * 20_001, "trace has 20001 records of the rank, expected at most 20000"),
        (["all_reduce,dp_group,8000000,step"] * 5001, "5001 operations of a rank, expected at most 5000"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "rows",
)
def test_traces_that_cannot_be_replayed_are_refused(tmp_path: Path, rows: list[str], said: str) -> None:
    path = tmp_path / "aicb.csv"
    path.write_text("\n".join(["comm_type,comm_group,msg_size,stage", *rows]))
    training = {"trace": str(path), "layout": {"data": 16, "global_batch": 16}}
    assert said in problems(training, size_bytes=200_000_000)


def test_several_mistakes_are_told_at_once() -> None:
    text = problems({"preset": "x", "model": "y", "trace_groups": ["a"]})
    assert all(said in text for said in ("preset=x", "model=y", "trace_groups has a"))


def test_too_few_bytes_are_told_by_the_name_of_the_field() -> None:
    assert "workload.size_bytes=" in problems({"preset": "llama2-13b/zero3/1-nic"}, size_bytes=10_000)


def scenario_on(fabric: dict[str, int], preset: str = "llama2-13b/dp/1-nic") -> Scenario:
    about = {"kind": "training", "size_bytes": 4_000_000, "training": {"preset": preset}}
    return parse_scenario({"name": "x", "fabric": fabric, "workload": about}, source="test")


def test_a_single_host_is_refused_in_our_words() -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario_on({"leaves": 1, "hosts_per_leaf": 1})
    assert "the fabric has 1 host" in str(caught.value) and "hosts=1, expected at least 2" in str(caught.value)
    assert "validation error" not in str(caught.value)


def test_too_many_hosts_are_refused_before_they_are_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(*_args: object) -> None:
        raise AssertionError("rehearsed")

    monkeypatch.setattr(training_job, "execute", execute)
    with pytest.raises(ScenarioError, match="260 hosts a stage, expected at most 256"):
        scenario_on({"hosts_per_leaf": 65})
    monkeypatch.setattr(training_job, "MAX_REHEARSED", 3 * 20 - 1)
    with pytest.raises(ScenarioError, match="3 operations of each of 20 hosts, expected at most 59 together"):
        scenario_on({"hosts_per_leaf": 5}, "llama2-13b/zero3/1-nic")


def test_other_kinds_have_no_training() -> None:
    assert "training set with kind=all_to_all" in problems({"preset": "llama2-13b/dp/1-nic"}, kind="all_to_all")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(TraceError, match="/nowhere"):
        with_trace(scenario({**AICB, "trace": "/nowhere"}))


def test_what_a_trace_says_is_part_of_the_scenario_and_its_file_no_longer_needed() -> None:
    loaded = with_trace(scenario(AICB))
    stored = parse_scenario(json.loads(json.dumps(loaded.model_dump(mode="json"))), source="stored")
    assert stored == loaded
    job = stored.job
    assert job is not None
    assert [op.operation for op in job.stages[0].communications] == ["allreduce"] * 4 + ["all_gather"]
    text = " ".join(job.rule())
    assert "iteration 1 of 2" in text and "barrier (moves no bytes)" in text and "says nothing of it" in text
    assert "trace=/other" in _refused(loaded, {"workload.training.trace": "/other"})


def test_a_stored_trace_with_sizes_beyond_floating_point_is_refused() -> None:
    fields = json.loads(json.dumps(with_trace(scenario(AICB)).model_dump(mode="json")))
    (recorded,) = fields["workload"]["training"]["recorded"]
    gather = next(record for record in recorded["records"] if "all_gather" in record)
    gather[gather.index(1_052_672)] = 10**400
    with pytest.raises(ScenarioError, match="expected at most"):
        parse_scenario(fields, source="stored")


def _refused(loaded: Scenario, changes: dict[str, Any]) -> str:
    with pytest.raises(ScenarioError) as caught:
        override(loaded, changes)
    return str(caught.value)


def test_a_trace_without_computing_may_have_a_models() -> None:
    job = with_trace(scenario({**AICB, "model": "llama2-7b", "nic_mbps": 0.1})).job
    plain = with_trace(scenario(AICB)).job
    assert job is not None and plain is not None
    assert plain.compute_s == 0
    assert job.compute_s > 0
    assert [op.operation for op in job.stages[0].communications] == [
        op.operation for op in plain.stages[0].communications
    ]


def test_groups_may_be_other_than_a_trace_says() -> None:
    as_told, regrouped = (
        with_trace(scenario({**SIMAI, "trace_groups": groups})).job for groups in ([], ["embedding_layer=dp"])
    )
    assert as_told is not None and regrouped is not None
    assert {kind for kind in as_told.kinds} == {("all_gather", "dp"), ("reduce_scatter", "dp")}
    assert {kind for kind in regrouped.kinds} == {("allreduce", "dp"), ("all_gather", "dp"), ("reduce_scatter", "dp")}
    assert "embedding_layer=dp" in " ".join(regrouped.rule())


def test_computing_is_put_first_and_before_what_is_backward() -> None:
    def reduce(phase: str) -> Communicate:
        return Communicate(phase, "allreduce", "dp", 8)

    spread = spread_computing(Iteration((reduce("step"), reduce("backward.a"), reduce("backward.b"))), 9.0)
    assert [op.phase for op in spread.ops] == [
        "forward",
        "step",
        "backward.a",
        "backward.a",
        "backward.b",
        "backward.b",
    ]
    assert [type(op) for op in spread.ops] == [Compute, Communicate] + 2 * [Compute, Communicate]
    assert [op.duration_s for op in spread.ops if isinstance(op, Compute)] == pytest.approx([3.0, 3.0, 3.0])
    without = spread_computing(Iteration((reduce("x"), reduce("y"))), 9.0)
    assert [op.duration_s for op in without.ops if isinstance(op, Compute)] == pytest.approx([3.0, 3.0, 3.0])
    alone = spread_computing(Iteration((), (reduce("x"),)), 9.0)  # all of it inside a node
    assert [op.duration_s for op in alone.ops if isinstance(op, Compute)] == pytest.approx([3.0, 6.0])


def test_a_pipeline_has_a_trace_for_each_stage() -> None:
    layout = {"tensor": 2, "data": 2, "pipeline": 2, "global_batch": 4, "gpus_per_node": 2, "nics_per_node": 1}
    first, last = (str(TRACES / f"aicb-pipeline-{name}.csv") for name in ("first", "last"))
    training = {"trace": first, "trace_stages": [last], "layout": layout, "nic_mbps": 100}
    job = with_trace(scenario(training)).job
    assert job is not None
    assert (len(job.stages), job.group_hosts) == (2, 8)
    assert {kind for kind in job.kinds if kind[1] == "pp"} == {("send", "pp"), ("exchange", "pp"), ("recv", "pp")}
    assert all(name in " ".join(job.rule()) for name in (first, last))
    assert "expected a stage there" in problems({**training, "trace_stages": [first]})  # beyond the last
    assert "traces of 1 stages" in problems({**training, "trace_stages": []})


def test_a_file_of_all_stages_is_named_once_for_each(tmp_path: Path) -> None:
    layout = {"tensor": 2, "data": 2, "pipeline": 2, "global_batch": 4, "gpus_per_node": 2, "nics_per_node": 1}
    texts = [(TRACES / f"aicb-pipeline-{name}.csv").read_text().splitlines() for name in ("first", "last")]
    whole = tmp_path / "whole.csv"
    parts = [[f"[ pp_stage{stage}: [rank{stage}] ]", *lines[1:]] for stage, lines in enumerate(texts)]
    whole.write_text("\n".join(line for lines in parts for line in lines) + "\n")
    apart = {"trace": str(TRACES / "aicb-pipeline-first.csv"), "trace_stages": [str(TRACES / "aicb-pipeline-last.csv")]}
    together = {"trace": str(whole), "trace_stages": [str(whole)]}
    jobs = [with_trace(scenario({**one, "layout": layout, "nic_mbps": 100})).job for one in (apart, together)]
    assert jobs[0] is not None and jobs[1] is not None
    assert [stage.ops for stage in jobs[0].stages] == [stage.ops for stage in jobs[1].stages]
    three = {**together, "trace_stages": [str(whole)] * 2, "layout": {**layout, "pipeline": 3}}
    assert "records of 2 ranks" in problems(three)


@pytest.mark.parametrize(
    ("name", "ranks", "groups", "rank", "operations"),
    [
        ("chakra.0.json", 8, ["pg 0=dp"], None, {"allreduce", "reduce_scatter"}),
        ("chakra.0.et", 8, ["pg 0=dp"], None, {"allreduce", "reduce_scatter"}),
        ("param.json", 4, ["pg 0=dp"], None, {"allreduce"}),
        ("nccl.log", 2, ["commId 0xc0ffee=dp"], "node1:100 [0]", {"allreduce", "all_gather", "reduce_scatter"}),
    ],
)
def test_traces_whose_groups_are_numbered_are_replayed_once_these_are_named(
    name: str, ranks: int, groups: list[str], rank: str | None, operations: set[str]
) -> None:
    layout = {"data": ranks, "global_batch": ranks, "gpus_per_node": 1, "nics_per_node": 1}
    training = {"trace": str(TRACES / name), "trace_groups": groups, "trace_rank": rank, "layout": layout}
    job = with_trace(scenario({**training, "nic_mbps": 100}, size_bytes=40_000_000)).job
    assert job is not None
    assert {op.operation for op in job.stages[0].communications} == operations
    assert "left out of the trace" in " ".join(job.rule())


def test_computing_of_a_model_says_of_what_sequences_and_that_all_is_waited_for() -> None:
    job = with_trace(scenario({**AICB, "model": "llama2-7b", "nic_mbps": 0.1})).job
    assert job is not None
    text = " ".join(job.rule())
    assert "of llama2-7b with 16 sequences of 4096 tokens" in text
    assert "every operation is waited for" in text
    behind = with_trace(scenario(SIMAI)).job  # gradients of layers go on behind the computing, as in its simulator
    assert behind is not None
    assert "2 of 2 operations go on behind the computing" in " ".join(behind.rule())
    assert not any("no marks" in line for one in (job, behind) for line in one.rule())  # AICB's has, SimAI's needs none


def test_what_stays_inside_a_node_is_told_with_its_bytes() -> None:
    job = with_trace(scenario(SIMAI)).job
    assert job is not None
    local = native_iteration(with_trace(scenario(SIMAI)).workload.training).stages[0].local  # type: ignore[arg-type]
    reduced = [op.size_bytes for op in local if op.operation == "allreduce"]
    assert f"{len(reduced)} allreduce (tp) of {sum(reduced):,} bytes" in " ".join(job.rule())


def aicb_file(folder: Path, *rows: str) -> str:
    path = folder / "aicb.csv"
    path.write_text("\n".join(["comm_type,comm_group,msg_size,stage", *rows]))
    return str(path)


def test_what_is_left_out_is_told_by_reason_with_most_bytes_first(tmp_path: Path) -> None:
    """Twenty barriers do not hide the one operation that is large."""
    rows = ["barrier,all,0,step"] * 20 + ["all_gather,embedding_group,5000000,step", "all_reduce,dp_group,8000000,step"]
    training = {"trace": aicb_file(tmp_path, *rows), "layout": {"data": 16, "global_batch": 16}}
    job = with_trace(scenario(training)).job
    assert job is not None
    (said,) = (line for line in job.rule() if line.startswith("left out of the trace"))
    other = "group embedding, expected dp, tp, pp, ep, dp_ep, ep_dp"
    assert said == (
        f"left out of the trace: 22: all_gather ({other}), 5,000,000 bytes; "
        "2: barrier (moves no bytes) and 19 more like it"
    )


def test_operations_of_no_group_are_replayed_once_it_is_said_whose_they_are(tmp_path: Path) -> None:
    """PARAM's and Chakra's of the whole job often name none."""
    path = tmp_path / "param.json"
    entry = {"comms": "all_reduce", "in_msg_size": 2_000_000, "out_msg_size": 2_000_000, "dtype": "float32"}
    path.write_text(json.dumps([{**entry, "world_size": 4}] * 2))
    training: dict[str, Any] = {"trace": str(path), "layout": {"data": 4, "global_batch": 4, "gpus_per_node": 1}}
    training["layout"]["nics_per_node"] = 1
    assert "none=dp" in problems(training)
    job = with_trace(scenario({**training, "trace_groups": ["none=dp"]})).job
    assert job is not None
    assert [(op.operation, op.group) for op in job.stages[0].communications] == [("allreduce", "dp")] * 2
    assert "no marks, all of it is taken for one iteration" in " ".join(job.rule())
    eight = {**training, "layout": {**training["layout"], "data": 8, "global_batch": 8}, "trace_groups": ["none=dp"]}
    assert "group dp of 4 ranks, expected 8" in problems(eight)


def test_what_hosts_do_beside_accelerators_is_counted_and_not_kept(tmp_path: Path) -> None:
    """A trace of PyTorch has tens of thousands of such nodes, more than records that can be replayed."""
    path = tmp_path / "chakra.json"
    host = {"Name": "aten::mm", "NodeType": 4, "runtime": 90, "is_cpu_op": True}
    own = {"Name": "ncclKernel_AllReduce", "NodeType": 7, "is_cpu_op": False, "comm_size": 8_000_000, "pg_name": "0"}
    nodes = [{"Id": number, **host} for number in range(20_001)] + [{"Id": 20_001, **own}]
    path.write_text(json.dumps({"workload_graph": nodes}))
    training = {"trace": str(path), "trace_groups": ["pg 0=dp"], "layout": {"data": 16, "global_batch": 16}}
    loaded = with_trace(scenario(training))
    assert loaded.workload.training is not None
    (recorded,) = loaded.workload.training.recorded
    assert (len(recorded.records), recorded.n_host) == (1, 20_001)
    assert loaded.job is not None
    assert "left out of the trace: 20,001 records of the host's part" in " ".join(loaded.job.rule())


def test_a_ranks_buckets_are_counted_and_not_those_of_its_whole_tensor_group() -> None:
    """70B in eight parts: 3449 buckets of 5 MB a rank. Counted as 27,590 they were too many for two micro-batches."""
    layout = Layout(tensor=8, data=8, global_batch=16, bucket_bytes=5_000_000)
    (stage,) = native_iteration(TrainingSpec(model="llama2-70b", layout=layout)).stages
    reduced = [op for op in stage.communications if op.operation == "allreduce"]
    assert 3449 <= len(reduced) <= 3451  # a section's elements are rounded up
    assert sum(op.size_bytes for op in reduced) == pytest.approx(68_976_648_192 * 2 / 8)
