"""What a sweep leaves on disk, however it ends; the runs themselves are made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from machines import GOOD
from synthetic_runs import store
from synthetic_sweeps import NOW_UTC, stored_sweep, sweep_over, with_agents

import testbed.results.sweeps
import testbed.runs.sweep
from testbed.errors import InputError, Problem, ResultsError
from testbed.model.scenario import Scenario
from testbed.results.endings import take_back
from testbed.results.json_files import write_json
from testbed.results.sweeps import Status, StoredSweep, create_sweep, load_sweep
from testbed.runs.campaign import Outcome, RunPlan
from testbed.runs.sweep import SweepCampaign

Fate = Callable[[int], str | BaseException | None]  # of run number n: failed, interrupted, or fine


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str, int]]:
    """Stand in for capsules; what was asked for, in order."""
    asked: list[tuple[Any, str, int]] = []

    @dataclass
    class FakeCampaign:
        scenario: Scenario
        results_dir: Path
        machine: Any
        on_event: Callable[[dict[str, Any]], None]
        repeats: int

        def run_one(self, plan: RunPlan, earlier: Sequence[dict[str, Any]] = ()) -> Outcome:
            TRIES[len(asked)] = [Path(one["run_dir"]).name for one in earlier]
            number = len(asked)
            asked.append((self.scenario.gsp.container_bytes, plan.scheme, plan.seed))
            self.on_event({"event": "run", "scheme": plan.scheme, "seed": plan.seed, "run_dir": "x.partial"})
            fate = FATES.pop(number, None)
            path = self.results_dir / "synthetic" / f"run{number}"
            if fate is not None:
                failed = store_failed(self.results_dir, f"{path.name}.failed", self.scenario, plan, str(fate))
                self.on_event({"event": "run_failed", "error": str(fate), "run_dir": str(failed)})
            if isinstance(fate, BaseException):
                raise fate
            if fate is not None:
                return Outcome(plan, path, error=fate, exit_status=2 if "full" in fate else 1)
            path.mkdir(exist_ok=True)
            self.on_event({"event": "run_done", "summary": {"run_dir": str(path)}})
            return Outcome(plan, path, summary={})

    monkeypatch.setattr(testbed.runs.sweep, "Campaign", FakeCampaign)
    FATES.clear()
    return asked


RANK_DIED, KILLED, FULL = "a rank died", "the run's process was killed", "the disk is full"


def store_failed(results_dir: Path, name: str, scenario: Scenario, plan: RunPlan, error: str, **more: Any) -> Path:
    """Keep a failed run as a campaign does: whose workload failed is INVALID, others are FAILED or were interrupted."""
    verdicts = {RANK_DIED: {"verdict": "INVALID"}, KILLED: {"verdict": "FAILED"}}
    manifest = {"scenario": scenario.model_dump(mode="json"), "scheme": plan.scheme, "seed": plan.seed}
    folder = results_dir / "synthetic" / name
    folder.mkdir()
    status = {"status": "running" if error == FULL else "failed", **verdicts.get(error, {})}
    (folder / "manifest.json").write_text(json.dumps({**manifest, **status, "error": error, **more}))
    return folder


FATES: dict[int, str | BaseException] = {}
TRIES: dict[int, list[str]] = {}  # of run number n: what was set aside before


def campaign(tmp_path: Path, events: list[dict[str, Any]] | None = None) -> SweepCampaign:
    stored = create_sweep(tmp_path, sweep_over(seeds=(1, 2)), NOW_UTC)
    return SweepCampaign(stored, tmp_path, GOOD, on_event=(events if events is not None else []).append)


def states(stored: StoredSweep) -> list[str]:
    found = load_sweep(stored.path)
    return ["-" if one.name is None else "failed" if one.error else "done" for one in found.runs]


def test_every_run_is_made_in_order_and_noted(tmp_path: Path, made: list[tuple[Any, str, int]]) -> None:
    events: list[dict[str, Any]] = []
    one = campaign(tmp_path, events)
    outcomes = list(one.run())
    sweep = one.stored.sweep
    assert made == [(sweep.values[run.point], run.scheme, run.seed) for run in sweep.order()]
    assert len(outcomes) == 12
    found = load_sweep(one.stored.path)
    assert found == one.stored
    assert (found.status, found.done) == ("finished", 12)
    assert [run.name for run in found.runs] == [f"run{number}" for number in range(12)]
    assert found.path.parent == tmp_path / "synthetic" / "sweeps"
    first = next(event for event in events if event["event"] == "run")
    assert first["point"] == f"gsp.container_bytes={sweep.texts[sweep.order()[0].point]}"


def test_a_failed_run_is_kept_and_the_others_go_on(tmp_path: Path, made: list[Any]) -> None:
    FATES[3] = RANK_DIED
    one = campaign(tmp_path)
    assert [outcome.exit_status for outcome in one.run()].count(1) == 1
    assert states(one.stored) == ["done"] * 3 + ["failed"] + ["done"] * 8
    failed = load_sweep(one.stored.path).runs[3]
    assert (failed.name, failed.error) == ("run3.failed", RANK_DIED)


def test_a_full_disk_ends_the_sweep(tmp_path: Path, made: list[Any]) -> None:
    FATES[2] = FULL
    one = campaign(tmp_path)
    assert [outcome.exit_status for outcome in one.run()] == [0, 0, 2]
    assert states(one.stored) == ["done"] * 2 + ["failed"] + ["-"] * 9
    assert load_sweep(one.stored.path).status == "interrupted"


def test_an_interrupted_sweep_says_what_was_done(tmp_path: Path, made: list[Any]) -> None:
    FATES[4] = KeyboardInterrupt("interrupted by SIGINT")
    one = campaign(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(one.run())
    assert states(one.stored) == ["done"] * 4 + ["failed"] + ["-"] * 7  # the run it hit is kept, too
    found = load_sweep(one.stored.path)
    assert (found.status, found.done) == ("interrupted", 5)


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path, made: list[Any]) -> None:
    FATES[1] = RANK_DIED  # a result: it is not made again
    FATES[4] = KeyboardInterrupt("interrupted by SIGINT")
    one = campaign(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(one.run())
    begun = list(made)
    stored = load_sweep(one.stored.path)
    assert stored.pending == tuple(range(4, 12))
    again = SweepCampaign(stored, tmp_path, GOOD)
    assert len(list(again.run())) == 8
    order = [(stored.sweep.values[run.point], run.scheme, run.seed) for run in stored.sweep.order()]
    assert begun == order[:5]
    assert made[5:] == order[4:]
    found = load_sweep(stored.path)
    assert states(found) == ["done", "failed"] + ["done"] * 10
    assert (found.status, found.pending) == ("finished", ())


def test_a_killed_sweep_goes_on_with_the_run_it_was_in(tmp_path: Path, made: list[Any]) -> None:
    one = campaign(tmp_path)
    runs = one.run()
    for _ in range(3):
        next(runs)
    assert load_sweep(one.stored.path).pending == tuple(range(3, 12))


def go_on(tmp_path: Path, stored: StoredSweep) -> tuple[StoredSweep, list[Outcome]]:
    """Resume a sweep until it ends or is interrupted; return it as stored then, and what became of runs."""
    outcomes = []
    with suppress(KeyboardInterrupt):
        for outcome in SweepCampaign(load_sweep(stored.path), tmp_path, GOOD).run():
            outcomes.append(outcome)
    return load_sweep(stored.path), outcomes


def test_a_disk_that_is_full_twice_and_interruptions_leave_no_run_failed(tmp_path: Path, made: list[Any]) -> None:
    FATES.update({2: FULL, 3: FULL, 5: KeyboardInterrupt("first"), 6: KeyboardInterrupt("second")})
    stored, _ = go_on(tmp_path, campaign(tmp_path).stored)
    for pending in ((2,), (3,), (3,), ()):
        stored, _ = go_on(tmp_path, stored)
        assert stored.pending[:1] == pending
    assert states(stored) == ["done"] * 12
    kept = sorted(path.name for path in (tmp_path / "synthetic").glob("*.failed"))
    assert kept == ["run2.failed", "run3.failed", "run5.failed", "run6.failed"], "nothing stored is deleted"


def test_an_interrupted_run_is_made_again_though_later_ones_were_made(tmp_path: Path, made: list[Any]) -> None:
    """Runs are made out of order with --repeat-disturbed: the last one made is not the one that was interrupted."""
    stored = campaign(tmp_path).stored
    sweep = stored.sweep
    for index in (*range(4), *range(5, 12)):
        stored = stored.with_run(index, f"run{index}", None)
        (tmp_path / "synthetic" / f"run{index}").mkdir()
    run = stored.runs[4].run
    plan = RunPlan(run.scheme, run.seed)
    failed = store_failed(tmp_path, "was.failed", sweep.points[run.point], plan, "interrupted by SIGINT")
    for status in get_args(Status):
        again = replace(stored.with_run(4, failed.name, "interrupted by SIGINT"), status=status)
        again.write()
        assert load_sweep(again.path).pending == (4,), status
    found, outcomes = go_on(tmp_path, stored)
    assert [one.plan for one in outcomes] == [plan]
    assert made == [(sweep.values[run.point], run.scheme, run.seed)]
    assert [one.name for one in found.runs] == ["run0" if n == 4 else f"run{n}" for n in range(12)]


def test_a_run_that_failed_with_the_testbed_is_made_again_one_whose_workload_failed_is_not(
    tmp_path: Path, made: list[Any]
) -> None:
    FATES.update({1: RANK_DIED, 3: KILLED, 11: RANK_DIED})
    one = campaign(tmp_path)
    list(one.run())
    stored = load_sweep(one.stored.path)
    assert (stored.status, stored.pending) == ("finished", (3,))
    assert [index for index in range(12) if stored.is_own_failure(index)] == [1, 11]
    found, outcomes = go_on(tmp_path, stored)
    assert len(outcomes) == 1
    assert [index for index, state in enumerate(states(found)) if state == "failed"] == [1, 11]
    assert [found.runs[index].error for index in (1, 11)] == [RANK_DIED] * 2


def test_a_failure_that_is_none_of_this_run_or_that_nobody_can_read_is_no_result(
    tmp_path: Path, made: list[Any]
) -> None:
    FATES.update(dict.fromkeys(range(12), RANK_DIED))
    one = campaign(tmp_path)
    list(one.run())
    stored = load_sweep(one.stored.path)
    assert stored.pending == ()
    spoil: tuple[Callable[[dict[str, Any]], None], ...] = (
        lambda manifest: manifest.update(seed=77),
        lambda manifest: manifest.update(scheme="ecmp"),
        lambda manifest: manifest["scenario"]["gsp"].update(container_bytes=123_456),
        lambda manifest: manifest.update(scenario=7),
        lambda manifest: manifest.update(verdict=None),
        lambda manifest: manifest.clear(),
    )
    for index, change in enumerate(spoil):
        where = tmp_path / "synthetic" / f"run{index}.failed" / "manifest.json"
        manifest = json.loads(where.read_text())
        change(manifest)
        where.write_text(json.dumps(manifest))
    (tmp_path / "synthetic" / "run8.failed" / "manifest.json").write_text("half of i")
    (tmp_path / "synthetic" / "run9.failed" / "manifest.json").unlink()
    assert stored.pending == (0, 1, 2, 3, 4, 5, 8, 9)


def finished_with(
    tmp_path: Path, checks: dict[int, list[str]], tries: dict[int, list[str]] | None = None
) -> StoredSweep:
    """Return a sweep with all runs made, whose verdicts say so."""
    one = campaign(tmp_path)
    list(one.run())
    for number in range(12):
        folder = tmp_path / "synthetic" / f"run{number}"
        (folder / "summary.json").write_text(
            json.dumps({"checks": checks.get(number, []), "run_dir": str(folder), "mark": number})
        )
        (folder / "manifest.json").write_text(json.dumps({"earlier_tries": (tries or {}).get(number, [])}))
    return load_sweep(one.stored.path)


def test_runs_that_others_disturbed_are_made_again_when_asked(tmp_path: Path, made: list[Any]) -> None:
    stored = finished_with(tmp_path, {3: ["steal"], 5: ["sender_lateness"], 7: ["foreign_load", "agents"]})
    assert stored.to_make() == ()
    assert stored.to_make(1) == (3, 7)
    again = SweepCampaign(stored, tmp_path, GOOD, repeats=1)
    assert len(list(again.run())) == 2
    order = [(stored.sweep.values[run.point], run.scheme, run.seed) for run in stored.sweep.order()]
    assert made[12:] == [order[3], order[7]]
    assert (TRIES[12], TRIES[13]) == (["run3.disturbed"], ["run7.disturbed"])
    found = load_sweep(stored.path)
    assert [one.name for one in found.runs] == [{3: "run12", 7: "run13"}.get(n, f"run{n}") for n in range(12)]
    kept = tmp_path / "synthetic" / "run3.disturbed"
    assert json.loads((kept / "summary.json").read_text())["run_dir"] == str(kept)
    assert not (tmp_path / "synthetic" / "run3").exists()


def test_those_that_are_invalid_are_made_again_first(tmp_path: Path, made: list[Any]) -> None:
    stored = finished_with(tmp_path, {3: ["steal"], 5: ["short_of_paths"], 7: ["steal"], 9: ["foreign_load"]})
    for number, verdict in ((3, "SUSPECT"), (5, "INVALID"), (7, "INVALID"), (9, "SUSPECT")):
        path = tmp_path / "synthetic" / f"run{number}" / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": verdict}))
    assert stored.to_make(1) == (7, 3, 9)


def test_a_run_without_tries_left_is_not_made_again(tmp_path: Path, made: list[Any]) -> None:
    before = tmp_path / "synthetic" / "run0a.disturbed"
    stored = finished_with(tmp_path, {3: ["steal"]}, {3: [before.name]})
    before.mkdir()
    (before / "summary.json").write_text(json.dumps({"run_dir": str(before)}))
    assert stored.to_make(1) == ()
    assert stored.to_make(2) == (3,)
    list(SweepCampaign(stored, tmp_path, GOOD, repeats=2).run())
    assert TRIES[12] == ["run0a.disturbed", "run3.disturbed"]


def test_a_try_that_was_removed_or_is_a_strangers_costs_no_run(tmp_path: Path, made: list[Any]) -> None:
    """Who makes room deletes what was set aside first: the run itself was set aside then, and forgotten."""
    stored = finished_with(tmp_path, {3: ["steal"], 7: ["steal"]}, {3: ["gone.disturbed"], 7: ["odd.disturbed"]})
    odd = tmp_path / "synthetic" / "odd.disturbed"
    odd.mkdir()
    (odd / "summary.json").write_text(json.dumps({"run_dir": ["elsewhere"]}))
    list(SweepCampaign(stored, tmp_path, GOOD, repeats=2).run())
    assert (TRIES[12], TRIES[13]) == (
        ["gone.disturbed", "run3.disturbed"],
        ["odd.disturbed", "run7.disturbed"],
    )
    assert load_sweep(stored.path).pending == ()


def test_a_run_whose_folder_is_gone_is_made_again(tmp_path: Path, made: list[Any]) -> None:
    stored = finished_with(tmp_path, {3: ["steal"]})
    for number in (3, 5):
        shutil.rmtree(tmp_path / "synthetic" / f"run{number}")
    assert (stored.pending, stored.to_make(1)) == ((3, 5), (3, 5))
    FATES[13] = KeyboardInterrupt("interrupted by SIGINT")
    with pytest.raises(KeyboardInterrupt):
        list(SweepCampaign(stored, tmp_path, GOOD, repeats=1).run())
    found = load_sweep(stored.path)
    assert (found.runs[3].name, found.pending) == ("run12", (5,))
    found, _outcomes = go_on(tmp_path, found)
    assert (found.runs[5].name, found.pending) == ("run14", ())


def test_a_sweeps_runs_are_found_however_its_folder_is_named(
    tmp_path: Path, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = finished_with(tmp_path, {})
    other = create_sweep(tmp_path, sweep_over(), NOW_UTC)
    monkeypatch.chdir(other.path)
    (tmp_path / "latest").symlink_to(stored.path)
    for path in (stored.path, Path("..", stored.path.name), tmp_path / "latest"):
        assert load_sweep(path).runs_dir == (tmp_path / "synthetic").resolve()
        assert load_sweep(path).pending == ()


def test_a_run_that_was_done_as_the_disk_became_full_is_known(
    tmp_path: Path, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sweep.json`` could not be written, and the run was made again; now room for it is kept."""
    one = campaign(tmp_path)
    room = one.stored.path / ".room"
    room.symlink_to(tmp_path / "synthetic")  # a stranger's, or what a sweep left that was killed

    def full_but_for_the_room(path: Path, value: dict[str, Any]) -> None:
        if room.exists() and number == 3:
            raise ResultsError(Problem("cannot write", str(path), "No space left on device", "free space"))
        write_json(path, value)

    number = 0
    monkeypatch.setattr(testbed.results.sweeps, "write_json", full_but_for_the_room)
    for number, _outcome in enumerate(one.run(), start=1):
        assert states(one.stored) == ["done"] * number + ["-"] * (12 - number)
        kept = room.stat().st_size if room.exists() else 0
        assert kept > (10_000 if number < 4 else -1)
    assert {path.name for path in one.stored.path.iterdir()} == {"sweep.json"}


