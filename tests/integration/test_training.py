"""Training iterations over switches: right data, the time of the rehearsal, traces replayed, who fails is named."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from attacks import strike
from gse_runs import PROJECT, Campaign, gse_run, judged, table
from lab import in_lab

pytestmark = pytest.mark.root

TRACES = PROJECT / "tests" / "data" / "traces"
SMALL = {
    "fabric.leaves": 2,
    "fabric.spines": 2,
    "fabric.hosts_per_leaf": 2,
    "workload.kind": "training",
    "workload.size_bytes": 1_000_000,
    "workload.warmup_size_bytes": 65_536,
    "workload.iterations": 1,
    "measure.calibrate": False,
}
ZERO3 = {"preset": "llama2-13b/zero3/1-nic"}
PIPELINE = {
    "model": "llama2-7b",
    "layout": {
        "data": 8,
        "pipeline": 2,
        "micro_batch": 1,
        "global_batch": 24,
        "gpus_per_node": 4,
        "nics_per_node": 4,
        "bucket_bytes": 4_000_000_000,
    },
    "mfu": 1.0,
    "accelerator": "h100",
    "nic_mbps": 20_000,
}


def iterate(tmp_path: Path, training: dict[str, Any], schemes: str, **workload: Any) -> Campaign:
    settings = {**SMALL, "workload.training": training, **{f"workload.{key}": one for key, one in workload.items()}}
    return gse_run(tmp_path, "allreduce_ring", settings, schemes=schemes, seeds="1,")


def test_an_iteration_takes_what_the_rehearsal_says(tmp_path: Path) -> None:
    def judge(campaign: Campaign) -> None:
        for run in campaign.runs:
            training = run["training"]
            assert run["completion_s"] >= training["compute_s"]
            # a full bucket passes at once whenever a link was idle: 11.5 KB of 333, in each of three operations
            assert 0.9 * run["ideal_s"] < run["completion_s"] < 1.35 * run["ideal_s"], run["scheme"]
            assert run["host_bytes_off"] < 0.01
            assert training["exposed_share"] == pytest.approx(1 - training["compute_s"] / run["completion_s"])
            rows = [row for row in table(run, "operations") if row["warmup"] == "0"]
            assert len(rows) == 3
            of_kinds = {f"{row['operation']} {row['group']}" for row in rows}
            assert of_kinds == set(training["operations"]) == {"all_gather dp", "reduce_scatter dp"}
            for kind, told in training["operations"].items():
                took = [
                    float(r["end_s"]) - float(r["start_s"]) for r in rows if f"{r['operation']} {r['group']}" == kind
                ]
                assert told["seconds"] == pytest.approx(sum(took), abs=1e-6)
                assert told["times"] == len(took)
            assert training["scaled"]["rule"][0].startswith("scaled down: 64 ranks a group -> 4 hosts")
        assert "scaled down: 64 ranks a group" in campaign.err  # the table on the terminal

    judged(lambda: iterate(tmp_path, ZERO3, "gse1,gse2-n2n"), judge)


def test_a_pipeline_hands_on_what_it_has_to(tmp_path: Path) -> None:
    (run,) = iterate(tmp_path, PIPELINE, "ecmp", placement="random").runs
    assert set(run["training"]["operations"]) == {"message pp", "allreduce dp"}
    assert run["host_bytes_off"] < 0.01
    stages = {row["first_rank"] for row in table(run, "operations") if row["operation"] == "allreduce"}
    assert stages == {"0", "2"}


@pytest.mark.parametrize(
    ("name", "layout", "about"),
    [
        ("aicb-zero2.csv", {"data": 16, "global_batch": 16, "zero": 2}, "says nothing of it"),
        ("simai-gpt.txt", {"tensor": 8, "data": 4, "global_batch": 4}, "the trace's"),
    ],
)
def test_a_trace_is_replayed(tmp_path: Path, name: str, layout: dict[str, Any], about: str) -> None:
    training = {"trace": str(TRACES / name), "layout": layout, "nic_mbps": 1000}
    (run,) = iterate(tmp_path, training, "ecmp", size_bytes=400_000).runs
    assert run["host_bytes_off"] < 0.01
    rule = " ".join(run["training"]["scaled"]["rule"])
    assert about in rule
    assert name in rule


@pytest.mark.beside
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSTOP, "has been stopped"),
        pytest.param(signal.SIGKILL, "was killed by SIGKILL", marks=pytest.mark.full),
    ],
)
def test_a_rank_that_hangs_or_dies_is_named_soon(tmp_path: Path, number: signal.Signals, words: str) -> None:
    told = in_lab(
        tmp_path / "results",
        strike,
        kind="rank",
        point="measurement",
        delay_s=0.2,
        signal_number=number,
        timeout_s=30,
        arguments=[
            *("--set", "workload.kind=training", "--set", "workload.training={preset: llama2-13b/dp/8-nics}"),
            *("--set", "workload.size_bytes=1000000", "--set", "measure.calibrate=false"),
        ],
    )
    assert told["left"] == {}
    assert told["status"] == 1
    assert told["took_s"] < 8, "named within 5 s, and all taken down"
    assert re.match(rf"rank \d on h\d \(pid \d+\) {words}", told["errors"][0]), told["errors"][0]
    assert "seed 1 is INVALID, without a result: rank " in told["stderr"]
