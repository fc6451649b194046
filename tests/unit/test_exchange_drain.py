"""What the kernel has taken is not yet sent: an exchange that is asked to drain says when it is."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from testbed.model.messages import Direct
from testbed.workload.cargo import Messages
from testbed.workload.exchange import Exchange, SendFlow

SIZE_BYTES = 100_000  # less than a sender may leave unsent, more than the receiver below takes
SMALL_WINDOW_BYTES = 4096
Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """The two ends of a connection, the second of which takes little while nobody reads."""
    with socket.socket() as listener, socket.socket() as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        near.connect(listener.getsockname())
        far, _address = listener.accept()
        with far:
            for sock in (near, far):
                sock.setblocking(False)
            yield near, far


def exchange_of(sock: socket.socket, selector: selectors.BaseSelector, *, drain: bool) -> Exchange:
    exchange = Exchange(selector, [SendFlow(sock, 1)], [], 0)
    message = {1: Direct(SIZE_BYTES, 16_384)}
    cargo = Messages(0, 0, 16_384, 1)
    exchange.begin(cargo, message, {}, members=(), slice_bytes=16_384, wake_bytes=None, drain=drain)
    exchange.start(0.0)
    return exchange


def turn(selector: selectors.BaseSelector, timeout_s: float) -> None:
    for key, mask in selector.select(timeout_s):
        key.data(mask)


def read_all(far: socket.socket, selector: selectors.BaseSelector, exchange: Exchange) -> int:
    got = 0
    while got < SIZE_BYTES:
        try:
            got += len(far.recv(65_536))
        except BlockingIOError:
            turn(selector, 0.01)
    while not exchange.drained:
        turn(selector, 1.0)
    return got


def test_all_is_sent_when_the_receiver_has_made_room(sockets: Sockets) -> None:
    near, far = sockets
    selector = selectors.DefaultSelector()
    exchange = exchange_of(near, selector, drain=True)
    assert exchange.finished and not exchange.drained
    turn(selector, 0.05)
    assert not exchange.drained, "nobody has read yet"
    assert read_all(far, selector, exchange) == SIZE_BYTES
    assert not selector.get_map()
    exchange.end()


def test_a_second_message_over_the_same_connection_goes_as_the_first(sockets: Sockets) -> None:
    near, far = sockets
    selector = selectors.DefaultSelector()
    for _again in range(2):
        exchange = exchange_of(near, selector, drain=True)
        assert read_all(far, selector, exchange) == SIZE_BYTES
        exchange.end()


def test_who_does_not_ask_is_done_when_the_kernel_has_it(sockets: Sockets) -> None:
    exchange = exchange_of(sockets[0], selectors.DefaultSelector(), drain=False)
    assert exchange.finished and exchange.drained
