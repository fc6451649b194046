"""A fabric of GSPs in virtual time, for tests: paths with delays, frames that are lost, doubled or late on purpose.

Every path between two GSPs is a FIFO with a delay, and one for control frames, which overtake data. No clock is read.
With ``e2e`` every host is a GSP; if paths are watched, then by one more GSP of each leaf, which has no ports
and is told by which paths frames come to its hosts. With
``recorded`` every life of a GSP leaves a journal.
"""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.edge import Edge
from testbed.gse.dataplane.place import Place, Where
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.serial import wrap
from testbed.journal.format import Birth
from testbed.journal.recorder import RecordedEdge

RATE_BYTES_PER_S = 1_250_000.0  # 10 Mbit/s


def mac_of(leaf: int, port: int) -> bytes:
    return bytes((2, 0, 0, 0, leaf, port))


def host_frame(src: tuple[int, int], dst: tuple[int, int], number: int, size: int) -> bytes:
    """Return an Ethernet frame (no IP) of ``size`` bytes that carries a number."""
    head = mac_of(*dst) + mac_of(*src) + b"\x88\xff" + number.to_bytes(4, "big")
    return head.ljust(size, b"x")


def ipv4_frame(
    src: tuple[int, int], dst: tuple[int, int], size: int, *, tos: int = 0, src_port: int = 1000, number: int = 0
) -> bytes:
    """Return an Ethernet frame with a right IPv4 header (``number`` is its identification) and a transport's ports."""
    addresses = bytes((10, 0, *src, 10, 0, *dst))
    head = struct.pack("!BBHHHBBH", 0x45, tos, size - 14, number, 0, 64, 6, 0) + addresses
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    ports = struct.pack("!HH", src_port, 9000)
    return (mac_of(*dst) + mac_of(*src) + b"\x08\x00" + head + ports).ljust(size, b"x")


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes; 0 over a header that is right."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def data_frame(
    src: tuple[int, int],
    dst: tuple[int, int],
    psn: int,
    *,
    qid: int = 0,
    epoch: int = 1,
    path: int = 1,
    size: int = 100,
) -> bytes:
    """Return a frame as a leaf's GSP would send it over the fabric; the host's frame in it carries ``psn``.

    All frames of the queue are ``size`` bytes long.
    """
    source, destination = wire.address(src[0]), wire.address(dst[0])
    sent = wrap(psn * size)
    header = wire.DataHeader(
        0, 1, epoch, source, destination, dst[1], path, qid, psn, psn, 0, size, sent, wrap(sent + size), 0
    )
    return wire.data_prefix(header) + host_frame(src, dst, psn, size)


Fate = Callable[[bytes, Random], list[float]]  # a frame -> extra delays of its copies; [] loses it


