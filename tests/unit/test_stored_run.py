"""Stored runs: loaded as they were made, of every version, and never misread."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.errors import MOST_NAMED, Problem, ResultsError, first_problems
from testbed.evaluation.records import FlowRow, IterationRow, columns
from testbed.results.run import load
from testbed.results.summary import summarise
from tests.unit.synthetic_runs import healthy, scenario_of, store, with_rows

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
LATER = ("busy_us", "rwnd_limited_us", "sndbuf_limited_us", "timeouts")


def as_version_1(path: Path, without: tuple[str, ...]) -> Path:
    """Make a stored run one of format version 1 whose flows.csv lacks columns."""
    for name in ("manifest.json", "summary.json"):
        value = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**value, "format_version": 1}))
    with (path / "flows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (path / "flows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name not in without], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_stored_run_loads_as_it_was(tmp_path: Path) -> None:
    record = healthy(scenario_of())
    run = load(store(tmp_path, record))
    assert run.tables.iterations[1].completion_s == pytest.approx(record.tables.iterations[1].completion_s, abs=1e-9)
    assert (run.scheme, run.seed, run.scenario) == ("gse1", 1, record.scenario)
    assert [len(getattr(run.tables, name)) for name in ("links", "queues", "probes", "threads")] == [
        len(getattr(record.tables, name)) for name in ("links", "queues", "probes", "threads")
    ]
    assert run.summary is not None
    assert run.summary["run_dir"] == str(run.path)


@pytest.mark.parametrize("without", [(), LATER], ids=["with", "without"])
def test_run_of_version_1_is_read_with_and_without_later_columns(tmp_path: Path, without: tuple[str, ...]) -> None:
    record = healthy(scenario_of())
    record = with_rows(record, flows=[replace(row, busy_us=5) for row in record.tables.flows])
    run = load(as_version_1(store(tmp_path, record), without))
    assert {row.busy_us for row in run.tables.flows} == {None if without else 5}
    again, stored = json.loads(json.dumps(summarise(run))), dict(run.summary or {})
    if without:  # what only a later version has is not measured
        assert (again.pop("tcp_timeouts"), stored.pop("tcp_timeouts")) == (None, 0)
    assert again == stored, "made again it is still of the version of the run"


def test_a_run_of_this_version_has_every_column(tmp_path: Path) -> None:
    path = as_version_1(store(tmp_path, healthy(scenario_of())), LATER)
    for name in ("manifest.json", "summary.json"):
        (path / name).write_text((path / name).read_text().replace('"format_version": 1', '"format_version": 3'))
    with pytest.raises(ResultsError, match=r"flows.csv: damaged table; got columns are .*,bytes_received, expected"):
        assert load(path).tables


def test_reference_runs_are_read() -> None:
    found = sorted(path.parent for path in REFERENCE.rglob("manifest.json"))
    assert found
    for path in found:
        run = load(path)
        assert run.rows(FlowRow) and run.rows(IterationRow), path


def test_of_many_problems_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    run = load(store(tmp_path, healthy(scenario_of())))
    (run.path / "iterations.csv").write_text(
        "\n".join([",".join(columns(IterationRow)), *["0,0,64,2.0,1.25,0.25,0"] * 1020])
    )
    with pytest.raises(ResultsError) as caught:
        run.rows(IterationRow)
    assert len(caught.value.problems) == 21
    first, *_others, last = str(caught.value).splitlines()
    assert "iterations.csv: row 1, column end_s: not possible here" in first
    assert last.endswith("iterations.csv: more than is named here; got 1,000 more problems, expected none")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps({**manifest, "events": [7] * 50}))
    with pytest.raises(ResultsError) as caught:
        load(run.path)
    assert len(caught.value.problems) == 21
    assert str(caught.value).endswith("manifest.json: more than is named here; got 30 more problems, expected none")


def test_problems_beyond_the_first_are_not_kept() -> None:
    alive: set[int] = set()

    class Noted(Problem):
        def __del__(self) -> None:
            alive.discard(id(self))

    def found(most: int) -> Iterator[Problem]:
        for number in range(most):
            problem = Noted("wrong", f"row {number}", "x", "y")
            alive.add(id(problem))
            assert len(alive) <= MOST_NAMED + 2
            yield problem

    rows = [f"row {number}" for number in range(MOST_NAMED)]
    assert [problem.where for problem in first_problems(found(500), "a table")] == [*rows, "a table"]
    assert [problem.where for problem in first_problems(found(MOST_NAMED), "a table")] == rows
    assert first_problems([], "a table") == []


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("", "damaged JSON"),
        ("[1]", "expected a JSON object"),
        ("[" * 100_000, "damaged JSON"),
        ('{"format_version": 4}', "got 4, expected 1..3"),
        ('{"format_version": 0}', "got 0, expected 1..3"),
        ('{"format_version": true}', "got True, expected 1..3"),
        ('{"format_version": "2"}', "got '2', expected 1..3"),
        ("{}", "got None, expected 1..3"),
        (
            '{"format_version": 1, "run_id": "x", "scheme": 3}',
            "scheme: missing or of a wrong type; got 3, expected str",
        ),
    ],
)
def test_manifest_of_a_stranger_is_refused(tmp_path: Path, manifest: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ResultsError) as caught:
        load(tmp_path)
    assert said in str(caught.value)


def test_event_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["events"] += [{"event": "finished"}, {"event": "phase", "t_s": 1.0, "phase": "warm-up"}]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert load(path).record.events_named("finished") == ({"event": "finished"},)


@pytest.mark.parametrize(
    "event",
    [
        "fault",
        {"t_s": 1.0},
        {"event": "fault", "action": "fail", "target": "s1"},
        {"event": "fault", "t_s": "soon", "action": "fail", "target": "s1"},
        {"event": "fault", "t_s": 1.0, "action": "fail"},
        {"event": "process_died", "t_s": 1.0},
        {"event": "path_changes", "t_s": 9.0, "gsps": ["l1", "l2"]},
    ],
)
def test_events_of_a_stranger_are_refused(tmp_path: Path, event: object) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["events"].append(event)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResultsError, match=r"events\.1: not an event"):
        load(path)


def test_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultsError, match="cannot read"):
        load(tmp_path)


def test_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No such file"):
        load(tmp_path / "nothing")


def test_scenario_that_is_not_valid_any_more_is_refused_when_asked_for(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["scenario"]["fabric"]["spines"] = 0
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Exception, match="fabric.spines") as caught:
        _ = load(path).scenario
    assert getattr(caught.value, "exit_status", None) == 2
