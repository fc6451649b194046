"""The sending side of a GSP: its source queues, what they ask for and what they send."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final, NamedTuple

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.former import Former
from testbed.gse.dataplane.inner import mark_congestion, traffic_class
from testbed.gse.dataplane.outlet import Outlet
from testbed.gse.dataplane.place import Place, Where
from testbed.gse.dataplane.pressure import BackPressure
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.release import Release
from testbed.gse.dataplane.serial import unwrap, wrap
from testbed.gse.dataplane.spread import Spreader
from testbed.gse.dataplane.unit import UnitChooser

WAITS_KEPT: Final = 20_000
KEPT_GAPS: Final = 2  # gap times a frame is kept: the first one begins when a later frame arrives
RESEND_AFTER: Final = 0.25  # of ``loss_report_s``: a destination repeats what is missing after half of it at the least
QIDS: Final = 0x1_0000
REST_GAPS: Final = 2  # gap times a closed queue's numbers are kept; the destination keeps them longer


class QueueName(NamedTuple):
    """Own port, destination GSP and its port, class: a host that fills its queue hurts no other host."""

    port: int
    dst: int
    dst_port: int
    tc: int


class SourceSide:
    """See the module."""

    def __init__(
        self,
        profile: Profile,
        place: Place,
        epoch: int,
        spread: Spreader,
        outlet: Outlet,
        counters: Counters,
        seed: int,
        now_s: float,
    ) -> None:
        self._profile, self._place, self._epoch = profile, place, epoch
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._by_grant = profile.by_grant
        self._gap_s = profile.gap_s
        self._mark_s = profile.mark_s
        self._reorder_buffer_bytes = profile.reorder_buffer_bytes
        self._retransmit = profile.retransmit and profile.reorder  # nobody tells of losses where order is not restored
        self._spread, self._outlet, self._counters = spread, outlet, counters
        self._units = UnitChooser(profile, spread, seed)
        self._release = Release(
            place.egress_bytes_per_s,
            place.egress_links * profile.release_bytes,
            now_s,
            uplinks=None if place.in_host else spread,
        )
        self.pressure = BackPressure(profile)
        self.queues: dict[tuple[int, int, int, int], SourceQueue] = {}  # by ``QueueName``
        self.waits_s: deque[float] = deque(maxlen=WAITS_KEPT)  # what frames waited here
        self._by_qid: dict[int, SourceQueue] = {}
        self._kept: dict[int, deque[tuple[float, wire.DataHeader, bytes]]] = {}  # by qid, with when it was sent
        # Closed queues rest for a while: one that is needed again goes on with its numbers, or its first packets
        # could overtake the last of its former life, which may still wait for order.
        self._resting: dict[QueueName, SourceQueue] = {}
        self._rest_ends: deque[tuple[float, QueueName, int]] = deque()
        self._used_qids: set[int] = set()
        self._next_qid = 0
        self._resent_s: dict[tuple[int, int], float] = {}  # (qid, psn) of kept frames -> when they were last sent again
        self._resend_s = RESEND_AFTER * profile.loss_report_s

    @property
    def at_rest(self) -> bool:
        """Whether no queue lives or rests."""
        return not (self.queues or self._resting)

    def formers(self) -> list[Former]:
        """Return the formers of every queue that lives or rests."""
        return [queue.former for queue in (*self.queues.values(), *self._resting.values())]

    def take(self, port: int, frame: bytes, where: Where, now_s: float) -> None:
        """Take a frame from the host on ``port`` to the host at ``where``."""
        # as a plain tuple, which is made quickly, and equal to the name of a queue that is there
        name = (port, where.gsp, where.port, traffic_class(frame))
        queue = self.queues.get(name) or self._revived_queue(QueueName(*name), now_s)
        if queue is None:
            self._counters.too_many_queues += 1
            return
        if not queue.offer(frame, now_s):
            self._counters.queue_full_drops += 1
            return
        self.pressure.grown(queue)
        self._pump(queue, now_s)

    def hear_grant(self, src: int, entries: Iterable[wire.GrantEntry], now_s: float) -> None:
        """Send what the GSP ``src`` grants."""
        for entry in entries:
            queue = self._by_qid.get(entry.qid)
            if queue is None or queue.epoch != entry.epoch or queue.dst != src:
                self._counters.stale += 1
            elif queue.granted(entry.grant, now_s):
                self._pump(queue, now_s)

    def hear_loss(self, message: wire.Loss, now_s: float) -> None:
        """Send again what is missing, as far as it is kept, by other paths: the first may be slow or dying.

        A word that comes twice, or names again what has just been sent again, changes nothing for that.
        """
        kept = self._kept.get(message.qid)
        self._counters.losses_told += 1
        if message.final or not kept or message.epoch != self._epoch or kept[0][1].dst != message.src:
            return
        for _sent_s, header, frame in list(kept):
            if (header.psn - message.psn) & 0xFFFF_FFFF >= message.count:
                continue
            name = (message.qid, header.psn)
            if now_s - self._resent_s.get(name, -inf) >= self._resend_s:
                self._resent_s[name] = now_s
                self._resend(header, frame, now_s)

    def send_again(self, path: int, waiting_bytes: float, now_s: float) -> None:
        """An uplink is gone with what waited there: send the last so many bytes again, by others, as they were sent."""
        lost: list[tuple[float, wire.DataHeader, bytes]] = []
        left_bytes = waiting_bytes
        on_path = [item for kept in self._kept.values() for item in kept if item[1].path == path + 1]
        for item in sorted(on_path, key=_sent_s, reverse=True):
            if left_bytes <= 0:
                break
            left_bytes -= len(item[2]) + wire.OVERHEAD_BYTES
            lost.append(item)
        for _sent, header, frame in reversed(lost):
            self._resend(header, frame, now_s)

    def release(self, now_s: float) -> None:
        """Send what is granted and what the links carry, queue by queue."""
        while (queue := self._release.next(now_s)) is not None:
            self._release.spend(self._send_next(queue, now_s) + wire.OVERHEAD_BYTES)
            if queue.sendable():
                self._release.enlist(queue)
            else:
                self._ask_if_due(queue, now_s)

    def release_due_s(self) -> float | None:
        """Return when ``release`` will have something to do; None: nothing that is granted waits."""
        return self._release.due_s()

    def scan(self, now_s: float) -> None:
        """Do what timers ask: close, ask again, give up, forget."""
        for queue in list(self.queues.values()):
            age_due_s = queue.age_due_s()
            if age_due_s is None:
                if self._by_grant:
                    self._watch(queue, now_s)
            elif age_due_s <= now_s:
                self._close(queue, now_s)
        while self._rest_ends and self._rest_ends[0][0] <= now_s:
            _end_s, name, turn = self._rest_ends.popleft()
            resting = self._resting.get(name)
            if resting is not None and resting.closures == turn:  # else it was needed again, and rests anew
                del self._resting[name]
                self._counters.add_former(resting.former)
                self._forget_kept(resting.qid)
                self._used_qids.discard(resting.qid)

    # -- one queue --------------------------------------------------------------------------------------------

    def _revived_queue(self, name: QueueName, now_s: float) -> SourceQueue | None:
        """Return a queue that rests, or a new one: it lives from now on. None: all numbers are in use."""
        queue = self._resting.pop(name, None) or self._new_queue(name, now_s)
        if queue is None:
            return None
        self.queues[name] = self._by_qid[queue.qid] = queue
        return queue

    def _new_queue(self, name: QueueName, now_s: float) -> SourceQueue | None:
        if len(self._used_qids) == QIDS:
            return None
        while self._next_qid in self._used_qids:
            self._next_qid = (self._next_qid + 1) & 0xFFFF
        qid, self._next_qid = self._next_qid, (self._next_qid + 1) & 0xFFFF
        self._used_qids.add(qid)
        self._counters.queues_made += 1
        return SourceQueue(
            self._profile,
            qid=qid,
            epoch=self._epoch,
            port=name.port,
            dst=name.dst,
            dst_port=name.dst_port,
            tc=name.tc,
            now_s=now_s,
        )

    def _pump(self, queue: SourceQueue, now_s: float) -> None:
        """Send what may be sent, then ask for more if it is time."""
        if self._by_grant and queue.dst != self._place.gsp:
            while queue.sendable():
                if not self._release.lets(queue, now_s):
                    self._release.enlist(queue)
                    break
                self._release.spend(self._send_next(queue, now_s) + wire.OVERHEAD_BYTES)
        else:
            while queue.sendable():
                self._send_next(queue, now_s)
        self._ask_if_due(queue, now_s)

    def _ask_if_due(self, queue: SourceQueue, now_s: float) -> None:
        due_s = queue.ask_due_s() if self._by_grant else None
        if due_s is not None and due_s <= now_s:
            self._ask(queue, now_s)

    def _send_next(self, queue: SourceQueue, now_s: float) -> int:
        """Send the frame in front; return its size."""
        leaf = queue.dst >> 8
        local = leaf == self._place.leaf  # no path to choose: the frame does not leave the leaf
        sent_before, psn = queue.sent, queue.psn
        frame, waited_s = queue.take(now_s)
        self.pressure.shrunk(queue)
        self.waits_s.append(waited_s)
        # Marked as it leaves, by the time it waited: its sender hears of the queue a round trip later, not a round
        # trip and the queue. In bytes it could not be said, for a host may share its port among many queues.
        if waited_s > self._mark_s and (marked := mark_congestion(frame)) is not None:
            frame = marked
            self._counters.marked_frames += 1
        path, slot = self._units.choose(queue, frame, leaf, local, now_s)
        if not queue.backlog_frames:
            queue.former.close()
        fields = (
            wire.FLAG_FIRST if slot.first else 0,
            queue.tc,
            queue.epoch,
            self._place.gsp,
            queue.dst,
            queue.dst_port,
            0 if local else path + 1,
            queue.qid,
            wrap(psn),
            wrap(slot.csn),
            slot.pidx & 0xFFFF,
            len(frame),
            wrap(sent_before),
            wrap(queue.demand),
            int(now_s * 1e6) & 0xFFFF_FFFF,
        )
        header = wire.header_of((*fields, *wire.NO_GRANT))
        if self._retransmit:
            self._keep(queue.qid, header, frame, now_s)
        self._outlet.data(header, frame, now_s)
        return len(frame)

    def _resend(self, header: wire.DataHeader, frame: bytes, now_s: float) -> None:
        path = 1 + self._spread.choose(header.dst >> 8, now_s, avoid=header.path - 1) if header.path else 0
        self._counters.retransmitted += 1
        self._release.spend(len(frame) + wire.OVERHEAD_BYTES)
        self._outlet.data(header._replace(flags=header.flags | wire.FLAG_RETRANSMITTED, path=path), frame, now_s)

    def _keep(self, qid: int, header: wire.DataHeader, frame: bytes, now_s: float) -> None:
        """Keep a frame as long as its destination waits for it, and no more than that can hold."""
        kept = self._kept.setdefault(qid, deque())
        kept.append((now_s, header, frame))
        oldest = wrap(header.sent - self._reorder_buffer_bytes)
        until_s = now_s - KEPT_GAPS * self._gap_s
        while kept and (kept[0][0] < until_s or unwrap(kept[0][1].sent, oldest) < oldest):
            _sent, gone, _frame = kept.popleft()
            if self._resent_s:
                self._resent_s.pop((qid, gone.psn), None)

    def _forget_kept(self, qid: int) -> None:
        for _sent, header, _frame in self._kept.pop(qid, ()):
            self._resent_s.pop((qid, header.psn), None)

    def _ask(self, queue: SourceQueue, now_s: float) -> None:
        queue.asked(now_s)
        self._counters.requests += 1
        request = wire.Request(
            self._place.gsp,
            queue.dst,
            queue.epoch,
            queue.qid,
            queue.dst_port,
            queue.tc,
            wrap(queue.demand),
            wrap(queue.sent),
            wrap(queue.psn),
            min(int(queue.head_age_s(now_s) * 1e6), 0xFFFF_FFFF),
            wrap(queue.grant),
        )
        self._outlet.control(request, now_s)

    def _watch(self, queue: SourceQueue, now_s: float) -> None:
        watchdog_s = queue.watchdog_due_s()
        if watchdog_s is not None and watchdog_s <= now_s:
            self._counters.watchdog_alarms += 1
            if queue.alarm():
                self._counters.watchdog_drops += queue.drop_all(now_s)
                self.pressure.shrunk(queue)
                self._close(queue, now_s)  # else the destination would go on granting what is not there any more
                return
        self._ask_if_due(queue, now_s)

    def _close(self, queue: SourceQueue, now_s: float) -> None:
        name = QueueName(queue.port, queue.dst, queue.dst_port, queue.tc)
        del self.queues[name], self._by_qid[queue.qid]
        queue.close()
        self._resting[name] = queue
        self._rest_ends.append((now_s + REST_GAPS * self._gap_s, name, queue.closures))
        close = wire.Close(
            self._place.gsp, queue.dst, queue.epoch, queue.qid, queue.dst_port, wrap(queue.sent), wrap(queue.psn)
        )
        self._outlet.control(close, now_s)


def _sent_s(kept: tuple[float, wire.DataHeader, bytes]) -> float:
    return kept[0]
