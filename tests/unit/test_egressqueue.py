"""The backlog in front of what a host sends, from what a kernel answers."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from testbed.errors import NetworkError
from testbed.measurement import netlink
from testbed.measurement import netlink_format as nl
from testbed.measurement.egressqueue import EgressQueue
from tests.unit.test_netlink import KernelDouble, message, route_socket

LOOPBACK, LINK, NETEM, SHAPER = 1, 7, 0x1_0000, 0x10_0000


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def queue_message(number: int, ifindex: int, kind: str, handle: int, parent: int, backlog_bytes: int) -> bytes:
    basic = attribute(nl.TCA_STATS_BASIC, struct.pack("=QI", 5000, 42) + bytes(4))
    queue = attribute(nl.TCA_STATS_QUEUE, struct.pack("=IIIII", 3, backlog_bytes, 0, 0, 0))
    body = nl.TCMSG.pack(0, ifindex, handle, parent, 2) + attribute(nl.TCA_KIND, kind.encode() + b"\0")
    return message(nl.RTM_NEWQDISC, number, body + attribute(nl.TCA_STATS2, basic + queue))


def link_message(number: int, ifindex: int, intf: str) -> bytes:
    name = attribute(nl.IFLA_IFNAME, intf.encode() + b"\0")
    return message(nl.RTM_NEWLINK, number, nl.IFINFO.pack(0, 0, ifindex, 0, 0) + name)


def done(number: int) -> bytes:
    return message(nl.NLMSG_DONE, number, bytes(4))


def queues(number: int) -> list[bytes | OSError]:
    return [
        queue_message(number, LOOPBACK, "noqueue", 0, nl.TC_H_ROOT, 0)
        + queue_message(number, LINK, "netem", NETEM, nl.TC_H_ROOT, 70_000)
        + queue_message(number, LINK, "tbf", SHAPER, NETEM | 1, 30_000),
        done(number),
    ]


def links(number: int) -> list[bytes | OSError]:
    return [link_message(number, LOOPBACK, "lo") + link_message(number, LINK, "h1-eth0"), done(number)]


def opened(*answers: int) -> tuple[EgressQueue, KernelDouble]:
    """Return the queue of h1-eth0, of which the kernel says one backlog after the other."""

    def answer(backlog_bytes: int) -> Callable[[int], list[bytes | OSError]]:
        return lambda number: [queue_message(number, LINK, "tbf", SHAPER, 0, backlog_bytes)]

    route, double = route_socket(queues, links, *map(answer, answers))
    return EgressQueue(route, "h1-eth0"), double


def test_each_reading_is_one_question_about_the_shaper_of_that_interface() -> None:
    queue, double = opened(0, 27_042)
    before = len(double.requests)
    assert [queue.backlog_bytes(), queue.backlog_bytes()] == [0, 27_042]
    asked = double.requests[before:]
    assert len(asked) == 2
    for request in asked:
        _length, kind, flags, _number, _port = nl.HEADER.unpack_from(request)
        assert kind == nl.RTM_GETQDISC and not flags & nl.NLM_F_DUMP
        _family, ifindex, handle, _parent, _info = nl.TCMSG.unpack_from(request, nl.HEADER.size)
        assert (ifindex, handle) == (LINK, SHAPER)


@pytest.mark.parametrize("intf", ["lo", "h2-eth0"])
def test_an_interface_without_a_queue_is_an_error_not_an_empty_queue(intf: str) -> None:
    route, _double = route_socket(queues, links)
    with pytest.raises(NetworkError, match=f"{intf} has no queue whose backlog could be read"):
        EgressQueue(route, intf)


def test_a_queue_that_is_gone_is_an_error() -> None:
    route, _double = route_socket(
        queues, links, lambda n: [message(nl.NLMSG_ERROR, n, struct.pack("=i", -errno.ENOENT) + bytes(16))]
    )
    queue = EgressQueue(route, "h1-eth0")
    with pytest.raises(NetworkError, match="No such file"):
        queue.backlog_bytes()


def test_the_socket_is_closed_where_there_is_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "network_namespace_of", lambda _pid: nullcontext())  # entering one needs root
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(NetworkError, match="nowhere0 has no queue"):
        EgressQueue.of_host(os.getpid(), "nowhere0")
    assert set(os.listdir("/proc/self/fd")) == before
