"""Step into another process's network namespace and back (Python < 3.12 has no os.setns)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def enter_network_namespace_of(pid: int) -> None:
    """Take this thread into the network namespace of process ``pid`` for good. Raises OSError like the one below."""
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(there)
    finally:
        os.close(there)


@contextmanager
def network_namespace_of(pid: int) -> Iterator[None]:
    """Run the body with this thread in the network namespace of process ``pid``.

    Sockets opened and programs started inside belong to that namespace for good. Raises OSError when
    the process is gone or the privilege is missing.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_network_namespace_of(pid)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)
