"""``gse exec`` over real switches: what ranks find, what is kept of them, and what becomes of those that fail.

The ``full`` ones need programs of others (torch, Open MPI); where those are not installed they are skipped, which
docs/exec.md says how to mend: GSE_TORCH_PYTHON names a Python that can import torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gse_runs import ENV, MACHINE, PROJECT, gse_argv, words
from lab import seen

pytestmark = pytest.mark.root

PROGRAM = PROJECT / "tests" / "integration" / "ring_program.py"
EXAMPLES = PROJECT / "scenarios" / "programs"
SMALL = {"fabric.leaves": 2, "fabric.spines": 2, "fabric.hosts_per_leaf": 2, "measure.calibrate": False}
RING = [sys.executable, str(PROGRAM)]
HOSTS = ["h1", "h3", "h2", "h4"]  # cross_leaf deals ranks out leaf by leaf
NOTICED_S = 5.0  # a rank that fails is named within this time


@dataclass(frozen=True)
class Executed:
    """One call of ``gse exec --json``."""

    status: int
    summary: dict[str, Any]
    err: str
    took_s: float

    def kept(self, name: str) -> str:
        return Path(self.summary["run_dir"], "raw", name).read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        manifest = json.loads(Path(self.summary["run_dir"], "manifest.json").read_text())
        return [event for event in manifest["events"] if event["event"] == name]

    @property
    def statuses(self) -> list[int | None]:
        return [rank["status"] for rank in self.summary["program"]["ranks"]]


def exec_argv(
    results: Path, command: Sequence[str], *options: str, scheme: str = "ecmp", settings: dict[str, Any] | None = None
) -> list[str]:
    fixed = ["--scheme", scheme, "--results", str(results), *words({**SMALL, **(settings or {})})]
    return gse_argv("exec", "allreduce_ring", *fixed, *options, "--", *command)


def said_by_gse(stderr: str) -> str:
    """Return what is not a rank's own: a rank's line begins with its host and rank, and torchrun logs tracebacks."""
    return "\n".join(line for line in stderr.splitlines() if not re.match(r"h\d+/\d+: ", line))


def gse_exec(
    results: Path,
    command: Sequence[str],
    *options: str,
    scheme: str = "ecmp",
    settings: dict[str, Any] | None = None,
    timeout_s: float = 120,
    env: dict[str, str] | None = None,
) -> Executed:
    argv = exec_argv(results, command, "--json", *options, scheme=scheme, settings=settings)
    began_s = time.monotonic()
    done = subprocess.run(
        argv, cwd=results, env=env or ENV, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    took_s = time.monotonic() - began_s
    assert "Traceback" not in said_by_gse(done.stderr), done.stderr
    assert done.stdout, done.stderr
    return Executed(done.returncode, json.loads(done.stdout)["run"], done.stderr, took_s)


def living(mark: str) -> list[str]:
    """Return every process of this machine whose command line has ``mark`` in it."""
    found = (seen(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [one.command for one in found if one is not None and mark in one.command and one.state != "Z"]


# --- a program that does well -------------------------------------------------------------------------


@pytest.mark.beside
@pytest.mark.parametrize("scheme", ["ecmp", "gse1", "gse2-n2n", "gse2-e2e"])
def test_ranks_run_in_their_hosts_and_the_fabric_is_measured(tmp_path: Path, scheme: str) -> None:
    done = gse_exec(tmp_path, [*RING, "--bytes", "600000"], scheme=scheme)
    assert done.status == 0, done.err
    assert done.statuses == [0, 0, 0, 0]
    assert [rank["host"] for rank in done.summary["program"]["ranks"]] == HOSTS
    for rank, host in enumerate(HOSTS):
        interface = f"{host}-gse" if scheme == "gse2-e2e" else f"{host}-eth0"
        lines = done.kept(f"rank-{rank}.stdout").splitlines()
        assert lines[:2] == [f"this is {host}, its interface {interface}", "connected"]
        assert done.kept(f"rank-{rank}.stderr") == f"rank {rank} complains\n"
        for line in lines:
            assert f"{host}/{rank}: {line}\n" in done.err
    assert [one["received"] for one in done.summary["reported"]] == [600_000] * 4
    for host in done.summary["program"]["hosts"]:
        assert 600_000 < host["sent_bytes"] < 900_000, "what it sent, headers, acknowledgements, probes, no more"
        assert 600_000 < host["received_bytes"] < 900_000
        assert host["retransmitted_segments"] is not None
    assert done.summary["uplink_utilization"] > 0
    assert 0 < done.summary["program"]["communicating_s"] <= done.summary["program"]["duration_s"]
    assert done.events("output") == [], "lines are in files of their own"
    assert set(done.summary["checks"]) <= MACHINE, done.summary["reasons"]
    assert ("containers" in done.summary) == scheme.startswith("gse2")


@pytest.mark.beside
def test_without_json_lines_of_stdout_are_on_stdout(tmp_path: Path) -> None:
    script = "import os, sys; print('out', *sys.argv[1:]); print('err', file=sys.stderr)"
    command = [sys.executable, "-c", script, "{rank}/{world_size}", "{host}", "{{rank}}", '{"a": {}}']
    argv = exec_argv(tmp_path, command, "--ranks", "3", settings={"workload.placement": "leaf_local"})
    done = subprocess.run(argv, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for rank, host in enumerate(("h1", "h2", "h3")):
        assert f'{host}/{rank}: out {rank}/3 {host} {{rank}} {{"a": {{}}}}\n' in done.stdout
        assert f"{host}/{rank}: err\n" in done.stderr
    assert "the program sent next to nothing over the fabric" in done.stdout
    assert "stored in " in done.stdout


@pytest.mark.beside
def test_a_rank_has_the_callers_environment_and_directory_and_no_other_network(tmp_path: Path) -> None:
    script = (
        "import json, os, socket\n"
        "names = sorted(name for _, name in socket.if_nameindex())\n"
        "print(json.dumps({'cwd': os.getcwd(), 'mine': os.environ['MINE'], 'interfaces': names}))\n"
    )
    env = {**ENV, "MINE": "kept"}
    done = gse_exec(tmp_path, [sys.executable, "-c", script], "--ranks", "2", scheme="gse2-n2n", env=env)
    assert done.status == 0, done.err
    expected = [{"cwd": str(tmp_path), "mine": "kept", "interfaces": [f"{host}-eth0", "lo"]} for host in HOSTS[:2]]
    said = sorted(done.summary["reported"], key=lambda one: one["rank"])
    assert [{name: value for name, value in one.items() if name != "rank"} for one in said] == expected


@pytest.mark.beside
def test_two_at_once_do_not_see_each_other(tmp_path: Path) -> None:
    running = []
    for number in range(2):
        results = tmp_path / str(number)
        results.mkdir()
        argv = exec_argv(results, [*RING, "--bytes", str(300_000 + number)], "--json")
        running.append(
            subprocess.Popen(argv, cwd=results, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    for number, process in enumerate(running):
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        assert [one["received"] for one in json.loads(out)["run"]["reported"]] == [300_000 + number] * 4


# --- a program that fails -----------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, int | None]] = {
    "exit": ("exited with status 3; its last words: out of luck", 3),
    "kill": ("was killed by SIGKILL", -signal.SIGKILL),
    "stop": ("has been stopped (by SIGSTOP or a debugger)", -signal.SIGKILL),
}
FAULTS_OTHERWISE = (("exit", "gse2-n2n"), ("kill", "ecmp"), ("stop", "gse2-n2n"))


@pytest.mark.beside
# Who names a rank and ends the others is the same under every scheme; what else there is to end is not: each once.
@pytest.mark.parametrize(
    ("fault", "scheme"),
    [
        ("exit", "ecmp"),
        ("kill", "gse2-n2n"),
        ("stop", "ecmp"),
        *(pytest.param(*other, marks=pytest.mark.full) for other in FAULTS_OTHERWISE),
    ],
)
def test_a_rank_that_fails_is_named_and_the_others_are_ended(tmp_path: Path, fault: str, scheme: str) -> None:
    how, status = FAULTS[fault]
    done = gse_exec(tmp_path, [*RING, "--fault", fault], scheme=scheme)
    assert done.status == 1
    assert done.summary["verdict"] == "INVALID"
    (failed,) = done.events("program_failed")
    assert (failed["rank"], failed["host"]) == (2, "h2")
    assert failed["message"].startswith("rank 2 on h2 (pid ")
    assert how in failed["message"]
    assert f"gse: {failed['message']}; ending the others\n" in done.err
    assert failed["message"] in done.summary["reasons"]
    ended_s = max(event["t_s"] for event in done.events("rank_ended"))
    assert ended_s - failed["t_s"] < NOTICED_S
    assert done.statuses[2] == status
    # the others had finished, missed its bytes, lost their connection to it, or were ended
    expected = {0, 4, 1, -signal.SIGTERM, -signal.SIGKILL}
    assert {one for rank, one in enumerate(done.statuses) if rank != 2} <= expected
    assert "connected" in done.kept("rank-2.stdout")


@pytest.mark.beside
@pytest.mark.parametrize(("fault", "ends"), [("hang", -signal.SIGTERM), ("deaf", -signal.SIGKILL)])
def test_a_program_that_hangs_is_ended_when_its_time_is_over(tmp_path: Path, fault: str, ends: int) -> None:
    done = gse_exec(tmp_path, [*RING, "--fault", fault, "--rank", "-1"], "--timeout", "4")
    assert done.status == 1
    assert done.summary["verdict"] == "INVALID"
    (failed,) = done.events("program_failed")
    assert failed["message"].startswith("no end within 4 s (--timeout) of rank 0 on h1 (pid ")
    assert "rank 2 on h2 (pid " in failed["message"]
    assert done.statuses == [ends] * 4
    assert 4 <= done.summary["program"]["duration_s"] < 4 + NOTICED_S + 3


@pytest.mark.beside
def test_a_program_that_is_not_there_for_one_rank_is_said(tmp_path: Path) -> None:
    done = gse_exec(tmp_path, ["./program-of-{rank}"])
    assert done.status == 1
    assert "program-of-" in done.events("program_failed")[0]["message"]


@pytest.mark.beside
def test_what_ranks_leave_behind_ends_with_the_run(tmp_path: Path) -> None:
    mark = f"left-behind-{os.getpid()}-{tmp_path.name}"
    done = gse_exec(tmp_path, [*RING, "--leave", mark])
    assert done.status == 0, done.err
    assert living(mark) == []


@pytest.mark.beside
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_program_is_kept_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    mark = f"interrupted-{os.getpid()}-{tmp_path.name}"
    argv = exec_argv(tmp_path, [*RING, "--fault", "deaf", "--leave", mark])
    process = subprocess.Popen(
        argv, cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if printed.count(": connected\n") == len(HOSTS):
            break
    assert living(mark)
    process.send_signal(number)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number, printed + rest
    assert living(mark) == []
    assert living(str(tmp_path)) == []
    (folder,) = (tmp_path / "exec_allreduce_ring").iterdir()
    assert folder.name.endswith(".failed")
    assert (folder / "error.txt").read_text() == f"interrupted by {number.name}\n"
    assert "this is h1" in (folder / "raw" / "rank-0.stdout").read_text()


@pytest.mark.beside
def test_a_fabric_that_fails_is_not_the_programs_fault(tmp_path: Path) -> None:
    """A program may do anything in its capsule, also end the switches: that is said, and no run is left to be read."""
    script = (
        "import os, time, pathlib\n"
        "for path in pathlib.Path('/proc').glob('[0-9]*/comm'):\n"
        "    if path.read_text() == 'ovs-vswitchd\\n': os.kill(int(path.parent.name), 9)\n"
        "time.sleep(600)\n"
    )
    done = gse_exec(tmp_path, [sys.executable, "-c", script], "--ranks", "2")
    assert done.status == 1
    assert done.summary["verdict"] == "FAILED"
    assert "ovs-vswitchd" in done.summary["reasons"][0]
    assert done.summary["run_dir"].endswith(".failed")
    assert done.kept("rank-0.stdout") == ""


# --- programs of others -------------------------------------------------------------------------------


def test_iperf3_fills_the_receivers_link(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "iperf3_pairs.py"), "--seconds", "3"]
    done = gse_exec(tmp_path, command)
    assert done.status == 0, done.err
    assert [one["rank"] for one in sorted(done.summary["reported"], key=lambda one: one["rank"])] == [1, 2, 3]
    receiver, program = done.summary["program"]["hosts"][0], done.summary["program"]
    by_iperf3 = sum(one["received_bytes"] for one in done.summary["reported"])
    # headers, what was sent twice, and what was still under way when a client stopped counting
    assert by_iperf3 < receiver["received_bytes"] < 1.4 * by_iperf3
    assert 7 < receiver["received_bytes"] * 8 / 1e6 / program["communicating_s"] < 10.3


def python_with(module: str) -> str:
    """Return a Python that can import a module; skip the test where there is none."""
    wanted = os.environ.get("GSE_TORCH_PYTHON")
    candidates = [*filter(None, [wanted]), sys.executable, "python3", "/usr/bin/python3"]
    for python in candidates:
        path = shutil.which(python)
        if (
            path
            and subprocess.run([path, "-c", f"import {module}, numpy"], capture_output=True, check=False).returncode
            == 0
        ):
            return path
    pytest.skip(f"{module} cannot be imported by {', '.join(candidates)}: docs/exec.md, Tests")


def torch_command() -> list[str]:
    return [python_with("torch"), str(EXAMPLES / "gloo_allreduce.py")]


def torchrun_command() -> list[str]:
    address = ["--master-addr={master_addr}", "--master-port={master_port}"]
    nodes = ["--nnodes={world_size}", "--nproc-per-node=1", "--node-rank={rank}"]
    return [python_with("torch"), "-m", "torch.distributed.run", *nodes, *address, str(EXAMPLES / "gloo_allreduce.py")]


def mpi_command() -> list[str]:
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun: docs/exec.md, Tests")
    return [python_with("mpi4py"), str(EXAMPLES / "mpi_allreduce.py")]


OTHERS: dict[str, tuple[Callable[[], list[str]], list[str]]] = {
    "gloo": (torch_command, []),
    "torchrun": (torchrun_command, []),
    "mpi": (mpi_command, ["--mpi"]),
}


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("scheme", ["ecmp", "gse2-n2n", "gse2-e2e"])
@pytest.mark.parametrize("program", OTHERS)
def test_programs_of_others_finish_correctly(tmp_path: Path, program: str, scheme: str) -> None:
    command, options = OTHERS[program]
    argv = [*command(), "--size-bytes", str(2**20), "--iterations", "2"]
    done = gse_exec(tmp_path, argv, *options, scheme=scheme, settings={"fabric.hosts_per_leaf": 4}, timeout_s=350)
    assert done.status == 0, done.err
    (said,) = done.summary["reported"]
    assert (said["ranks"], said["wrong"], said["size_bytes"]) == (8, 0, 2**20)
    assert 1 < said["busbw_mbps"] < 10.2  # not faster than a host link
    sent = sum(host["sent_bytes"] for host in done.summary["program"]["hosts"])
    assert sent > 3 * 8 * 2 * 7 / 8 * 2**20 * 0.99, "what three all-reduces move at least"
    assert set(done.summary["checks"]) <= MACHINE, done.summary["reasons"]


@pytest.mark.full
@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["exit", "kill", "kill launcher", "stop"])
def test_an_mpi_rank_that_fails_is_named(tmp_path: Path, how: str) -> None:
    act = {
        "exit": "os._exit(3)",
        "kill": "os.kill(os.getpid(), 9)",
        "kill launcher": "os.kill(os.getppid(), 9)",
        "stop": "os.kill(os.getpid(), 19)",
    }[how]
    script = (
        "import os, time\n"
        "from mpi4py import MPI\n"
        "MPI.COMM_WORLD.Barrier()\n"
        f"if MPI.COMM_WORLD.Get_rank() == 2: {act}\n"
        "time.sleep(600)\n"
    )
    mpi_command()
    done = gse_exec(tmp_path, [python_with("mpi4py"), "-c", script], "--mpi", timeout_s=150)
    assert done.status == 1
    (failed,) = done.events("program_failed")
    assert (failed["rank"], failed["host"]) == (2, "h2")
    expected = {
        "exit": "exited with status 3",
        "kill": "was killed by SIGKILL",
        "kill launcher": "was killed",
        "stop": "has been stopped",
    }[how]
    assert expected in failed["message"]
    assert done.summary["verdict"] == "INVALID"
    ended_s = max(event["t_s"] for event in done.events("rank_ended"))
    assert ended_s - failed["t_s"] < NOTICED_S
    assert "MPI" not in " ".join(living(str(tmp_path)))


@pytest.mark.full
@pytest.mark.timeout(200)
def test_an_mpi_program_that_hangs_is_ended(tmp_path: Path) -> None:
    mpi_command()
    script = "from mpi4py import MPI\nimport time\nMPI.COMM_WORLD.Barrier()\ntime.sleep(600)\n"
    done = gse_exec(tmp_path, [python_with("mpi4py"), "-c", script], "--mpi", "--timeout", "15", timeout_s=150)
    assert done.status == 1
    assert "no end within 15 s (--timeout) of rank 0 on h1" in done.events("program_failed")[0]["message"]
    assert done.summary["program"]["duration_s"] < 25
