"""What tc must be told for a link end, and what it must then say. Pure; the source of all queue settings.

EMULATION: a link is a token bucket. Its burst lets a queue that was idle send that many bytes at once,
so it is kept to one frame plus what a late timer may have missed.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.gse.dataplane.wire import ETH_CONTROL, ETH_DATA
from testbed.model.fabric_spec import FabricSpec
from testbed.units import KIB, mbps_to_bytes_per_s
from testbed.wire import frame_bytes

LATE_TIMER_S = 0.002  # a timer this late loses no tokens
CONTROL_LIMIT_BYTES = 64 * KIB
HOST_QUEUE_FRAMES = 1000
_UNLIMITED = "100gbit"
# u32 counts from the network header; two bytes before it is the EtherType
_CONTROL = f"match u16 {ETH_CONTROL:#x} 0xffff at -2"
_MARKED = "match u16 0x800 0xffff at -2 match u8 0x80 0x80 at 1"  # IPv4, DSCP 32 and more
_MARKED_INSIDE = f"match u16 {ETH_DATA:#x} 0xffff at -2 match u8 0 0xff at 1"  # class 0 of GSE's data header
VOID_INTFS = ("gse-void", "gse-void-end")  # a pair that takes what a silent link loses: nobody listens


@dataclass(frozen=True)
class QueueSetting:
    """One link end's queue: rate, burst and limit, and optional extras."""

    rate_bytes_per_s: int
    burst_bytes: int
    limit_bytes: int
    delay_ms: float | None = None
    loss_fraction: float | None = None
    ecn_threshold_bytes: int | None = None
    control_first: bool = False  # GSE control frames have a queue of their own that is always served first
    priority_band: bool = False  # so has what is marked DSCP 32 or more, after them


