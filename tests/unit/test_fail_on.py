"""``--fail-on``: verdicts as exit statuses; the capsules are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gse_command import Gse
from machines import GOOD
from synthetic_runs import healthy, scenario_of, store
from synthetic_sweeps import stored_sweep, sweep_over, with_rate_error

import testbed.cli.bench
import testbed.cli.run
from testbed.model.sweep import sweep_of
from testbed.runs.campaign import Campaign, Outcome, RunPlan

RATE_ERRORS = {1: 0.0, 2: 0.05, 3: 0.2}  # seed -> what makes its run VALID, SUSPECT, INVALID
FULL = 4  # the seed at which the disk is full


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.mark.parametrize(
    ("seeds", "option", "status", "said"),
    [
        ("1,2,3", (), 0, None),
        ("1,", ("--fail-on", "suspect"), 0, None),
        ("1,2", ("--fail-on", "invalid"), 0, None),
        ("1,2", ("--fail-on", "suspect"), 1, "--fail-on suspect: of 2 run(s) 1 SUSPECT"),
        ("1,3", ("--fail-on", "invalid"), 1, "--fail-on invalid: of 2 run(s) 1 INVALID"),
        ("1,2,3", ("--fail-on", "suspect"), 1, "--fail-on suspect: of 3 run(s) 1 SUSPECT, 1 INVALID"),
        ("1,4", ("--fail-on", "invalid"), 2, "--fail-on invalid: of 2 run(s) 1 FAILED"),
    ],
)
def test_verdicts_of_runs_are_an_exit_status_when_asked(
    gse: Gse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seeds: str,
    option: tuple[str, ...],
    status: int,
    said: str | None,
) -> None:
    def run_one(campaign: Campaign, plan: RunPlan) -> Outcome:
        if plan.seed == FULL:
            return Outcome(plan, Path("x"), error="the disk is full", exit_status=2)
        record = healthy(campaign.scenario, scheme=plan.scheme, seed=plan.seed)
        path = store(campaign.results_dir, with_rate_error(record, RATE_ERRORS[plan.seed]), second=plan.seed)
        return Outcome(plan, path, summary=json.loads((path / "summary.json").read_text()))

    monkeypatch.setattr(testbed.cli.run, "prepared", lambda _scenario, _args: GOOD)
    monkeypatch.setattr(Campaign, "run_one", run_one)
    file = tmp_path / "small.json"
    file.write_text(json.dumps(scenario_of(schemes=["gse1"]).model_dump(mode="json")))
    answer = gse("run", str(file), "--seeds", seeds, "--json", "--results", str(tmp_path), *option)
    assert answer.status == status
    assert len(json.loads(answer.out)["runs"]) == len([seed for seed in seeds.split(",") if seed])
    assert ("gse: --fail-on" in answer.err) == (said is not None)
    assert said is None or f"gse: {said}\n" in answer.err


def test_so_are_those_of_all_runs_of_a_stored_sweep(gse: Gse, tmp_path: Path) -> None:
    sweep = sweep_over(values=("16K", "64K"), seeds=(1,), schemes=("gse2-n2n",))
    stored = stored_sweep(tmp_path, sweep, lambda run, record: with_rate_error(record, 0.05 if run.point else 0.0))
    command = ("sweep", "--again", str(stored.path))
    assert gse(*command).status == 0
    assert gse(*command, "--fail-on", "invalid").status == 0
    answer = gse(*command, "--fail-on", "suspect")
    assert (answer.status, answer.err) == (1, "gse: --fail-on suspect: of 2 run(s) 1 SUSPECT\n")


def test_and_those_of_a_bench(gse: Gse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = scenario_of(schemes=["gse1"], seeds=[1], workload={"kind": "collective"})
    sweep = sweep_of(base, "workload.size_bytes", ["256K"], least_values=1)
    stored = stored_sweep(tmp_path, sweep, lambda _run, record: with_rate_error(record, 0.05))
    monkeypatch.setattr(testbed.cli.bench, "run_sweep", lambda _sweep, _args, *, command: (stored, []))
    command = ("bench", "allreduce", "-b", "256K", "-e", "256K")
    assert gse(*command).status == 0
    assert gse(*command, "--fail-on", "invalid").status == 0
    answer = gse(*command, "--fail-on", "suspect")
    assert answer.status == 1 and "gse: --fail-on suspect: of 1 run(s) 1 SUSPECT\n" in answer.err


def test_other_words_are_refused(gse: Gse) -> None:
    answer = gse("run", "allreduce_ring", "--fail-on", "valid")
    assert answer.status == 2 and "argument --fail-on: invalid choice: 'valid'" in answer.err
