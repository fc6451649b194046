"""``--within-model``: measurements that leave what the fluid model has, as exit statuses; the capsules are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gse_command import Gse
from machines import GOOD
from synthetic_runs import healthy, scenario_of, store
from synthetic_sweeps import with_rate_error

import testbed.cli.run
from testbed.runs.campaign import Campaign, Outcome, RunPlan
from testbed.views.predicted import fluid_efficiency

DISTURBED = 3  # the seed whose run under gse1 is INVALID
SLOW, SLUGGISH = 4, 5  # those whose runs are INVALID for being slow, and SUSPECT for it
PACE = {SLOW: 1.3, SLUGGISH: 1.05}


def measured(path: Path) -> float:
    return float(json.loads((path / "summary.json").read_text())["efficiency"])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run_one(campaign: Campaign, plan: RunPlan) -> Outcome:
        pace = PACE.get(plan.seed, 1.0)
        record = healthy(campaign.scenario, scheme=plan.scheme, seed=plan.seed, slow=lambda _i: pace)
        if plan.seed == DISTURBED and plan.scheme == "gse1":
            record = with_rate_error(record, 0.2)
        path = store(campaign.results_dir, record, second=plan.seed)
        return Outcome(plan, path, summary=json.loads((path / "summary.json").read_text()))

    monkeypatch.setattr(testbed.cli.run, "prepared", lambda _scenario, _args: GOOD)
    monkeypatch.setattr(Campaign, "run_one", run_one)
    file = tmp_path / "small.json"
    file.write_text(json.dumps(scenario_of(schemes=["gse1"]).model_dump(mode="json")))
    gse = Gse(capsys)
    return lambda *options: gse("run", str(file), "--json", "--results", str(tmp_path / "results"), *options)


def test_what_is_beside_the_model_is_a_status_when_asked(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("--seeds", "1,").status == 0
    (first,) = (tmp_path / "results" / "synthetic").glob("*seed1*")
    model = fluid_efficiency(scenario_of(), "gse1", [1])
    assert model is not None
    off = abs(measured(first) / model - 1)
    near, far = f"{off / 2:.9f}", f"{off + 0.01:.9f}"
    answer = run("--seeds", "1,", "--within-model", near)
    assert (
        answer.status == 1 and f"gse1 has {measured(first):.3f} of the limit, the fluid model {model:.3f}" in answer.err
    )
    answer = run("--seeds", "1,", "--within-model", far)
    assert answer.status == 0 and "--within-model" not in answer.err


def test_runs_that_are_not_valid_have_no_part_and_none_is_no_pass(run) -> None:  # type: ignore[no-untyped-def]
    answer = run("--seeds", "3,", "--within-model", "0.9")
    assert answer.status == 1 and "no VALID run of a kind the fluid model knows" in answer.err


def test_a_run_the_machine_spoilt_leaves_the_others_an_answer(run) -> None:  # type: ignore[no-untyped-def]
    answer = run("--seeds", f"1,{DISTURBED}", "--within-model", "0.5")
    assert answer.status == 0 and "--within-model" not in answer.err


@pytest.mark.parametrize("seed", [SLOW, SLUGGISH])
def test_a_run_that_is_left_out_for_being_slow_is_no_pass_of_the_others(run, seed: int) -> None:  # type: ignore[no-untyped-def]
    answer = run("--seeds", f"1,2,{seed}", "--within-model", "0.5")
    assert answer.status == 1
    why = "gse1: 1 of 3 runs is not VALID for being slow or wrong (short_of_paths), and in no mean"
    assert f"gse: --within-model 0.5: {why}\n" in answer.err


def test_a_scheme_without_a_valid_run_is_no_pass_of_another(run) -> None:  # type: ignore[no-untyped-def]
    answer = run("--schemes", "ecmp,gse1", "--seeds", f"{DISTURBED},", "--within-model", "0.9")
    assert answer.status == 1 and answer.err.endswith("gse: --within-model 0.9: gse1: no VALID run\n")


def test_a_scheme_the_model_does_not_know_is_named_beside_one_that_passes(run) -> None:  # type: ignore[no-untyped-def]
    answer = run("--schemes", "ecmp,flowlet", "--seeds", "1,", "--within-model", "0.9")
    assert answer.status == 0
    assert "gse: --within-model: the fluid model knows nothing of flowlet\n" in answer.err


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "much", "nan"])
def test_other_widths_are_refused(run, text: str) -> None:  # type: ignore[no-untyped-def]
    answer = run("--seeds", "1,", f"--within-model={text}")
    assert answer.status == 2 and "expected a number between 0 and 1" in answer.err
