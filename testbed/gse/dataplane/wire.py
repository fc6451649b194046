"""What GSE frames look like on the fabric: outer addresses, data header, control frames.

The encoding is this project's own (docs/gse2.md); no public text gives GSE's. Numbers are in network order. Counters
are the low 32 bits of cumulative byte counts of inner frames (``serial``). Parsing returns None for anything that is
not a whole, consistent frame of this version: frames come from the wire and may say anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

ETH_DATA: Final = 0x88B5  # IEEE 802 local experimental EtherType 1
ETH_CONTROL: Final = 0x88B6  # local experimental EtherType 2
VERSION: Final = 1

MAC_PREFIX: Final = b"\x02\x47\x53"  # locally administered; then path, leaf, port
ETHERNET: Final = struct.Struct("!6s6sH")
DATA: Final = struct.Struct("!BBHHHBBHIIHHIIIHHI")
_OUTER: Final = struct.Struct("!3sBH3sBH")  # both MACs, as ``mac`` makes them
_PREFIX: Final = struct.Struct(_OUTER.format + "H" + DATA.format[1:])  # everything before the inner frame
CONTROL: Final = struct.Struct("!BBHHHHBBI")
MIN_FRAME_BYTES: Final = 60  # without FCS
INNER_MIN_BYTES: Final = 14  # an Ethernet header
DATA_OFFSET: Final = ETHERNET.size + DATA.size  # where the inner frame begins
OVERHEAD_BYTES: Final = DATA_OFFSET  # what a data frame carries beyond the inner frame

FLAG_FIRST: Final = 1  # first packet of its container
FLAG_RETRANSMITTED: Final = 2
FLAG_GRANT: Final = 4  # a grant rides on it
_KNOWN_FLAGS: Final = FLAG_FIRST | FLAG_RETRANSMITTED | FLAG_GRANT

MAX_PATHS: Final = 255


def address(leaf: int, port: int = 0) -> int:
    """Return the address of a GSP: a leaf's own (port 0) or that of the host on ``port``; both count from 1."""
    return leaf << 8 | port


def mac(gsp: int, path: int = 0) -> bytes:
    """Return the outer MAC of a GSP reached by ``path`` (1..; 0: none)."""
    return MAC_PREFIX + bytes((path, gsp >> 8, gsp & 0xFF))


def outer_macs(dst: int, src: int, path: int) -> bytes:
    """Return the outer MACs of a frame from one GSP to another."""
    return _OUTER.pack(MAC_PREFIX, path, dst, MAC_PREFIX, path, src)


class GrantEntry(NamedTuple):
    """One queue's authorisation."""

    qid: int
    epoch: int
    grant: int


class DataHeader(NamedTuple):
    """The header between the outer Ethernet header and the inner frame."""

    flags: int
    tc: int  # traffic class, 0 first
    epoch: int
    src: int  # GSP addresses
    dst: int
    dst_port: int  # egress port at the destination
    path: int
    qid: int  # the source's number for the queue
    psn: int  # packet number in queue and epoch
    csn: int  # container number in queue and epoch
    pidx: int  # packet number in the container
    inner_bytes: int
    sent: int  # bytes of the queue sent before this frame
    demand: int  # bytes ever put into the queue
    ts_us: int  # source's clock, wraps
    # with FLAG_GRANT, for a queue of the GSP it goes to: see ``GrantEntry``
    grant_qid: int = 0
    grant_epoch: int = 0
    grant: int = 0

    def with_grant(self, entry: GrantEntry) -> DataHeader:
        """Return this header with a grant on it."""
        return header_of((self.flags | FLAG_GRANT, *self[1:-3], *entry))


NO_GRANT: Final = (0, 0, 0)  # the last fields of a header without one


def header_of(fields: tuple[int, ...]) -> DataHeader:
    """Return a header with all its fields, in order; there are two for every frame.

    A NamedTuple's own constructor is written in Python, also for compiled code that calls it. This is what it does.
    """
    return tuple.__new__(DataHeader, fields)


