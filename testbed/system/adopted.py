"""A process that another has forked and left to us, with its pipes: what ``subprocess.Popen`` is to one of our own."""

from __future__ import annotations

import os
from typing import IO


class Adopted:
    """Has what ``testbed.system.process.Child`` uses of ``Popen``. Nobody but the adopting process may wait for it."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended as subprocess has it; None while it has not."""
        if self.returncode is None:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
            if found is not None:
                self.returncode = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return self.returncode
