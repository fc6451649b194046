"""Training iterations by rank processes on loopback: right data, the order of the rehearsal, who fails is named."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import loopback_hosts

from testbed.errors import WorkloadError
from testbed.model.pattern import seeded_pattern
from testbed.model.ranks import pair_flows
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.system.supervisor import Supervisor
from testbed.workload.stall import Patience
from testbed.workload.traffic import Job

RANKS = 4
DENSE = {"data": 16, "micro_batch": 1, "global_batch": 32, "bucket_bytes": 4_000_000_000, "nics_per_node": 1}
LAYOUTS = {
    "zero 3, overlapped": ("llama2-13b", {**DENSE, "zero": 3}),
    "replicas, waited for": ("llama2-7b", {**DENSE, "overlap": False}),
    "a pipeline of replicas": (
        "llama2-7b",
        {**DENSE, "data": 8, "pipeline": 2, "global_batch": 24, "gpus_per_node": 4},
    ),
    "experts": ("mixtral-8x7b", {**DENSE, "expert": 8, "zero": 1, "gpus_per_node": 1, "micro_batch": 2}),
}
MakeJob = Callable[..., tuple[Job, Scenario]]


def scenario_of(model: str, layout: dict[str, Any], **workload: Any) -> Scenario:
    training = {"model": model, "layout": layout, "mfu": 1.0, "accelerator": "h100"}
    about = {"kind": "training", "size_bytes": 2_000_000, "ranks": RANKS, "training": training, **workload}
    fabric = {"leaves": 2, "hosts_per_leaf": 2, "link_rate_mbps": 200, "mtu_bytes": 1500}
    return parse_scenario({"name": "x", "fabric": fabric, "workload": about}, source="test")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(time.monotonic()) as one:
        yield one


@pytest.fixture
def make_job(supervisor: Supervisor, tmp_path: Path) -> MakeJob:
    def make(scenario: Scenario, **options: Any) -> tuple[Job, Scenario]:
        hosts = loopback_hosts(RANKS)
        pattern, flows = seeded_pattern(scenario, hosts, 1), scenario.workload.flows_per_hop
        job = Job(
            supervisor,
            lambda _host, argv: argv,
            hosts=hosts,
            pattern=pattern,
            flows=pair_flows(hosts, pattern.pairs, flows_per_pair=flows, demand_bytes=0, rng=random.Random(1)),
            t0_s=time.monotonic(),
            python=sys.executable,
            log_dir=tmp_path,
            **options,
        )
        job.start_ranks()
        job.connect()
        return job, scenario

    return make


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("flows", [1, 2])
def test_every_operation_is_done_and_right(make_job: MakeJob, name: str, flows: int) -> None:
    job, scenario = make_job(scenario_of(*LAYOUTS[name], flows_per_hop=flows))
    emulated = scenario.job
    assert emulated is not None
    for iteration, size_bytes in enumerate((200_000, emulated.size_bytes)):
        result = job.run_iteration(iteration, size_bytes, None, 60, warmup=iteration == 0)
        assert result.row.wrong_elements == 0
        assert len(result.operations) == len(emulated.ideal.meetings)
        assert all(row.issued_s <= row.start_s <= row.end_s <= result.row.end_s for row in result.operations)
    assert result.row.completion_s >= emulated.compute_s
    assert [row.host for row in result.computing] == ["h1", "h2", "h3", "h4"]
    for one in result.computing:
        assert one.compute_s == pytest.approx(emulated.stages[one.rank // emulated.group_hosts].compute_s)
        assert one.excess_s >= 0
    # one channel: an operation of a rank begins when the one before is over, up to what the last of its group is later
    for first_rank in {row.first_rank for row in result.operations}:
        ends = [row.end_s for row in result.operations if row.first_rank == first_rank]
        assert ends == sorted(ends)
    sent = {row.rank: 0 for row in result.ranks}
    for row in job.tcp_info():
        sent[row.rank] += row.bytes_acked or 0
    expected = dict.fromkeys(sent, 0)
    for size_bytes in (200_000, emulated.size_bytes):
        for (src, _dst), size in zip(emulated.pairs, emulated.pair_bytes(size_bytes), strict=True):
            expected[src] += size
    hellos = {rank: 12 * flows * sum(src == rank for src, _dst in emulated.pairs) for rank in sent}
    for rank in sent:
        assert sent[rank] == pytest.approx(expected[rank] + hellos[rank], abs=2 * flows * RANKS)  # a FIN or SYN counts


def long_iteration(job: Job, scenario: Scenario) -> None:
    job.run_iteration(1, scenario.workload.size_bytes, None, 60)


def computing() -> Scenario:
    """Ten seconds of computing and little else."""
    model, layout = LAYOUTS["zero 3, overlapped"]
    slow = {"model": model, "layout": layout, "mfu": 0.001}
    return scenario_of(model, layout, training=slow)


def test_a_rank_that_hangs_while_it_computes_is_named(make_job: MakeJob, supervisor: Supervisor) -> None:
    job, scenario = make_job(computing(), patience=Patience(hang_s=1.0))
    supervisor.call_at(time.monotonic() + 0.4, lambda: os.kill(job.pids[2], signal.SIGSTOP))
    began_s = time.monotonic()
    with pytest.raises(WorkloadError, match=r"rank 2.*h3.*state: T"):
        long_iteration(job, scenario)
    assert time.monotonic() - began_s < 5
    os.kill(job.pids[2], signal.SIGCONT)


def test_a_rank_that_dies_while_it_computes_is_named(make_job: MakeJob, supervisor: Supervisor) -> None:
    job, scenario = make_job(computing())
    supervisor.call_at(time.monotonic() + 0.4, lambda: os.kill(job.pids[1], signal.SIGKILL))
    with pytest.raises(WorkloadError, match=r"rank 1 .*h2"):
        long_iteration(job, scenario)


def test_computing_for_long_is_no_stall(make_job: MakeJob) -> None:
    job, scenario = make_job(
        scenario_of(
            "llama2-13b",
            {**DENSE, "zero": 3},
            training={"model": "llama2-13b", "layout": {**DENSE, "zero": 3}, "mfu": 0.02},
        ),
        patience=Patience(hang_s=1.0, stall_s=0.2),
    )
    assert scenario.job is not None and scenario.job.stages[0].compute_s > 1
    long_iteration(job, scenario)
