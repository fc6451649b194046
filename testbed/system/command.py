"""Run a program to its end and get its output. Never through a shell."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from testbed.errors import CommandError
from testbed.system.interrupts import SIGNALS

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
    with_all: bool = False,
) -> CommandResult:
    """Run ``argv`` and return its result.

    ``with_all``: what it has started itself ends with it, too, where it takes too long or we are interrupted.

    Raises CommandError when it cannot be started, exits with another status than 0 (unless
    ``check`` is false) or takes longer than ``timeout_s``.
    """
    log.debug("run %s", " ".join(argv))
    try:
        if with_all:
            done = _run_group(list(argv), stdin=stdin, timeout_s=timeout_s, env=env, cwd=cwd)
        else:
            done = subprocess.run(
                list(argv),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env=env,
                cwd=cwd,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise CommandError(argv, None, f"no end after {timeout_s:g} s") from None
    except OSError as error:
        raise CommandError(argv, 127, str(error)) from None
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr or done.stdout)
    return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr)


def _run_group(
    argv: list[str],
    *,
    stdin: str | None,
    timeout_s: float,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run`` does, in a session of its own, all of which is killed where that ends early.

    Signals wait until the session is known: what is interrupted while it starts would leave it behind.
    """
    pipe, before = subprocess.PIPE, signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=cwd, start_new_session=True
        ) as process:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                stdout, stderr = process.communicate(stdin, timeout_s)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