def data_prefix(header: DataHeader) -> bytes:
    """Return the outer Ethernet header and the data header; the inner frame follows unchanged."""
    path, first = header.path, VERSION << 4 | header.flags
    return _PREFIX.pack(MAC_PREFIX, path, header.dst, MAC_PREFIX, path, header.src, ETH_DATA, first, *header[1:])


def parse_data(frame: bytes) -> DataHeader | None:
    """Return the header of a data frame (outer EtherType already known), or None when it is not consistent."""
    if len(frame) < DATA_OFFSET + INNER_MIN_BYTES:
        return None
    read: tuple[int, ...] = DATA.unpack_from(frame, ETHERNET.size)
    header = header_of((read[0] & 0xF, *read[1:]))
    if read[0] >> 4 != VERSION or header.flags & ~_KNOWN_FLAGS or header.inner_bytes < INNER_MIN_BYTES:
        return None
    if DATA_OFFSET + header.inner_bytes > len(frame):
        return None
    return header


class Kind(IntEnum):
    """Control frame types."""

    REQUEST = 1
    GRANT = 2
    CLOSE = 3
    CONG = 4
    FAULT = 5
    HELLO = 6
    LOSS = 7


@dataclass(frozen=True, slots=True)
class Request:
    """Source to destination: this much has been asked for and sent so far."""

    src: int
    dst: int
    epoch: int
    qid: int
    dst_port: int
    tc: int
    demand: int
    sent: int
    psn: int  # of the next packet to be sent
    head_age_us: int
    granted: int = 0  # the last grant that has come: who knows of none beyond it need not answer


