"""Made-up runs for tests of what reads results. Nothing here was measured.

A synthetic run is a fluid model: every flow of the ring moves at the rate its most crowded link allows, times
``PACE``. Rows come out exactly as a healthy machine would write them, so that a test can spoil one thing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime, timezone
from itertools import takewhile
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

from testbed.evaluation.records import (
    CalibrationRow,
    ComputingRow,
    CpuRow,
    CrossFlowRow,
    FlowRow,
    IterationRow,
    LinkRow,
    LookupRow,
    MessageRow,
    OperationRow,
    ProbeQueueRow,
    ProbeRow,
    QueueRow,
    RankRow,
    ReplayRow,
    Row,
    RunRecord,
    SocketRow,
    SoftnetRow,
    Tables,
    ThreadRow,
    TransferRow,
)
from testbed.model.cross_flows import ideal_s, seeded_flows
from testbed.model.oracle import FlowPath, ideal, path_name, predict
from testbed.model.pattern import Pattern, mice_pairs, seeded_pattern
from testbed.model.ranks import pair_flows, place_ranks
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.model.topology import Direction, Host, Topology
from testbed.results.checks import FORMAT_VERSION
from testbed.results.run import load
from testbed.results.run_directory import RunDirectory
from testbed.results.summary import summarise
from testbed.training.job import EmulatedJob
from testbed.training.rehearsal import Execution, execute
from testbed.wire import frame_bytes, tcp_payload_bytes
from testbed.workload.operations import operation_rows

PACE = 0.985  # of what the placement allows
GAP_S = 0.3  # between iterations
LEAD_S = 1.0  # sampled before the first and after the last iteration
ACK_BYTES = 66
PROBE_FRAME_BYTES = 14 + 20 + 8 + 64
SHAPE = {"leaves": 2, "spines": 2, "hosts_per_leaf": 2}
ITERATION = IterationRow(
    iteration=0, warmup=False, size_bytes=64, start_s=1.0, end_s=1.25, completion_s=0.25, wrong_elements=0
)


def scenario_of(**changes: Any) -> Scenario:
    """Return a small scenario (2x2x2, 1 MiB, 2 iterations); ``changes`` replace whole sections' fields."""
    fields_ = {
        "name": "synthetic",
        "fabric": {**SHAPE, **changes.pop("fabric", {})},
        "workload": {"size_bytes": 2**20, "iterations": 2, **changes.pop("workload", {})},
        "measure": {"sample_interval_s": 0.25, "probe_interval_ms": 20.0, **changes.pop("measure", {})},
        **changes,
    }
    return parse_scenario(fields_, source="test")


def healthy(
    scenario: Scenario, *, scheme: str = "gse1", seed: int = 1, slow: Callable[[int], float] = lambda _i: 1.0
) -> RunRecord:
    """Return a run nothing is wrong with; iteration i takes ``slow(i)`` times as long as it should."""
    topology = Topology(scenario.fabric)
    rng = Random(seed)
    hosts = place_ranks(topology, scenario.ranks, scenario.workload.placement, rng)
    pattern = seeded_pattern(scenario, hosts, seed)
    work = scenario.workload
    pairs, sizes = pattern.host_pairs(hosts), pattern.pair_bytes(work.bulk_bytes)
    paths = _paths(topology, pairs, scenario.workload.flows_per_hop, scheme, rng)
    best = predict(topology, pairs, paths, sizes if work.bulk_bytes else None).efficiency
    duration_s = work.mice_only_s or ideal(topology, pairs, sizes).ideal_s / best / PACE
    trained = None
    if (job := scenario.job) is not None:
        seconds_of = job.seconds_of
        trained = execute(job.job, lambda op: seconds_of(op) / best / PACE)
        duration_s = trained.duration_s
    windows, clock_s = [], LEAD_S
    for index in range(scenario.workload.iterations):
        windows.append((clock_s, clock_s + duration_s * slow(index)))
        clock_s = windows[-1][1] + GAP_S
    end_s = clock_s - GAP_S + LEAD_S
    moved = _moved(scenario, topology, pairs, sizes, paths)
    times = _times(end_s, scenario.measure.sample_interval_s)
    probes = tuple(_probes(scenario, topology, windows, rng, crowded=best < 1))
    tables = Tables(
        iterations=_iterations(scenario, windows),
        ranks=_ranks(hosts, windows),
        flows=_flows(topology, hosts, pattern, paths, rng),
        transfers=_transfers(pattern, hosts, sizes, windows),
        links=tuple(_links(topology, moved, windows, times, _probe_times(scenario, topology, probes))),
        queues=tuple(_queues(topology, moved, windows, times)),
        cpu=tuple(_cpu(times)),
        threads=tuple(_threads(times)),
        sockets=(
            SocketRow(t_s=times[0], process="ovs-vswitchd", inode_or_port="1234", drops=0),
            SocketRow(t_s=times[-1], process="ovs-vswitchd", inode_or_port="1234", drops=0),
        ),
        lookups=(
            LookupRow(t_s=times[0], datapath="netdev@ovs-netdev", hit=1000, missed=60, lost=0),
            LookupRow(t_s=times[-1], datapath="netdev@ovs-netdev", hit=9000, missed=80, lost=0),
        ),
        softnet=tuple(
            SoftnetRow(t_s=t_s, core=core, dropped=3, squeezed=squeezed)  # 3: once, long before
            for t_s, squeezed in ((times[0], 1), (times[-1], 2))
            for core in (0, 1)
        ),
        probes=probes,
        probe_queues=tuple(_probe_queues(probes, windows)),
        messages=_messages(scenario, hosts, windows, seed),
        cross_flows=_cross_flows(scenario, topology, hosts, windows, seed),
        replay=_replayed(scenario, topology, windows),
        operations=_operations(job, trained, windows, slow) if job and trained else (),
        computing=_computing(job, hosts, windows) if job else (),
        calibration=tuple(
            CalibrationRow(direction=d.name, configured_mbps=d.rate_mbps, measured_mbps=d.rate_mbps, error_fraction=0.0)
            for d in topology.directions
        ),
    )
    return RunRecord(
        scenario=scenario,
        scheme=scheme,
        seed=seed,
        events=({"event": "sampler_stopped", "t_s": end_s, "samples": len(times), "lateness_p99_s": 0.002},),
        network={"datapath": "userspace", "read_back": "all equal"},
        tables=tables,
    )


