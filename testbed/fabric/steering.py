"""Keep frames of an interface in order: all it receives goes through one processor's queue (receive packet steering).

A virtual interface hands what it is given to the queue of whichever processor its shaper runs on just then, now the
sender's, now that of a timer. When a hypervisor takes one processor away for a moment, frames in its queue are
overtaken by those in the other's, and TCP takes them for lost: a fault of the emulation, in every scheme.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testbed.errors import NetworkError

_libc: Final = ctypes.CDLL(None, use_errno=True)
MNT_DETACH: Final = 2
MOUNT_POINT: Final = Path("/run/gse/sysfs")
WORD_BITS: Final = 32  # of a processor mask as the kernel reads it: hexadecimal, with a comma after each


def processors() -> list[int]:
    """Return the processors this process may use."""
    return sorted(os.sched_getaffinity(0))


def mask_of(processor: int) -> str:
    """Return the mask of one processor, as the kernel reads it."""
    word, bit = divmod(processor, WORD_BITS)
    return ",".join([f"{1 << bit:x}", *["0" * (WORD_BITS // 4)] * word])


def steer(intfs: Sequence[str], first: int = 0) -> None:
    """Give each interface of the present network namespace one processor, by turns from number ``first`` on.

    For a process in a mount namespace of its own. Raises NetworkError when the kernel does not let us.
    """
    usable = processors()
    try:
        with _sysfs() as root:
            for number, intf in enumerate(intfs, start=first):
                masks = root / "class" / "net" / intf / "queues" / "rx-0" / "rps_cpus"
                masks.write_text(mask_of(usable[number % len(usable)]))
    except OSError as error:
        raise NetworkError(f"cannot give received frames a processor: {error}") from None


@contextmanager
def _sysfs() -> Iterator[Path]:
    """Mount the sysfs of the present network namespace for a moment: it shows no other's interfaces."""
    MOUNT_POINT.mkdir(parents=True, exist_ok=True)
    where = os.fsencode(MOUNT_POINT)
    if _libc.mount(b"sysfs", where, b"sysfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(MOUNT_POINT))
    try:
        yield MOUNT_POINT
    finally:
        _libc.umount2(where, MNT_DETACH)
