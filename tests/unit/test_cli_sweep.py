"""``gse sweep`` without a fabric: what it refuses, what it announces, what it says of a stored sweep."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gse_command import A_SCHEME, Gse, as_nobody, assert_refused
from machines import GOOD
from synthetic_sweeps import stored_sweep, sweep_over

import testbed.cli.run
import testbed.cli.sweep
from testbed.cli.sweep import announcement, estimated_s, told_of_failures
from testbed.model.estimate import run_duration_s
from testbed.results.sweeps import StoredSweep
from testbed.runs.campaign import Outcome

NAME = "allreduce_ring"
OVER = "gsp.container_bytes=9K,18K,36K"
TO_GSE2 = ("--schemes", "gse2-n2n")


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; a test that leaves anything in it fails."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    assert sorted(path.name for path in place.rglob("*")) == []


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as if on a machine that has everything but netem and red."""
    bare = replace(GOOD, qdiscs={"tbf": True, "htb": True, "netem": False, "red": False})
    monkeypatch.setattr(testbed.cli.run, "running_capsules", list)
    monkeypatch.setattr(testbed.cli.sweep, "require_root", lambda _what: None)
    monkeypatch.setattr(testbed.cli.sweep, "inspect_machine", lambda _results: bare)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["SCENARIO: no scenario; got nothing", "--over: no single field to vary; got nothing"]),
        ([NAME], ["--over: no single field to vary; got nothing, expected one field with its values, e.g."]),
        ([NAME, "--over", OVER, "--over", "fabric.spines=2,4"], ["--over: no single field to vary; got 2 fields"]),
        (["nosuch", "--over", OVER], ["scenario: no such scenario; got 'nosuch'"]),
        ([NAME, "--over", "fabric.spines"], ["--over: is not field=values; got 'fabric.spines', expected e.g. gsp."]),
        ([NAME, "--over", "fabric.spines="], ["--over: is not field=values; got 'fabric.spines='"]),
        ([NAME, "--over", "=2,3"], ["--over: is not field=values; got '=2,3'"]),
        ([NAME, "--over", "fabric.spines=2,,4"], ["--over fabric.spines: no value; got nothing between commas in '2,"]),
        ([NAME, "--over", "fabric.spines=2,2"], ["--over fabric.spines: a value twice; got '2', expected each value"]),
        ([NAME, "--over", "fabric.spines=2"], ["--over fabric.spines: one value is no sweep; got 1 value"]),
        ([NAME, "--over", "fabric.spines=[2,4]"], ["--over fabric.spines: value is not YAML; got '[2' ("]),
        ([NAME, "--over", "fabric.spines=!!int '',4"], ["--over fabric.spines: value is not YAML"]),
        ([NAME, "--over", "fabric.spine=2,4"], ["--over fabric.spine: unknown field in fabric; got spine"]),
        ([NAME, "--over", "fabric.spines.n=2,4"], ["nothing below this field"]),
        ([NAME, "--over", "faults.0.t_s=1,2"], ["--over faults.0.t_s: unknown field in faults; got 0"]),
        (
            [NAME, "--over", "fabric.spines=0,2,256"],
            ["fabric.spines=0: scenario allreduce_ring: fabric.spines: not valid; got 0", "fabric.spines=256: scen"],
        ),
        ([NAME, "--over", "fabric.link_rate_mbps=.nan,10"], ["fabric.link_rate_mbps=.nan: scenario allreduce_ring: "]),
        ([NAME, "--over", OVER, "--set", OVER], ["set and varied at once"]),
        ([NAME, "--over", OVER], ["--over gsp.container_bytes: no scheme has agents to set; got schemes ecmp, gse1"]),
        (
            [NAME, "--over", OVER, *TO_GSE2, "--set", "gsp.window_bytes=20K"],
            ["gsp.container_bytes=36K: scenario allreduce_ring: inconsistent; got gsp.window_bytes=20480 does not"],
        ),
        (
            [NAME, "--over", "gsp.window_bytes=20K,64K", *TO_GSE2],
            [
                "gsp.window_bytes=20K: ",
                "expected at least 45070, the largest single grant (quantum) and a frame, under gse2-n2n",
            ],
        ),
        ([NAME, "--over", OVER, "--schemes", "gse2"], [f"schemes.0: not valid; got 'gse2', expected {A_SCHEME}"]),
        ([NAME, "--over", OVER, "--seeds", "0"], ["--seeds: not seeds; got '0'"]),
        (
            ["nosuch", "--over", "x", "--set", "y"],
            ["no such scenario", "--over: is not field", "--set y: is not field"],
        ),
        (["--again", "nowhere"], ["nowhere/sweep.json: cannot read a result; got No such file or directory"]),
        (
            [NAME, "--over", OVER, "--again", "x"],
            ["--again: a stored sweep is what it is; got SCENARIO, --over, expected --again DIR alone"],
        ),
        (["--again", "x", "--seeds", "2"], ["--again: a stored sweep is what it is; got --seeds"]),
        (["--again", "x", "--resume", "x"], ["--again: a stored sweep is what it is; got --resume"]),
        (
            ["--again", "x", "--repeat-disturbed", "3"],
            ["--again: a stored sweep is what it is; got --repeat-disturbed"],
        ),
        (
            [NAME, "--resume", "x"],
            ["--resume: a stored sweep is what it is; got SCENARIO, expected --resume DIR alone"],
        ),
        (["--resume", "x"], ["x/sweep.json: "]),
        (
            ["--resume", "x", "--judge-anew"],
            ["--judge-anew: no stored sweep to judge; got a sweep that runs, expected --again DIR beside it"],
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_wrong_request_is_explained(
    gse: Gse, folder: Path, machine: None, arguments: list[str], said: list[str]
) -> None:
    assert_refused(gse("sweep", *arguments), *said)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("fabric.delay_ms=null,1,5", ["fabric.delay_ms=1: ", "fabric.delay_ms=5: ", "a kernel without sch_netem"]),
        ("fabric.link_rate_mbps=10,1000", ["fabric.link_rate_mbps=1000: ", "more traffic than this machine can"]),
    ],
)
def test_a_point_the_machine_cannot_honour_is_refused_before_anything_runs(
    gse: Gse, folder: Path, machine: None, over: str, said: list[str]
) -> None:
    answer = gse("sweep", NAME, "--over", over, "--results", "res")
    assert_refused(answer, *said)
    assert "=null" not in answer.err and "=10:" not in answer.err


