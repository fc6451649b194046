"""Frames of a pcap or pcapng file, as recorded, through scapy. Pure: the caller opens the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapNgReader, RawPcapReader

ETHERNET, RAW_IP = 1, 101  # https://www.tcpdump.org/linktypes.html
LINK_TYPES: Final = {ETHERNET: "Ethernet", RAW_IP: "raw IP"}
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
    """Yield the first ``most`` frames. Raises ValueError for what is no capture of Ethernet or IP."""
    try:
        reader = RawPcapReader(file)
    except (Scapy_Exception, EOFError, OSError) as error:
        raise ValueError(f"not a pcap or pcapng file: {error}") from None
    for number, (data, about) in enumerate(islice(reader, most), start=1):
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
