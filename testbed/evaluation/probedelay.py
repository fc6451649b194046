"""Do the modelled queues explain how long probes took? Pure.

A probe waits in its host's own egress queue, then in those of an uplink, a downlink and in front of the receiving host.
What waited in the first is read just before the probe is sent (probequeues.csv); the others are sampled (queues.csv),
and had between the least and the most of the samples around the probe: from one interval before it was sent to one
after it arrived, at any rate from the last sample before to the first after it.

A queue is a token bucket: one that is empty passes a probe at once, one in which bytes wait sends these and then the
probe at the link's rate, but for the frame at its head, which may be about to leave. So a backlog takes at most
(backlog + probe) / rate, and at least (backlog - a full frame) / rate.

The path is known under ``ecmp`` where the model of hashing has every path that the switches told of the run's own
flows. Else a probe had any: the most is that of the slowest possible path, the least that of the fastest.

Not judged: schemes with agents, which carry probes in queues of their own; faults, after which links have another rate
or none; delay lines and loss; strict bands, in which what comes later goes first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from testbed.evaluation.during import During
from testbed.evaluation.payload import probe_frame_bytes
from testbed.evaluation.records import FlowRow, QueueRow, RunRecord
from testbed.evaluation.series import Window, queue_series
from testbed.gse.hashing import hashed_path
from testbed.model.oracle import FlowPath, path_name
from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.topology import Direction, Host, Topology
from testbed.percentile import nearest_rank
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import PROBE_PORT, frame_bytes

LEAST_PROBES: Final = 20  # the median of fewer is chance
LEAST_ODDS: Final = 1000  # to one, against a wrong model of hashing having every path of the run's flows
BLOCK: Final = 64  # samples that are looked at one by one; probes hardly ever are away for more
Bounds = tuple[float, float]  # least and most


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeDelay:
    """What probes took and what queues explain of it.

    ``unexplained``: percentiles of each probe's latency beyond the most that is explained, 0 where that is less. Queues
    that change faster than they are sampled leave something of single probes unexplained: the median is not misled by
    these, the p90 is.
    """

    probes: int
    paths_known: bool
    measured_p50_ms: float
    measured_mean_ms: float
    explained_low_p50_ms: float
    explained_high_p50_ms: float
    unexplained_p50_ms: float
    unexplained_p90_ms: float


@dataclass(frozen=True, slots=True)
class _Probe:
    """What one probe took, and what of it is explained, in seconds."""

    latency_s: float
    low_s: float
    high_s: float


def probe_delay(run: RunRecord, during: Sequence[Window]) -> ProbeDelay | None:
    """Return how long probes sent in ``during`` took; None where that is not judged or not measured.

    Raises LookupError for hosts there are not.
    """
    if not is_judged(run):
        return None
    paths = _Paths(run)
    probes = list(_probes(run, During.of(during), paths))
    if len(probes) < LEAST_PROBES:
        return None
    beyond_s = [probe.latency_s - probe.high_s for probe in probes]
    return ProbeDelay(
        probes=len(probes),
        paths_known=paths.known,
        measured_p50_ms=_percentile_ms([probe.latency_s for probe in probes], 50),
        measured_mean_ms=fmean(probe.latency_s for probe in probes) * 1000,
        explained_low_p50_ms=_percentile_ms([probe.low_s for probe in probes], 50),
        explained_high_p50_ms=_percentile_ms([probe.high_s for probe in probes], 50),
        unexplained_p50_ms=max(_percentile_ms(beyond_s, 50), 0.0),
        unexplained_p90_ms=max(_percentile_ms(beyond_s, 90), 0.0),
    )


def is_judged(run: RunRecord) -> bool:
    """Return whether queues of known rates are all that a probe waits in by the model of this run."""
    scenario, fabric = run.scenario, run.scenario.fabric
    return (
        run.settings.attachment == "none"
        and not scenario.faults
        and (fabric.delay_ms, fabric.loss_fraction) == (None, None)
        and not fabric.priority_band
    )


def waiting_s(backlog: Bounds, rate_mbps: float, *, probe_bytes: int, full_bytes: int) -> Bounds:
    """Return how long a probe waits at least and at most in a queue, by the least and the most backlog it had."""
    rate = mbps_to_bytes_per_s(rate_mbps)
    least, most = backlog
    return max(least - full_bytes, 0.0) / rate, (most + probe_bytes) / rate if most else 0.0


def _percentile_ms(values_s: Sequence[float], percent: int) -> float:
    value_s = nearest_rank(values_s, percent)
    assert value_s is not None
    return value_s * 1000


def _probes(run: RunRecord, during: During, paths: _Paths) -> Iterator[_Probe]:
    """Yield the probes sent meanwhile that arrived and of which all queues are known."""
    arrived = {row.seq: row.latency_s for row in run.tables.probes if row.latency_s is not None}
    topology, queues = paths.topology, _Queues(run, paths.topology)
    for row in run.tables.probe_queues:
        latency_s = arrived.get(row.seq)
        if latency_s is None or not during.has(row.sent_s):
            continue
        around = queues.samples_around(row.sent_s, row.sent_s + latency_s)
        if around is None:
            continue
        routes = paths.of(topology.host(row.src_host), topology.host(row.dst_host))
        waits = [_sum(queues.waiting_s(direction, around) for direction in route) for route in routes]
        known = [wait for wait in waits if wait is not None]
        if len(known) < len(waits):
            continue
        own = queues.own_waiting_s(row.backlog_bytes)
        yield _Probe(latency_s, own[0] + min(low for low, _ in known), own[1] + max(high for _, high in known))


def _sum(parts: Iterator[Bounds | None]) -> Bounds | None:
    low = high = 0.0
    for part in parts:
        if part is None:
            return None
        low, high = low + part[0], high + part[1]
    return low, high


class _Queues:
    """The queues of the switches as they were sampled, all at the same moments."""

    def __init__(self, run: RunRecord, topology: Topology) -> None:
        fabric = topology.fabric
        self._interval_s = run.scenario.measure.sample_interval_s
        self._probe_bytes, self._full_bytes = probe_frame_bytes(run), frame_bytes(fabric.mtu_bytes)
        self._host_mbps = fabric.host_link_mbps
        self._times_s, self._backlogs = _aligned(topology, run.tables.queues)
        self._known: dict[tuple[str, tuple[int, int]], Bounds | None] = {}
        self._sampled: dict[str, _Extremes] = {}

    def samples_around(self, sent_s: float, arrived_s: float) -> tuple[int, int] | None:
        """Return the first of the samples around a probe and the one after the last, None where one end has none."""
        times_s = self._times_s
        before, after = bisect_right(times_s, sent_s) - 1, bisect_left(times_s, arrived_s)
        if before < 0 or after == len(times_s):
            return None
        first = min(before, bisect_left(times_s, sent_s - self._interval_s))
        return first, max(after + 1, bisect_right(times_s, arrived_s + self._interval_s))

    def waiting_s(self, direction: Direction, around: tuple[int, int]) -> Bounds | None:
        """Return how long a probe waited in the queue of a link, None where that was not sampled."""
        key = direction.src.intf, around
        if key not in self._known:
            sampled = self._extremes(direction.src.intf).of(*around)
            self._known[key] = None if sampled is None else self._bounds(sampled, direction.rate_mbps)
        return self._known[key]

    def _extremes(self, intf: str) -> _Extremes:
        if intf not in self._sampled:
            self._sampled[intf] = _Extremes(self._backlogs.get(intf, ()))
        return self._sampled[intf]

    def own_waiting_s(self, backlog_bytes: int) -> Bounds:
        """Return how long a probe waited in its host's own queue."""
        return self._bounds((backlog_bytes, backlog_bytes), self._host_mbps)

    def _bounds(self, backlog: Bounds, rate_mbps: float) -> Bounds:
        return waiting_s(backlog, rate_mbps, probe_bytes=self._probe_bytes, full_bytes=self._full_bytes)


