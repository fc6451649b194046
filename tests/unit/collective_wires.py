"""Ranks and the wires between them without sockets: slices leave and land in whatever order a test wants.

Nothing is at once: a slice is read from its sender's array in two halves, and lands in two halves, other things
happening in between. Keeps account of what has arrived in the plainest way, on purpose not as
``testbed.workload.exchange`` does.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from hypothesis import strategies as st

from testbed.collectives.algorithms import ALGORITHMS, program
from testbed.collectives.operation import ProgramOperation
from testbed.collectives.program import Pair, Program
from testbed.collectives.schedule import Schedule
from testbed.collectives.slices import Slice
from testbed.workload.cargo import Cargo

SEND, LAND = "send", "land"
Weigh = Callable[[str, Pair, int], float]  # SEND or LAND, pair, slice number -> of all that may happen, the least does


@dataclass
class Case:
    """One collective to run."""

    program: Program
    schedule: Schedule
    flows: int
    seed: int

    @property
    def floats(self) -> int:
        return self.program.size_bytes // 4


def operations(*, in_place_only: bool = False) -> list[tuple[ProgramOperation, str]]:
    names = [(operation, name) for operation, found in ALGORITHMS.items() for name in found]
    return [one for one in names if not in_place_only or one[0] not in ("all_to_all", "sendrecv")]


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    max_ranks: int = 9,
    max_floats: int = 60,
    max_flows: int = 4,
    aligned: bool = False,
    in_place_only: bool = False,
) -> Case:
    """Draw a collective; ``aligned``: all boundaries of transfers are boundaries of slices."""
    operation, name = draw(st.sampled_from(operations(in_place_only=in_place_only)))
    algorithm = ALGORITHMS[operation][name]
    powers = [2**k for k in range(1, 7) if 2**k <= max_ranks]
    n = draw(st.sampled_from(powers) if algorithm.powers_of_two else st.integers(2, max_ranks))
    group = draw(st.sampled_from([g for g in range(1, n + 1) if n % g == 0])) if algorithm.grouped else None
    root = draw(st.integers(0, n - 1)) if operation == "broadcast" else None
    slice_floats = draw(st.integers(1, 3 if aligned else 20))
    parts = n if n & (n - 1) == 0 else 2 * n * (1 << n.bit_length() - 1)  # whole slices however an algorithm cuts
    floats = slice_floats * parts if aligned else draw(st.integers(1, max_floats))
    made = program(operation, n, 4 * floats, algorithm=name, root=root, group_ranks=group)
    return Case(made, Schedule(made, 4 * slice_floats), draw(st.integers(1, max_flows)), draw(st.integers(0, 1 << 30)))


def any_order(rng: Random) -> Weigh:
    """Everything at a random time; with half of the generators some connections are always far ahead of others."""
    if rng.random() < 0.5:
        return lambda _what, _pair, _number: rng.random()
    bias: dict[tuple[str, Pair, int], float] = {}
    return lambda what, pair, number: bias.setdefault((what, pair, number % 4), rng.random())


@dataclass(eq=False)
class Line:
    """One connection: what it has yet to send, and what is on it."""

    pair: Pair
    slices: Iterator[Slice]
    expected: Iterator[Slice]
    current: Slice | None = None
    missing: int = 0
    first_half: bytes | None = None
    wire: deque[tuple[Slice, bytes]] = field(default_factory=deque)
    landed_half: bool = False


class Wires:
    """All connections of a collective. ``edit`` changes slices before they are sent (both ends see the change)."""

    def __init__(
        self,
        schedule: Schedule,
        cargos: Sequence[Cargo],
        flows: int,
        weigh: Weigh,
        *,
        edit: Callable[[Pair, Slice], Slice] = lambda _pair, piece: piece,
        arriving: Callable[[Pair, Slice, bytes], bytes | None] = lambda _pair, _piece, data: data,
    ) -> None:
        self._cargos, self._weigh, self._arriving = cargos, weigh, arriving
        self._received: list[set[tuple[int, int]]] = [set() for _cargo in cargos]
        self._waiting: dict[tuple[int, int, int], list[Line]] = {}  # rank, peer, number
        self._todo: list[tuple[float, int, str, Line]] = []
        self._count = 0
        self.lines = []
        for pair in schedule.pairs:
            stream = schedule.stream(*pair)
            for flow in range(flows):
                own, theirs = (map(edit, _forever(pair), stream.stripe(flow, flows)) for _end in range(2))
                self.lines.append(Line(pair, own, theirs))
        self._scratch = np.empty(schedule.slice_bytes // 4, dtype=np.float32)

    def run(self) -> None:
        """Move everything. Fails when something is left that nobody may send."""
        for line in self.lines:
            self._next_slice(line)
        while self._todo:
            _weight, _count, what, line = heapq.heappop(self._todo)
            if what == SEND:
                self._send(line)
            else:
                self._land(line)
        stuck = [line for line in self.lines if line.current is not None or line.wire]
        assert not stuck, f"deadlock: {[(line.pair, line.current) for line in stuck]}"
        assert all(next(line.expected, None) is None for line in self.lines)

    def _may(self, what: str, line: Line, piece: Slice) -> None:
        self._count += 1
        heapq.heappush(self._todo, (self._weigh(what, line.pair, piece.number), self._count, what, line))

    def _next_slice(self, line: Line) -> None:
        line.current = piece = next(line.slices, None)
        if piece is None:
            return
        rank = line.pair[0]
        missing = [needed for needed in piece.after if needed not in self._received[rank]]
        line.missing = len(missing)
        for needed in missing:
            self._waiting.setdefault((rank, *needed), []).append(line)
        if not missing:
            self._may(SEND, line, piece)

    def _send(self, line: Line) -> None:
        piece = line.current
        assert piece is not None
        src, dst = line.pair
        half = (piece.end_byte - piece.start_byte) // 2
        if line.first_half is None:
            line.first_half = bytes(self._cargos[src].outgoing(dst, piece, 0)[:half])
            self._may(SEND, line, piece)
            return
        line.wire.append((piece, line.first_half + bytes(self._cargos[src].outgoing(dst, piece, half))))
        line.first_half = None
        if len(line.wire) == 1:
            self._may(LAND, line, piece)
        self._next_slice(line)

    def _land(self, line: Line) -> None:
        (src, dst), (piece, data) = line.pair, line.wire[0]
        arrived = self._arriving(line.pair, piece, data)
        if arrived is not None:
            half = len(data) // 2
            target = self._cargos[dst].target(piece, self._scratch.data.cast("B"))
            target[:half] = arrived[:half]
            if not line.landed_half and not piece.reduce:
                line.landed_half = True
                self._may(LAND, line, piece)
                return
            target[half : len(data)] = arrived[half:]
            self._cargos[dst].take(src, piece, self._scratch)
        line.landed_half = False
        line.wire.popleft()
        assert next(line.expected) == piece
        self._received[dst].add((src, piece.number))
        if line.wire:
            self._may(LAND, line, line.wire[0][0])
        for waiting in self._waiting.pop((dst, src, piece.number), []):
            waiting.missing -= 1
            if not waiting.missing:
                assert waiting.current is not None
                self._may(SEND, waiting, waiting.current)


def _forever(pair: Pair) -> Iterator[Pair]:
    while True:
        yield pair


def all_slices(schedule: Schedule) -> Mapping[tuple[int, int, int], Slice]:
    """Return every slice by (source, destination, number), with all it waits for: each on a flow of its own."""
    found = {}
    for src, dst in schedule.pairs:
        stream = schedule.stream(src, dst)
        for number in range(stream.slices):
            (found[src, dst, number],) = stream.stripe(number, stream.slices + 1_000_000)
    return found
