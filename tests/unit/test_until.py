"""``gse run --until-ci``: which seeds are made, when it stops, what it says; the capsules are made up."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from gse_command import Gse, assert_refused
from machines import GOOD
from synthetic_runs import healthy, scenario_of, store

import testbed.cli.run
from testbed.cli.until import add_until, reached_lines, until_document
from testbed.inference.stopping import LEAST_SEEDS
from testbed.runs.campaign import Campaign, Outcome, RunPlan
from testbed.runs.until import UntilKnown, seeds_from

Times = Callable[[RunPlan], float | None]


@dataclass
class MadeUp(Campaign):
    """A campaign whose runs take the time they are told; None is an INVALID run."""

    time_s: Times = field(default=lambda _plan: 1.0)
    exit_status: int = 0

    def run_one(self, plan: RunPlan) -> Outcome:
        if self.exit_status:
            return Outcome(plan, Path("x"), error="no", exit_status=self.exit_status)
        seconds = self.time_s(plan)
        verdict = "INVALID" if seconds is None else "VALID"
        return Outcome(plan, Path("x"), summary={"verdict": verdict, "completion_s": seconds or 99.0})


def until_of(time_s: Times, *, target: float = 0.05, most: int = 30, **changes: Any) -> UntilKnown:
    scenario = scenario_of(schemes=["ecmp", "gse1"], seeds=[1, 2, 3])
    return UntilKnown(MadeUp(scenario, Path("x"), GOOD, time_s=time_s, **changes), target, most)


def made(until: UntilKnown) -> list[RunPlan]:
    return [outcome.plan for outcome in until.run()]


def steady(plan: RunPlan) -> float:
    return (2.0 if plan.scheme == "ecmp" else 1.0) * (1 + 0.001 * (plan.seed % 3))


def scattered(plan: RunPlan) -> float:
    return 1.0 if plan.scheme == "gse1" else 2.0 + plan.seed % 3


def test_it_stops_once_the_interval_is_narrow_and_not_before_there_are_seeds_enough() -> None:
    until = until_of(steady)
    plans = made(until)
    assert until.is_reached
    assert until.seeds == list(range(1, LEAST_SEEDS + 1))
    assert len(plans) == 2 * LEAST_SEEDS
    assert [plan.scheme for plan in plans[:4]] == ["ecmp", "gse1", "gse1", "ecmp"]  # seeds whole, order alternating


def test_it_adds_seeds_until_the_most_there_may_be() -> None:
    until = until_of(scattered, most=14)
    assert len(made(until)) == 28
    assert (until.is_reached, until.seeds) == (False, list(range(1, 15)))
    wider = until_of(scattered, most=500, target=0.1)
    made(wider)
    assert wider.is_reached
    assert LEAST_SEEDS < len(wider.seeds) < 100


def test_invalid_runs_leave_their_seed_without_a_pair() -> None:
    until = until_of(lambda plan: None if plan.scheme == "gse1" and plan.seed in (2, 5) else steady(plan))
    made(until)
    assert until.reaches()["gse1"].pairs == LEAST_SEEDS
    assert len(until.seeds) == LEAST_SEEDS + 2


@pytest.mark.parametrize(("status", "runs"), [(1, 2), (2, 1)])
def test_it_does_not_go_on_where_nothing_can_be_made(status: int, runs: int) -> None:
    until = until_of(steady, exit_status=status)
    assert len(made(until)) == runs
    assert not until.is_reached


def test_seeds_asked_for_come_first_and_none_twice() -> None:
    assert list(seeds_from((7, 3), 5)) == [7, 3, 8, 9, 10]
    assert list(seeds_from((2**31 - 1, 2), 4)) == [2**31 - 1, 2, 1, 3]
    assert list(islice(seeds_from((1, 2, 3), 2), 9)) == [1, 2]


def test_what_was_reached_is_said() -> None:
    until = until_of(steady)
    made(until)
    first, last = reached_lines(until)
    assert first.startswith("gse1 against ecmp: 2.000 times as fast, 95% interval ")
    assert first.endswith("0.05 is reached")
    assert last.startswith("10 seeds made, 30 at most")
    document = until_document(until)
    assert (document["reached"], document["seeds"]) == (True, list(range(1, 11)))
    assert document["speedups"]["gse1"]["pairs"] == 10

    short = until_of(scattered, most=10, target=0.01)
    made(short)
    assert "0.01 is NOT reached" in next(reached_lines(short))
    none = until_of(lambda _plan: None, most=10)
    made(none)
    assert next(reached_lines(none)).endswith(
        "0 usable pairs of runs, no interval; 0.05 is NOT reached, for want of 10 pairs"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["allreduce_ring", "--schemes", "ecmp"], "ecmp alone"),
        (["allreduce_ring", "--seeds", "40"], "40 seeds to begin with"),
        (["mice_alone"], "small messages alone"),
    ],
)
def test_what_has_no_speed_up_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert_refused(Gse(capsys)("run", "--until-ci", "0.05", *options), said)


def test_the_most_seeds_without_anything_that_adds_some_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Gse(capsys)("run", "allreduce_ring", "--max-seeds", "12")
    assert_refused(
        answer, "--max-seeds: no seeds are added; got 12 without --until-ci, expected --until-ci W beside it"
    )


@pytest.mark.parametrize(
    "words", [["--until-ci", "5"], ["--until-ci", "x"], ["--max-seeds", "9"], ["--max-seeds", "1e9"]]
)
def test_numbers_are_checked(words: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_until(parser)
    with pytest.raises(argparse.ArgumentError, match="expected a number"):
        parser.parse_args(words)
    assert parser.parse_args([]).until_ci is None


def test_gse_run_prints_what_was_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run_one(campaign: Campaign, plan: RunPlan) -> Outcome:
        slow = 1 + 0.001 * (plan.seed % 2)
        record = healthy(campaign.scenario, scheme=plan.scheme, seed=plan.seed, slow=lambda _i: slow)
        path = store(campaign.results_dir, record)
        return Outcome(plan, path, summary=json.loads((path / "summary.json").read_text()))

    monkeypatch.setattr(testbed.cli.run, "prepared", lambda _scenario, _args: GOOD)
    monkeypatch.setattr(Campaign, "run_one", run_one)
    file = tmp_path / "small.json"
    file.write_text(json.dumps(scenario_of(schemes=["gse1", "spray"], seeds=[1, 2]).model_dump(mode="json")))
    answer = Gse(capsys)(
        "run", str(file), "--until-ci", "0.01", "--max-seeds", "12", "--json", "--results", str(tmp_path)
    )
    assert answer.status == 0
    document = json.loads(answer.out)
    assert (document["until_ci"]["reached"], len(document["runs"])) == (True, 20)
    assert document["until_ci"]["speedups"]["spray"]["ratio"] == pytest.approx(1, abs=0.01)
    assert "spray against gse1: " in answer.err and "0.01 is reached" in answer.err
    assert "10 seeds made, 12 at most" in answer.err
