"""Capsules that are going on, seen from outside: which there are, and how to get into a node of one."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import MachineError, Problem
from testbed.system.command import run

WHAT_OF_MODULE: Final = {
    "testbed.runs.experiment": "a run",
    "testbed.runs.program": "a program",
    "testbed.prompt.interactive": "a prompt",
}
KINDS: Final = "lsh"  # leaves, spines, hosts; not what stands for the controller
NODE: Final = re.compile(rf"mininet:([{KINDS}]\d+)")  # how Mininet calls the shells that keep its nodes


@dataclass(frozen=True, slots=True)
class Capsule:
    """A capsule by its first process's PID outside; ``shells`` is node -> PID of the shell that keeps it."""

    pid: int
    what: str
    shells: dict[str, int]

    def enter_argv(self, node: str) -> list[str]:
        """Return the prefix of a command that is to run in a node's network namespace. Raises MachineError."""
        if node not in self.shells:
            where = f"the fabric of {self.what} {self.pid}"
            raise MachineError(Problem("no such node", where, node, f"one of {', '.join(self.nodes)}"))
        return ["nsenter", f"--net=/proc/{self.shells[node]}/ns/net", "--"]

    @property
    def nodes(self) -> list[str]:
        """Names of all nodes, switches before hosts."""
        return sorted(self.shells, key=lambda name: (KINDS.find(name[0]), len(name), name))

    def interfaces(self, node: str) -> list[str]:
        """Return the interfaces that belong to a node: of a switch those that begin with its name."""
        shown = json.loads(run([*self.enter_argv(node), "ip", "-j", "link", "show"]).stdout)
        return [name for row in shown if (name := str(row["ifname"])).startswith(f"{node}-")]


def running_capsules(proc: Path = Path("/proc")) -> list[Capsule]:
    """Return every capsule of this project that is going on, whoever started it; needs root."""
    firsts: dict[str, tuple[int, str]] = {}
    shells: dict[str, dict[str, int]] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = _text(entry / "cmdline").split("\0")
            space = os.readlink(entry / "ns/pid")
            status = _text(entry / "status")
            # behind a line end, which names of processes have not: anybody may call his "Uid: 0"
            _real, uid, *_others = status.split("\nUid:")[1].split("\n")[0].split()
            first = status.split("\nNSpid:")[1].split("\n")[0].split()[-1] == "1"
        except (OSError, IndexError, ValueError):  # gone, or not ours to see
            continue
        if uid != "0":  # it looks like one: capsules are root's
            continue
        for module, what in WHAT_OF_MODULE.items():
            if first and module in words:
                firsts[space] = (int(entry.name), what)
        for word in words:
            if (node := NODE.fullmatch(word)) is not None:
                shells.setdefault(space, {})[node[1]] = int(entry.name)
    return [Capsule(pid, what, shells.get(space, {})) for space, (pid, what) in sorted(firsts.items())]


def _text(path: Path) -> str:
    """Return a file of /proc; processes may have any bytes in their arguments and names."""
    return path.read_bytes().decode(errors="replace")
