"""From the rows and events of a program's run to its numbers: what the fabric carried, and when. Pure.

Nobody knows what the program meant to send. Definitions:

- span: from the first rank's start to the last one's end, as the testbed saw it.
- communicating: the sample intervals in which some host link carried more than ``ACTIVE_FRACTION`` of its rate beside
  the probes; neighbouring ones are one window.
- bytes: Ethernet frames, over the span, widened to the samples that enclose it; probes and agents' frames are in them.
- uplinks: as of a workload, over the communicating windows.
- other: what of a host's bytes is the scenario's own traffic beside the program (``testbed.evaluation.others``); all
  other numbers of the fabric are everybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from testbed.evaluation.during import During
from testbed.evaluation.metrics import LOADED_FRACTION, Latency, latency, measured
from testbed.evaluation.others import Carried, carried, host_bytes, transfers
from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Series, Window, direction_series, queue_series, total
from testbed.model.topology import Direction
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import ETHERNET_HEADER_BYTES, IPV4_HEADER_BYTES, UDP_HEADER_BYTES

ACTIVE_FRACTION = 0.02
PROBES_PER_INTERVAL = 4  # a host link carries as many at most: its own, and those of hosts that probe it


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSpan:
    """One rank: None is not known; ``status`` as subprocess has it (negative: a signal)."""

    rank: int
    host: str
    start_s: float
    end_s: float | None
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTraffic:
    """What one rank's host sent and received, and how much of that is other traffic, about; 0 where there is none."""

    host: str
    sent_bytes: float | None
    received_bytes: float | None
    other_sent_bytes: float | None
    other_received_bytes: float | None
    retransmitted_segments: int | None
    out_of_order_packets: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkUse:
    """How leaf-to-spine directions were used while communicating; ``loaded``: how many carried 1% of their rate."""

    utilization: float
    max_over_mean: float
    loaded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramMetrics:
    """The numbers of a program's run."""

    span: Window | None
    communicating: tuple[Window, ...]
    ranks: tuple[RankSpan, ...]
    hosts: tuple[HostTraffic, ...]
    uplinks: UplinkUse | None
    latency: Latency | None
    dropped_packets: int | None
    others: tuple[Carried, ...] = ()

    @property
    def other_sent_bytes(self) -> float | None:
        """Bytes the ranks' hosts sent that are not the program's, about."""
        return total(host.other_sent_bytes for host in self.hosts)

    @property
    def own_sent_bytes(self) -> float | None:
        """Bytes the ranks' hosts sent beside other traffic, about: the program's, probes, agents' frames."""
        sent, other = total(host.sent_bytes for host in self.hosts), self.other_sent_bytes
        return None if sent is None or other is None else max(sent - other, 0.0)

    @property
    def judged(self) -> tuple[Window, ...]:
        """When the machine had to keep up: while there was traffic; without any, all the time."""
        return self.communicating or (() if self.span is None else (self.span,))

    @property
    def communicating_s(self) -> float:
        """Seconds with traffic."""
        return sum(end - start for start, end in self.communicating)


def measure_program(run: RunRecord) -> ProgramMetrics:
    """Compute every number of a program's run. Raises LookupError for ranks on hosts there are not."""
    ranks = rank_spans(run)
    ends = [rank.end_s for rank in ranks if rank.end_s is not None]
    span = (min(rank.start_s for rank in ranks), max(ends)) if ends else None
    bytes_ = direction_series(run.topology, run.tables.links, "bytes")
    windows = communicating_windows(run, bytes_, span) if span else ()
    return ProgramMetrics(
        span=span,
        communicating=windows,
        ranks=ranks,
        hosts=tuple(_hosts(run, ranks, bytes_, span)),
        others=carried(transfers(run)),
        uplinks=_uplinks(run, bytes_, windows),
        latency=latency(run.tables.probes, windows or ((span,) if span else ())),
        dropped_packets=_dropped_packets(run, span),
    )


def rank_spans(run: RunRecord) -> tuple[RankSpan, ...]:
    """Return every rank that was started, by number."""
    ended = {int(event["rank"]): event for event in run.events_named("rank_ended")}
    return tuple(
        RankSpan(
            rank=int(started["rank"]),
            host=str(started["host"]),
            start_s=float(started["t_s"]),
            end_s=float(end["t_s"]) if (end := ended.get(int(started["rank"]))) else None,
            status=end.get("status") if end else None,
        )
        for started in sorted(run.events_named("rank_started"), key=lambda event: int(event["rank"]))
    )


