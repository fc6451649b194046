"""Collectives over real switches: right results, the bytes of the formulas on links' counters, nccl-tests' table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from gse_runs import ENV, PROJECT, events, gse_argv, gse_run, most_flows, table, words

from testbed.collectives.collective import Collective
from testbed.model.scenario_input import parse_scenario
from testbed.runs.plan import Plan
from testbed.system.capsule import capsule_argv
from testbed.system.machine import inspect_machine

pytestmark = pytest.mark.root

SMALL = {
    "fabric.leaves": 2,
    "fabric.spines": 2,
    "fabric.hosts_per_leaf": 2,
    "workload.kind": "collective",
    "workload.size_bytes": 262_144,
    "workload.iterations": 1,
    "workload.warmup_size_bytes": 4096,
    "measure.calibrate": False,
}


def collective(tmp_path: Path, name: str, schemes: str, **workload: Any) -> list[dict[str, Any]]:
    settings = {**SMALL, "workload.collective": name, **{f"workload.{key}": value for key, value in workload.items()}}
    return gse_run(tmp_path, "allreduce_ring", settings, schemes=schemes, seeds="1,").runs


def payload_by_hand(run: dict[str, Any], host_port: str) -> float:
    """Return what a leaf's port sent its host around the only iteration: bytes less 66 a frame."""
    rows = sorted((float(row["t_s"]), row) for row in table(run, "links") if row["intf"] == host_port)
    (start,) = (float(row["start_s"]) for row in table(run, "iterations") if row["warmup"] == "0")
    (end,) = (float(row["end_s"]) for row in table(run, "iterations") if row["warmup"] == "0")
    first = max((row for row in rows if row[0] <= start), key=lambda row: row[0])[1]
    last = min((row for row in rows if row[0] >= end), key=lambda row: row[0])[1]
    moved = {key: int(last[key]) - int(first[key]) for key in ("tx_bytes", "tx_packets")}
    return moved["tx_bytes"] - 66 * moved["tx_packets"]


SEGMENT_BYTES = 8948  # of TCP at MTU 9000


def with_fewest_repeats(folder: Path, settings: dict[str, Any], tries: int = 3) -> dict[str, Any]:
    """Return the first run in which TCP sent nothing twice, or the last: a busy machine may make it repeat its tail."""
    for _ in range(tries):
        (run,) = gse_run(folder, "allreduce_ring", settings, schemes="gse1", seeds="1,").runs
        if not run["retransmitted_segments"]:
            break
    return dict(run)


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("allreduce/halving_doubling", {}),
        ("allreduce/double_tree", {"flows_per_hop": 2}),
        ("broadcast/tree", {"root": 2}),
        ("reduce_scatter/ring", {"jobs": 2, "placement": "leaf_local"}),
    ],
)
def test_links_carry_the_bytes_of_the_formula(tmp_path: Path, name: str, workload: dict[str, Any]) -> None:
    alone = {**SMALL, "workload.warmup_iterations": 0, "measure.probe_interval_ms": 0}  # nothing else on the links
    settings = {**alone, "workload.collective": name, **{f"workload.{key}": value for key, value in workload.items()}}
    run = with_fewest_repeats(tmp_path, settings)
    twice_bytes = run["retransmitted_segments"] * SEGMENT_BYTES  # of all hosts together
    job_ranks = 4 // workload.get("jobs", 1)
    operation, _, algorithm = name.partition("/")
    program = Collective(operation, algorithm, None, workload.get("root")).program(job_ranks, 262_144)  # type: ignore[arg-type]
    received: Counter[int] = Counter()
    for transfer in program.transfers:
        for job in range(0, 4, job_ranks):
            received[job + transfer.dst] += transfer.end_byte - transfer.start_byte
    hosts = {int(row["rank"]): row["host"] for row in table(run, "ranks")}
    port_of = {"h1": "l1-eth1", "h2": "l1-eth2", "h3": "l2-eth1", "h4": "l2-eth2"}
    for rank, expected in received.items():
        carried = payload_by_hand(run, port_of[hosts[rank]])
        assert 0.99 * expected < carried < 1.01 * expected + twice_bytes, (rank, hosts, run["retransmitted_segments"])
    assert run["host_bytes_off"] < 0.01 + twice_bytes / min(received.values())
    assert twice_bytes or ("host_bytes" not in run["checks"] and "uplink_bytes" not in run["checks"])
    names = {f"{operation}-1", f"{operation}-2"} if workload.get("jobs") else {operation}
    (said,) = events(run, "gsos_jobs")
    assert set(said["before"]) == names == set(said["after"])
    assert "jobs" not in run["checks"]


