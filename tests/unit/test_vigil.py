from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from testbed.errors import NetworkError
from testbed.system.vigil import raised_by_end_of


def test_a_death_interrupts_a_command_that_would_wait_for_ever() -> None:
    with subprocess.Popen(["sleep", "60"]) as dies, subprocess.Popen(["sleep", "60"]) as lives:
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -9 {dies.pid}"])
        began_s = time.monotonic()
        with (
            pytest.raises(NetworkError, match="^ovs-vswitchd ended meanwhile$"),
            raised_by_end_of({"ovsdb-server": lives.pid, "ovs-vswitchd": dies.pid}),
        ):
            subprocess.run(["sleep", "60"], check=True)
        assert time.monotonic() - began_s < 10
        killer.wait()
        assert lives.poll() is None
        lives.kill()


def test_nothing_remains_when_nothing_happened() -> None:
    before = signal.getsignal(signal.SIGUSR1), len(os.listdir("/proc/self/fd"))
    with subprocess.Popen(["sleep", "60"]) as process:
        with raised_by_end_of({"one": process.pid}):
            pass
        process.kill()
    assert (signal.getsignal(signal.SIGUSR1), len(os.listdir("/proc/self/fd"))) == before


def test_an_error_of_the_body_passes() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        with pytest.raises(ZeroDivisionError), raised_by_end_of({"one": process.pid}):
            raise ZeroDivisionError
        process.kill()
