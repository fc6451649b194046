from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from testbed.capture import layers
from testbed.capture.decode import describe, lines
from testbed.gse.dataplane import wire

layers.load()
L1, L2, H = wire.address(1), wire.address(2), wire.address(2, 3)


def test_data_frame_in_words() -> None:
    inner = bytes(Ether(src="02:00:00:00:01:01", dst="02:00:00:00:02:03") / IP() / TCP(sport=40000, dport=20001))
    header = wire.DataHeader(1, 1, 7, L1, L2, 3, 4, 12, 34, 5, 2, len(inner), 9014, 36056, 0)
    said = describe(Ether(wire.data_prefix(header) + inner))
    assert said.startswith("DATA l1 > l2 port 3 path 4 queue 12 psn 34 container 5.2 first 54 B, sent 9014 of 36056 |")
    assert "TCP" in said
    assert "40000" in said


def test_grant_that_rides_on_data_in_words() -> None:
    inner = bytes(Ether(src="02:00:00:00:01:01", dst="02:00:00:00:02:03") / IP() / TCP(sport=40000, dport=20001))
    header = wire.DataHeader(0, 1, 7, L1, L2, 3, 4, 12, 34, 5, 2, len(inner), 9014, 36056, 0)
    rider = wire.GrantEntry(9, 6, 77_000)
    assert ", sent 9014 of 36056, grants queue 9: 77000 |" in describe(
        Ether(wire.data_prefix(header.with_grant(rider)) + inner)
    )


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            wire.Grant(L2, L1, (wire.GrantEntry(12, 7, 5000), wire.GrantEntry(3, 7, 1))),
            "GRANT l2 > l1 queue 12: 5000 queue 3: 1",
        ),
        (
            wire.Request(L1, H, 7, 12, 3, 1, 9014, 0, 0, 1500, 5),
            "REQUEST l1 > l2.3 port 3 class 1 queue 12: demand 9014, sent 0, granted 5, oldest waits 1.5 ms",
        ),
        (wire.Fault(L1, L2, 7, 1, 3, False, 9), "FAULT l1 > l2 path 3 to l1 is dead"),
        (wire.Hello(L1, L1, 2, 77), "HELLO l1 > l1 number 77: path 2"),
        (wire.Loss(L2, L1, 7, 12, 34, 2, True), "LOSS l2 > l1 queue 12: psn 34, count 2, final 1"),
        (wire.Close(L1, L2, 7, 12, 3, 100, 4), "CLOSE l1 > l2 queue 12: sent 100, psn 4"),
    ],
)
def test_control_frame_in_words(message: wire.Control, said: str) -> None:
    assert describe(Ether(wire.control_frame(message, 1))) == said


def test_times_count_from_the_first_frame() -> None:
    first, second = (Ether(wire.control_frame(wire.Hello(L1, L1, 2, n), 2)) for n in (1, 2))
    first.time, second.time = 1000.0, 1000.25
    assert [line.split()[0] for line in lines([first, second])] == ["0.000000", "0.250000"]


MACS = bytes.fromhex("024753000100") + bytes.fromhex("024753000200")
SHORT_GRANT = struct.pack("!BBHHHHBBI", 16, 2, 0, 0x200, 0x100, 5, 0, 0, 0) + 10 * b"\0"


def test_a_grant_that_promises_more_than_it_holds_is_malformed() -> None:
    frames = [Ether(MACS + b"\x88\xb6" + SHORT_GRANT), Ether(wire.control_frame(wire.Hello(L1, L1, 2, 77), 2))]
    said = list(lines(frames))
    assert said[0].endswith("GRANT l2 > l1 malformed: 1 entries, 5 promised")
    assert "HELLO" in said[1]


@given(kind=st.sampled_from([b"\x88\xb5", b"\x88\xb6", b"\x08\x00"]), body=st.binary(max_size=120))
def test_no_frame_is_more_than_malformed(kind: bytes, body: bytes) -> None:
    assert describe(Ether(MACS + kind + body)).isprintable()


@given(first=st.binary(max_size=2), kind=st.integers(0, 8), rest=st.binary(max_size=60))
def test_no_control_message_is_more_than_malformed(first: bytes, kind: int, rest: bytes) -> None:
    assert describe(Ether(MACS + b"\x88\xb6" + bytes([16, kind]) + first + rest)).isprintable()