def test_a_hierarchy_of_leaves_under_grants(tmp_path: Path) -> None:
    for run in collective(tmp_path, "allreduce/hierarchical", "gse2-n2n,gse2-e2e", placement="leaf_local"):
        assert run["host_bytes_off"] < 0.01, run["scheme"]
        assert run["busbw_mbps"] == pytest.approx(run["algbw_mbps"] * 2 * 3 / 4)
        assert 0 < run["efficiency"] < 1.1
        assert len(table(run, "flows")) == 8  # a ring in each leaf, and one across for each place in it
        assert not Path(run["run_dir"], "transfers.csv").exists()


@pytest.mark.beside
def test_announced_flows_of_a_collective_are_placed(tmp_path: Path) -> None:
    (run,) = collective(tmp_path, "all_gather/ring", "gse1")
    assert most_flows(run) == (1, 1)


@pytest.mark.beside
def test_bench_prints_the_table_of_nccl_tests(tmp_path: Path) -> None:
    sizes = ["-b", "32K", "-e", "64K", "-n", "2", "-w", "1"]
    about = {key: value for key, value in SMALL.items() if key.startswith(("fabric", "measure"))}
    argv = gse_argv("bench", "allgather", *sizes, "--algorithm", "doubling", "--scheme", "ecmp", "--scheme", "gse1")
    argv += ["--json", "--results", str(tmp_path), *words(about)]
    done = subprocess.run(argv, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["schemes"]) == ["ecmp", "gse1"]
    for of_scheme in document["schemes"].values():
        assert [row["size_bytes"] for row in of_scheme["rows"]] == [32_768, 65_536]
        assert [row["count"] for row in of_scheme["rows"]] == [2048, 4096]
        for row in of_scheme["rows"]:
            assert row["wrong_elements"] == 0
            assert sum(row["verdicts"].values()) == 1
            if row["time_us"] is not None:  # it is for an INVALID run
                assert row["algbw_mbps"] == pytest.approx(row["size_bytes"] * 8 / row["time_us"])
                assert row["busbw_mbps"] == pytest.approx(row["algbw_mbps"] * 3 / 4)
    lines = [line.split() for line in done.stderr.splitlines() if line[:1] == " " and "float" in line]
    assert [line[:5] for line in lines] == [
        [str(size), str(size // 16), "float", "none", "-1"] for _scheme in range(2) for size in (32_768, 65_536)
    ]


@pytest.mark.parametrize(
    ("scheme", "seed", "count", "least_names"),
    [
        pytest.param("gse1", 2, 8, 7, marks=pytest.mark.beside),
        pytest.param("gse1", 4, 50, 10, marks=pytest.mark.full),
        pytest.param("gse2-n2n", 4, 50, 10, marks=pytest.mark.full),
    ],
)
def test_random_collectives_one_after_the_other_are_all_right(
    tmp_path: Path, scheme: str, seed: int, count: int, least_names: int
) -> None:
    scenario = parse_scenario(
        {
            "name": "x",
            "fabric": {"leaves": 2, "spines": 2, "hosts_per_leaf": 4},
            "workload": {"kind": "all_to_all", "flows_per_hop": 2},
            "measure": {"calibrate": False, "probe_interval_ms": 0},
            "schemes": [scheme],
        },
        source="test",
    )
    (tmp_path / "run" / "raw").mkdir(parents=True)
    plan = Plan(
        scenario=scenario,
        scheme=scheme,
        seed=1,
        run_dir=tmp_path / "run",
        datapath=inspect_machine().datapath,
    )
    path = tmp_path / "plan.json"
    plan.write(path, {})
    script = str(PROJECT / "tests" / "integration" / "collective_fabric.py")
    argv = capsule_argv([sys.executable, script, str(path), str(seed), str(count)])
    done = subprocess.run(argv, cwd=PROJECT, env=ENV, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    said = [event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "collective"]
    assert len(said) == count
    for one in said:
        assert one["wrong_elements"] == 0, one
        assert one["received"] == one["expected"], one
    assert len({one["name"] for one in said}) >= least_names, "many algorithms have had their turn"
    assert {len(one["jobs"]) for one in said} >= {1, 2, 4}
