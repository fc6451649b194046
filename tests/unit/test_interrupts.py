from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.system.interrupts import SIGNALS, Interrupted, interruptible

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_has_its_exit_status(number: signal.Signals, status: int) -> None:
    with pytest.raises(Interrupted, match=f"^interrupted by {number.name}$") as caught, interruptible():
        signal.raise_signal(number)
    assert caught.value.exit_status == status


def test_only_the_first_signal_interrupts_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    tidied = []
    with pytest.raises(Interrupted, match="SIGTERM"), interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            tidied.append(True)
    assert tidied
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_nohup_ignores_stays_ignored() -> None:
    code = """
import signal
from testbed.system.interrupts import interruptible
with interruptible():
    signal.raise_signal(signal.SIGHUP)
    print("lives")
"""
    argv = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-c", code]
    assert subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60).stdout == "lives\n"