def with_rows(run: RunRecord, **tables: Iterable[Row]) -> RunRecord:
    """Return the run with whole tables replaced."""
    return replace(run, tables=replace(run.tables, **{name: tuple(rows) for name, rows in tables.items()}))


def store(results_dir: Path, run: RunRecord, *, second: int = 0) -> Path:
    """Write a run through ``results`` as the campaign does and return its final path."""
    now_utc = datetime(2026, 1, 2, 3, 4, second, tzinfo=timezone.utc)
    directory = RunDirectory.create(
        results_dir, scenario=run.scenario.name, scheme=run.scheme, seed=run.seed, commit="0123456789", now_utc=now_utc
    )
    directory.write_json(
        "manifest.json",
        {
            "format_version": FORMAT_VERSION,
            "run_id": directory.run_id,
            "scenario": run.scenario.model_dump(mode="json"),
            "scheme": run.scheme,
            "seed": run.seed,
            "status": "finished",
            "started_utc": now_utc.isoformat(),
            "versions": {"gse_testbed": "0.0.0 synthetic", "commit": "0123456789"},
            "machine": {},
            "network": run.network,
            "events": list(run.events),
        },
    )
    for field in fields(run.tables):
        directory.append(getattr(run.tables, field.name))
    directory.write_json("summary.json", summarise(load(directory.path)))
    return directory.finish()


def _paths(
    topology: Topology, pairs: Sequence[tuple[Host, Host]], flows: int, scheme: str, rng: Random
) -> list[list[FlowPath | None]]:
    """GSE: the flows leaving a leaf take its paths in turn, as do those arriving; ECMP: anything."""
    links = topology.fabric.links_per_pair
    turn: Counter[int] = Counter()
    hops: list[list[FlowPath | None]] = []
    for src, dst in pairs:
        crosses = src.leaf != dst.leaf
        hop: list[FlowPath | None] = []
        for _ in range(flows):
            if not crosses:
                hop.append(None)
            elif scheme == "ecmp":
                hop.append(FlowPath(rng.randrange(topology.fabric.paths), rng.randrange(links)))
            else:
                up = turn[src.leaf] % topology.fabric.paths
                turn[src.leaf] += 1
                hop.append(FlowPath(up, topology.path_spine_link(up)[1]))
        hops.append(hop)
    return hops


def _route(topology: Topology, src: Host, dst: Host, path: FlowPath | None) -> tuple[Direction, ...]:
    if path is None:
        return topology.route(src, dst, 0)
    first, up, _down, last = topology.route(src, dst, path.up)
    spine, _link = topology.path_spine_link(path.up)
    return (first, up, topology.route(src, dst, topology.path_id(spine, path.down_link))[2], last)


