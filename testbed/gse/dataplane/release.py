"""What a GSP's own links can carry: granted frames leave no faster than that.

Destinations grant for their ports and do not know of each other. Fifteen of them may let one host send at once, far
more than its link takes; what it released would wait, or be lost, in a queue that nobody schedules. Frames wait in
their source queues instead, and leave by round robin, higher classes first.
"""

from __future__ import annotations

from collections import deque

from testbed.gse.dataplane.dgsq import SourceQueue


class Release:
    """Tokens at ``rate_bytes_per_s``, at most ``burst_bytes`` of them, and the queues that wait for some."""

    def __init__(self, rate_bytes_per_s: float, burst_bytes: int, now_s: float) -> None:
        self._rate, self._burst = rate_bytes_per_s, float(burst_bytes)
        self._tokens, self._tokens_s = self._burst, now_s
        self._rounds: dict[int, deque[SourceQueue]] = {}  # class -> queues with frames that may leave
        self._listed: set[int] = set()  # their qids

    def enlist(self, queue: SourceQueue) -> None:
        """A queue has something that may leave."""
        if queue.qid not in self._listed:
            self._listed.add(queue.qid)
            self._rounds.setdefault(queue.tc, deque()).append(queue)

    def next(self, now_s: float) -> SourceQueue | None:
        """Return the queue whose turn it is, taken off the list; None: nobody's, or not yet."""
        if not self._listed:
            return None
        self._refill(now_s)
        if self._tokens <= 0:
            return None
        for tc in sorted(self._rounds):
            if self._rounds[tc]:
                queue = self._rounds[tc].popleft()
                self._listed.discard(queue.qid)
                return queue
        return None

    def lets(self, now_s: float) -> bool:
        """Return whether a queue may send a frame at once: there are tokens, and nobody waits for his turn."""
        if self._listed:
            return False
        self._refill(now_s)
        return self._tokens > 0

    def spend(self, size_bytes: int) -> None:
        """So many bytes have left. Tokens may become negative by a frame: the next one waits for it."""
        self._tokens -= size_bytes

    def due_s(self) -> float | None:
        """Return when ``next`` will return a queue; None: nobody waits."""
        if not self._listed:
            return None
        return self._tokens_s + max(0.0, 1.0 - self._tokens) / self._rate

    def _refill(self, now_s: float) -> None:
        if now_s > self._tokens_s:
            self._tokens = min(self._burst, self._tokens + (now_s - self._tokens_s) * self._rate)
            self._tokens_s = now_s
