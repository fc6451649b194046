"""Who may send to an egress port, and how much: the scheduler at the destination.

Tokens come at ``pacing`` x port rate, so that the port can drain whatever has been granted. Classes are served in
strict order, queues inside a class in fair turns (``turns``), at most a quantum each. A queue that uses up what it gets
is granted ahead of its demand, up to a quantum, so that a steady sender neither waits nor needs a grant per frame. What
a queue has been granted and has not delivered is bounded (``window_bytes``), and so is the sum over the port: the
egress queue cannot exceed it. Credit too small for the frame in front at its source is *parked*: nothing comes of it
before that queue is granted more, so it takes no room until then. Else leftovers of many queues would fill the window,
with nothing under way that could ever empty it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.serial import is_newer_epoch, unwrap, wrap
from testbed.gse.dataplane.turns import QueueKey, Turns


class Issued(NamedTuple):
    """A grant to send: queue, epoch, cumulative bytes (32 bits). ``urgent``: its source may be waiting for it."""

    key: QueueKey
    epoch: int
    grant: int
    urgent: bool


class _Queue:
    """What the destination knows of one source queue."""

    __slots__ = (
        "ahead", "asks", "demand", "ended", "epoch", "grant", "heard_s", "leaf", "parked", "received", "sent", "tc",
        "turns", "waiting",
    )  # fmt: skip

    def __init__(self, leaf: int, epoch: int, tc: int, sent: int, ahead: int, now_s: float) -> None:
        self.leaf = leaf  # of its source
        self.ahead = ahead  # credit it keeps beyond its demand
        self.epoch, self.tc = epoch, tc
        # A queue older than this scheduler (which was restarted) is taken up where it stands.
        self.demand = self.grant = self.received = sent
        self.sent = sent  # as its source said last
        self.parked = 0  # of what it was granted, what it cannot use before it is granted more
        self.heard_s = now_s
        self.waiting = False  # for its turn
        self.ended = 0  # where its last turn ended
        self.asks = False  # its source stands still without a grant
        self.turns = 0  # grants so far

    @property
    def outstanding(self) -> int:
        return max(0, self.grant - self.received - self.parked)


_EPSILON_BYTES: Final = 1e-6
NO_DEMAND: Final = "no_demand"  # no queue wanted more
WINDOW: Final = "window"  # what had been granted had not arrived
LATE: Final = "late"  # a grant was due, and nobody asked the scheduler
UNUSED: Final = (NO_DEMAND, WINDOW, LATE)
BUCKET_QUANTA: Final = 1.5  # a grant that goes out late, because the machine is busy, takes nothing from the next
STEADY_TURNS: Final = 4  # grants after which a queue is taken for one that goes on
EARLY_FRACTION: Final = 0.5  # of a grant, at least, to go out with others


class GrantScheduler:
    """The scheduler of one egress port; ``rate_bytes_per_s`` is what the port can send."""

    def __init__(self, profile: Profile, rate_bytes_per_s: float, now_s: float) -> None:
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._age_s = profile.age_s
        self._frame_bytes = profile.frame_bytes
        self._port_window_bytes = profile.port_window_bytes
        self._quantum_bytes = profile.quantum_bytes
        self._standing_credit_bytes = profile.standing_credit_bytes
        self._window_bytes = profile.window_bytes
        self._rate = rate_bytes_per_s * profile.pacing
        # a full frame, with standing credit for small ones before it; where none stands, all is asked for
        standing_bytes = profile.standing_credit_bytes
        self._useful_bytes = profile.frame_bytes + standing_bytes if standing_bytes else 0
        self._tokens = float(profile.quantum_bytes)
        self._tokens_s = now_s
        self._queues: dict[QueueKey, _Queue] = {}
        self._turns: dict[int, Turns] = {}  # class -> queues that want more
        self._classes: list[int] = []  # its keys in order
        self._outstanding = 0
        self.reach: dict[int, float] = {}  # leaf -> the fraction of its paths that live, where not all do
        self.port_reach = 1.0  # the same of the port's own leaf
        self.held_bytes = 0  # received, and not yet handed over to the port: it takes room, too
        self.granted_bytes = 0
        self.grants = 0
        self.unused_bytes = dict.fromkeys(UNUSED, 0.0)  # tokens nobody got while queues lived here, by cause
        self._cause = NO_DEMAND  # why nothing more was granted when ``issue`` last ended

    @property
    def outstanding_bytes(self) -> int:
        """Granted to all queues, of use to them, and not yet received."""
        return self._outstanding

    # -- what is heard ----------------------------------------------------------------------------------------

    def hear(
        self, key: QueueKey, *, epoch: int, tc: int, demand: int, sent: int, now_s: float, granted: int | None = None
    ) -> int | None:
        """A queue says its demand and what it has sent (32 bits each).

        ``granted`` (32 bits): what it knows to be granted, said by a request only; so it stands still for more.
        Returns by how many bytes the demand has grown, None for an epoch already over. Demand shrinks where a source
        has dropped what waited: believed of a word that is newer than the last, as what it has sent tells.
        """
        queue = self._queue(key, epoch, tc, sent, now_s)
        if queue is None:
            return None
        if now_s - queue.heard_s > self._age_s / 2:
            queue.ahead = self._standing_credit_bytes
        queue.heard_s = now_s
        news = unwrap(demand, queue.demand) - queue.demand
        newer = unwrap(sent, queue.sent)
        if newer > queue.sent:
            queue.sent = newer
        elif news < 0:
            news = 0
        queue.demand += news
        if granted is not None:
            queue.asks = True
            self._park(queue, granted)
        self._enlist(key, queue)
        return news

    def _park(self, queue: _Queue, granted: int) -> None:
        """A queue stands still: what it was granted beyond what it has sent is of no use, unless more is on its way."""
        if unwrap(granted, queue.grant) == queue.grant:
            before = queue.outstanding
            queue.parked = max(0, queue.grant - queue.sent)
            self._outstanding += queue.outstanding - before

    def received(self, key: QueueKey, size_bytes: int) -> None:
        """So many more bytes of a queue have arrived, or are known to be lost."""
        queue = self._queues.get(key)
        if queue is not None:
            before = queue.outstanding
            queue.received += size_bytes
            self._outstanding += queue.outstanding - before
            self._enlist(key, queue)

    def close(self, key: QueueKey, epoch: int) -> None:
        """A queue is empty and forgotten at its source: so is its credit here."""
        queue = self._queues.get(key)
        if queue is not None and queue.epoch == epoch:
            self._forget(key, queue)

    def forget_silent(self, before_s: float) -> int:
        """Forget queues not heard of since ``before_s``, credit and all; return how many.

        A living source asks, sends or closes well within that; one that is gone, or never was, must not keep others
        from the port.
        """
        silent = [item for item in self._queues.items() if item[1].heard_s < before_s]
        for key, queue in silent:
            self._forget(key, queue)
        return len(silent)

    def current(self, key: QueueKey) -> Issued | None:
        """Return what a queue has been granted so far, as the answer to a repeated request."""
        queue = self._queues.get(key)
        return None if queue is None or not queue.grant else Issued(key, queue.epoch, wrap(queue.grant), True)

    def will_grant(self, key: QueueKey) -> bool:
        """Return whether a queue waits for its turn to be granted more."""
        queue = self._queues.get(key)
        return queue is not None and queue.waiting

    # -- what is granted --------------------------------------------------------------------------------------

    def issue(self, now_s: float, *, early: bool = False) -> list[Issued]:
        """Return the grants that are due now; ``early``: also one that would be due before long, smaller for it."""
        self._refill(now_s)
        issued: dict[QueueKey, Issued] = {}
        while (chosen := self._next()) is not None:
            key, queue, amount = chosen
            if self._tokens + _EPSILON_BYTES < amount:
                self._cause = LATE
                if not early or amount < self._quantum_bytes or self._tokens < amount * EARLY_FRACTION:
                    break
                amount = int(self._tokens)
            self._tokens -= amount
            if queue.demand > queue.grant and queue.turns:  # it had used up what it got: it is sending in earnest
                queue.ahead = max(queue.ahead, self._further(queue.ahead))
            queue.turns += 1
            before = queue.outstanding
            queue.grant += amount
            queue.parked = 0
            self._outstanding += queue.outstanding - before
            self.granted_bytes += amount
            self.grants += 1
            queue.ended = self._turns[queue.tc].give(amount)
            queue.waiting = False
            self._enlist(key, queue)
            urgent = queue.asks or queue.turns <= STEADY_TURNS or (key in issued and issued[key].urgent)
            queue.asks = False
            issued[key] = Issued(key, queue.epoch, wrap(queue.grant), urgent)
        else:
            wanted = any(queue.demand > queue.grant for queue in self._queues.values())
            self._cause = WINDOW if wanted else NO_DEMAND
        return list(issued.values())

    def due_s(self) -> float | None:
        """Return when ``issue`` will have something to grant if nothing else is heard; None: nothing wanted."""
        chosen = self._next()
        if chosen is None:
            return None
        missing = chosen[2] - self._tokens
        return self._tokens_s + max(0.0, missing) / self._rate

    def _next(self) -> tuple[QueueKey, _Queue, int] | None:
        """Return the queue whose turn it is and what it would get; queues whose window is full lose their turn."""
        for tc in self._classes:
            turns = self._turns[tc]
            while (key := turns.first()) is not None:
                queue = self._queues[key]
                amount = self._amount(queue)
                room = self._port_window() - self._outstanding - self.held_bytes - queue.parked
                if amount > room:
                    if self.port_reach == 1.0 or room < self._frame_bytes:
                        return None  # the port is full: nobody overtakes
                    amount = room  # a small window: credit that others keep must not shut it
                if amount:
                    return key, queue, amount
                turns.leave(key)
                queue.waiting = False
        return None

    def _amount(self, queue: _Queue) -> int:
        """Return the grant a queue gets on its turn: a quantum, or all it needs; 0 when its window has no room."""
        need = queue.demand + queue.ahead - queue.grant
        if need <= 0 or (queue.demand <= queue.grant and need * 2 < queue.ahead):
            return 0  # credit is left: no frame for a few bytes; ``SourceQueue`` counts on the rule
        amount = min(need, self._quantum_bytes)
        window = self._window(self._window_bytes, self.reach.get(queue.leaf, 1.0))
        return amount if queue.outstanding + queue.parked + amount <= window else 0

    def _port_window(self) -> int:
        """Return how much may be under way to the port."""
        return self._window(self._port_window_bytes, self.port_reach)

    def _window(self, window_bytes: int, reach: float) -> int:
        """Return a window where only a fraction of the paths is left: their queues have to hold it.

        A grant fits at the least, beside a rest that is no frame.
        """
        return window_bytes if reach == 1.0 else max(self._quantum_bytes + self._frame_bytes, int(window_bytes * reach))

    def _further(self, ahead: int) -> int:
        """Return how far ahead a queue is granted that was ``ahead`` and used it up: twice that.

        Where a frame is the most, at once, but for a queue that has only begun, or begun again: it may not go on.
        """
        most, began = self._most_ahead(), ahead <= self._standing_credit_bytes
        return most if most == self._useful_bytes and not began else min(2 * ahead, most)

    def _most_ahead(self) -> int:
        """Return the most a queue may be ahead of its demand: all together at most half the port's window.

        Less than a frame is of no use to who sends full ones. Where that is all there is, it is a frame (and standing
        credit, for small ones before it), as long as all together leave a quantum of the port's window for others.
        """
        queues, window = len(self._queues), self._port_window()
        left = window - self._quantum_bytes - queues * self._useful_bytes
        share = window // (2 * queues)
        return min(self._quantum_bytes, max(share, self._useful_bytes if left >= 0 else 0))

    # -- bookkeeping ------------------------------------------------------------------------------------------

    def _queue(self, key: QueueKey, epoch: int, tc: int, sent: int, now_s: float) -> _Queue | None:
        queue = self._queues.get(key)
        if queue is not None and queue.epoch != epoch:
            if not is_newer_epoch(epoch, queue.epoch):
                return None
            self._forget(key, queue)
            queue = None
        if queue is None:
            queue = self._queues[key] = _Queue(key[0] >> 8, epoch, tc, sent, self._standing_credit_bytes, now_s)
        return queue

    def _enlist(self, key: QueueKey, queue: _Queue) -> None:
        if not queue.waiting and self._amount(queue):
            queue.waiting = True
            if queue.tc not in self._turns:
                # more, and who comes back early gets many small turns: a fifth more control frames in an all-to-all
                self._turns[queue.tc] = Turns(self._frame_bytes)
                self._classes = sorted(self._turns)
            self._turns[queue.tc].enlist(key, queue.ended)

    def _forget(self, key: QueueKey, queue: _Queue) -> None:
        self._outstanding -= queue.outstanding
        del self._queues[key]
        if queue.waiting:
            self._turns[queue.tc].leave(key)

    def _refill(self, now_s: float) -> None:
        if now_s > self._tokens_s:
            earned = (now_s - self._tokens_s) * self._rate
            tokens = self._tokens + earned
            self._tokens = min(BUCKET_QUANTA * self._quantum_bytes, tokens)
            if self._queues:
                self.unused_bytes[self._cause] += tokens - self._tokens
            self._tokens_s = now_s
