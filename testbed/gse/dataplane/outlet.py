"""What leaves a GSP: frames for the fabric, frames for its hosts, and what it says to itself."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.delivery import Delivery
from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.spread import Spreader


class Outlet:
    """``to_fabric`` and ``to_hosts`` are for the caller of ``Edge`` to take and clear.

    ``hear`` and ``arrive`` take what a GSP sends to itself: frames between its own ports go through the same grants.
    """

    def __init__(self, place: Place, spread: Spreader, counters: Counters, delivery: Delivery | None = None) -> None:
        self._place, self._spread, self._counters = place, spread, counters
        self.delivery = delivery  # None: hosts take whatever is ready
        self.to_fabric: list[tuple[bytes, bytes]] = []  # (header or whole control frame, inner frame or b"")
        self.to_hosts: list[tuple[int, bytes]] = []
        self.hear: Callable[[wire.Control, float], None]
        self.arrive: Callable[[wire.DataHeader, bytes, float], None]
        self.rides: Callable[[int], wire.GrantEntry | None]  # what may ride on a frame to a GSP
        self._turn = 0

    def data(self, header: wire.DataHeader, frame: bytes, now_s: float) -> None:
        """Send a host's frame."""
        if header.dst == self._place.gsp:
            self._counters.local_frames += 1
            self.arrive(header, frame, now_s)
            return
        self._counters.data_out += 1
        rider = self.rides(header.dst)
        if rider is not None:
            self._counters.grants_on_data += 1
            header = header.with_grant(rider)
        self.to_fabric.append((wire.data_prefix(header), frame))
        if header.path:
            self._spread.record(header.dst >> 8, header.path - 1, len(frame) + wire.OVERHEAD_BYTES, now_s)

    def control(self, message: wire.Control, now_s: float, path: int | None = None) -> None:
        """Send a control message by ``path`` (from 0), or by living paths in turn."""
        if path is None:
            if message.dst == self._place.gsp:
                self.hear(message, now_s)
                return
            path = self._path_to(message.dst >> 8)
        self._counters.control_out += 1
        frame = wire.control_frame(message, path + 1)
        if path >= 0:
            self._spread.burden(path, len(frame), now_s)
        self.to_fabric.append((frame, b""))

    def host(self, port: int, frames: list[bytes], now_s: float) -> None:
        """Deliver frames to the host on ``port``, those it can take: the others follow (``deliver``)."""
        delivery = self.delivery
        for frame in frames:
            if delivery is None or delivery.offer(port, frame, now_s):
                self._hand_over(port, frame)

    def deliver(self, now_s: float) -> set[int]:
        """Hand over what had to wait and need not any more; return the ports it went to."""
        if self.delivery is None or self.delivery.due_s() > now_s:
            return set()
        ports = set()
        for port, frame in self.delivery.release(now_s):
            self._hand_over(port, frame)
            ports.add(port)
        return ports

    def deliver_due_s(self) -> float:
        """Return when ``deliver`` has something to do; inf: nothing waits."""
        return inf if self.delivery is None else self.delivery.due_s()

    def held_bytes(self, port: int) -> int:
        """Return what waits to be handed over to the host on ``port``."""
        return 0 if self.delivery is None else self.delivery.held_bytes(port)

    def _hand_over(self, port: int, frame: bytes) -> None:
        self._counters.host_out_frames += 1
        self._counters.host_out_bytes += len(frame)
        self.to_hosts.append((port, frame))

    def _path_to(self, leaf: int) -> int:
        if leaf == self._place.leaf:
            return -1  # straight through the leaf: path 0 on the wire
        living = self._spread.living(leaf)
        self._turn += 1
        return living[self._turn % len(living)]
