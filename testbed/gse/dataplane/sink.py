"""The receiving side of a GSP: order of what arrives, and grants for what is to come."""

from __future__ import annotations

from math import inf
from typing import Final

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.delays import PathDelays
from testbed.gse.dataplane.grant import GrantScheduler, Issued
from testbed.gse.dataplane.inbound import Inbound
from testbed.gse.dataplane.outlet import Outlet
from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.reorder import Missing, ReorderBuffer
from testbed.gse.dataplane.riders import Riders
from testbed.gse.dataplane.serial import is_newer_epoch, unwrap
from testbed.gse.dataplane.turns import QueueKey

GRANTS_PER_FRAME: Final = 60  # fits the smallest MTU
SILENT_S: Final = 10.0  # at least: state of a source not heard of for so long is forgotten
RECLAIM_GAPS: Final = 2  # gap times after which what a silent queue was granted is granted to others
CLOSED_GAPS: Final = 4  # gap times a closed queue's numbers are kept: longer than its source keeps them
HURRIED: Final = 0.5  # of ``loss_report_s``; sooner, hosts' paths differ enough for many false alarms
HURRY_REPORTS: Final = 2  # times ``loss_report_s``
MOST_QUEUES: Final = 16_384  # of all sources together; what would exceed it is dropped and counted


