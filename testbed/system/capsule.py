"""The run capsule: private network, mount and PID namespaces that end with their first process.

Outside: ``capsule_argv`` wraps a command. Inside: ``enter`` finishes the furnishing (private /run,
loopback up). Nothing to clean afterwards: processes die with the PID namespace, interfaces with the
network namespace, sockets and databases with the private /run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import MachineError, Problem
from testbed.system.command import run
from testbed.system.limits import raise_open_files

MARK = "GSE_CAPSULE"


def capsule_argv(argv: Sequence[str]) -> list[str]:
    """Return the command line that runs ``argv`` as first process of a new capsule.

    ``setpriv --pdeathsig`` ties the capsule to the process that starts it, ``--kill-child`` ties
    what is inside to ``unshare``: whichever is killed, the rest follows.
    """
    return [
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
        "env", f"{MARK}=1", *argv,
    ]  # fmt: skip


def enter() -> None:
    """Furnish the capsule this process is the first of. Raises MachineError outside of one.

    Whatever is started in it may have as many files open as the machine allows: vswitchd has several for each port.
    """
    if os.environ.get(MARK) != "1" or os.getpid() != 1:
        raise MachineError(
            Problem(
                "not inside a run capsule",
                "testbed.system.capsule.enter",
                f"pid {os.getpid()}",
                "the first process of a capsule",
            )
        )
    raise_open_files()
    run(["mount", "-t", "tmpfs", "-o", "mode=755,size=512m", "tmpfs", str(Path("/run").resolve())])
    run(["mount", "-t", "sysfs", "sysfs", "/sys"])
    for name in ("openvswitch", "gse", "lock"):
        Path("/run", name).mkdir(mode=0o755)
    run(["ip", "link", "set", "lo", "up"])


def require_root(what: str) -> None:
    """Raise MachineError unless this process may make capsules."""
    if os.geteuid() != 0:
        raise MachineError(
            Problem(
                f"{what} needs root (network namespaces, Open vSwitch, tc)",
                "user",
                f"uid {os.geteuid()}",
                f"uid 0; try: sudo ./gse {what}",
            )
        )
