"""A process of a run as its supervisor sees it: pipes, pidfd, log, and how it ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Literal

from testbed.errors import WorkloadError
from testbed.system.adopted import Adopted
from testbed.system.pipes import LineReader, LineWriter

Event = dict[str, Any]
OnEvent = Callable[[Event], None]
OnDeath = Literal["fatal", "record"]

GRACE_S = 0.25  # what belongs to one death shows within this time


@dataclass(frozen=True)
class Death:
    """How a process ended or failed; ``how`` reads after its name, ``t_s`` counts from the run's t0."""

    role: str
    name: str
    host: str | None
    pid: int
    t_s: float
    how: str
    status: int | None  # as subprocess has it: negative is a signal; None: alive, or not ours to ask
    message: str | None  # what it said itself
    log_tail: str

    def __str__(self) -> str:
        said = f": {self.message}" if self.message else ""
        shown = f"\n{self.log_tail}" if self.log_tail and not self.message else ""
        return f"{title(self.name, self.host, self.pid)} {self.how} at t={self.t_s:.3f} s{said}{shown}"


class Process:
    """A process that is watched. Made by ``Supervisor``."""

    def __init__(
        self, role: str, name: str, host: str | None, pid: int, on_death: OnDeath, log: IO[bytes] | None
    ) -> None:
        self.role = role
        self.name = name
        self.host = host
        self.pid = pid
        self.on_death = on_death
        self.log = log
        self.pidfd = os.pidfd_open(pid)
        self.alive = True
        self.failed = False
        self.may_exit = False  # leaving with status 0, or one that is not ours to ask, is expected from now on
        self.stopping = False  # we are ending it: any status is expected

    def __str__(self) -> str:
        return title(self.name, self.host, self.pid)

    def is_stopped(self) -> bool:
        """Return whether somebody has stopped it, as the kernel says."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b") ")[2][:1] in (b"T", b"t")
        except OSError:  # gone
            return False

    def was_continued(self) -> bool:
        """Return whether it has been stopped and let go on since the last call; known of our children only.

        The kernel keeps that until it is asked for, however short the stop was.
        """
        with suppress(OSError):  # not our child, or gone
            return os.waitid(os.P_PIDFD, self.pidfd, os.WCONTINUED | os.WNOHANG) is not None
        return False

    def runs(self) -> bytes | None:
        """Return how often it has been on a core (schedstat): the same again, and it has not run in between."""
        with suppress(OSError, IndexError), open(f"/proc/{self.pid}/schedstat", "rb") as file:
            return file.read().split()[2]
        return None

    def reap(self) -> int | None:
        """Return the exit status as subprocess has it; None for a process that is not our child."""
        with suppress(ChildProcessError):
            result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            if result is not None:
                return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        return None


class Child(Process):
    """A process started by ``Supervisor.start``, or taken over by ``Supervisor.adopt``."""

    def __init__(
        self,
        role: str,
        name: str,
        host: str | None,
        popen: subprocess.Popen[bytes] | Adopted,
        on_death: OnDeath,
        log: IO[bytes],
        on_event: OnEvent | None,
        account: Callable[[], str | None],
        watch_stdin: Callable[[Child], None],
    ) -> None:
        super().__init__(role, name, host, popen.pid, on_death, log)
        self.account = account
        self.popen = popen
        self.on_event = on_event
        self.after_death: Callable[[], None] | None = None
        self.stdin = LineWriter(popen.stdin) if popen.stdin else None
        self.stdout = LineReader(popen.stdout) if popen.stdout else None
        self._watch_stdin = watch_stdin

    def send(self, command: Event) -> None:
        """Queue one JSON line for its stdin without waiting for it to be read.

        To a process that has died this is no error, its death is one. Raises WorkloadError when it lives
        but has closed its stdin, ValueError when it was started without ``on_event``.
        """
        if self.stdin is None:
            raise ValueError(f"{self} has no stdin: it was started without on_event")
        if not self.alive:
            return
        try:
            self.stdin.write(json.dumps(command))
        except BrokenPipeError:
            self.complain_unless_dying()
        self._watch_stdin(self)

    def complain_unless_dying(self) -> None:
        """Raise WorkloadError if the process goes on living with its stdin closed."""
        assert self.stdin is not None
        self.stdin.pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.pidfd, selectors.EVENT_READ)
            dying = self.alive and selector.select(GRACE_S)
        if self.alive and not dying and not self.stopping:
            raise WorkloadError(f"{self} has closed its stdin but lives on; expected it to read commands")

    def reap(self) -> int | None:
        """Return the exit status through the object that also keeps it."""
        return self.popen.poll()


def title(name: str, host: str | None, pid: int) -> str:
    """Return how messages call a process: ``rank 3 on h4 (pid 123)``."""
    return f"{name}{f' on {host}' if host else ''} (pid {pid})"


def how_it_ended(status: int | None) -> str:
    """Return in words what ``status`` (negative: a signal; None: unknown) means; reads after a process's title."""
    if status is None:
        return "ended, status unknown,"
    if status < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
        return f"was killed by signal {-status}"
    return f"exited with status {status}"
