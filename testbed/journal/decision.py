"""What a GSP decides at one call of ``advance``, as bytes: what it sends, to whom, and when it wants to be called next.

Headers and control frames stand there in full; of a host's frame inside only its length and a digest, since the frame
itself is in the journal where it came in.
"""

from __future__ import annotations

import hashlib
import struct
from math import inf
from typing import Final, NamedTuple

from testbed.gse.dataplane.edge import Edge

DIGEST_BYTES: Final = 8
# when to be called next (inf: not before a frame comes); frames by kind; senders told to pause or to go on
_HEAD: Final = struct.Struct("!dIII")
_TO_FABRIC: Final = struct.Struct("!HI")  # bytes of head, of the inner frame; both follow, the latter as its digest
_TO_HOST: Final = struct.Struct("!HI8s")  # port, bytes and digest of the frame
_ORDER: Final = struct.Struct("!HB")  # port; 1 to pause, 0 to go on


class ToFabric(NamedTuple):
    """A frame for the fabric: data header or whole control frame, and the host's frame behind it, if any."""

    head: bytes
    inner_bytes: int
    inner_digest: bytes


class ToHost(NamedTuple):
    """A frame for the host on ``port``."""

    port: int
    frame_bytes: int
    digest: bytes


class Order(NamedTuple):
    """The sender on ``port`` is to pause, or to go on."""

    port: int
    paused: bool


class Decision(NamedTuple):
    """See the module."""

    due_s: float
    to_fabric: tuple[ToFabric, ...]
    to_hosts: tuple[ToHost, ...]
    orders: tuple[Order, ...]


def digest(frame: bytes) -> bytes:
    """Return what tells one frame from another; SHA-1 as the cheapest on most machines, for nobody attacks this."""
    return hashlib.sha1(frame, usedforsecurity=False).digest()[:DIGEST_BYTES]


def decision_of(edge: Edge) -> bytes:
    """Return what a core has just decided and nobody has taken yet."""
    outlet, orders, due_s = edge.outlet, edge.source.pressure.orders, edge.due_s()
    parts = [_HEAD.pack(inf if due_s is None else due_s, len(outlet.to_fabric), len(outlet.to_hosts), len(orders))]
    for head, inner in outlet.to_fabric:
        parts += (_TO_FABRIC.pack(len(head), len(inner)), head, digest(inner) if inner else b"")
    parts += [_TO_HOST.pack(port, len(frame), digest(frame)) for port, frame in outlet.to_hosts]
    parts += [_ORDER.pack(port, paused) for port, paused in orders]
    return b"".join(parts)


def parse_decision(data: bytes) -> Decision:
    """Return a decision. Raises ValueError when the bytes are not one."""
    try:
        due_s, fabric_frames, host_frames, told = _HEAD.unpack_from(data)
        at, to_fabric, to_hosts, orders = _HEAD.size, [], [], []
        for _ in range(fabric_frames):
            head_bytes, inner_bytes = _TO_FABRIC.unpack_from(data, at)
            at += _TO_FABRIC.size
            middle, end = at + head_bytes, at + head_bytes + (DIGEST_BYTES if inner_bytes else 0)
            to_fabric.append(ToFabric(data[at:middle], inner_bytes, data[middle:end]))
            at = end
        for _ in range(host_frames):
            to_hosts.append(ToHost(*_TO_HOST.unpack_from(data, at)))
            at += _TO_HOST.size
        for _ in range(told):
            port, paused = _ORDER.unpack_from(data, at)
            if paused > 1:
                raise ValueError(f"port {port} is to do something of number {paused}")
            orders.append(Order(port, bool(paused)))
            at += _ORDER.size
    except struct.error as error:
        raise ValueError(f"a decision of {len(data)} bytes: {error}") from None
    if at != len(data):
        raise ValueError(f"a decision of {len(data)} bytes, of which {at} say something")
    return Decision(due_s, tuple(to_fabric), tuple(to_hosts), tuple(orders))


def frames_in(data: bytes) -> int:
    """Return how many frames a decision sends."""
    _due_s, fabric_frames, host_frames, _told = _HEAD.unpack_from(data)
    return int(fabric_frames + host_frames)