def test_a_user_without_privileges_is_told_what_it_takes() -> None:
    answer = as_nobody("sweep", NAME, "--over", "fabric.spines=2,4", may_read_all=True)
    assert_refused(answer, "user: sweep needs root", "expected uid 0; try: sudo ./gse sweep")


def test_what_is_going_to_happen_is_said_with_the_time_it_takes() -> None:
    sweep = sweep_over("fabric.spines", (1, 2, 4), schemes=("gse1", "ecmp"), seeds=(1,))
    estimates_s = estimated_s(sweep)
    assert estimates_s == [run_duration_s(sweep.points[run.point], run.scheme) for run in sweep.order()]
    said = announcement(sweep, 187.0, 6)
    assert said == "sweep over fabric.spines: 3 values x 2 schemes x 1 seed, 6 runs, about 3 min 07 s"
    assert announcement(sweep, 30.0, 1).endswith("1 seed, 1 of 6 runs are to be made, about 30 s")


def test_a_scenario_may_have_a_sweep_of_its_own(gse: Gse, folder: Path, machine: None) -> None:
    """Refused for a reason that only the points of its sweep have: so these were what was checked."""
    answer = gse("sweep", "collectives", "--set", "workload.ranks=12", "--results", "res")
    assert_refused(answer, "workload.collective=reduce_scatter/halving: ", "expected a power of two")
    assert "workload.collective=allreduce/ring: " not in answer.err


def test_a_stored_sweep_is_printed_and_drawn_again(gse: Gse, tmp_path: Path) -> None:
    stored = stored_sweep(tmp_path, sweep_over(values=("16K", "64K"), seeds=(1,), schemes=("gse2-n2n",)))
    answer = gse("sweep", "--again", str(stored.path))
    assert (answer.status, answer.err) == (0, "")
    assert re.search(r"64 KiB +gse2-n2n +1 VALID +0\.98", answer.out)
    assert [line for line in answer.out.splitlines() if line.startswith("wrote ")] == [
        f"wrote {stored.path / name}" for name in ("curves.png", "curves.svg", "curves.json")
    ]


