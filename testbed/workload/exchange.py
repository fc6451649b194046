"""One rank's side of one iteration, over connected sockets: the inner loop of ``testbed.workload.endpoint``.

Does not connect, choose data or check it. Every receiving socket wakes the program once per slice (or per
``wake_bytes``), because sixteen of these programs share a few cores with the switches they load.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from testbed.collectives.slices import FLOAT_BYTES, Slice, Stream
from testbed.errors import WorkloadError
from testbed.units import KIB
from testbed.workload.cargo import Cargo
from testbed.workload.payload import Floats

MAX_WAKE_BYTES = 64 * KIB  # asking the kernel for more makes it clamp the receive window
MIN_UNSENT_BYTES = 128 * KIB  # 10 ms at 100 Mbit/s: what a late wake-up may cost without idling the link


class SendFlow:
    """A connection to rank ``peer`` and how far it is."""

    __slots__ = ("sock", "peer", "slices", "current", "done_bytes", "blocked", "missing")

    def __init__(self, sock: socket.socket, peer: int) -> None:
        self.sock = sock
        self.peer = peer
        self.blocked = False

    def begin(self, plan: Iterator[Slice]) -> None:
        """Take the slices of an iteration."""
        self.slices = plan
        self.advance()

    def advance(self) -> None:
        """Go on to the next slice; ``current`` is None after the last."""
        self.current: Slice | None = next(self.slices, None)
        self.done_bytes = 0
        self.missing = 0  # slices the current one waits for


class ReceiveFlow:
    """A connection from rank ``peer`` and how far it is."""

    __slots__ = ("sock", "peer", "slices", "current", "at", "done", "scratch", "scratch_view", "wake_bytes", "waiting")

    def __init__(self, sock: socket.socket, peer: int) -> None:
        self.sock = sock
        self.peer = peer
        self.wake_bytes = 1  # the kernel's default

    def begin(self, plan: Iterator[Slice], slice_bytes: int) -> None:
        """Take the slices of an iteration, none longer than ``slice_bytes``."""
        self.slices = plan
        self.done = 0  # slices received in this iteration
        self.waiting: dict[int, list[SendFlow]] = {}  # those who wait for a slice, by how many are received before it
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


FlowT = TypeVar("FlowT", SendFlow, ReceiveFlow)


class Exchange:
    """Moves one iteration: ``begin``, ``start``, turn the selector until ``finished``, ``end``.

    Flows of a peer are ordered by number; peers are begun with in the order given. ``max_gap_s`` is the longest pause
    between two receptions, the first counted from the start, None for a rank that receives nothing; its resolution is
    the time ``wake_bytes`` take to arrive. ``arrived_s`` (monotonic) is when the last byte of each peer had come.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sends: Sequence[SendFlow],
        receives: Sequence[ReceiveFlow],
        rank: int,
    ) -> None:
        self._selector = selector
        self._sends = _by_peer(sends)
        self._receives = _by_peer(receives)
        self._flows = len(sends) + len(receives)
        self._rank = rank
        self.received_bytes = 0
        self.expected_bytes = 0
        self.finished = True

    def begin(
        self,
        cargo: Cargo,
        out: Mapping[int, Stream],
        into: Mapping[int, Stream],
        *,
        members: Sequence[int],
        slice_bytes: int,
        wake_bytes: int | None,
        drain: bool = False,
    ) -> None:
        """Make everything ready to move what ``out`` and ``into`` say, by peer; nothing is sent yet.

        ``members`` are the ranks of the group: what slices wait for comes from its rank number i, ``members[i]``.
        ``drain``: watch, too, for the moment when the kernel has sent all it was given, ``drained``.
        """
        self._drain = drain
        self._undrained = 0
        self._cargo = cargo
        self._from_member: list[Sequence[ReceiveFlow]] = [self._receives.get(member, ()) for member in members]
        self._wake_bytes = min(wake_bytes or MAX_WAKE_BYTES, MAX_WAKE_BYTES)
        self._unfinished = self._flows
        self._open = {peer: len(flows) for peer, flows in self._receives.items()}
        self.arrived_s: dict[int, float] = {}
        self.last_byte_s = time.monotonic()
        self.received_bytes = 0
        self.expected_bytes = sum(stream.size_bytes for stream in into.values())
        self.finished = self._unfinished == 0
        for peer, sends in self._sends.items():
            for index, send in enumerate(sends):
                send.sock.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, max(MIN_UNSENT_BYTES, 2 * slice_bytes)
                )
                send.begin(out[peer].stripe(index, len(sends)))
                if send.current is None:
                    self._count_finished()
                else:
                    self._undrained += drain
        for peer, receives in self._receives.items():
            for index, receive in enumerate(receives):
                receive.begin(into[peer].stripe(index, len(receives)), slice_bytes)
                if receive.current is None:
                    self._count_received(receive, self.last_byte_s)
                else:
                    self._expect(receive, receive.current)

    def start(self, start_s: float) -> None:
        """Send what may be sent and watch for what comes; ``start_s`` (monotonic) is when the iteration began."""
        self.last_byte_s = start_s
        self.max_gap_s: float | None = 0.0 if self.expected_bytes else None
        self.max_gap_at_s = start_s
        self.arrived_s = dict.fromkeys(self.arrived_s, start_s)  # of those who had nothing to send
        for sends in self._sends.values():
            for send in sends:
                self._push(send)
        for receives in self._receives.values():
            for receive in receives:
                if receive.current is not None:
                    self._watch_read(receive)

    def end(self) -> None:
        """Stop watching whatever is still watched."""
        sends = [flow for flows in self._sends.values() for flow in flows]
        receives = [flow for flows in self._receives.values() for flow in flows]
        for sock in [flow.sock for flow in sends] + [flow.sock for flow in receives]:
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
        for send in sends:
            send.blocked = False

    def check_nothing_more(self) -> None:
        """Raise WorkloadError where a peer has sent more than its slices: it would be taken for the next iteration.

        To be asked when all ranks have moved everything, and none has begun with anything else.
        """
        for receives in self._receives.values():
            for receive in receives:
                try:
                    more = receive.sock.recv(1, socket.MSG_PEEK)
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise self._lost(receive.peer, "receiving from", str(error)) from None
                if more:
                    raise WorkloadError(
                        f"rank {self._rank}: rank {receive.peer} has sent more than its part of the "
                        f"{self.expected_bytes} bytes of the iteration"
                    )

    @property
    def awaited(self) -> list[int]:
        """Return the peers whose bytes have not all arrived."""
        return [peer for peer, left in self._open.items() if left]

    def _count_finished(self) -> None:
        self._unfinished -= 1
        self.finished = self._unfinished == 0

    def _count_received(self, flow: ReceiveFlow, now_s: float) -> None:
        self._open[flow.peer] -= 1
        if not self._open[flow.peer]:
            self.arrived_s[flow.peer] = now_s
        self._count_finished()

    def _expect(self, flow: ReceiveFlow, piece: Slice) -> None:
        flow.wake_at(min(self._wake_bytes, piece.end_byte - piece.start_byte - flow.at))

    def _must_wait(self, flow: SendFlow, piece: Slice) -> bool:
        """Return whether something that ``piece`` needs is missing; if so, whoever receives it knows the flow."""
        for member, number in piece.after:
            receives = self._from_member[member]
            turn, index = divmod(number, len(receives))
            if receives[index].done <= turn:
                receives[index].waiting.setdefault(turn, []).append(flow)
                flow.missing += 1
        return flow.missing > 0

    def _push(self, flow: SendFlow) -> None:
        """Hand the kernel what may be sent now, until it takes no more."""
        blocked = False
        while (piece := flow.current) is not None:
            if piece.after and not flow.done_bytes and self._must_wait(flow, piece):
                break
            rest = self._cargo.outgoing(flow.peer, piece, flow.done_bytes)
            taken = 0
            try:
                taken = flow.sock.send(rest)
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._lost(flow.peer, "sending to", str(error)) from None
            flow.done_bytes += taken
            if taken < len(rest):
                blocked = True
                break
            flow.advance()
            if flow.current is None:
                self._count_finished()
                if self._drain:
                    self._await_sent(flow)
                    return
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

    @property
    def drained(self) -> bool:
        """Whether the kernel has sent all it was given; always without ``drain``."""
        return not self._undrained

    def _await_sent(self, flow: SendFlow) -> None:
        """Watch for the moment when nothing of the flow is left to be sent: the socket is writable then, not before."""
        flow.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1)
        if flow.blocked:
            self._selector.unregister(flow.sock)
        flow.blocked = True
        self._selector.register(flow.sock, selectors.EVENT_WRITE, lambda _mask: self._note_sent(flow))

    def _note_sent(self, flow: SendFlow) -> None:
        self._watch_write(flow, False)
        self._undrained -= 1

    def _pull(self, flow: ReceiveFlow) -> None:
        """Take what has arrived of the current slice; pass it on when it is whole."""
        piece = flow.current
        assert piece is not None  # a finished flow is not watched
        size_bytes = piece.end_byte - piece.start_byte
        target = self._cargo.target(piece, flow.scratch_view)
        try:
            got = flow.sock.recv_into(target[flow.at : size_bytes])
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(flow.peer, "receiving from", str(error)) from None
        if got == 0:
            raise self._lost(flow.peer, "receiving from", "connection closed by that rank")
        self._note_reception(got)
        flow.at += got
        if flow.at == size_bytes:
            self._complete(flow, piece)
        if flow.current is not None:
            self._expect(flow, flow.current)

    def _note_reception(self, size_bytes: int) -> None:
        now_s = time.monotonic()
        if now_s - self.last_byte_s > (self.max_gap_s or 0.0):
            self.max_gap_s, self.max_gap_at_s = now_s - self.last_byte_s, self.last_byte_s
        self.last_byte_s = now_s
        self.received_bytes += size_bytes

    def _complete(self, flow: ReceiveFlow, piece: Slice) -> None:
        self._cargo.take(flow.peer, piece, flow.scratch)
        waiting = flow.waiting.pop(flow.done, ())
        flow.done += 1
        flow.advance()
        if flow.current is None:
            self._selector.unregister(flow.sock)
            self._count_received(flow, self.last_byte_s)
        for send in waiting:
            send.missing -= 1
            if not send.missing:
                self._push(send)

    def _lost(self, peer: int, doing: str, how: str) -> WorkloadError:
        progress = f"{self.received_bytes} of {self.expected_bytes} bytes received"
        return WorkloadError(f"rank {self._rank}: {doing} rank {peer} failed with {progress}: {how}")


def _by_peer(flows: Sequence[FlowT]) -> dict[int, list[FlowT]]:
    found: dict[int, list[FlowT]] = {}
    for flow in flows:
        found.setdefault(flow.peer, []).append(flow)
    return found
