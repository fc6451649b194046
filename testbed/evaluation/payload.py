"""What links carried of the workload, from their counters: payload = bytes - packets x headers. Pure.

Acknowledgements cancel out, being all header; what probes and GSE add is known and taken off.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from testbed.evaluation.metrics import Metrics, enclosing_window, measured
from testbed.evaluation.pairs import all_bytes, crossing_bytes, rank_hosts, run_pattern
from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import direction_series
from testbed.gse.dataplane.wire import MIN_FRAME_BYTES, OVERHEAD_BYTES
from testbed.wire import (
    ETHERNET_HEADER_BYTES,
    IPV4_HEADER_BYTES,
    UDP_HEADER_BYTES,
    frame_bytes,
    tcp_payload_bytes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPayload:
    """Payload bytes the measured iterations bring to a host, by the workload's formula and by its link's counters."""

    host: str
    expected_bytes: int
    counted_bytes: float


def tcp_overhead_bytes(run: RunRecord) -> int:
    """Return the header bytes of a TCP segment on a plain link."""
    mtu_bytes = run.scenario.fabric.mtu_bytes
    return frame_bytes(mtu_bytes) - tcp_payload_bytes(mtu_bytes)


def gse_bytes(run: RunRecord, packets: float) -> float:
    """Return what GSE adds to bytes - packets x TCP overhead on all uplinks, which carried ``packets``.

    That is a header per data frame, and control frames, which carry no payload. Agents in hosts count data frames that
    stay within a leaf, too: the share of the payload that crosses leaves is taken for that of its frames.
    """
    said = run.events_named("agents")
    if not said or run.settings.passthrough:
        return 0.0
    crossing = crossing_bytes(run) / all_bytes(run) if run.settings.attachment == "host" else 1.0
    data = min(float(said[-1]["data_out"]) * crossing, packets)
    return data * OVERHEAD_BYTES + (packets - data) * (MIN_FRAME_BYTES - tcp_overhead_bytes(run))


def repeated_bytes(run: RunRecord, metrics: Metrics, *, by_agents: bool) -> int:
    """Return the payload bytes that may have crossed a link again: what TCP sent again, and, ``by_agents``, agents."""
    said = run.events_named("agents") if by_agents else ()
    frames = int(said[-1].get("retransmitted", 0)) if said else 0
    return (frames + (metrics.retransmitted_segments or 0)) * tcp_payload_bytes(run.scenario.fabric.mtu_bytes)


def probe_frame_bytes(run: RunRecord) -> int:
    """Return the size of a probe's frame on a plain link."""
    return ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES + run.scenario.measure.probe_bytes


def host_payload(run: RunRecord) -> tuple[HostPayload, ...]:
    """Return for every host that the workload sends something what it was sent; () where a link was not sampled."""
    hosts, pattern, period = rank_hosts(run), run_pattern(run), enclosing_window(run)
    rounds = len(measured(run.tables.iterations))
    expected: Counter[str] = Counter()
    sizes = pattern.pair_bytes(run.scenario.workload.bulk_bytes)
    for (_src, dst), size in zip(pattern.host_pairs(hosts), sizes, strict=True):
        expected[dst.name] += size * rounds
    probes = Counter(
        row.dst_host for row in run.tables.probes if any(start <= row.sent_s <= end for start, end in period)
    )
    series = {unit: direction_series(run.topology, run.tables.links, unit) for unit in ("bytes", "packets")}
    found = []
    for direction in run.topology.directions:
        host = direction.dst.node
        if direction.kind != "host_rx" or not expected[host]:
            continue
        wire_bytes, packets = (
            series[unit][direction.name].increase_over(period) if direction.name in series[unit] else None
            for unit in ("bytes", "packets")
        )
        if wire_bytes is None or packets is None:
            return ()
        payload = wire_bytes - packets * tcp_overhead_bytes(run) - _gse_to_host(run, packets)
        payload -= probes[host] * (probe_frame_bytes(run) - tcp_overhead_bytes(run))
        found.append(HostPayload(host=host, expected_bytes=expected[host], counted_bytes=payload))
    return tuple(found)


def worst_excess(run: RunRecord, metrics: Metrics) -> tuple[HostPayload, float] | None:
    """Return the host whose link's counters are farthest from the formula, and how far, as a fraction of that.

    What was sent again may have crossed again (by agents only where these are hosts': a leaf's hands its hosts no frame
    twice), and with other traffic only too little is wrong. None where links were not sampled, or nothing is sent.
    """
    repeated = repeated_bytes(run, metrics, by_agents=run.settings.attachment == "host")
    others = run.scenario.has_other_traffic

    def off(one: HostPayload) -> float:
        more = one.counted_bytes - one.expected_bytes
        return (-more if more < 0 else 0.0 if others else max(more - repeated, 0.0)) / one.expected_bytes

    found = host_payload(run)
    if not found:
        return None
    worst = max(found, key=off)
    return worst, off(worst)


def _gse_to_host(run: RunRecord, packets: float) -> float:
    """Return what GSE adds to bytes - packets x TCP overhead on a host's link: something only where agents are hosts'.

    How many of the frames of this link are control is not counted; all agents' share stands for it, with an error of
    some bytes a frame.
    """
    said = run.events_named("agents")
    if not said or run.settings.attachment != "host" or run.settings.passthrough:
        return 0.0
    data_out, control_out = (float(said[-1][name]) for name in ("data_out", "control_out"))
    if not data_out + control_out:
        return 0.0
    data = packets * data_out / (data_out + control_out)
    return data * OVERHEAD_BYTES + (packets - data) * (MIN_FRAME_BYTES - tcp_overhead_bytes(run))
