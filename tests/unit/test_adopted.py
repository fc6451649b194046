"""A process that another has forked for us: how it ends is known as of one of our own."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

from testbed.system.adopted import Adopted
from testbed.system.supervisor import Supervisor

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def adopting() -> Iterator[None]:
    """Let orphans be this process's, as they are the first one's of a PID namespace."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def orphan(argv: list[str]) -> Adopted:
    """Start a program by a process that ends at once, and adopt it."""
    (stdin, command), (event, stdout), (told, tell) = os.pipe(), os.pipe(), os.pipe()
    if (between := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            os.execv(argv[0], argv)  # the other descriptors close by themselves
        os.write(tell, b"%d" % pid)
        os._exit(0)
    os.waitpid(between, 0)
    for fd in (stdin, stdout, tell):
        os.close(fd)
    with open(told, "rb") as pipe:
        return Adopted(int(pipe.read()), open(command, "wb", 0), open(event, "rb", 0))


def test_events_and_the_end_of_an_adopted_process_are_heard() -> None:
    events: list[object] = []
    script = "import json; print(json.dumps({'event': 'heard', 'said': input()}), flush=True); input()"
    with open(os.devnull, "rb+", 0) as log, Supervisor(t0_s=0.0) as supervisor:
        process = orphan([sys.executable, "-c", script])
        child = supervisor.adopt("rank", process, name="rank 3", host="h3", log=log, on_event=events.append)
        child.send({"a": 1})
        supervisor.run_until(lambda: bool(events), 10.0, "an event")
        assert events == [{"event": "heard", "said": '{"a": 1}'}]
        child.may_exit = True
        child.send({})
        assert supervisor.wait_end([child], 10.0)
        assert (child.popen.returncode, supervisor.deaths) == (0, [])


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("raise SystemExit(7)", "exited with status 7"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
    ],
)
def test_an_adopted_process_that_dies_is_named_with_how(script: str, how: str) -> None:
    with open(os.devnull, "rb+", 0) as log, Supervisor(t0_s=0.0) as supervisor:
        process = orphan([sys.executable, "-c", script])
        child = supervisor.adopt("rank", process, name="rank 3", host="h3", log=log, on_event=lambda _event: None)
        child.on_death = "record"
        assert supervisor.wait_end([child], 10.0)
        (death,) = supervisor.deaths
        assert str(death).startswith(f"rank 3 on h3 (pid {process.pid}) {how}")
