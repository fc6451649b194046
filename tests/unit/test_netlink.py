from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import NetworkError
from testbed.measurement import netlink_format as nl
from testbed.measurement.netlink import ATTEMPTS, RouteSocket


def message(kind: int, sequence: int, payload: bytes = b"", flags: int = 0) -> bytes:
    data = struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload
    return data + bytes(-len(data) % 4)


def stats_message(sequence: int, ifindex: int, tx_bytes: int, flags: int = 0) -> bytes:
    stats = struct.pack("=8Q", 1, 2, 3, tx_bytes, 5, 6, 7, 8) + bytes(128)
    attribute = struct.pack("=HH", 4 + len(stats), 1) + stats
    return message(92, sequence, struct.pack("=BxHII", 0, 0, ifindex, 1) + attribute, flags)


class KernelDouble:
    """Stands in for the socket: each request is answered by the next script."""

    def __init__(self, *scripts: Callable[[int], list[bytes | OSError]]) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.answers: list[bytes | OSError] = []

    def send(self, data: bytes) -> None:
        self.requests.append(data)
        self.answers += self.scripts.pop(0)(struct.unpack_from("=IHHII", data)[3])

    def recvmsg_into(self, buffers: list[bytearray]) -> tuple[int, list[object], int, tuple[int, int]]:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        if answer == b"cut":
            return len(buffers[0]), [], socket.MSG_TRUNC, (0, 0)
        buffers[0][: len(answer)] = answer
        return len(answer), [], 0, (0, 0)

    def close(self) -> None:
        pass


def route_socket(*scripts: Callable[[int], list[bytes | OSError]]) -> tuple[RouteSocket, KernelDouble]:
    route, double = RouteSocket(), KernelDouble(*scripts)
    route.close()
    route._socket = double  # type: ignore[assignment]
    return route, double


def whole(number: int) -> list[bytes | OSError]:
    return [stats_message(number, 3, 1000) + stats_message(number, 4, 2000), message(nl.NLMSG_DONE, number, bytes(4))]


def test_dump_in_several_datagrams_is_one_answer() -> None:
    route, _ = route_socket(whole)
    assert [(one.ifindex, one.tx_bytes, one.rx_dropped) for one in route.link_counters()] == [
        (3, 1000, 7),
        (4, 2000, 7),
    ]


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda n: [stats_message(n, 3, 1, nl.NLM_F_DUMP_INTR), message(nl.NLMSG_DONE, n, bytes(4))],
        lambda n: [stats_message(n, 3, 1), message(nl.NLMSG_DONE, n, bytes(4), nl.NLM_F_DUMP_INTR)],
        lambda n: [OSError(errno.ENOBUFS, "lost"), message(nl.NLMSG_DONE, n, bytes(4))],
        lambda n: [b"cut", message(nl.NLMSG_DONE, n, bytes(4))],
        lambda n: [message(nl.NLMSG_OVERRUN, n), message(nl.NLMSG_DONE, n, bytes(4))],
    ],
    ids=["interrupted", "interrupted at the end", "lost", "cut", "overrun"],
)
def test_incomplete_dump_is_read_to_its_end_and_asked_for_again(
    spoiled: Callable[[int], list[bytes | OSError]],
) -> None:
    route, double = route_socket(spoiled, whole)
    assert [one.ifindex for one in route.link_counters()] == [3, 4]
    assert len(double.requests) == 2
    assert not double.answers


def test_dump_that_is_always_interrupted_is_an_error() -> None:
    def interrupted(number: int) -> list[bytes | OSError]:
        return [message(nl.NLMSG_DONE, number, bytes(4), nl.NLM_F_DUMP_INTR)]

    route, _ = route_socket(*[interrupted] * ATTEMPTS)
    with pytest.raises(NetworkError, match="interfaces keep changing"):
        route.link_counters()


def test_leftovers_of_an_earlier_request_are_ignored() -> None:
    route, _ = route_socket(lambda n: [stats_message(n - 1, 9, 9), *whole(n)])
    assert [one.ifindex for one in route.link_counters()] == [3, 4]


@pytest.mark.parametrize("kind", [nl.NLMSG_ERROR, nl.NLMSG_DONE])
def test_kernels_refusal_is_an_error_with_its_reason(kind: int) -> None:
    route, _ = route_socket(lambda n: [message(kind, n, struct.pack("=i", -errno.EPERM) + bytes(16))])
    with pytest.raises(NetworkError, match="Operation not permitted"):
        route.link_counters()


def test_silent_kernel_is_an_error() -> None:
    route, _ = route_socket(lambda _n: [TimeoutError("timed out")])
    with pytest.raises(NetworkError, match="timed out"):
        route.link_counters()


def loopback_statistic(name: str) -> int:
    return int(Path("/sys/class/net/lo/statistics", name).read_text())


def test_loopback_is_listed_under_its_index() -> None:
    with RouteSocket() as route:
        loopback = [link for link in route.links() if link.intf == "lo"]
        assert [link.ifindex for link in loopback] == [socket.if_nametoindex("lo")]
        assert route.name_of(loopback[0].ifindex) == "lo"


def test_loopback_counters_lie_between_two_readings_of_sysfs() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, RouteSocket() as route:
        index = socket.if_nametoindex("lo")
        sender.bind(("127.0.0.1", 0))

        def counters() -> nl.LinkCounters:
            return next(one for one in route.link_counters() if one.ifindex == index)

        first = counters()
        for _ in range(10):
            sender.sendto(bytes(1000), sender.getsockname())
        before = {name: loopback_statistic(name) for name in ("tx_bytes", "rx_packets")}
        now = counters()
        after = {name: loopback_statistic(name) for name in ("tx_bytes", "rx_packets")}
    assert before["tx_bytes"] <= now.tx_bytes <= after["tx_bytes"]
    assert before["rx_packets"] <= now.rx_packets <= after["rx_packets"]
    assert now.tx_bytes - first.tx_bytes >= 10 * (1000 + 8 + 20)  # payload, UDP, IP; loopback has no frames
    assert now.rx_packets - first.rx_packets >= 10


def test_queue_that_does_not_exist_is_an_error() -> None:
    with RouteSocket() as route, pytest.raises(NetworkError, match="No such device"):
        route.qdisc(0x7FFF0000, 0x10000)


def test_unknown_index_is_an_error() -> None:
    with RouteSocket() as route, pytest.raises(NetworkError, match="no interface has index 2147418112"):
        route.name_of(0x7FFF0000)


def test_namespace_of_a_process_that_is_gone_is_an_error() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(OSError):
        RouteSocket.in_namespace_of(pid)
