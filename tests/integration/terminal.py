"""A terminal with ``gse cli`` at it, for tests that go on while a fabric does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from contextlib import suppress

import pytest
from gse_runs import ENV, gse_argv

PROMPT = "mininet> "


class Terminal:
    """A terminal with ``gse cli`` at it."""

    def __init__(self, *arguments: str) -> None:
        self.fd, far = pty.openpty()
        self.process = subprocess.Popen(
            gse_argv("cli", *arguments),
            stdin=far,
            stdout=far,
            stderr=far,
            env={**ENV, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C at it becomes SIGINT
        )
        os.close(far)
        self._text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def read_until(self, pattern: str, *, times: int = 1, within_s: float = 60) -> str:
        """Return what was shown up to the pattern (``times`` times), which is not shown again to the next caller."""
        deadline_s = time.monotonic() + within_s
        while len(found := list(re.finditer(pattern, self._text, re.MULTILINE))) < times:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0 and select.select([self.fd], [], [], left_s)[0], (
                f"no {pattern!r} in {self._text[-3000:]!r}"
            )
            try:
                self._text += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:  # EIO: nobody has the far end open any more
                pytest.fail(f"the prompt has ended: {self._text[-3000:]}")
        end = found[times - 1].end()
        shown, self._text = self._text[:end], self._text[end:]
        return shown

    def run(self, command: str) -> str:
        """Type a command and return what it showed."""
        self.type(f"{command}\n")
        return self.read_until(re.escape(PROMPT))

    def read_to_end(self) -> int:
        """Read until the program ends and return its exit status."""
        with suppress(OSError):  # EIO: nobody has the far end open any more
            while select.select([self.fd], [], [], 30)[0] and os.read(self.fd, 65536):
                pass
        return self.process.wait(timeout=10)
