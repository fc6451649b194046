"""Which of a GSP's own senders are to stop, because a source queue of theirs is nearly full.

A queue fills when its destination grants less than the sender offers for longer than ECN needs to slow it down, or when
the sender does not listen to ECN. What could then only be dropped is left with its sender instead: his port is paused
as a whole, as priority flow control pauses a link, and only his.
"""

from __future__ import annotations

from typing import Final

from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.profile import Profile

PAUSE_AT: Final = 0.75  # of a queue's limit; the rest is for what is under way while the sender is told
RESUME_AT: Final = 0.5


class BackPressure:
    """``orders`` (port, whether it is to pause) are for the caller to take, in order, and clear."""

    def __init__(self, profile: Profile) -> None:
        self._pause_bytes = profile.limit_bytes * PAUSE_AT if profile.pauses_senders else float("inf")
        self._resume_bytes = profile.limit_bytes * RESUME_AT
        self._full: dict[int, set[int]] = {}  # port -> qids of its queues that have filled and not emptied since
        self.orders: list[tuple[int, bool]] = []
        self.pauses = 0

    @property
    def paused_ports(self) -> list[int]:
        """Ports that are paused now."""
        return sorted(self._full)

    def grown(self, queue: SourceQueue) -> None:
        """A queue has got a frame."""
        if queue.backlog_bytes <= self._pause_bytes:
            return
        full = self._full.get(queue.port)
        if full is None:
            full = self._full[queue.port] = set()
            self.orders.append((queue.port, True))
            self.pauses += 1
        full.add(queue.qid)

    def shrunk(self, queue: SourceQueue) -> None:
        """A queue has sent or dropped something."""
        if not self._full:
            return
        full = self._full.get(queue.port)
        if full is None or queue.qid not in full or queue.backlog_bytes > self._resume_bytes:
            return
        full.discard(queue.qid)
        if not full:
            del self._full[queue.port]
            self.orders.append((queue.port, False))
