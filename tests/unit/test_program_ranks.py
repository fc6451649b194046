"""Ranks of a program as processes of this machine: how each may end, and what becomes of the others. No namespaces."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import scenario_of

import testbed.programs.ranks
from testbed.errors import NetworkError
from testbed.model.topology import Topology
from testbed.programs.environment import Files, places
from testbed.programs.ranks import Failure, Ranks
from testbed.programs.request import Request
from testbed.system.supervisor import Supervisor

N = 3
NOTICED_S = 5.0
WAIT = "time.sleep(60)"
# What mpirun does, as far as a rank can tell: its ranks are its children, and it ends badly when one of them does.
MPIRUN = """\
#!{python}
import os, subprocess, sys
n = int(sys.argv[sys.argv.index("-np") + 1])
argv = sys.argv[sys.argv.index("slot") + 1:]
ranks = [subprocess.Popen(argv, env={{**os.environ, "OMPI_COMM_WORLD_RANK": str(rank)}}) for rank in range(n)]
statuses = [rank.wait() for rank in ranks]
sys.exit({status})
"""


@dataclass
class Told:
    """What was heard of a program."""

    events: list[dict[str, Any]] = field(default_factory=list)
    lines: list[tuple[int, str, str]] = field(default_factory=list)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def statuses(self) -> dict[int, int | None]:
        return {event["rank"]: event["status"] for event in self.of("rank_ended")}


@pytest.fixture(autouse=True)
def hosts_are_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.programs.ranks, "enter_argv", lambda _host, _cwd, argv: list(argv))


def run(
    folder: Path,
    code: str,
    *,
    timeout_s: float = 30.0,
    users: dict[str, str] | None = None,
    mpi: bool = False,
    told: Told | None = None,
    beside: Callable[[Supervisor], object] = lambda _supervisor: None,
) -> tuple[Failure | None, Told]:
    """Run Python code as every rank; ``rank`` is a number in it. ``beside`` starts what is not the program's."""
    script = f"import os, signal, sys, time\nrank = int(os.environ['RANK'])\n{code}\n"
    request = Request(argv=(sys.executable, "-c", script), cwd=str(folder), timeout_s=timeout_s, mpi=mpi)
    everyone = places(Topology(scenario_of().fabric).hosts[:N], "none")
    told = told or Told()
    with Supervisor(time.monotonic()) as supervisor:
        beside(supervisor)
        ranks = Ranks(
            supervisor,
            request,
            everyone,
            Files(hostfile="hosts", launcher="enter", scratch="scratch"),
            users={**os.environ, **(users or {})},
            log_dir=folder,
            on_line=lambda place, stream, text: told.lines.append((place.rank, stream, text)),
            tell=lambda event, **fields: told.events.append({"event": event, "at_s": time.monotonic(), **fields}),
        )
        return ranks.run(), told


def test_ranks_that_end_well_are_heard_to_the_last_word(tmp_path: Path) -> None:
    failure, told = run(tmp_path, "print('I am', rank)\nsys.stderr.write('no end of line')")
    assert failure is None
    assert told.statuses == {0: 0, 1: 0, 2: 0}
    assert sorted(told.lines) == [
        line for rank in range(N) for line in [(rank, "stderr", "no end of line"), (rank, "stdout", f"I am {rank}")]
    ]
    assert (tmp_path / "rank-1.stdout").read_text() == "I am 1\n"
    assert [event["host"] for event in told.of("rank_started")] == ["h1", "h2", "h3"]


@pytest.mark.parametrize(
    ("act", "how", "status"),
    [
        ("sys.exit(3)", "exited with status 3", 3),
        ("sys.exit('out of luck')", "exited with status 1; its last words: out of luck", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL", -9),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "has been stopped (by SIGSTOP or a debugger)", -9),
    ],
)
def test_a_rank_that_fails_is_the_cause_and_the_others_are_ended(
    tmp_path: Path, act: str, how: str, status: int
) -> None:
    failure, told = run(tmp_path, f"if rank == 1: {act}\n{WAIT}")
    assert failure is not None
    (failed,) = told.of("program_failed")
    assert (failure.rank, failure.host, failure.text) == (1, "h2", failed["message"])
    assert failure.text.startswith("rank 1 on h2 (pid ")
    assert failure.text.endswith(how)
    assert told.statuses == {0: -15, 1: status, 2: -15}
    assert max(event["at_s"] for event in told.of("rank_ended")) - failed["at_s"] < NOTICED_S


def test_what_is_deaf_to_sigterm_is_killed_and_so_is_its_group(tmp_path: Path) -> None:
    code = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0: time.sleep(60)\n"  # a child of its group, which inherits the deafness
        "print('deaf')\n"
        "if rank == 0:\n"
        "    time.sleep(0.5)\n"
        "    sys.exit(3)\n" + WAIT
    )
    failure, told = run(tmp_path, code)
    assert failure is not None and failure.rank == 0
    assert (told.statuses[1], told.statuses[2]) == (-9, -9)


def test_who_takes_too_long_is_named(tmp_path: Path) -> None:
    failure, told = run(tmp_path, f"if rank: {WAIT}", timeout_s=1.5)
    assert failure is not None
    assert failure.text.startswith("no end within 1.5 s (--timeout) of rank 1 on h2 (pid ")
    assert "rank 2 on h3 (pid " in failure.text
    assert "rank 0" not in failure.text
    assert told.statuses == {0: 0, 1: -15, 2: -15}


