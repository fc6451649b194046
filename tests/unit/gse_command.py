"""Calls ``gse`` as a user does: in this process where that is enough, as an unprivileged process where it is not."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.cli.main import main

PROJECT = Path(__file__).resolve().parents[2]
A_SCHEME = "'ecmp', 'gse1', 'gse2-n2n', 'gse2-e2e', 'spray', 'flowlet', 'uet' or 'ecmp-agents'"  # what messages expect
NOBODY = 65534
# An unprivileged user who may read every file, for checkouts and venvs below a private home directory.
READS_EVERYTHING = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    status: int
    out: str
    err: str


class Gse:
    """``gse`` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        self._capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse leaves by itself
            status = int(end.code or 0)
        said = self._capsys.readouterr()
        return Answer(status, said.out, said.err)


def as_nobody(*arguments: str, may_read_all: bool) -> Answer:
    """Run ``gse`` as a user without privileges."""
    argv = [sys.executable, "-m", "testbed", *arguments]
    if os.geteuid() == 0:
        extra = READS_EVERYTHING if may_read_all else ["--bounding-set", "-all"]
        argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *extra, *argv]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": "/nonexistent"}
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, timeout=60, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def nobody_can_read_the_project() -> bool:
    """Whether an unprivileged user can import the testbed with nothing but file modes."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return as_nobody("--version", may_read_all=False).status == 0
    return False


def assert_refused(answer: Answer, *said: str) -> None:
    """Exit status 2, nothing on stdout, and every line a message: where, what, got, expected; no traceback."""
    assert answer.status == 2, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    lines = answer.err.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("gse: "), answer.err
        assert "; got " in line and ", expected " in line, line
        assert len(line) < 600, "a message, not a dump"
    for text in said:
        assert text in answer.err