def _moved(
    scenario: Scenario,
    topology: Topology,
    pairs: Sequence[tuple[Host, Host]],
    sizes: Sequence[int],
    paths: Sequence[Sequence[FlowPath | None]],
) -> dict[str, tuple[float, float]]:
    """Return direction -> (bytes, packets) of one iteration: full segments, an acknowledgement for every second."""
    moved: dict[str, list[float]] = {d.name: [0.0, 0.0] for d in topology.directions}
    mtu = scenario.fabric.mtu_bytes
    overhead = frame_bytes(mtu) - tcp_payload_bytes(mtu)
    for (src, dst), size, its_paths in zip(pairs, sizes, paths, strict=True):
        for path in its_paths:
            payload = size / len(its_paths)
            packets = ceil(payload / tcp_payload_bytes(mtu))
            for direction in _route(topology, src, dst, path):
                moved[direction.name][0] += payload + packets * overhead
                moved[direction.name][1] += packets
            for direction in _route(
                topology, dst, src, path and FlowPath(path.up, topology.path_spine_link(path.up)[1])
            ):
                moved[direction.name][0] += packets // 2 * ACK_BYTES
                moved[direction.name][1] += packets // 2
    return {name: (size, packets) for name, (size, packets) in moved.items()}


def _times(end_s: float, interval_s: float) -> list[float]:
    return [round(i * interval_s, 6) for i in range(ceil(end_s / interval_s) + 1)]


def _progress(windows: Sequence[tuple[float, float]], t_s: float) -> float:
    """Return how many iterations are done at ``t_s``."""
    return sum(min(max((t_s - start) / (end - start), 0.0), 1.0) for start, end in windows)


def _busy(windows: Sequence[tuple[float, float]], t_s: float) -> bool:
    return any(start <= t_s <= end for start, end in windows)


def _iterations(scenario: Scenario, windows: Sequence[tuple[float, float]]) -> tuple[IterationRow, ...]:
    warm = IterationRow(
        iteration=-1, warmup=True, size_bytes=2**16, start_s=0.2, end_s=0.4, completion_s=0.2, wrong_elements=0
    )
    return (
        warm,
        *(
            IterationRow(
                iteration=i,
                warmup=False,
                size_bytes=scenario.workload.bulk_bytes,
                start_s=start,
                end_s=end,
                completion_s=end - start,
                wrong_elements=0,
            )
            for i, (start, end) in enumerate(windows)
        ),
    )


def _ranks(hosts: Sequence[Host], windows: Sequence[tuple[float, float]]) -> tuple[RankRow, ...]:
    return tuple(
        RankRow(
            iteration=i,
            warmup=False,
            rank=rank,
            host=host.name,
            start_s=start,
            end_s=end,
            wrong_elements=0,
            max_gap_s=0.010 + 0.001 * i,
            max_gap_at_s=start + 0.2,
            start_lateness_s=0.0002,
        )
        for i, (start, end) in enumerate(windows)
        for rank, host in enumerate(hosts)
    )


def _transfers(
    pattern: Pattern, hosts: Sequence[Host], sizes: Sequence[int], windows: Sequence[tuple[float, float]]
) -> tuple[TransferRow, ...]:
    """Every pair takes the whole iteration; nothing of a ring."""
    return tuple(
        TransferRow(
            iteration=i,
            warmup=False,
            src_rank=src,
            dst_rank=dst,
            src_host=hosts[src].name,
            dst_host=hosts[dst].name,
            size_bytes=size,
            start_s=start,
            end_s=end,
        )
        for i, (start, end) in enumerate(windows)
        for (src, dst), size in zip(pattern.pairs, sizes, strict=True)
        if pattern.independent
    )


def _operations(
    job: EmulatedJob, trained: Execution, windows: Sequence[tuple[float, float]], slow: Callable[[int], float]
) -> tuple[OperationRow, ...]:
    """As rehearsed, all of iteration i ``slow(i)`` times as long."""
    rows: list[OperationRow] = []
    for index, (start_s, _end_s) in enumerate(windows):
        moments = [
            [
                tuple(start_s + slow(index) * moment_s for moment_s in (one.issued_s, one.start_s, one.end_s))
                for one in timeline.operations
            ]
            for timeline in trained.timelines
        ]
        rows += operation_rows(job, job.size_bytes, moments, iteration=index, warmup=False)
    return tuple(rows)