def measured_part(run: RunRecord) -> tuple[Window, ...]:
    """Return when what is measured went on: the measured iterations; of a user's program, while its ranks ran."""
    iterations = tuple((row.start_s, row.end_s) for row in measured(run.tables.iterations))
    return iterations or tuple((rank.start_s, rank.end_s) for rank in rank_spans(run) if rank.end_s is not None)


def communicating_windows(run: RunRecord, bytes_: dict[str, Series], span: Window) -> tuple[Window, ...]:
    """Return when host links carried more than the probes, within the span; in order, none touching another."""
    active: set[Window] = set()
    for direction in run.topology.directions:
        if direction.kind not in ("host_tx", "host_rx") or direction.name not in bytes_:
            continue
        least = _idle_bytes_per_s(run) + ACTIVE_FRACTION * mbps_to_bytes_per_s(direction.rate_mbps)
        series = bytes_[direction.name]
        steps = zip(series.times_s, series.times_s[1:], series.values, series.values[1:], strict=False)
        active.update((t0, t1) for t0, t1, v0, v1 in steps if v1 - v0 > least * (t1 - t0))
    inside = ((max(start, span[0]), min(end, span[1])) for start, end in active)
    return During(_merged(sorted(window for window in inside if window[0] < window[1])))


def _idle_bytes_per_s(run: RunRecord) -> float:
    """Return what probes put on a host link at most."""
    measure = run.scenario.measure
    if not measure.probe_interval_ms:
        return 0.0
    frame = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES + measure.probe_bytes
    return PROBES_PER_INTERVAL * frame / (measure.probe_interval_ms / 1e3)


def _merged(windows: list[Window]) -> Iterator[Window]:
    current: Window | None = None
    for start, end in windows:
        if current is not None and start <= current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current


def _hosts(
    run: RunRecord, ranks: tuple[RankSpan, ...], bytes_: dict[str, Series], span: Window | None
) -> Iterator[HostTraffic]:
    by_end: dict[tuple[str, str], Direction] = {}
    for direction in run.topology.directions:
        if direction.kind == "host_tx":
            by_end["tx", direction.src.node] = direction
        elif direction.kind == "host_rx":
            by_end["rx", direction.dst.node] = direction
    said = run.events_named("tcp")
    counted: dict[str, Any] = dict(said[-1]["hosts"]) if said else {}
    others = _others(run, bytes_, span)
    for rank in ranks:
        found = {
            way: bytes_[name].increase_around(*span) if span and name in bytes_ else None
            for way in ("tx", "rx")
            for name in [by_end[way, rank.host].name]
        }
        tcp = dict(counted.get(rank.host, {}))
        yield HostTraffic(
            host=rank.host,
            sent_bytes=found["tx"],
            received_bytes=found["rx"],
            other_sent_bytes=None if others is None else others[0].get(rank.host, 0.0),
            other_received_bytes=None if others is None else others[1].get(rank.host, 0.0),
            retransmitted_segments=tcp.get("retransmitted_segments"),
            out_of_order_packets=tcp.get("out_of_order_packets"),
        )


def _others(
    run: RunRecord, bytes_: dict[str, Series], span: Window | None
) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return what other traffic brought hosts' links, sent and received, while their counters were read."""
    if span is None:
        return None
    sampled = next((series for series in bytes_.values() if len(series.times_s) > 1), None)
    return host_bytes(run, transfers(run), span if sampled is None else sampled.enclosing(*span))


def _uplinks(run: RunRecord, bytes_: dict[str, Series], windows: tuple[Window, ...]) -> UplinkUse | None:
    """Return how the uplinks were used, None without samples or where nothing crossed leaves."""
    seconds = sum(end - start for start, end in windows)
    uplinks = [direction for direction in run.topology.directions if direction.kind == "uplink"]
    if not seconds or any(direction.name not in bytes_ for direction in uplinks):
        return None
    use = {
        direction: moved / (mbps_to_bytes_per_s(direction.rate_mbps) * seconds)
        for direction in uplinks
        if (moved := bytes_[direction.name].increase_over(windows)) is not None
    }
    loaded = [direction for direction in use if use[direction] >= LOADED_FRACTION]
    if len(use) < len(uplinks) or not loaded:
        return None
    sending = {direction.src.node for direction in loaded}
    shares = [use[direction] for direction in uplinks if direction.src.node in sending]
    return UplinkUse(
        utilization=fmean(use[direction] for direction in loaded),
        max_over_mean=max(shares) / fmean(shares),
        loaded=len(loaded),
    )


def _dropped_packets(run: RunRecord, span: Window | None) -> int | None:
    series = queue_series(run.tables.queues, "dropped_packets")
    if span is None or any(direction.src.intf not in series for direction in run.topology.directions):
        return None
    dropped = total(one.increase_around(*span) for one in series.values())
    return None if dropped is None else round(dropped)
