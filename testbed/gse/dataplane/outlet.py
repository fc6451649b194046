"""What leaves a GSP: frames for the fabric, frames for its hosts, and what it says to itself."""

from __future__ import annotations

from collections.abc import Callable

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.spread import Spreader


class Outlet:
    """``to_fabric`` and ``to_hosts`` are for the caller of ``Edge`` to take and clear.

    ``hear`` and ``arrive`` take what a GSP sends to itself: frames between its own ports go through the same grants.
    """

    def __init__(self, place: Place, spread: Spreader, counters: Counters) -> None:
        self._place, self._spread, self._counters = place, spread, counters
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
        self.to_fabric.append((wire.control_frame(message, path + 1), b""))

    def host(self, port: int, frames: list[bytes]) -> None:
        """Deliver frames to the host on ``port``."""
        for frame in frames:
            self._counters.host_out_frames += 1
            self._counters.host_out_bytes += len(frame)
            self.to_hosts.append((port, frame))

    def _path_to(self, leaf: int) -> int:
        if leaf == self._place.leaf:
            return -1  # straight through the leaf: path 0 on the wire
        living = self._spread.living(leaf)
        self._turn += 1
        return living[self._turn % len(living)]
