"""What test_survival.py does to runs, inside a lab (see lab.py). Functions take and return JSON values."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import OURS, PROJECT, RESULTS, Lab

START_TIMEOUT_S = 90.0  # for anything a healthy run does before the attack
SMALL = [
    "allreduce_ring",
    *("--set", "fabric.leaves=2", "--set", "fabric.spines=2", "--set", "fabric.hosts_per_leaf=2"),
    *("--set", "workload.size_bytes=256K", "--set", "workload.iterations=3"),
]
ELEPHANT = ["--set", 'background=[{"src": "h1", "dst": "h3", "rate_mbps": 1}]']
UNCALIBRATED = ["--set", "measure.calibrate=false"]  # where a later point of a run is what matters
BEFORE_RANKS = ("run", "switches", "controller", "network", "calibration")


class Run:
    """A ``gse run`` in progress. Its verbose stderr tells every event of the run."""

    def __init__(
        self, arguments: Sequence[str], *, seeds: str = "1,", scheme: str = "gse1", stdout: Any = None
    ) -> None:
        argv = [sys.executable, "-m", "testbed", "run", *arguments, "--schemes", scheme, "--seeds", seeds, "-v"]
        self._output = open("/mnt/stdout", "w+b")  # noqa: SIM115 - read when the run is over
        self.process = subprocess.Popen(
            [*argv, "--results", str(RESULTS)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=self._output if stdout is None else stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a foreground process group of its own
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        OURS.add(self.process.pid)
        self.pidfd = os.pidfd_open(self.process.pid)
        assert self.process.stderr is not None
        self._stderr = self.process.stderr.fileno()
        os.set_blocking(self._stderr, False)
        self.text = ""
        self._open = True

    def events(self) -> list[dict[str, Any]]:
        """Return the events told so far."""
        lines = self.text.split("\n")[:-1]
        return [json.loads(line.split(": event ", 1)[1]) for line in lines if ": event {" in line]

    def await_event(self, name: str, *, times: int = 1, timeout_s: float = START_TIMEOUT_S) -> bool:
        """Wait until an event (see ``named``) has come so often; return whether that was before the end."""
        deadline_s = time.monotonic() + timeout_s
        while sum(named(event) == name for event in self.events()) < times:
            assert time.monotonic() < deadline_s, f"no {name!r} within {timeout_s:g} s:\n{self.text}"
            if not self._open:
                return False
            self._read(deadline_s - time.monotonic())
        return True

    def hear(self, duration_s: float) -> None:
        """Take in what the program says for so long."""
        end_s = time.monotonic() + duration_s
        while self._open and (left_s := end_s - time.monotonic()) > 0:
            self._read(left_s)

    def lives_for(self, duration_s: float) -> bool:
        """Return whether the program is still there after ``duration_s``."""
        return not select.select([self.pidfd], [], [], duration_s)[0]

    def end(self, timeout_s: float) -> int | None:
        """Return the exit status, None when the program has not ended in time (then it is killed)."""
        deadline_s = time.monotonic() + timeout_s
        while self._open and time.monotonic() < deadline_s:
            self._read(deadline_s - time.monotonic())
        try:
            status = self.process.wait(max(deadline_s - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = None
        OURS.discard(self.process.pid)
        return status

    def stdout(self) -> str:
        """Return what was printed."""
        self._output.seek(0)
        return self._output.read().decode()

    def _read(self, timeout_s: float) -> None:
        readable, _, _ = select.select([self._stderr, self.pidfd], [], [], max(timeout_s, 0.0))
        if self._stderr in readable:
            data = os.read(self._stderr, 1 << 16)
            self._open = bool(data)
            self.text += data.decode(errors="replace")
        elif readable:
            self._open = False


def named(event: dict[str, Any]) -> str:
    """Return how points of a run are called: a phase's name, or ``iteration:1``."""
    if event["event"] == "phase":
        return str(event["phase"])
    return f"{event['event']}:{event['iteration']}" if "iteration" in event else str(event["event"])


def await_process(lab: Lab, kind: str, run: Run) -> int | None:
    """Return the PID of a process of ``kind`` as soon as there is one; None when the run ended without."""
    if kind == "gse":
        return run.process.pid
    while (pid := lab.find(kind)) is None:  # nothing announces another program's processes
        if not run.lives_for(0.01):
            return None
    return pid


