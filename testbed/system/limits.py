"""How many cores, bytes of memory and processes this process may use: the machine's, less what a container allows."""

from __future__ import annotations

import os
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_OPEN_FILES: Final = 65_536  # some programs look at as many as they might have
FILES_IN_MEMORY: Final = ("active_file", "inactive_file", "slab_reclaimable")  # memory.stat


@dataclass(frozen=True)
class Limits:
    """What control groups allow. None: not limited."""

    cores: float | None
    memory_bytes: int | None  # beside what others in the group use
    processes: int | None


def usable_cores(limits: Limits) -> float:
    """Return the number of cores, a fraction where a container has a quota."""
    usable = len(os.sched_getaffinity(0))
    return usable if limits.cores is None else min(usable, limits.cores)


def available_memory_bytes(limits: Limits) -> int:
    """Return the memory in bytes that can be had without swapping."""
    available = int((proc_field("/proc/meminfo", "MemAvailable") or "0 kB").split()[0]) * 1024
    return available if limits.memory_bytes is None else min(available, limits.memory_bytes)


def available_processes(limits: Limits) -> int:
    """Return how many more processes may be started."""
    used = sum(entry.isdigit() for entry in os.listdir("/proc"))
    bounds = [int(read_text(Path("/proc/sys/kernel", name))) for name in ("pid_max", "threads-max")]
    if limits.processes is not None:
        bounds.append(limits.processes)
    return max(0, min(bounds) - used)


def open_files_limit() -> int:
    """Return how many files a process may have open; the soft limit can be raised up to this."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def raise_open_files() -> None:
    """Let this process and what it starts from now on have as many files open as it may, MOST_OPEN_FILES at most."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def address_space_limit() -> int | None:
    """Return the bytes of memory a process may map (``ulimit -v``); None: not limited."""
    return _soft_limit(resource.RLIMIT_AS)


def file_size_limit() -> int | None:
    """Return the bytes a file may grow to (``ulimit -f``); None: not limited."""
    return _soft_limit(resource.RLIMIT_FSIZE)


def _soft_limit(which: int) -> int | None:
    soft, _hard = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft


def proc_field(path: str, name: str) -> str | None:
    """Return the first value called ``name`` in a file of ``name : value`` lines, or None."""
    match = re.search(rf"^{name}\s*:\s*(.*)$", read_text(Path(path)), re.MULTILINE)
    return match[1] if match else None


def cgroup_limits(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> Limits:
    """Return the tightest limits of this process's control groups (version 2, or 1 by controller)."""
    cores: list[float] = []
    memory: list[int] = []
    processes: list[int] = []
    for directory in _directories(root, membership):
        quota, _, period = read_text(directory / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            cores.append(int(quota) / int(period))
        quota, period = read_text(directory / "cpu.cfs_quota_us"), read_text(directory / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # -1: no limit
            cores.append(int(quota) / int(period))
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = read_text(directory / name)
            if text.isdigit():
                memory.append(max(0, int(text) - _used_bytes(directory)))
        text = read_text(directory / "pids.max")
        if text.isdigit():
            processes.append(int(text))
    return Limits(min(cores, default=None), min(memory, default=None), min(processes, default=None))


def _used_bytes(directory: Path) -> int:
    """Return the memory a group uses, but for what goes when there is need of it."""
    used = read_text(directory / "memory.current") or read_text(directory / "memory.usage_in_bytes")
    if not used.isdigit():
        return 0
    words = [line.split() for line in read_text(directory / "memory.stat").splitlines()]
    stat = {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}
    files = sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in FILES_IN_MEMORY)
    return max(0, int(used) - files)


def _directories(root: Path, membership: Path) -> list[Path]:
    """Return the directory of each of our groups and of their parents, as far as they are visible here."""
    found = []
    for line in read_text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in [root / name for name in controllers.split(",")] if controllers else [root, root / "unified"]:
            group = mount / path.lstrip("/")
            found += [directory for directory in (group, *group.parents) if directory.is_relative_to(mount)]
            found.append(mount)  # inside a container the path may be the host's, while the mount shows our group
    return list(dict.fromkeys(found))


def read_text(path: Path) -> str:
    """Return the stripped text of a small kernel file, or nothing when there is no such file."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
