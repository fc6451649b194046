from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pytest
from machines import GOOD

from testbed.cli import doctor
from testbed.cli.doctor import UNTRIED, Switching
from testbed.system.machine import Machine

FAST = Switching(crossings_per_s=300_000.0)


def run(monkeypatch: pytest.MonkeyPatch, machine: Machine, *argv: str, switching: Switching = FAST) -> int:
    monkeypatch.setattr(doctor, "inspect_machine", lambda _results: machine)
    monkeypatch.setattr(doctor, "try_switching", lambda _machine: switching)
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args(argv))


def states(machine: Machine, switching: Switching = FAST) -> dict[str, str]:
    return {finding.what: finding.state for finding in doctor.findings(machine, switching)}


def test_good_machine_exits_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, GOOD) == 0
    assert "Runs are possible" in capsys.readouterr().out


def test_lack_exits_2_and_says_what_to_do_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, replace(GOOD, uid=1000, capsule_tried=False, qdiscs=None)) == 2
    assert "expected uid 0; use sudo" in capsys.readouterr().err


def test_json_is_one_document_with_everything_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, replace(GOOD, results_free_bytes=0), "--json") == 2
    document = json.loads(capsys.readouterr().out)
    assert document["runs_possible"] is False
    assert [problem["what"] for problem in document["problems"]] == ["disk nearly full"]
    assert document["machine"]["datapath"] == "userspace"
    # 66,000 / (16 x 1.5 x 3) = 916.7 frames/s x 9014 B x 8 = 66.1 Mbit/s
    assert {"hosts": 16, "mtu_bytes": 9000, "limit": 66.1} in document["host_rate_limit_mbps"]


def test_every_lack_has_a_remedy() -> None:
    bare = replace(
        GOOD,
        uid=1000,
        cores=1,
        memory_available_bytes=10**9,
        capsule_error="refused",
        tun=False,
        qdiscs=dict.fromkeys(GOOD.qdiscs or {}, False),
        congestion_controls=(),
        tools=tuple(replace(tool, path=None, version=None) for tool in GOOD.tools),
        results_free_bytes=0,
    )
    lacking = [
        finding
        for finding in doctor.findings(bare, Switching(error="refused"))
        if finding.state in ("missing", "limited")
    ]
    assert len(lacking) >= len(GOOD.tools) + 10
    assert all(finding.remedy for finding in lacking)


def test_missing_delay_emulation_limits_but_does_not_prevent_runs() -> None:
    found = states(replace(GOOD, qdiscs={"tbf": True, "htb": True, "netem": False, "red": False}))
    assert (found["queue netem"], found["queue red"], found["queue tbf"]) == ("limited", "limited", "ok")


def test_untried_things_are_unknown_rather_than_missing() -> None:
    found = states(replace(GOOD, uid=1000, capsule_tried=False, qdiscs=None))
    assert (found["run capsule"], found["queue tbf"], found["user"]) == ("unknown", "unknown", "missing")
    assert states(GOOD, UNTRIED)["switching"] == "unknown"


def test_slow_machine_gets_lower_limits_and_the_advice_to_use_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = Switching(crossings_per_s=117_500)  # half of the reference's 235,000
    assert states(GOOD, slow)["switching"] == "limited"
    assert run(monkeypatch, GOOD, "--json", switching=slow) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"hosts": 16, "mtu_bytes": 9000, "limit": 33.1} in document["host_rate_limit_mbps"]


def test_switches_that_pass_nothing_mean_no_run_is_possible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, GOOD, switching=Switching(error="ovs-vswitchd: exit status 1")) == 2
    assert "no frame gets through" in capsys.readouterr().err
