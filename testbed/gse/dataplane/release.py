"""What a GSP's own links can carry: granted frames leave no faster than that.

Destinations grant for their ports and do not know of each other. Fifteen of them may let one host send at once, far
more than its link takes; what it released would wait, or be lost, in a queue that nobody schedules. Frames wait in
their source queues instead, and leave by round robin, higher classes first.

A leaf's GSP has several links, and not every one leads everywhere: when one has died, or leads to a leaf no more, the
others carry less than all its hosts may be granted. There a frame leaves only when an uplink that leads to its
destination has room (``Spreader.room_s``); others, to leaves that can be reached, do not wait behind it.
"""

from __future__ import annotations

from collections import deque
from math import inf

from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.spread import Spreader


class Release:
    """Tokens at ``rate_bytes_per_s``, at most ``burst_bytes`` of them, and the queues that wait for some.

    ``uplinks``: those of a leaf's GSP, which gives tokens as they live; None: one link, which always does.
    """

    def __init__(
        self, rate_bytes_per_s: float, burst_bytes: int, now_s: float, uplinks: Spreader | None = None
    ) -> None:
        self._rate, self._burst = rate_bytes_per_s, float(burst_bytes)
        self._tokens, self._tokens_s = self._burst, now_s
        self._uplinks = uplinks
        self._rounds: dict[int, deque[SourceQueue]] = {}  # class -> queues with frames that may leave
        self._listed: set[int] = set()  # their qids
        self._room_s = -inf  # before that no uplink has room for any of them

    def enlist(self, queue: SourceQueue) -> None:
        """A queue has something that may leave."""
        if queue.qid not in self._listed:
            self._listed.add(queue.qid)
            self._rounds.setdefault(queue.tc, deque()).append(queue)
            self._room_s = -inf

    def next(self, now_s: float) -> SourceQueue | None:
        """Return the queue whose turn it is, taken off the list; None: nobody's, or not yet.

        A queue whose frame has no room keeps its place.
        """
        if not self._listed or now_s < self._room_s:
            return None
        self._refill(now_s)
        if self._tokens <= 0:
            return None
        first_s = inf
        for tc in sorted(self._rounds):
            round_ = self._rounds[tc]
            for place, queue in enumerate(round_):
                room_s = self._has_room_s(queue, now_s)
                if room_s <= now_s:
                    del round_[place]
                    self._listed.discard(queue.qid)
                    return queue
                first_s = min(first_s, room_s)
        self._room_s = first_s
        return None

    def lets(self, queue: SourceQueue, now_s: float) -> bool:
        """Return whether a queue may send a frame at once: tokens, room, and nobody who waits for his turn."""
        if self._listed:
            return False
        self._refill(now_s)
        return self._tokens > 0 and self._has_room_s(queue, now_s) <= now_s

    def spend(self, size_bytes: int) -> None:
        """So many bytes have left. Tokens may become negative by a frame: the next one waits for it."""
        self._tokens -= size_bytes

    def due_s(self) -> float | None:
        """Return when ``next`` may return a queue; None: nobody waits."""
        if not self._listed:
            return None
        return max(self._room_s, self._tokens_s + max(0.0, 1.0 - self._tokens) / self._rate)

    def _has_room_s(self, queue: SourceQueue, now_s: float) -> float:
        if self._uplinks is None:
            return now_s
        leaf = queue.dst >> 8
        goes_on = queue.former.goes_on(queue.head_bytes) and self._uplinks.lives(leaf, queue.path)
        return self._uplinks.room_s(leaf, now_s, queue.path if goes_on else None)

    def _refill(self, now_s: float) -> None:
        if now_s > self._tokens_s:
            if self._uplinks is not None:
                self._rate = self._uplinks.egress_bytes_per_s
            self._tokens = min(self._burst, self._tokens + (now_s - self._tokens_s) * self._rate)
            self._tokens_s = now_s
