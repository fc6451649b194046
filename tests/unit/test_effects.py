"""Settings that nothing sees: refused where they are asked for, said where a scenario has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gse_command import Gse, assert_refused

from testbed.model.effects import idle_settings, sees, untouched
from testbed.model.scenario import SCHEMES, Scenario
from testbed.model.scenario_input import override

NAME = "allreduce_ring"
WITH_AGENTS = ("gse2-n2n", "gse2-e2e", "spray", "flowlet", "uet")


@pytest.mark.parametrize(
    ("field", "seen_by"),
    [
        ("gsp.hello_ms", WITH_AGENTS),  # ecmp-agents forwards untouched
        ("gsp.flowlet_gap_ms", ("flowlet",)),
        ("gsos.hold_s", ("gse1",)),
        ("gsos.restore_hold_s", ("gse1",)),
        ("gsos.poll_interval_s", SCHEMES),
        ("gsos.repair", SCHEMES),  # with the scenario it is said who cannot honour it
        ("workload.size_bytes", SCHEMES),
        ("fabric.spines", SCHEMES),
    ],
)
def test_who_sees_a_setting(field: str, seen_by: tuple[str, ...]) -> None:
    assert tuple(scheme for scheme in SCHEMES if sees(field, scheme)) == tuple(seen_by)
    assert set(untouched(field, SCHEMES)) == set(SCHEMES) - set(seen_by)


def idle(**changes: object) -> list[str]:
    found = idle_settings(override(Scenario(name="x"), {k.replace("__", "."): v for k, v in changes.items()}))
    return [problem.where for problem in found]


def test_only_what_differs_from_the_default_and_nobody_sees_is_idle() -> None:
    assert idle() == []
    assert idle(gsp__hello_ms=40.0) == ["scenario x: gsp.hello_ms"]  # ecmp and gse1
    assert idle(gsp__hello_ms=20.0) == []
    assert idle(gsp__hello_ms=40.0, schemes=["ecmp", "gse2-n2n"]) == []
    assert idle(gsos__hold_s=5.0, schemes=["ecmp", "gse2-n2n"]) == ["scenario x: gsos.hold_s"]
    assert idle(gsos__hold_s=5.0) == []


def test_rates_are_authorised_of_announced_flows_only() -> None:
    assert idle(gsos__authorise=True) == []
    assert idle(gsos__authorise=True, workload__announce=False) == ["scenario x: gsos.authorise"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["check", NAME, "--set", "gsp.hello_ms=40"], ["gsp.hello_ms: a setting without effect", "ecmp, gse1"]),
        (["run", NAME, "--schemes", "ecmp", "--set", "gsos.hold_s=3"], ["gsos.hold_s: a setting", "scheme gse1"]),
        (["run", NAME, "--schemes", "gse2-n2n", "--set", "gsp.flowlet_gap_ms=3"], ["scheme flowlet"]),
        (["exec", NAME, "--scheme", "gse1", "--set", "gsos.authorise=true", "--", "true"], ["nobody announces"]),
        (["exec", NAME, "--scheme", "ecmp", "--set", "gsp.hello_ms=40", "--", "true"], ["a setting without effect"]),
        (
            ["sweep", NAME, "--over", "fabric.spines=2,4", "--set", "gsp.hello_ms=40"],
            ["gsp.hello_ms: a setting without effect"],
        ),
        (
            ["sweep", NAME, "--over", "gsos.hold_s=1,2", "--schemes", "ecmp,gse2-n2n"],
            ["--over gsos.hold_s: no scheme sees this setting; got schemes ecmp, gse2-n2n, expected scheme gse1"],
        ),
    ],
)
def test_asked_for_it_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str], said: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert_refused(Gse(capsys)(*command), *said)


def test_a_setting_that_some_scheme_sees_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mixed.json"
    fields = {"name": "mixed", "schemes": ["ecmp", "gse2-n2n"], "gsp": {"hello_ms": 40.0}}
    file.write_text(json.dumps(fields))
    answer = Gse(capsys)("check", str(file))
    assert (answer.status, answer.err) == (0, "")


def test_what_a_scenario_has_for_other_schemes_is_said_and_not_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"name": "mine", "schemes": ["ecmp", "gse1"], "gsp": {"hello_ms": 40.0}}))
    answer = Gse(capsys)("check", str(file))
    assert answer.status == 0
    assert "note: scenario mine: gsp.hello_ms: a setting without effect; got 40.0 with schemes ecmp, gse1" in answer.err
