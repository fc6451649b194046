"""Lines through the pipes of a child process, never waiting for it."""

from __future__ import annotations

import os
from typing import IO

MAX_LINE_BYTES = 1 << 20


class LineReader:
    """Complete lines from a pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.fd = pipe.fileno()
        self.open = True
        self._rest = b""
        os.set_blocking(self.fd, False)

    def read(self) -> list[bytes]:
        """Return the whole lines that have arrived; ``open`` turns false at the end, whose unfinished line counts too.

        Raises ValueError when a line is longer than MAX_LINE_BYTES.
        """
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        if not data:
            self.open = False
            return [self._rest] if self._rest else []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError(f"printed a line longer than {MAX_LINE_BYTES} bytes, beginning {self._rest[:60]!r}")
        return lines


class LineWriter:
    """Lines into a pipe; what does not fit waits in ``pending``."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.fd = pipe.fileno()
        self.pending = b""
        os.set_blocking(self.fd, False)

    def write(self, line: str) -> None:
        """Write or queue one line. Raises BrokenPipeError when nobody will ever read it."""
        self.pending += line.encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write as much of ``pending`` as fits. Raises BrokenPipeError like ``write``."""
        try:
            while self.pending:
                self.pending = self.pending[os.write(self.fd, self.pending) :]
        except BlockingIOError:
            return


def tail(file: IO[bytes], lines: int) -> str:
    """Return the last lines of a log, at most 8 KiB of them."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8192))
    return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
