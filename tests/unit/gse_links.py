"""The fabric of ``gse_fabric`` with links that have a rate and queues that overflow: for what failures do to them.

Every link serves control frames first, does not interrupt a frame, and drops data beyond ``queue_bytes``. Hosts send
as TCP with a fixed window does: so much may be unacknowledged; every second frame is acknowledged by a small one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gse_fabric import RATE_BYTES_PER_S, Fabric, host_frame, is_data, mac_of

from testbed.gse.dataplane import wire

SWITCH_S = 0.0005  # what a switch or an agent takes to pass a frame on
ACK_BYTES = 66
Host = tuple[int, int]


class Link:
    """One direction of a link. ``name``: where it goes from and to."""

    def __init__(self, fabric: LinkFabric, name: tuple[str, int, int], limit_bytes: int) -> None:
        self.fabric, self.name, self.limit_bytes = fabric, name, limit_bytes
        self.rate = RATE_BYTES_PER_S
        self.up = True
        self.silent = False
        self.dropped = self.lost = self.sent_bytes = 0
        self.depth_bytes = self.depth_max_bytes = 0
        self._waiting: tuple[deque[tuple[int, Callable[[], None]]], ...] = (deque(), deque())
        self._turn = 0
        self._busy = False

    def put(self, size: int, control: bool, go_on: Callable[[], None]) -> None:
        if not self.up or self.silent:
            self.lost += 1
            return
        if not control and self.depth_bytes + size > self.limit_bytes:
            self.dropped += 1
            return
        if not control:
            self.depth_bytes += size
            self.depth_max_bytes = max(self.depth_max_bytes, self.depth_bytes)
        self._waiting[not control].append((size, go_on))
        if not self._busy:
            self._serve()

    def fail(self) -> None:
        self.lost += sum(map(len, self._waiting)) + self._busy
        for waiting in self._waiting:
            waiting.clear()
        self.up, self._busy, self.depth_bytes = False, False, 0
        self._turn += 1

    def _serve(self) -> None:
        waiting = self._waiting[0] or self._waiting[1]
        self._busy = bool(waiting)
        if not waiting:
            return
        control = waiting is self._waiting[0]
        size, go_on = waiting.popleft()
        turn = self._turn

        def done() -> None:
            if turn != self._turn:
                return  # it was on the link when that failed
            if not control:
                self.depth_bytes -= size
            self.sent_bytes += size
            self._serve()
            self.fabric.at(self.fabric.now_s + SWITCH_S, go_on)

        self.fabric.at(self.fabric.now_s + size / self.rate, done)


@dataclass
class Flow:
    src: Host
    dst: Host
    window_bytes: int
    frame_bytes: int
    sent: int = 0
    unacknowledged: int = 0
    got: int = 0


@dataclass
class LinkFabric(Fabric):
    queue_bytes: int = 262_144
    links: dict[tuple[str, int, int], Link] = field(default_factory=dict)
    flows: dict[tuple[bytes, bytes], Flow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for leaf in range(1, self.leaves + 1):
            for path in range(self.paths):
                for kind in ("up", "down"):
                    self._link(kind, leaf, path)
            for port in range(1, self.hosts + 1):
                for kind in ("out", "in"):
                    self._link(kind, leaf, port)
        super().__post_init__()

    def _link(self, kind: str, leaf: int, number: int) -> None:
        limit = self.queue_bytes * (100 if kind == "out" else 1)
        self.links[kind, leaf, number] = Link(self, (kind, leaf, number), limit)

    # -- faults -----------------------------------------------------------------------------------------------

    def fail(self, leaf: int, path: int, *, seen_s: float = 0.002) -> None:
        """A leaf's uplink loses carrier now, and its GSP hears of it ``seen_s`` later."""
        for kind in ("up", "down"):
            self.links[kind, leaf, path].fail()
        gsp = wire.address(leaf)
        self.at(
            self.now_s + seen_s, lambda: self.turn(gsp, lambda edge: edge.carrier(path, up=False, now_s=self.now_s))
        )

    def silence(self, leaf: int, path: int) -> None:
        for kind in ("up", "down"):
            self.links[kind, leaf, path].silent = True

    def slow(self, leaf: int, path: int, fraction: float) -> None:
        for kind in ("up", "down"):
            self.links[kind, leaf, path].rate = RATE_BYTES_PER_S * fraction

    # -- hosts ------------------------------------------------------------------------------------------------

    def flow(self, src: Host, dst: Host, window_bytes: int = 400_000, frame_bytes: int = 9014) -> None:
        """Let ``src`` send to ``dst`` for ever."""
        flow = self.flows[mac_of(*src), mac_of(*dst)] = Flow(src, dst, window_bytes, frame_bytes)
        self.at(self.now_s + self.rng.random() * 0.01, lambda: self._fill(flow))

    def _fill(self, flow: Flow) -> None:
        while flow.unacknowledged + flow.frame_bytes <= flow.window_bytes:
            flow.unacknowledged += flow.frame_bytes
            frame = host_frame(flow.src, flow.dst, flow.sent, flow.frame_bytes)
            flow.sent += 1
            self._from_host(flow.src, frame)

    def _from_host(self, src: Host, frame: bytes) -> None:
        gsp = self.where[mac_of(*src)].gsp

        def take() -> None:
            self.turn(gsp, lambda edge: edge.from_host(src[1], frame, self.now_s))

        if self.e2e:
            self.at(self.now_s, take)
        else:
            self.links["out", src[0], src[1]].put(len(frame), False, take)

    def _host_got(self, host: Host, frame: bytes) -> None:
        flow = self.flows.get((frame[6:12], frame[:6]))
        if flow is not None and len(frame) > ACK_BYTES:
            flow.got += 1
            if flow.got % 2 == 0:
                self._from_host(host, host_frame(host, flow.src, flow.got, ACK_BYTES))
            return
        back = self.flows.get((frame[:6], frame[6:12]))
        if back is not None:
            acknowledged = int.from_bytes(frame[14:18], "big")
            back.unacknowledged = min(back.unacknowledged, max(0, back.sent - acknowledged) * back.frame_bytes)
            self._fill(back)

    # -- what GSPs send ---------------------------------------------------------------------------------------

    def _carry(self, src: int, frame: bytes) -> None:
        self.sent_frames.append((self.now_s, frame))
        path, leaf, port = frame[3] - 1, frame[4], frame[5]
        route: list[tuple[str, int, int]] = []
        if src & 0xFF:
            route.append(("out", src >> 8, src & 0xFF))
        if path >= 0:
            route += [("up", src >> 8, path), ("down", leaf, path)]
        if port:
            route.append(("in", leaf, port))
        self._hop(route, frame)

    def _hop(self, route: list[tuple[str, int, int]], frame: bytes) -> None:
        if not route:
            dst = wire.address(frame[4], frame[5])
            self.turn(dst, lambda edge: edge.from_fabric(frame, self.now_s))
            return
        self.links[route[0]].put(len(frame), not is_data(frame), lambda: self._hop(route[1:], frame))

    def _collect(self, gsp: int, edge: object) -> None:
        to_hosts = self.edges[gsp].outlet.to_hosts
        ready, to_hosts[:] = list(to_hosts), []
        for port, frame in ready:
            host = (gsp >> 8, port)
            self.delivered.setdefault(host, []).append(frame[:64])
            if self.e2e:
                self.at(self.now_s, lambda host=host, frame=frame: self._host_got(host, frame))  # type: ignore[misc]
            else:
                self.links["in", host[0], port].put(
                    len(frame), False, lambda host=host, frame=frame: self._host_got(host, frame)
                )
        super()._collect(gsp, self.edges[gsp])

    def drops(self) -> dict[tuple[str, int, int], int]:
        """Return the links whose queues have overflowed, and how often."""
        return {name: link.dropped for name, link in self.links.items() if link.dropped}

    def deepest(self, kind: str) -> int:
        """Return the most bytes that have waited at any link of a kind: ``up``, ``down``, ``in`` or ``out``."""
        return max(link.depth_max_bytes for name, link in self.links.items() if name[0] == kind)
