"""Programs that are run to their end, and what becomes of those they have started where that comes early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.errors import CommandError
from testbed.system.command import run

PROJECT = Path(__file__).resolve().parents[2]
# A compiler's driver: starts another program, says which, and waits for it.
DRIVER = 'sleep 60 & echo $! > "$0"; wait'


def started(file: Path) -> int:
    """Return the process the driver has started, once it has."""
    for _ in range(200):
        if file.exists() and (text := file.read_text().strip()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError("it never started")


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be collected, within seconds."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_command_that_ends_is_the_same_with_all() -> None:
    for with_all in (False, True):
        done = run(["sh", "-c", "cat; echo more >&2; exit 3"], stdin="said", check=False, with_all=with_all)
        assert (done.exit_status, done.stdout, done.stderr) == (3, "said", "more\n")
    assert run(["cat"], with_all=True).stdout == ""
    with pytest.raises(CommandError, match="exit status 1"):
        run(["false"], with_all=True)
    with pytest.raises(CommandError, match="No such file"):
        run(["/no/such/program"], with_all=True)


def test_what_it_has_started_ends_where_it_takes_too_long(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(CommandError, match="no end after 1 s"):
        run(["sh", "-c", DRIVER, str(file)], timeout_s=1, with_all=True)
    assert has_ended(started(file))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_it_has_started_ends_where_we_are_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM while agents were compiled left the compiler at work."""
    file = tmp_path / "pid"
    code = f"""
import sys
from testbed.system.command import run
from testbed.system.interrupts import Interrupted, interruptible
try:
    with interruptible():
        run(["sh", "-c", {DRIVER!r}, {str(file)!r}], with_all=True)
except Interrupted as stop:
    sys.exit(stop.exit_status)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) as process:
        pid = started(file)
        os.kill(process.pid, number)
        assert process.wait(20) == 128 + number
    assert has_ended(pid)
