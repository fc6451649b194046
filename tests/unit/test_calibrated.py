"""What a machine was found to carry: searched for, kept, held against what is asked for, and scaled to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gse_command import Gse
from hypothesis import given
from hypothesis import strategies as st
from machines import GOOD

import testbed.cli.run
import testbed.results.calibration
from testbed.cli import doctor
from testbed.cli.doctor import Switching
from testbed.cli.limits import at_carried_rates, calibration_words, limit_for
from testbed.cli.sweep import not_carried
from testbed.errors import MachineError
from testbed.model.calibrated import Carried, carried_crossings_per_s, exceeded, highest, nearest
from testbed.model.capacity import crossings_per_s
from testbed.model.oracle import pattern_ideal
from testbed.model.pattern import ring
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.sweep import sweep_of
from testbed.model.topology import Topology
from testbed.results.calibration import Calibration, load_calibration, store_calibration
from testbed.runs.calibration import KINDS, RATES_MBPS, Kind, find_out
from testbed.runs.campaign import Campaign, Outcome, RunPlan
from testbed.system.machine import check_scenario

DEFAULT = Scenario(name="x")
MACHINE = GOOD.to_json()


def carried(attachment: Any, hosts: int, mtu_bytes: int, limit: float) -> Carried:
    return Carried(
        attachment=attachment, hosts=hosts, mtu_bytes=mtu_bytes, rate_mbps=20.0, crossings_per_s=limit, beyond_mbps=30.0
    )


FOUND = (
    carried("none", 4, 9000, 60_000.0),
    carried("none", 16, 9000, 50_000.0),
    carried("none", 16, 1500, 40_000.0),
    carried("leaf", 16, 9000, 22_000.0),
)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Keep what is found in a folder of the test's own."""
    path = tmp_path / "calibration.json"
    monkeypatch.setattr(testbed.results.calibration, "calibration_path", lambda: path)
    yield path


# --- searched for -----------------------------------------------------------------------------------------


@given(st.lists(st.floats(1, 1000), unique=True, max_size=20).map(sorted), st.floats(0, 1100))
def test_the_highest_rate_is_found_and_each_is_tried_once_at_most(rates: list[float], most: float) -> None:
    tried: list[float] = []

    def carries(rate: float) -> bool:
        tried.append(rate)
        return rate <= most

    good, bad = highest(rates, carries)
    assert good == max((rate for rate in rates if rate <= most), default=None)
    assert bad == min((rate for rate in rates if rate > most), default=None)
    assert len(set(tried)) == len(tried) <= len(rates).bit_length()


def test_a_run_of_every_kind_lasts_some_seconds_and_all_places_of_agents_are_tried() -> None:
    assert {kind.carried(10.0, 15.0).attachment for kind in KINDS} == {"none", "leaf", "host"}
    for kind in KINDS:
        for rate_mbps in RATES_MBPS:
            scenario = kind.scenario(rate_mbps)
            topology = Topology(scenario.fabric)
            hosts = place_ranks(topology, scenario.ranks, scenario.workload.placement, Random(1))
            took_s = pattern_ideal(topology, hosts, ring(len(hosts)), scenario.workload.size_bytes).ideal_s
            assert took_s < 15, (kind, rate_mbps)
            assert took_s > 4 or scenario.workload.size_bytes == 16 << 20, (kind, rate_mbps)


def test_rates_are_tried_by_runs_and_one_that_is_not_valid_is_not_carried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind = Kind("gse2-n2n", 2, 2, 2, 9000)
    verdicts = {True: "VALID", False: "SUSPECT"}

    def run(campaign: Campaign) -> Iterator[Outcome]:
        assert campaign.repeats and campaign.scenario.name == "calibration"
        verdict = verdicts[campaign.scenario.fabric.link_rate_mbps <= 40]
        yield Outcome(RunPlan("gse2-n2n", 1), Path("x"), summary={"verdict": verdict, "checks": []})

    monkeypatch.setattr(Campaign, "run", run)
    told: list[tuple[float, str]] = []
    (found,) = find_out(GOOD, tmp_path, lambda _kind, rate, outcome: told.append((rate, outcome.verdict)), (kind,))
    assert (found.attachment, found.hosts, found.rate_mbps, found.beyond_mbps) == ("leaf", 4, 40.0, 60.0)
    assert found.crossings_per_s == pytest.approx(crossings_per_s(kind.scenario(40.0)))
    assert (40.0, "VALID") in told and (60.0, "SUSPECT") in told
    assert all(not check_scenario(kind.scenario(rate), GOOD) for rate, _verdict in told)
    verdicts[True] = "INVALID"
    (found,) = find_out(GOOD, tmp_path, lambda *_told: None, (kind,))
    assert (found.rate_mbps, found.crossings_per_s, found.beyond_mbps) == (None, 0.0, RATES_MBPS[0])


