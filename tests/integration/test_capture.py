"""``gse capture`` at a running fabric: what it shows, and when it ends."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gse_runs import ENV, gse_argv, words
from terminal import PROMPT, Terminal

from testbed.system.running import running_capsules

pytestmark = [pytest.mark.root, pytest.mark.beside]

FABRIC = words({"fabric.leaves": 2, "fabric.spines": 2, "fabric.hosts_per_leaf": 2})
ENDS_WITHIN_S = 30.0  # of a busy machine; it takes tenths


class Fabric:
    """A fabric under ``gse2-n2n`` with a prompt that goes on until it is told to end."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        terminal.read_until(re.escape(PROMPT), within_s=100)
        descendants = set(_below(terminal.process.pid))
        (self.pid,) = [one.pid for one in running_capsules() if one.pid in descendants]

    def end(self) -> None:
        """Leave the prompt and wait until the fabric is gone."""
        self.terminal.type("exit\n")
        assert self.terminal.read_to_end() == 0

    def capture(self, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
        """Start ``gse capture`` at this fabric."""
        argv = gse_argv("capture", *arguments, "--pid", str(self.pid))
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=cwd, env=ENV, stdout=pipe, stderr=pipe, text=True)


def _below(pid: int) -> Iterator[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in map(int, children):
        yield child
        yield from _below(child)


def recorders(capture: subprocess.Popen[str]) -> list[int]:
    """Return the tcpdump processes below a capture."""
    return [pid for pid in _below(capture.pid) if Path(f"/proc/{pid}/comm").read_text() == "tcpdump\n"]


def await_recorder(capture: subprocess.Popen[str]) -> int:
    """Wait until tcpdump listens, which it says; return its PID."""
    assert capture.stderr is not None
    assert "listening on" in capture.stderr.readline()
    (pid,) = recorders(capture)
    return pid


@pytest.fixture
def fabric() -> Iterator[Fabric]:
    with Terminal("--scheme", "gse2-n2n", *FABRIC) as terminal:
        yield Fabric(terminal)


def read(pcap: Path) -> list[str]:
    done = subprocess.run(gse_argv("capture", "--read", str(pcap)), env=ENV, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_running_fabric_can_be_captured_and_read(fabric: Fabric, tmp_path: Path) -> None:
    pcap = tmp_path / "l1.pcap"
    few, file, wrong = (
        fabric.capture(*arguments, cwd=tmp_path) for arguments in (["l1", "-c", "60"], ["l1", "-w", str(pcap)], ["l9"])
    )
    await_recorder(file)
    fabric.terminal.run("allreduce 256K")
    file.send_signal(signal.SIGINT)
    said = [capture.communicate(timeout=100) for capture in (few, file, wrong)]
    assert (few.returncode, len(said[0][0].splitlines())) == (0, 60), said[0][1]
    assert file.returncode == 0, said[1][1]
    frames = read(pcap)
    for kind in ("DATA l1 > l2", "GRANT", "REQUEST", "HELLO"):
        assert [frame for frame in frames if kind in frame], kind
    assert wrong.returncode == 2
    assert "no such node; got l9, expected one of l1, l2" in said[2][1]


def test_captures_end_with_their_fabric(fabric: Fabric, tmp_path: Path) -> None:
    pcap = tmp_path / "l1.pcap"
    to_file, shown = (fabric.capture("l1", "l1-eth3", *more, cwd=tmp_path) for more in (["-w", str(pcap)], []))
    for capture in (to_file, shown):
        await_recorder(capture)
    fabric.terminal.run("h1 ping -c 3 h3")
    fabric.end()
    for capture in (to_file, shown):
        said, complaints = capture.communicate(timeout=ENDS_WITHIN_S)
        assert capture.returncode == 0, complaints
        assert f"a prompt {fabric.pid} has ended, and the capture with it" in complaints
        assert "HELLO" in ("\n".join(read(pcap)) if capture is to_file else said)


def test_nothing_goes_on_recording_when_a_capture_is_ended(fabric: Fabric, tmp_path: Path) -> None:
    for number, status in ((signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        capture = fabric.capture("l1", "-w", str(tmp_path / f"{number.name}.pcap"), cwd=tmp_path)
        recorder = os.pidfd_open(await_recorder(capture))
        capture.send_signal(number)
        ended, _, _ = select.select([recorder], [], [], ENDS_WITHIN_S)
        os.close(recorder)
        assert ended, number
        assert capture.wait(ENDS_WITHIN_S) == status, number
        capture.communicate()