def _computing(
    job: EmulatedJob, hosts: Sequence[Host], windows: Sequence[tuple[float, float]]
) -> tuple[ComputingRow, ...]:
    return tuple(
        ComputingRow(
            iteration=index,
            warmup=False,
            rank=rank,
            host=host.name,
            compute_s=job.stages[rank // job.group_hosts].compute_s,
            excess_s=0.0002,
            latest_s=0.0005,
        )
        for index in range(len(windows))
        for rank, host in enumerate(hosts)
    )


def _messages(
    scenario: Scenario, hosts: Sequence[Host], windows: Sequence[tuple[float, float]], seed: int
) -> tuple[MessageRow, ...]:
    """One message of every host each mean interval, all of them 10 ms under way."""
    interval_s = scenario.workload.mice_interval_ms / 1e3
    if not interval_s:
        return ()
    return tuple(
        MessageRow(
            sent_s=seq * interval_s,
            src_host=src.name,
            dst_host=dst.name,
            seq=seq,
            size_bytes=scenario.workload.mice_bytes,
            latency_s=0.010,
            send_lateness_s=0.0001,
        )
        for src, dst in mice_pairs(hosts, seed)
        for seq in range(int(windows[-1][1] / interval_s))
    )


CROSS_SLOWDOWN = 2.0  # of every flow


def _cross_flows(
    scenario: Scenario, topology: Topology, hosts: Sequence[Host], windows: Sequence[tuple[float, float]], seed: int
) -> tuple[CrossFlowRow, ...]:
    """The flows a run's program would begin, each twice as slow as on an empty fabric."""
    if not scenario.cross_traffic.has_flows:
        return ()
    begun = takewhile(
        lambda flow: windows[0][0] + flow.due_s < windows[-1][1],
        seeded_flows(scenario, topology.hosts, sorted(hosts, key=lambda host: host.name), seed),
    )
    return tuple(
        CrossFlowRow(
            start_s=windows[0][0] + flow.due_s,
            kind=flow.kind,
            burst=flow.burst,
            src_host=flow.src,
            dst_host=flow.dst,
            seq=number,
            src_port=25_000 + number % 7000,
            size_bytes=flow.size_bytes,
            completion_s=CROSS_SLOWDOWN
            * ideal_s(scenario.fabric, topology.host(flow.src), topology.host(flow.dst), flow.size_bytes),
            start_lateness_s=0.0001,
        )
        for number, flow in enumerate(begun)
    )


def _replayed(scenario: Scenario, topology: Topology, windows: Sequence[tuple[float, float]]) -> tuple[ReplayRow, ...]:
    """A frame of h1 to h2 each 10 ms, 2 ms under way."""
    if scenario.cross_traffic.replay is None:
        return ()
    src, dst = topology.hosts[:2]
    start_s, end_s = windows[0][0], windows[-1][1]
    return tuple(
        ReplayRow(
            sent_s=start_s + number * 0.01,
            frame=number + 1,
            src_host=src.name,
            dst_host=dst.name,
            size_bytes=200,
            latency_s=0.002,
            send_lateness_s=0.0001,
        )
        for number in range(int((end_s - start_s) / 0.01))
    )


def _flows(
    topology: Topology,
    hosts: tuple[Host, ...],
    pattern: Pattern,
    paths: Sequence[Sequence[FlowPath | None]],
    rng: Random,
) -> tuple[FlowRow, ...]:
    flows = pair_flows(hosts, pattern.pairs, flows_per_pair=len(paths[0]), demand_bytes=0, rng=rng)
    return tuple(
        FlowRow(
            rank=src,
            flow=index,
            src_host=hosts[src].name,
            dst_host=hosts[dst].name,
            src_ip=flow.src_ip,
            dst_ip=flow.dst_ip,
            src_port=flow.src_port,
            dst_port=flow.dst_port,
            path=path_name(topology, path) if path is not None else None,
            retransmitted_segments=0,
            timeouts=0,
            out_of_order_packets=0,
            bytes_acked=1,
            bytes_received=1,
        )
        for (src, dst), own, its_paths in zip(pattern.pairs, flows, paths, strict=True)
        for index, (flow, path) in enumerate(zip(own, its_paths, strict=True))
    )


def _ends(topology: Topology, times: Sequence[float]) -> Iterable[tuple[float, str, str, str]]:
    """Yield (time, interface, direction out of it, direction into it); host ends at the first and last time only."""
    hosts = {host.intf for host in topology.hosts}
    into = {d.dst.intf: d.name for d in topology.directions}
    for t_s in times:
        for direction in topology.directions:
            intf = direction.src.intf
            if intf not in hosts or t_s in (times[0], times[-1]):
                yield t_s, intf, direction.name, into[intf]


def _probe_times(scenario: Scenario, topology: Topology, probes: Sequence[ProbeRow]) -> dict[str, list[float]]:
    """Return direction -> when a probe passed it; probes all take the first path."""
    passed: dict[str, list[float]] = {d.name: [] for d in topology.directions}
    for row in probes:
        for direction in topology.route(topology.host(row.src_host), topology.host(row.dst_host), 0):
            passed[direction.name].append(row.sent_s)
    return passed


def _links(
    topology: Topology,
    moved: dict[str, tuple[float, float]],
    windows: Sequence[tuple[float, float]],
    times: Sequence[float],
    probed: dict[str, list[float]],
) -> Iterable[LinkRow]:
    for t_s, intf, out, into in _ends(topology, times):
        done = _progress(windows, t_s)
        probes_out, probes_in = (bisect_right(probed[name], t_s) for name in (out, into))
        yield LinkRow(
            t_s=t_s,
            intf=intf,
            tx_bytes=round(1000 + moved[out][0] * done) + PROBE_FRAME_BYTES * probes_out,
            tx_packets=round(10 + moved[out][1] * done) + probes_out,
            rx_bytes=round(1000 + moved[into][0] * done) + PROBE_FRAME_BYTES * probes_in,
            rx_packets=round(10 + moved[into][1] * done) + probes_in,
            rx_dropped=0,
            tx_dropped=0,
        )


def _queues(
    topology: Topology,
    moved: dict[str, tuple[float, float]],
    windows: Sequence[tuple[float, float]],
    times: Sequence[float],
) -> Iterable[QueueRow]:
    """No more waits than is sent until the next sample: flows are even here, and links slower than their rate."""
    most = max(size for size, _packets in moved.values()) or 1
    next_s = dict(zip(times, times[1:], strict=False))
    for t_s, intf, out, _into in _ends(topology, times):
        size, packets = moved[out]
        sent = size * (_progress(windows, next_s.get(t_s, t_s)) - _progress(windows, t_s))
        waiting = min(round(8 * size / most), int(sent / 9014)) if _busy(windows, t_s) else 0
        yield QueueRow(
            t_s=t_s,
            intf=intf,
            backlog_bytes=waiting * 9014,
            backlog_packets=waiting,
            sent_bytes=round(size * _progress(windows, t_s)),
            sent_packets=round(packets * _progress(windows, t_s)),
            dropped_packets=0,
            overlimits=0,
        )


def _cpu(times: Sequence[float]) -> Iterable[CpuRow]:
    for t_s in times:
        for core, busy in enumerate((0.8, 0.5)):
            yield CpuRow(
                t_s=t_s,
                core=core,
                user_s=100 + busy * t_s,
                system_s=50.0,
                idle_s=1000 + (1 - busy) * t_s,
                iowait_s=1.0,
                irq_s=0.0,
                softirq_s=2.0,
                steal_s=0.0,
            )


def _threads(times: Sequence[float]) -> Iterable[ThreadRow]:
    for t_s in times:
        for pid, tid, role, name, run, wait in (
            (10, 10, "vswitchd", "ovs-vswitchd", 0.8, 0.05),
            (10, 11, "vswitchd", "revalidator4", 0.01, 0.0),
            (20, 20, "rank", "python3", 0.4, 0.02),
            (30, 30, "gsos", "python3", 0.02, 0.0),
        ):
            yield ThreadRow(t_s=t_s, pid=pid, tid=tid, role=role, name=name, run_s=3 + run * t_s, wait_s=1 + wait * t_s)


def _probes(
    scenario: Scenario, topology: Topology, windows: Sequence[tuple[float, float]], rng: Random, *, crowded: bool
) -> Iterable[ProbeRow]:
    interval_s = scenario.measure.probe_interval_ms / 1000
    if not interval_s:
        return
    count = int(windows[-1][1] / interval_s)
    for seq in range(count):
        src, dst = topology.hosts[seq % 2], topology.hosts[-1 - seq % 2]
        latency_s = rng.lognormvariate(-4.0 if crowded else -4.6, 0.6)
        yield ProbeRow(
            sent_s=seq * interval_s,
            src_host=src.name,
            dst_host=dst.name,
            seq=seq,
            latency_s=latency_s,
            send_lateness_s=0.0003,
        )


def _probe_queues(probes: Iterable[ProbeRow], windows: Sequence[tuple[float, float]]) -> Iterable[ProbeQueueRow]:
    """A full frame waits before each probe while data moves."""
    for row in probes:
        yield ProbeQueueRow(
            sent_s=row.sent_s,
            src_host=row.src_host,
            dst_host=row.dst_host,
            seq=row.seq,
            backlog_bytes=9014 if _busy(windows, row.sent_s) else 0,
        )
