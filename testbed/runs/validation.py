"""The model's cases run and read back from what is stored: predictions beside measurements.

What is stored may be a stranger's: numbers are taken by ``number_in``, which says so where one is none. A run without a
number for what is asked, or that took no time at all, has not measured it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

from testbed.evaluation.records import LEAST_S
from testbed.fidelity.verdict import Level
from testbed.fluid.case import Case, problems
from testbed.fluid.predict import Outcome, expect, outcomes
from testbed.fluid.validation import WITHIN, Agreement, BandAgreement, BandCase, OfAllowed, ValidationCase
from testbed.inference.median import median_interval
from testbed.model.oracle import scenario_expectation
from testbed.model.question import question_of
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.results.checks import number_in
from testbed.results.listing import list_runs
from testbed.results.run import Run, load
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
    """Yield prediction and measurement of every case; of several runs the one with the median time, the later of two.

    All count, or whoever makes one again until it agrees would have agreement.
    """
    for case in cases:
        (predicted,) = outcomes([Case(case.scenario, case.scheme, case.seed)])
        runs = [
            run for run in stored_runs(results_dir, case.scenario) if (run.scheme, run.seed) == (case.scheme, case.seed)
        ]
        timed = sorted((seconds, index) for index, run in enumerate(runs) if (seconds := _measured_s(run)) is not None)
        middle = runs[timed[len(timed) // 2][1]] if timed else (runs[-1] if runs else None)
        what = f"{case.what} (median of {len(timed)})" if len(timed) > 1 else case.what
        found = _agreement(what, predicted, case.scheme, middle)
        yield replace(found, is_bound=are_bounds, within=within)


def reference_agreements(results_dir: Path) -> Iterator[Agreement]:
    """Yield prediction and measurement of every stored run that the model is for, of any scenario."""
    names = sorted(path.name for path in results_dir.iterdir() if path.is_dir()) if results_dir.is_dir() else []
    for name in names:
        for path in list_runs(results_dir, name).finished:
            run = load(path)
            asked = run.scenario.model_copy(update={"schemes": (run.scheme,)})
            if run.program is not None or _measured_s(run) is None or problems(asked):
                continue
            if run.summary is not None and run.summary["verdict"] != Level.INVALID.value:
                (predicted,) = outcomes([Case(asked, run.scheme, run.seed)])
                yield _agreement(f"{name}, {bytes_to_text(asked.workload.size_bytes)}", predicted, run.scheme, run)


def _agreement(what: str, predicted: Outcome, scheme: str, run: Run | None) -> Agreement:
    return Agreement(
        what=what,
        scheme=scheme,
        seed=predicted.seed,
        predicted_s=predicted.time_s,
        predicted_efficiency=predicted.efficiency,
        measured_s=None if run is None else _measured_s(run),
        measured_efficiency=None if run is None else _number(run, "efficiency"),
        verdict=None if run is None or run.summary is None else str(run.summary["verdict"]),
    )


def _measured_s(run: Run) -> float | None:
    found = _number(run, "completion_s")
    return None if found is None or found < LEAST_S else found


def _number(run: Run, key: str) -> float | None:
    """Return a number of a run's summary. Raises ResultsError when it is none."""
    return None if run.summary is None else number_in(run.summary, (key,), str(run.path / "summary.json"))


def band_agreements(results_dir: Path, cases: Sequence[BandCase]) -> Iterator[BandAgreement]:
    """Yield what hashing was expected to give and gave; seeds that are not stored do not count."""
    for case in cases:
        scenario = case.scenario
        last = {
            run.seed: run
            for run in stored_runs(results_dir, scenario)
            if run.seed in scenario.seeds and _number(run, "efficiency") is not None
        }
        seeds = sorted(last) or list(scenario.seeds)
        expected = scenario_expectation(scenario, runs=len(seeds))
        assert expected is not None, f"{scenario.name}: nothing is expected of a ring under ecmp"
        model = expect(override(scenario, {"seeds": seeds}), "ecmp")
        numbers = [(_number(run, "efficiency"), _number(run, "predicted_efficiency")) for run in last.values()]
        measured = [efficiency for efficiency, _allowed in numbers if efficiency is not None]
        allowed = [number for _efficiency, number in numbers if number is not None]
        ratios = [efficiency / number for efficiency, number in numbers if efficiency is not None and number]
        yield BandAgreement(
            case=case,
            seeds=len(seeds),
            low=expected.efficiency.low,
            high=expected.efficiency.high,
            modelled=(model.band.low, model.band.high),
            predicted=fmean(one.efficiency for one in model.own),
            allowed=fmean(allowed) if allowed else None,
            measured=fmean(measured) if measured else None,
            of_allowed=OfAllowed(median(ratios), median_interval(ratios), min(ratios)) if ratios else None,
            valid=sum(run.summary is not None and run.summary["verdict"] == Level.VALID.value for run in last.values()),
        )
