from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.serial import unwrap, wrap

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
headers = st.builds(
    wire.DataHeader,
    st.integers(0, 7),
    u8,
    u16,
    u16,
    u16,
    u8,
    u8,
    u16,
    u32,
    u32,
    u16,
    st.integers(14, 9014),
    u32,
    u32,
    u32,
    u16,
    u16,
    u32,
)
entries = st.lists(st.builds(wire.GrantEntry, u16, u16, u32), min_size=1, max_size=60).map(tuple)
messages = st.one_of(
    st.builds(wire.Request, u16, u16, u16, u16, u8, u8, u32, u32, u32, u32, u32),
    st.builds(wire.Grant, u16, u16, entries),
    st.builds(wire.Close, u16, u16, u16, u16, u8, u32, u32),
    st.builds(wire.Congestion, u16, u16, u8, st.integers(0, 3)),
    st.builds(wire.Fault, u16, u16, u16, u8, u8, st.booleans(), u32),
    st.builds(wire.Hello, u16, u16, u8, u32),
    st.builds(wire.Loss, u16, u16, u16, u16, u32, st.integers(1, 0xFFFF), st.booleans()),
)


@given(headers)
def test_data_header_is_read_as_it_was_written(header: wire.DataHeader) -> None:
    frame = wire.data_prefix(header) + bytes(header.inner_bytes)
    assert wire.parse_data(frame) == header
    assert len(wire.data_prefix(header)) == wire.OVERHEAD_BYTES == 58


@given(messages, u8)
def test_control_message_is_read_as_it_was_written(message: wire.Control, path: int) -> None:
    frame = wire.control_frame(message, path)
    assert wire.parse_control(frame) == message
    assert len(frame) >= wire.MIN_FRAME_BYTES
    assert frame[:6] == wire.mac(message.dst, path)


@given(u32, u32)
def test_request_is_no_longer_for_what_it_says_of_grants(demand: int, granted: int) -> None:
    request = wire.Request(257, 513, 1, 2, 3, 1, demand, 0, 0, 0, granted)
    frame = wire.control_frame(request, 1)
    assert len(frame) == wire.MIN_FRAME_BYTES
    at = wire.ETHERNET.size + wire.CONTROL.size + 16
    assert frame[at : at + 4] == granted.to_bytes(4, "big")
    # one written without it has padding there: no grant has been heard of
    assert wire.parse_control(frame[:at].ljust(wire.MIN_FRAME_BYTES, b"\0")) == dataclasses.replace(request, granted=0)


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused_but_never_raise(data: bytes) -> None:
    frame = bytes(12) + b"\x88\xb6" + data
    wire.parse_control(frame)
    wire.parse_data(frame)


@given(headers, st.integers(1, 60))
def test_data_frame_cut_short_is_refused(header: wire.DataHeader, cut: int) -> None:
    frame = wire.data_prefix(header) + bytes(header.inner_bytes)
    assert wire.parse_data(frame[:-cut]) is None


@pytest.mark.parametrize("first", [0x00, 0x20, 0x18, 0x1C, 0xFF])
def test_other_versions_and_unknown_flags_are_refused(first: int) -> None:
    header = wire.DataHeader(0, 0, 0, 257, 513, 1, 1, 0, 0, 0, 0, 100, 0, 0, 0)
    frame = bytearray(wire.data_prefix(header) + bytes(100))
    frame[14] = first
    assert wire.parse_data(bytes(frame)) is None


def test_outer_address_names_path_leaf_and_port() -> None:
    assert wire.mac(wire.address(3, 7), 2).hex(":") == "02:47:53:02:03:07"


@given(st.integers(0, 1 << 40), st.integers(-(1 << 31) + 1, (1 << 31) - 1))
def test_counters_that_wrapped_are_understood(count: int, difference: int) -> None:
    other = max(count + difference, 0)
    assert unwrap(wrap(other), count) == other
