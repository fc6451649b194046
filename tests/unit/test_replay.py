"""Replays: the same core decides the same, byte for byte, whatever happened; another one is found where they part."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from gse_command import PROJECT, Gse, assert_refused

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.reorder import ReorderBuffer
from testbed.gse.dataplane.spread import Spreader
from testbed.journal import format as journal
from testbed.journal.decision import parse_decision
from testbed.journal.replay import Outcome, replay
from tests.unit.gse_fabric import Fabric
from tests.unit.gse_journals import L1, L2, PROFILE, eventful_fabric, events_of, journal_of, opened

KINDS: dict[str, dict[str, Any]] = {
    "containers": {},
    "packets": {"unit": "packet"},
    "flowlets": {"unit": "flowlet", "flowlet_gap_s": 0.01, "admission": "none", "reorder": False},
    "flows": {"unit": "flow", "admission": "none", "reorder": False},
    "in hosts": {"e2e": True},
}


@cache
def recorded(kind: str = "containers") -> Fabric:
    return eventful_fabric(**KINDS[kind])


@pytest.fixture(autouse=True)
def _recorded_by_the_code_as_it_is() -> None:
    """Record before any test alters the code: what is cached must not depend on which test came first."""
    recorded()


def outcome_of(data: bytes) -> Outcome:
    return replay(opened(data))


@pytest.mark.parametrize("kind", KINDS)
def test_every_gsp_decides_the_same_again(kind: str) -> None:
    fabric = recorded(kind)
    outcomes = {number: outcome_of(bytes(data)) for number, (_gsp, data) in enumerate(fabric.journals)}
    assert {outcome.difference for outcome in outcomes.values()} == {None}
    sent = sum(outcome.frames for outcome in outcomes.values())
    assert sent == len(fabric.sent_frames) + sum(map(len, fabric.delivered.values()))


def test_everything_that_can_happen_was_in_what_is_replayed() -> None:
    fabric = recorded()
    for counter in ("retransmitted", "loss_reports", "path_changes", "faults_heard", "late", "epochs_ended"):
        assert fabric.total(counter) > 0, counter
    kinds = {type(event) for _gsp, data in fabric.journals for event in events_of(bytes(data))}
    assert kinds == {journal.HostFrame, journal.FabricFrame, journal.Carrier, journal.Advance}
    assert [gsp for gsp, _data in fabric.journals].count(L2) == 2  # it was started again


def test_recorded_core_decides_as_one_that_is_not() -> None:
    plain = Fabric(Profile(**PROFILE), recorded=False)
    kept = Fabric(Profile(**PROFILE), recorded=True)
    for fabric in (plain, kept):
        for number in range(50):
            fabric.send(0.002 * number, (1, 1), (2, 1), number, 1000)
        fabric.run(1)
    assert plain.sent_frames == kept.sent_frames
    assert plain.delivered_s == kept.delivered_s


def test_killed_gsps_journal_is_replayed_as_far_as_it_goes() -> None:
    outcome = outcome_of(journal_of(recorded(), L2)[:-5])
    assert outcome.difference is None
    assert outcome.events > 100
    assert outcome.incomplete is not None and "is cut" in outcome.incomplete


# --- other code, other settings ----------------------------------------------------------------------------


def first_decision(data: bytes, has: Any) -> tuple[int, float]:
    """Return number and time of the first call of ``advance`` that decided something of a kind."""
    return next(
        (number, event.now_s - opened(data).birth.now_s)
        for number, event in enumerate(events_of(data), start=1)
        if isinstance(event, journal.Advance) and has(event, parse_decision(event.decision))
    )


def opens_a_container(head: bytes) -> bool:
    header = wire.parse_data(head.ljust(2000, b"\0")) if head[12:14] == b"\x88\xb5" else None
    chosen = wire.FLAG_FIRST | wire.FLAG_RETRANSMITTED  # what is sent again chooses a path, too
    return header is not None and header.flags & chosen != 0 and header.path > 0


def test_other_code_is_found_out_at_the_first_frame_that_takes_another_path(monkeypatch: pytest.MonkeyPatch) -> None:
    data, choose = journal_of(recorded(), L1), Spreader.choose
    since_s = 100.15  # every uplink lives

    def otherwise(self: Spreader, leaf: int, now_s: float, avoid: int | None = None) -> int:
        chosen = choose(self, leaf, now_s, avoid)
        return (chosen + 1) % 3 if now_s >= since_s else chosen

    expected = first_decision(
        data,
        lambda event, decision: (
            event.now_s >= since_s and any(opens_a_container(frame.head) for frame in decision.to_fabric)
        ),
    )
    monkeypatch.setattr(Spreader, "choose", otherwise)
    difference = outcome_of(data).difference
    assert difference is not None
    assert (difference.event, difference.t_s) == expected
    assert "to the fabric" in difference.what
    assert "DATA l1 > l" in difference.expected and "DATA l1 > l" in difference.got
    assert difference.expected != difference.got


def altered(data: bytes, **profile: Any) -> bytes:
    """Return a journal that says that the core began with another profile."""
    birth = opened(data).birth
    began = replace(birth, profile=birth.profile.model_copy(update=profile))
    return journal.beginning(began) + data[len(journal.beginning(birth)) :]


def test_other_setting_is_found_out_where_it_first_matters() -> None:
    data = journal_of(recorded(), L1)

    def repairs(_event: journal.Advance, decision: Any) -> bool:
        """Whether a gap is reported to be filled, or a frame sent again."""
        controls = [wire.parse_control(frame.head) for frame in decision.to_fabric if not frame.inner_bytes]
        again = [
            frame for frame in decision.to_fabric if frame.inner_bytes and frame.head[14] & wire.FLAG_RETRANSMITTED
        ]
        return bool(again) or any(isinstance(one, wire.Loss) and not one.final for one in controls)

    difference = outcome_of(altered(data, retransmit=False)).difference
    assert difference is not None
    assert (difference.event, difference.t_s) == first_decision(data, repairs)
    assert difference.expected.startswith(("LOSS l1 > l", "DATA l1 > l"))


def test_other_timers_are_found_out_before_anything_is_sent() -> None:
    difference = outcome_of(altered(journal_of(recorded(), L1), hello_wait_s=0.005)).difference
    assert difference is not None
    assert difference.event == 1
    assert difference.what == "when it wants to be called next"


def test_frame_whose_inside_is_changed_is_found_out_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = ReorderBuffer.accept

    def scratch(self: ReorderBuffer, psn: int, frame: bytes, start: int, now_s: float) -> list[bytes]:
        return accept(self, psn, frame[:-1] + b"!", start, now_s)

    monkeypatch.setattr(ReorderBuffer, "accept", scratch)
    difference = outcome_of(journal_of(recorded(), L1)).difference
    assert difference is not None
    assert difference.what == "frame 1 to hosts"
    assert difference.expected.partition(" (digest ")[0] == difference.got.partition(" (digest ")[0]
    assert difference.expected != difference.got


def test_code_that_fails_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Spreader, "choose", fail)
    difference = outcome_of(journal_of(recorded(), L1)).difference
    assert difference is not None
    assert (difference.what, difference.got) == ("the core fails", "ZeroDivisionError: oh")
    assert difference.expected == "it to go on, as it did"


def test_decision_nobody_writes_is_a_difference_not_a_crash() -> None:
    data = journal_of(recorded(), L1)
    beginning = journal.beginning(opened(data).birth)
    difference = outcome_of(beginning + journal.block(journal.advance(100.0, b"nonsense"))).difference
    assert difference is not None
    assert "what no GSP writes" in difference.expected


# --- the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run's folder with a journal of each life of each leaf."""
    raw = tmp_path / "run" / "raw"
    raw.mkdir(parents=True)
    for number, (gsp, data) in enumerate(recorded().journals):
        (raw / f"gsp-l{gsp >> 8}-{number}.journal").write_bytes(data)
    return tmp_path / "run"


