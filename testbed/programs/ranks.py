"""The ranks of a program: started, heard, and ended together.

A rank fails when it is killed, stopped, ends with another status than 0, or is still there when the time is over. The
first to fail is the cause; the others are ended by their process groups. Says nothing about the fabric.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.errors import WorkloadError
from testbed.programs.environment import Files, Place, environment, mpirun_argv, placeholder_values
from testbed.programs.furniture import enter_argv
from testbed.programs.placeholders import filled
from testbed.programs.request import Request
from testbed.programs.streams import Stream
from testbed.system.process import Child, Process, how_it_ended, title
from testbed.system.supervisor import Supervisor

GRACE_S: Final = 2.0  # between asking and killing
KILL_TIMEOUT_S: Final = 5.0
RANK_PROGRAM: Final = Path(__file__).with_name("mpirank.py")
STOPPED: Final = "has been stopped (by SIGSTOP or a debugger)"
OnLine = Callable[[Place, str, str], None]
Tell = Callable[..., None]


@dataclass(slots=True)
class Rank:
    """One rank as far as it is known: not ended while ``ended_s`` is None; ``status`` as subprocess has it."""

    place: Place
    pid: int | None = None  # under MPI of what starts its command
    pidfd: int | None = None
    command: Process | None = None  # what that has started, under MPI; None: not known yet, or ended by then
    ended_s: float | None = None
    status: int | None = None

    def __str__(self) -> str:
        host = self.place.host.name
        return title(f"rank {self.place.rank}", host, self.pid) if self.pid else f"rank {self.place.rank} on {host}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a program did not come to a good end; ``rank`` and ``host`` are None where it is nobody's in particular."""

    text: str
    rank: int | None
    host: str | None


