"""``gse bench`` without a fabric: which sizes, what is refused, and nccl-tests' table from stored runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from gse_command import Gse, as_nobody, assert_refused
from synthetic_runs import scenario_of, with_rows
from synthetic_sweeps import stored_sweep, sweep_over, with_rate_error

from testbed.cli import bench
from testbed.evaluation.records import RunRecord
from testbed.fluid.case import Case
from testbed.fluid.predict import outcomes
from testbed.model.sweep import Sweep, SweepRun, sweep_of
from testbed.results.sweeps import load_sweep
from testbed.views.bench import bench_document, bench_lines, bench_rows
from testbed.views.sweep import SweepResults, sweep_results


def asked(*arguments: str) -> Sweep:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.sweep_from(parser.parse_args(arguments))


def test_sizes_go_up_by_the_factor() -> None:
    sweep = asked("all_reduce_perf", "-b", "64K", "-e", "1M", "-f", "4", "-n", "10", "-w", "2", "--scheme", "gse1")
    assert sweep.field == "workload.size_bytes"
    assert sweep.values == (65_536, 262_144, 1_048_576)
    point = sweep.points[0]
    assert (point.name, point.schemes, point.seeds) == ("bench_allreduce", ("gse1",), (1,))
    assert (point.workload.iterations, point.workload.warmup_iterations) == (10, 2)
    assert point.collective is not None and point.collective.name == "allreduce/ring"
    assert asked("broadcast", "-b", "1M", "-e", "1M").values == (1_048_576,)
    assert asked("alltoall", "-b", "1M", "-e", "3M").values == (1_048_576, 2_097_152)


def test_everything_else_is_a_field_of_the_scenario() -> None:
    options = ["--root", "3", "--algorithm", "tree", "--seeds", "2", "--schemes", "ecmp,gse2-e2e"]
    point = asked("broadcast", *options, "--set", "fabric.spines=2", "--set", "workload.flows_per_hop=2").points[0]
    assert (point.schemes, point.seeds, point.fabric.spines) == (("ecmp", "gse2-e2e"), (1, 2), 2)
    assert (point.workload.root, point.workload.flows_per_hop) == (3, 2)
    grouped = asked("allreduce", "--algorithm", "hierarchical", "--group-ranks", "2").points[0].collective
    assert grouped is not None and grouped.group_ranks == 2
    assert asked("allreduce", "--set", "workload.iterations=3").points[0].workload.iterations == 3
    usual = asked("allreduce").points[0].workload
    assert (usual.iterations, usual.warmup_iterations) == (5, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gather"], ["COLLECTIVE: no such collective; got 'gather', expected allreduce, reduce_scatter"]),
        (["allreduce", "-b", "much"], ["-b: not a size; got 'much'"]),
        (["allreduce", "-b", "2M", "-e", "1M"], ["-b, -e: no sizes; got from 2097152 to 1048576 bytes"]),
        (["allreduce", "-f", "1"], ["-f: not a number; got '1', expected a whole number from 2"]),
        (["allreduce", "-n", "0", "--root", "x"], ["-n: not a number; got '0'", "--root: not a number; got 'x'"]),
        (["allreduce", "--algorithm", "square"], ["workload.collective: no such collective; got 'allreduce/square'"]),
        (["allreduce", "--root", "1"], ["allreduce/ring: root=1, expected none: it has no root"]),
        (["all_gather", "--algorithm", "doubling", "--set", "workload.ranks=12"], ["expected a power of two"]),
        (["allreduce", "--scheme", "ecmp", "--schemes", "gse1"], ["--scheme, --schemes: schemes twice; got both"]),
        (["allreduce", "--scheme", "ecmp", "--set", "schemes=[gse1]"], ["--scheme, --set schemes: schemes twice"]),
        (["allreduce", "-n", "9", "--set", "workload.iterations=3"], ["-n, --set workload.iterations: a setting"]),
        (["allreduce", "--set", "workload.size_bytes=1M"], ["--set workload.size_bytes: not for --set here"]),
        (["allreduce", "--scheme", "fast"], ["schemes.0: not valid; got 'fast'"]),
        (["nothing", "-b", "x", "-f", "y", "--seeds", "0"], ["COLLECTIVE: ", "-b: ", "-f: ", "--seeds: "]),
        (["allreduce", "-b", "32"], ["workload.size_bytes: not valid; got 32"]),
    ],
)
def test_a_wrong_request_is_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
) -> None:
    assert_refused(Gse(capsys)("bench", *arguments), *said)


def test_a_user_without_privileges_is_told_what_it_takes() -> None:
    assert_refused(
        as_nobody("bench", "allreduce", may_read_all=True), "user: bench needs root", "try: sudo ./gse bench"
    )


# -- the table ------------------------------------------------------------------------------------------------

SCHEMES = ("ecmp", "gse1")


def results(folder: Path, name: str, make: Any = lambda _run, record: record, **workload: Any) -> SweepResults:
    about = {"kind": "collective", "collective": name, **workload}
    sweep = sweep_over("workload.size_bytes", ("256K", "1M"), schemes=SCHEMES, seeds=(1, 2), workload=about)
    return sweep_results(stored_sweep(folder, sweep, make))


def test_a_line_is_that_of_nccl_tests_and_a_verdict(tmp_path: Path) -> None:
    found = results(tmp_path, "reduce_scatter/ring")
    lines = bench_lines(found)
    header = next(line for line in lines if "size" in line)
    columns = "size count type redop root time algbw busbw #wrong model verdict"
    assert header.split() == ["#", *columns.split()]
    units = lines[lines.index(header) + 1]
    assert units.split() == ["#", "(B)", "(elements)", "(us)", "(Mbit/s)", "(Mbit/s)", "(busbw)"]
    own = [line.split() for line in lines if not line.startswith("#")]
    assert [line[:5] for line in own] == [
        [str(size), str(size // 16), "float", "sum", "-1"] for _scheme in SCHEMES for size in (262_144, 1_048_576)
    ]  # on 4 ranks the count is that of a rank's part
    for size, _count, _type, _redop, _root, time_us, algbw, busbw, wrong, model, *verdict in own:
        assert float(algbw) == pytest.approx(int(size) * 8 / float(time_us), rel=1e-3)
        assert float(busbw) == pytest.approx(float(algbw) * 3 / 4, rel=1e-3)
        assert (wrong, verdict[0]) == ("0", "2")  # two VALID runs
        assert float(model) == pytest.approx(float(busbw), rel=0.2)  # made up: a few percent are start-up
    for scheme in SCHEMES:
        for row, point in zip(bench_rows(found, scheme), found.stored.sweep.points, strict=True):
            asked = outcomes([Case(point, scheme, seed) for seed in (1, 2)])
            assert row.modelled_busbw_mbps == pytest.approx(median(one.busbw_mbps for one in asked), rel=1e-6)
    assert sum(line.startswith("# model: busbw of max-min") for line in lines) == 1
    assert "Mbit/s (10^6 bits), not GB/s" in "\n".join(lines)
    assert lines.count("# Out of bounds values : 0 OK") == 2


def test_root_and_operator_are_those_of_the_operation(tmp_path: Path) -> None:
    cells = {}
    for name, more in (
        ("broadcast/tree", {"root": 3}),
        ("all_gather/doubling", {}),
        ("allreduce", {}),
        ("sendrecv", {}),
    ):
        lines = bench_lines(results(tmp_path / name.partition("/")[0], name, **more))
        cells[name] = next(line for line in lines if not line.startswith("#")).split()[1:5]
    assert cells == {
        "broadcast/tree": ["65536", "float", "none", "3"],
        "all_gather/doubling": ["16384", "float", "none", "-1"],
        "allreduce": ["65536", "float", "sum", "-1"],
        "sendrecv": ["65536", "float", "none", "-1"],
    }


def test_what_is_wrong_invalid_or_missing_is_seen(tmp_path: Path) -> None:
    def spoilt(run: SweepRun, record: RunRecord) -> RunRecord | str | None:
        if run.scheme == "ecmp":
            return record
        if run.point == 0:
            row = record.tables.iterations[1]
            return with_rows(record, iterations=[row, replace(record.tables.iterations[2], wrong_elements=7)])
        return "a rank died" if run.seed == 1 else with_rate_error(record, 0.05)

    found = results(tmp_path, "allreduce", spoilt)
    wrong, partly = bench_rows(found, "gse1")
    assert wrong.verdicts == {"INVALID": 2} and wrong.wrong_elements == 14
    assert (wrong.time_us, wrong.busbw_mbps) == (None, None)
    assert partly.verdicts == {"SUSPECT": 1, "FAILED": 1} and partly.time_us is not None
    text = "\n".join(bench_lines(found))
    assert "# Out of bounds values : 14 FAILED" in text
    assert "1 MiB gse1 seed 1 FAILED: a rank died" in text
    assert "INVALID: 7 elements" in text
    averages = [line.partition(" : ")[2] for line in text.splitlines() if line.startswith("# Avg bus bandwidth")]
    assert averages[0].endswith(" Mbit/s")
    assert partly.busbw_mbps is not None
    assert averages[1] == f"{partly.busbw_mbps:.3f} Mbit/s, of 1 of 2 sizes"  # not to be held against that of two


def test_what_nobody_checked_is_not_called_right(tmp_path: Path) -> None:
    def dying(run: SweepRun, record: RunRecord) -> RunRecord | str | None:
        return "a rank died" if run.scheme == "gse1" or run.point == 1 else record

    found = results(tmp_path, "allreduce", dying)
    said = [line.partition(" : ")[2] for line in bench_lines(found) if line.startswith("# Out of bounds values")]
    assert said == ["0, 1 of 2 sizes not checked", "-"]
    schemes = bench_document(found)["schemes"]
    assert [schemes[scheme]["wrong_elements"] for scheme in SCHEMES] == [0, None]


def test_the_document_says_the_same(tmp_path: Path) -> None:
    document = json.loads(json.dumps(bench_document(results(tmp_path, "allreduce/double_tree"))))
    assert (document["operation"], document["algorithm"], document["redop"], document["root"]) == (
        "allreduce",
        "double_tree",
        "sum",
        -1,
    )
    assert document["bus_factor"] == 1.5
    rows = document["schemes"]["gse1"]["rows"]
    assert [row["size_bytes"] for row in rows] == [262_144, 1_048_576]
    assert document["schemes"]["gse1"]["mean_busbw_mbps"] == pytest.approx(sum(row["busbw_mbps"] for row in rows) / 2)
    assert all(0 <= row["host_bytes_off"] < 0.01 for row in rows)
    assert len(document["runs"]) == 8


def test_a_bench_of_one_size_is_stored_and_read_back(tmp_path: Path) -> None:
    base = scenario_of(schemes=["gse1"], seeds=[1], workload={"kind": "collective"})
    sweep = sweep_of(base, "workload.size_bytes", ["256K"], least_values=1)
    found = sweep_results(load_sweep(stored_sweep(tmp_path, sweep).path))
    assert [row.size_bytes for row in bench_rows(found, "gse1")] == [262_144]


def test_a_sweep_of_something_else_is_no_bench(tmp_path: Path) -> None:
    other = sweep_results(stored_sweep(tmp_path, sweep_over("fabric.spines", (2, 3), seeds=(1,), schemes=("gse1",))))
    with pytest.raises(ValueError, match="a sweep over fabric.spines, expected a collective"):
        bench_lines(other)
