"""One GSP: frames of its hosts into containers to everywhere, containers from everywhere to its hosts.

The same class serves a leaf (N2N: all its hosts are ports) and a host (E2E: its network interface is the only port).
Pure: frames and ``now_s`` come in by ``from_host``, ``from_fabric`` and ``advance``; what is to be sent is left in
``fabric_out`` and ``host_out`` for the caller to take. Frames between ports of one GSP go through the same grants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.dgsq import SourceQueue, Verdict
from testbed.gse.dataplane.grant import GrantScheduler, Issued, QueueKey, is_newer_epoch
from testbed.gse.dataplane.inbound import Inbound
from testbed.gse.dataplane.inner import mark_congestion, traffic_class
from testbed.gse.dataplane.paths import PathMonitor
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.serial import unwrap, wrap
from testbed.gse.dataplane.spread import Spreader
from testbed.gse.dataplane.unit import UnitChooser

SCAN_S: Final = 0.005  # resolution of all timers but grants
FAULT_COPIES: Final = 3
FAULT_COPY_S: Final = 0.001
FAULT_REFRESH_S: Final = 0.5  # a lost notice is healed by the next round
GRANTS_PER_FRAME: Final = 60  # fits the smallest MTU
SILENT_S: Final = 10.0  # state of a source not heard of for so long is forgotten
WAITS_KEPT: Final = 20_000


class Where(NamedTuple):
    """Where a host is attached: its GSP's address and the port there."""

    gsp: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an ``Edge`` stands in the fabric. ``ports``: port -> rate of its egress link in bytes/s."""

    gsp: int
    ports: Mapping[int, float]
    paths: int
    uplink_bytes_per_s: float
    hosts: Mapping[bytes, Where]  # every host by MAC
    peers: Sequence[int]  # every other GSP
    watches_paths: bool  # whether it checks its leaf's uplinks with hellos


class Edge:
    """See the module. ``epoch`` (16 bits) must be newer than that of any earlier life of the same GSP."""

    def __init__(self, profile: Profile, place: Place, *, epoch: int, rng: Random, now_s: float) -> None:
        self.profile, self.place = profile, place
        self.gsp, self.leaf = place.gsp, place.gsp >> 8
        self.epoch = epoch & 0xFFFF
        self.fabric_out: list[tuple[bytes, bytes]] = []  # (header or whole control frame, inner frame or b"")
        self.host_out: list[tuple[int, bytes]] = []
        self.counters = Counters()
        self.waits_s: deque[float] = deque(maxlen=WAITS_KEPT)  # what frames waited in their source queue
        self.spread = Spreader(place.paths, place.uplink_bytes_per_s, rng)
        self.monitor = PathMonitor(profile, place.paths, now_s)
        self._units = UnitChooser(profile, self.spread, rng.getrandbits(32))
        self._began_s = now_s
        # by (own port, destination GSP, its port, class): a host that fills its queue hurts no other host
        self._queues: dict[tuple[int, int, int, int], SourceQueue] = {}
        self._by_qid: dict[int, SourceQueue] = {}
        self._sent: dict[int, deque[tuple[wire.DataHeader, bytes]]] = {}  # qid -> frames kept for retransmission
        self._closed_qids: deque[tuple[float, int]] = deque()
        self._next_qid = 0
        self._inbound: dict[QueueKey, Inbound] = {}
        self._schedulers = {port: GrantScheduler(profile, rate, now_s) for port, rate in place.ports.items()}
        self._answers: dict[int, list[wire.GrantEntry]] = {}  # source GSP -> grants to tell it
        self._peers = frozenset(place.peers) | {place.gsp}
        self._fault_seq = 0
        self._fault_heard: dict[tuple[int, int, int], int] = {}
        self._later: list[tuple[float, wire.Control]] = []
        self._refresh_s = now_s + FAULT_REFRESH_S
        self._scan_s = now_s
        self._turn = 0

    # -- frames in --------------------------------------------------------------------------------------------

    def from_host(self, port: int, frame: bytes, now_s: float) -> None:
        """Take a frame the host on ``port`` sent."""
        where = self.place.hosts.get(frame[:6])
        if where is None or len(frame) < wire.INNER_MIN_BYTES:
            self.counters.unknown_destination += 1
            return
        self.counters.host_in_frames += 1
        self.counters.host_in_bytes += len(frame)
        queue = self._queue(port, where, traffic_class(frame), now_s)
        verdict = queue.offer(frame, now_s)
        if verdict is Verdict.FULL:
            self.counters.queue_full_drops += 1
            return
        if verdict is Verdict.MARK and (marked := mark_congestion(frame)) is not None:
            queue.replace_last(marked)
            self.counters.marked_frames += 1
        self._pump(queue, now_s)

    def from_fabric(self, frame: bytes, now_s: float) -> None:
        """Take a frame that came over the fabric; anything wrong with it is counted and dropped."""
        ethertype = frame[12:14]
        if ethertype == b"\x88\xb5":
            header = wire.parse_data(frame)
            if header is None:
                self.counters.malformed += 1
            elif not self._is_for_us(header, frame):
                self.counters.misdirected += 1
            else:
                inner = frame[wire.DATA_OFFSET : wire.DATA_OFFSET + header.inner_bytes]
                self._arrive(header, inner, now_s)
        elif ethertype == b"\x88\xb6":
            message = wire.parse_control(frame)
            if message is None:
                self.counters.malformed += 1
            elif message.dst != self.gsp or message.src not in self._peers:
                self.counters.misdirected += 1
            else:
                self.counters.control_in += 1
                self._hear(message, now_s)
        else:
            self.counters.foreign += 1

    def carrier(self, path: int, *, up: bool, now_s: float) -> None:
        """An uplink of this leaf lost or gained carrier; ``path`` counts from 0."""
        self.monitor.carrier(path, up=up, now_s=now_s)
        self._check_paths(now_s)

    # -- time -------------------------------------------------------------------------------------------------

    def advance(self, now_s: float) -> None:
        """Do what is due: grants, repeated requests, gap timers, ageing, hellos. Call after every batch of frames."""
        for scheduler in self._schedulers.values():
            for issued in scheduler.issue(now_s):
                self._answer(issued)
        self._tell_grants(now_s)
        if self._later:
            self._send_later(now_s)
        if self.place.watches_paths and now_s >= self.monitor.hello_due_s:
            self._check_paths(now_s)
            self._greet(now_s)
        if now_s >= self._scan_s:
            self._scan(now_s)
            self._scan_s = now_s + SCAN_S

    def due_s(self) -> float | None:
        """Return when ``advance`` has to be called next if no frame comes; None: not before one does."""
        dues = [due_s for scheduler in self._schedulers.values() if (due_s := scheduler.due_s()) is not None]
        if self._queues or self._inbound or self._sent:
            dues.append(self._scan_s)
        if self._later:
            dues.append(self._later[0][0])
        if self.place.watches_paths:
            dues.append(self.monitor.hello_due_s)
        return min(dues, default=None)

    # -- what it says -----------------------------------------------------------------------------------------

    def queues(self) -> list[SourceQueue]:
        """Return the live source queues."""
        return list(self._queues.values())

    def grants(self) -> int:
        """Return how many grants this GSP has issued."""
        return sum(scheduler.grants for scheduler in self._schedulers.values())

    def totals(self) -> Counters:
        """Return the counters with what live queues have counted so far."""
        totals = replace(self.counters)
        for queue in self._queues.values():
            totals.add_former(queue.former)
        for inbound in self._inbound.values():
            totals.swapped += inbound.swapped
            if inbound.order is not None:
                totals.add_order(inbound.order)
        return totals

    # -- source side ------------------------------------------------------------------------------------------

    def _queue(self, port: int, where: Where, tc: int, now_s: float) -> SourceQueue:
        key = (port, where.gsp, where.port, tc)
        queue = self._queues.get(key)
        if queue is None:
            while self._next_qid in self._by_qid or self._next_qid in self._sent:
                self._next_qid = (self._next_qid + 1) & 0xFFFF
            qid, self._next_qid = self._next_qid, (self._next_qid + 1) & 0xFFFF
            queue = SourceQueue(
                self.profile, qid=qid, epoch=self.epoch, dst=where.gsp, dst_port=where.port, tc=tc, now_s=now_s
            )
            self._queues[key] = self._by_qid[qid] = queue
            self.counters.queues_made += 1
        return queue

    def _pump(self, queue: SourceQueue, now_s: float) -> None:
        """Send what may be sent, then ask for more if it is time."""
        while queue.sendable():
            self._send_next(queue, now_s)
        due_s = queue.ask_due_s()
        if due_s is not None and due_s <= now_s and self.profile.admission == "dgsq":
            self._ask(queue, now_s)

    def _send_next(self, queue: SourceQueue, now_s: float) -> None:
        leaf = queue.dst >> 8
        local = leaf == self.leaf  # no path to choose: the frame does not leave the leaf
        sent_before, psn = queue.sent, queue.psn
        frame, waited_s = queue.take(now_s)
        self.waits_s.append(waited_s)
        choice = self._units.choose(queue, frame, leaf, local, now_s)
        if not queue.backlog_frames:
            queue.former.close()
        header = wire.DataHeader(
            wire.FLAG_FIRST if choice.first else 0,
            queue.tc,
            queue.epoch,
            self.gsp,
            queue.dst,
            queue.dst_port,
            0 if local else choice.path + 1,
            queue.qid,
            wrap(psn),
            wrap(choice.csn),
            choice.pidx & 0xFFFF,
            len(frame),
            wrap(sent_before),
            wrap(queue.demand),
            int(now_s * 1e6) & 0xFFFF_FFFF,
        )
        if self.profile.retransmit:
            self._keep(queue.qid, header, frame)
        self._transmit(header, frame, now_s)

    def _transmit(self, header: wire.DataHeader, frame: bytes, now_s: float) -> None:
        if header.dst == self.gsp:
            self.counters.local_frames += 1
            self._arrive(header, frame, now_s)
            return
        self.counters.data_out += 1
        self.fabric_out.append((wire.data_prefix(header), frame))
        if header.path:
            self.spread.record(header.dst >> 8, header.path - 1, len(frame) + wire.OVERHEAD_BYTES, now_s)

    def _keep(self, qid: int, header: wire.DataHeader, frame: bytes) -> None:
        kept = self._sent.setdefault(qid, deque())
        kept.append((header, frame))
        oldest = wrap(header.sent - self.profile.window_bytes)
        while kept and unwrap(kept[0][0].sent, oldest) < oldest:
            kept.popleft()

    def _ask(self, queue: SourceQueue, now_s: float) -> None:
        queue.asked(now_s)
        self.counters.requests += 1
        age_us = min(int(queue.head_age_s(now_s) * 1e6), 0xFFFF_FFFF)
        self._send_control(
            wire.Request(
                self.gsp,
                queue.dst,
                queue.epoch,
                queue.qid,
                queue.dst_port,
                queue.tc,
                wrap(queue.demand),
                wrap(queue.sent),
                wrap(queue.psn),
                age_us,
            ),
            now_s,
        )

    # -- destination side -------------------------------------------------------------------------------------

    def _is_for_us(self, header: wire.DataHeader, frame: bytes) -> bool:
        """Return whether header, outer and inner addresses agree, and name one of this GSP's hosts."""
        at = wire.DATA_OFFSET
        return (
            header.dst == self.gsp
            and (1 if header.src >> 8 != self.leaf else 0) <= header.path <= self.place.paths
            and frame[:12] == wire.mac(header.dst, header.path) + wire.mac(header.src, header.path)
            and self.place.hosts.get(frame[at : at + 6]) == (header.dst, header.dst_port)
            and (source := self.place.hosts.get(frame[at + 6 : at + 12])) is not None
            and source.gsp == header.src
        )

    def _arrive(self, header: wire.DataHeader, inner: bytes, now_s: float) -> None:
        key = (header.src, header.qid)
        inbound = self._inbound_of(key, header.epoch, header.dst_port, psn=header.psn, sent=header.sent, now_s=now_s)
        if inbound is None or inbound.dst_port != header.dst_port:
            self.counters.stale += 1
            return
        self.counters.data_in += 1
        ready, received = inbound.accept(header.psn, header.sent, inner, now_s)
        if self.profile.admission == "dgsq":
            scheduler = self._schedulers[header.dst_port]
            scheduler.hear(key, epoch=header.epoch, tc=header.tc, demand=header.demand, sent=header.sent, now_s=now_s)
            scheduler.received(key, received)
        self._deliver(header.dst_port, ready)

    def _deliver(self, port: int, frames: list[bytes]) -> None:
        for frame in frames:
            self.counters.host_out_frames += 1
            self.counters.host_out_bytes += len(frame)
            self.host_out.append((port, frame))

    def _inbound_of(
        self, key: QueueKey, epoch: int, dst_port: int, *, psn: int, sent: int, now_s: float
    ) -> Inbound | None:
        """Return the state of a source queue, made when it is new; None for an epoch that is over."""
        inbound = self._inbound.get(key)
        if inbound is not None and inbound.epoch == epoch:
            return inbound
        if inbound is not None:
            if not is_newer_epoch(epoch, inbound.epoch):
                return None
            self._forget_source(key[0], epoch)
        # Shortly after its own start an agent meets queues in the middle of their life: it goes on from where they
        # are. A queue that has sent no more than a window may be new, its first packet still under way.
        restarted = now_s - self._began_s < SILENT_S and sent > self.profile.window_bytes
        inbound = self._inbound[key] = Inbound(
            self.profile,
            epoch=epoch,
            dst_port=dst_port,
            first_psn=psn if restarted else 0,
            sent=sent if restarted else 0,
            now_s=now_s,
        )
        return inbound

    def _forget_source(self, src: int, epoch: int) -> None:
        """A source has begun a new life: what its former queues still hold is delivered, then forgotten."""
        for key, inbound in list(self._inbound.items()):
            if key[0] == src and is_newer_epoch(epoch, inbound.epoch):
                if inbound.order is not None:
                    self._deliver(inbound.dst_port, inbound.order.flush())
                self._drop_inbound(key, inbound)
                self.counters.epochs_ended += 1

    def _drop_inbound(self, key: QueueKey, inbound: Inbound) -> None:
        self._schedulers[inbound.dst_port].close(key, inbound.epoch)
        if inbound.order is not None:
            self.counters.add_order(inbound.order)
        self.counters.swapped += inbound.swapped
        del self._inbound[key]

    def _answer(self, issued: Issued) -> None:
        src, qid = issued.key
        self._answers.setdefault(src, []).append(wire.GrantEntry(qid, issued.epoch, issued.grant))

    def _tell_grants(self, now_s: float) -> None:
        while self._answers:
            answers, self._answers = self._answers, {}
            for src, entries in answers.items():
                for at in range(0, len(entries), GRANTS_PER_FRAME):
                    self.counters.grant_frames += 1
                    self._send_control(wire.Grant(self.gsp, src, tuple(entries[at : at + GRANTS_PER_FRAME])), now_s)

    # -- control ----------------------------------------------------------------------------------------------

    def _send_control(self, message: wire.Control, now_s: float, path: int | None = None) -> None:
        if message.dst == self.gsp and path is None:
            self._hear(message, now_s)
            return
        if path is None and message.dst >> 8 == self.leaf:
            path = -1  # straight through the leaf
        elif path is None:
            living = self.spread.living(message.dst >> 8)
            self._turn += 1
            path = living[self._turn % len(living)]
        self.counters.control_out += 1
        self.fabric_out.append((wire.control_frame(message, path + 1), b""))

    def _hear(self, message: wire.Control, now_s: float) -> None:
        if isinstance(message, wire.Grant):
            self._hear_grant(message, now_s)
        elif isinstance(message, wire.Request):
            self._hear_request(message, now_s)
        elif isinstance(message, wire.Hello):
            if 1 <= message.path <= self.place.paths and message.src == self.gsp:
                self.monitor.heard(message.path - 1, message.seq, now_s)
        elif isinstance(message, wire.Fault):
            self._hear_fault(message)
        elif isinstance(message, wire.Close):
            self._hear_close(message, now_s)
        elif isinstance(message, wire.Loss):
            self._hear_loss(message, now_s)

    def _hear_grant(self, message: wire.Grant, now_s: float) -> None:
        for entry in message.entries:
            queue = self._by_qid.get(entry.qid)
            if queue is None or queue.epoch != entry.epoch or queue.dst != message.src:
                self.counters.stale += 1
            elif queue.granted(entry.grant, now_s):
                self._pump(queue, now_s)

    def _hear_request(self, message: wire.Request, now_s: float) -> None:
        scheduler = self._schedulers.get(message.dst_port)
        key = (message.src, message.qid)
        if scheduler is None:
            self.counters.misdirected += 1
            return
        inbound = self._inbound_of(
            key, message.epoch, message.dst_port, psn=message.psn, sent=message.sent, now_s=now_s
        )
        if inbound is None or inbound.dst_port != message.dst_port:
            self.counters.stale += 1
            return
        news = scheduler.hear(
            key, epoch=message.epoch, tc=message.tc, demand=message.demand, sent=message.sent, now_s=now_s
        )
        if news is None:
            return
        silent = now_s - inbound.heard_s
        if self.profile.retransmit and silent > self.profile.loss_report_s:
            self._report(key, inbound.behind(message.psn), final=False, now_s=now_s)
        scheduler.received(key, inbound.believe(message.psn, message.sent, self.profile.gap_s, now_s))
        current = None if news else scheduler.current(key)
        if current is not None and unwrap(current.grant, message.sent) > message.sent:
            self._answer(current)  # the grant itself may have been lost

    def _hear_close(self, message: wire.Close, now_s: float) -> None:
        key = (message.src, message.qid)
        inbound = self._inbound.get(key)
        if inbound is None or inbound.epoch != message.epoch:
            return
        self._schedulers[inbound.dst_port].close(key, message.epoch)
        inbound.closed, inbound.heard_s = True, now_s
        if self.profile.retransmit:
            self._report(key, inbound.behind(message.psn), final=False, now_s=now_s)

    def _report(self, key: QueueKey, missing: tuple[int, int] | None, *, final: bool, now_s: float) -> None:
        inbound = self._inbound.get(key)
        if missing is None or inbound is None:
            return
        self.counters.loss_reports += 1
        src, qid = key
        self._send_control(wire.Loss(self.gsp, src, inbound.epoch, qid, missing[0], missing[1], final), now_s)

    def _hear_loss(self, message: wire.Loss, now_s: float) -> None:
        kept = self._sent.get(message.qid)
        self.counters.losses_told += 1
        if message.final or not kept or message.epoch != self.epoch or kept[0][0].dst != message.src:
            return
        for header, frame in list(kept):
            behind = (header.psn - message.psn) & 0xFFFF_FFFF
            if behind >= message.count:
                continue
            path = header.path
            if path:
                path = 1 + self.spread.choose(header.dst >> 8, now_s)
            self.counters.retransmitted += 1
            again = header._replace(flags=header.flags | wire.FLAG_RETRANSMITTED, path=path)
            self._transmit(again, frame, now_s)

    # -- failures ---------------------------------------------------------------------------------------------

    def _greet(self, now_s: float) -> None:
        hello = self.monitor.next_hello(now_s)
        for path in range(self.place.paths):
            self._send_control(wire.Hello(self.gsp, self.gsp, path + 1, hello), now_s, path)

    def _check_paths(self, now_s: float) -> None:
        for path, up in self.monitor.check(now_s):
            self.spread.set_local(path, up=up)
            self.counters.path_changes += 1
            for copy in range(FAULT_COPIES):
                self._flood(path, up, now_s + copy * FAULT_COPY_S)

    def _flood(self, path: int, up: bool, at_s: float) -> None:
        self._fault_seq = (self._fault_seq + 1) & 0xFFFF_FFFF
        for peer in self.place.peers:
            self._later.append((at_s, wire.Fault(self.gsp, peer, self.leaf, path + 1, up, self._fault_seq)))
        self._later.sort(key=lambda item: item[0])

    def _send_later(self, now_s: float) -> None:
        while self._later and self._later[0][0] <= now_s:
            self._send_control(self._later.pop(0)[1], now_s)

    def _hear_fault(self, message: wire.Fault) -> None:
        key = (message.src, message.leaf, message.path)
        if not 1 <= message.path <= self.place.paths:
            self.counters.misdirected += 1
            return
        last = self._fault_heard.get(key)
        if last is not None and not 0 < (message.seq - last) & 0xFFFF_FFFF < 0x8000_0000:
            return
        self._fault_heard[key] = message.seq
        self.counters.faults_heard += 1
        if message.leaf == self.leaf:  # a host agent hears of its own leaf's uplinks
            self.spread.set_local(message.path - 1, up=message.up)
        else:
            self.spread.set_weight(message.leaf, message.path - 1, 1.0 if message.up else 0.0)

    # -- timers -----------------------------------------------------------------------------------------------

    def _scan(self, now_s: float) -> None:
        self._scan_queues(now_s)
        self._scan_inbound(now_s)
        while self._closed_qids and self._closed_qids[0][0] <= now_s:
            self._sent.pop(self._closed_qids.popleft()[1], None)
        if self.place.watches_paths and now_s >= self._refresh_s:
            self._refresh_s = now_s + FAULT_REFRESH_S
            for path in self.monitor.down_paths():
                self._flood(path, False, now_s)

    def _scan_queues(self, now_s: float) -> None:
        for key, queue in list(self._queues.items()):
            age_due_s = queue.age_due_s()
            if age_due_s is not None:
                if age_due_s <= now_s:
                    self._close(key, queue, now_s)
                continue
            if self.profile.admission == "none":
                continue
            watchdog_s = queue.watchdog_due_s()
            if watchdog_s is not None and watchdog_s <= now_s:
                self.counters.watchdog_alarms += 1
                if queue.alarm():
                    self.counters.watchdog_drops += queue.drop_all(now_s)
                    continue
            due_s = queue.ask_due_s()
            if due_s is not None and due_s <= now_s:
                self._ask(queue, now_s)

    def _close(self, key: tuple[int, int, int, int], queue: SourceQueue, now_s: float) -> None:
        del self._queues[key], self._by_qid[queue.qid]
        queue.former.close()
        self.counters.add_former(queue.former)
        self._closed_qids.append((now_s + self.profile.gap_s, queue.qid))
        self._send_control(
            wire.Close(self.gsp, queue.dst, queue.epoch, queue.qid, queue.dst_port, wrap(queue.sent), wrap(queue.psn)),
            now_s,
        )

    def _scan_inbound(self, now_s: float) -> None:
        for key, inbound in list(self._inbound.items()):
            order = inbound.order
            if order is not None and order.due_s is not None:
                asks_since_s = order.asks_since_s if self.profile.retransmit else None
                if asks_since_s is not None and now_s - asks_since_s >= self.profile.loss_report_s:
                    self._report(key, order.ask(), final=False, now_s=now_s)
                missing, ready, received = inbound.give_up(now_s)
                if missing is not None:
                    self._report(key, missing, final=True, now_s=now_s)
                self._schedulers[inbound.dst_port].received(key, received)
                self._deliver(inbound.dst_port, ready)
            silent_s = now_s - inbound.heard_s
            if inbound.empty and (silent_s > SILENT_S or (inbound.closed and silent_s > self.profile.gap_s)):
                self._drop_inbound(key, inbound)