def report(lab: Lab, run: Run, *, timeout_s: float) -> dict[str, Any]:
    """Wait for the end of a run and return everything there is to judge."""
    began_s = time.monotonic()
    status = run.end(timeout_s)
    took_s = time.monotonic() - began_s
    left = lab.left()
    directories = sorted(RESULTS.glob("*/*"))
    return {
        "status": status,
        "took_s": took_s,
        "left": left,
        "directories": [path.name for path in directories],
        "files": [sorted(str(file.relative_to(path)) for file in path.rglob("*")) for path in directories],
        "errors": [text_of(path / "error.txt") for path in directories],
        "summaries": [json.loads(text_of(path / "summary.json") or "null") for path in directories],
        "manifest_status": [json.loads(text_of(path / "manifest.json") or "{}").get("status") for path in directories],
        "stderr": "\n".join(line for line in run.text.splitlines() if " DEBUG " not in line),
        "last_phase": ([event["phase"] for event in run.events() if event["event"] == "phase"] or ["start"])[-1],
    }


def text_of(path: Path) -> str | None:
    """Return the content of a file if there is one."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return None


def strike(
    lab: Lab, *, kind: str, point: str, delay_s: float, signal_number: int, timeout_s: float, arguments: list[str]
) -> dict[str, Any]:
    """Send one process of a run a signal ``delay_s`` after an event, and report."""
    run = Run([*SMALL, *([] if point in BEFORE_RANKS else UNCALIBRATED), *arguments])
    assert run.await_event(point), f"the run ended before {point!r}:\n{run.text}"
    run.lives_for(delay_s)
    while (pid := await_process(lab, kind, run)) is not None:
        with contextlib.suppress(ProcessLookupError):  # daemons begin as a process that soon ends
            os.kill(pid, signal_number)
            break
    assert pid is not None, f"the run ended without {kind}:\n{run.text}"
    return report(lab, run, timeout_s=timeout_s)


def pause(lab: Lab, *, kind: str, pause_s: float) -> dict[str, Any]:
    """Stop one process of a run for a moment while it is measured, and report."""
    run = Run([*SMALL, *UNCALIBRATED, "--set", "workload.iterations=8"])
    assert run.await_event("measurement"), run.text
    pid = await_process(lab, kind, run)
    assert pid is not None, run.text
    os.kill(pid, signal.SIGSTOP)
    run.lives_for(pause_s)
    os.kill(pid, signal.SIGCONT)
    return report(lab, run, timeout_s=60)


def limp(lab: Lab, *, kind: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Stop one process of a run and let it go on, again and again while it is measured, and report."""
    run = Run([*SMALL, *UNCALIBRATED, "--set", "workload.iterations=8", *arguments])
    assert run.await_event("measurement"), run.text
    pid = await_process(lab, kind, run)
    assert pid is not None, run.text
    began_s = time.monotonic()
    told_s = None
    while told_s is None and run.process.poll() is None and time.monotonic() - began_s < 20:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            run.lives_for(0.15)
            os.kill(pid, signal.SIGCONT)
        run.hear(0.1)
        told_s = time.monotonic() - began_s if "falls behind" in run.text else None
    return {"told_s": told_s, **report(lab, run, timeout_s=60)}


def spoil(lab: Lab, *, name: str) -> dict[str, Any]:
    """Make one of the experiments of spoilers.py, and report."""
    from spoilers import SPOILERS  # the testbed itself comes with it, which the others here do without

    spoiler = SPOILERS[name]
    run = Run([*SMALL, *spoiler.arguments], scheme=spoiler.scheme)
    if spoiler.act is not None:
        spoiler.act(lab, run)
    return report(lab, run, timeout_s=200)


def withdraw_job(lab: Lab) -> dict[str, Any]:
    """Take the job of a run from GSOS while it is measured, and report."""
    run = Run([*SMALL, *UNCALIBRATED, "--set", "workload.iterations=8"])
    assert run.await_event("measurement"), run.text
    path = f"/proc/{lab.find('GSOS')}/root/run/gse/gsos.sock"
    answer = ask(path, b'{"method": "withdraw", "params": {"job": "allreduce"}}')
    return {"answer": answer, **report(lab, run, timeout_s=60)}


