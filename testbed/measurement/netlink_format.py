"""Messages of rtnetlink: bytes -> records. Pure; lengths that contradict each other raise NetworkError.

Source: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/gen_stats.h. Only what is needed is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from testbed.errors import NetworkError

RTM_NEWLINK: Final = 16
RTM_GETLINK: Final = 18
RTM_NEWQDISC: Final = 36
RTM_GETQDISC: Final = 38
RTM_NEWSTATS: Final = 92
RTM_GETSTATS: Final = 94
NLM_F_REQUEST: Final = 0x1
NLM_F_ECHO: Final = 0x8
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
IFLA_IFNAME: Final = 3
IFLA_LINKINFO: Final = 18
IFLA_INFO_KIND: Final = 1
IFLA_STATS_LINK_64: Final = 1
TCA_KIND: Final = 1
TCA_STATS2: Final = 7
TCA_STATS_BASIC: Final = 1
TCA_STATS_QUEUE: Final = 3
TCA_STATS_PKT64: Final = 8
TC_H_ROOT: Final = 0xFFFFFFFF
TC_H_INGRESS: Final = 0xFFFFFFF1  # ingress and clsact: no queues, only hooks
SHAPER: Final = "tbf"
NLA_TYPE_MASK: Final = 0x3FFF

HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE: Final = struct.Struct("=HH")  # nlattr: length, type
IFINFO: Final = struct.Struct("=BxHiII")  # ifinfomsg
TCMSG: Final = struct.Struct("=BxxxiIII")  # tcmsg: family, ifindex, handle, parent, info
STATSMSG: Final = struct.Struct("=BxHII")  # if_stats_msg: family, pad, ifindex, filter_mask
ERROR: Final = struct.Struct("=i")
LINK_STATS: Final = struct.Struct("=8Q")  # rtnl_link_stats64: rx/tx packets, rx/tx bytes, errors, dropped
BASIC: Final = struct.Struct("=QI")  # gnet_stats_basic: bytes, packets
QUEUE: Final = struct.Struct("=IIIII")  # gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
PKT64: Final = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """An interface; ``kind`` is ``veth``, ``tun``... or empty for those without a driver type (lo)."""

    ifindex: int
    intf: str
    kind: str


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Cumulative counters of one interface."""

    ifindex: int
    rx_bytes: int
    rx_packets: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class Qdisc:
    """One queueing discipline: backlog now, cumulative counters, place in the interface's tree."""

    intf: str
    ifindex: int
    kind: str
    handle: int
    parent: int
    sent_bytes: int
    sent_packets: int
    backlog_bytes: int
    backlog_packets: int
    dropped_packets: int
    overlimits: int


