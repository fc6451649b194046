"""A CSV table that grows while a run lasts: batches of lines arrive whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from testbed.evaluation.records import Row, columns


class TableFile:
    """The file of a row type in a run directory, opened to append. Use as a context manager.

    Each batch is one write: whoever kills the process, a reader finds only whole batches. When the disk is
    full, what was written of the batch is taken back and OSError raised.
    """

    def __init__(self, run_dir: Path, row_type: type[Row]) -> None:
        self.path = run_dir / row_type.FILE
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(self._fd).st_size == 0:
                self.append([",".join(columns(row_type)) + "\n"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def append(self, lines: Sequence[str]) -> None:
        """Append lines, each with its newline."""
        data = "".join(lines).encode()
        size_before = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, data)
            if written < len(data):  # the disk became full on the way: the rest will say so
                written += os.write(self._fd, data[written:])
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, size_before)
            raise OSError(error.errno, f"cannot write {self.path}: {os.strerror(error.errno or 0)}") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