def queue_setting(
    fabric: FabricSpec, rate_mbps: float, *, control_first: bool = False, in_host: bool = False
) -> QueueSetting:
    """Return the queue of a link end of ``rate_mbps``.

    A host's own end holds a thousand frames, as network interfaces do (txqueuelen): the host's TCP keeps that queue
    short by itself, two frames for each connection, and many connections would overflow a switch's queue.
    """
    limit = (
        max(fabric.queue_bytes, HOST_QUEUE_FRAMES * frame_bytes(fabric.mtu_bytes)) if in_host else fabric.queue_bytes
    )
    rate = round(mbps_to_bytes_per_s(rate_mbps))
    burst = frame_bytes(fabric.mtu_bytes) + max(round(rate * LATE_TIMER_S), frame_bytes(fabric.mtu_bytes) // 4)
    return QueueSetting(
        rate_bytes_per_s=rate,
        burst_bytes=burst,
        limit_bytes=limit,
        delay_ms=fabric.delay_ms,
        loss_fraction=fabric.loss_fraction,
        ecn_threshold_bytes=fabric.ecn_threshold_bytes,
        control_first=control_first,
        priority_band=fabric.priority_band,
    )


def largest_burst_bytes(fabric: FabricSpec) -> int:
    """Return what passes at most at once over a link of the fabric that was idle: a full bucket."""
    return max(
        queue_setting(fabric, rate_mbps).burst_bytes for rate_mbps in (fabric.host_link_mbps, fabric.uplink_mbps)
    )


def tc_lines(intf: str, setting: QueueSetting, mtu_bytes: int) -> list[str]:
    """Return ``tc -batch`` lines that give ``intf`` this queue."""
    lines = []
    where = "root handle 1:"
    if setting.delay_ms is not None or setting.loss_fraction is not None:
        delay = f" delay {setting.delay_ms:g}ms" if setting.delay_ms is not None else ""
        loss = f" loss {setting.loss_fraction * 100:.6g}%" if setting.loss_fraction is not None else ""
        lines.append(f"qdisc add dev {intf} {where} netem{delay}{loss} limit 100000")
        where = "parent 1:1 handle 10:"
    lines.append(
        f"qdisc add dev {intf} {where} tbf rate {setting.rate_bytes_per_s * 8}bit "
        f"burst {setting.burst_bytes} limit {setting.limit_bytes}"
    )
    if setting.ecn_threshold_bytes is not None:
        parent = "10:1" if where.startswith("parent") else "1:1"
        # nodrop: what cannot be marked (acknowledgements, for one) waits like the rest instead of being lost
        threshold, frame = setting.ecn_threshold_bytes, frame_bytes(mtu_bytes)
        lines.append(
            f"qdisc add dev {intf} parent {parent} handle 20: red limit {setting.limit_bytes} min {threshold} "
            f"max {threshold + frame} avpkt {frame} burst {threshold // frame + 1} probability 1 "
            f"bandwidth {setting.rate_bytes_per_s * 8}bit ecn nodrop"
        )
    elif setting.control_first or setting.priority_band:
        lines += _band_lines(intf, "10:1" if where.startswith("parent") else "1:1", setting)
    return lines


def tbf_place(setting: QueueSetting) -> tuple[int, int]:
    """Return parent and handle of a link end's token bucket (major number in the upper half, linux/pkt_sched.h)."""
    below_netem = setting.delay_ms is not None or setting.loss_fraction is not None
    return (0x1_0001, 0x10_0000) if below_netem else (0xFFFF_FFFF, 0x1_0000)


def tc_change_line(intf: str, setting: QueueSetting, mtu_bytes: int) -> str:
    """Return the ``tc -batch`` line that gives a shaped link end another rate, with all that waits kept."""
    (line,) = (line for line in tc_lines(intf, setting, mtu_bytes) if " tbf " in line)
    return line.replace("qdisc add", "qdisc change", 1)


def tc_silence_lines(intf: str) -> list[str]:
    """Return the ``tc -batch`` lines that lose whatever ``intf`` would send: it goes where nobody listens instead.

    In front of the queue, whose counters and those of the port above go on or stand still as if the frames had left.
    """
    return [
        f"qdisc add dev {intf} clsact",
        f"filter add dev {intf} egress protocol all prio 1 u32 match u32 0 0 action mirred egress redirect "
        f"dev {VOID_INTFS[0]}",
    ]


def tc_heard_line(intf: str) -> str:
    """Return the line that undoes ``tc_silence_lines``."""
    return f"qdisc del dev {intf} clsact"


def _band_lines(intf: str, parent: str, setting: QueueSetting) -> list[str]:
    """Return the lines that put strict bands inside the shaper: what it sends next is of the first that has something.

    htb serves by ``prio`` and is never the limit here; it is where kernels without sch_prio have strict classes.
    """
    bands = [(1, CONTROL_LIMIT_BYTES, [_CONTROL])] if setting.control_first else []
    if setting.priority_band:
        bands.append((2, setting.limit_bytes, [_MARKED, _MARKED_INSIDE]))
    bands.append((3, setting.limit_bytes, []))
    lines = [f"qdisc add dev {intf} parent {parent} handle 30: htb default 3"]
    for band, limit_bytes, matches in bands:
        lines += [
            f"class add dev {intf} parent 30: classid 30:{band} htb rate {_UNLIMITED} prio {band} quantum 60000",
            f"qdisc add dev {intf} parent 30:{band} handle 3{band}: bfifo limit {limit_bytes}",
            *(
                f"filter add dev {intf} parent 30: protocol all prio 1 u32 {match} flowid 30:{band}"
                for match in matches
            ),
        ]
    return lines


def tc_mismatches(intf: str, setting: QueueSetting, qdiscs: list[dict[str, object]]) -> list[str]:
    """Compare ``tc -j qdisc`` records of one interface with what was asked; return what differs, in words."""
    by_kind = {str(qdisc["kind"]): dict(qdisc.get("options") or {}) for qdisc in qdiscs}  # type: ignore[call-overload]
    expected_kinds = {"tbf"}
    if setting.delay_ms is not None or setting.loss_fraction is not None:
        expected_kinds.add("netem")
    if setting.ecn_threshold_bytes is not None:
        expected_kinds.add("red")
    elif setting.control_first or setting.priority_band:
        expected_kinds |= {"htb", "bfifo"}
    wrong = [f"{intf}: no {kind} queue" for kind in sorted(expected_kinds - set(by_kind))]
    if "tbf" in by_kind:
        tbf = by_kind["tbf"]
        wrong += _differs(intf, "rate (bytes/s)", tbf.get("rate"), setting.rate_bytes_per_s, 0.001)
        wrong += _differs(intf, "burst (bytes)", tbf.get("burst"), setting.burst_bytes, 0.01)
        # tc prints the limit as the time the queue needs to drain, beyond the burst
        latency_us = (setting.limit_bytes - setting.burst_bytes) / setting.rate_bytes_per_s * 1e6
        if "limit" in tbf:
            wrong += _differs(intf, "limit (bytes)", tbf["limit"], setting.limit_bytes, 0.01)
        else:
            wrong += _differs(intf, "limit (us to drain)", tbf.get("lat"), max(latency_us, 0), 0.01, slack=2000)
    if "netem" in by_kind and setting.delay_ms is not None:
        delay = by_kind["netem"].get("delay")
        seconds = delay.get("delay") if isinstance(delay, dict) else None
        wrong += _differs(intf, "delay (s)", seconds, setting.delay_ms / 1e3, 0.001)
    if "netem" in by_kind and setting.loss_fraction is not None:
        loss = by_kind["netem"].get("loss-random")
        fraction = loss.get("loss") if isinstance(loss, dict) else None
        wrong += _differs(intf, "loss fraction", fraction, setting.loss_fraction, 0.001)
    if "red" in by_kind and setting.ecn_threshold_bytes is not None:
        red = by_kind["red"]
        wrong += _differs(intf, "ECN threshold (bytes)", red.get("min"), setting.ecn_threshold_bytes, 0)
        wrong += [
            f"{intf}: red has {flag} {red.get(flag)}, expected True"
            for flag in ("ecn", "nodrop")
            if red.get(flag) is not True
        ]
    return wrong


def _differs(intf: str, what: str, got: object, expected: float, tolerance: float, slack: float = 0.0) -> list[str]:
    if isinstance(got, (int, float)) and abs(got - expected) <= tolerance * expected + slack + 1e-9:
        return []
    return [f"{intf}: {what} is {got}, expected {expected:g}"]