def messages(data: bytes, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (type, flags, payload) of the netlink messages in ``data`` that answer request ``sequence``.

    Others are leftovers of a request that was given up. Raises NetworkError when lengths contradict each other.
    """
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < HEADER.size:
            raise NetworkError(f"netlink: {end - offset} bytes after the last message, expected none")
        length, kind, flags, number, _port = HEADER.unpack_from(data, offset)
        if not HEADER.size <= length <= end - offset:
            raise NetworkError(f"netlink: a message of {length} bytes where {end - offset} are left")
        if number == sequence:
            yield kind, flags, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, first byte, end) of each attribute in ``data[start:end]``. Raises NetworkError as ``messages``."""
    while end - start >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if not ATTRIBUTE.size <= length <= end - start:
            raise NetworkError(f"netlink: an attribute of {length} bytes where {end - start} are left")
        yield kind & NLA_TYPE_MASK, start + ATTRIBUTE.size, start + length
        start += (length + 3) & ~3


def decode_qdisc(body: bytes, name_of: Callable[[int], str]) -> Qdisc:
    """Decode the payload of an RTM_NEWQDISC message."""
    _family, ifindex, handle, parent, _info = TCMSG.unpack_from(body)
    kind = ""
    basic = queue = packets64 = None
    for attribute, start, end in attributes(body, TCMSG.size, len(body)):
        if attribute == TCA_KIND:
            kind = _text(body, start, end)
        elif attribute == TCA_STATS2:
            for statistic, inner, inner_end in attributes(body, start, end):
                if statistic == TCA_STATS_BASIC:
                    basic = _unpack(BASIC, body, inner, inner_end)
                elif statistic == TCA_STATS_QUEUE:
                    queue = _unpack(QUEUE, body, inner, inner_end)
                elif statistic == TCA_STATS_PKT64:
                    packets64 = _unpack(PKT64, body, inner, inner_end)[0]
    if basic is None or queue is None:
        raise NetworkError(f"netlink: the {kind or 'unnamed'} queue of interface {ifindex} comes without statistics")
    return Qdisc(
        intf=name_of(ifindex),
        ifindex=ifindex,
        kind=kind,
        handle=handle,
        parent=parent,
        sent_bytes=basic[0],
        sent_packets=basic[1] if packets64 is None else packets64,
        backlog_bytes=queue[1],
        backlog_packets=queue[0],
        dropped_packets=queue[2],
        overlimits=queue[4],
    )


def decode_link(body: bytes) -> LinkInfo:
    """Decode the payload of an RTM_NEWLINK message."""
    ifindex = IFINFO.unpack_from(body)[2]
    name = kind = ""
    for attribute, start, end in attributes(body, IFINFO.size, len(body)):
        if attribute == IFLA_IFNAME:
            name = _text(body, start, end)
        elif attribute == IFLA_LINKINFO:
            for info, inner, inner_end in attributes(body, start, end):
                if info == IFLA_INFO_KIND:
                    kind = _text(body, inner, inner_end)
    return LinkInfo(ifindex, name, kind)


def decode_link_counters(body: bytes) -> LinkCounters:
    """Decode the payload of an RTM_NEWSTATS message."""
    ifindex = STATSMSG.unpack_from(body)[2]
    for attribute, start, end in attributes(body, STATSMSG.size, len(body)):
        if attribute == IFLA_STATS_LINK_64:
            rx_packets, tx_packets, rx_bytes, tx_bytes, _rx, _tx, rx_dropped, tx_dropped = _unpack(
                LINK_STATS, body, start, end
            )
            return LinkCounters(ifindex, rx_bytes, rx_packets, rx_dropped, tx_bytes, tx_packets, tx_dropped)
    raise NetworkError(f"netlink: interface {ifindex} comes without statistics")


def _unpack(layout: struct.Struct, data: bytes, start: int, end: int) -> tuple[int, ...]:
    if end - start < layout.size:
        raise NetworkError(f"netlink: {end - start} bytes of statistics, expected at least {layout.size}")
    return layout.unpack_from(data, start)


def _text(data: bytes, start: int, end: int) -> str:
    return data[start:end].rstrip(b"\0").decode()


def egress_queues(qdiscs: Iterable[Qdisc]) -> list[Qdisc]:
    """Return one queue per interface, leaving out interfaces that queue nothing.

    Where several are stacked (a delay line before the shaper) the shaper says what waits and what was
    sent, the root says what was dropped, because it counts the losses of those below it as well.
    """
    trees: dict[int, list[Qdisc]] = {}
    for qdisc in qdiscs:
        if qdisc.kind not in ("noqueue", "noop"):
            trees.setdefault(qdisc.ifindex, []).append(qdisc)
    return [_merged(tree) for tree in trees.values()]


def _merged(tree: list[Qdisc]) -> Qdisc:
    if len(tree) == 1:
        return tree[0]
    root = next((qdisc for qdisc in tree if qdisc.parent == TC_H_ROOT), tree[0])
    shaper = next((qdisc for qdisc in tree if qdisc.kind == SHAPER), root)
    return Qdisc(
        intf=shaper.intf,
        ifindex=shaper.ifindex,
        kind=shaper.kind,
        handle=shaper.handle,
        parent=shaper.parent,
        sent_bytes=shaper.sent_bytes,
        sent_packets=shaper.sent_packets,
        backlog_bytes=shaper.backlog_bytes,
        backlog_packets=shaper.backlog_packets,
        dropped_packets=root.dropped_packets,
        overlimits=shaper.overlimits,
    )