def test_a_stored_sweep_is_drawn_for_papers(gse: Gse, tmp_path: Path) -> None:
    stored = stored_sweep(tmp_path, sweep_over(values=("16K", "64K"), seeds=(1,), schemes=("gse2-n2n",)))
    answer = gse("sweep", "--again", str(stored.path), "--format", "pdf", "--width", "8cm")
    assert answer.status == 0
    assert {path.name for path in stored.path.glob("curves.*")} == {"curves.pdf", "curves.json"}
    said = [json.loads((stored.path / "curves.json").read_text())]
    for option in ((), ("--no-heading",)):
        assert gse("sweep", "--again", str(stored.path), "--format", "svg", *option).status == 0
        said.append(json.loads((stored.path / "curves.json").read_text()))
        assert ("leaves x spines" in (stored.path / "curves.svg").read_text()) == (option == ())
    assert said[0] == said[1] == said[2] and "leaves x spines" in said[0]["caption"]
    assert "argument --width: got '8', expected" in gse("sweep", "--again", str(stored.path), "--width", "8").err


def test_a_stored_sweep_is_judged_anew_when_asked(gse: Gse, tmp_path: Path) -> None:
    stored = stored_sweep(tmp_path, sweep_over(values=("16K", "64K"), seeds=(1,), schemes=("gse2-n2n",)))
    for one in stored.runs:
        where = stored.runs_dir / str(one.name) / "summary.json"
        old = {"verdict": "SUSPECT", "reasons": ["a check of long ago"], "checks": ["old"]}
        where.write_text(json.dumps({**json.loads(where.read_text()), **old}))
    command = ("sweep", "--again", str(stored.path), "--json")
    assert json.loads(gse(*command).out)["verdicts"] == {"SUSPECT": 2}
    anew = gse(*command, "--judge-anew")
    assert json.loads(anew.out)["verdicts"] == {"VALID": 2}
    assert "made anew by gse-testbed" in " ".join(anew.err.split())
    assert "made anew by gse-testbed" in json.loads((stored.path / "curves.json").read_text())["caption"]


def test_a_sweep_is_held_while_its_runs_are_made(
    gse: Gse, tmp_path: Path, machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    class Held:
        """Stands in for the campaign: tells whether the sweep is held when runs begin."""

        def __init__(self, stored: StoredSweep, *_others: object, **_more: object) -> None:
            self.stored = stored

        def run(self) -> Iterator[Outcome]:
            refused.append(gse("sweep", "--resume", str(self.stored.path)))
            return iter(())

    monkeypatch.setattr(testbed.cli.sweep, "SweepCampaign", Held)
    monkeypatch.setattr(testbed.cli.sweep, "prepare_fabric", lambda _schemes: None)
    command = ("sweep", NAME, "--over", "fabric.spines=2,4", "--seeds", "1,", "--results", str(tmp_path))
    assert gse(*command).status == 0
    (folder,) = (tmp_path / NAME / "sweeps").iterdir()
    assert gse("sweep", "--resume", str(folder)).status == 0
    assert len(refused) == 2
    for answer in refused:
        assert_refused(answer, f"{folder}: its runs are being made already; got ", "expected one at a time")
    assert {path.name for path in folder.iterdir()} == {"sweep.json"}


def test_what_becomes_of_runs_that_failed_is_said_before_the_others_are_made(
    gse: Gse, tmp_path: Path, machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_over(values=("16K", "64K"), seeds=(1, 2), schemes=("gse2-n2n",))
    errors = {sweep.order()[0]: "a rank died", sweep.order()[2]: "interrupted by \x1b[2J SIGINT"}
    stored = stored_sweep(tmp_path, sweep, lambda run, record: errors.get(run, record))
    first = sweep.order()[0]
    folder = stored.runs_dir / str(stored.runs[0].name)
    folder.mkdir()
    manifest = {"scenario": sweep.points[first.point].model_dump(mode="json"), "verdict": "INVALID", "seed": first.seed}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "scheme": first.scheme, "error": "a rank died"}))
    asked = []

    class Made:
        """Stands in for the campaign: tells what it would make."""

        def __init__(self, stored: StoredSweep, *_others: object, **_more: object) -> None:
            self.stored = stored

        def run(self) -> Iterator[Outcome]:
            asked.append(self.stored.to_make())
            return iter(())

    monkeypatch.setattr(testbed.cli.sweep, "SweepCampaign", Made)
    monkeypatch.setattr(testbed.cli.sweep, "prepare_fabric", lambda _schemes: None)
    answer = gse("sweep", "--resume", str(stored.path))
    assert (answer.status, asked) == (0, [(2,)])
    said = answer.err.splitlines()
    what = [f"gsp.container_bytes={sweep.texts[run.point]} gse2-n2n seed {run.seed}" for run in errors]
    kept = f"stays INVALID, without a result, for its workload failed: a rank died (kept in {folder})"
    assert f"gse: {what[0]} {kept}" in said
    again = "is made again, for it failed with the testbed or its machine: interrupted by \\x1b[2J SIGINT (kept in "
    assert any(line.startswith(f"gse: {what[1]} {again}") for line in said)
    assert any(", 1 of 4 runs are to be made, about " in line for line in said)


