"""What a machine was found to carry: searched for, kept, held against what is asked for, and scaled to."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gse_command import Gse, assert_refused
from hypothesis import given
from hypothesis import strategies as st
from machines import GOOD

import testbed.cli.exec
import testbed.cli.run
import testbed.cli.sweep
import testbed.results.calibration
from testbed.cli import doctor
from testbed.cli.doctor import Switching
from testbed.cli.limits import at_carried_rates, calibration_words, limit_for, sweep_at_carried_rates
from testbed.cli.sweep import not_carried
from testbed.errors import MachineError, ResultsError
from testbed.files import write_together
from testbed.model.calibrated import Carried, exceeded, highest, nearest, tightest
from testbed.model.capacity import crossings_per_s, need
from testbed.model.oracle import pattern_ideal
from testbed.model.pattern import ring
from testbed.model.ranks import place_ranks
from testbed.model.rates import is_rate
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.sweep import Sweep, sweep_of
from testbed.model.topology import Topology
from testbed.results.calibration import MOST_MACHINES, Calibration, check_place, load_calibration, store_found
from testbed.results.lock import held
from testbed.results.sweeps import StoredSweep, create_sweep, load_sweep
from testbed.runs.calibration import KINDS, RATES_MBPS, Found, Kind, expected_s, find_out, kinds_left
from testbed.runs.campaign import Campaign, Outcome, RunPlan
from testbed.system.machine import check_scenario

DEFAULT = Scenario(name="x")
MACHINE = GOOD.to_json()


def carried(attachment: Any, hosts: int, mtu_bytes: int, limit: float) -> Carried:
    kind = {"attachment": attachment, "hosts": hosts, "mtu_bytes": mtu_bytes}
    when = {"made_utc": "2026-01-02T03:04:05+00:00", "commit": "0123456789"}
    return Carried(**kind, rate_mbps=20.0, crossings_per_s=limit, beyond_mbps=30.0, **when)


FOUND = (
    carried("none", 4, 9000, 60_000.0),
    carried("none", 16, 9000, 50_000.0),
    carried("none", 16, 1500, 40_000.0),
    carried("leaf", 16, 9000, 22_000.0),
)
BEGUN = "2026-01-02T00:00:00+00:00"
CALIBRATION = Calibration(BEGUN, FOUND)


def store_calibration(calibration: Calibration, machine: dict[str, Any]) -> Path:
    """Keep a calibration kind by kind, as it is found; return where."""
    known, path = Calibration(calibration.begun_utc), Path()
    for one in calibration.found:
        path, known = store_found(one, known, machine)
    return path


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
    assert len(set(tried)) == len(tried) <= (len(rates) if good is None else len(rates).bit_length())


@given(st.integers(1, 20), st.data())
def test_that_nothing_is_carried_is_said_when_all_below_the_first_were_tried(number: int, data: st.DataObject) -> None:
    """The lowest rates may have something against them that is no matter of the machine."""
    rates = [float(rate) for rate in range(1, number + 1)]
    carried_ones = data.draw(st.sets(st.sampled_from(rates)))
    tried: list[float] = []

    def carries(rate: float) -> bool:
        tried.append(rate)
        return rate in carried_ones

    good, bad = highest(rates, carries)
    assert len(set(tried)) == len(tried)
    if good is None:
        assert bad == rates[0] and set(rates[: int(tried[0])]) == set(tried)
    else:
        assert good in tried and good in carried_ones
        assert bad is None or (bad in tried and bad not in carried_ones and bad == good + 1)


def test_a_run_of_every_kind_lasts_some_seconds_and_all_places_of_agents_are_tried() -> None:
    assert {kind.carried(10.0, 15.0).attachment for kind in KINDS} == {"none", "leaf", "host"}
    for kind in KINDS:
        for rate_mbps in RATES_MBPS:
            scenario = kind.scenario(rate_mbps)
            topology = Topology(scenario.fabric)
            hosts = place_ranks(topology, scenario.ranks, scenario.workload.placement, Random(1))
            took_s = pattern_ideal(topology, hosts, ring(len(hosts)), scenario.workload.size_bytes).ideal_s
            all_s = took_s * scenario.workload.iterations
            assert 4 < all_s < 28, (kind, rate_mbps)
            assert all_s < 9 or scenario.workload.size_bytes == scenario.ranks * 256 * 1024, (kind, rate_mbps)
            assert need(scenario).memory_bytes < 2.5e9, (kind, rate_mbps)


KIND = Kind("gse2-n2n", 2, 2, 2, 9000)
VALID, SUSPECT = ("VALID", ()), ("SUSPECT", ("switch_wait",))
DISTURBED = ("SUSPECT", ("switch_wait", "steal"))
NONE = ("FAILED", ())
Said = tuple[str, tuple[str, ...]]


@pytest.fixture
def runs_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Found, list[tuple[float, str]]]]:
    """Search with runs that say what a function of rate and seed does; return what was found, and every run."""

    def search(says: Callable[[float, int], Said], kind: Kind = KIND) -> tuple[Found, list[tuple[float, str]]]:
        def run(campaign: Campaign) -> Iterator[Outcome]:
            scenario = campaign.scenario
            assert campaign.repeats and scenario.name == "calibration" and scenario.schemes == (kind.scheme,)
            (seed,) = scenario.seeds
            verdict, checks = says(scenario.fabric.link_rate_mbps, seed)
            summary = {"verdict": verdict, "checks": list(checks)}
            plan = RunPlan(kind.scheme, seed)
            yield Outcome(plan, Path("x"), **({"error": "it broke"} if verdict == "FAILED" else {"summary": summary}))

        monkeypatch.setattr(Campaign, "run", run)
        told: list[tuple[float, str]] = []
        (found,) = find_out(GOOD, tmp_path, lambda _kind, rate, outcome: told.append((rate, outcome.verdict)), (kind,))
        return found, told

    return search


Search = Callable[..., tuple[Found, list[tuple[float, str]]]]


def test_rates_are_tried_by_runs_and_one_that_is_not_valid_is_not_carried(runs_say: Search) -> None:
    found, told = runs_say(lambda rate, _seed: VALID if rate <= 40 else SUSPECT)
    one = found.carried
    assert one is not None and found.doubt is None and not one.disturbed
    assert (one.attachment, one.hosts, one.rate_mbps, one.beyond_mbps) == ("leaf", 4, 40.0, 60.0)
    assert one.crossings_per_s == pytest.approx(crossings_per_s(KIND.scenario(40.0)))
    assert told.count((40.0, "VALID")) == 1 and told.count((60.0, "SUSPECT")) == 2
    assert all(not check_scenario(KIND.scenario(rate), GOOD) for rate, _verdict in told)


def test_where_no_run_is_valid_nothing_is_carried(runs_say: Search) -> None:
    found, told = runs_say(lambda _rate, _seed: ("INVALID", ("busy_cores",)))
    assert found.doubt is None and found.carried == KIND.carried(None, RATES_MBPS[0])
    assert found.carried.crossings_per_s == 0.0
    assert {rate for rate, _verdict in told} < set(RATES_MBPS)


@pytest.mark.parametrize(
    ("of_20", "runs", "carried"),
    [("V", 1, True), ("SS", 2, False), ("SVV", 3, True), ("SVS", 3, False), ("FVV", 3, True), ("FSx", 2, False)],
)
def test_one_run_that_is_not_valid_may_be_an_accident(runs_say: Search, of_20: str, runs: int, carried: bool) -> None:
    said = {"V": VALID, "S": SUSPECT, "F": NONE}

    def says(rate_mbps: float, seed: int) -> Said:
        return said[of_20[seed - 1]] if rate_mbps == 20 else VALID if rate_mbps < 20 else SUSPECT

    found, told = runs_say(says)
    assert found.carried is not None
    assert (found.carried.rate_mbps, found.carried.beyond_mbps) == ((20.0, 30.0) if carried else (15.0, 20.0))
    assert sum(rate == 20 for rate, _verdict in told) == runs


def test_what_others_did_is_no_answer(runs_say: Search) -> None:
    found, told = runs_say(lambda rate, _seed: VALID if rate <= 10 else DISTURBED)
    one = found.carried
    assert one is not None and one.disturbed and (one.rate_mbps, one.beyond_mbps) == (10.0, 15.0)
    assert found.doubt == "others disturbed every run at 15 Mbit/s" and told.count((15.0, "SUSPECT")) == 1
    found, _told = runs_say(lambda _rate, _seed: DISTURBED)
    assert found.carried is None and found.doubt == "others disturbed every run at 2.5 Mbit/s"
    found, _told = runs_say(lambda rate, _seed: DISTURBED if rate > 20 else VALID if rate < 10 else SUSPECT)
    assert found.carried is not None and not found.carried.disturbed and found.carried.beyond_mbps == 10.0


def test_where_runs_fail_at_every_rate_nothing_is_known(runs_say: Search) -> None:
    found, _told = runs_say(lambda _rate, _seed: NONE)
    assert found.carried is None and found.doubt is not None and found.doubt.startswith("runs fail at 2.5 Mbit/s")
    found, _told = runs_say(lambda rate, _seed: VALID if rate <= 40 else NONE)
    assert found.carried == KIND.carried(40.0, 60.0)


def test_a_kind_that_may_not_be_asked_for_at_all_is_not_known(tmp_path: Path) -> None:
    small = replace(GOOD, memory_available_bytes=10**9)
    (found,) = find_out(small, tmp_path, lambda *_told: None, [Kind("gse1", 4, 4, 4, 9000)])
    assert found.carried is None and found.doubt is not None and "more memory than this machine has" in found.doubt


def test_what_is_known_by_this_code_and_of_this_search_is_not_found_again() -> None:
    now = "2026-01-02T00:00:00+00:00"
    known = [replace(kind.carried(10.0, 15.0), made_utc=now, commit="c") for kind in KINDS]
    assert kinds_left([], "c", now) == KINDS
    assert kinds_left(known, "c", now) == ()
    assert kinds_left(known[1:], "c", now) == KINDS[:1]
    assert kinds_left(known[1:], "c", now, KINDS[1:]) == ()
    for other in ({"disturbed": True}, {"commit": None}, {"made_utc": "2026-01-01T23:59:59+00:00"}):
        assert kinds_left([replace(known[0], **other), *known[1:]], "c", now) == KINDS[:1]


def test_it_is_said_how_long_it_takes() -> None:
    assert 10 * 60 < expected_s(KINDS, GOOD) < 20 * 60  # as the help says, with what starting takes
    assert expected_s(KINDS[:1], GOOD) < expected_s(KINDS, GOOD) / 6
    assert expected_s(KINDS, replace(GOOD, memory_available_bytes=10**8)) == 0


def test_a_full_disk_ends_the_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = Outcome(RunPlan("gse1", 1), tmp_path, error="No space left on device", exit_status=2)
    monkeypatch.setattr(Campaign, "run", lambda _campaign: iter([full]))
    with pytest.raises(MachineError, match="No space left on device"):
        list(find_out(GOOD, tmp_path, lambda *_told: None))


# --- kept -------------------------------------------------------------------------------------------------


def test_what_was_found_is_kept_for_this_machine_as_it_is(kept: Path) -> None:
    check_place()
    assert load_calibration(MACHINE) is None and not list(kept.parent.iterdir())
    assert store_calibration(CALIBRATION, MACHINE) == kept
    assert load_calibration(MACHINE) == CALIBRATION
    newer = replace(GOOD, tools=tuple(replace(tool, version="2.0") for tool in GOOD.tools)).to_json()
    others = ({"cpu": "another"}, {"cores": 4}, {"kernel": "6.2"}, {"datapath": "kernel"}, {"python": "3.11.3"}, newer)
    for other in others:
        assert load_calibration({**MACHINE, **other}) is None
    assert load_calibration({**MACHINE, "memory_available_bytes": 1}) == CALIBRATION
    document = json.loads(kept.read_text())
    document["machines"][0]["found"] = []
    kept.write_text(json.dumps(document))
    assert load_calibration(MACHINE) is None
    assert list(kept.parent.iterdir()) == [kept]


OTHER = {**MACHINE, "cpu": "another"}


def test_machines_that_share_a_checkout_keep_each_others_kinds(kept: Path) -> None:
    store_calibration(CALIBRATION, MACHINE)
    theirs = Calibration("2026-02-03T00:00:00+00:00", FOUND[:1])
    store_calibration(theirs, OTHER)
    assert (load_calibration(MACHINE), load_calibration(OTHER)) == (CALIBRATION, theirs)
    for number in range(MOST_MACHINES - 1):  # one that is another one after each upgrade
        store_calibration(theirs, {**MACHINE, "kernel": f"9.{number}"})
    assert load_calibration(MACHINE) is None and load_calibration(OTHER) == theirs
    assert len(json.loads(kept.read_text())["machines"]) == MOST_MACHINES


def test_what_another_call_has_found_meanwhile_stays(kept: Path) -> None:
    """Both have begun with nothing: who wrote last erased what the other had found."""
    ours = theirs = Calibration(BEGUN)
    _path, ours = store_found(FOUND[0], ours, MACHINE)
    _path, theirs = store_found(FOUND[1], theirs, MACHINE)
    assert theirs.found == (FOUND[0], FOUND[1])
    anew = replace(FOUND[1], rate_mbps=10.0)
    _path, ours = store_found(anew, ours, MACHINE)
    assert ours.found == (FOUND[0], anew)
    assert load_calibration(MACHINE) == ours


def test_calls_at_once_lose_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(folder: Path, contents: dict[str, bytes]) -> list[Path]:
        time.sleep(0.03)
        return write_together(folder, contents)

    monkeypatch.setattr(testbed.results.calibration, "write_together", slowly)
    work = [(one, machine) for one in FOUND for machine in (MACHINE, OTHER)]
    threads = [threading.Thread(target=store_found, args=(one, Calibration(BEGUN), machine)) for one, machine in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for machine in (MACHINE, OTHER):
        calibration = load_calibration(machine)
        assert calibration is not None and set(calibration.found) == set(FOUND)
    assert list(kept.parent.iterdir()) == [kept]


def test_who_writes_for_too_long_is_named(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.results.calibration, "WAIT_S", 0.05)
    with held(kept.parent), pytest.raises(ResultsError, match="what machines carry is being written; got "):
        store_found(FOUND[0], CALIBRATION, MACHINE)
    assert not kept.exists()


def test_a_calibration_of_the_version_before_counts_and_stays(kept: Path) -> None:
    store_calibration(CALIBRATION, MACHINE)
    (entry,) = json.loads(kept.read_text())["machines"]
    kept.write_text(json.dumps({"format_version": 2, **entry}))
    assert load_calibration(MACHINE) == CALIBRATION and load_calibration(OTHER) is None
    store_calibration(Calibration(BEGUN, FOUND[:1]), OTHER)
    assert load_calibration(MACHINE) == CALIBRATION


def test_what_cannot_be_read_of_one_machine_does_not_cost_another_its_own(kept: Path) -> None:
    store_calibration(CALIBRATION, MACHINE)
    document = json.loads(kept.read_text())
    document["machines"] += [7, {}, {"machine": OTHER, "begun_utc": 1, "found": "x"}]
    kept.write_text(json.dumps(document))
    assert load_calibration(MACHINE) == CALIBRATION
    store_calibration(Calibration(BEGUN, FOUND[:1]), {**MACHINE, "cores": 64})
    assert load_calibration(MACHINE) == CALIBRATION


def test_what_is_found_replaces_what_was_found_of_its_kind() -> None:
    one = replace(FOUND[1], rate_mbps=10.0)
    assert CALIBRATION.with_one(one).found == (FOUND[0], *FOUND[2:], one)


def test_that_nothing_can_be_kept_is_said_before_anything_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(testbed.results.calibration, "calibration_path", lambda: tmp_path / "none" / "x.json")
    with pytest.raises(ResultsError, match="cannot keep what is found"):
        check_place()


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"format_version": 1}',
        b'{"format_version": 3}',
        b'{"format_version": 3, "machines": 7}',
        b'{"format_version": 3, "machines": {"a": 1}}',
        b"\xff",
        {"crossings_per_s": "many"},
        {"crossings_per_s": -1},
        {"crossings_per_s": 10**400},
        {"hosts": 0},
        {"hosts": True},
        {"rate_mbps": float("nan")},
        {"attachment": "moon"},
        {"attachment": ["leaf"]},
        {"hosts": 16.5},
        {"rate_mbps": None},
        {"beyond_mbps": 20.0},
        {"beyond_mbps": None, "rate_mbps": None, "crossings_per_s": 0.0},
        {"disturbed": None},
        {"made_utc": None},
        {"commit": 7},
        {"hosts": 16},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_read_is_none(kept: Path, broken: bytes | dict[str, Any]) -> None:
    store_calibration(Calibration(BEGUN, FOUND[:2]), MACHINE)
    assert load_calibration(MACHINE) is not None
    if isinstance(broken, bytes):
        kept.write_bytes(broken)
    else:
        document = json.loads(kept.read_text())
        document["machines"][0]["found"][0].update(broken)
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
        schemes: tightest(FOUND, override(DEFAULT, {"schemes": schemes.split(",")}))
        for schemes in ("ecmp,gse1", "ecmp,gse2-n2n", "ecmp,gse2-e2e")
    }
    assert limits == {"ecmp,gse1": FOUND[1], "ecmp,gse2-n2n": FOUND[3], "ecmp,gse2-e2e": None}


def test_where_the_highest_rate_that_was_tried_is_carried_no_limit_is_known(kept: Path) -> None:
    """The next rate of the ladder was too much for the kind of machine, whose word it is then."""
    highest_tried = replace(FOUND[1], beyond_mbps=None)
    asked = override(DEFAULT, {"fabric.link_rate_mbps": 65.0, "schemes": ["gse1"]})
    assert exceeded([FOUND[1]], asked) == FOUND[1] and exceeded([highest_tried], asked) is None
    store_calibration(Calibration(BEGUN, (highest_tried,)), MACHINE)
    limit = limit_for(asked, GOOD)
    assert limit.crossings_per_s == GOOD.ceiling_crossings_per_s and "doctor" not in limit.whose


def test_only_more_than_was_carried_is_said() -> None:
    def at(rate_mbps: float) -> Scenario:
        return override(DEFAULT, {"fabric.link_rate_mbps": rate_mbps, "schemes": ["gse1", "gse2-n2n"]})

    assert exceeded(FOUND, at(20.0)) is None  # 20,929
    assert exceeded(FOUND, at(25.0)) == FOUND[3]  # 25,921
    assert exceeded((), at(25.0)) is None


def test_rates_are_lowered_to_what_is_carried_and_that_is_told(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast = override(DEFAULT, {"fabric.link_rate_mbps": 100.0, "fabric.uplink_rate_mbps": 80.0, "schemes": ["gse1"]})
    fast = override(fast, {"background": [{"src": "h1", "dst": "h5", "rate_mbps": 10.0}]})
    by_kind = at_carried_rates(fast, GOOD)
    assert limit_for(fast, GOOD).crossings_per_s == GOOD.ceiling_crossings_per_s
    assert "all rates x " in capsys.readouterr().err and check_scenario(by_kind, GOOD) == []
    store_calibration(CALIBRATION, MACHINE)
    slower = at_carried_rates(fast, GOOD)
    said = capsys.readouterr().err
    assert slower.fabric.link_rate_mbps < by_kind.fabric.link_rate_mbps < 100
    assert crossings_per_s(slower) <= 50_000 and list(calibration_words(slower, GOOD)) == []
    factor = slower.fabric.link_rate_mbps / 100
    assert slower.fabric.uplink_rate_mbps == pytest.approx(80 * factor)
    assert slower.background[0].rate_mbps == pytest.approx(10 * factor)
    assert f"rates x {factor:g}, host links {100 * factor:g} instead of 100 Mbit/s; 50,000" in said
    assert "calibrated (2026-01-02T03:04:05+00:00)" in said
    assert at_carried_rates(DEFAULT, GOOD) == DEFAULT and "they fit" in capsys.readouterr().err


def test_runs_are_told_of_what_was_not_carried(kept: Path) -> None:
    asked = override(DEFAULT, {"fabric.link_rate_mbps": 30.0, "schemes": ["gse2-n2n"]})
    assert list(calibration_words(asked, GOOD)) == []
    store_calibration(CALIBRATION, MACHINE)
    (said,) = calibration_words(asked, GOOD)
    assert "22,000 were carried" in said and "--auto-rate lowers rates" in said
    assert list(calibration_words(asked, replace(GOOD, cores=8))) == []  # found on another machine


def test_auto_rate_reaches_the_runs(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store_calibration(CALIBRATION, MACHINE)
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


Search_ = Callable[[Kind], Found]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Search_], list[Kind]]:
    """Calibrate with a search that a function stands for; return the list of the kinds that are searched."""
    for name in ("require_root", "prepare_fabric"):
        monkeypatch.setattr(doctor, name, lambda _what: None)
    monkeypatch.setattr(doctor, "tell_of_others", lambda: None)
    monkeypatch.setattr(doctor, "commit", lambda: "0123456789")

    def by(search: Search_) -> list[Kind]:
        asked: list[Kind] = []

        def found(
            _machine: object, _results: Path, on_run: Any, kinds: Sequence[Kind], *, on_event: Any
        ) -> Iterator[Found]:
            on_event({"event": "run"})
            on_event({"event": "warning", "message": "waiting"})
            summary = {"verdict": "SUSPECT", "checks": ["switch_wait"]}
            on_run(kinds[0], 60.0, Outcome(RunPlan("gse1", 1), Path("x"), summary=summary))
            on_run(kinds[0], 60.0, Outcome(RunPlan("gse1", 2), Path("x"), error="it broke"))
            for kind in kinds:
                asked.append(kind)
                yield search(kind)

        monkeypatch.setattr(doctor, "find_out", found)
        return asked

    return by


def twenty(kind: Kind) -> Found:
    return Found(kind, kind.carried(20.0, 30.0))


def test_the_doctor_calibrates_keeps_and_shows(
    kept: Path, searched: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine(monkeypatch) == 0
    assert "Not calibrated" in capsys.readouterr().out
    asked = searched(twenty)
    assert examine(monkeypatch, "--calibrate", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)["calibration"]["found"]
    assert [one["rate_mbps"] for one in found] == [20.0] * len(KINDS) and tuple(asked) == KINDS
    assert {one["commit"] for one in found} == {"0123456789"}
    for words in (
        "gse: 12 kinds of run, some four rates each; about ",
        "gse: gse1, 2x2x2, MTU 1500, 60 Mbit/s: SUSPECT (switch_wait)\n",
        "gse: gse1 seed 2 failed: it broke (kept in x)\n",
        "gse: gse1, 2x2x2, MTU 1500: 20 Mbit/s carried, 30 not\n",
        f"gse: kept in {kept}\n",
        "gse: waiting\n",
    ):
        assert words in said.err
    assert "are left" not in said.err
    assert examine(monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "20 (30)" in shown and "agents in hosts" in shown and "Not calibrated" not in shown
    assert "commit 0123456" in shown


def test_an_interruption_loses_nothing_and_the_next_call_goes_on(
    kept: Path, searched: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = (f"2026-01-02T00:00:{second:02}+00:00" for second in range(60))

    def until_the_fourth(kind: Kind) -> Found:
        if kind == KINDS[3]:
            raise KeyboardInterrupt
        return twenty(kind)

    monkeypatch.setattr(doctor, "_now_utc", lambda: next(times))
    searched(until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        examine(monkeypatch, "--calibrate")
    said = capsys.readouterr().err
    assert f"kept in {kept}" in said and "9 of 12 kinds are left; to go on: sudo ./gse doctor --calibrate" in said
    calibration = load_calibration(MACHINE)
    assert calibration is not None and len(calibration.found) == 3

    asked = searched(
        lambda kind: Found(kind, kind.carried(5.0, 7.5, disturbed=True), "others") if kind == KINDS[4] else twenty(kind)
    )
    assert examine(monkeypatch, "--calibrate") == 0
    assert tuple(asked) == KINDS[3:] and "; 3 are known already" in capsys.readouterr().err

    asked = searched(twenty)
    assert examine(monkeypatch, "--calibrate") == 0
    assert asked == [KINDS[4]] and "are left" not in capsys.readouterr().err

    asked = searched(until_the_fourth)  # all are known: anew
    with pytest.raises(KeyboardInterrupt):
        examine(monkeypatch, "--calibrate")
    calibration = load_calibration(MACHINE)
    assert len(asked) == 4 and calibration is not None and len(calibration.found) == 12
    asked = searched(twenty)
    assert examine(monkeypatch, "--calibrate") == 0
    assert tuple(asked) == KINDS[3:]


@pytest.mark.parametrize("ahead", ["begun", "made"])
def test_a_clock_that_was_ahead_and_was_set_is_no_reason_to_find_all_again_for_ever_or_never(
    kept: Path, searched: Any, monkeypatch: pytest.MonkeyPatch, ahead: str
) -> None:
    future = "2099-01-01T00:00:00+00:00"
    made = replace(KINDS[0].carried(20.0, 30.0), made_utc=future, commit="0123456789")
    store_found(made, Calibration(future if ahead == "begun" else BEGUN), MACHINE)

    def until_the_fourth(kind: Kind) -> Found:
        if kind == KINDS[3]:
            raise KeyboardInterrupt
        return twenty(kind)

    asked = searched(until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        examine(monkeypatch, "--calibrate")
    assert tuple(asked) == KINDS[:4]
    asked = searched(twenty)
    assert examine(monkeypatch, "--calibrate") == 0
    assert tuple(asked) == KINDS[3:]
    calibration = load_calibration(MACHINE)
    assert calibration is not None and calibration.begun_utc < future
    assert max(one.made_utc or "" for one in calibration.found) < future


def test_what_is_not_known_is_said_and_not_kept(
    kept: Path, searched: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(lambda kind: Found(kind, None, "runs fail"))
    with pytest.raises(MachineError, match="nothing could be found out"):
        examine(monkeypatch, "--calibrate")
    assert "gse1, 2x2x2, MTU 1500: not known (runs fail)" in capsys.readouterr().err and not kept.exists()

    def some(kind: Kind) -> Found:
        if kind == KINDS[0]:
            return Found(kind, None, "runs fail")
        if kind == KINDS[1]:
            return Found(kind, kind.carried(None, 2.5))
        return Found(kind, kind.carried(5.0, 7.5, disturbed=True), "others") if kind == KINDS[2] else twenty(kind)

    searched(some)
    assert examine(monkeypatch, "--calibrate") == 0
    said = capsys.readouterr()
    assert "MTU 9000: nothing is carried, not even 2.5 Mbit/s" in said.err and "2 of 12 kinds are left" in said.err
    assert "5 Mbit/s carried, perhaps more (others)" in said.err
    assert "5 (7.5?)" in said.out and "none (2.5)" in said.out
    calibration = load_calibration(MACHINE)
    assert calibration is not None and len(calibration.found) == 11


def test_a_kind_the_machine_has_no_memory_for_does_not_keep_the_others_from_being_found_anew(
    kept: Path, searched: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(GOOD, memory_available_bytes=10**9)
    possible = [kind for kind in KINDS if kind.rates_mbps(small)]
    assert 0 < len(possible) < len(KINDS)
    for _time in range(2):
        asked = searched(lambda kind: twenty(kind) if kind in possible else Found(kind, None, "no memory"))
        assert doctor.calibrate(small, Path("results")).found and tuple(asked) == KINDS
        assert "are left" not in capsys.readouterr().err


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
    store_calibration(CALIBRATION, MACHINE)
    (said,) = not_carried(sweep, GOOD)
    assert said.startswith("fabric.link_rate_mbps=30") and said.endswith("at 2 of 3 values")


# --- --auto-rate of other commands ---------------------------------------------------------------------------


def rates_of(sweep: Sweep) -> set[float]:
    return {point.fabric.link_rate_mbps for point in sweep.points}


def test_in_a_sweep_all_values_have_the_rates_of_the_one_that_asks_for_most(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_calibration(CALIBRATION, MACHINE)
    settings = {"schemes": ["ecmp", "gse2-n2n"], "fabric.link_rate_mbps": 100.0, "fabric.uplink_rate_mbps": 80.0}
    sweep = sweep_of(DEFAULT, "workload.ranks", [4, 8, 16], settings=settings)
    alone = [at_carried_rates(point, GOOD).fabric.link_rate_mbps for point in sweep.points]
    assert len(set(alone)) == 3 and min(alone) == alone[2]
    capsys.readouterr()
    slower = sweep_at_carried_rates(sweep, GOOD)
    (said,) = capsys.readouterr().err.splitlines()
    assert rates_of(slower) == {alone[2]}
    assert [point.fabric.uplink_rate_mbps for point in slower.points] == [pytest.approx(alone[2] * 0.8)] * 3
    assert said.startswith(f"gse: --auto-rate: all rates x {alone[2] / 100:g}, host links {alone[2]:g} instead of 100 ")
    assert "the same for all 3 values, as most is asked for at workload.ranks=16" in said
    assert (slower.field, slower.values, slower.order()) == (sweep.field, sweep.values, sweep.order())
    assert not_carried(slower, GOOD) == []


def test_a_sweep_that_fits_or_that_no_rate_would_do_for_stays_as_it_is(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_calibration(CALIBRATION, MACHINE)
    fits = sweep_of(DEFAULT, "fabric.spines", [2, 4], settings={"schemes": ["gse1"]})
    assert sweep_at_carried_rates(fits, GOOD) == fits
    assert "rates stay as they are: they fit at all 2 values; 50,000" in capsys.readouterr().err
    mice = {"workload.mice_bytes": 4000, "schemes": ["gse1"]}
    too_much = sweep_of(DEFAULT, "workload.mice_interval_ms", [1.0, 50.0], settings=mice)
    assert sweep_at_carried_rates(too_much, GOOD) == too_much
    assert "no rate would do at workload.mice_interval_ms=1" in capsys.readouterr().err


def test_a_stored_sweep_has_the_rates_it_was_made_at(kept: Path, tmp_path: Path) -> None:
    store_calibration(CALIBRATION, MACHINE)
    settings = {"schemes": ["gse2-n2n"], "fabric.link_rate_mbps": 100.0}
    sweep = sweep_at_carried_rates(sweep_of(DEFAULT, "workload.ranks", [8, 16], settings=settings), GOOD)
    stored = create_sweep(tmp_path / "results", sweep, datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert load_sweep(stored.path).sweep == sweep and rates_of(sweep) == {21.0}


@pytest.mark.parametrize(
    "over",
    ["fabric.link_rate_mbps=50,100", "fabric.uplink_rate_mbps=50,100", "fabric.host_rate_mbps=null,5"],
)
def test_rates_that_are_varied_are_not_lowered(capsys: pytest.CaptureFixture[str], over: str) -> None:
    field = over.partition("=")[0]
    answer = Gse(capsys)("sweep", "allreduce_ring", "--over", over, "--auto-rate", "--set", "nothing")
    assert_refused(answer, f"--auto-rate: lowers all rates by one factor; got --over {field}, a rate", "is not field")


def test_a_stored_sweep_is_not_given_other_rates(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--resume", "--again"):
        answer = Gse(capsys)("sweep", option, "x", "--auto-rate")
        assert_refused(answer, f"{option}: a stored sweep is what it is; got --auto-rate")


@pytest.fixture
def made(kept: Path, monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """Return the scenarios of which runs would be made on a calibrated machine."""
    store_calibration(CALIBRATION, MACHINE)
    monkeypatch.setattr(testbed.cli.run, "running_capsules", list)
    found: list[Scenario] = []
    for module in (testbed.cli.sweep, testbed.cli.exec):
        monkeypatch.setattr(module, "require_root", lambda _what: None)
        monkeypatch.setattr(module, "inspect_machine", lambda _results: GOOD)
        monkeypatch.setattr(module, "prepare_fabric", lambda _schemes: None)

    class Sweeping:
        def __init__(self, stored: StoredSweep, *_others: object, **_more: object) -> None:
            self.stored = stored
            found.extend(stored.sweep.points)

        def run(self) -> Iterator[Outcome]:
            return iter(())

    class Running(Campaign):
        def run_one(self, plan: RunPlan, earlier: Sequence[dict[str, Any]] = ()) -> Outcome:
            found.append(self.scenario)
            return Outcome(plan, Path("x"), error="made up", exit_status=1)

    monkeypatch.setattr(testbed.cli.sweep, "SweepCampaign", Sweeping)
    monkeypatch.setattr(testbed.cli.exec, "Campaign", Running)
    return found


FAST = ("--set", "fabric.link_rate_mbps=50")
LOWERED = "gse: --auto-rate: all rates x 0.42, host links 21 instead of 50 Mbit/s; 22,000 switch crossings/s are "
BEYOND = "switch crossings/s are asked for, and 22,000 were carried when this machine was calibrated"


@pytest.mark.parametrize(
    ("scenarios", "command"),
    [
        (2, ("sweep", "allreduce_ring", "--over", "fabric.spines=2,4", "--schemes", "gse1,gse2-n2n")),
        (2, ("bench", "allreduce", "-b", "1M", "-e", "2M", "--schemes", "ecmp,gse2-n2n")),
        (1, ("bench", "allreduce", "-b", "1M", "-e", "1M", "--schemes", "ecmp,gse2-n2n")),
        (1, ("exec", "allreduce_ring", "--scheme", "gse2-n2n")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_every_command_tells_what_is_not_carried_and_lowers_rates_to_it(
    made: list[Scenario], capsys: pytest.CaptureFixture[str], tmp_path: Path, scenarios: int, command: tuple[str, ...]
) -> None:
    program = ("--", "true") if command[0] == "exec" else ()
    options = (*command, *FAST, "--results", str(tmp_path / "results"))
    gse = Gse(capsys)
    said = gse(*options, *program).err
    assert BEYOND in said and "gse: --auto-rate" not in said
    assert {scenario.fabric.link_rate_mbps for scenario in made} == {50.0}
    made.clear()
    said = gse(*options, "--auto-rate", *program).err
    assert LOWERED in said and BEYOND not in said
    assert {scenario.fabric.link_rate_mbps for scenario in made} == {21.0}
    assert len(made) == scenarios and said.count("the same for all 2 values") == (scenarios > 1)


def test_which_fields_are_rates() -> None:
    assert all(map(is_rate, ("fabric.link_rate_mbps", "fabric.host_rate_mbps", "background.12.rate_mbps")))
    assert not any(map(is_rate, ("fabric.spines", "fabric.delay_ms", "link_rate_mbps", "cross_traffic.poisson.load")))
