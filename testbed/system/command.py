"""Run a program to its end and get its output. Never through a shell."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.errors import CommandError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind."""

    argv: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float = 30.0,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    check: bool = True,
) -> CommandResult:
    """Run ``argv`` and return its result.

    Raises CommandError when it cannot be started, exits with another status than 0 (unless
    ``check`` is false) or takes longer than ``timeout_s``.
    """
    log.debug("run %s", " ".join(argv))
    try:
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, text=True, timeout=timeout_s, env=env, cwd=cwd, check=False
        )
    except subprocess.TimeoutExpired:
        raise CommandError(argv, None, f"no end after {timeout_s:g} s") from None
    except OSError as error:
        raise CommandError(argv, 127, str(error)) from None
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr or done.stdout)
    return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr)
