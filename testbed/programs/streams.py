"""What ranks print: through a pipe each, whole into a file, line by line to a listener.

A line is at most ``MOST_SHOWN_BYTES`` for the listener, and of a stream that prints without end the listener hears
``SHOWN_PER_S`` lines a second, and how many it does not; a file stops growing at ``MOST_KEPT_BYTES``, which is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from testbed.units import KIB, MIB

MOST_SHOWN_BYTES: Final = 4 * KIB
MOST_KEPT_BYTES: Final = 256 * MIB
CHUNK_BYTES: Final = 64 * KIB
CHUNKS_AT_ONCE: Final = 16  # one rank that never stops printing must not keep others from being heard
SHOWN_PER_S: Final = 500.0  # nobody reads faster; each line shown costs who shows it some 50 us
SHOWN_AT_ONCE: Final = 2000.0  # a stack trace of every thread, a table

OnLine = Callable[[str], None]


class Stream:
    """One stream of one rank. ``write_fd`` is for the rank; ``read`` whenever ``read_fd`` has something."""

    def __init__(self, path: Path, on_line: OnLine, *, whole: bool = False) -> None:
        """``whole``: the listener hears every line, however many there are."""
        self.path = path
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self.last_line = ""
        self._file = path.open("wb", buffering=0)
        self._kept_bytes = 0
        self._rest = b""
        self._on_line = on_line
        self._whole = whole
        self._may_show, self._may_show_s = SHOWN_AT_ONCE, time.monotonic()
        self._unshown = 0

    def read(self) -> None:
        """Take what is there now. There is no end to be read: ``write_fd`` stays open here until ``close``."""
        for _ in range(CHUNKS_AT_ONCE):
            try:
                data = os.read(self.read_fd, CHUNK_BYTES)
            except BlockingIOError:
                return
            self._keep(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._tell(line)
            if len(self._rest) > MOST_SHOWN_BYTES:
                self._tell(self._rest)
                self._rest = b""

    def close(self) -> None:
        """Take what is left, an unfinished line too, and close everything."""
        self.read()
        if self._rest:
            self._tell(self._rest)
        self._tell_of_unshown()
        self._file.close()
        for fd in (self.read_fd, self.write_fd):
            os.close(fd)

    def _keep(self, data: bytes) -> None:
        room = MOST_KEPT_BYTES - self._kept_bytes
        if room <= 0:
            return
        self._kept_bytes += len(data)
        self._file.write(data[:room])
        if len(data) >= room:
            self._tell(f"[no more is kept of this stream: {MOST_KEPT_BYTES} bytes are in {self.path.name}]".encode())

    def _tell(self, line: bytes) -> None:
        text = line.rstrip(b"\r").decode(errors="replace")
        shown = text if len(text) <= MOST_SHOWN_BYTES else f"{text[:MOST_SHOWN_BYTES]} [...]"
        if shown.strip():
            self.last_line = shown
        if self._whole or self._may_tell():
            self._tell_of_unshown()
            self._on_line(shown)
        else:
            self._unshown += 1

    def _may_tell(self) -> bool:
        """Take one line off what may be shown now, if there is one."""
        now_s = time.monotonic()
        self._may_show = min(SHOWN_AT_ONCE, self._may_show + (now_s - self._may_show_s) * SHOWN_PER_S)
        self._may_show_s = now_s
        if self._may_show < 1:
            return False
        self._may_show -= 1
        return True

    def _tell_of_unshown(self) -> None:
        if self._unshown:
            self._on_line(f"[{self._unshown} lines not shown: they came too fast; {self.path.name} has them]")
            self._unshown = 0