def test_a_sweep_whose_folder_was_renamed_is_not_gone_on_with(gse: Gse, tmp_path: Path, machine: None) -> None:
    """Its runs would be stored in a folder called as the scenario, where it does not look for them."""
    stored = stored_sweep(tmp_path, sweep_over(values=("16K", "64K"), seeds=(1,), schemes=("gse2-n2n",)))
    stored.runs_dir.rename(tmp_path / "before")
    moved = tmp_path / "before" / "sweeps" / stored.path.name
    assert_refused(gse("sweep", "--resume", str(moved)), "would be stored beside it", "a folder synthetic")
    assert not (tmp_path / "synthetic").exists()
    assert gse("sweep", "--again", str(moved)).status == 0


def test_runs_that_are_gone_are_told(tmp_path: Path) -> None:
    sweep = sweep_over(values=("16K", "64K"), seeds=(1, 2), schemes=("gse2-n2n",))
    stored = stored_sweep(tmp_path, sweep)
    folder = stored.runs_dir / str(stored.runs[1].name)
    shutil.rmtree(folder)
    (said,) = told_of_failures(stored)
    assert said.endswith(f"is made again, for there is no {folder} any more")


def test_of_many_failed_runs_the_first_are_told(tmp_path: Path) -> None:
    sweep = sweep_over(values=("16K", "64K"), seeds=range(1, 13), schemes=("gse2-n2n",))
    told = told_of_failures(stored_sweep(tmp_path, sweep, lambda _run, _record: "no answer"))
    assert len(told) == 21
    assert told[-1] == "and 4 more runs that failed or are gone"


def test_json_is_one_document_on_stdout(gse: Gse, tmp_path: Path) -> None:
    stored = stored_sweep(tmp_path, sweep_over(values=("16K", "64K"), seeds=(1,), schemes=("gse2-n2n",)))
    answer = gse("sweep", "--again", str(stored.path), "--json")
    document: dict[str, Any] = json.loads(answer.out)
    assert answer.status == 0
    assert (document["field"], document["values"], document["status"]) == (
        "gsp.container_bytes",
        [16_384, 65_536],
        "finished",
    )
    assert [point["verdicts"] for point in document["points"]] == [{"VALID": 1}, {"VALID": 1}]
    assert all(Path(run["run_dir"], "summary.json").exists() for run in document["runs"])
    assert "64 KiB" in answer.err


def test_runs_of_a_sweep_are_ordinary_runs(gse: Gse, tmp_path: Path) -> None:
    stored = stored_sweep(tmp_path, sweep_over("fabric.spines", (2, 3), seeds=(1,), schemes=("gse1",)))
    answer = gse("plot", str(stored.runs_dir), "--out", str(tmp_path / "figures"))
    assert answer.status == 0
    assert "several questions, a folder of figures each" in answer.out
