"""What one process does at a time in a folder: the runs of a sweep, what is kept of a machine. An advisory lock on it.

The kernel lets go of it with the process that holds it, however that ends; nothing is left in the folder.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import Problem, ResultsError
from testbed.results.disk import os_errors

log = logging.getLogger(__name__)
LOCKS = Path("/proc/locks")
LOOK_AGAIN_S = 0.02  # the kernel wakes who waits for a lock, but nobody who has waited long enough


@contextmanager
def held(folder: Path, *, what: str = "its runs are being made already", wait_s: float = 0.0) -> Iterator[None]:
    """Hold a folder. Raises ResultsError, with ``what`` another process does, where it still does after ``wait_s``.

    On a file system that knows no locks nobody is kept out.
    """
    until_s = time.monotonic() + wait_s
    with os_errors("cannot look into", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # programs that are started do not inherit it
    try:
        try:
            while not _locked(descriptor):
                if time.monotonic() >= until_s:
                    got, expected = _holder_of(descriptor), "one at a time: wait until that has ended"
                    raise ResultsError(Problem(what, str(folder), got, expected))
                time.sleep(LOOK_AGAIN_S)
        except OSError as error:
            log.debug("no lock on %s: %s", folder, error)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Take the lock if nobody has it. Raises OSError where there are none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder_of(descriptor: int) -> str:
    try:
        found, locks = os.fstat(descriptor), LOCKS.read_text()
    except OSError:
        return "another process"
    pid = holder(locks, found.st_dev, found.st_ino)
    return "another process" if pid is None else f"process {pid}"


def holder(locks: str, device: int, inode: int) -> int | None:
    """Return which process holds a file, by what /proc/locks says; None where it does not say.

    It does not of other PID namespaces, and on some file systems it names another device than stat does.
    """
    file = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in locks.splitlines():
        match line.split():  # who waits has an arrow before the kind
            case [_, "FLOCK", _, _, pid, where, *_] if where == file and pid.isdigit() and int(pid) > 0:
                return int(pid)
    return None
