"""The burst behind ``gse doctor``: real switches in a capsule, and nothing left of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from testbed.errors import CommandError
from testbed.fabric.burst import measure_crossings_per_s
from testbed.system.machine import check_machine, find_datapath, inspect_machine

pytestmark = [pytest.mark.root, pytest.mark.beside]


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def test_burst_passes_frames_and_leaves_the_machine_as_it_was() -> None:
    before = interfaces()
    assert measure_crossings_per_s(find_datapath()) > 1000
    assert interfaces() == before


def test_burst_outside_of_a_capsule_refuses_to_touch_the_machine() -> None:
    before = interfaces()
    done = subprocess.run(
        [sys.executable, "-m", "testbed.fabric.burst", "userspace"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "not inside a run capsule" in done.stderr
    assert interfaces() == before


def test_broken_switch_program_is_an_error_with_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    broken = f"{tmp_path}/ovs-vswitchd"
    with open(broken, "w") as program:
        program.write("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    os.chmod(broken, 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CommandError, match="no such luck"):
        measure_crossings_per_s("userspace")


def test_doctor_agrees_with_a_look_at_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    document = json.loads(done.stdout)
    machine = inspect_machine()
    assert document["runs_possible"] is (not check_machine(machine)) is (done.returncode == 0)
    assert document["machine"]["datapath"] == machine.datapath
    assert 0 < document["expected_crossings_per_s"] <= machine.ceiling_crossings_per_s