def test_a_rank_that_cannot_be_started_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.programs.ranks, "enter_argv", lambda _host, _cwd, _argv: ["env", "./not-there"])
    failure, _told = run(tmp_path, "pass")
    assert failure is not None
    assert "exited with status 127" in failure.text
    assert "not-there" in failure.text


# --- started by mpirun --------------------------------------------------------------------------------


def run_mpi(
    folder: Path, code: str, *, mpirun: str = MPIRUN, status: str = "max(map(abs, statuses))", **options: Any
) -> tuple[Failure | None, Told]:
    """Run code under a made-up mpirun whose exit status is the expression ``status``."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "mpirun"
    program.write_text(mpirun.format(python=sys.executable, status=status))
    program.chmod(0o755)
    logs = folder / "logs"
    logs.mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    return run(logs, code, users={"PATH": path}, mpi=True, **options)


@pytest.fixture
def one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts have this machine's name here: where mpirun starts whom is for tests with namespaces."""
    real = Ranks._hear

    def hear(self: Ranks, said: dict[str, Any]) -> None:
        host = self._ranks[said["rank"]].place.host.name
        real(self, {**said, "host": host} if said["event"] == "started" else said)

    monkeypatch.setattr(Ranks, "_hear", hear)


def test_ranks_under_mpi_are_heard_each_by_itself(tmp_path: Path, one_name: None) -> None:
    failure, told = run_mpi(tmp_path, "print('I am', rank, os.environ['OMPI_COMM_WORLD_RANK'])")
    assert failure is None
    assert told.statuses == {0: 0, 1: 0, 2: 0}
    assert sorted(told.lines) == [(rank, "stdout", f"I am {rank} {rank}") for rank in range(N)]


@pytest.mark.parametrize(
    ("act", "how"),
    [
        ("sys.exit('out of luck')", "exited with status 1; its last words: out of luck"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.kill(os.getppid(), signal.SIGKILL)", "was killed"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "has been stopped (by SIGSTOP or a debugger)"),
    ],
)
def test_a_rank_under_mpi_that_fails_is_named(tmp_path: Path, one_name: None, act: str, how: str) -> None:
    failure, told = run_mpi(tmp_path, f"time.sleep(0.3)\nif rank == 1: {act}\n{WAIT}")
    assert failure is not None
    assert (failure.rank, failure.host) == (1, "h2")
    assert failure.text.startswith("rank 1 on h2 (pid ")
    assert failure.text.endswith(how)
    assert told.statuses.keys() == {0, 1, 2}


def test_an_mpi_program_that_takes_too_long_is_ended(tmp_path: Path, one_name: None) -> None:
    failure, told = run_mpi(tmp_path, f"print('here')\n{WAIT}", timeout_s=2.0)
    assert failure is not None
    assert failure.text.startswith("no end within 2 s (--timeout) of rank 0 on h1 (pid ")
    assert sorted(told.lines) == [(rank, "stdout", "here") for rank in range(N)]


def test_ranks_under_mpi_are_ended_where_many_descriptors_are_open(tmp_path: Path, one_name: None) -> None:
    """As in a fabric of some hundred hosts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 4096:
        pytest.skip(f"at most {before[1]} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, before[1]))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        failure, _told = run_mpi(tmp_path, WAIT, timeout_s=2.0)
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert failure is not None
    assert failure.text.startswith("no end within 2 s (--timeout) of rank 0 on h1 (pid ")


def test_an_mpirun_that_fails_although_all_ranks_were_well_is_said(tmp_path: Path, one_name: None) -> None:
    failure, told = run_mpi(tmp_path, "pass", status="print('no good', file=sys.stderr) or 7")
    assert failure is not None
    assert failure.text.startswith("mpirun on h1 (pid ")
    assert failure.text.endswith("exited with status 7; its last words: no good")
    assert told.statuses == {0: 0, 1: 0, 2: 0}


def test_a_rank_mpirun_never_started_is_said(tmp_path: Path, one_name: None) -> None:
    failure, _told = run_mpi(tmp_path, "pass", mpirun=MPIRUN.replace("range(n)", "range(n - 1)"))
    assert failure is not None
    assert failure.text == "mpirun ended before rank 2 on h3 was done"


def test_a_rank_that_mpirun_starts_elsewhere_is_said(tmp_path: Path) -> None:
    failure, _told = run_mpi(tmp_path, WAIT)  # on this machine, not on h1
    assert failure is not None
    assert "was started on" in failure.text
    assert "by mpirun, expected h" in failure.text


def test_ranks_that_are_ended_with_the_fabric_have_not_failed(tmp_path: Path, one_name: None) -> None:
    """The fabric is the cause. This mpirun waits for its ranks, so that each tells how it was ended."""
    patient = MPIRUN.replace("statuses =", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nstatuses =")
    switches = (
        "import os, sys, time\n"
        f"while not all(os.path.exists(f'{tmp_path}/began-{{rank}}') for rank in range({N})): time.sleep(0.05)\n"
        "time.sleep(0.3)\n"
        "sys.exit(3)\n"
    )

    def start_switches(supervisor: Supervisor) -> None:
        supervisor.start("vswitchd", [sys.executable, "-c", switches], name="the switches")

    told = Told()
    code = f"open('{tmp_path}/began-' + str(rank), 'w').close()\n{WAIT}"
    with pytest.raises(NetworkError, match="the switches .*exited with status 3"):
        run_mpi(tmp_path, code, mpirun=patient, told=told, beside=start_switches)
    assert told.of("program_failed") == []
    assert told.statuses == {0: -15, 1: -15, 2: -15}