class Ranks:
    """All ranks of a program.

    ``on_line(place, stream name, text)`` hears every line; ``tell(event, **fields)`` hears ``rank_started``,
    ``rank_ended`` and, as soon as it is known, ``program_failed``.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        request: Request,
        everyone: Sequence[Place],
        files: Files,
        *,
        users: Mapping[str, str],
        log_dir: Path,
        on_line: OnLine,
        tell: Tell,
    ) -> None:
        self._supervisor = supervisor
        self._request = request
        self._files = files
        self._users = users
        self._log_dir = log_dir
        self._on_line = on_line
        self._tell = tell
        self._everyone = tuple(everyone)
        self._ranks = [Rank(place) for place in everyone]
        self._streams: dict[tuple[int, str], Stream] = {}
        self._children: list[Child] = []
        self._control: Stream | None = None  # what ranks under MPI tell of themselves
        self._over = False
        self.failure: Failure | None = None

    # -- the story --------------------------------------------------------------------------------------------

    def run(self) -> Failure | None:
        """Start every rank and wait for all of them; return what went wrong, None when all ended with status 0.

        Raises what the supervisor raises when something of the fabric fails meanwhile. Nothing that was started here,
        and knows its parent, is left.
        """
        try:
            self._start()
            self._supervisor.call_at(time.monotonic() + self._request.timeout_s, self._time_is_over)
            self._supervisor.run_until(self._is_over, float("inf"), "the program's end")
        finally:
            self._over = True
            self._end_what_lives()
            self._close()
        return self.failure

    def _is_over(self) -> bool:
        self._look()
        if self.failure is not None:
            return True
        return all(rank.ended_s is not None for rank in self._ranks) and not any(c.alive for c in self._children)

    def _time_is_over(self) -> None:
        if self._over:
            return
        self._look()
        late = [str(rank) for rank in self._ranks if rank.ended_s is None] or [
            str(c) for c in self._children if c.alive
        ]
        shown = ", ".join(late[:4]) + (f" and {len(late) - 4} more" if len(late) > 4 else "")
        first = next((rank for rank in self._ranks if rank.ended_s is None), None)
        self._fail(f"no end within {self._request.timeout_s:g} s (--timeout) of {shown}", first)

    def _fail(self, text: str, rank: Rank | None) -> None:
        if self.failure is None and not self._over:  # what is ended here has not failed
            place = rank.place if rank else None
            self.failure = Failure(text, place.rank if place else None, place.host.name if place else None)
            self._tell("program_failed", message=text, rank=self.failure.rank, host=self.failure.host)

    # -- starting ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        for place in self._everyone:
            for name in ("stdout", "stderr"):
                self._open(place, name)
        if self._request.mpi:
            self._start_mpi()
            return
        for rank in self._ranks:
            child = self._start_child("rank", rank.place, self._argv(rank.place), self._outputs(rank.place))
            self._began(rank, child.pid)

    def _open(self, place: Place, name: str) -> None:
        path = self._log_dir / f"rank-{place.rank}.{name}"
        stream = Stream(path, lambda text: self._on_line(place, name, text))
        self._streams[place.rank, name] = stream
        self._supervisor.watch_fd(stream.read_fd, stream.read)

    def _outputs(self, place: Place) -> tuple[int, int]:
        return self._streams[place.rank, "stdout"].write_fd, self._streams[place.rank, "stderr"].write_fd

    def _argv(self, place: Place) -> list[str]:
        return filled(self._request.argv, placeholder_values(place, self._everyone, self._files))

    def _environment(self, place: Place) -> dict[str, str]:
        return environment(self._users, place, self._everyone, self._files)

    def _start_child(self, role: str, place: Place, argv: Sequence[str], outputs: tuple[int, int]) -> Child:
        def redirect() -> None:
            os.dup2(outputs[0], 1)
            os.dup2(outputs[1], 2)

        name = f"rank {place.rank}" if role == "rank" else role
        child = self._supervisor.start(
            role,
            enter_argv(place.host.name, self._request.cwd, argv),
            name=name,
            host=place.host.name,
            env=self._environment(place),
            on_death="record",
            preexec=redirect,
        )
        child.may_exit = True
        self._children.append(child)
        return child

    def _began(self, rank: Rank, pid: int) -> None:
        rank.pid = pid
        self._tell("rank_started", rank=rank.place.rank, host=rank.place.host.name, pid=pid)

    # -- MPI --------------------------------------------------------------------------------------------------

    def _start_mpi(self) -> None:
        """Start mpirun in the first rank's host; ranks tell of themselves on a pipe."""
        first = self._everyone[0]
        self._control = Stream(self._log_dir / "mpi-ranks.log", lambda line: self._hear(json.loads(line)))
        self._supervisor.watch_fd(self._control.read_fd, self._control.read)
        config = self._log_dir / "mpi.json"
        config.write_text(json.dumps(self._mpi_config(self._control)))
        own_words = Stream(self._log_dir / "mpirun.log", lambda text: self._on_line(first, "mpirun", text))
        self._streams[-1, "mpirun"] = own_words
        self._supervisor.watch_fd(own_words.read_fd, own_words.read)
        rank_argv = [sys.executable, "-I", str(RANK_PROGRAM), str(config)]
        argv = mpirun_argv(self._everyone, self._files, rank_argv)
        self._start_child("mpirun", first, argv, (own_words.write_fd, own_words.write_fd))

    def _mpi_config(self, control: Stream) -> dict[str, Any]:
        ours = f"/proc/{os.getpid()}/fd"  # by which whoever is in the capsule opens our pipes
        return {
            "control": f"{ours}/{control.write_fd}",
            "cwd": self._request.cwd,
            "ranks": [
                {
                    "host": place.host.name,
                    "argv": self._argv(place),
                    "environment": self._environment(place),
                    "stdout": f"{ours}/{self._outputs(place)[0]}",
                    "stderr": f"{ours}/{self._outputs(place)[1]}",
                }
                for place in self._everyone
            ],
        }

    def _read_control(self) -> None:
        if self._control is not None:
            self._control.read()

    def _hear(self, said: Mapping[str, Any]) -> None:
        rank = self._ranks[said["rank"]]
        if said["event"] == "started":
            self._began(rank, said["pid"])
            with suppress(ProcessLookupError):
                rank.pidfd = os.pidfd_open(said["pid"])
                self._supervisor.watch_fd(rank.pidfd, lambda: self._launcher_ended(rank))
            if said["host"] != rank.place.host.name:
                self._fail(f"{rank} was started on {said['host']} by mpirun, expected {rank.place.host.name}", rank)
        elif said["event"] == "running":
            self._watch_command(rank, said["pid"])
        elif rank.ended_s is None:
            self._note_end(rank, said["status"])
            if said["status"] is None:
                self._fail(f"{rank} could not be started: {said['message']}", rank)
            elif said["status"] != 0:
                self._fail(f"{rank} {how_it_ended(said['status'])}{self._last_words(rank)}", rank)

    def _watch_command(self, rank: Rank, pid: int) -> None:
        """Watch what a launcher has started: it waits for its end, and never hears that it has been stopped."""
        place = rank.place
        with suppress(WorkloadError):  # it is gone already: its launcher tells how it ended
            rank.command = self._supervisor.watch_pid(
                "rank", pid, name=f"rank {place.rank}", host=place.host.name, on_death="record"
            )
            rank.command.may_exit = True

    def _launcher_ended(self, rank: Rank) -> None:
        """Hear the end of what starts a rank's command; it dies with it, so one that said nothing was killed."""
        assert rank.pidfd is not None
        self._read_control()
        self._supervisor.unwatch_fd(rank.pidfd)
        if rank.ended_s is None:
            self._note_end(rank, None)
            self._fail(f"{rank} was killed", rank)

    # -- ends -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Note who has ended or been stopped since the last look."""
        self._read_control()  # a rank tells why it ends before mpirun ends for it
        bad: list[tuple[bool, str, Rank | None]] = []
        for child in self._children:
            rank = self._rank_of(child)
            status = child.popen.returncode
            if rank is not None and not child.alive and rank.ended_s is None:
                self._note_end(rank, status)
            if child.failed or (not child.alive and status):
                how = how_it_ended(status) if not child.alive else STOPPED
                bad.append((bool(status and status > 0), f"{rank or child} {how}{self._last_words(rank)}", rank))
        for rank in self._ranks:
            if rank.command is not None and rank.command.failed:  # its end is its launcher's to tell: it stopped
                bad.append((False, f"{rank.command} {STOPPED}{self._last_words(rank)}", rank))
        if bad and self.failure is None:
            _, text, rank = min(bad, key=lambda one: one[0])  # a signal before a status: more likely the cause
            self._fail(text, rank)
        if self._request.mpi and self._children and not self._children[0].alive:
            for rank in (one for one in self._ranks if one.ended_s is None):
                self._fail(f"mpirun ended before {rank} was done", rank)

    def _rank_of(self, child: Child) -> Rank | None:
        return next((rank for rank in self._ranks if rank.pid == child.pid), None) if child.role == "rank" else None

    def _note_end(self, rank: Rank, status: int | None) -> None:
        rank.ended_s = time.monotonic()
        rank.status = status
        self._tell("rank_ended", rank=rank.place.rank, host=rank.place.host.name, status=status)

    def _last_words(self, rank: Rank | None) -> str:
        stream = self._streams[(-1, "mpirun") if rank is None else (rank.place.rank, "stderr")]
        stream.read()
        return f"; its last words: {stream.last_line}" if stream.last_line else ""

    def _end_what_lives(self) -> None:
        """End every process group we have started that is still there, gently first."""
        for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
            living = [child for child in self._children if child.alive]
            for child in living:
                child.stopping = True
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, number)  # the child leads its group, and lives: the group is ours
            self._supervisor.wait_end(living, patience_s)
        self._end_mpi_ranks()

    def _end_mpi_ranks(self) -> None:
        """End what a killed mpirun could not end any more: what starts a rank's command, which dies with it."""
        deadline_s = time.monotonic() + KILL_TIMEOUT_S
        for rank in self._ranks:
            if rank.pidfd is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(rank.pidfd, signal.SIGKILL)
        for rank in self._ranks:
            if rank.pidfd is not None:
                ends = select.poll()  # select.select takes no descriptor above 1023
                ends.register(rank.pidfd, select.POLLIN)
                ends.poll(max(0.0, deadline_s - time.monotonic()) * 1e3)

    def _close(self) -> None:
        """Take what is still in the pipes and close them."""
        self._read_control()
        for rank in self._ranks:
            if rank.ended_s is None and rank.pid is not None:
                child = next((child for child in self._children if child.pid == rank.pid), None)
                self._note_end(rank, child.popen.returncode if child else None)
            if rank.pidfd is not None:
                with suppress(KeyError):  # its end has been noticed already
                    self._supervisor.unwatch_fd(rank.pidfd)
                os.close(rank.pidfd)
        for stream in filter(None, (*self._streams.values(), self._control)):
            self._supervisor.unwatch_fd(stream.read_fd)
            stream.close()
