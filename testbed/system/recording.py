"""tcpdump in a node of a running fabric, for as long as the fabric is there."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final

from testbed.errors import MachineError, Problem
from testbed.system.running import Capsule

LAST_WORDS_WITHIN_S: Final = 1.0


@contextmanager
def tcpdump(capsule: Capsule, node: str, options: Sequence[str], *, stdout: int | None = None) -> Iterator[Recording]:
    """Run tcpdump in a node's network. It ends with the block, with the fabric, and with this process, killed or not.

    A tcpdump that outlived its fabric would keep the node's network namespace. Raises MachineError when the fabric has
    ended already.
    """
    try:
        fabric = os.pidfd_open(capsule.pid)
    except ProcessLookupError:
        what = f"{capsule.what} {capsule.pid}"
        raise MachineError(Problem("has just ended", "gse capture", what, "a run or prompt going on")) from None
    over = os.eventfd(0)
    try:
        # -Z: tcpdump would become another user, and forget that it is to die with us
        argv = ["setpriv", "--pdeathsig", "TERM", *capsule.enter_argv(node), "tcpdump", "-Z", "root", *options]
        process = subprocess.Popen(argv, stdout=stdout)
        recording = Recording(process)
        watch = Thread(target=_end_with, args=(fabric, over, recording), daemon=True)
        watch.start()
        try:
            yield recording
        finally:
            os.eventfd_write(over, 1)
            watch.join()
            _end(process)
    finally:
        os.close(over)
        os.close(fabric)


class Recording:
    """A tcpdump. ``fabric_ended``: it was ended because its fabric was."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.fabric_ended = False

    @property
    def stdout(self) -> object:
        """What it writes, if it was given a pipe."""
        return self.process.stdout

    def wait(self) -> int:
        """Wait until it ends; return its exit status, 0 when it was ended with its fabric."""
        status = self.process.wait()
        return 0 if self.fabric_ended else status


def _end_with(fabric: int, over: int, recording: Recording) -> None:
    """End the recording when ``fabric`` (a pidfd) does; return when that has happened or ``over`` is set."""
    ready, _, _ = select.select([fabric, over], [], [])
    if over not in ready:
        recording.fabric_ended = True
        recording.process.terminate()


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()  # it closes its file, and says how many frames there were
    if process.stdout is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS_WITHIN_S)
        process.stdout.close()  # nobody reads it any more: what it has still to write would keep it for ever
    process.wait()