def test_without_room_a_full_disk_is_said(tmp_path: Path, made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one = campaign(tmp_path)

    def full(path: Path, _value: dict[str, Any]) -> None:
        raise ResultsError(Problem("cannot write", str(path), "No space left on device", "free space"))

    monkeypatch.setattr(testbed.results.sweeps, "write_json", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        list(one.run())
    assert {path.name for path in one.stored.path.iterdir()} == {"sweep.json"}


def test_a_run_interrupted_while_made_again_is_yet_to_be_made(tmp_path: Path, made: list[Any]) -> None:
    stored = finished_with(tmp_path, {3: ["steal"], 7: ["steal"]})
    FATES[12] = KeyboardInterrupt("interrupted by SIGINT")
    with pytest.raises(KeyboardInterrupt):
        list(SweepCampaign(stored, tmp_path, GOOD, repeats=1).run())
    found = load_sweep(stored.path)
    assert (found.runs[3].name, found.runs[7].name) == (None, "run7")
    assert (found.pending, found.to_make(1)) == ((3,), (3, 7))


def test_a_run_that_was_taken_back_while_waiting_counts(
    tmp_path: Path, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = finished_with(tmp_path, {3: ["steal"]})

    def interrupted_while_waiting(plan: RunPlan, earlier: Sequence[dict[str, Any]]) -> Outcome:
        take_back(Path(earlier[-1]["run_dir"]))
        raise KeyboardInterrupt

    one = SweepCampaign(stored, tmp_path, GOOD, repeats=1)
    monkeypatch.setattr(testbed.runs.sweep.Campaign, "run_one", lambda _self, *args: interrupted_while_waiting(*args))
    with pytest.raises(KeyboardInterrupt):
        list(one.run())
    found = load_sweep(stored.path)
    assert found.runs[3].name == "run3"
    assert json.loads((tmp_path / "synthetic" / "run3" / "summary.json").read_text())["mark"] == 3


def test_a_disturbed_first_try_counts_where_the_second_was_interrupted(
    tmp_path: Path, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The campaign takes it back; the sweep said FAILED of the run, and made it anew."""
    (tmp_path / "synthetic").mkdir()
    folders = {name: tmp_path / "synthetic" / name for name in ("first", "first.disturbed", "second.failed")}

    def tries(self: Any, _plan: RunPlan, _earlier: Sequence[dict[str, Any]] = ()) -> Outcome:
        folders["first.disturbed"].mkdir()
        (folders["first.disturbed"] / "summary.json").write_text("{}")
        self.on_event({"event": "run_set_aside", "summary": {"run_dir": str(folders["first.disturbed"])}})
        self.on_event({"event": "run_failed", "error": "SIGINT", "run_dir": str(folders["second.failed"])})
        take_back(folders["first.disturbed"])
        raise KeyboardInterrupt

    one = campaign(tmp_path)
    monkeypatch.setattr(testbed.runs.sweep.Campaign, "run_one", tries)
    with pytest.raises(KeyboardInterrupt):
        list(one.run())
    found = load_sweep(one.stored.path)
    assert (found.runs[0].name, found.runs[0].error) == ("first", None)
    assert found.pending == tuple(range(1, 12))


def test_a_second_try_that_was_done_counts_though_the_sweep_is_interrupted_while_it_is_told(
    tmp_path: Path, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "synthetic" / "first.disturbed"

    def tries(self: Any, _plan: RunPlan, _earlier: Sequence[dict[str, Any]] = ()) -> Outcome:
        first.mkdir()
        (first / "summary.json").write_text("{}")
        self.on_event({"event": "run_set_aside", "summary": {"run_dir": str(first)}})
        self.on_event({"event": "run_done", "summary": {"run_dir": str(first.with_name("second"))}})
        take_back(first)
        raise KeyboardInterrupt

    one = campaign(tmp_path)
    monkeypatch.setattr(testbed.runs.sweep.Campaign, "run_one", tries)
    with pytest.raises(KeyboardInterrupt):
        list(one.run())
    found = load_sweep(one.stored.path)
    assert (found.runs[0].name, found.runs[0].error) == ("second", None)


def test_what_was_done_is_known_while_it_goes_on(tmp_path: Path, made: list[Any]) -> None:
    """Nothing clears up after SIGKILL or a power cut."""
    one = campaign(tmp_path)
    for number, _outcome in enumerate(one.run(), start=1):
        assert states(one.stored) == ["done"] * number + ["-"] * (12 - number)
        assert load_sweep(one.stored.path).status == "running" or number == 12


def test_two_sweeps_of_one_second_do_not_meet(tmp_path: Path) -> None:
    first, second = (create_sweep(tmp_path, sweep_over(), NOW_UTC) for _ in range(2))
    assert first.path.name == "20260102T030405Z-gsp.container_bytes"
    assert second.path.name == "20260102T030405Z-gsp.container_bytes-2"
    later = create_sweep(tmp_path, sweep_over(), NOW_UTC + timedelta(seconds=1))
    assert later.path.name.startswith("20260102T030406Z")


def edit(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found.update(changes)


def edit_run(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found["runs"][0].update(changes)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "version": (edit(format_version=2), "format_version: unknown sweep format; got 2, expected 1"),
    "status": (edit(status="fine"), "status: not valid; got 'fine', expected one of running"),
    "field": (edit(field="fabric.spine"), "--over fabric.spine: unknown field"),
    "field's type": (edit(field=3), "field: missing or of a wrong type; got int, expected str"),
    "values": (edit(values=[]), "one value is no sweep"),
    "scenario": (edit(scenario={"name": "x", "fabric": {"spine": 1}}), "fabric.spine: unknown field"),
    "a run less": (lambda found: found["runs"].pop(), "not every run once; got 11 runs"),
    "a run twice": (lambda found: found["runs"].append(found["runs"][0]), "got 13 runs, 12 of them different"),
    "another value": (edit_run(value=1), "runs.0: not a run of this sweep"),
    "a value of another kind": (edit_run(value={"a": 1}), "runs.0: not a run of this sweep"),
    "another scheme": (edit_run(scheme="ecmp"), "runs.0: not a run of this sweep"),
    "another seed": (edit_run(seed=True), "runs.0: not a run of this sweep"),
    "a seed that is no whole number": (edit_run(seed=1.0), "runs.0: not a run of this sweep"),
    "a path": (edit_run(run="../../etc"), "runs.0: not a run of this sweep"),
    "a hidden folder": (edit_run(run=".ssh"), "runs.0: not a run of this sweep"),
    "an error without a run": (edit_run(run=None, error="x"), "runs.0: not a run of this sweep"),
    "not a run at all": (lambda found: found["runs"].__setitem__(0, 7), "runs.0: not a run of this sweep"),
    "hundreds that are none": (edit(runs=[7] * 320), "runs: more than is named here; got 300 more problems"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_sweep_is_explained(tmp_path: Path, name: str) -> None:
    stored = create_sweep(tmp_path, sweep_over(), NOW_UTC)
    file = stored.path / "sweep.json"
    found = json.loads(file.read_text())
    damage, said = DAMAGE[name]
    damage(found)
    file.write_text(json.dumps(found))
    with pytest.raises(InputError) as refused:
        load_sweep(stored.path)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_sweep_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    stored = stored_sweep(tmp_path, sweep_over(seeds=(1,), schemes=("gse2-n2n",)))
    assert load_sweep(stored.path) == stored


def test_a_run_of_another_value_is_refused(tmp_path: Path) -> None:
    from synthetic_runs import healthy

    from testbed.views.sweep import sweep_results

    sweep = sweep_over(seeds=(1,), schemes=("gse2-n2n",))
    stored = stored_sweep(tmp_path, sweep)
    index = next(number for number, run in enumerate(sweep.order()) if run.point == 0)
    other = store(tmp_path, with_agents(healthy(sweep.points[1], scheme="gse2-n2n", seed=1)))
    with pytest.raises(ResultsError, match=r"not a run of this sweep.*expected gse2-n2n, seed 1, gsp.container_bytes="):
        sweep_results(stored.with_run(index, other.name, None))
    with pytest.raises(ResultsError, match="cannot read a result"):
        sweep_results(stored.with_run(index, "gone", None))
