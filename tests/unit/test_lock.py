"""A sweep's folder is held by one process, and by none once that has ended, however it did."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from testbed.errors import ResultsError
from testbed.results.lock import held, holder

PROJECT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from pathlib import Path
from testbed.results.lock import held

with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_comes_second_is_refused_at_once_until_the_first_was_killed(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None and first.stdout.readline() == "held\n"
            who = f"(process {first.pid}|another process), expected one at a time"  # not every /proc tells
            with pytest.raises(ResultsError, match=f"its runs are being made already; got {who}"), held(tmp_path):
                pass
        finally:
            first.kill()
    with held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_can_wait_waits_and_no_longer_than_it_said(tmp_path: Path) -> None:
    order: list[str] = []

    def hold() -> None:
        with held(tmp_path):
            order.append("first")
            begun.set()
            time.sleep(0.3)
            order.append("first has ended")

    begun = threading.Event()
    first = threading.Thread(target=hold)
    first.start()
    assert begun.wait(5)
    said = f"{tmp_path.name}: it is being written; got "
    with pytest.raises(ResultsError, match=said), held(tmp_path, what="it is being written", wait_s=0.05):
        order.append("too early")
    with held(tmp_path, wait_s=20):
        order.append("second")
    first.join()
    assert order == ["first", "first has ended", "second"]


def test_what_a_holder_has_started_does_not_hold_on(tmp_path: Path) -> None:
    with held(tmp_path):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with held(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="gone: cannot look into; got No such file"), held(tmp_path / "gone"):
        pass


def test_the_kernel_says_who_holds_a_file() -> None:
    locks = "\n".join(
        [
            "1: POSIX  ADVISORY  WRITE 11 fe:01:77 0 EOF",
            "2: FLOCK  ADVISORY  WRITE 12 fe:01:78 0 EOF",
            "2: -> FLOCK  ADVISORY  WRITE 13 fe:01:77 0 EOF",
            "3: FLOCK  ADVISORY  WRITE 0 00:1c:77 0 EOF",
            "4: FLOCK  ADVISORY  WRITE 15 fe:01:77 0 EOF",
            "cut",
        ]
    )
    device = os.makedev(0xFE, 1)
    assert (holder(locks, device, 77), holder(locks, device, 78)) == (15, 12)
    assert holder(locks, device, 79) is None
    assert holder(locks, os.makedev(0, 0x1C), 77) is None  # of another PID namespace
    assert holder("", device, 77) is None
