"""The bytes of a journal, version 3: no I/O, only values to bytes and back. Numbers are in network order.

A journal is a preamble and blocks. A block is a head (size of its body, CRC-32 of the body, CRC-32 of these two) and a
body: first how the core began, as JSON, then events, a block for each call of ``advance`` and what came before it. So
a file that ends anywhere can be read up to there, and a damaged one is told from one that is merely cut. A journal that
was stopped before its GSP says why in its last event.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.profile import Profile
from testbed.units import MIB

MAGIC: Final = b"\x89GSEJ\r\n\n"  # not text, and damaged by whatever takes it for text
VERSION: Final = 3
PREAMBLE: Final = struct.Struct("!8sH")
HEAD: Final = struct.Struct("!III")
MOST_BLOCK_BYTES: Final = 256 * MIB  # what one turn of a leaf with every port busy brings is far below

_HOST, _FABRIC, _CARRIER, _ADVANCE, _END, _SEEN = range(1, 7)
_HOST_HEAD: Final = struct.Struct("!BdHI")  # kind, time, port, bytes of the frame that follows
_FABRIC_HEAD: Final = struct.Struct("!BdI")
_CARRIER_HEAD: Final = struct.Struct("!BdHB")
_SEEN_HEAD: Final = struct.Struct("!BdI")  # bytes of the paths, an integer, that follow
_ADVANCE_HEAD: Final = struct.Struct("!BdI")  # the decision follows
_END_HEAD: Final = struct.Struct("!BI")  # why follows, UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """Everything a core begins with. ``seed`` is that of its ``random.Random``."""

    name: str
    profile: Profile
    place: Place
    epoch: int
    seed: str
    now_s: float


class HostFrame(NamedTuple):
    """``from_host``."""

    now_s: float
    port: int
    frame: bytes


class FabricFrame(NamedTuple):
    """``from_fabric``."""

    now_s: float
    frame: bytes


class Carrier(NamedTuple):
    """``carrier``; ``path`` counts from 0."""

    now_s: float
    path: int
    up: bool


class Seen(NamedTuple):
    """``seen``; bit n of ``paths``: path n from 0."""

    now_s: float
    paths: int


class Advance(NamedTuple):
    """``advance`` and what it led to; no decision: the core failed in it."""

    now_s: float
    decision: bytes


class End(NamedTuple):
    """Nothing more was recorded, although the core went on."""

    why: str


Event = HostFrame | FabricFrame | Carrier | Seen | Advance | End
Parts = tuple[bytes, ...]  # bytes not yet joined: frames are big


def host_frame(now_s: float, port: int, frame: bytes) -> Parts:
    """Return the event that a host's frame came."""
    return _HOST_HEAD.pack(_HOST, now_s, port, len(frame)), frame


def fabric_frame(now_s: float, frame: bytes) -> Parts:
    """Return the event that a frame came over the fabric."""
    return _FABRIC_HEAD.pack(_FABRIC, now_s, len(frame)), frame


def carrier(now_s: float, path: int, up: bool) -> Parts:
    """Return the event that an uplink lost or gained carrier."""
    return (_CARRIER_HEAD.pack(_CARRIER, now_s, path, up),)


def seen(now_s: float, paths: int) -> Parts:
    """Return the event that others on the leaf got frames by these paths."""
    size = (paths.bit_length() + 7) // 8
    return _SEEN_HEAD.pack(_SEEN, now_s, size), paths.to_bytes(size, "big")


def advance(now_s: float, decision: bytes) -> Parts:
    """Return the event that the core did what was due, and what that was."""
    return _ADVANCE_HEAD.pack(_ADVANCE, now_s, len(decision)), decision


def end(why: str) -> Parts:
    """Return the event that recording stops."""
    text = why.encode()
    return _END_HEAD.pack(_END, len(text)), text


def block(parts: Iterable[bytes]) -> bytes:
    """Return parts of a body as a whole block."""
    body = b"".join(parts)
    head = struct.pack("!II", len(body), zlib.crc32(body))
    return b"".join((head, struct.pack("!I", zlib.crc32(head)), body))


def beginning(birth: Birth) -> bytes:
    """Return what a journal begins with."""
    value = {
        "name": birth.name,
        "profile": birth.profile.to_json(),
        "place": birth.place.to_json(),
        "epoch": birth.epoch,
        "seed": birth.seed,
        "now_s": birth.now_s,
    }
    return PREAMBLE.pack(MAGIC, VERSION) + block((json.dumps(value).encode(),))


