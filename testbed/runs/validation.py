"""The model's cases run and read back from what is stored: predictions beside measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

from testbed.fidelity.verdict import Level
from testbed.fluid.case import Case, problems
from testbed.fluid.predict import Outcome, outcomes
from testbed.fluid.validation import WITHIN, Agreement, BandAgreement, BandCase, ValidationCase
from testbed.inference.contrast import paired
from testbed.model.oracle import scenario_expectation
from testbed.model.question import question_of
from testbed.model.scenario import Scenario
from testbed.results.store import Run, list_runs, load
from testbed.units import bytes_to_text


def stored_runs(results_dir: Path, scenario: Scenario) -> list[Run]:
    """Return the runs of exactly this question that may count, oldest first: finished, not INVALID."""
    asked = question_of(scenario)
    runs = (load(path) for path in list_runs(results_dir, scenario.name).finished)
    return [
        run
        for run in runs
        if run.summary is not None
        and run.summary["verdict"] != Level.INVALID.value
        and question_of(run.scenario) == asked
    ]


def agreements(
    results_dir: Path, cases: Sequence[ValidationCase], *, are_bounds: bool = False, within: float = WITHIN
) -> Iterator[Agreement]:
    """Yield prediction and measurement of every case; of several runs the last."""
    for case in cases:
        (predicted,) = outcomes([Case(case.scenario, case.scheme, case.seed)])
        runs = [
            run for run in stored_runs(results_dir, case.scenario) if (run.scheme, run.seed) == (case.scheme, case.seed)
        ]
        summary = runs[-1].summary if runs else None
        found = _agreement(case.what, predicted, case.scheme, summary)
        yield replace(found, is_bound=are_bounds, within=within)


def reference_agreements(results_dir: Path) -> Iterator[Agreement]:
    """Yield prediction and measurement of every stored run that the model is for, of any scenario."""
    names = sorted(path.name for path in results_dir.iterdir() if path.is_dir()) if results_dir.is_dir() else []
    for name in names:
        for path in list_runs(results_dir, name).finished:
            run = load(path)
            asked = run.scenario.model_copy(update={"schemes": (run.scheme,)})
            if run.program is not None or not run.summary or run.summary["completion_s"] is None or problems(asked):
                continue
            if run.summary["verdict"] != Level.INVALID.value:
                (predicted,) = outcomes([Case(asked, run.scheme, run.seed)])
                yield _agreement(
                    f"{name}, {bytes_to_text(asked.workload.size_bytes)}", predicted, run.scheme, run.summary
                )


def _agreement(what: str, predicted: Outcome, scheme: str, summary: Mapping[str, Any] | None) -> Agreement:
    return Agreement(
        what=what,
        scheme=scheme,
        seed=predicted.seed,
        predicted_s=predicted.time_s,
        predicted_efficiency=predicted.efficiency,
        measured_s=None if summary is None else summary["completion_s"],
        measured_efficiency=None if summary is None else summary["efficiency"],
        verdict=None if summary is None else str(summary["verdict"]),
    )


def band_agreements(results_dir: Path, cases: Sequence[BandCase]) -> Iterator[BandAgreement]:
    """Yield what hashing was expected to give and gave; seeds that are not stored do not count."""
    for case in cases:
        scenario = case.scenario
        last = {run.seed: run for run in stored_runs(results_dir, scenario) if run.seed in scenario.seeds}
        seeds = sorted(last) or list(scenario.seeds)
        expected = scenario_expectation(scenario, runs=len(seeds))
        assert expected is not None, f"{scenario.name}: nothing is expected of a ring under ecmp"
        found = [one.efficiency for one in outcomes([Case(scenario, "ecmp", seed) for seed in seeds])]
        summaries = [run.summary for run in last.values() if run.summary is not None]
        known = [one for one in summaries if one["predicted_efficiency"] is not None]
        allowed = [one["predicted_efficiency"] for one in known]
        ratios = paired([log(one["efficiency"] / one["predicted_efficiency"]) for one in known])
        yield BandAgreement(
            case=case,
            seeds=len(seeds),
            low=expected.efficiency.low,
            high=expected.efficiency.high,
            predicted=fmean(found),
            allowed=fmean(allowed) if allowed else None,
            measured=fmean(one["efficiency"] for one in summaries) if summaries else None,
            of_allowed=None if ratios is None else ratios.interval(),
            valid=sum(one["verdict"] == Level.VALID.value for one in summaries),
        )