def test_run_is_replayed_gsp_by_gsp(gse: Gse, run_dir: Path) -> None:
    answer = gse("replay", str(run_dir))
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert len(lines) == len(recorded().journals)
    assert all(line.endswith(" frames, identical") for line in lines)


def test_runs_without_journals_beside_others_are_skipped_and_named(gse: Gse, run_dir: Path) -> None:
    bare = [run_dir.with_name(name) for name in ("another", "run.failed")]
    for folder in bare:
        (folder / "raw").mkdir(parents=True)
    answer = gse("replay", *map(str, sorted(run_dir.parent.iterdir())))
    assert answer.status == 0
    assert len(answer.out.splitlines()) == len(recorded().journals)
    assert answer.err.splitlines() == [f"gse: {folder}: no journal to replay, skipped" for folder in bare]


def test_runs_none_of_which_has_a_journal_are_refused(gse: Gse, tmp_path: Path) -> None:
    bare = [tmp_path / name for name in ("one", "two")]
    for folder in bare:
        folder.mkdir()
    said = [f"{folder}: no journal to replay; got a folder without one" for folder in bare]
    assert_refused(gse("replay", *map(str, bare)), *said)


@pytest.mark.parametrize("hash_seed", ["1", "2"])  # one of them at least is not the recorder's
def test_replay_does_not_depend_on_how_the_interpreter_hashes(run_dir: Path, hash_seed: str) -> None:
    argv = [sys.executable, "-m", "testbed", "replay", str(run_dir)]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(", identical") == len(recorded().journals)


def test_difference_is_told_and_is_status_1(gse: Gse, tmp_path: Path) -> None:
    good, other = tmp_path / "good.journal", tmp_path / "other.journal"
    good.write_bytes(journal_of(recorded(), L1)[:-1])
    other.write_bytes(altered(journal_of(recorded(), L1), hello_wait_s=0.005))
    answer = gse("replay", str(other), str(good))
    assert (answer.status, answer.err) == (1, "")
    first, second = answer.out.splitlines()
    assert "0 events, 0 frames identical, then DIFFERENT: event 1, 0.000000 s: when it wants to be called" in first
    assert ", identical as far as it goes; its last record, from byte " in second


def test_damaged_journal_is_refused_when_the_others_are_replayed(gse: Gse, run_dir: Path) -> None:
    path = run_dir / "raw" / "gsp-l1-0.journal"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    answer = gse("replay", str(run_dir))
    assert answer.status == 2
    assert len(answer.out.splitlines()) == len(recorded().journals) - 1
    assert f"{path}: byte " in answer.err and ": damaged; got " in answer.err


def test_what_is_no_journal_is_refused(gse: Gse, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    os.mkfifo(tmp_path / "fifo")
    assert_refused(gse("replay", str(tmp_path / "text")), "begins with b'hello'")
    assert_refused(gse("replay", str(tmp_path / "fifo")), "a FIFO, not a regular file")
    assert_refused(gse("replay", str(tmp_path / "nowhere")), "No such file")
    assert_refused(gse("replay", str(tmp_path)), "no journal to replay", "gsp.journal=true")


def test_prompt_keeps_no_journal_and_says_so(gse: Gse) -> None:
    asked = ("--scheme", "gse2-n2n", "--set", "gsp.journal=true")
    assert_refused(gse("cli", *asked), "gsp.journal", "nothing is kept at the prompt")
