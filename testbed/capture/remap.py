"""A capture's frames as frames between hosts of the fabric: addresses mapped, headers rewritten, the rest kept. Pure.

Rewritten are both MAC addresses, both IPv4 addresses, the identification (which tells a frame where it arrives) and
the checksums that follow from them. The source address is the sending host's with ``ORIGIN`` as its first byte: no host
has a route there, so that nobody's TCP answers with resets, nor UDP with "port unreachable", which the capture has not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from testbed.capture.pcap import Recorded
from testbed.model.topology import Host

ORIGIN: Final = 11  # first byte of replayed frames' source addresses; hosts have 10
ETHERNET_BYTES: Final = 14
IPV4: Final = b"\x08\x00"
VLAN: Final = (b"\x81\x00", b"\x88\xa8")
LEAST_IP_BYTES: Final = 20
# protocol -> (its name, where its checksum is, how long its header is at least)
TRANSPORTS: Final = {6: ("TCP", 16, 20), 17: ("UDP", 6, 8)}
FRAGMENT: Final = 0x3FFF  # offset, and "more fragments"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame to send: the number it has in the capture, when it is due (s after the first), who sends it to whom."""

    number: int
    due_s: float
    src: str
    dst: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A frame that cannot be sent, and why."""

    number: int
    why: str


@dataclass(frozen=True)
class Remapped:
    """What became of a capture's frames: each is in one of the two. ``hosts`` is address -> host, in order."""

    frames: tuple[Prepared, ...]
    unmapped: tuple[Unmapped, ...]
    hosts: Mapping[str, str]


def remap(
    frames: Iterable[Recorded],
    hosts: Mapping[str, Host],
    given: Mapping[str, str],
    *,
    mtu_bytes: int,
    time_scale: float,
) -> Remapped:
    """Map frames to ``hosts`` (name -> host) by the map ``given``, or else each new address to the next host.

    Times count from the first frame that is sent and are multiplied by ``time_scale``. Frames are sent in the order of
    their times, those of one time in the file's.
    """
    mapping, free = dict(given), [] if given else list(hosts)
    found: list[tuple[float, Recorded, str, str]] = []
    unmapped: list[Unmapped] = []
    for frame in frames:
        why = _why_not(frame, mtu_bytes)
        if why is None:
            ends = [_text(frame.data[at : at + 4]) for at in (ETHERNET_BYTES + 12, ETHERNET_BYTES + 16)]
            for address in ends:
                if address not in mapping and free:
                    mapping[address] = free.pop(0)
            names = [mapping.get(address) for address in ends]
            why = _why_no_hosts(ends, names)
            if why is None:
                src, dst = (str(name) for name in names)
                found.append((frame.t_s, frame, src, dst))
                continue
        unmapped.append(Unmapped(frame.number, why))
    found.sort(key=lambda one: one[0])
    first_s = found[0][0] if found else 0.0
    sent = tuple(
        Prepared(
            frame.number,
            (t_s - first_s) * time_scale,
            src,
            dst,
            rewritten(frame.data, hosts[src], hosts[dst], identification=index & 0xFFFF),
        )
        for index, (t_s, frame, src, dst) in enumerate(found)
    )
    return Remapped(sent, tuple(unmapped), mapping)


def _text(address: bytes) -> str:
    return ".".join(map(str, address))


def _why_no_hosts(addresses: list[str], names: list[str | None]) -> str | None:
    strangers = [address for address, name in zip(addresses, names, strict=True) if name is None]
    if strangers:
        return f"no host for {', '.join(dict.fromkeys(strangers))}"
    return f"both ends are {names[0]}" if names[0] == names[1] else None


def _why_not(frame: Recorded, mtu_bytes: int) -> str | None:
    """Return why a frame cannot be sent whoever its ends are, None if it can."""
    data = frame.data
    if len(data) < frame.wire_bytes:
        return f"cut: {len(data)} of {frame.wire_bytes} bytes recorded"
    kind = data[12:14]
    if kind != IPV4:
        return "VLAN tag" if kind in VLAN else f"not IPv4 (EtherType 0x{kind.hex() or '-'})"
    ip = data[ETHERNET_BYTES:]
    header = (ip[0] & 0x0F) * 4 if ip else 0
    if len(ip) < LEAST_IP_BYTES or ip[0] >> 4 != 4 or header < LEAST_IP_BYTES:
        return "damaged IPv4 header"
    total = int.from_bytes(ip[2:4], "big")
    transport = TRANSPORTS.get(ip[9])
    if transport is None:
        return f"neither TCP nor UDP (protocol {ip[9]})"
    if int.from_bytes(ip[6:8], "big") & FRAGMENT:
        return "a fragment"
    if not header + transport[2] <= total <= len(ip):
        return f"damaged: {total} bytes by its header, {len(ip)} in the frame"
    return f"{total} bytes, more than the MTU of {mtu_bytes}" if total > mtu_bytes else None


def rewritten(data: bytes, src: Host, dst: Host, *, identification: int) -> bytes:
    """Return the frame as one from ``src`` to ``dst``; padding behind the IP packet is left out."""
    total = int.from_bytes(data[ETHERNET_BYTES + 2 : ETHERNET_BYTES + 4], "big")
    frame = bytearray(data[: ETHERNET_BYTES + total])
    frame[0:6], frame[6:12] = (bytes.fromhex(host.mac.replace(":", "")) for host in (dst, src))
    ip = memoryview(frame)[ETHERNET_BYTES:]
    before = bytes(ip[12:20])
    ip[12:16] = bytes((ORIGIN, *IPv4Address(src.ip).packed[1:]))
    ip[16:20] = IPv4Address(dst.ip).packed
    ip[4:6] = identification.to_bytes(2, "big")
    header = (ip[0] & 0x0F) * 4
    ip[10:12] = b"\0\0"
    ip[10:12] = (0xFFFF ^ _sum(bytes(ip[:header]))).to_bytes(2, "big")
    _name, place, _least = TRANSPORTS[ip[9]]
    at = header + place
    old = int.from_bytes(ip[at : at + 2], "big")
    if old or ip[9] != 17:  # a UDP datagram without a checksum keeps none
        new = 0xFFFF ^ _fold((0xFFFF ^ old) + (0xFFFF ^ _sum(before)) + _sum(bytes(ip[12:20])))  # RFC 1624
        ip[at : at + 2] = (new or (0xFFFF if ip[9] == 17 else 0)).to_bytes(2, "big")
    return bytes(frame)


def _sum(data: bytes) -> int:
    """Return the ones' complement sum of 16-bit words."""
    return _fold(sum(struct.unpack(f"!{len(data) // 2}H", data)))


def _fold(value: int) -> int:
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


def least_time_scale(remapped: Remapped, link_bytes_per_s: float, window_s: float) -> float:
    """Return by how much times must be stretched for no host to send more than its link carries, over ``window_s``.

    Per sending host, over any ``window_s`` from a frame on; 1 or less: it fits. Bytes are frames as tc counts them.
    """
    by_host: dict[str, list[tuple[float, int]]] = {}
    for frame in remapped.frames:
        by_host.setdefault(frame.src, []).append((frame.due_s, len(frame.data)))
    worst = 0.0
    for sent in by_host.values():
        first, total = 0, 0
        for due_s, size in sent:
            total += size
            while due_s - sent[first][0] > window_s:
                total -= sent[first][1]
                first += 1
            worst = max(worst, total / (link_bytes_per_s * window_s))
    return worst