def check_preamble(data: bytes) -> None:
    """Raise ValueError unless a file that begins like this is a journal of this version."""
    if len(data) < PREAMBLE.size or data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"begins with {data[: len(MAGIC)]!r}")
    version = PREAMBLE.unpack(data)[1]
    if version != VERSION:
        raise ValueError(f"format version {version}")


def body_bytes(head: bytes) -> int:
    """Return the size of the body that follows a block's head. Raises ValueError when the head is damaged."""
    size, _crc, own_crc = HEAD.unpack(head)
    if own_crc != zlib.crc32(head[:8]):
        raise ValueError("the head of a block does not have its checksum")
    if size > MOST_BLOCK_BYTES:
        raise ValueError(f"a block of {size:,} bytes")
    return int(size)


def check_body(head: bytes, body: bytes) -> None:
    """Raise ValueError unless a body is what its head says."""
    if HEAD.unpack(head)[1] != zlib.crc32(body):
        raise ValueError("the body of a block does not have its checksum")


def parse_birth(body: bytes) -> Birth:
    """Return how the core began. Raises ValueError when the bytes do not say it."""
    try:
        value: dict[str, Any] = json.loads(body)
        place = Place.from_json(value["place"])
        if not 0 < place.paths <= wire.MAX_PATHS:
            raise ValueError(f"{place.paths} paths")
        return Birth(
            name=str(value["name"]),
            profile=Profile.model_validate(value["profile"]),
            place=place,
            epoch=int(value["epoch"]),
            seed=str(value["seed"]),
            now_s=float(value["now_s"]),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"profile.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except KeyError as error:
        raise ValueError(f"how the core began, without {error}") from None
    except (TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"how the core began: {error}") from None


def parse_events(body: bytes) -> list[Event]:
    """Return the events of a block. Raises ValueError when the bytes are none."""
    events: list[Event] = []
    at = 0
    try:
        while at < len(body):
            event, at = _READERS[body[at]](body, at)
            events.append(event)
    except KeyError as error:
        raise ValueError(f"an event of kind {error}") from None
    except struct.error as error:
        raise ValueError(f"an event that is cut: {error}") from None
    return events


def _read_host(body: bytes, at: int) -> tuple[Event, int]:
    _kind, now_s, port, size = _HOST_HEAD.unpack_from(body, at)
    frame, at = _slice(body, at + _HOST_HEAD.size, size)
    return HostFrame(now_s, port, frame), at


def _read_fabric(body: bytes, at: int) -> tuple[Event, int]:
    _kind, now_s, size = _FABRIC_HEAD.unpack_from(body, at)
    frame, at = _slice(body, at + _FABRIC_HEAD.size, size)
    return FabricFrame(now_s, frame), at


def _read_carrier(body: bytes, at: int) -> tuple[Event, int]:
    _kind, now_s, path, up = _CARRIER_HEAD.unpack_from(body, at)
    return Carrier(now_s, path, bool(up)), at + _CARRIER_HEAD.size


def _read_seen(body: bytes, at: int) -> tuple[Event, int]:
    _kind, now_s, size = _SEEN_HEAD.unpack_from(body, at)
    paths, at = _slice(body, at + _SEEN_HEAD.size, size)
    return Seen(now_s, int.from_bytes(paths, "big")), at


def _read_advance(body: bytes, at: int) -> tuple[Event, int]:
    _kind, now_s, size = _ADVANCE_HEAD.unpack_from(body, at)
    decision, at = _slice(body, at + _ADVANCE_HEAD.size, size)
    return Advance(now_s, decision), at


def _read_end(body: bytes, at: int) -> tuple[Event, int]:
    _kind, size = _END_HEAD.unpack_from(body, at)
    text, at = _slice(body, at + _END_HEAD.size, size)
    return End(text.decode(errors="backslashreplace")), at


def _slice(body: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(body):
        raise ValueError(f"an event of {size} bytes where {len(body) - at} are left")
    return body[at : at + size], at + size


_READERS: Final = {
    _HOST: _read_host,
    _FABRIC: _read_fabric,
    _CARRIER: _read_carrier,
    _ADVANCE: _read_advance,
    _END: _read_end,
    _SEEN: _read_seen,
}