def is_data(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xb5"


def arrives(_frame: bytes, _rng: Random) -> list[float]:
    return [0.0]


@dataclass
class Fabric:
    """``leaves`` x ``hosts`` hosts over ``paths`` paths; hosts are named (leaf, port), both from 1."""

    profile: Profile
    leaves: int = 3
    hosts: int = 2
    paths: int = 2
    seed: int = 1
    path_delay_s: Callable[[int], float] = lambda path: 0.002 + 0.001 * path
    fate: Fate = arrives
    e2e: bool = False
    watches_paths: bool = False
    recorded: bool = False
    now_s: float = 100.0
    edges: dict[int, Edge] = field(default_factory=dict)
    delivered: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    delivered_s: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    sent_frames: list[tuple[float, bytes]] = field(default_factory=list)
    paused: set[tuple[int, int]] = field(default_factory=set)  # hosts that are told to send nothing now
    orders: list[tuple[float, tuple[int, int], bool]] = field(default_factory=list)  # when who was told what
    dead: set[tuple[int, int]] = field(default_factory=set)  # (leaf, path from 0)
    journals: list[tuple[int, bytearray]] = field(default_factory=list)  # of GSPs, in the order they were started

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._fifo: dict[tuple[int, int, int, bool], float] = {}
        self.where = {
            mac_of(leaf, port): Where(wire.address(leaf, port if self.e2e else 0), port)
            for leaf in range(1, self.leaves + 1)
            for port in range(1, self.hosts + 1)
        }
        self._gsps = {where.gsp for where in self.where.values()}
        if self.e2e and self.watches_paths:
            self._gsps |= {wire.address(leaf) for leaf in range(1, self.leaves + 1)}
        for gsp in sorted(self._gsps):
            self.start(gsp, epoch=1)

    def start(self, gsp: int, epoch: int) -> None:
        """Start a GSP, or start it again with nothing remembered."""
        ports = {where.port: RATE_BYTES_PER_S for where in self.where.values() if where.gsp == gsp}
        is_leaf = gsp & 0xFF == 0  # hosts do not watch paths
        place = Place(
            gsp=gsp,
            ports=ports,
            paths=self.paths,
            uplink_bytes_per_s=RATE_BYTES_PER_S,
            hosts=self.where,
            peers=sorted(self._gsps - {gsp}),
            watches_paths=self.watches_paths and is_leaf,
        )
        seed = f"{self.seed}/{gsp}"
        if self.recorded:
            birth = Birth(
                name=f"gsp {gsp}", profile=self.profile, place=place, epoch=epoch, seed=seed, now_s=self.now_s
            )
            journal = bytearray()
            self.journals.append((gsp, journal))
            self.edges[gsp] = RecordedEdge(birth, lambda data: journal.extend(data) is None)
        else:
            self.edges[gsp] = Edge(self.profile, place, epoch=epoch, rng=Random(seed), now_s=self.now_s)
        self.at(self.now_s, lambda: self.turn(gsp, lambda _edge: None))  # who only watches paths gets no frames

    def at(self, t_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (t_s, next(self._order), act))

    def send(self, t_s: float, src: tuple[int, int], dst: tuple[int, int], number: int, size: int) -> None:
        """Let a host send a frame at ``t_s`` after the start."""
        self.send_frame(t_s, src, host_frame(src, dst, number, size))

    def send_frame(self, t_s: float, src: tuple[int, int], frame: bytes) -> None:
        """Let a host send any frame at ``t_s`` after the start."""
        gsp = self.where[mac_of(*src)].gsp
        self.at(100.0 + t_s, lambda: self.turn(gsp, lambda edge: edge.from_host(src[1], frame, self.now_s)))

    def send_greedily(
        self, src: tuple[int, int], dst: tuple[int, int], frames: int, size: int, *, every_s: float, obeys_s: float
    ) -> None:
        """Let a host send ``frames`` frames, one every ``every_s``; told to pause, it stops ``obeys_s`` later."""
        gsp, left = self.where[mac_of(*src)].gsp, iter(range(frames))

        def go_on() -> None:
            told_s = max((t_s for t_s, host, paused in self.orders if host == src and paused), default=self.now_s)
            if src not in self.paused or self.now_s < told_s + obeys_s:
                number = next(left, None)
                if number is None:
                    return
                self.turn(gsp, lambda edge: edge.from_host(src[1], host_frame(src, dst, number, size), self.now_s))
            self.at(self.now_s + every_s, go_on)

        self.at(self.now_s, go_on)

    def turn(self, gsp: int, act: Callable[[Edge], None]) -> None:
        edge = self.edges[gsp]
        act(edge)
        watcher = self.edges.get(wire.address(gsp >> 8))
        if edge.arrivals and watcher is not None:
            watcher.seen(edge.arrivals, self.now_s)
            edge.arrivals = 0
        edge.advance(self.now_s)
        self._collect(gsp, edge)

    def _collect(self, gsp: int, edge: Edge) -> None:
        for head, inner in edge.outlet.to_fabric:
            self._carry(gsp, head + inner)
        edge.outlet.to_fabric.clear()
        for port, frame in edge.outlet.to_hosts:
            leaf = gsp >> 8
            self.delivered.setdefault((leaf, port), []).append(frame)
            self.delivered_s.setdefault((leaf, port), []).append(self.now_s)
        edge.outlet.to_hosts.clear()
        for port, paused in edge.source.pressure.orders:
            host = (gsp >> 8, port)
            (self.paused.add if paused else self.paused.discard)(host)
            self.orders.append((self.now_s, host, paused))
        edge.source.pressure.orders.clear()
        due_s = edge.due_s()
        if due_s is not None:
            at_s = max(due_s, self.now_s + 1e-6)
            self.at(at_s, lambda: self._wake(gsp, edge))

    def _wake(self, gsp: int, edge: Edge) -> None:
        due_s = edge.due_s()
        if self.edges[gsp] is edge and due_s is not None and due_s <= self.now_s + 1e-9:
            self.turn(gsp, lambda _edge: None)

    def _carry(self, src: int, frame: bytes) -> None:
        self.sent_frames.append((self.now_s, frame))
        path, leaf, port = frame[3] - 1, frame[4], frame[5]
        dst = wire.address(leaf, port)
        if (src >> 8, path) in self.dead or (leaf, path) in self.dead:
            return
        for extra_s in self.fate(frame, self.rng):
            delay_s = self.path_delay_s(path) if path >= 0 else 0.001  # through one leaf only
            way = (src, path, dst, frame[12:14] == b"\x88\xb6")
            at_s = max(self.now_s + delay_s + extra_s, self._fifo.get(way, 0.0))
            self._fifo[way] = at_s
            self.at(at_s, lambda: self.turn(dst, lambda edge: edge.from_fabric(frame, self.now_s)))

    def run(self, until_s: float, *, max_events: int = 200_000) -> None:
        """Let virtual time pass until ``until_s`` after the start, or until nothing is left to happen."""
        for _ in range(max_events):
            if not self._events or self._events[0][0] > 100.0 + until_s:
                self.now_s = 100.0 + until_s
                return
            t_s, _number, act = heapq.heappop(self._events)
            self.now_s = max(self.now_s, t_s)
            act()
        raise AssertionError(f"more than {max_events} events: somebody does not come to rest")

    def numbers(self, dst: tuple[int, int], src: tuple[int, int]) -> list[int]:
        """Return the numbers of the frames ``dst`` got from ``src``, in order of arrival."""
        return [
            int.from_bytes(frame[14:18], "big") for frame in self.delivered.get(dst, []) if frame[6:12] == mac_of(*src)
        ]

    def data(self, since_s: float = 0.0) -> list[tuple[float, wire.DataHeader]]:
        """Return the data frames sent over the fabric from ``since_s`` after the start on, with when that was."""
        sent = [(t_s - 100.0, frame) for t_s, frame in self.sent_frames if t_s >= 100.0 + since_s]
        headers = [(t_s, wire.parse_data(frame)) for t_s, frame in sent if frame[12:14] == b"\x88\xb5"]
        return [(t_s, header) for t_s, header in headers if header is not None]

    def total(self, name: str) -> int:
        """Return the sum of a counter over all GSPs."""
        return sum(edge.totals().to_json()[name] for edge in self.edges.values())
