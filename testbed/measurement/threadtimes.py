"""CPU time of every thread of the run: schedstat of all processes of this PID namespace, by role.

Descriptors stay open from sample to sample: one system call per thread, and a reused thread id cannot be
mistaken for the thread it belonged to before.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from testbed.measurement.parsers import schedstat

OTHER: Final = "other"
SCHEDSTAT_BYTES: Final = 96
ROLE_OF_PROGRAM: Final = {"ovs-vswitchd": "vswitchd", "ovsdb-server": "ovsdb", "iperf3": "background"}
ROLE_OF_MODULE: Final = {
    "apps": "gsos",
    "testbed.agent.gsp": "gsp",
    "testbed.workload.endpoint": "rank",
    "testbed.workload.nursery": "rank",
    "testbed.runs.experiment": "runner",
    "testbed.runs.program": "runner",
    "testbed.prompt.interactive": "runner",
    "testbed.measurement.probes": "probes",
    "testbed.workload.mice": "mice",
    "testbed.workload.crossflows": "crossflows",
    "testbed.workload.replay": "replay",
    "testbed.measurement.sampler": "sampler",
}


def role_of(argv: Sequence[str]) -> str:
    """Return the role of a process by its command line, ``other`` when it is not one of ours."""
    if not argv:
        return OTHER
    if "-m" in argv[:-1]:
        return ROLE_OF_MODULE.get(argv[argv.index("-m") + 1], OTHER)
    return ROLE_OF_PROGRAM.get(PurePath(argv[0]).name, OTHER)


@dataclass(slots=True)
class _Thread:
    fd: int
    cells: str  # "pid,tid,role,name," as in threads.csv


class Threads:
    """Every thread of the PID namespace. ``roles`` is PID -> role; others are told by their command line.

    Use as a context manager.
    """

    def __init__(self, roles: Mapping[int, str]) -> None:
        self._roles = roles
        self._threads: dict[tuple[int, int], _Thread] = {}

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_exc: object) -> None:
        for thread in self._threads.values():
            os.close(thread.fd)
        self._threads.clear()

    def find(self) -> None:
        """Look for threads that have come, and for new names and roles (a process gets both when it executes)."""
        for pid in _numbers("/proc"):
            try:
                role = self._roles.get(pid) or role_of(
                    _read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")
                )
                for tid in _numbers(f"/proc/{pid}/task"):
                    self._note(pid, tid, role)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile

    def _note(self, pid: int, tid: int, role: str) -> None:
        name = _read(f"/proc/{pid}/task/{tid}/comm").decode(errors="replace").rstrip("\n")
        cells = _csv_cells(pid, tid, role, name or "(unnamed)")
        known = self._threads.get((pid, tid))
        if known is not None:
            known.cells = cells
            return
        fd = os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._threads[pid, tid] = _Thread(fd, cells)

    def lines(self, t_s: float) -> list[str]:
        """Return one line of threads.csv per known thread; those that have ended are forgotten."""
        lines = []
        ended = []
        for key, thread in self._threads.items():
            try:
                run_s, wait_s = schedstat(os.pread(thread.fd, SCHEDSTAT_BYTES, 0))
            except ProcessLookupError:
                ended.append(key)
                continue
            lines.append(f"{t_s:.6f},{thread.cells}{run_s:.9f},{wait_s:.9f}\n")
        for key in ended:
            os.close(self._threads.pop(key).fd)
        return lines


def _csv_cells(*values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=",").writerow(values)
    return text.getvalue()


def _numbers(directory: str) -> Iterable[int]:
    return [int(name) for name in os.listdir(directory) if name.isdigit()]


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
