from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import NetworkError
from testbed.measurement.netlink_format import TC_H_ROOT, Qdisc, attributes, decode_qdisc, egress_queues, messages


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def attribute(kind: int, payload: bytes) -> bytes:
    return padded(struct.pack("=HH", 4 + len(payload), kind) + payload)


def qdisc_body(*statistics: bytes, kind: bytes = b"tbf\0") -> bytes:
    tcmsg = struct.pack("=BxxxiIII", 0, 7, 0x10000, TC_H_ROOT, 2)
    nested = attribute(7, b"".join(statistics)) if statistics else b""
    return tcmsg + attribute(1, kind) + attribute(2, bytes(36)) + nested


BASIC = attribute(1, struct.pack("=QI", 5_000_000_000, 42) + bytes(4))
QUEUE = attribute(3, struct.pack("=IIIII", 3, 27042, 5, 6, 77))


def test_queue_is_decoded_field_by_field() -> None:
    assert decode_qdisc(qdisc_body(BASIC, QUEUE), lambda index: f"intf{index}") == Qdisc(
        intf="intf7",
        ifindex=7,
        kind="tbf",
        handle=0x10000,
        parent=TC_H_ROOT,
        sent_bytes=5_000_000_000,
        sent_packets=42,
        backlog_bytes=27042,
        backlog_packets=3,
        dropped_packets=5,
        overlimits=77,
    )


def test_packet_count_beyond_32_bits_comes_from_its_own_attribute() -> None:
    body = qdisc_body(BASIC, attribute(8, struct.pack("=Q", 2**32 + 42)), QUEUE)
    assert decode_qdisc(body, str).sent_packets == 2**32 + 42


@pytest.mark.parametrize("statistics", [(), (BASIC,), (QUEUE,)], ids=["none", "no queue", "no bytes"])
def test_queue_without_statistics_is_an_error_not_zero(statistics: tuple[bytes, ...]) -> None:
    with pytest.raises(NetworkError, match="tbf queue of interface 7 comes without statistics"):
        decode_qdisc(qdisc_body(*statistics), str)


def test_statistics_that_are_too_short_are_an_error() -> None:
    with pytest.raises(NetworkError, match="4 bytes of statistics, expected at least 12"):
        decode_qdisc(qdisc_body(attribute(1, bytes(4)), QUEUE), str)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back_as_they_were_packed(packed: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in packed)
    assert [(kind, data[start:end]) for kind, start, end in attributes(data, 0, len(data))] == packed


@given(st.lists(st.tuples(st.integers(16, 100), st.integers(1, 3), st.binary(max_size=40)), max_size=8))
def test_messages_of_one_request_come_back_as_they_were_packed(packed: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(
        padded(struct.pack("=IHHII", 16 + len(payload), kind, 0, number, 0) + payload)
        for kind, number, payload in packed
    )
    expected = [(kind, 0, payload) for kind, number, payload in packed if number == 2]
    assert list(messages(data, 2)) == expected


@given(st.binary(max_size=64))
def test_garbage_is_refused_or_yields_parts_of_itself(data: bytes) -> None:
    try:
        found = list(messages(data, 0))
    except NetworkError:
        return
    assert all(payload in data for _kind, _flags, payload in found)


@pytest.mark.parametrize("length", [0, 15, 21])
def test_message_longer_or_shorter_than_possible_is_an_error(length: int) -> None:
    with pytest.raises(NetworkError, match=f"a message of {length} bytes where 20 are left"):
        list(messages(struct.pack("=IHHII", length, 36, 0, 1, 0) + bytes(4), 1))


def queue(intf: str, kind: str, handle: int, parent: int, sent: int, backlog: int, dropped: int) -> Qdisc:
    return Qdisc(
        intf, {"l1-eth1": 2, "l1-eth2": 3, "lo": 1}[intf], kind, handle, parent, sent, 1, backlog, 1, dropped, 9
    )


def test_interface_that_queues_nothing_has_no_egress_queue() -> None:
    shaped = queue("l1-eth1", "tbf", 0x10000, TC_H_ROOT, 100, 10, 1)
    assert egress_queues([queue("lo", "noqueue", 0, TC_H_ROOT, 0, 0, 0), shaped]) == [shaped]


def test_stacked_queues_count_what_waits_in_the_shaper_and_every_loss() -> None:
    delay_line = queue("l1-eth1", "netem", 0x10000, TC_H_ROOT, sent=900, backlog=500, dropped=7)
    shaper = queue("l1-eth1", "tbf", 0x100000, 0x10001, sent=900, backlog=200, dropped=3)
    other = queue("l1-eth2", "tbf", 0x10000, TC_H_ROOT, sent=1, backlog=2, dropped=3)
    first, second = egress_queues([delay_line, other, shaper])
    assert (first.kind, first.backlog_bytes, first.dropped_packets) == ("tbf", 200, 7)
    assert second == other
