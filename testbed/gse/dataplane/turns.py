"""Whose turn it is among the queues of a class: who has been given least, in bytes, within a bounded memory.

Round robin gives equal turns, which are equal shares only where every queue takes a whole quantum each time. One whose
demand is not yet known when its turn comes gets less, and would get less for good. Start-time fair queueing (Goyal,
Vin and Cheng, SIGCOMM 1996) remembers what each has been given: a queue's turn begins at the virtual time at which its
last one ended, but never more than ``memory_bytes`` ago, so that nobody saves up turns while wanting nothing.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

QueueKey = tuple[int, int]  # source GSP, its qid


class _Entry(NamedTuple):
    """A queue that waits: when its turn begins in virtual time (bytes given to each), and since when it waits."""

    start_bytes: int
    number: int
    key: QueueKey


class Turns:
    """The queues of one class that want something."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._now_bytes = 0  # virtual time: where the latest turn began
        self._number = 0
        self._heap: list[_Entry] = []
        self._numbers: dict[QueueKey, int] = {}  # waiting queue -> its entry; others in the heap are left over

    def enlist(self, key: QueueKey, ended_bytes: int) -> None:
        """A queue whose last turn ended at ``ended_bytes`` (0: it never had one) waits for its next."""
        self._number += 1
        self._numbers[key] = self._number
        heappush(self._heap, _Entry(max(ended_bytes, self._now_bytes - self._memory_bytes), self._number, key))

    def first(self) -> QueueKey | None:
        """Return whose turn it is; None: nobody waits."""
        while self._heap and self._numbers.get(self._heap[0].key) != self._heap[0].number:
            heappop(self._heap)
        return self._heap[0].key if self._heap else None

    def give(self, size_bytes: int) -> int:
        """Give the first, who waits no longer then, its turn; return where it ends. Only after ``first``."""
        entry = heappop(self._heap)
        del self._numbers[entry.key]
        self._now_bytes = max(self._now_bytes, entry.start_bytes)
        return entry.start_bytes + size_bytes

    def leave(self, key: QueueKey) -> None:
        """A queue wants nothing any more."""
        del self._numbers[key]
