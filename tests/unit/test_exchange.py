"""The inner loop over real sockets, both ranks in this process."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from testbed.model.messages import Direct
from testbed.workload.cargo import Messages
from testbed.workload.exchange import Exchange, ReceiveFlow, SendFlow

SIZE_BYTES, SLICE_BYTES = 4000, 400


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Three connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = []
        for _ in range(3):
            out = socket.create_connection(listener.getsockname())
            into, _address = listener.accept()
            out.setblocking(False)
            into.setblocking(False)
            made.append((out, into))
        yield made
        for out, into in made:
            out.close()
            into.close()


def test_peers_are_begun_with_in_the_order_given(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    order = [5, 1, 3]
    begun: list[int] = []

    class Watched(Messages):
        def outgoing(self, peer, piece, done_bytes):  # type: ignore[no-untyped-def]
            begun.append(peer)
            return super().outgoing(peer, piece, done_bytes)

    with selectors.DefaultSelector() as selector:
        sends = [SendFlow(out, peer) for (out, _into), peer in zip(pairs, order, strict=True)]
        exchange = Exchange(selector, sends, [], rank=0)
        streams = {peer: Direct(SIZE_BYTES, SLICE_BYTES) for peer in order}
        exchange.begin(Watched(0, 0, SLICE_BYTES, 1), streams, {}, members=(), slice_bytes=SLICE_BYTES, wake_bytes=None)
        exchange.start(0.0)
    assert list(dict.fromkeys(begun)) == order
    assert exchange.finished
    assert exchange.max_gap_s is None, "it receives nothing"


def test_who_has_sent_everything_is_no_longer_awaited(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    peers = [1, 2, 3]
    cargo = Messages(0, SIZE_BYTES * 3, SLICE_BYTES, 1)
    with selectors.DefaultSelector() as selector:
        receives = [ReceiveFlow(into, peer) for (_out, into), peer in zip(pairs, peers, strict=True)]
        exchange = Exchange(selector, [], receives, rank=0)
        streams = {peer: Direct(SIZE_BYTES, SLICE_BYTES) for peer in peers}
        exchange.begin(cargo, {}, streams, members=(), slice_bytes=SLICE_BYTES, wake_bytes=None)
        exchange.start(0.0)
        assert exchange.expected_bytes == 3 * SIZE_BYTES
        for peer in (2, 3, 1):
            sender = Messages(peer, 0, SLICE_BYTES, 1)
            for piece in Direct(SIZE_BYTES, SLICE_BYTES).stripe(0, 1):
                pairs[peer - 1][0].send(sender.outgoing(0, piece, 0))
            while peer in exchange.awaited:
                for key, mask in selector.select(5):
                    key.data(mask)
            assert not exchange.finished or peer == 1
        assert list(exchange.arrived_s) == [2, 3, 1]
    assert exchange.finished
    assert cargo.count_wrong() == 0
