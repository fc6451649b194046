"""What programs that are started again and again do not import: every run and every ``gse`` pays for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.main import COMMANDS

PROJECT = Path(__file__).resolve().parents[2]


def loaded_by(code: str) -> set[str]:
    """Return the modules a fresh interpreter has loaded after ``code``."""
    script = f"{code}\nimport sys\nprint()\nprint(*sys.modules)"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("program", ["measurement.sampler", "measurement.probes", "workload.mice", "workload.nursery"])
def test_what_runs_beside_a_run_knows_no_specifications(program: str) -> None:
    loaded = loaded_by(f"import testbed.{program}")
    assert f"testbed.{program}" in loaded
    assert not loaded & {"pydantic", "yaml", "testbed.model.scenario"}


@pytest.mark.parametrize(("arguments", "command"), [("list", "list"), ("run --help", "run"), ("--help", None)])
def test_a_command_does_not_wait_for_what_others_import(arguments: str, command: str | None) -> None:
    code = f"from testbed.cli.main import main\nmain({arguments.split()!r})"
    commands = {name.removeprefix("testbed.cli.") for name in loaded_by(code) if name.startswith("testbed.cli.")}
    assert commands & COMMANDS.keys() == ({command} if command else set())


@pytest.mark.parametrize("module", ["apps.gsos", "testbed.mn", "testbed.fabric.network"])
def test_gsos_and_networks_know_nothing_of_workloads(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert {module, "testbed.model.topology"} <= loaded
    assert not loaded & {"testbed.model.scenario", "testbed.model.workload_spec", "testbed.training.spec", "numpy"}
