"""Frames of a pcap or pcapng file, as recorded, through scapy. Pure: the caller opens the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from typing import Any, BinaryIO, Final, Literal

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapNgReader, RawPcapReader

ETHERNET, RAW_IP = 1, 101  # https://www.tcpdump.org/linktypes.html
LINK_TYPES: Final = {ETHERNET: "Ethernet", RAW_IP: "raw IP"}
PCAP_HEADER_BYTES: Final = 24
PCAP_RECORD_BYTES: Final = 16
ByteOrder = Literal["big", "little"]
PCAP_MAGICS: Final[dict[ByteOrder, tuple[bytes, ...]]] = {
    "little": (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"),  # microseconds, nanoseconds
    "big": (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d"),
}
PCAPNG_SECTION: Final = b"\x0a\x0d\x0d\x0a"
GZIP: Final = b"\x1f\x8b"
PCAPNG_PACKETS: Final = (2, 3, 6)  # obsolete, simple, enhanced packet block
NO_HEADER: Final = bytes(12) + b"\x08\x00"  # put in front of raw IPv4


@dataclass(frozen=True, slots=True)
class Recorded:
    """One frame: its number in the file from 1, as other tools count, when it was seen, and what was kept of it.

    ``wire_bytes`` is how long it was; ``data`` is shorter where the capture was cut.
    """

    number: int
    t_s: float
    wire_bytes: int
    data: bytes


def recorded(file: BinaryIO, most: int) -> Iterator[Recorded]:
    """Yield the first ``most`` frames. Raises ValueError for what is no capture of Ethernet or IP, or not whole.

    scapy takes the first damaged record for the end.
    """
    whole = whole_frames(file, most)
    file.seek(0)
    try:
        reader = RawPcapReader(file)
    except (Scapy_Exception, EOFError, OSError) as error:
        raise ValueError(f"not a pcap or pcapng file: {error}") from None
    number = 0
    for number, (data, about) in enumerate(islice(_read(reader), whole.frames), start=1):
        if isinstance(reader, RawPcapNgReader):
            link, ticks = about.linktype, ((about.tshigh or 0) << 32) + (about.tslow or 0)
            t_s = ticks / float(about.tsresol or 10**6)
        else:
            link, t_s = reader.linktype, about.sec + about.usec / (1e9 if reader.nano else 1e6)
        if link not in LINK_TYPES:
            expected = " or ".join(f"{kind} ({name})" for kind, name in LINK_TYPES.items())
            raise ValueError(f"frame {number} is of link type {link}, expected {expected}")
        header = b"" if link == ETHERNET else NO_HEADER
        yield Recorded(number, t_s, about.wirelen + len(header), header + data)
    if not whole.to_the_end or number < whole.frames:
        good = min(number, whole.frames)
        raise ValueError(f"damaged or cut after frame {good}: expected a whole capture; most_frames={good} takes these")


def _read(reader: RawPcapReader) -> Iterator[tuple[bytes, Any]]:
    """Yield what scapy reads. Raises ValueError for what it does not take for the end of the file."""
    try:
        yield from reader
    except Scapy_Exception as error:
        raise ValueError(f"damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class Whole:
    """How many frames a file has up to its end, or (``to_the_end`` false) to where it is damaged or cut."""

    frames: int
    to_the_end: bool


def whole_frames(file: BinaryIO, most: int) -> Whole:
    """Walk over at most ``most`` frames by their lengths. Raises ValueError for a file of neither format.

    Formats: draft-ietf-opsawg-pcap and -pcapng. scapy reads compressed ones, too, whose end it would have to be
    believed.
    """
    file.seek(0)
    magic = file.read(4)
    if magic == PCAPNG_SECTION:
        return _whole_blocks(file, most)
    for order, magics in PCAP_MAGICS.items():
        if magic in magics:
            return _whole_records(file, most, order)
    what = "it is compressed, unpack it first" if magic[:2] == GZIP else f"begins with {magic!r}"
    raise ValueError(f"not a pcap or pcapng file: {what}")


def _whole_records(file: BinaryIO, most: int, order: ByteOrder) -> Whole:
    size_bytes = file.seek(0, SEEK_END)
    at, frames = PCAP_HEADER_BYTES, 0
    while at < size_bytes and frames < most:
        file.seek(at + 8)
        kept_bytes = int.from_bytes(file.read(4), order)
        at += PCAP_RECORD_BYTES + kept_bytes
        if at > size_bytes:
            return Whole(frames, False)
        frames += 1
    return Whole(frames, True)


def _whole_blocks(file: BinaryIO, most: int) -> Whole:
    size_bytes = file.seek(0, SEEK_END)
    at, frames = 0, 0
    order: ByteOrder = "little"
    while at < size_bytes and frames < most:
        file.seek(at)
        head = file.read(12)
        if head[:4] == PCAPNG_SECTION:
            order = "little" if head[8:12] == b"\x4d\x3c\x2b\x1a" else "big"
        length = int.from_bytes(head[4:8], order)
        if len(head) < 12 or length < 12 or length % 4 or at + length > size_bytes:
            return Whole(frames, False)
        file.seek(at + length - 4)
        if int.from_bytes(file.read(4), order) != length:
            return Whole(frames, False)
        frames += int.from_bytes(head[:4], order) in PCAPNG_PACKETS
        at += length
    return Whole(frames, True)
