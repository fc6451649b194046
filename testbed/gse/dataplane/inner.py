"""The little a GSP looks at inside a host's frame: which flow it is, and the ECN field it may mark."""

from __future__ import annotations

import struct
from typing import Final

_IPV4_NO_OPTIONS: Final = b"\x08\x00\x45"
_TOS, _CHECKSUM = 15, 24
_ECN_CE: Final = 3


def flow_key(frame: bytes) -> bytes:
    """Return what all frames of a transport flow share: protocol, addresses, ports; MACs when it is not plain IPv4."""
    if frame[12:15] == _IPV4_NO_OPTIONS:
        return frame[23:24] + frame[26:38]
    return frame[:12]


def mark_congestion(frame: bytes) -> bytes | None:
    """Return the frame with ECN "congestion experienced", or None when its transport does not do ECN.

    The header checksum is updated as RFC 1624 has it.
    """
    if frame[12:15] != _IPV4_NO_OPTIONS or not frame[_TOS] & _ECN_CE:
        return None
    old = struct.unpack_from("!H", frame, _TOS - 1)[0]
    new = old | _ECN_CE
    checksum = struct.unpack_from("!H", frame, _CHECKSUM)[0]
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    marked = bytearray(frame)
    struct.pack_into("!H", marked, _TOS - 1, new)
    struct.pack_into("!H", marked, _CHECKSUM, ~total & 0xFFFF)
    return bytes(marked)


def traffic_class(frame: bytes) -> int:
    """Return 0 (served first) for IPv4 with DSCP 32 (CS4) or more, as interactive and control traffic has, else 1."""
    return 0 if frame[12:15] == _IPV4_NO_OPTIONS and frame[_TOS] >= 128 else 1
