"""One rank's side of one ring all-reduce, over connected sockets: the inner loop of ``testbed.workload.endpoint``.

Does not connect, choose data or check it. Every receiving socket wakes the program once per slice (or per
``wake_bytes``), because sixteen of these programs share a few cores with the switches they load.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence

import numpy as np

from testbed.errors import WorkloadError
from testbed.model.collectives import FLOAT_BYTES, RingAllReduce, Slice
from testbed.units import KIB
from testbed.workload.payload import Floats

MAX_WAKE_BYTES = 64 * KIB  # asking the kernel for more makes it clamp the receive window
MIN_UNSENT_BYTES = 128 * KIB  # 10 ms at 100 Mbit/s: what a late wake-up may cost without idling the link


class SendFlow:
    """A connection to the next rank and how far it is."""

    __slots__ = ("sock", "slices", "current", "at", "blocked")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.blocked = False

    def begin(self, plan: Iterator[Slice]) -> None:
        """Take the slices of an iteration."""
        self.slices = plan
        self.advance()

    def advance(self) -> None:
        """Go on to the next slice; ``current`` is None after the last."""
        self.current: Slice | None = next(self.slices, None)
        self.at = self.current.start_byte if self.current else 0


class ReceiveFlow:
    """A connection from the previous rank and how far it is."""

    __slots__ = ("sock", "slices", "current", "at", "done", "scratch", "scratch_view", "wake_bytes")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.wake_bytes = 1  # the kernel's default

    def begin(self, plan: Iterator[Slice], slice_bytes: int) -> None:
        """Take the slices of an iteration, none longer than ``slice_bytes``."""
        self.slices = plan
        self.done = 0  # slices received in this iteration
        self.scratch: Floats = np.empty(slice_bytes // FLOAT_BYTES, dtype=np.float32)
        self.scratch_view = self.scratch.data.cast("B")
        self.advance()

    def advance(self) -> None:
        """Go on to the next slice; ``current`` is None after the last."""
        self.current: Slice | None = next(self.slices, None)
        self.at = 0

    def wake_at(self, size_bytes: int) -> None:
        """Let the socket become readable at ``size_bytes``; never more than is still to come, or it never would."""
        if size_bytes != self.wake_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)
            self.wake_bytes = size_bytes


class Exchange:
    """Moves one iteration: ``begin``, ``start``, turn the selector until ``finished``, ``end``.

    ``max_gap_s`` is the longest pause between two receptions, the first counted from the start; its
    resolution is the time ``wake_bytes`` take to arrive.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sends: Sequence[SendFlow],
        receives: Sequence[ReceiveFlow],
        rank: int,
        n_ranks: int,
    ) -> None:
        self._selector = selector
        self._sends = sends
        self._receives = receives
        self._rank = rank
        self._n_ranks = n_ranks
        self.received_bytes = 0
        self.expected_bytes = 0
        self.finished = True

    def begin(self, values: Floats, ring: RingAllReduce, wake_bytes: int | None) -> None:
        """Make everything ready to move ``values`` in place; nothing is sent yet."""
        flows = len(self._sends)
        out, into = ring.hop(self._rank), ring.hop(self._rank - 1)
        self._values = values
        self._view = values.data.cast("B")
        self._first_forwarded = out.steps[1].first_number
        self._wake_bytes = min(wake_bytes or MAX_WAKE_BYTES, MAX_WAKE_BYTES)
        self._unfinished = 2 * flows
        self.last_byte_s = time.monotonic()
        self.received_bytes, self.expected_bytes, self.finished = 0, into.size_bytes, False
        for index, send in enumerate(self._sends):
            send.sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, max(MIN_UNSENT_BYTES, 2 * ring.slice_bytes)
            )
            send.begin(out.stripe(index, flows))
            self._count_if_finished(send)
        for index, receive in enumerate(self._receives):
            receive.begin(into.stripe(index, flows), ring.slice_bytes)
            self._count_if_finished(receive)
            if receive.current is not None:
                self._expect(receive, receive.current)

    def start(self, start_s: float) -> None:
        """Send what may be sent and watch for what comes; ``start_s`` (monotonic) is when the iteration began."""
        self.last_byte_s = start_s
        self.max_gap_s, self.max_gap_at_s = 0.0, start_s
        for send in self._sends:
            self._push(send)
        for receive in self._receives:
            if receive.current is not None:
                self._watch_read(receive)

    def end(self) -> None:
        """Stop watching whatever is still watched."""
        for sock in [flow.sock for flow in self._sends] + [flow.sock for flow in self._receives]:
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
        for send in self._sends:
            send.blocked = False

    def _count_if_finished(self, flow: SendFlow | ReceiveFlow) -> None:
        if flow.current is None:
            self._unfinished -= 1
            self.finished = self._unfinished == 0

    def _expect(self, flow: ReceiveFlow, piece: Slice) -> None:
        flow.wake_at(min(self._wake_bytes, piece.end_byte - piece.start_byte - flow.at))

    def _ready(self, piece: Slice) -> bool:
        if piece.after is None:
            return True
        turn, flow = divmod(piece.after, len(self._receives))
        return self._receives[flow].done > turn

    def _push(self, flow: SendFlow) -> None:
        """Hand the kernel what may be sent now, until it takes no more."""
        blocked = False
        while (piece := flow.current) is not None and self._ready(piece):
            try:
                flow.at += flow.sock.send(self._view[flow.at : piece.end_byte])
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._lost((self._rank + 1) % self._n_ranks, "sending to", str(error)) from None
            if flow.at < piece.end_byte:
                blocked = True
                break
            flow.advance()
            self._count_if_finished(flow)
        if blocked != flow.blocked:
            self._watch_write(flow, blocked)

    def _watch_read(self, flow: ReceiveFlow) -> None:
        self._selector.register(flow.sock, selectors.EVENT_READ, lambda _mask: self._pull(flow))

    def _watch_write(self, flow: SendFlow, blocked: bool) -> None:
        flow.blocked = blocked
        if blocked:
            self._selector.register(flow.sock, selectors.EVENT_WRITE, lambda _mask: self._push(flow))
        else:
            self._selector.unregister(flow.sock)

    def _pull(self, flow: ReceiveFlow) -> None:
        """Take what has arrived of the current slice; pass it on when it is whole."""
        piece = flow.current
        assert piece is not None  # a finished flow is not watched
        size_bytes = piece.end_byte - piece.start_byte
        target = flow.scratch_view if piece.reduce else self._view[piece.start_byte : piece.end_byte]
        try:
            got = flow.sock.recv_into(target[flow.at : size_bytes])
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost((self._rank - 1) % self._n_ranks, "receiving from", str(error)) from None
        if got == 0:
            raise self._lost((self._rank - 1) % self._n_ranks, "receiving from", "connection closed by that rank")
        self._note_reception(got)
        flow.at += got
        if flow.at == size_bytes:
            self._complete(flow, piece)
        if flow.current is not None:
            self._expect(flow, flow.current)

    def _note_reception(self, size_bytes: int) -> None:
        now_s = time.monotonic()
        if now_s - self.last_byte_s > self.max_gap_s:
            self.max_gap_s, self.max_gap_at_s = now_s - self.last_byte_s, self.last_byte_s
        self.last_byte_s = now_s
        self.received_bytes += size_bytes

    def _complete(self, flow: ReceiveFlow, piece: Slice) -> None:
        if piece.reduce:
            place = self._values[piece.start_byte // FLOAT_BYTES : piece.end_byte // FLOAT_BYTES]
            np.add(place, flow.scratch[: len(place)], out=place)
        flow.done += 1
        flow.advance()
        if flow.current is None:
            self._selector.unregister(flow.sock)
            self._count_if_finished(flow)
        forward = self._sends[(piece.number + self._first_forwarded) % len(self._sends)]
        if not forward.blocked:
            self._push(forward)

    def _lost(self, peer: int, doing: str, how: str) -> WorkloadError:
        progress = f"{self.received_bytes} of {self.expected_bytes} bytes received"
        return WorkloadError(f"rank {self._rank}: {doing} rank {peer} failed with {progress}: {how}")
