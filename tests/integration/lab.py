"""A machine of one's own to attack runs in: whatever a run leaves behind shows, whatever else the machine does.

Outside, ``in_lab(tmp_path, function, **arguments)`` calls a function of ``attacks.py`` in new network, mount and
PID namespaces with overlays over every directory programs like to write to. Inside, ``Lab`` says what is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
WATCHED = ("/tmp", "/run", "/var", "/root", "/etc", "/dev/shm", "/home")
UPPER = Path("/mnt/upper")
RESULTS = Path("/mnt/results")
SPARED = (PROJECT, Path(sys.prefix).resolve())
LAB_TIMEOUT_S = 240


# --- outside ------------------------------------------------------------------------------------------


def in_lab(
    results: Path, function: Callable[..., Any], *, lab_timeout_s: float = LAB_TIMEOUT_S, **arguments: Any
) -> Any:
    """Call ``function`` (of attacks.py) with a Lab and ``arguments`` in a lab of its own; return what it returns."""
    results.mkdir(exist_ok=True)
    answer = results / "answer.json"
    argv = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ]
    argv += [sys.executable, __file__, function.__name__, json.dumps(arguments), str(results), str(answer)]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=lab_timeout_s)
    assert done.returncode == 0, f"{function.__name__}({arguments}): {done.stdout[-2000:]}{done.stderr[-6000:]}"
    return json.loads(answer.read_text())


# --- inside -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A process as /proc shows it."""

    pid: int
    parent: int
    state: str
    depth: int  # PID namespaces: 1 is the lab's, 2 a capsule's
    pid_inside: int  # in its own namespace
    command: str
    name: str  # the main thread's: what it calls itself, or its program's


class Lab:
    """What there is in the lab. This process is its init."""

    def __init__(self) -> None:
        self._mounts = mounts()
        self._mark = {path: path.lstat().st_mtime_ns for path in written()}

    def processes(self) -> list[Seen]:
        """Return every living process but this one; orphans that have ended are buried."""
        with contextlib.suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if dead.si_pid in OURS:
                    break
                os.waitpid(dead.si_pid, 0)
        return [one for one in map(seen, pids()) if one is not None and one.pid != 1 and one.state != "Z"]

    def find(self, kind: str) -> int | None:
        """Return the lab's PID of a process of ``kind`` in the only run, None when there is none."""
        found = [one.pid for one in self.processes() if KINDS[kind](one)]
        return found[0] if found else None

    def left(self, *, within_s: float = 5.0) -> dict[str, list[str]]:
        """Return what is left, by kind of thing, when it has not gone ``within_s`` from now."""
        deadline_s = time.monotonic() + within_s
        while any((left := self._left()).values()) and time.monotonic() < deadline_s:
            time.sleep(0.02)  # nothing tells when a kernel has finished dissolving namespaces
        return {what: names for what, names in left.items() if names}

    def _left(self) -> dict[str, list[str]]:
        links = json.loads(subprocess.check_output(["ip", "-j", "link", "show"]))
        spaces = _namespaces()
        own = {os.readlink(f"/proc/1/ns/{entry}").split("[")[1].rstrip("]") for entry in os.listdir("/proc/1/ns")}
        return {
            "processes": [f"{one.pid} {one.state} {one.command}" for one in self.processes()],
            "interfaces": [row["ifname"] for row in links if row["ifname"] != "lo"],
            "namespaces": [str(space) for space in spaces if str(space["ns"]) not in own],
            "mounts": sorted(mounts() - self._mounts),
            "files": sorted(str(path) for path in written() if self._mark.get(path) != path.lstat().st_mtime_ns),
        }


def _namespaces() -> list[dict[str, Any]]:
    """Return the namespaces there are. lsns gives up when a process ends while it looks: then it looks again."""
    for last in (False, False, False, False, True):
        done = subprocess.run(["lsns", "-J", "-l", "-o", "NS,TYPE,COMMAND"], capture_output=True, text=True, check=last)
        if done.returncode == 0:
            break
    return list(json.loads(done.stdout)["namespaces"])


KINDS: dict[str, Callable[[Seen], bool]] = {
    "starter": lambda one: one.depth == 1 and one.command.startswith(("setpriv ", "unshare ")),
    "first process": lambda one: one.depth == 2 and one.pid_inside == 1,
    "GSOS": lambda one: "-m apps gsos" in one.command,
    "ovs-vswitchd": lambda one: one.command.startswith("ovs-vswitchd "),
    "ovsdb-server": lambda one: one.command.startswith("ovsdb-server "),
    "rank": lambda one: one.name.startswith("rank "),
    "sampler": lambda one: "testbed.measurement.sampler" in one.command,
    "probes": lambda one: "testbed.measurement.probes" in one.command,
    "host": lambda one: "mininet:h1" in one.command,
    "iperf3": lambda one: one.command.startswith("iperf3 "),
}
OURS: set[int] = set()  # children somebody here waits for


def pids() -> list[int]:
    """Return every PID in the lab."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def seen(pid: int) -> Seen | None:
    """Return what /proc says about a process; None when it has gone."""
    try:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return None
    inside = status["NSpid"].split()
    name = status["Name"].strip()
    return Seen(pid, int(status["PPid"]), status["State"][0], len(inside), int(inside[-1]), command or name, name)


def mounts() -> set[str]:
    """Return where something is mounted."""
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def written() -> Iterator[Path]:
    """Yield every file and empty directory written in the watched directories since the lab exists.

    Not counted are the checkout and the virtual environment: Python and git keep caches there.
    """
    for root, directories, files in os.walk(UPPER):
        here = Path("/", Path(root).relative_to(UPPER))
        if here in SPARED:
            directories.clear()
        elif len(here.parts) > 1:
            yield from (Path(root, name) for name in files)
            yield from (Path(root, name) for name in directories if not os.listdir(Path(root, name)))


def watchable() -> list[str]:
    """Return the watched directories; not those whose overlay would hide a file system we run from."""
    below = [Path(point) for point in mounts()]
    return [
        path
        for path in WATCHED
        if Path(path).is_dir()
        and not Path(path).is_symlink()
        and not any(Path(path) in point.parents and point in spared.parents for point in below for spared in SPARED)
    ]


def furnish(results: Path) -> None:
    """Mount the overlays and the results, bring loopback up."""
    here = os.open(results, os.O_PATH | os.O_DIRECTORY)
    paths = watchable()
    mount("-t", "tmpfs", "tmpfs", "/mnt")
    RESULTS.mkdir()
    mount("--bind", f"/proc/self/fd/{here}", str(RESULTS), pass_fds=(here,))
    for number, path in enumerate(paths):
        upper, work = UPPER / path.strip("/"), Path("/mnt/work", str(number))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={path},upperdir={upper},workdir={work}", path)
    os.close(here)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def mount(*arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
    """Mount something, or fail with mount's own words."""
    subprocess.run(["mount", *arguments], check=True, pass_fds=pass_fds)


def main() -> None:
    """Be the lab's init: furnish it, call the function, leave its answer."""
    name, arguments, results, answer = sys.argv[1:]
    to = os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)  # by name it disappears under an overlay
    furnish(Path(results))
    os.chdir(PROJECT)
    sys.path.insert(0, str(PROJECT))  # this checkout, whichever one is installed
    import attacks

    value = getattr(attacks, name)(Lab(), **json.loads(arguments))
    os.write(to, json.dumps(value).encode())


if __name__ == "__main__":
    sys.modules["lab"] = sys.modules["__main__"]  # attacks.py shares OURS with us
    main()