@dataclass(frozen=True, slots=True)
class Grant:
    """Destination to source: each queue may have sent this much."""

    src: int
    dst: int
    entries: tuple[GrantEntry, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Source to destination: the queue is empty and forgotten; unused credit is void."""

    src: int
    dst: int
    epoch: int
    qid: int
    dst_port: int
    sent: int
    psn: int  # of the packet that would have come next


@dataclass(frozen=True, slots=True)
class Congestion:
    """To sources: frames that come by ``path`` wait; level 0 (clear) to 3 (avoid)."""

    src: int
    dst: int
    path: int
    level: int


@dataclass(frozen=True, slots=True)
class Fault:
    """To all: ``path`` to ``leaf`` is dead, or works again. ``epoch`` and ``seq`` order notices of one source."""

    src: int
    dst: int
    epoch: int
    leaf: int
    path: int
    up: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Hello:
    """To oneself, over ``path`` and back."""

    src: int
    dst: int
    path: int
    seq: int


@dataclass(frozen=True, slots=True)
class Loss:
    """Destination to source: these packets have not come. ``final``: order went on without them."""

    src: int
    dst: int
    epoch: int
    qid: int
    psn: int
    count: int
    final: bool


Control = Request | Grant | Close | Congestion | Fault | Hello | Loss

_REQUEST: Final = struct.Struct("!IIIII")
_GRANT: Final = struct.Struct("!HHI")
_CLOSE: Final = struct.Struct("!II")
_CONG: Final = struct.Struct("!BB")
_FAULT: Final = struct.Struct("!BBB")
_HELLO: Final = struct.Struct("!B")
_LOSS: Final = struct.Struct("!IHB")
MAX_GRANTS: Final = 255


def control_frame(message: Control, path: int) -> bytes:
    """Return a control message as a whole frame that travels by ``path``, padded to the least Ethernet frame."""
    kind, epoch, qid, dst_port, tc, seq, body = _body(message)
    head = CONTROL.pack(VERSION << 4, kind, epoch, message.src, message.dst, qid, dst_port, tc, seq)
    outer = ETHERNET.pack(mac(message.dst, path), mac(message.src, path), ETH_CONTROL)
    return (outer + head + body).ljust(MIN_FRAME_BYTES, b"\0")


def _body(message: Control) -> tuple[Kind, int, int, int, int, int, bytes]:
    """Return kind, epoch, qid, dst_port, tc, seq and body."""
    if isinstance(message, Request):
        body = _REQUEST.pack(message.demand, message.sent, message.psn, message.head_age_us, message.granted)
        return Kind.REQUEST, message.epoch, message.qid, message.dst_port, message.tc, 0, body
    if isinstance(message, Grant):
        body = b"".join(_GRANT.pack(*entry) for entry in message.entries)
        return Kind.GRANT, 0, len(message.entries), 0, 0, 0, body
    if isinstance(message, Close):
        body = _CLOSE.pack(message.sent, message.psn)
        return Kind.CLOSE, message.epoch, message.qid, message.dst_port, 0, 0, body
    if isinstance(message, Congestion):
        return Kind.CONG, 0, 0, 0, 0, 0, _CONG.pack(message.path, message.level)
    if isinstance(message, Fault):
        return Kind.FAULT, message.epoch, 0, 0, 0, message.seq, _FAULT.pack(message.leaf, message.path, message.up)
    if isinstance(message, Hello):
        return Kind.HELLO, 0, 0, 0, 0, message.seq, _HELLO.pack(message.path)
    body = _LOSS.pack(message.psn, message.count, message.final)
    return Kind.LOSS, message.epoch, message.qid, 0, 0, 0, body


def parse_control(frame: bytes) -> Control | None:
    """Return the message of a control frame (outer EtherType already known), or None when it is not one."""
    if len(frame) < ETHERNET.size + CONTROL.size:
        return None
    head = _Head(*CONTROL.unpack_from(frame, ETHERNET.size))
    if head.version != VERSION << 4:
        return None
    reader = _READERS.get(head.kind)
    try:
        return None if reader is None else reader(head, frame, ETHERNET.size + CONTROL.size)
    except struct.error:  # shorter than its kind needs
        return None


class _Head(NamedTuple):
    version: int
    kind: int
    epoch: int
    src: int
    dst: int
    qid: int
    dst_port: int
    tc: int
    seq: int


def _read_request(head: _Head, frame: bytes, at: int) -> Control | None:
    return Request(head.src, head.dst, head.epoch, head.qid, head.dst_port, head.tc, *_REQUEST.unpack_from(frame, at))


def _read_grant(head: _Head, frame: bytes, at: int) -> Control | None:
    if not 0 < head.qid <= MAX_GRANTS:
        return None
    entries = tuple(GrantEntry(*_GRANT.unpack_from(frame, at + i * _GRANT.size)) for i in range(head.qid))
    return Grant(head.src, head.dst, entries)


def _read_close(head: _Head, frame: bytes, at: int) -> Control | None:
    sent, psn = _CLOSE.unpack_from(frame, at)
    return Close(head.src, head.dst, head.epoch, head.qid, head.dst_port, sent, psn)


def _read_congestion(head: _Head, frame: bytes, at: int) -> Control | None:
    path, level = _CONG.unpack_from(frame, at)
    return Congestion(head.src, head.dst, path, level) if level <= 3 else None


def _read_fault(head: _Head, frame: bytes, at: int) -> Control | None:
    leaf, path, up = _FAULT.unpack_from(frame, at)
    return Fault(head.src, head.dst, head.epoch, leaf, path, up == 1, head.seq) if up <= 1 else None


def _read_hello(head: _Head, frame: bytes, at: int) -> Control | None:
    return Hello(head.src, head.dst, _HELLO.unpack_from(frame, at)[0], head.seq)


def _read_loss(head: _Head, frame: bytes, at: int) -> Control | None:
    psn, count, final = _LOSS.unpack_from(frame, at)
    return Loss(head.src, head.dst, head.epoch, head.qid, psn, count, final == 1) if final <= 1 and count else None


_READERS: Final[dict[int, Callable[[_Head, bytes, int], Control | None]]] = {
    Kind.REQUEST: _read_request,
    Kind.GRANT: _read_grant,
    Kind.CLOSE: _read_close,
    Kind.CONG: _read_congestion,
    Kind.FAULT: _read_fault,
    Kind.HELLO: _read_hello,
    Kind.LOSS: _read_loss,
}
