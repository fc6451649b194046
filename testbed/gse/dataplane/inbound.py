"""What a destination keeps of one source queue: order, and what has been received."""

from __future__ import annotations

from typing import NamedTuple

from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.reorder import MAX_AHEAD, Missing, ReorderBuffer
from testbed.gse.dataplane.serial import is_newer, unwrap


class _Claim(NamedTuple):
    number: int  # of the packet that is next at the source
    sent: int  # bytes (32 bits) before it
    heard_s: float


class Inbound:
    """One (source, qid) in one epoch. ``first_psn`` is where order begins: 0, or where a restarted agent comes in."""

    __slots__ = (
        "_claim",
        "_closed_psn",
        "_counted",
        "_high",
        "_lost",
        "_next_psn",
        "closed",
        "dst_port",
        "epoch",
        "heard_s",
        "order",
        "swapped",
    )

    def __init__(self, profile: Profile, *, epoch: int, dst_port: int, first_psn: int, sent: int, now_s: float) -> None:
        self.epoch, self.dst_port = epoch, dst_port
        self.heard_s = now_s
        self.closed = False
        self._closed_psn = 0  # of the first packet that would be news to a closed queue
        self.swapped = 0  # packets that arrived behind a later one, where order is not restored
        self.order: ReorderBuffer | None = None
        if profile.reorder:
            self.order = ReorderBuffer(
                profile.gap_s, profile.reorder_buffer_bytes, profile.retransmit, expected=first_psn, end_bytes=sent
            )
        self._high = self._counted = sent
        self._next_psn = first_psn
        self._lost = 0
        self._claim: _Claim | None = None  # what the source said and has not come true

    def close(self, psn: int, now_s: float) -> None:
        """The queue is empty and forgotten at its source, where packet ``psn`` would have come next."""
        self.closed, self._closed_psn, self.heard_s = True, psn, now_s

    def accept(self, psn: int, sent: int, frame: bytes, now_s: float) -> tuple[list[bytes], int, bool]:
        """Take a packet; return what may be delivered, how many more bytes count as received, and if it is news.

        What comes late, again or after its queue was closed is none: it speaks for a time that is over.
        """
        self.heard_s = now_s
        over = self.closed and is_newer(self._closed_psn, psn)
        self.closed = over
        if self.order is None:
            number = unwrap(psn, self._next_psn)
            if number < self._next_psn:
                self.swapped += 1
            self._next_psn = max(self._next_psn, number + 1)
            self._high = max(self._high, unwrap(sent, self._high) + len(frame))
            news, self._counted = self._high - self._counted, self._high
            return [frame], news, not over
        late = self.late
        ready = self.order.accept(psn, frame, sent, now_s)
        if self.late != late:
            return [], 0, False
        return ready, len(frame) + self._newly_lost(), not over

    def give_up(self, now_s: float) -> tuple[Missing | None, list[bytes], int]:
        """Skip a gap that is too old; return it, what may be delivered, and the bytes that count as received."""
        if self.order is None:
            return None, [], 0
        missing, ready = self.order.give_up(now_s)
        return missing, ready, self._newly_lost()

    def claim(self, psn: int, sent: int, now_s: float) -> float:
        """The source says how far it has sent. Return for how long an earlier such word has not come true, in s.

        Control frames overtake data: what it says it has sent may well be under way.
        """
        if self._claim is not None and self._expected < self._claim.number:
            return now_s - self._claim.heard_s
        number = unwrap(psn, self._expected)
        believable = 0 < number - self._expected <= MAX_AHEAD  # else it is nobody's, and would never come true
        self._claim = _Claim(number, sent, now_s) if believable else None
        return 0.0

    def believe(self) -> int:
        """What the claim names and has not come is lost. Return the bytes that count as received."""
        claim, self._claim = self._claim, None
        if claim is None:
            return 0
        if self.order is None:
            self._high = max(self._high, unwrap(claim.sent, self._high))
            self._next_psn = max(self._next_psn, claim.number)
            news, self._counted = self._high - self._counted, self._high
            return news
        self.order.skip_to(claim.number & 0xFFFF_FFFF, claim.sent)
        return self._newly_lost()

    def behind(self, psn: int) -> Missing | None:
        """Return the packets before ``psn`` that have not come, behind everything that has."""
        return None if self.order is None else self.order.behind(psn)

    @property
    def _expected(self) -> int:
        return self._next_psn if self.order is None else self.order.expected

    @property
    def late(self) -> int:
        """Packets that came again, or after they were given up."""
        return 0 if self.order is None else self.order.late

    @property
    def empty(self) -> bool:
        """Whether nothing waits here."""
        return self.order is None or not self.order.depth_bytes

    def _newly_lost(self) -> int:
        assert self.order is not None
        news, self._lost = self.order.lost_bytes - self._lost, self.order.lost_bytes
        return news
