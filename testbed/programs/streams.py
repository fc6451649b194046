"""What ranks print: through a pipe each, whole into a file, line by line to a listener.

A line is at most ``MOST_SHOWN_BYTES`` for the listener, who hears every one; a file stops growing at
``MOST_KEPT_BYTES``, which is said. How many of them are shown to people, ``Shown`` says.
"""

from __future__ import annotations

import os
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

    def __init__(self, path: Path, on_line: OnLine) -> None:
        self.path = path
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self.last_line = ""
        self._file = path.open("wb", buffering=0)
        self._kept_bytes = 0
        self._rest = b""
        self._on_line = on_line

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
        self._on_line(shown)


class Shown:
    """Which lines of one stream are shown: all, but of one that prints without end ``SHOWN_PER_S`` a second.

    Each line shown is an event that somebody has to print; hundreds of thousands would hold up who tells of them.
    """

    def __init__(self, now_s: float) -> None:
        self._room, self._room_s = SHOWN_AT_ONCE, now_s
        self.left_out = 0

    def may_be(self, now_s: float) -> bool:
        """Take one line off what may be shown now; false, and it is counted in ``left_out``, where there is none."""
        self._room = min(SHOWN_AT_ONCE, self._room + (now_s - self._room_s) * SHOWN_PER_S)
        self._room_s = now_s
        if self._room < (SHOWN_PER_S / 2 if self.left_out else 1):  # gaps are few and long, not one between two lines
            self.left_out += 1
            return False
        self._room -= 1
        return True

    def gap(self, name: str) -> str | None:
        """Return the line that stands for those left out since it was asked for last; ``name`` of the file has them."""
        count, self.left_out = self.left_out, 0
        return f"[{count} lines not shown: they came too fast; {name} has them]" if count else None