class _Extremes:
    """The least and the most of any stretch of samples, None where it has none.

    Of a long one in about the time that a short one takes: a probe may have been away for all of a run.
    """

    def __init__(self, values: Sequence[float | None]) -> None:
        self._values = values
        blocks = [self._of_few(first, first + BLOCK) for first in range(0, len(values) - BLOCK + 1, BLOCK)]
        self._levels = [blocks]  # of 1, 2, 4, ... blocks, by the first of them
        while len(last := self._levels[-1]) > (half := 1 << (len(self._levels) - 1)):
            self._levels.append([_either(*pair) for pair in zip(last, last[half:], strict=False)])

    def of(self, first: int, end: int) -> Bounds | None:
        """Return it of the samples from ``first`` to before ``end``."""
        end = min(end, len(self._values))
        block, behind = -(-first // BLOCK), end // BLOCK
        if behind <= block:
            return self._of_few(first, end)
        level = (behind - block).bit_length() - 1
        inside = _either(self._levels[level][block], self._levels[level][behind - (1 << level)])
        return _either(inside, _either(self._of_few(first, block * BLOCK), self._of_few(behind * BLOCK, end)))

    def _of_few(self, first: int, end: int) -> Bounds | None:
        sampled = [value for value in self._values[first:end] if value is not None]
        return (min(sampled), max(sampled)) if sampled else None


def _either(one: Bounds | None, other: Bounds | None) -> Bounds | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _aligned(
    topology: Topology, rows: Sequence[QueueRow]
) -> tuple[tuple[float, ...], Mapping[str, tuple[float | None, ...]]]:
    """Return when queues of switches were sampled, and the backlogs of each then, None where one was not."""
    intfs = {direction.src.intf for direction in topology.directions if direction.kind != "host_tx"}
    series = queue_series([row for row in rows if row.intf in intfs], "backlog_bytes")
    times_s = tuple(sorted({t_s for one in series.values() for t_s in one.times_s}))
    backlogs: dict[str, tuple[float | None, ...]] = {}
    for intf, one in series.items():
        if one.times_s == times_s:  # they are all read at once
            backlogs[intf] = one.values
        else:
            values = dict(zip(one.times_s, one.values, strict=True))
            backlogs[intf] = tuple(values.get(t_s) for t_s in times_s)
    return times_s, backlogs


class _Paths:
    """Which links behind its host's own a probe may have crossed."""

    def __init__(self, run: RunRecord) -> None:
        self.topology = run.topology
        self._seed = run.seed
        self.known = run.scheme == "ecmp" and _model_has(self.topology, run.tables.flows, run.seed)
        self._routes: dict[tuple[str, str], list[tuple[Direction, ...]]] = {}

    def of(self, src: Host, dst: Host) -> list[tuple[Direction, ...]]:
        """Return the links of every possible path; one where it is known or stays on a leaf."""
        key = src.name, dst.name
        if key not in self._routes:
            self._routes[key] = [self._behind_host(src, dst, path) for path in self._possible(src, dst)]
        return self._routes[key]

    def _possible(self, src: Host, dst: Host) -> list[FlowPath | None]:
        if src.leaf == dst.leaf:
            return [None]
        if self.known:
            probe = Flow(src.ip, dst.ip, UDP, PROBE_PORT, PROBE_PORT)
            return [hashed_path(self.topology, probe, src, dst, self._seed)]
        fabric = self.topology.fabric
        return [FlowPath(up, down) for up in range(fabric.paths) for down in range(fabric.links_per_pair)]

    def _behind_host(self, src: Host, dst: Host, path: FlowPath | None) -> tuple[Direction, ...]:
        if path is None:
            return self.topology.route(src, dst, 0)[1:]
        spine, _link = self.topology.path_spine_link(path.up)
        _own, up, _down, last = self.topology.route(src, dst, path.up)
        down = self.topology.route(src, dst, self.topology.path_id(spine, path.down_link))[2]
        return up, down, last


def _model_has(topology: Topology, flows: Sequence[FlowRow], seed: int) -> bool:
    """Return whether the model of hashing has every path the switches told, of so many that it is no chance."""
    told = [row for row in flows if row.path is not None]
    return topology.fabric.paths ** min(len(told), 10) >= LEAST_ODDS and all(
        _modelled(topology, row, seed) == row.path for row in told
    )


def _modelled(topology: Topology, row: FlowRow, seed: int) -> str | None:
    flow = Flow(row.src_ip, row.dst_ip, TCP, row.src_port, row.dst_port)
    path = hashed_path(topology, flow, topology.host(row.src_host), topology.host(row.dst_host), seed)
    return None if path is None else path_name(topology, path)
