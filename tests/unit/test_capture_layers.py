"""The scapy layers and the data plane read the same frames alike: two independent descriptions of one format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from test_gse_dataplane_wire import headers, messages

from testbed.capture import layers
from testbed.gse.dataplane import wire

layers.load()


@given(headers)
def test_data_header_reads_alike(header: wire.DataHeader) -> None:
    inner = bytes(Ether(src="02:00:00:00:01:01", dst="02:00:00:00:02:01") / IP() / UDP() / b"x").ljust(
        header.inner_bytes, b"\0"
    )
    frame = wire.data_prefix(header._replace(inner_bytes=len(inner))) + inner
    packet = Ether(frame)
    data = packet[layers.GseData]
    for name in header._fields:
        expected = len(inner) if name == "inner_bytes" else getattr(header, name)
        assert int(getattr(data, name)) == expected, name
    assert UDP in data
    assert bytes(packet) == frame


@given(messages, st.integers(0, 255))
def test_control_message_reads_alike(message: wire.Control, path: int) -> None:
    packet = Ether(wire.control_frame(message, path))
    head = packet[layers.GseControl]
    body = head.payload
    assert type(body).__name__.removeprefix("Gse") == type(message).__name__
    for name in message.__slots__:
        if name == "entries":
            got = [(entry.qid, entry.epoch, entry.grant) for entry in body.entries]
            assert got == [tuple(entry) for entry in message.entries]
            continue
        holder = body if name in body.fields else head
        assert int(getattr(holder, name)) == int(getattr(message, name)), name


@given(messages)
def test_frame_built_by_scapy_is_read_by_the_data_plane(message: wire.Control) -> None:
    built = bytes(Ether(wire.control_frame(message, 1)).copy())
    assert wire.parse_control(built) == message


@pytest.mark.parametrize("kind", sorted(layers.KINDS))
def test_every_kind_has_a_body(kind: int) -> None:
    assert layers.KINDS[kind] == wire.Kind(kind).name
    assert kind in layers.BODIES
