"""Start ranks by having them forked (``testbed.workload.nursery``): interpreters of their own take much longer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from testbed.errors import WorkloadError
from testbed.system.adopted import Adopted
from testbed.system.process import Child, Event, OnEvent
from testbed.system.supervisor import Supervisor

TIMEOUT_S: Final = 60.0  # of what imports on a few busy cores


class Nursery:
    """Ranks in the network namespaces of hosts. Use as a context manager while they are started.

    ``pid_of`` says which process has a host's namespace. This process has to be the one that adopts orphans.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        pid_of: Callable[[str], int],
        *,
        python: str,
        env: Mapping[str, str],
        log_path: Path,
    ) -> None:
        self._supervisor = supervisor
        self._pid_of = pid_of
        self._argv = [python, "-m", "testbed.workload.nursery"]
        self._env = env
        self._log_path = log_path
        self._heard: list[Event] = []

    def __enter__(self) -> Nursery:
        self._child = self._supervisor.start(
            "rank",
            self._argv,
            name="the process that forks ranks",
            env=self._env,
            log_path=self._log_path,
            on_event=self._heard.append,
        )
        self._await("ready")
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if kind is None:  # else the supervisor ends it with all others, and says whose failure it was
            self._supervisor.stop(self._child)

    def start(self, *, name: str, host: str, log_path: Path, on_event: OnEvent) -> Child:
        """Have a rank forked and watch it, as ``Supervisor.start`` does. Raises WorkloadError when it cannot be."""
        with ExitStack() as undo, ExitStack() as theirs:
            ends: list[IO[bytes]] = []
            paths = {"stderr": str(log_path)}
            for which, mode in (("stdin", "wb"), ("stdout", "rb")):
                read, write = os.pipe()
                ours, its = (write, read) if mode == "wb" else (read, write)
                ends.append(undo.enter_context(open(ours, mode, 0)))
                theirs.callback(os.close, its)  # not before it is opened there
                paths[which] = f"/proc/{os.getpid()}/fd/{its}"
            log = undo.enter_context(log_path.open("ab+"))
            self._child.send({"command": "fork", "namespace": self._pid_of(host), "name": name, **paths})
            pid = int(self._await("forked")["pid"])
            adopted = Adopted(pid, *ends)
            child = self._supervisor.adopt("rank", adopted, name=name, host=host, log=log, on_event=on_event)
            undo.pop_all()  # all of it is the child's now
        return child

    def _await(self, event: str) -> Event:
        """Return the answer. Raises WorkloadError when it is another one, or none comes."""
        self._supervisor.run_until(lambda: bool(self._heard), TIMEOUT_S, repr(event), lambda: [self._child])
        said = self._heard.pop()
        if said["event"] != event:
            raise WorkloadError(f"{self._child} said {said['event']!r}, expected {event!r}")
        return said
