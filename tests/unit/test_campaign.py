"""Which runs of a campaign are made again, and what is kept of them; the capsules are made up, the rows real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from machines import GOOD
from synthetic_runs import scenario_of

import testbed.runs.campaign
from testbed.errors import ResultsError
from testbed.results.listing import list_runs
from testbed.results.run import load
from testbed.results.run_directory import RunDirectory
from testbed.runs.campaign import Campaign, Outcome, RunPlan

PLAN = RunPlan("ecmp", 1)


def tries(
    monkeypatch: pytest.MonkeyPatch, results: Path, found: list[list[str]], *, repeats: int
) -> tuple[Outcome, list[dict[str, Any]], list[list[str]]]:
    """Make one run whose tries find ``found``, one after the other; return outcome, events, and what was not needed."""
    left, waits = list(found), []

    def summary(_run: Any) -> dict[str, Any]:
        checks = left.pop(0)
        return {
            "scenario": "synthetic",
            "scheme": "ecmp",
            "seed": 1,
            "format_version": 3,
            "verdict": "SUSPECT" if checks else "VALID",
            "checks": checks,
            "reasons": checks,
            "run_dir": "",
        }

    monkeypatch.setattr(Campaign, "_execute", lambda *_: None)
    monkeypatch.setattr(testbed.runs.campaign, "summarise", summary)
    monkeypatch.setattr(testbed.runs.campaign, "await_quiet", lambda _longest_s: not waits.append(1))
    events: list[dict[str, Any]] = []
    campaign = Campaign(scenario_of(), results, GOOD, on_event=events.append, repeats=repeats)
    outcome = campaign.run_one(PLAN)
    assert len(waits) == len(outcome.set_aside)
    return outcome, events, left


@pytest.mark.parametrize(
    ("found", "repeats", "tried"),
    [
        ([["steal"], []], 0, 1),
        ([["steal"], []], 1, 2),
        ([["steal"], ["foreign_load", "probe_lateness"], []], 5, 3),
        ([["steal"], ["steal"], ["steal"], []], 2, 3),  # the last one counts, whatever it is
        ([["switch_wait"], []], 5, 1),  # may be our own doing: to choose among those would be to choose results
        ([["short_of_paths"], []], 5, 1),
        ([[], ["steal"]], 5, 1),
    ],
)
def test_only_what_others_did_is_a_reason_to_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: list[list[str]], repeats: int, tried: int
) -> None:
    outcome, events, left = tries(monkeypatch, tmp_path, found, repeats=repeats)
    assert len(found) - len(left) == tried
    assert [event["event"] for event in events] == ["run", "run_set_aside", "warning"] * (tried - 1) + [
        "run",
        "run_done",
    ]
    assert outcome.summary is not None
    assert outcome.summary["checks"] == found[tried - 1]
    assert [one["checks"] for one in outcome.set_aside] == found[: tried - 1]


def test_every_try_is_kept_and_only_the_last_is_a_run_of_the_scenario(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome, _, _ = tries(monkeypatch, tmp_path, [["steal"], ["steal"], []], repeats=2)
    listing = list_runs(tmp_path, "synthetic")
    assert (listing.finished, listing.partial, listing.failed, listing.disturbed) == ((outcome.run_dir,), 0, 0, 2)
    kept = [Path(one["run_dir"]) for one in outcome.set_aside]
    assert all(path.name.endswith(".disturbed") for path in kept)
    for path in (*kept, outcome.run_dir):
        assert json.loads((path / "summary.json").read_text())["run_dir"] == str(path)
        assert load(path).manifest["status"] == "finished"
    assert load(outcome.run_dir).manifest["earlier_tries"] == [path.name for path in kept]
    assert "earlier_tries" not in load(kept[0]).manifest


def test_results_that_a_capsule_could_not_find_are_refused_at_once(tmp_path: Path) -> None:
    """It covers /run by one of its own: the run failed for a plan that was not there."""
    link = tmp_path / "results"
    link.symlink_to("/run/gse-no-such-folder")
    for folder in (link, Path("/run/gse-no-such-folder")):
        with pytest.raises(ResultsError, match="runs cannot be stored below /run; got /run/gse-no-such-folder"):
            Campaign(scenario_of(), folder, GOOD).run_one(PLAN)
    assert not Path("/run/gse-no-such-folder").exists()


def test_a_run_whose_plan_cannot_be_written_asks_for_a_change_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where the disk has just become full; the runs that are over stand in the table all the same."""
    create = RunDirectory.create

    def blocked(*place: Any, **names: Any) -> RunDirectory:
        directory = create(*place, **names)
        (directory.raw / "plan.json").mkdir()
        return directory

    monkeypatch.setattr(RunDirectory, "create", blocked)
    outcome = Campaign(scenario_of(), tmp_path, GOOD).run_one(PLAN)
    assert (outcome.exit_status, outcome.verdict) == (2, "FAILED")
    assert outcome.error is not None and "plan.json" in outcome.error


@pytest.mark.parametrize("waiting", [True, False], ids=["waiting for quiet", "in the second try"])
def test_a_try_that_will_not_be_made_again_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waiting: bool
) -> None:
    tried: list[object] = []

    def quiet(_longest_s: float) -> bool:
        if waiting:
            raise KeyboardInterrupt
        return True

    def execute(*_: object) -> None:
        tried.append(None)
        if len(tried) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Campaign, "_execute", execute)
    found = {"scenario": "synthetic", "scheme": "ecmp", "seed": 1, "format_version": 3, "verdict": "SUSPECT"}
    found |= {"checks": ["steal"], "reasons": ["steal"], "run_dir": ""}
    monkeypatch.setattr(testbed.runs.campaign, "summarise", lambda _run: dict(found))
    monkeypatch.setattr(testbed.runs.campaign, "await_quiet", quiet)
    events: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        Campaign(scenario_of(), tmp_path, GOOD, on_event=events.append, repeats=1).run_one(PLAN)
    listing = list_runs(tmp_path, "synthetic")
    assert (len(listing.finished), listing.disturbed) == (1, 0)
    summary = load(listing.finished[0]).summary
    assert summary is not None and summary["run_dir"] == str(listing.finished[0])
    assert str(listing.finished[0]) in events[-1]["message"]
