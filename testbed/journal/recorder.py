"""A core that keeps a journal of itself: whatever calls it, and what it decides. Decides as ``Edge`` does."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from testbed.gse.dataplane.edge import Edge
from testbed.journal import format as journal
from testbed.journal.decision import decision_of


class RecordedEdge(Edge):
    """``write`` takes bytes to append and returns whether it will take more; the core goes on in any case.

    The caller takes and clears what is in ``outlet`` after every ``advance``, and calls ``close`` at the end, should
    it be the core's own failure.
    """

    def __init__(self, birth: journal.Birth, write: Callable[[bytes], bool]) -> None:
        super().__init__(birth.profile, birth.place, epoch=birth.epoch, rng=Random(birth.seed), now_s=birth.now_s)
        self._write = write
        self._parts: list[bytes] = []  # what has come since the last ``advance``
        self._advancing_s: float | None = None
        self._recording = write(journal.beginning(birth))

    def from_host(self, port: int, frame: bytes, now_s: float) -> None:
        """See ``Edge``. Recorded first, so that a frame the core fails at is the last in the journal."""
        if self._recording:
            self._parts += journal.host_frame(now_s, port, frame)
        super().from_host(port, frame, now_s)

    def from_fabric(self, frame: bytes, now_s: float) -> None:
        """See ``Edge``."""
        if self._recording:
            self._parts += journal.fabric_frame(now_s, frame)
        super().from_fabric(frame, now_s)

    def carrier(self, path: int, *, up: bool, now_s: float) -> None:
        """See ``Edge``."""
        if self._recording:
            self._parts += journal.carrier(now_s, path, up)
        super().carrier(path, up=up, now_s=now_s)

    def seen(self, paths: int, now_s: float) -> None:
        """See ``Edge``."""
        if self._recording:
            self._parts += journal.seen(now_s, paths)
        super().seen(paths, now_s)

    def advance(self, now_s: float) -> None:
        """See ``Edge``."""
        self._advancing_s = now_s
        super().advance(now_s)
        self._advancing_s = None
        if self._recording:
            self._parts += journal.advance(now_s, decision_of(self))
            self._recording = self._write(journal.block(self._parts))
            self._parts.clear()

    def close(self) -> None:
        """Record what the core was just doing: something only if it failed."""
        if self._advancing_s is not None:
            self._parts += journal.advance(self._advancing_s, b"")
        if self._recording and self._parts:
            self._write(journal.block(self._parts))
        self._recording = False
