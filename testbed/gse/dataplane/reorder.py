"""Order restored: what one queue's packets wait for at the destination.

A packet that is next is delivered at once; one ahead of its turn waits. When the gap in front of waiting packets is
older than ``gap_s``, or they fill ``buffer_bytes``, the missing ones are given up and order goes on without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from testbed.gse.dataplane.serial import unwrap

# A packet number this far ahead is nobody's: the buffer could never bridge it.
MAX_AHEAD: Final = 1 << 20
MOST_GAPS: Final = 32  # reported at once


class Missing(NamedTuple):
    """Packets that have not come: first number (32 bits) and how many."""

    psn: int
    packets: int


class _Waiting(NamedTuple):
    frame: bytes
    start: int  # where it begins, in bytes of the queue
    since_s: float


@dataclass(slots=True)
class ReorderBuffer:
    """One queue and epoch. Counters are of packets unless they say bytes."""

    gap_s: float
    buffer_bytes: int
    repaired: bool = False  # what is missing is sent again: when one gap is over, the next one's may be on its way
    expected: int = 0
    delivered: int = 0
    late: int = 0  # came after they had been given up, or twice
    skipped: int = 0  # given up
    gap_timeouts: int = 0
    overflows: int = 0
    depth_bytes: int = 0
    depth_max_bytes: int = 0
    end_bytes: int = 0  # where the last delivered packet ended, in bytes of the queue
    lost_bytes: int = 0  # of the packets given up
    _waiting: dict[int, _Waiting] = field(default_factory=dict)  # by packet number
    _gap_since_s: float | None = None
    _asked_s: dict[int, float] = field(default_factory=dict)  # packet behind a gap -> when that was last reported

    def accept(self, psn: int, frame: bytes, start: int, now_s: float) -> list[bytes]:
        """Take a packet (32-bit number; ``start``: 32-bit count of the queue's bytes before it).

        Returns what may be delivered now, in order.
        """
        number = unwrap(psn, self.expected)
        if number < self.expected or number in self._waiting:
            self.late += 1
            return []
        if number > self.expected:
            if number - self.expected > MAX_AHEAD:
                self.late += 1
                return []
            return self._keep(number, frame, start, now_s)
        ready = [frame]
        self.expected += 1
        self.end_bytes = unwrap(start, self.end_bytes) + len(frame)
        if self._waiting:
            self._drain(ready, now_s)
        self.delivered += len(ready)
        return ready

    def _keep(self, number: int, frame: bytes, start: int, now_s: float) -> list[bytes]:
        if not self._waiting:
            self._gap_since_s = now_s
        self._waiting[number] = _Waiting(frame, unwrap(start, self.end_bytes), now_s)
        self.depth_bytes += len(frame)
        self.depth_max_bytes = max(self.depth_max_bytes, self.depth_bytes)
        ready: list[bytes] = []
        while self.depth_bytes > self.buffer_bytes:
            self.overflows += 1
            self._skip(ready, now_s)
        self.delivered += len(ready)
        return ready

    @property
    def due_s(self) -> float | None:
        """When ``give_up`` has something to do, or None."""
        return None if self._gap_since_s is None else self._gap_since_s + self.gap_s

    def ask(self, now_s: float, after_s: float) -> list[Missing]:
        """Return the gaps in front of packets that have waited for ``after_s``; again only after as long.

        What is missing in front of younger ones may be on its way. How long each has waited counts, not since when
        there is a gap: that begins anew whenever one before it is filled, while others wait on.
        """
        if self._gap_since_s is None:
            return []
        gaps, expected = [], self.expected
        for number in sorted(self._waiting):
            since_s = max(self._waiting[number].since_s, self._asked_s.get(number, -inf))
            if number > expected and now_s - since_s >= after_s:
                self._asked_s[number] = now_s
                gaps.append(Missing(expected & 0xFFFF_FFFF, min(number - expected, 0xFFFF)))
                if len(gaps) == MOST_GAPS:
                    break
            expected = number + 1
        return gaps

    def behind(self, psn: int) -> Missing | None:
        """Return what is missing between the last packet that has come and ``psn`` (32 bits), the next at its source.

        No later packet will show that gap: it is the end of what was sent.
        """
        first = max(self._waiting, default=self.expected - 1) + 1
        count = unwrap(psn, first) - first
        return Missing(first & 0xFFFF_FFFF, min(count, 0xFFFF)) if count > 0 else None

    def give_up(self, now_s: float) -> tuple[Missing | None, list[bytes]]:
        """Skip a gap that is too old; return it (None: none is) and what may be delivered now."""
        if self.due_s is None or now_s < self.due_s:
            return None, []
        missing = self._gap()
        self.gap_timeouts += 1
        ready: list[bytes] = []
        self._skip(ready, now_s)
        self.delivered += len(ready)
        return missing, ready

    def skip_to(self, psn: int, end: int) -> int:
        """With nothing waiting, go on at packet ``psn`` (both 32 bits): the source says that what was before is sent.

        Returns how many packets are given up.
        """
        number = unwrap(psn, self.expected)
        if self._waiting or number <= self.expected:
            return 0
        missing = number - self.expected
        self.skipped += missing
        self.expected = number
        position = unwrap(end, self.end_bytes)
        self.lost_bytes += max(0, position - self.end_bytes)
        self.end_bytes = max(position, self.end_bytes)
        return missing

    def flush(self) -> list[bytes]:
        """Return what waits, in order, and forget it: the epoch is over."""
        ready = [self._waiting[number].frame for number in sorted(self._waiting)]
        self._waiting.clear()
        self._asked_s.clear()
        self.depth_bytes, self._gap_since_s = 0, None
        self.delivered += len(ready)
        return ready

    def _gap(self) -> Missing:
        return Missing(self.expected & 0xFFFF_FFFF, min(min(self._waiting) - self.expected, 0xFFFF))

    def _skip(self, ready: list[bytes], now_s: float) -> None:
        first = min(self._waiting)
        self.skipped += first - self.expected
        self.lost_bytes += max(0, self._waiting[first].start - self.end_bytes)
        self.expected = first
        self._drain(ready, now_s)
        if self._waiting and not self.repaired:
            self._gap_since_s = min(item.since_s for item in self._waiting.values())

    def _drain(self, ready: list[bytes], now_s: float) -> None:
        """Deliver what is next. A gap that remains begins to age now: what it waits for may be on its way."""
        waiting = self._waiting
        while (item := waiting.pop(self.expected, None)) is not None:
            ready.append(item.frame)
            if self._asked_s:
                self._asked_s.pop(self.expected, None)
            self.depth_bytes -= len(item.frame)
            self.end_bytes = item.start + len(item.frame)
            self.expected += 1
        self._gap_since_s = now_s if waiting else None
