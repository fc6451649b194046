"""A full disk, a closed or a narrow stream, a directory that is gone: a sentence and an exit status, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gse_command import PROJECT, Gse, assert_refused

from testbed.errors import Problem, ScenarioError

FULL = "gse: standard output: cannot be written; got No space left on device, expected room for it\n"


def gse(arguments: list[str], **popen: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(PROJECT), **popen.pop("env", {})}  # type: ignore[dict-item]
    argv = [sys.executable, "-m", "testbed", *arguments]
    return subprocess.run(argv, env=env, text=True, timeout=60, check=False, **popen)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    "arguments", [["list"], ["check", "allreduce_ring"], ["check", "--schema"], ["--help"], ["run", "--help"]]
)
def test_a_full_disk_below_stdout_is_said(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = gse(arguments, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, FULL)


def test_a_full_disk_below_stderr_changes_nothing() -> None:
    with open("/dev/full", "w") as full:
        done = gse(["check", "allreduce_ring", "-v"], stdout=subprocess.PIPE, stderr=full)
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "allreduce_ring: valid")
        assert gse(["check", "nosuch"], stdout=subprocess.PIPE, stderr=full).returncode == 2


def test_what_has_no_encoding_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "é.yml").write_text("fabric: {spine: é}")
    narrow = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = gse(["check", str(tmp_path / "é.yml")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=narrow)
    assert done.returncode == 2
    assert done.stderr.startswith("gse: ")
    assert "\\xe9.yml: fabric.spine: unknown field" in done.stderr
    done = gse(["list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=narrow)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    argv = [sys.executable, "-m", "testbed", "list"]
    script = f'cd "{tmp_path}/here" && rmdir "{tmp_path}/here" && exec "$@"'
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        ["sh", "-c", script, "sh", *argv], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "gse: gse: working directory is gone; got a deleted directory, expected cd to one that exists\n"
    )


def test_control_characters_of_arguments_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Gse(capsys)("check", "allreduce_ring", "--set", "fabric.\x1b[2J\n\x1fx=8")
    assert_refused(answer, "\\x1b[2J\\n\\x1fx")
    assert len(answer.err.splitlines()) == 1


def test_no_more_problems_are_printed_than_anyone_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(_args: object) -> int:
        raise ScenarioError([Problem("wrong", f"field {number}", "x", "y") for number in range(73)])

    monkeypatch.setattr("testbed.cli.check.run", many)
    lines = Gse(capsys)("check", "allreduce_ring").err.splitlines()
    assert len(lines) == 51
    assert lines[-1] == "gse: ... and 23 more"
