"""What a stored run says of its verdict, its tries and its numbers is checked wherever it is read."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ResultsError, ScenarioError
from testbed.evaluation.records import LEAST_MEASURED, MOST_MEASURED
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override, parse_scenario
from testbed.model.sweep import sweep_of
from testbed.results.checks import checks_problems, number_in, tries_problems, verdict_problems
from testbed.results.sweeps import StoredSweep, create_sweep

GOOD = {"verdict": "SUSPECT", "reasons": ["why"], "checks": ["steal"]}


def test_what_runs_say_is_accepted() -> None:
    assert list(verdict_problems(GOOD, "x")) == []
    assert list(verdict_problems({**GOOD, "verdict": "VALID", "reasons": [], "checks": []}, "x")) == []
    assert list(tries_problems({"earlier_tries": ["20260102T030405Z-gse1-seed1-0123456.disturbed"]}, "x")) == []
    assert list(tries_problems({}, "x")) == []
    assert list(checks_problems({}, "x")) == []  # of old runs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "GREAT"}, "x: verdict: not valid; got 'GREAT', expected one of VALID, SUSPECT, INVALID"),
        ({"verdict": None}, "x: verdict: not valid; got None"),
        ({"verdict": ["VALID"]}, "x: verdict: not valid; got a value of type list"),
        ({"reasons": "why"}, "x: reasons: not valid; got 'why', expected a list of texts"),
        ({"reasons": [1]}, "x: reasons: not valid; got a value of type list"),
        ({"checks": 7}, "x: checks: not valid; got 7, expected a list of names of checks"),
        ({"checks": {"steal": 1}}, "x: checks: not valid; got a value of type dict"),
        ({"checks": None}, "x: checks: not valid; got None"),
    ],
)
def test_what_no_run_says_is_refused(changes: dict[str, Any], said: str) -> None:
    (problem,) = verdict_problems({**GOOD, **changes}, "x")
    assert str(problem).startswith(said)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(list(verdict_problems({"checks": 1}, "x"))) == 3


@pytest.mark.parametrize("tries", [7, None, "a", ["../x"], ["a/b"], [""], [["a"]], [1], {"a": 1}, [".hidden"]])
def test_tries_are_names_of_folders_beside_the_run(tries: object) -> None:
    (problem,) = tries_problems({"earlier_tries": tries}, "x")
    assert problem.where == "x: earlier_tries"


@pytest.mark.parametrize("value", [0, 0.0, LEAST_MEASURED, MOST_MEASURED, 1, 0.5, int(MOST_MEASURED)])
def test_numbers_come_as_they_are(value: float) -> None:
    assert number_in({"a": {"b": value}}, ("a", "b"), "x") == value


@pytest.mark.parametrize("summary", [{}, {"a": None}, {"a": 7}, {"a": [1]}, {"a": {"b": None}}])
def test_what_is_not_there_was_not_measured(summary: dict[str, Any]) -> None:
    assert number_in(summary, ("a", "b"), "x") is None


@pytest.mark.parametrize(
    "value", [-1, True, "1", [1], 1e-320, LEAST_MEASURED / 2, MOST_MEASURED * 2, 10**400, float("nan"), float("inf")]
)
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(
        ResultsError, match=r"x: a\.b: not valid; got .*, expected 0, a number from 1e-18 to 1e\+18, or n"
    ):
        number_in({"a": {"b": value}}, ("a", "b"), "x")


def stored(tmp_path: Path, **files: dict[str, Any]) -> StoredSweep:
    """Return a sweep whose first run says what is in the files."""
    sweep = sweep_of(Scenario(name="synthetic"), "fabric.spines", [2, 4], settings={"schemes": ["gse1"], "seeds": [1]})
    found = create_sweep(tmp_path, sweep, datetime(2026, 1, 2, tzinfo=timezone.utc))
    for index in range(len(found.runs)):
        folder = found.runs_dir / f"run{index}"
        folder.mkdir()
        for name in ("summary", "manifest"):
            (folder / f"{name}.json").write_text(json.dumps(files.get(name, {}) if index == 0 else {}))
        found = found.with_run(index, folder.name, None)
    return found


def test_a_sweep_looks_at_checks_and_tries_of_its_runs(tmp_path: Path) -> None:
    good = stored(tmp_path / "good", summary={"checks": ["steal"]}, manifest={"earlier_tries": ["a.disturbed"]})
    assert (good.to_make(1), good.to_make(2)) == ((), (0,))
    for number, checks in enumerate((7, [["steal"]], [1])):
        with pytest.raises(ResultsError, match=r"run0/summary\.json: checks: not valid"):
            stored(tmp_path / f"checks{number}", summary={"checks": checks}).to_make(1)
    for number, tries in enumerate((7, [1], ["../../etc"])):
        with pytest.raises(ResultsError, match=r"run0/manifest\.json: earlier_tries: not valid"):
            wrong = {"earlier_tries": tries}
            stored(tmp_path / f"tries{number}", summary={"checks": ["steal"]}, manifest=wrong).to_make(1)


# --- numbers of scenarios -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fabric.link_rate_mbps", 5e-324),
        ("fabric.host_rate_mbps", 1e-13),
        ("measure.sample_interval_s", 1e-300),
        ("gsp.pacing", 1e-300),
        ("background", [{"src": "h1", "dst": "h5", "rate_mbps": 1e308}]),
    ],
)
def test_numbers_nothing_can_be_reckoned_with_are_refused_in_scenarios(field: str, value: object) -> None:
    section, _, name = field.partition(".")
    with pytest.raises(ScenarioError, match=r"too large or too small a number|greater than or equal to"):
        parse_scenario({"name": "x", section: {name: value} if name else value}, source="x")


@given(st.floats(1e-12, 100_000))
def test_any_other_rate_is_one(rate_mbps: float) -> None:
    assert override(Scenario(name="x"), {"fabric.link_rate_mbps": rate_mbps}).fabric.link_rate_mbps == rate_mbps
