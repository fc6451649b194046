"""Grants that may wait a moment for a data frame to their source: what rides needs no frame of its own."""

from __future__ import annotations

from math import inf

from testbed.gse.dataplane.wire import GrantEntry


class Riders:
    """By source GSP. A later grant to the same queue takes the place of an earlier one, for grants are cumulative."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, GrantEntry]] = {}  # source -> qid -> grant; no source without one
        self._until_s: dict[int, float] = {}
        self._due_s = inf  # the first of them

    def hold(self, src: int, entry: GrantEntry, until_s: float) -> None:
        """A grant may wait, until then at most; the first one that waits for a source sets the time."""
        self._waiting.setdefault(src, {})[entry.qid] = entry
        if src not in self._until_s:
            self._until_s[src] = until_s
            self._due_s = min(self._due_s, until_s)

    def drop(self, src: int, qid: int) -> None:
        """A queue is told otherwise, or gone."""
        waiting = self._waiting.get(src, {})
        if waiting.pop(qid, None) is not None and not waiting:
            self._forget(src)

    def take(self, src: int) -> GrantEntry | None:
        """Return the grant that leaves with a data frame to ``src`` now."""
        waiting = self._waiting.get(src)
        if waiting is None:
            return None
        entry = waiting.pop(next(iter(waiting)))
        if not waiting:
            self._forget(src)
        return entry

    def take_all(self, src: int) -> list[GrantEntry]:
        """Return what waits for a source: it leaves with a grant frame now."""
        waiting = self._waiting.get(src)
        if waiting is None:
            return []
        self._forget(src)
        return list(waiting.values())

    def overdue(self, now_s: float) -> list[int]:
        """Return the sources that need a grant frame after all."""
        if now_s < self._due_s:
            return []
        return [src for src, until_s in self._until_s.items() if until_s <= now_s]

    def due_s(self) -> float:
        """Return when the first of them will; inf: nothing waits."""
        return self._due_s

    def _forget(self, src: int) -> None:
        del self._waiting[src]
        if self._until_s.pop(src) <= self._due_s:
            self._due_s = min(self._until_s.values(), default=inf)
