"""The file one agent's journal goes to: appended to at once, so that an agent that is killed leaves all it has done.

Bounded: what would exceed its bytes, or leave the disk nearly full, is not recorded, and that is said.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any, Final

from testbed.journal import format as journal
from testbed.units import GIB, MIB, bytes_to_text

LEAST_FREE_BYTES: Final = GIB  # of the disk, for everything else a run writes
LOOK_EVERY_BYTES: Final = 16 * MIB
END_BYTES: Final = 1024  # room for why it ends


class JournalFile:
    """A new file beside those of earlier lives of the same agent (NAME.journal, NAME-2.journal); all share the bytes.

    Raises OSError when it cannot be made. ``stopped``: why nothing is recorded any more, None while it is.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        earlier_bytes = 0
        for life in count(1):
            self.path = path if life == 1 else path.with_stem(f"{path.stem}-{life}")
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
                break
            except FileExistsError:
                earlier_bytes += self.path.stat().st_size
        self._most_bytes = most_bytes
        self._room_bytes = most_bytes - earlier_bytes
        self._looked_bytes = -LOOK_EVERY_BYTES
        self.written_bytes = 0
        self.stopped: str | None = None

    def write(self, data: bytes) -> bool:
        """Append a part of the journal; return whether more is taken."""
        if self.stopped is not None:
            return False
        self.stopped = self._why_not(len(data))
        if self.stopped is not None:
            data = journal.block(journal.end(self.stopped)) if self.written_bytes else b""
        try:
            self._append(data)
        except OSError as error:
            self.stopped = f"cannot be written: {error.strerror}"
        if not self.written_bytes:  # not even how it began: no file is better than one that is none
            self.path.unlink()
        return self.stopped is None

    def _why_not(self, size_bytes: int) -> str | None:
        if self.written_bytes + size_bytes + END_BYTES > self._room_bytes:
            return f"reached its {self._most_bytes:,} bytes"
        if self.written_bytes - self._looked_bytes >= LOOK_EVERY_BYTES:
            self._looked_bytes = self.written_bytes
            disk = os.fstatvfs(self._fd)
            if disk.f_bavail * disk.f_frsize < LEAST_FREE_BYTES:
                return f"the disk has less than {bytes_to_text(LEAST_FREE_BYTES)} left"
        return None

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            done = os.write(self._fd, view)
            self.written_bytes += done
            view = view[done:]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def to_json(self) -> dict[str, Any]:
        """Return what the agent says of it among its counters."""
        return {"file": self.path.name, "bytes": self.written_bytes, "stopped": self.stopped}
