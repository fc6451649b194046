"""One GSP: frames of its hosts into containers to everywhere, containers from everywhere to its hosts.

The same class serves a leaf (N2N: all its hosts are ports) and a host (E2E: its network interface is the only port).
Pure: frames and ``now_s`` come in by ``from_host``, ``from_fabric``, ``carrier`` and ``advance``; what is to be sent is
left in ``outlet`` for the caller to take, whom of its senders to pause in ``source.pressure``. The work is done by
``source``, ``sink`` and ``failures``.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random
from typing import Final

from mypy_extensions import mypyc_attr

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.delivery import Delivery
from testbed.gse.dataplane.failures import Failures
from testbed.gse.dataplane.outlet import Outlet
from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.sink import SinkSide
from testbed.gse.dataplane.source import SourceSide
from testbed.gse.dataplane.spread import Spreader

SCAN_S: Final = 0.01  # resolution of all timers but grants and hellos
PATH_OFFSET: Final = 3  # of the path in a frame, see ``wire.mac``
_DATA: Final = wire.ETH_DATA.to_bytes(2, "big")
_CONTROL: Final = wire.ETH_CONTROL.to_bytes(2, "big")


@mypyc_attr(allow_interpreted_subclasses=True)  # the one that keeps a journal is
class Edge:
    """See the module. ``epoch`` (16 bits) must be newer than that of any earlier life of the same GSP."""

    def __init__(self, profile: Profile, place: Place, *, epoch: int, rng: Random, now_s: float) -> None:
        self.profile, self.place, self.epoch = profile, place, epoch & 0xFFFF
        self.counters = Counters()
        granted = profile.by_grant and not place.in_host  # what is sent, and arrives, is this GSP's to bound
        self.spread = Spreader(
            place.paths,
            place.uplink_bytes_per_s,
            rng,
            slack_bytes=profile.spread_slack_bytes,
            room_bytes=profile.release_bytes if granted else None,
            container_bytes=profile.container_bytes,
            pacing=profile.pacing,
        )
        delivery = Delivery(place.ports, profile.deliver_bytes, now_s) if granted else None
        self.outlet = Outlet(place, self.spread, self.counters, delivery)
        self.source = SourceSide(
            profile, place, self.epoch, self.spread, self.outlet, self.counters, rng.getrandbits(32), now_s
        )
        self.sink = SinkSide(profile, place, self.outlet, self.counters, now_s)
        self.failures = Failures(profile, place, self.epoch, self.spread, self.outlet, self.counters, now_s)
        self.outlet.hear, self.outlet.arrive, self.outlet.rides = self._hear, self.sink.arrive, self.sink.ride
        self.failures.lost, self.failures.changed = self.source.send_again, self._paths_changed
        self._peers = frozenset(place.peers) | {place.gsp}
        self._scan_s = now_s
        self.arrivals = 0  # paths frames have come by, for the GSP that watches them: it calls ``seen`` and clears this

    def from_host(self, port: int, frame: bytes, now_s: float) -> None:
        """Take a frame the host on ``port`` sent; one to nobody is counted and dropped."""
        where = self.place.hosts.get(frame[:6])
        if where is None or len(frame) < wire.INNER_MIN_BYTES:
            self.counters.unknown_destination += 1
            return
        self.counters.host_in_frames += 1
        self.counters.host_in_bytes += len(frame)
        self.source.take(port, frame, where, now_s)

    def from_fabric(self, frame: bytes, now_s: float) -> None:
        """Take a frame that came over the fabric; anything wrong with it is counted and dropped."""
        ethertype = frame[12:14]
        if ethertype == _DATA:
            header = wire.parse_data(frame)
            if header is None:
                self.counters.malformed += 1
            elif not self.sink.belongs_here(header, frame):
                self.counters.misdirected += 1
            else:
                self._arrived(header.path, now_s)
                inner = frame[wire.DATA_OFFSET : wire.DATA_OFFSET + header.inner_bytes]
                self.sink.arrive(header, inner, now_s)
                if header.flags & wire.FLAG_GRANT:
                    entry = wire.GrantEntry(header.grant_qid, header.grant_epoch, header.grant)
                    self.source.hear_grant(header.src, (entry,), now_s)
        elif ethertype == _CONTROL:
            message = wire.parse_control(frame)
            if message is None:
                self.counters.malformed += 1
            elif message.dst != self.place.gsp or message.src not in self._peers:
                self.counters.misdirected += 1
            else:
                self.counters.control_in += 1
                if message.src != self.place.gsp:  # a hello that is back is more than an arrival
                    self._arrived(frame[PATH_OFFSET], now_s)
                self._hear(message, now_s)
        else:
            self.counters.foreign += 1

    def carrier(self, path: int, *, up: bool, now_s: float) -> None:
        """An uplink of this leaf lost or gained carrier; ``path`` counts from 0."""
        self.failures.monitor.carrier(path, up=up, now_s=now_s)
        self.failures.check(now_s)

    def seen(self, paths: int, now_s: float) -> None:
        """Frames have come by these paths (bit n: path n from 0) to others on this leaf."""
        for path in range(self.place.paths):
            if paths >> path & 1:
                self.failures.monitor.arrived(path, now_s)

    def advance(self, now_s: float) -> None:
        """Do what is due: grants, timers, hellos. Call after every batch of frames, and at ``due_s``."""
        if now_s >= self.outlet.deliver_due_s():
            self.sink.handed_over(self.outlet.deliver(now_s))
        self.sink.grant(now_s)
        self.source.release(now_s)
        self.failures.advance(now_s)
        if now_s >= self._scan_s:
            self._scan_s = now_s + SCAN_S
            self.source.scan(now_s)
            self.sink.scan(now_s)
            self.failures.recover(now_s)

    def due_s(self) -> float | None:
        """Return when ``advance`` has to be called next if no frame comes; None: not before one does."""
        scan_s = inf if self.source.at_rest and not self.sink.inbound else self._scan_s
        release_s = self.source.release_due_s()
        due_s = scan_s if release_s is None else min(scan_s, release_s)  # in pairs: compiled without a call
        due_s = min(due_s, self.sink.grant_due_s())
        due_s = min(due_s, self.failures.due_s())
        due_s = min(due_s, self.outlet.deliver_due_s())
        return None if due_s == inf else due_s

    def totals(self) -> Counters:
        """Return the counters with what live queues have counted so far."""
        totals = replace(self.counters, pauses=self.source.pressure.pauses)
        for former in self.source.formers():
            totals.add_former(former)
        for inbound in self.sink.inbound.values():
            totals.swapped += inbound.swapped
            if inbound.order is not None:
                totals.add_order(inbound.order)
        return totals

    def _paths_changed(self, up: bool, now_s: float) -> None:
        leaves = {peer >> 8 for peer in self.place.peers}
        self.sink.reach({leaf: self.spread.reach(leaf) for leaf in leaves}, self.spread.local_reach)
        if not up:
            self.sink.hurry(now_s)

    def _arrived(self, path: int, now_s: float) -> None:
        """A frame has come by ``path`` (from 1; 0: not over the fabric)."""
        if 0 < path <= self.place.paths:
            if self.place.watches_paths:
                self.failures.monitor.arrived(path - 1, now_s)
            else:
                self.arrivals |= 1 << (path - 1)

    def _hear(self, message: wire.Control, now_s: float) -> None:
        if isinstance(message, wire.Grant):
            self.source.hear_grant(message.src, message.entries, now_s)
        elif isinstance(message, wire.Request):
            self.sink.hear_request(message, now_s)
        elif isinstance(message, wire.Hello):
            self.failures.hear_hello(message, now_s)
        elif isinstance(message, wire.Fault):
            self.failures.hear_fault(message, now_s)
        elif isinstance(message, wire.Close):
            self.sink.hear_close(message, now_s)
        elif isinstance(message, wire.Congestion):
            self.failures.hear_congestion(message, now_s)
        elif isinstance(message, wire.Loss):
            self.source.hear_loss(message, now_s)
