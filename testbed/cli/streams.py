"""Standard output and error as ``gse`` needs them: a full disk or an odd encoding never ends in a traceback.

Not a command.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from testbed.errors import InputError, Problem


class OutputError(InputError):
    """What was to be printed on standard output could not be written."""


class _Output(io.FileIO):
    """Standard output. Raises OutputError; BrokenPipeError as it is, for a reader that has left is no error."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            raise
        except OSError as error:
            problem = Problem("cannot be written", "standard output", error.strerror or str(error), "room for it")
            raise OutputError(problem) from None


class _Messages(io.FileIO):
    """Standard error. What nobody can take is lost: no reason to lose a run with it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def prepare() -> None:
    """Replace the interpreter's streams, unless somebody else has done so; open those the caller has closed.

    Closed ones become /dev/null: no file of ours may get their number.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr, by_line=True)


def _text(raw: io.FileIO, before: Any, *, by_line: bool = False) -> io.TextIOWrapper:
    """Return a text stream like the one ``before`` (None: it was closed), with an escape for what has no encoding."""
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=by_line or raw.isatty()
    )


def discard_output() -> None:
    """Let what is still buffered go nowhere: it would fail once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
