"""Collectives over real connections: all ranks' exchanges in this process, on one selector."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from collective_wires import Case, cases
from hypothesis import given, settings

from testbed.collectives import holdings
from testbed.collectives.algorithms import ALGORITHMS, program
from testbed.collectives.schedule import Schedule
from testbed.workload.cargo import Cargo, CollectiveArray, Messages
from testbed.workload.exchange import Exchange, ReceiveFlow, SendFlow

SMALL_BUFFER_BYTES = 4096  # so that slices leave in several pieces


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of which little is on its way at a time: the sending and the receiving end."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with socket.socket() as out:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
            out.connect(listener.getsockname())
            into, _address = listener.accept()
            with into:
                for sock in (out, into):
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield out, into


class Group:
    """The ranks of a collective; ``members`` are their numbers in a larger world."""

    def __init__(self, stack: ExitStack, schedule: Schedule, flows: int) -> None:
        self.program, self.schedule = schedule.program, schedule
        n = self.program.n_ranks
        self.members = [10 + 3 * position % n for position in range(n)] if n % 3 else list(range(10, 10 + n))
        self.selector = stack.enter_context(selectors.DefaultSelector())
        sends: list[list[SendFlow]] = [[] for _rank in range(n)]
        receives: list[list[ReceiveFlow]] = [[] for _rank in range(n)]
        for src, dst in schedule.pairs:
            for _flow in range(flows):
                out, into = stack.enter_context(connection())
                sends[src].append(SendFlow(out, self.members[dst]))
                receives[dst].append(ReceiveFlow(into, self.members[src]))
        self.exchanges = [Exchange(self.selector, sends[r], receives[r], self.members[r]) for r in range(n)]

    def run(self, iteration: int) -> int:
        """Move one iteration; return the wrong elements of all ranks."""
        cargos = [self._cargo(position, iteration) for position in range(self.program.n_ranks)]
        for position, (exchange, cargo) in enumerate(zip(self.exchanges, cargos, strict=True)):
            out, into = self.schedule.sent_by(position), self.schedule.received_by(position)
            exchange.begin(
                cargo,
                {self.members[peer]: self.schedule.stream(position, peer) for peer in out},
                {self.members[peer]: self.schedule.incoming(peer, position) for peer in into},
                members=self.members,
                slice_bytes=self.schedule.slice_bytes,
                wake_bytes=None,
            )
        for exchange in self.exchanges:
            exchange.start(0.0)
        while not all(exchange.finished for exchange in self.exchanges):
            events = self.selector.select(10)
            assert events, "deadlock"
            for key, mask in events:
                key.data(mask)
        for exchange in self.exchanges:
            assert exchange.received_bytes == exchange.expected_bytes
            exchange.end()
        return sum(cargo.count_wrong() for cargo in cargos)

    def _cargo(self, position: int, iteration: int) -> Cargo:
        made = self.program
        promised = holdings.after(made, position)
        if made.in_place:
            return CollectiveArray(made.n_ranks, position, made.size_bytes, iteration, promised=promised)
        expected_bytes = sum(held.end_byte for held in promised)
        return Messages(self.members[position], expected_bytes, self.schedule.slice_bytes, iteration)


@settings(max_examples=60, deadline=None)
@given(cases(max_ranks=6, max_floats=300, max_flows=3))
def test_collectives_over_sockets_bring_what_they_promise(case: Case) -> None:
    with ExitStack() as stack:
        group = Group(stack, case.schedule, case.flows)
        assert group.run(case.seed) == 0
        assert group.run(case.seed + 1) == 0, "the same connections serve the next iteration"


@pytest.mark.parametrize(
    ("operation", "algorithm"), [(operation, name) for operation, found in ALGORITHMS.items() for name in found]
)
def test_slices_larger_than_buffers_are_sent_in_pieces(operation: str, algorithm: str) -> None:
    group_ranks = 2 if ALGORITHMS[operation][algorithm].grouped else None  # type: ignore[index]
    made = program(operation, 4, 400_000, algorithm=algorithm, group_ranks=group_ranks)  # type: ignore[arg-type]
    with ExitStack() as stack:
        assert Group(stack, Schedule(made, 40_000), 2).run(1) == 0
