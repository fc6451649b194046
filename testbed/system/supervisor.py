"""Start the processes of a run, talk to them, and notice the moment one of them dies.

One selectors loop over pidfds and pipes: nothing is polled. A child that is given ``on_event`` speaks JSON
lines; ``{"event": "error", "message": ...}`` is its own account of why it fails. Does not know what the
processes are for. Ends only processes it has started, by PID.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from testbed.errors import ControllerError, NetworkError, TestbedError, WorkloadError
from testbed.system.adopted import Adopted
from testbed.system.pipes import tail
from testbed.system.process import GRACE_S, Child, Death, OnDeath, OnEvent, Process, how_it_ended, title

PROJECT = Path(__file__).resolve().parents[2]

ERROR_OF_ROLE: Mapping[str, type[TestbedError]] = {
    "gsos": ControllerError,
    "vswitchd": NetworkError,
    "ovsdb": NetworkError,
    "host": NetworkError,
}
KILL_TIMEOUT_S = 10.0
TAIL_LINES = 8
STOPPED_CHECK_S = 0.5
STOPPED_S = 1.0  # a debugger that only looks stops a process for less
BEHIND_LOOKS = 4  # found stopped, or continued, by so many looks: it falls behind


class Timer:
    """A function to call once at a time; ``cancel`` it any time before."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        """Do not call it any more."""
        self.function = None


class Supervisor:
    """Starts and watches processes; a context manager that ends all it has started.

    ``t0_s`` is the monotonic reading that times in messages count from.
    """

    def __init__(self, t0_s: float) -> None:
        self.deaths: list[Death] = []  # every unexpected one, fatal or not, in order of notice
        # processes somebody has stopped, however shortly: when it was noticed, and by how many looks
        self.stops: dict[Process, float] = {}
        self.stop_counts: Counter[Process] = Counter()
        self.on_behind: Callable[[Process, float], None] = lambda _process, _t_s: None  # once a process, at what time
        self._t0_s = t0_s
        self._selector = selectors.DefaultSelector()
        self._processes: list[Process] = []
        self._failures: list[Death] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._closing = False
        self._reported = False  # a failure has been raised
        self._stopped_since_s: dict[Process, tuple[float, bytes | None]] = {}  # and how often it had run by then
        self._next_look_s = 0.0

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """End everything. A death that nobody has reported yet explains the error: then that is raised instead."""
        try:
            if isinstance(error, Exception) and not self._reported:
                self._hear_the_rest()
                self._look_for_stopped(patience_s=0.0)
                self._raise_failure(consequence=error)
        finally:
            self.close()

    # -- starting ---------------------------------------------------------------------------------------------

    def start(
        self,
        role: str,
        argv: Sequence[str],
        *,
        name: str | None = None,
        host: str | None = None,
        env: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        stdout_path: Path | None = None,
        on_event: OnEvent | None = None,
        on_death: OnDeath = "fatal",
        after_death: Callable[[], None] | None = None,
        account: Callable[[], str | None] = lambda: None,
        preexec: Callable[[], None] | None = None,
    ) -> Child:
        """Start ``argv`` and watch it.

        ``role`` decides which error its death is, ``name`` (default: the role) is what messages call it. With
        ``on_event`` it gets a stdin for ``send`` and its stdout must be JSON lines; without, stdout goes to
        ``stdout_path`` or, like stderr, to ``log_path`` (appended to; without one it is kept for messages only).
        With ``on_death="record"`` its death is only noted in ``deaths``, and ``after_death`` is called from
        ``run_until`` (to start it again, say). ``account`` returns its own words about
        its death where they are not in the log. Raises the role's error when it
        cannot be started.
        """
        # the log outlives this function: it is read when the process fails
        log: IO[bytes] = log_path.open("ab+") if log_path else tempfile.TemporaryFile()  # noqa: SIM115
        stdout_file = stdout_path.open("wb") if stdout_path else None
        try:
            popen = _popen(
                argv, talks=on_event is not None, stdout=stdout_file or log, log=log, env=env, preexec=preexec
            )
        except OSError as error:
            log.close()
            raise ERROR_OF_ROLE.get(role, WorkloadError)(f"cannot start {name or role} ({argv[0]}): {error}") from None
        finally:
            if stdout_file:
                stdout_file.close()
        child = Child(role, name or role, host, popen, on_death, log, on_event, account, self._watch_stdin)
        child.after_death = after_death
        return self._take(child)

    def adopt(
        self, role: str, process: Adopted, *, name: str, host: str | None, log: IO[bytes], on_event: OnEvent
    ) -> Child:
        """Watch a process that another has forked for us, as if it were started here. Its death is fatal.

        ``log`` is what it has as stderr; it is closed with the rest.
        """
        child = Child(role, name, host, process, "fatal", log, on_event, lambda: None, self._watch_stdin)
        return self._take(child)

    def _take(self, child: Child) -> Child:
        self._watch(child)
        if child.stdout:
            self._selector.register(child.stdout.fd, selectors.EVENT_READ, lambda: self._read(child))
        return child

    def watch_pid(
        self,
        role: str,
        pid: int,
        *,
        name: str | None = None,
        host: str | None = None,
        log_path: Path | None = None,
        on_death: OnDeath = "fatal",
    ) -> Process:
        """Watch a process that was not started here; it is never ended here. Raises the role's error if it is gone."""
        log = log_path.open("rb") if log_path else None  # noqa: SIM115 - read when the process fails
        try:
            process = Process(role, name or role, host, pid, on_death, log)
        except ProcessLookupError:
            raise ERROR_OF_ROLE.get(role, WorkloadError)(f"{title(name or role, host, pid)} is not running") from None
        self._watch(process)
        return process

    def _watch(self, process: Process) -> None:
        self._processes.append(process)
        self._selector.register(process.pidfd, selectors.EVENT_READ, lambda: self._note_end(process))

    def watch_fd(self, fd: int, function: Callable[[], None]) -> None:
        """Call ``function`` while waiting, whenever ``fd`` can be read; ``unwatch_fd`` before closing it."""
        self._selector.register(fd, selectors.EVENT_READ, function)

    def unwatch_fd(self, fd: int) -> None:
        """Forget a descriptor that was watched."""
        self._selector.unregister(fd)

    def call_at(self, at_s: float, function: Callable[[], None]) -> Timer:
        """Call ``function`` from ``run_until`` when the monotonic clock reaches ``at_s``."""
        timer = Timer(function)
        heapq.heappush(self._timers, (at_s, next(self._order), timer))
        return timer

    # -- waiting ----------------------------------------------------------------------------------------------

    def run_until(
        self,
        done: Callable[[], bool],
        timeout_s: float,
        what: str,
        waiting_for: Callable[[], Iterable[object]] = tuple,
    ) -> None:
        """Handle events and timers until ``done()``.

        Raises the role's error when a process with ``on_death="fatal"`` fails or is stopped, WorkloadError when
        ``timeout_s`` passes: it says ``what`` was awaited, and from whom (``waiting_for()``). Whatever a callback
        raises is raised.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._raise_failure()
            if done():
                return
            now_s = time.monotonic()
            if now_s >= deadline_s:
                missing = ", ".join(str(one) for one in waiting_for())
                raise WorkloadError(
                    f"waited {timeout_s:g} s in vain for {what}" + (f" from {missing}" if missing else "")
                )
            self._turn(min(deadline_s, self._next_timer_s(), now_s + STOPPED_CHECK_S) - now_s)
            self._fire_timers()
            self._look_for_stopped()

    def wait_end(self, children: Sequence[Child], timeout_s: float) -> bool:
        """Wait until all ``children`` have ended; return whether they have. Failures are noted, not raised, here."""
        deadline_s = time.monotonic() + timeout_s
        while any(child.alive for child in children) and (now_s := time.monotonic()) < deadline_s:
            self._turn(deadline_s - now_s)
        return not any(child.alive for child in children)

    def stop(self, child: Child, *, timeout_s: float = 2.0, with_signal: signal.Signals = signal.SIGTERM) -> int | None:
        """End ``child``: ask by signal, kill after ``timeout_s``; return its status. Its death is no failure."""
        self._end([child], timeout_s, with_signal)
        return child.popen.returncode

    def close(self, *, timeout_s: float = 2.0) -> None:
        """End every child, latest first, and forget everything. Does not raise for what they do."""
        if self._closing:
            return
        self._closing = True  # what they still say does not matter
        children = [process for process in reversed(self._processes) if isinstance(process, Child)]
        try:
            self._end(children, timeout_s, signal.SIGTERM)
        finally:
            for process in self._processes:
                self._release(process)
            self._selector.close()

    def _end(self, children: Sequence[Child], timeout_s: float, first: signal.Signals) -> None:
        for how, patience_s in ((first, timeout_s), (signal.SIGKILL, KILL_TIMEOUT_S)):
            for child in children:
                child.stopping = True
                if child.alive:
                    signal.pidfd_send_signal(child.pidfd, how)
            self.wait_end(children, patience_s)
        stuck = [str(child) for child in children if child.alive]
        if stuck:
            raise WorkloadError(f"{', '.join(stuck)} not gone {KILL_TIMEOUT_S:g} s after SIGKILL")

    # -- the loop ---------------------------------------------------------------------------------------------

    def _turn(self, timeout_s: float) -> None:
        for key, _mask in self._selector.select(max(0.0, timeout_s)):
            if self._selector.get_map().get(key.fd) is key:  # an earlier callback may have ended this one
                key.data()

    def _next_timer_s(self) -> float:
        return self._timers[0][0] if self._timers else float("inf")

    def _fire_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self._timers)[2]
            if timer.function:
                timer.function()

    def _watch_stdin(self, child: Child) -> None:
        assert child.stdin is not None
        watched = child.stdin.fd in self._selector.get_map()
        if child.stdin.pending and not watched:
            self._selector.register(child.stdin.fd, selectors.EVENT_WRITE, lambda: self._flush(child))
        elif watched and not child.stdin.pending:
            self._selector.unregister(child.stdin.fd)

    def _flush(self, child: Child) -> None:
        assert child.stdin is not None
        try:
            child.stdin.flush()
        except BrokenPipeError:
            child.complain_unless_dying()
        self._watch_stdin(child)

    def _read(self, child: Child) -> None:
        assert child.stdout is not None
        try:
            lines = child.stdout.read()
        except ValueError as error:
            self._selector.unregister(child.stdout.fd)
            child.stdout.open = False
            self._fail(child, str(error))
            return
        if not child.stdout.open:
            self._selector.unregister(child.stdout.fd)
        for line in lines:
            self._hear(child, line)

    def _hear(self, child: Child, line: bytes) -> None:
        if self._closing:
            return
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            self._fail(child, f"printed {line[:200]!r}, expected a JSON event")
        elif event["event"] == "error":
            self._fail(child, "failed", message=str(event.get("message")))
        elif child.on_event:
            child.on_event(event)

    # -- failures ---------------------------------------------------------------------------------------------

    def _note_end(self, process: Process) -> None:
        """Hear what a process said last, then judge how it ended."""
        self._selector.unregister(process.pidfd)
        status = process.reap()
        process.alive = False
        if isinstance(process, Child) and process.stdout:
            while process.stdout.open and _readable(process.stdout.fd):
                self._read(process)
        if not process.stopping and not (process.may_exit and not status):  # None: not our child
            account = process.account() if isinstance(process, Child) else None
            self._fail(process, how_it_ended(status), status=status, message=account)
            if process.on_death == "record" and isinstance(process, Child) and process.after_death:
                self.call_at(time.monotonic(), process.after_death)
        self._release(process)

    def _fail(self, process: Process, how: str, *, status: int | None = None, message: str | None = None) -> None:
        if process.failed or process.stopping or self._closing:
            return
        process.failed = True
        death = Death(
            role=process.role,
            name=process.name,
            host=process.host,
            pid=process.pid,
            t_s=time.monotonic() - self._t0_s,
            how=how,
            status=status,
            message=message,
            log_tail=tail(process.log, TAIL_LINES) if process.log else "",
        )
        self.deaths.append(death)
        if process.on_death == "fatal":
            self._failures.append(death)

    def _look_for_stopped(self, patience_s: float = STOPPED_S) -> None:
        """Take a process that has been stopped for so long as failed: nothing else will ever tell."""
        now_s = time.monotonic()
        if now_s < self._next_look_s and patience_s > 0:
            return
        self._next_look_s = now_s + STOPPED_CHECK_S
        stopped = self.look_for_stops()
        before, self._stopped_since_s = self._stopped_since_s, {}
        for process in stopped:
            since_s, runs = before.get(process, (now_s, None))
            if (now_runs := process.runs()) != runs:  # it has gone on for a while since the last look
                since_s = now_s
            self._stopped_since_s[process] = since_s, now_runs
        for process, (since_s, _runs) in self._stopped_since_s.items():
            if now_s - since_s >= patience_s:
                self._fail(process, "has been stopped (by SIGSTOP or a debugger)")
                if process.on_death == "record" and isinstance(process, Child) and process.after_death:
                    # not to go on one day beside the one that takes its place, which comes when it has ended
                    signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)

    def look_for_stops(self) -> list[Process]:
        """Note in ``stops`` who is, or since the last look was, stopped; return who is."""
        t_s = time.monotonic() - self._t0_s
        watched = [process for process in self._processes if process.alive and not process.stopping]
        stopped = [process for process in watched if process.is_stopped()]
        for process in watched:
            if process.was_continued() or process in stopped:
                self.stops.setdefault(process, t_s)
                self.stop_counts[process] += 1
                if self.stop_counts[process] == BEHIND_LOOKS:
                    self.on_behind(process, t_s)
        return stopped

    def _hear_the_rest(self) -> None:
        """Handle what else happens in GRACE_S: one death makes others fail."""
        deadline_s = time.monotonic() + GRACE_S
        while (now_s := time.monotonic()) < deadline_s:
            self._turn(deadline_s - now_s)

    def _raise_failure(self, consequence: Exception | None = None) -> None:
        if not self._failures:
            return
        self._reported = True
        self._hear_the_rest()  # let the first cause show
        # who dies by a signal or without a word is the cause; who gives an account mostly tells of another's end
        first, *others = sorted(self._failures, key=lambda d: (d.message is not None, (d.status or 0) > 0, d.t_s))
        consequences = "".join(f"\nalso: {also}" for also in (*others[:3], *filter(None, [consequence])))
        more = f"\nand {len(others) - 3} more" if len(others) > 3 else ""
        raise ERROR_OF_ROLE.get(first.role, WorkloadError)(f"{first}{consequences}{more}")

    def _release(self, process: Process) -> None:
        """Close what belongs to a process. Harmless when done already."""
        if process.pidfd < 0:
            return
        files: list[IO[bytes] | None] = [process.log]
        fds = [process.pidfd]
        if isinstance(process, Child):
            files += [process.popen.stdin, process.popen.stdout]
            fds += [pipe.fd for pipe in (process.stdin, process.stdout) if pipe]
        for fd in fds:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        os.close(process.pidfd)
        process.pidfd = -1
        for file in files:
            if file:
                file.close()


def _popen(
    argv: Sequence[str],
    *,
    talks: bool,
    stdout: IO[bytes],
    log: IO[bytes],
    env: Mapping[str, str] | None,
    preexec: Callable[[], None] | None,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
        stdout=subprocess.PIPE if talks else stdout,
        stderr=log,
        env=None if env is None else dict(env),
        cwd=PROJECT,  # -m looks in the current directory first: never in a user's
        bufsize=0,
        start_new_session=True,  # Ctrl-C is for us; we end our children in order
        preexec_fn=preexec,
    )


def _readable(fd: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(0))
