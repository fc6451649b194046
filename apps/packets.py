"""Read the 5-tuple out of the beginning of a frame."""

from __future__ import annotations

import socket
import struct

from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.rules import ETH_TYPE_IPV4
from testbed.wire import ETHERNET_HEADER_BYTES, IPV4_HEADER_BYTES

FRAGMENT_OFFSET_MASK = 0x1FFF


def flow_of_frame(frame: bytes) -> Flow | None:
    """Return the TCP or UDP flow an Ethernet frame belongs to; None for anything else or too little of it."""
    if len(frame) < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES:
        return None
    if struct.unpack_from("!H", frame, 12)[0] != ETH_TYPE_IPV4:
        return None
    header_bytes = (frame[ETHERNET_HEADER_BYTES] & 0x0F) * 4
    fragment, proto = struct.unpack_from("!H", frame, 20)[0], frame[23]
    if proto not in (TCP, UDP) or fragment & FRAGMENT_OFFSET_MASK or header_bytes < IPV4_HEADER_BYTES:
        return None
    ports_at = ETHERNET_HEADER_BYTES + header_bytes
    if len(frame) < ports_at + 4:
        return None
    src_port, dst_port = struct.unpack_from("!HH", frame, ports_at)
    return Flow(socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]), proto, src_port, dst_port)