def test_a_full_disk_ends_the_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = Outcome(RunPlan("gse1", 1), tmp_path, error="No space left on device", exit_status=2)
    monkeypatch.setattr(Campaign, "run", lambda _campaign: iter([full]))
    with pytest.raises(MachineError, match="No space left on device"):
        list(find_out(GOOD, tmp_path, lambda *_told: None))


# --- kept -------------------------------------------------------------------------------------------------


def test_what_was_found_is_kept_for_this_machine_as_it_is(kept: Path) -> None:
    assert load_calibration(MACHINE) is None
    calibration = Calibration("2026-01-02T03:04:05+00:00", "0123456789", FOUND)
    assert store_calibration(calibration, MACHINE) == kept
    assert load_calibration(MACHINE) == calibration
    for other in ({"cpu": "another"}, {"cores": 4}, {"kernel": "6.2"}, {"datapath": "kernel"}):
        assert load_calibration({**MACHINE, **other}) is None
    assert load_calibration({**MACHINE, "memory_available_bytes": 1}) == calibration


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"format_version": 1}',
        {"crossings_per_s": "many"},
        {"crossings_per_s": -1},
        {"crossings_per_s": 10**400},
        {"hosts": 0},
        {"hosts": True},
        {"rate_mbps": float("nan")},
        {"attachment": "moon"},
        {"attachment": ["leaf"]},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_read_is_none(kept: Path, broken: bytes | dict[str, Any]) -> None:
    store_calibration(Calibration("now", None, FOUND[:1]), MACHINE)
    if isinstance(broken, bytes):
        kept.write_bytes(broken)
    else:
        document = json.loads(kept.read_text())
        document["found"][0].update(broken)
        kept.write_text(json.dumps(document))
    assert load_calibration(MACHINE) is None


# --- held against what is asked for ------------------------------------------------------------------------


def test_the_kind_of_run_most_like_it_counts_and_the_least_of_all_schemes() -> None:
    mtu_1500 = override(DEFAULT, {"fabric.mtu_bytes": 1500})
    small = override(DEFAULT, {"fabric.leaves": 2, "fabric.hosts_per_leaf": 2})
    assert nearest(FOUND, DEFAULT, "ecmp") == FOUND[1]
    assert nearest(FOUND, mtu_1500, "gse1") == FOUND[2]
    assert nearest(FOUND, small, "gse1") == FOUND[0]
    assert nearest(FOUND, mtu_1500, "gse2-n2n") == FOUND[3]  # the only one with agents in leaves
    assert nearest(FOUND, DEFAULT, "gse2-e2e") is None
    limits = {
        schemes: carried_crossings_per_s(FOUND, override(DEFAULT, {"schemes": schemes.split(",")}))
        for schemes in ("ecmp,gse1", "ecmp,gse2-n2n", "ecmp,gse2-e2e")
    }
    assert limits == {"ecmp,gse1": 50_000, "ecmp,gse2-n2n": 22_000, "ecmp,gse2-e2e": None}


def test_only_more_than_was_carried_is_said() -> None:
    def at(rate_mbps: float) -> Scenario:
        return override(DEFAULT, {"fabric.link_rate_mbps": rate_mbps, "schemes": ["gse1", "gse2-n2n"]})

    assert exceeded(FOUND, at(20.0)) is None  # 20,929
    assert exceeded(FOUND, at(25.0)) == 22_000  # 25,921
    assert exceeded((), at(25.0)) is None