class SinkSide:
    """See the module."""

    def __init__(self, profile: Profile, place: Place, outlet: Outlet, counters: Counters, now_s: float) -> None:
        self._profile, self._place = profile, place
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._by_grant = profile.by_grant
        self._congestion_report_s = profile.congestion_report_s
        self._gap_s = profile.gap_s
        # credit lives as long here as at its source, and what order is restored by longer
        self._reclaim_s = max(RECLAIM_GAPS * profile.gap_s, profile.age_s + profile.request_retry_s)
        self._silent_s = max(SILENT_S, 2 * self._reclaim_s)
        self._grant_hold_s = profile.grant_hold_s
        self._loss_report_s = profile.loss_report_s
        self._retransmit = profile.retransmit and profile.reorder  # nobody tells of losses where order is not restored
        self._window_bytes = profile.window_bytes
        self._outlet, self._counters = outlet, counters
        self.inbound: dict[QueueKey, Inbound] = {}
        self.schedulers = {port: GrantScheduler(profile, rate, now_s) for port, rate in place.ports.items()}
        self._changed: set[int] = set()  # ports whose scheduler has heard something since it was last asked
        self._dues_s: dict[int, float] = {}  # port -> when its scheduler has something to grant if it hears nothing
        self._due_s = inf  # the first of them
        self._delays = PathDelays(profile.congestion_s)
        self._judge_s = now_s
        self._answers: dict[int, list[wire.GrantEntry]] = {}  # source GSP -> grants to tell it
        self._riders = Riders()
        self._hurry_until_s = now_s  # a path has just died: what is missing is hardly late

    # -- what arrives -----------------------------------------------------------------------------------------

    def belongs_here(self, header: wire.DataHeader, frame: bytes) -> bool:
        """Return whether header, outer and inner addresses agree, and name one of this GSP's hosts."""
        at, place = wire.DATA_OFFSET, self._place
        least_path = 0 if header.src >> 8 == place.leaf else 1
        return (
            header.dst == place.gsp
            and least_path <= header.path <= place.paths
            and frame[:12] == wire.outer_macs(header.dst, header.src, header.path)
            and (host := place.hosts.get(frame[at : at + 6])) is not None
            and host.gsp == header.dst
            and host.port == header.dst_port
            and (source := place.hosts.get(frame[at + 6 : at + 12])) is not None
            and source.gsp == header.src
        )

    def arrive(self, header: wire.DataHeader, inner: bytes, now_s: float) -> None:
        """Take a host's frame that has come over the fabric (or from another port of this GSP)."""
        key = (header.src, header.qid)
        inbound = self._of(key, header.epoch, header.dst_port, header.psn, header.sent, now_s)
        if inbound is None:
            return
        self._counters.data_in += 1
        if header.path:
            self._delays.record(header.src, header.path, header.ts_us, now_s)
        ready, received, news = inbound.accept(header.psn, header.sent, inner, now_s)
        if self._by_grant and news:  # else others would miss what a queue that is over is granted
            scheduler = self.schedulers[header.dst_port]
            scheduler.hear(key, epoch=header.epoch, tc=header.tc, demand=header.demand, sent=header.sent, now_s=now_s)
            scheduler.received(key, received)
            self._changed.add(header.dst_port)
        self._outlet.host(header.dst_port, ready, now_s)

    def hear_request(self, message: wire.Request, now_s: float) -> None:
        """Note a queue's demand; answer one that repeats itself and has not heard of its grant: it was lost."""
        scheduler = self.schedulers.get(message.dst_port)
        key = (message.src, message.qid)
        if scheduler is None:
            self._counters.misdirected += 1
            return
        inbound = self._of(key, message.epoch, message.dst_port, message.psn, message.sent, now_s)
        if inbound is None:
            return
        inbound.closed, inbound.heard_s = False, now_s
        self._changed.add(message.dst_port)
        news = scheduler.hear(
            key,
            epoch=message.epoch,
            tc=message.tc,
            demand=message.demand,
            sent=message.sent,
            now_s=now_s,
            granted=message.granted,
        )
        if news is None:
            return
        unfulfilled_s = inbound.claim(message.psn, message.sent, now_s)
        if self._retransmit and unfulfilled_s > self._loss_report_s:
            self._report(key, inbound, inbound.behind(message.psn), final=False, now_s=now_s)
        if unfulfilled_s > self._gap_s:
            scheduler.received(key, inbound.believe())
        # A grant that is due says more than one that was lost. Where none is, e.g. because the lost one fills the
        # queue's window, that one has to be said again.
        current = None if news and scheduler.will_grant(key) else scheduler.current(key)
        if current is not None and unwrap(current.grant, message.granted) > message.granted:
            self._answer(current, now_s)

    def hear_close(self, message: wire.Close, now_s: float) -> None:
        """A queue is empty and forgotten at its source; here too, once nothing waits for order."""
        key = (message.src, message.qid)
        inbound = self.inbound.get(key)
        if inbound is None or inbound.epoch != message.epoch:
            return
        self.schedulers[inbound.dst_port].close(key, message.epoch)
        self._riders.drop(*key)
        self._changed.add(inbound.dst_port)
        inbound.close(message.psn, now_s)
        if self._retransmit:
            self._report(key, inbound, inbound.behind(message.psn), final=False, now_s=now_s)

    # -- grants -----------------------------------------------------------------------------------------------

    def grant(self, now_s: float) -> None:
        """Issue what is due and tell the sources, one frame for all queues of a source.

        When one port grants, the others grant early: their next grants are due together, and share frames.
        """
        if now_s >= self._due_s:
            self._changed.update(port for port, due_s in self._dues_s.items() if due_s <= now_s)
        if self._changed:
            self._issue(sorted(self._changed), now_s)
        for src in self._riders.overdue(now_s):
            self._answers.setdefault(src, [])
        while self._answers:  # telling oneself may lead to more
            answers, self._answers = self._answers, {}
            for src, urgent in answers.items():
                entries = self._riders.take_all(src) + urgent
                for at in range(0, len(entries), GRANTS_PER_FRAME):
                    self._counters.grant_frames += 1
                    grant = wire.Grant(self._place.gsp, src, tuple(entries[at : at + GRANTS_PER_FRAME]))
                    self._outlet.control(grant, now_s)

    def grant_due_s(self) -> float:
        """Return when ``grant`` will have something to do if nothing is heard before; 0: at once, inf: not before."""
        return 0.0 if self._changed else min(self._due_s, self._riders.due_s())

    def handed_over(self, ports: set[int]) -> None:
        """What was held back for these ports has gone: there is more room in their windows."""
        self._changed |= ports

    def ride(self, dst: int) -> wire.GrantEntry | None:
        """Return a grant that rides on a data frame that leaves to the GSP ``dst`` now."""
        return self._riders.take(dst)

    def _issue(self, ports: list[int], now_s: float) -> None:
        self._changed.clear()
        for port, scheduler in self.schedulers.items():
            scheduler.held_bytes = self._outlet.held_bytes(port)
        issued: dict[int, list[Issued]] = {}
        any_issued = False
        for port in ports:
            issued[port] = grants = self.schedulers[port].issue(now_s)
            any_issued |= bool(grants)
        if any_issued and len(self.schedulers) > 1:
            for port, scheduler in self.schedulers.items():
                issued[port] = issued.get(port, []) + scheduler.issue(now_s, early=True)
        for port, grants in issued.items():
            for grant in grants:
                self._answer(grant, now_s)
            due_s = self.schedulers[port].due_s()
            if due_s is None:
                self._dues_s.pop(port, None)
            else:
                self._dues_s[port] = due_s
        self._due_s = inf
        for port_due_s in self._dues_s.values():
            self._due_s = min(self._due_s, port_due_s)

    def _answer(self, issued: Issued, now_s: float) -> None:
        src, qid = issued.key
        entry = wire.GrantEntry(qid, issued.epoch, issued.grant)
        if issued.urgent or not self._grant_hold_s or src == self._place.gsp:
            self._riders.drop(src, qid)  # this one says more
            self._answers.setdefault(src, []).append(entry)
        else:
            self._riders.hold(src, entry, now_s + self._grant_hold_s)

    # -- timers -----------------------------------------------------------------------------------------------

    def scan(self, now_s: float) -> None:
        """Give up gaps that are too old, report younger ones and slow paths, forget what has ended."""
        if now_s >= self._judge_s:
            self._judge_s = now_s + self._congestion_report_s
            for slow in self._delays.judge():
                self._counters.congestion_told += 1
                self._outlet.control(wire.Congestion(self._place.gsp, slow.src, slow.path, slow.level), now_s)
            for port, scheduler in self.schedulers.items():
                if scheduler.forget_silent(now_s - self._reclaim_s):
                    self._changed.add(port)
        report_s = self._loss_report_s
        if now_s < self._hurry_until_s:
            report_s *= HURRIED
        for key, inbound in list(self.inbound.items()):
            order = inbound.order
            if order is not None and order.due_s is not None:
                self._mind_gaps(key, inbound, order, report_s, now_s)
            silent_s = now_s - inbound.heard_s
            patience_s = CLOSED_GAPS * self._gap_s if inbound.closed else self._silent_s
            if inbound.empty and silent_s > patience_s:
                self._forget(key, inbound)

    def reach(self, leaves: dict[int, float], own: float) -> None:
        """Paths have died or are back: windows are for what is left of them, by leaf and of the own one."""
        for port, scheduler in self.schedulers.items():
            scheduler.reach, scheduler.port_reach = leaves, own
            self._changed.add(port)

    def hurry(self, now_s: float) -> None:
        """A path has died: for a while gaps are reported as soon as paths' differences do not explain them."""
        self._hurry_until_s = now_s + HURRY_REPORTS * self._loss_report_s

    def _mind_gaps(self, key: QueueKey, inbound: Inbound, order: ReorderBuffer, report_s: float, now_s: float) -> None:
        if self._retransmit:
            for gap in order.ask(now_s, report_s):
                self._report(key, inbound, gap, final=False, now_s=now_s)
        missing, ready, received = inbound.give_up(now_s)
        self._report(key, inbound, missing, final=True, now_s=now_s)
        self.schedulers[inbound.dst_port].received(key, received)
        self._changed.add(inbound.dst_port)
        self._outlet.host(inbound.dst_port, ready, now_s)

    # -- state of one source queue ----------------------------------------------------------------------------

    def _of(self, key: QueueKey, epoch: int, dst_port: int, psn: int, sent: int, now_s: float) -> Inbound | None:
        """Return the state of a source queue, made when it is new; None (counted) for what cannot be accepted."""
        inbound = self.inbound.get(key)
        if inbound is not None and inbound.epoch == epoch:
            if inbound.dst_port == dst_port:
                return inbound
            self._counters.stale += 1
            return None
        if inbound is not None and not is_newer_epoch(epoch, inbound.epoch):
            self._counters.stale += 1
            return None
        if inbound is not None:
            self._end_of_life(key[0], epoch, now_s)
        if len(self.inbound) >= MOST_QUEUES:
            self._counters.too_many_queues += 1
            return None
        # Shortly after its own start an agent meets queues in the middle of their life, later ones that were cut off
        # for so long that it forgot them: it goes on from where they are. A queue that has sent no more than a window
        # may be new, its first packet still under way.
        goes_on = sent > self._window_bytes
        inbound = self.inbound[key] = Inbound(
            self._profile,
            epoch=epoch,
            dst_port=dst_port,
            first_psn=psn if goes_on else 0,
            sent=sent if goes_on else 0,
            now_s=now_s,
        )
        return inbound

    def _end_of_life(self, src: int, epoch: int, now_s: float) -> None:
        """A source has begun a new life: what its former queues still hold is delivered, then forgotten."""
        for key, inbound in list(self.inbound.items()):
            if key[0] == src and is_newer_epoch(epoch, inbound.epoch):
                if inbound.order is not None:
                    self._outlet.host(inbound.dst_port, inbound.order.flush(), now_s)
                self._forget(key, inbound)
                self._counters.epochs_ended += 1

    def _forget(self, key: QueueKey, inbound: Inbound) -> None:
        self.schedulers[inbound.dst_port].close(key, inbound.epoch)
        self._riders.drop(*key)
        self._changed.add(inbound.dst_port)
        if inbound.order is not None:
            self._counters.add_order(inbound.order)
        self._counters.swapped += inbound.swapped
        del self.inbound[key]

    def _report(self, key: QueueKey, inbound: Inbound, missing: Missing | None, *, final: bool, now_s: float) -> None:
        if missing is not None:
            self._counters.loss_reports += 1
            loss = wire.Loss(self._place.gsp, key[0], inbound.epoch, key[1], missing.psn, missing.packets, final)
            self._outlet.control(loss, now_s)