def interrupt(lab: Lab, *, point: str, number: int, whole_group: bool, times: int = 1) -> dict[str, Any]:
    """Ask a run to end by a signal to the program, or like a terminal to its process group."""
    run = Run([*SMALL, *([] if point in BEFORE_RANKS else UNCALIBRATED)])
    assert run.await_event(point), f"the run ended before {point!r}:\n{run.text}"
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole_group else os.kill)(run.process.pid, signal.Signals(number))
    return report(lab, run, timeout_s=20)


def strike_prompt(lab: Lab, *, number: int) -> dict[str, Any]:
    """Send ``gse cli`` a signal while a command runs at its prompt."""
    argv = [sys.executable, "-m", "testbed", "cli", *SMALL]
    process = subprocess.Popen(
        argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    OURS.add(process.pid)
    assert process.stdin is not None
    process.stdin.write(b"h1 sleep 86399\n")
    process.stdin.close()
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not any(one.command == "sleep 86399" for one in lab.processes()):
        assert process.poll() is None, "the prompt ended"
        assert time.monotonic() < deadline_s, "the prompt has not begun"
        time.sleep(0.02)  # nothing announces another program's processes
    process.send_signal(number)
    status = process.wait(30)
    OURS.discard(process.pid)
    return {"status": status, "left": lab.left()}


def close_stdout(lab: Lab) -> dict[str, Any]:
    """Run with a reader of stdout that has gone, one of both that leaves after a line, and with closed streams."""
    small = [*SMALL, *UNCALIBRATED, "--set", "workload.iterations=1"]
    command = [
        sys.executable,
        "-m",
        "testbed",
        "run",
        *small,
        "--schemes",
        "gse1",
        "--results",
        str(RESULTS),
        "--seeds",
    ]
    words = " ".join(f"'{word}'" for word in command)
    ways = {
        "gone": f"{{ sleep 0.5; {words} 1,; echo $? >/mnt/status; }} 2>/mnt/stderr | true",
        "both into head": f"{{ {words} 2,; echo $? >/mnt/status; }} 2>&1 | head -1 >/mnt/stdout",
        "closed": f"{words} 3, <&- >&- 2>&-; echo $? >/mnt/status",
        "full": f"{words} 4, >/dev/full 2>/mnt/stderr; echo $? >/mnt/status",
        "messages lost": f"{words} 5, --json >/mnt/stdout 2>/dev/full; echo $? >/mnt/status",
    }
    found: dict[str, Any] = {}
    for way, command_line in ways.items():
        for name in ("status", "stdout", "stderr"):
            Path("/mnt", name).write_text("")
        subprocess.run(["bash", "-c", command_line], cwd=PROJECT, timeout=60, check=False)
        found[way] = {name: Path("/mnt", name).read_text() for name in ("status", "stdout", "stderr")}
    return {**found, "left": lab.left(), "directories": sorted(path.name for path in RESULTS.glob("*/*"))}


def two_at_once(lab: Lab) -> dict[str, Any]:
    """Start two runs, kill the switches of the first in the middle of the second, then run a third."""
    short = [*SMALL, "--set", "measure.calibrate=false"]
    endless = [*short, "--set", "workload.iterations=200"]  # until it is killed
    runs = [Run(endless, seeds="1,"), Run(short, seeds="2,")]
    for run in runs:
        assert run.await_event("warm-up"), run.text
    first_switches = [
        one.pid for one in lab.processes() if one.command.startswith("ovs-vswitchd ") and "seed1" in one.command
    ]
    assert len(first_switches) == 1
    os.kill(first_switches[0], signal.SIGKILL)
    statuses = [run.end(60) for run in runs]
    runs.append(Run(short, seeds="3,"))
    statuses.append(runs[-1].end(60))
    return {
        "statuses": statuses,
        "left": lab.left(),
        "directories": sorted(path.name for path in RESULTS.glob("*/*")),
        "wrong_elements": [
            json.loads(path.read_text())["wrong_elements"] for path in sorted(RESULTS.glob("*/*/summary.json"))
        ],
    }


def pester_gsos(lab: Lab) -> dict[str, Any]:
    """Send a running GSOS everything it does not expect, with the socket the run itself uses."""
    run = Run([*SMALL, "--set", "workload.iterations=10", "--set", "measure.calibrate=false"])
    assert run.await_event("warm-up"), run.text
    gsos = lab.find("GSOS")
    path = f"/proc/{gsos}/root/run/gse/gsos.sock"
    before = {"fds": fds(gsos), "rss_kib": rss_kib(gsos)}

    answers = [ask(path, line) for line in GARBAGE]
    endless = connect(path)
    with contextlib.suppress(OSError):  # it may hang up on us in the middle
        for _ in range(40):
            endless.sendall(b"x" * (1 << 20))
    half_open = [connect(path) for _ in range(30)]
    for client in half_open[::2]:
        client.sendall(b'{"method": "sta')
    deaf = connect(path)
    deaf.sendall(b'{"method": "placement"}\n' * 1000)
    while_busy = ask(path, b'{"method": "status"}')
    crowd = [connect(path) for _ in range(200)]
    for client in (endless, deaf, *half_open, *crowd):
        client.close()
    afterwards = wait_for_answer(path)
    deadline_s = time.monotonic() + 10
    while fds(gsos) > before["fds"] + 2 and time.monotonic() < deadline_s:
        time.sleep(0.05)  # its threads notice one after the other
    during = {"fds": fds(gsos), "rss_kib": rss_kib(gsos), "phases": [named(event) for event in run.events()]}
    return {
        "answers": answers,
        "while_busy": while_busy,
        "afterwards": afterwards,
        "before": before,
        "during": during,
        **report(lab, run, timeout_s=60),
    }


GARBAGE = [
    b"",
    b"\0\xff\xfe garbage",
    b"[" * 200_000,
    b'{"method": "announce", "params": {"job": "j", "flows": [{"src_ip": "not an address"}]}}',
    b'{"method": "wait_ready", "params": {"timeout_s": 1e999}}',
    b'{"method": "__class__"}',
    b'{"method": "announce", "params": {"job": "' + b"j" * (1 << 20) + b'", "flows": []}}',
]


def connect(path: str) -> socket.socket:
    """Return a connection."""
    client = socket.socket(socket.AF_UNIX)
    limit = struct.pack("ll", 20, 0)  # not settimeout: then a full backlog is an error instead of a wait
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    client.connect(path)
    return client


def ask(path: str, line: bytes) -> dict[str, Any]:
    """Send one line and return the answer."""
    with connect(path) as client, client.makefile("rb") as reader:
        client.sendall(line + b"\n")
        answer: dict[str, Any] = json.loads(reader.readline())
        return answer


def wait_for_answer(path: str) -> dict[str, Any]:
    """Return the answer to ``status``, which a full house may refuse for a moment."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            return ask(path, b'{"method": "status"}')
        except (OSError, ValueError):
            assert time.monotonic() < deadline_s, "GSOS serves nobody any more"
            time.sleep(0.05)


def fds(pid: int | None) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def leave_things(lab: Lab) -> dict[str, list[str]]:
    """Leave one thing of each kind behind, to see that a lab sees it."""
    subprocess.Popen(["sh", "-c", "unshare --net sleep 60 &"]).wait()
    subprocess.run(["ip", "link", "add", "l1-eth1", "type", "veth", "peer", "name", "s1-eth1"], check=True)
    for name in ("/tmp/a", "/var/tmp/b", "/run/c", "/etc/d"):
        Path(name).touch()
    Path("/root/e").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/media"], check=True)
    return lab.left(within_s=0.5)


def soak(lab: Lab, *, times: int) -> list[dict[str, Any]]:
    """Run many runs in one process; return how it ended, and what it held after each run."""
    run = Run([*SMALL, "--set", "measure.calibrate=false"], seeds=str(times))
    held = []
    for number in range(1, times + 1):
        assert run.await_event("finished", times=number), run.text
        held.append({"fds": fds(run.process.pid), "rss_kib": rss_kib(run.process.pid)})
    return [{"status": run.end(60), "left": lab.left()}, *held]


def rss_kib(pid: int | None) -> int:
    """Return a process's resident memory."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
