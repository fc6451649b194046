"""``gse demo``, the first command of the README: its scenario is run, printed and drawn. The capsules are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gse_command import Gse
from machines import GOOD
from synthetic_runs import healthy, store

import testbed.cli.demo
import testbed.cli.run
from testbed.cli.demo import SETTINGS
from testbed.runs.campaign import Campaign, Outcome, RunPlan

SMALL = {"fabric.leaves": 2, "fabric.spines": 2, "fabric.hosts_per_leaf": 2, "seeds": [1, 2]}


def test_the_demo_runs_both_schemes_prints_tables_and_draws(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plans = []

    def run_one(campaign: Campaign, plan: RunPlan) -> Outcome:
        plans.append((plan.scheme, plan.seed))
        path = store(campaign.results_dir, healthy(campaign.scenario, scheme=plan.scheme, seed=plan.seed))
        return Outcome(plan, path, summary=json.loads((path / "summary.json").read_text()))

    monkeypatch.setattr(testbed.cli.demo, "require_root", lambda _what: None)
    monkeypatch.setattr(testbed.cli.demo, "SETTINGS", {**SETTINGS, **SMALL})
    monkeypatch.setattr(testbed.cli.run, "prepared", lambda _scenario, _args: GOOD)
    monkeypatch.setattr(Campaign, "run_one", run_one)
    answer = Gse(capsys)("demo", "--results", str(tmp_path))
    assert answer.status == 0, answer
    assert plans == [("ecmp", 1), ("gse1", 1), ("gse1", 2), ("ecmp", 2)]
    assert "expectation: " in answer.out and "schemes compared" in answer.out
    figures = tmp_path / "allreduce_ring" / "figures"
    drawn = {path.name for path in figures.iterdir()}
    assert {"completion.png", "completion.svg", "completion.json"} <= drawn
    said = answer.out.replace("\n", "")
    assert all(f"wrote {figures / name}" in said for name in drawn)