def test_rates_are_lowered_to_what_is_carried_and_that_is_told(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast = override(DEFAULT, {"fabric.link_rate_mbps": 100.0, "fabric.uplink_rate_mbps": 80.0, "schemes": ["gse1"]})
    fast = override(fast, {"background": [{"src": "h1", "dst": "h5", "rate_mbps": 10.0}]})
    by_kind = at_carried_rates(fast, GOOD)
    assert limit_for(fast, GOOD).crossings_per_s == GOOD.ceiling_crossings_per_s
    assert "all rates x " in capsys.readouterr().err and check_scenario(by_kind, GOOD) == []
    store_calibration(Calibration("2026-01-02", None, FOUND), MACHINE)
    slower = at_carried_rates(fast, GOOD)
    said = capsys.readouterr().err
    assert slower.fabric.link_rate_mbps < by_kind.fabric.link_rate_mbps < 100
    assert crossings_per_s(slower) <= 50_000 and list(calibration_words(slower, GOOD)) == []
    factor = slower.fabric.link_rate_mbps / 100
    assert slower.fabric.uplink_rate_mbps == pytest.approx(80 * factor)
    assert slower.background[0].rate_mbps == pytest.approx(10 * factor)
    assert f"rates x {factor:g}, host links {100 * factor:g} instead of 100 Mbit/s; 50,000" in said
    assert "calibrated (2026-01-02)" in said
    assert at_carried_rates(DEFAULT, GOOD) == DEFAULT and "they fit" in capsys.readouterr().err


def test_runs_are_told_of_what_was_not_carried(kept: Path) -> None:
    asked = override(DEFAULT, {"fabric.link_rate_mbps": 30.0, "schemes": ["gse2-n2n"]})
    assert list(calibration_words(asked, GOOD)) == []
    store_calibration(Calibration("2026-01-02", None, FOUND), MACHINE)
    (said,) = calibration_words(asked, GOOD)
    assert "22,000 were carried" in said and "--auto-rate" in said
    assert list(calibration_words(asked, replace(GOOD, cores=8))) == []  # found on another machine


def test_auto_rate_reaches_the_runs(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store_calibration(Calibration("2026-01-02", None, FOUND), MACHINE)
    rates: list[float] = []

    def run_scenario(scenario: Scenario, _args: argparse.Namespace, *, json_only: bool) -> list[Outcome]:
        assert not json_only
        rates.append(scenario.fabric.link_rate_mbps)
        return []

    monkeypatch.setattr(testbed.cli.run, "inspect_machine", lambda _results: GOOD)
    monkeypatch.setattr(testbed.cli.run, "run_scenario", run_scenario)
    command = ("run", "allreduce_ring", "--schemes", "gse2-n2n", "--set", "fabric.link_rate_mbps=100")
    command = (*command, "--results", str(tmp_path))
    gse = Gse(capsys)
    assert gse(*command).status == 0
    answer = gse(*command, "--auto-rate")
    assert answer.status == 0 and "gse: --auto-rate: all rates x 0.21" in answer.err  # (22,000 - 960) / 99,845
    assert rates == [100.0, pytest.approx(21.0)]


# --- the doctor --------------------------------------------------------------------------------------------


def examine(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setattr(doctor, "inspect_machine", lambda _results: GOOD)
    monkeypatch.setattr(doctor, "try_switching", lambda _machine: Switching(crossings_per_s=300_000.0))
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args(argv))


def test_the_doctor_calibrates_keeps_and_shows(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("require_root", "prepare_fabric"):
        monkeypatch.setattr(doctor, name, lambda _what: None)
    monkeypatch.setattr(doctor, "tell_of_others", lambda: None)

    def found(_machine: object, _results: Path, on_run: Any) -> Iterator[Carried]:
        summary = {"verdict": "SUSPECT", "checks": ["switch_wait"]}
        on_run(KINDS[0], 60.0, Outcome(RunPlan("gse1", 1), Path("x"), summary=summary))
        yield from FOUND

    monkeypatch.setattr(doctor, "find_out", found)
    assert examine(monkeypatch) == 0
    assert "Not calibrated" in capsys.readouterr().out
    assert examine(monkeypatch, "--calibrate", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["calibration"]["found"] == [asdict(one) for one in FOUND]
    assert "gse1, 2x2x2, MTU 1500, 60 Mbit/s: SUSPECT (switch_wait)" in said.err and str(kept) in said.err
    assert examine(monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "20 (30)" in shown and "agents in hosts" in shown and "Not calibrated" not in shown


def test_a_machine_that_lacks_something_is_not_calibrated(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "inspect_machine", lambda _results: replace(GOOD, results_free_bytes=0))
    monkeypatch.setattr(doctor, "try_switching", lambda _machine: Switching())
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    with pytest.raises(MachineError, match="disk nearly full"):
        doctor.run(parser.parse_args(["--calibrate"]))
    assert not kept.exists()


def test_sweeps_are_told_at_which_values(kept: Path) -> None:
    sweep = sweep_of(DEFAULT, "fabric.link_rate_mbps", [10.0, 30.0, 60.0], settings={"schemes": ["gse2-n2n"]})
    assert not_carried(sweep, GOOD) == []
    store_calibration(Calibration("2026-01-02", None, FOUND), MACHINE)
    (said,) = not_carried(sweep, GOOD)
    assert said.startswith("fabric.link_rate_mbps=30") and said.endswith("at 2 of 3 values")
