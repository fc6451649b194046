"""The library preloaded into the switches: when it is made, what is said where it cannot be, how long it waits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import testbed.system.preload
from testbed.errors import CommandError
from testbed.model.delay import WAKE_INTERVAL_S, frame_time_s, wake_interval_s
from testbed.model.fabric_spec import FabricSpec
from testbed.system.preload import SOURCE, ensure_wakeups_library, wakeups_library

POLLS = """
import select, time
poll = select.poll()
began_s = time.monotonic()
for _ in range({rounds}):
    poll.poll(0)
print(time.monotonic() - began_s)
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(testbed.system.preload, "ROOM", tmp_path / "preload")
    return tmp_path / "preload"


def polling_s(library: Path | None, *, interval_ns: str | None, in_thread: bool = False, rounds: int = 100) -> float:
    """Return how long a program takes for some polls that have nothing to wait for."""
    code = POLLS.format(rounds=rounds)
    if in_thread:
        code = f"import threading\nt = threading.Thread(target=exec, args=({code!r},))\nt.start()\nt.join()"
    env = {**os.environ, **({} if library is None else {"LD_PRELOAD": str(library)})}
    if interval_ns is not None:
        env["GSE_WAKE_INTERVAL_NS"] = interval_ns
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "ERROR" not in done.stderr  # ld.so's word for a library it does not find
    return float(done.stdout)


def test_main_thread_polls_at_most_once_an_interval_but_for_a_few_saved_up(room: Path) -> None:
    said: list[str] = []
    ensure_wakeups_library(said.append)
    library = wakeups_library()
    assert library is not None
    assert said == []
    assert [path.name for path in room.iterdir()] == [library.name]
    # four rounds are saved up, and no more however long nothing has happened
    assert polling_s(library, interval_ns="2000000") >= 95 * 0.002
    assert (
        polling_s(library, interval_ns="100000000", rounds=4)
        < 0.1
        <= polling_s(library, interval_ns="100000000", rounds=6)
    )
    # compared within this test: other threads, and programs without an interval, are left alone
    for interval_ns, in_thread in ((None, False), ("0", False), ("nonsense", False), ("2000000", True)):
        assert polling_s(library, interval_ns=interval_ns, in_thread=in_thread) < 95 * 0.002


def test_library_is_made_once_for_each_source(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_wakeups_library(lambda text: pytest.fail(text))
    first = wakeups_library()
    assert first is not None
    made_ns = first.stat().st_mtime_ns
    ensure_wakeups_library(lambda text: pytest.fail(text))
    assert first.stat().st_mtime_ns == made_ns
    other = tmp_path / "wakeups.c"
    other.write_text(SOURCE.read_text() + "\n/* another state */\n")
    monkeypatch.setattr(testbed.system.preload, "SOURCE", other)
    assert wakeups_library() is None
    ensure_wakeups_library(lambda text: pytest.fail(text))
    assert wakeups_library() not in (None, first)


def test_without_a_compiler_it_is_said(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    ensure_wakeups_library(said.append)
    assert len(said) == 1
    assert "no C compiler (gcc); run ./gse setup" in said[0]
    assert wakeups_library() is None


def test_failed_compilation_is_said_and_leaves_nothing(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(argv: list[str], **_options: object) -> None:
        Path(argv[argv.index("-o") + 1]).write_bytes(b"half")
        raise CommandError(argv, 1, "no space left on device")

    said: list[str] = []
    monkeypatch.setattr(testbed.system.preload, "run", fails)
    ensure_wakeups_library(said.append)
    assert len(said) == 1
    assert "no space left on device" in said[0]
    assert wakeups_library() is None
    assert list(room.iterdir()) == []


@pytest.mark.parametrize(
    ("rate_mbps", "mtu_bytes", "expected_s"),
    [
        (10.0, 9000, WAKE_INTERVAL_S),  # a frame takes 7.2 ms
        (20.0, 9000, 0.9e-3),
        (100.0, 9000, 0.18e-3),
        (10.0, 1500, 0.3e-3),
        (1000.0, 9000, None),
    ],
)
def test_interval_is_little_beside_a_frame(rate_mbps: float, mtu_bytes: int, expected_s: float | None) -> None:
    fabric = FabricSpec(link_rate_mbps=rate_mbps, mtu_bytes=mtu_bytes)
    found = wake_interval_s(fabric)
    if expected_s is None:
        assert found is None
    else:
        assert found == pytest.approx(expected_s, rel=0.02)
        assert found <= frame_time_s(fabric) / 4


def test_faster_uplinks_count() -> None:
    assert wake_interval_s(FabricSpec(link_rate_mbps=10, uplink_rate_mbps=100)) == pytest.approx(0.18e-3, rel=0.02)
