"""Every check of the verdict: spoil one thing in a healthy run, and that check alone objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from spoilers import ELSEWHERE, ROWS_ONLY, SPOILERS

from testbed.collectives.collective import NAMES
from testbed.evaluation.lookups import Lookups, lookups
from testbed.evaluation.metrics import measure
from testbed.evaluation.program import measured_part
from testbed.evaluation.records import LookupRow, RunRecord, SocketRow, ThreadRow
from testbed.evaluation.softnet import Softnet, softnet
from testbed.fidelity import CHECKS, THRESHOLDS, Level, Threshold, Verdict, evidence_of, judge, speed_judged_by
from testbed.fidelity.alarms import ALARMS, STRANGERS
from testbed.fidelity.links import link_rates
from testbed.model.scenario import Scenario
from testbed.results.run import load
from tests.unit.synthetic_runs import healthy, scenario_of, with_rows

PROJECT = Path(__file__).resolve().parents[2]
Spoil = Callable[[RunRecord], RunRecord]


def verdict(run: RunRecord) -> Verdict:
    return judge(evidence_of(run))


def found(run: RunRecord) -> dict[str, str]:
    return {finding.check: finding.level.value for finding in verdict(run).findings}


@pytest.mark.parametrize("scheme", ["ecmp", "gse1"])
@pytest.mark.parametrize(
    "scenario",
    [
        scenario_of(),
        scenario_of(fabric={"leaves": 3, "spines": 5, "hosts_per_leaf": 3}),
        scenario_of(fabric={"links_per_pair": 2}, workload={"flows_per_hop": 4}),
        scenario_of(fabric={"mtu_bytes": 1500}),
        scenario_of(workload={"placement": "leaf_local"}),
        scenario_of(measure={"probe_interval_ms": 0}),
        scenario_of(workload={"size_bytes": 65_536}, measure={"probe_interval_ms": 1}),
        scenario_of(workload={"kind": "all_to_all"}),
        scenario_of(workload={"kind": "permutation", "mice_interval_ms": 50.0}),
        scenario_of(workload={"kind": "permutation", "mice_interval_ms": 5.0}),
        scenario_of(workload={"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 5.0}),
        scenario_of(workload={"jobs": 2, "placement": "leaf_local"}),
        scenario_of(workload={"kind": "incast", "placement": "leaf_local"}),
        *(scenario_of(workload={"kind": "collective", "collective": name}) for name in NAMES),
        scenario_of(workload={"kind": "collective", "collective": "allreduce/hierarchical", "placement": "leaf_local"}),
    ],
)
def test_healthy_run_is_valid(scenario: Scenario, scheme: str) -> None:
    result = verdict(healthy(scenario, scheme=scheme))
    assert result == Verdict(Level.VALID, ())


def test_what_was_not_measured_of_a_workload_is_missing() -> None:
    mice = healthy(scenario_of(workload={"kind": "permutation", "mice_interval_ms": 50.0}))
    (finding,) = verdict(with_rows(mice, messages=(), transfers=())).findings
    assert finding.text == "not measured: transfers of pairs, latency of small messages"
    incast = healthy(scenario_of(workload={"kind": "incast", "placement": "leaf_local"}))
    assert "load of the receiver's link" in verdict(with_rows(incast, links=())).findings[0].text


@pytest.mark.parametrize("kind", ["all_to_all", "incast", "permutation"])
def test_a_workload_whose_paths_give_a_bound_only_is_not_called_slow(kind: str) -> None:
    placement = {"placement": "leaf_local"} if kind == "incast" else {}
    slow = healthy(scenario_of(workload={"kind": kind, **placement}), slow=lambda _iteration: 1.5)
    assert verdict(slow).level is Level.VALID


def test_a_ring_beside_many_small_messages_is_not_called_slow() -> None:
    few, many = (scenario_of(workload={"mice_interval_ms": interval_ms}) for interval_ms in (100.0, 5.0))
    assert "short_of_paths" in found(healthy(few, slow=lambda _iteration: 1.5))
    assert verdict(healthy(many, slow=lambda _iteration: 1.5)).level is Level.VALID  # 3.3 of 10 Mbit/s


# --- one spoiled thing each -----------------------------------------------------------------------------


def wrong_sums(run: RunRecord) -> RunRecord:
    rows = list(run.tables.iterations)
    return with_rows(run, iterations=[*rows[:-1], replace(rows[-1], wrong_elements=1)])


def gsos_died(run: RunRecord) -> RunRecord:
    return replace(run, events=(*run.events, {"event": "process_died", "t_s": 9.0, "died_s": 1.5, "role": "gsos"}))


def iteration_lost(run: RunRecord) -> RunRecord:
    workload = run.scenario.workload.model_copy(update={"iterations": 3})
    return replace(run, scenario=run.scenario.model_copy(update={"workload": workload}))


def setting_not_taken(run: RunRecord) -> RunRecord:
    return replace(run, network={**run.network, "read_back": ["l1-eth1: mtu is 1500, expected 9000"]})


def link_off_by(fraction: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        rows = list(run.tables.calibration)
        rows[5] = replace(rows[5], error_fraction=-fraction, measured_mbps=rows[5].configured_mbps * (1 - fraction))
        return with_rows(run, calibration=rows)

    return spoil


def completion_times(factor: float) -> Spoil:
    """Claim other completion times (in the clock of the counters nothing changes)."""

    def spoil(run: RunRecord) -> RunRecord:
        rows = [replace(row, completion_s=row.completion_s * factor) for row in run.tables.iterations]
        return with_rows(run, iterations=rows)

    return spoil


def recorded_on_one_path(run: RunRecord) -> RunRecord:
    return with_rows(run, flows=[replace(row, path="s1") for row in run.tables.flows])


def window_limited(share: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        rows = [
            replace(row, busy_us=1_000_000, rwnd_limited_us=round(share * 1e6) if row.src_host == "h2" else 0)
            for row in run.tables.flows
        ]
        return with_rows(run, flows=rows)

    return spoil


def uplink_bytes(factor: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        uplinks = {d.src.intf for d in run.topology.directions if d.kind == "uplink"}
        rows = [
            replace(row, tx_bytes=round(row.tx_bytes * factor)) if row.intf in uplinks else row
            for row in run.tables.links
        ]
        return with_rows(run, links=rows)

    return spoil


def bytes_to_host(port: str, factor: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        rows = [
            replace(row, tx_bytes=round(row.tx_bytes * factor)) if row.intf == port else row for row in run.tables.links
        ]
        return with_rows(run, links=rows)

    return spoil


def switch_thread(run_fraction: float, wait_fraction: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        rows = [
            replace(row, run_s=run_fraction * row.t_s, wait_s=wait_fraction * row.t_s) if row.tid == 10 else row
            for row in run.tables.threads
        ]
        # what the switches need more, others use less: the machine is as busy as before
        return ranks_use(with_rows(run, threads=rows), 1.23 - run_fraction - 0.03)

    return spoil


def ranks_use(run: RunRecord, cores: float) -> RunRecord:
    """Two ranks take so much of the cores together: no thread takes more than one."""
    rows = [
        replace(row, pid=pid, tid=pid, run_s=cores / 2 * row.t_s) if row.role == "rank" else row
        for row in run.tables.threads
        for pid in ((row.pid, row.pid + 1) if row.role == "rank" else (row.pid,))
    ]
    return with_rows(run, threads=rows)


def rank_computes(run_fraction: float) -> Spoil:
    """A rank runs so much of the time, and the switches less than before: the machine is as busy."""

    def spoil(run: RunRecord) -> RunRecord:
        share = {"rank": run_fraction, "vswitchd": 1.23 - run_fraction - 0.03}
        rows = [
            replace(row, run_s=share[row.role] * row.t_s) if row.tid in (10, 20) else row for row in run.tables.threads
        ]
        return with_rows(run, threads=rows)

    return spoil


def rank_waits(wait_fraction: float) -> Spoil:
    """One of the ranks waits for a core so much of the time."""

    def spoil(run: RunRecord) -> RunRecord:
        worst = next(row.tid for row in run.tables.threads if row.role == "rank")
        rows = [replace(row, wait_s=wait_fraction * row.t_s) if row.tid == worst else row for row in run.tables.threads]
        return with_rows(run, threads=rows)

    return spoil


def cores_busy(busy: float) -> Spoil:
    """Both cores this busy, by the run itself."""

    def spoil(run: RunRecord) -> RunRecord:
        cpu = [replace(row, user_s=busy * row.t_s, idle_s=(1 - busy) * row.t_s) for row in run.tables.cpu]
        return ranks_use(with_rows(run, cpu=cpu), 2 * busy - 0.85)

    return spoil


def somebody_else_worked(cores: float) -> Spoil:
    """Programs outside the run take 0.4 cores that were idle, and what is more than 0.47 from the ranks."""

    def spoil(run: RunRecord) -> RunRecord:
        cpu = [
            replace(row, user_s=0.9 * row.t_s, idle_s=0.1 * row.t_s) if row.core == 1 else row for row in run.tables.cpu
        ]
        left = 0.4 - max(0.0, cores - 0.47)
        threads = [replace(row, run_s=left * row.t_s) if row.role == "rank" else row for row in run.tables.threads]
        return with_rows(run, cpu=cpu, threads=threads)

    return spoil


def with_agent_threads(run_fraction: float, wait_fraction: float) -> Spoil:
    """Two agents' processes, each ready this much of the time."""

    def spoil(run: RunRecord) -> RunRecord:
        times = sorted({row.t_s for row in run.tables.threads})
        rows = [
            ThreadRow(
                t_s=t_s,
                pid=pid,
                tid=pid,
                role="gsp",
                name="python3",
                run_s=1 + run_fraction * t_s,
                wait_s=2 + wait_fraction * t_s,
            )
            for t_s in times
            for pid in (40, 41)
        ]
        return with_rows(run, threads=[*run.tables.threads, *rows])

    return spoil


def sent_again(segments: int, dropped: int = 0) -> Spoil:
    """So many segments of h1's first flow, and so many frames dropped by the queue into h1."""

    def spoil(run: RunRecord) -> RunRecord:
        flows = [
            replace(row, retransmitted_segments=segments if row.src_host == "h1" and row.flow == 0 else 0)
            for row in run.tables.flows
        ]
        from_s = run.tables.iterations[1].end_s
        queues = [
            replace(row, dropped_packets=dropped) if row.intf == "l1-eth1" and row.t_s >= from_s else row
            for row in run.tables.queues
        ]
        return with_rows(run, flows=flows, queues=queues)

    return spoil


def stolen(fraction: float) -> Spoil:
    """The hypervisor takes its share of time the core had been idle."""

    def spoil(run: RunRecord) -> RunRecord:
        cpu = [
            replace(row, idle_s=row.idle_s - 2 * fraction * row.t_s, steal_s=2 * fraction * row.t_s)
            if row.core
            else row
            for row in run.tables.cpu
        ]
        return with_rows(run, cpu=cpu)

    return spoil


def rank_late(fraction: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        late_s = fraction * run.tables.iterations[-1].completion_s
        rows = list(run.tables.ranks)
        return with_rows(run, ranks=[*rows[:-1], replace(rows[-1], start_lateness_s=late_s)])

    return spoil


def probes_late(late_s: float) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        rows = [replace(row, send_lateness_s=late_s) if row.seq % 20 == 0 else row for row in run.tables.probes]
        return with_rows(run, probes=rows)  # a frame of 9014 bytes takes 7.2 ms at 10 Mbit/s

    return spoil


def probes_held(held_s: float) -> Spoil:
    """Something that is no queue of the fabric keeps every probe for so long."""

    def spoil(run: RunRecord) -> RunRecord:
        rows = [replace(row, latency_s=(row.latency_s or 0.0) + held_s) for row in run.tables.probes]
        return with_rows(run, probes=rows)

    return spoil


def rate_changed(run: RunRecord) -> RunRecord:
    said = "l1-eth5: rate (bytes/s) is 1000000, expected 1.25e+06"
    return replace(run, events=(*run.events, {"event": "read_back", "t_s": 9.0, "differences": [said]}))


def event(kind: str, /, **fields: object) -> Spoil:
    return lambda run: replace(run, events=(*run.events, {"event": kind, "t_s": 9.0, **fields}))


def sampler_late(run: RunRecord) -> RunRecord:
    return replace(run, events=({"event": "sampler_stopped", "t_s": 9.0, "lateness_p99_s": 0.13},))  # of 0.25


def sockets_lost(packets: int) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        first, last = run.tables.sockets
        return with_rows(run, sockets=[replace(first, drops=40), replace(last, drops=40 + packets)])

    return spoil


def many_packets(run: RunRecord) -> RunRecord:
    """A long run: enough packets that a single one is less than one in 10^4."""
    rows = [
        replace(row, tx_packets=row.tx_packets * 1000, rx_packets=row.rx_packets * 1000)
        if row.intf.endswith(("eth1", "eth0")) and not row.intf.startswith("s")
        else row
        for row in run.tables.links
    ]
    return with_rows(run, links=rows)


def interface_lost(column: str) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        last = run.tables.links[-1].t_s
        rows = [
            replace(row, **{column: 30}) if row.intf == "l2-eth3" and row.t_s == last else row
            for row in run.tables.links
        ]
        return with_rows(run, links=rows)

    return spoil


def frames_vanish(run: RunRecord) -> RunRecord:
    rows = [
        replace(row, rx_packets=round(row.rx_packets * 0.9)) if row.intf == "s1-eth1" else row
        for row in run.tables.links
    ]
    return with_rows(run, links=rows)


def lost_within_a_spine(run: RunRecord) -> RunRecord:
    """A tenth of what s1 received for l2 never left it."""
    column = {"s1-eth2": "tx_packets", "l2-eth3": "rx_packets"}
    rows = [
        replace(row, **{column[row.intf]: round(getattr(row, column[row.intf]) * 0.9)}) if row.intf in column else row
        for row in run.tables.links
    ]
    return with_rows(run, links=rows)


def lost_before_h1(lost: int, dropped: int) -> Spoil:
    """The queue into h1 drops some frames, and its leaf loses others of which no queue knows."""

    def spoil(run: RunRecord) -> RunRecord:
        from_s, column = run.tables.iterations[1].end_s, {"l1-eth1": "tx_packets", "h1-eth0": "rx_packets"}
        kept = 1 - (lost + dropped) / max(row.tx_packets for row in run.tables.links if row.intf == "l1-eth1")
        links = [
            replace(row, **{column[row.intf]: round(getattr(row, column[row.intf]) * kept)})
            if row.intf in column
            else row
            for row in run.tables.links
        ]
        queues = [
            replace(row, dropped_packets=dropped) if row.intf == "l1-eth1" and row.t_s >= from_s else row
            for row in run.tables.queues
        ]
        return with_rows(run, links=links, queues=queues)

    return spoil


def link_serves(share: float, *, paused_s: float = 0.0) -> Spoil:
    """Frames wait for l1-eth3 all the time, which sends at so much of its rate, and pauses in the last iteration."""

    def spoil(run: RunRecord) -> RunRecord:
        pause_s = run.tables.iterations[-1].start_s + 0.55
        rows = [
            replace(
                row,
                backlog_bytes=400_000,
                sent_bytes=round(share * 1_250_000 * (row.t_s - min(max(row.t_s - pause_s, 0.0), paused_s))),
            )
            if row.intf == "l1-eth3"
            else row
            for row in run.tables.queues
        ]
        return with_rows(run, queues=rows)

    return spoil


def cores_drop(packets: int) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        *others, last = run.tables.softnet
        return with_rows(run, softnet=[*others, replace(last, dropped=last.dropped + packets)])

    return spoil


def upcalls_lost(packets: int, looked_up: int = 8000) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        first, last = run.tables.lookups
        return with_rows(run, lookups=[first, replace(last, hit=first.hit + looked_up, lost=packets)])

    return spoil


def uncalibrated(run: RunRecord) -> RunRecord:
    return with_rows(run, calibration=[])


CASES: list[tuple[str, Spoil, str, Level, str]] = [
    ("sum", wrong_sums, "wrong_elements", Level.INVALID, "1 elements of the reduced arrays are wrong"),
    ("gsos", gsos_died, "process_died", Level.INVALID, "died during the run: gsos at 1.5 s"),
    ("iteration", iteration_lost, "iterations", Level.INVALID, "2 iterations measured, the scenario asks for 3"),
    ("mtu", setting_not_taken, "settings", Level.INVALID, "l1-eth1: mtu is 1500, expected 9000"),
    ("rate 4%", link_off_by(0.04), "calibration", Level.SUSPECT, "link rate off by 4.0% on l2-eth1>h3-eth0"),
    ("rate 11%", link_off_by(0.11), "calibration", Level.INVALID, "8.90 of 10 Mbit/s (limit 3% / 10%)"),
    ("slow link", link_serves(0.95), "link_rate", Level.SUSPECT, "l1-eth3>s1-eth1 carried 0.950 of its rate while"),
    ("fast link", link_serves(1.05), "link_rate", Level.SUSPECT, "10.50 Mbit/s for 2.2 s (limit 3% / 10% off)"),
    ("slower link", link_serves(0.88), "link_rate", Level.INVALID, "carried 0.880 of its rate while frames waited"),
    (
        "a link that pauses",
        link_serves(1.0, paused_s=0.06),
        "link_stall",
        Level.SUSPECT,
        "l1-eth3>s1-eth1 stood still for 51 ms while frames waited (limit 0.02 / 0.2 s)",
    ),
    ("5% too fast", completion_times(0.91), "impossible", Level.INVALID, "is above the physical limit"),
    ("other path", recorded_on_one_path, "beyond_placement", Level.SUSPECT, "the recorded paths allow 0.500"),
    ("bytes -2%", uplink_bytes(0.98), "uplink_bytes", Level.SUSPECT, "uplinks carried"),
    ("bytes to a host -2%", bytes_to_host("l2-eth1", 0.98), "host_bytes", Level.SUSPECT, "h3 was brought"),
    ("bytes to a host +7%", bytes_to_host("l1-eth1", 1.07), "host_bytes", Level.INVALID, "% off, limit 1% / 5%)"),
    ("bytes +7%", uplink_bytes(1.07), "uplink_bytes", Level.INVALID, "% off, limit 1% / 5%)"),
    ("core full", switch_thread(0.98, 0.0), "switch_core", Level.SUSPECT, "98.0% busy (limit 97%)"),
    ("waits", switch_thread(0.55, 0.37), "switch_wait", Level.SUSPECT, "waited for a core 37% of the time"),
    ("starves", switch_thread(0.4, 0.52), "switch_wait", Level.INVALID, "(limit 35% / 50%)"),
    ("busy", cores_busy(0.96), "busy_cores", Level.SUSPECT, "all 2 cores 96.0% busy"),
    ("saturated", cores_busy(0.99), "busy_cores", Level.INVALID, "(limit 95% / 98.5%)"),
    ("neighbour", somebody_else_worked(0.47), "foreign_load", Level.SUSPECT, "used 0.47 cores (limit 0.3 / 0.6)"),
    ("hog", somebody_else_worked(0.85), "foreign_load", Level.INVALID, "outside the run used 0.85 cores"),
    (
        "agents wait",
        with_agent_threads(0.1, 0.19),
        "agents_wait",
        Level.SUSPECT,
        "agents waited 66% of their ready time",
    ),
    ("agents starve", with_agent_threads(0.1, 0.3), "agents_wait", Level.INVALID, "(limit 64% / 68%)"),
    ("an agent's core full", with_agent_threads(0.98, 0.0), "agent_core", Level.SUSPECT, "98.0% busy (limit 97%)"),
    ("a rank's core full", rank_computes(0.98), "rank_core", Level.SUSPECT, "a rank's thread fills its core: 98.0%"),
    ("a rank waits", rank_waits(0.07), "rank_wait", Level.SUSPECT, "waited for a core 7.0% of the time"),
    (
        "stalls",
        sent_again(17),
        "resent",
        Level.SUSPECT,
        "TCP sent 17 of 1406 segments again where 0 frames were dropped",
    ),
    ("stalls beside drops", sent_again(50, 28), "resent", Level.SUSPECT, "where 28 frames were dropped"),
    ("steal 2%", stolen(0.02), "steal", Level.SUSPECT, "the hypervisor took 2.0% of the CPU"),
    ("steal 6%", stolen(0.06), "steal", Level.INVALID, "(limit 1% / 5%)"),
    ("late rank", rank_late(0.02), "rank_lateness", Level.SUSPECT, "rank 3 began"),
    ("very late rank", rank_late(0.06), "rank_lateness", Level.INVALID, "ms late"),
    ("late probes", probes_late(0.02), "probe_lateness", Level.SUSPECT, "more than 20.00 ms late (limit 14.4 ms)"),
    ("very late probes", probes_late(0.2), "probe_lateness", Level.INVALID, "more than 200.00 ms late"),
    (
        "probes left out",
        event("probes_stopped", missed=300, send_lateness_p99_s=0.05),
        "probe_lateness",
        Level.SUSPECT,
        "more than 50.00 ms late (limit 14.4 ms), 300 left out for that",
    ),
    ("probes held", probes_held(0.5), "probe_delay", Level.SUSPECT, "ms (p50) where queues explain"),
    ("slower", completion_times(1.09), "short_of_paths", Level.SUSPECT, "slower than the recorded paths allow"),
    ("much slower", completion_times(1.3), "short_of_paths", Level.INVALID, "start-up explains"),
    (
        "window",
        window_limited(0.1),
        "receive_window",
        Level.SUSPECT,
        "h2 waited 10% of its time for its receiver's window",
    ),
    ("rate changed", rate_changed, "settings_after", Level.INVALID, "l1-eth5: rate (bytes/s) is 1000000"),
    (
        "stopped for a moment",
        event("process_stopped", role="rank", name="rank 3 on h4 (pid 7)", looks=1),
        "process_stopped",
        Level.SUSPECT,
        "stopped for a time (SIGSTOP or a debugger): rank 3 on h4 (pid 7)",
    ),
    (
        "stopped again and again",
        event("process_stopped", role="rank", name="rank 3 on h4 (pid 7)", looks=4),
        "process_stopped",
        Level.INVALID,
        "stopped again and again (SIGSTOP or a debugger): rank 3 on h4 (pid 7)",
    ),
    (
        "job withdrawn",
        event("gsos_jobs", before={"allreduce": 1}, after={}),
        "jobs",
        Level.INVALID,
        "jobs withdrawn, replaced or announced during the run: allreduce",
    ),
    ("job replaced", event("gsos_jobs", before={"allreduce": 1}, after={"allreduce": 2}), "jobs", Level.INVALID, ""),
    (
        "another job",
        event("gsos_jobs", before={"allreduce": 1}, after={"allreduce": 1, "else": 2}),
        "jobs",
        Level.INVALID,
        "run: else",
    ),
    (
        "clock set",
        event("mice_stopped", receive_error_estimate_s=0.25),
        "clock_step",
        Level.SUSPECT,
        "latencies are wrong by up to 250 ms",
    ),
    ("late sampler", sampler_late, "sampler_lateness", Level.SUSPECT, "130 ms late"),
    (
        "sockets",
        sockets_lost(30),
        "socket_drops",
        Level.INVALID,
        "30 packets lost in packet sockets of switches and agents",
    ),
    (
        "upcalls",
        upcalls_lost(30),
        "upcalls_lost",
        Level.INVALID,
        "30 packets lost in upcalls, which nobody answered, 3.7e-03 of 8020 (limit 0 / 0.0001)",
    ),
    ("an upcall", upcalls_lost(1, looked_up=90_000), "upcalls_lost", Level.SUSPECT, "1 packets lost in upcalls"),
    ("cores", cores_drop(2), "softnet_drops", Level.SUSPECT, "cores dropped 2 packets they had received (softnet)"),
    ("interface rx", interface_lost("rx_dropped"), "interface_drops", Level.INVALID, "30 packets lost at interfaces"),
    ("interface tx", interface_lost("tx_dropped"), "interface_drops", Level.INVALID, "30 packets lost at interfaces"),
    ("vanish", frames_vanish, "unaccounted", Level.INVALID, "frames not accounted for on l1-eth3>s1-eth1"),
    ("within a switch", lost_within_a_spine, "lost_in_switch", Level.INVALID, "frames entered s1 and neither left it"),
    ("within a leaf", lost_before_h1(20, 0), "lost_in_switch", Level.SUSPECT, "frames entered l1 and neither left it"),
    ("uncalibrated", uncalibrated, "missing", Level.SUSPECT, "not measured: calibration"),
]


@pytest.mark.parametrize(
    ("spoil", "check", "level", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_spoiling_one_thing_trips_one_check(spoil: Spoil, check: str, level: Level, text: str) -> None:
    result = verdict(spoil(healthy(scenario_of())))
    assert [(finding.check, finding.level) for finding in result.findings] == [(check, level)]
    assert text in result.reasons[0]
    assert result.level is level


def test_several_jobs_are_no_doubt_when_gsos_has_exactly_those() -> None:
    run = healthy(scenario_of(workload={"jobs": 2}, fabric={"hosts_per_leaf": 4}))
    both = {"allreduce-1": 1, "allreduce-2": 2}
    assert found(event("gsos_jobs", before=both, after=both)(run)) == {}
    one = {"allreduce-1": 1}
    assert found(event("gsos_jobs", before=one, after=one)(run)) == {"jobs": "INVALID"}
    more = {**both, "allreduce": 3}
    assert found(event("gsos_jobs", before=more, after=more)(run)) == {"jobs": "INVALID"}


def test_a_run_that_announces_nothing_is_in_doubt_when_gsos_has_a_job() -> None:
    run = healthy(scenario_of(workload={"announce": False}))
    assert found(event("gsos_jobs", before={}, after={})(run)) == {}
    assert found(event("gsos_jobs", before={}, after={"allreduce": 1})(run)) == {"jobs": "INVALID"}


@pytest.mark.parametrize("name", ["allreduce/double_tree", "all_gather/doubling", "broadcast/tree"])
def test_a_collective_whose_pairs_wait_in_turn_has_a_bound_only(name: str) -> None:
    scenario = scenario_of(workload={"kind": "collective", "collective": name})
    assert verdict(healthy(scenario, slow=lambda _iteration: 1.5)).level is Level.VALID


def test_a_chain_may_take_as_long_as_its_slices_wait_and_not_longer() -> None:
    """On 8 ranks the last link idles for six slices: 0.1 s of 1 MiB, which bytes alone do not explain."""
    shape = {
        "fabric": {"leaves": 4, "hosts_per_leaf": 2},
        "workload": {"kind": "collective", "collective": "broadcast"},
    }
    run = healthy(scenario_of(**shape))
    bound = measure(run).rounds
    assert bound is not None
    share = bound.least_s / measure(run).ideal.ideal_s
    assert share > 1.1
    assert found(completion_times(share)(run)) == {}
    assert "short_of_paths" in found(completion_times(1.3 * share)(run))
    ring = healthy(scenario_of(fabric=shape["fabric"]))
    assert "short_of_paths" in found(completion_times(share)(ring))


def test_bytes_a_host_was_not_brought_are_a_doubt() -> None:
    run = healthy(
        scenario_of(workload={"kind": "collective", "collective": "broadcast/tree", "placement": "leaf_local"})
    )
    # h2 is on the root's leaf: no uplink sees what it gets
    for factor, level in ((0.995, None), (0.97, "SUSPECT"), (0.9, "INVALID"), (1.03, "SUSPECT")):
        assert found(bytes_to_host("l1-eth2", factor)(run)).get("host_bytes") == level, factor


def test_a_job_that_stays_is_no_doubt() -> None:
    assert found(event("gsos_jobs", before={"allreduce": 1}, after={"allreduce": 1})(healthy(scenario_of()))) == {}


def test_a_window_is_judged_where_nothing_else_fills_it() -> None:
    assert found(window_limited(0.04)(healthy(scenario_of()))) == {}
    for excuse in (
        {"workload": {"kind": "incast", "placement": "leaf_local"}},
        {"faults": [{"t_s": 0.1, "action": "fail", "target": "l1-s1"}]},
        {"fabric": {"leaves": 2, "spines": 2, "hosts_per_leaf": 2, "loss_fraction": 0.001}},
    ):
        assert "receive_window" not in found(window_limited(0.5)(healthy(scenario_of(**excuse)))), excuse
    short = with_rows(
        healthy(scenario_of()),
        flows=[replace(row, busy_us=100_000, rwnd_limited_us=90_000) for row in healthy(scenario_of()).tables.flows],
    )
    assert found(short) == {}


def test_a_window_that_holds_up_one_flow_of_several_is_seen_whichever_it_is() -> None:
    run = healthy(scenario_of(workload={"flows_per_hop": 3}))
    for number in range(3):
        rows = [
            replace(
                row,
                busy_us=1_000_000,
                rwnd_limited_us=300_000 if (row.src_host, row.flow) == ("h2", number) else 0,
            )
            for row in run.tables.flows
        ]
        assert found(with_rows(run, flows=rows)).get("receive_window") == "SUSPECT", number


def test_a_window_that_waits_in_the_source_queue_does_no_harm_until_the_ring_falls_short_of_its_grants() -> None:
    run = under_gse2(window_limited(0.5)(healthy(scenario_of())))
    assert "receive_window" not in found(run)
    assert found(completion_times(1.4)(run))["receive_window"] == "SUSPECT"


def test_a_full_core_is_only_a_doubt_until_it_slows_the_collective() -> None:
    run = switch_thread(0.99, 0.0)(healthy(scenario_of()))
    assert found(run) == {"switch_core": "SUSPECT"}
    slow = completion_times(1.2)(run)
    assert found(slow) == {"switch_core": "SUSPECT", "switch_bound": "INVALID", "short_of_paths": "INVALID"}
    assert "18% slower than its placement allows" in verdict(slow).reasons[2]


def test_a_slow_collective_is_a_result_where_something_of_the_scenario_may_explain_it() -> None:
    assert found(completion_times(1.5)(healthy(scenario_of()))) == {"short_of_paths": "INVALID"}
    for explanation in (
        {"background": [{"src": "h1", "dst": "h3"}]},
        {"fabric": {"leaves": 2, "spines": 2, "hosts_per_leaf": 2, "loss_fraction": 0.001}},
        {"workload": {"flows_per_hop": 4, "size_bytes": "1M", "warmup_iterations": 1}},
    ):
        scheme = "ecmp" if "workload" in explanation else "gse1"
        run = completion_times(1.5)(healthy(scenario_of(**explanation), scheme=scheme))
        assert "short_of_paths" not in found(run), explanation


@pytest.mark.parametrize(
    ("scheme", "scenario", "judged_by"),
    [
        ("gse1", {}, "paths"),
        ("gse1", {"workload": {"flows_per_hop": 2, "size_bytes": "1M"}, "fabric": {"spines": 8}}, "paths"),
        ("ecmp", {"workload": {"flows_per_hop": 4, "size_bytes": "1M"}}, None),
        ("gse1", {"background": [{"src": "h1", "dst": "h3"}]}, None),
        ("gse1", {"workload": {"kind": "all_to_all"}}, None),
    ],
)
def test_a_run_says_what_its_speed_was_held_against_and_then_slowness_is_seen(
    scheme: str, scenario: dict[str, Any], judged_by: str | None
) -> None:
    run = healthy(scenario_of(**scenario), scheme=scheme)
    assert speed_judged_by(evidence_of(run)) == judged_by
    slow = found(completion_times(1.6)(run))
    assert ("short_of_paths" in slow) is (judged_by == "paths"), slow


def test_under_grants_speed_is_held_against_them() -> None:
    run = under_gse2(healthy(scenario_of()))
    assert speed_judged_by(evidence_of(run)) == "grants"
    assert "short_of_grants" in found(completion_times(1.6)(run))


@pytest.mark.parametrize(("hosts", "harmless", "doubtful"), [(2, 1.06, 1.13), (3, 1.005, 1.06), (4, 1.005, 1.06)])
def test_what_tcp_loses_on_shared_links_is_no_doubt(hosts: int, harmless: float, doubtful: float) -> None:
    """Two flows on a link scatter by 7%, three and more by half a percent."""
    shape = {"hosts_per_leaf": hosts, "spines": hosts}
    shared = healthy(scenario_of(fabric=shape, workload={"size_bytes": 2**22}))
    run = recorded_on_one_path(completion_times(float(hosts))(shared))
    assert measure(run).prediction.max_uplink_flows == hosts  # type: ignore[union-attr]
    assert "short_of_paths" not in found(completion_times(harmless)(run))
    assert found(completion_times(doubtful)(run))["short_of_paths"] == "SUSPECT"


def test_acknowledgements_are_no_doubt() -> None:
    """A link carries 66 bytes for every second frame of the other direction: 2.2% of frames of 1514 bytes."""
    run = healthy(scenario_of(fabric={"mtu_bytes": 1500}, workload={"size_bytes": 2**23}))
    assert found(completion_times(1.02)(run)) == {}
    assert found(completion_times(1.05)(run)) == {"short_of_paths": "SUSPECT"}


def test_a_link_that_stands_still_for_long_is_invalid_and_short_pauses_are_the_buckets() -> None:
    run = healthy(scenario_of(workload={"size_bytes": 2**23}))
    assert found(link_serves(1.0, paused_s=0.3)(run)) == {"link_stall": "INVALID"}
    assert found(link_serves(1.0, paused_s=0.025)(run)) == {}  # 9.2 ms of which the bucket explains
    assert found(link_serves(0.98)(run)) == {}


def with_faults(*faults: tuple[float, str, str]) -> RunRecord:
    """Return a long run with faults, made so long after its first measured iteration began."""
    planned = [{"t_s": t_s, "action": action, "target": target} for t_s, action, target in faults]
    run = healthy(scenario_of(workload={"size_bytes": 2**23}, faults=planned))
    start_s = run.tables.iterations[1].start_s
    made = [{"event": "fault", **fault, "t_s": start_s + t_s} for fault, (t_s, *_) in zip(planned, faults, strict=True)]
    return replace(run, events=(*run.events, *made))


@pytest.mark.parametrize(
    ("faults", "judged"),
    [
        ([(0.0, "slow", "l1-s1")], False),
        ([(0.0, "slow", "s1")], False),
        ([(0.0, "fail", "l1-s1")], False),
        ([(0.0, "slow", "l1-s2")], True),
        ([(0.0, "slow", "l1-s1"), (8.0, "heal", "l1-s1")], True),
        ([(0.0, "slow", "l1-s1"), (3.0, "silence", "s1"), (8.0, "heal", "s1")], True),
        ([(0.0, "slow", "l1-s1"), (8.0, "heal", "l1-s1"), (8.0, "slow", "s1")], False),
        ([(19.0, "slow", "l1-s1")], True),
        ([(0.0, "heal", "l1-s1")], True),
    ],
)
def test_what_a_fault_does_to_a_link_is_no_doubt_about_it(faults: list[tuple[float, str, str]], judged: bool) -> None:
    run = with_faults(*faults)
    for served, check in ((link_serves(0.5), "link_rate"), (link_serves(1.0, paused_s=0.3), "link_stall")):
        assert (found(served(run)).get(check) == "INVALID") == judged, check


def test_a_link_counts_again_half_a_second_after_it_was_mended() -> None:
    run = link_serves(1.0)(with_faults((1.0, "slow", "l1-s1"), (5.0, "heal", "l1-s1")))
    start_s, end_s = measured_part(run)[0]
    (link,) = link_rates(run)
    (whole,) = link_rates(link_serves(1.0)(healthy(run.scenario)))
    assert whole.busy_s - link.busy_s == pytest.approx(4.5, abs=0.26)  # a sample; with nothing after the heal: 4
    assert end_s - start_s > 9


def test_runs_without_lookups_are_none_the_worse() -> None:
    run = healthy(scenario_of())
    assert found(with_rows(run, lookups=())) == {}
    assert found(with_rows(run, lookups=run.tables.lookups[:1])) == {}
    assert lookups(with_rows(run, lookups=run.tables.lookups[:1])) is None
    first, last = run.tables.lookups
    assert lookups(with_rows(run, lookups=[last, replace(first, hit=0, t_s=last.t_s + 1)])) is None  # it began anew
    assert lookups(run) == Lookups(hit=8000, missed=20, lost=0)


def test_runs_without_what_cores_dropped_are_none_the_worse() -> None:
    run = healthy(scenario_of())
    assert softnet(run) == Softnet(dropped=0, squeezed=2)
    for rows in ((), run.tables.softnet[:2]):  # a table there was not yet, and one reading
        assert softnet(with_rows(run, softnet=rows)) is None
        assert found(with_rows(run, softnet=rows)) == {}
    *others, last = run.tables.softnet
    assert softnet(with_rows(run, softnet=[*others, replace(last, dropped=0)])) is None  # the machine began anew
    both = [replace(row, dropped=row.dropped + row.squeezed) for row in run.tables.softnet]
    assert softnet(with_rows(run, softnet=both)) == Softnet(dropped=2, squeezed=2)  # one of each core


def test_lookups_of_several_datapaths_are_added() -> None:
    rows = [
        LookupRow(t_s=t_s, datapath=name, hit=hit, missed=2, lost=lost)
        for t_s, name, hit, lost in (
            (1.0, "system@ovs-system", 5, 1),
            (1.0, "netdev@ovs-netdev", 10, 0),
            (9.0, "system@ovs-system", 50_005, 2),
            (9.0, "netdev@ovs-netdev", 30_010, 3),
        )
    ]
    run = with_rows(healthy(scenario_of()), lookups=rows)
    assert lookups(run) == Lookups(hit=80_000, missed=0, lost=4)
    assert found(run) == {"upcalls_lost": "SUSPECT"}


def test_a_single_lost_packet_among_many_is_a_doubt() -> None:
    run = many_packets(healthy(scenario_of()))
    assert found(sockets_lost(1)(run))["socket_drops"] == "SUSPECT"
    assert found(sockets_lost(10_000)(run))["socket_drops"] == "INVALID"


def under_gse2(run: RunRecord, **counts: int) -> RunRecord:
    """The same run as if agents had carried it, with what they counted."""
    quiet = dict.fromkeys((*ALARMS, *STRANGERS, "socket_drops", "data_out"), 0)
    return replace(run, scheme="gse2-n2n", events=(*run.events, {"event": "agents", "t_s": 9.0, **quiet, **counts}))


def test_agents_alarms_are_a_doubt_unless_the_scenario_breaks_something() -> None:
    assert not {"agents", "short_of_grants"} & set(found(under_gse2(healthy(scenario_of()))))
    for name, words in {**ALARMS, **STRANGERS}.items():
        run = under_gse2(healthy(scenario_of()), **{name: 3})
        assert found(run)["agents"] == "SUSPECT"
        assert any(f"3 {words}" in reason for reason in verdict(run).reasons)
        fault = {"faults": [{"t_s": 0.1, "action": "silence", "target": "l1-s1"}]}
        broken = under_gse2(healthy(scenario_of(**fault)), **{name: 3})
        assert ("agents" in found(broken)) == (name in STRANGERS)


@pytest.mark.parametrize(
    ("path", "after_s", "faults", "seen"),
    [
        (3, 0.5, False, True),
        (3, 0.5, True, True),
        (2, 0.5, True, False),  # what the scenario broke
        (3, -0.9, False, True),  # before the first measured iteration, and not back when it began
        (3, -1.5, False, False),
    ],
)
def test_healthy_paths_taken_for_dead_are_a_doubt(path: int, after_s: float, faults: bool, seen: bool) -> None:
    """Also between iterations, of which agents' counters say nothing, and beside faults."""
    run = under_gse2(healthy(scenario_of(faults=[{"t_s": 0.1, "action": "fail", "target": "l1-s2"}] if faults else [])))
    began_s = min(row.start_s for row in run.tables.iterations if not row.warmup)
    change = {"gsp": "l3", "t_s": began_s + after_s, "leaf": 1, "path": path, "up": False}
    event = {"event": "path_changes", "t_s": 99.0, "gsps": ["l3"], "changes": [change]}
    assert ("agents" in found(replace(run, events=(*run.events, event)))) == seen


def test_a_run_far_below_what_grants_allow_is_a_doubt() -> None:
    run = under_gse2(healthy(scenario_of()))
    assert "short_of_grants" not in found(completion_times(1.05)(run))
    assert found(completion_times(1.15)(run))["short_of_grants"] == "SUSPECT"  # what starting takes is known
    slow = completion_times(1.4)(run)
    assert found(slow)["short_of_grants"] == "SUSPECT"
    assert any("slower than grants allow (0.979)" in reason for reason in verdict(slow).reasons)
    shared = scenario_of(fabric={"uplink_rate_mbps": 5.0})
    assert "short_of_grants" not in found(completion_times(1.4)(under_gse2(healthy(shared))))
    assert "short_of_grants" not in found(completion_times(1.4)(replace(run, scheme="ecmp-agents")))


def test_every_check_is_tripped_in_a_real_run_or_it_is_said_why_not() -> None:
    tripped = {one.trips for one in SPOILERS.values()} - {""}
    assert tripped | ELSEWHERE.keys() | ROWS_ONLY.keys() == THRESHOLDS.keys()
    assert not (tripped | ELSEWHERE.keys()) & ROWS_ONLY.keys()
    assert set().union(*(one.may for one in SPOILERS.values())) <= THRESHOLDS.keys()
    assert all((PROJECT / "tests/integration" / name).exists() for name in ELSEWHERE.values())


def test_every_check_of_the_table_is_tripped_by_some_case() -> None:
    elsewhere = {"compute_lateness", "sender_lateness"}  # in the files of these workloads
    tripped = {case[2] for case in CASES} | {"switch_bound", "agents", "short_of_grants"} | elsewhere
    assert tripped == set(THRESHOLDS)
    assert len(CHECKS) == len(THRESHOLDS)


def test_worst_finding_is_the_verdict_and_all_are_told() -> None:
    result = verdict(gsos_died(probes_late(0.02)(link_off_by(0.04)(healthy(scenario_of())))))
    assert result.level is Level.INVALID
    assert len(result.reasons) == 3


def test_retransmitted_segments_may_cross_an_uplink_again() -> None:
    run = uplink_bytes(1.03)(healthy(scenario_of()))
    assert found(run) == {"uplink_bytes": "SUSPECT"}
    assert found(sent_again(40, dropped=40)(run)) == {}


def test_frames_agents_send_again_may_cross_a_link_again() -> None:
    """After a fault agents send again what was only late: that is the scheme's doing, and its receiver drops it."""
    more = uplink_bytes(1.03)(healthy(scenario_of()))  # 43 frames of 1406
    assert "uplink_bytes" in found(under_gse2(more))
    assert "uplink_bytes" not in found(under_gse2(more, retransmitted=50))
    assert "uplink_bytes" in found(under_gse2(uplink_bytes(1.06)(healthy(scenario_of())), retransmitted=50))
    to_a_host = bytes_to_host("l1-eth1", 1.03)(healthy(scenario_of()))  # 11 frames of 352
    for scheme, seen in (("gse2-e2e", False), ("gse2-n2n", True)):  # a leaf's agent hands its hosts no frame twice
        run = replace(under_gse2(to_a_host, retransmitted=15, control_out=0), scheme=scheme)
        assert ("host_bytes" in found(run)) == seen, scheme
    assert "host_bytes" in found(replace(under_gse2(to_a_host, control_out=0), scheme="gse2-e2e"))


def test_segments_sent_again_are_no_doubt_where_something_of_the_scenario_explains_them() -> None:
    healthy_run = healthy(scenario_of())
    assert found(sent_again(3)(healthy_run)) == {}  # TCP guesses wrong now and then
    assert found(sent_again(30, dropped=25)(healthy_run)) == {}
    refused = under_gse2(sent_again(30)(healthy_run), queue_full_drops=30, dropped=30)
    assert "resent" not in found(refused)
    for name in ("gse2-n2n", "spray"):  # spray brings frames out of order, which TCP takes for loss
        run = replace(under_gse2(sent_again(30)(healthy_run)), scheme=name)
        assert ("resent" in found(run)) == (name == "gse2-n2n")
    for explanation in (
        {"faults": [{"t_s": 0.1, "action": "fail", "target": "l1-s1"}]},
        {"fabric": {"loss_fraction": 0.001}},
    ):
        assert "resent" not in found(sent_again(30)(healthy(scenario_of(**explanation)))), explanation


def test_agents_that_wait_for_each_other_are_no_doubt() -> None:
    assert found(with_agent_threads(0.1, 0.15)(healthy(scenario_of()))) == {}  # 60%, as on a quiet machine


def test_one_busy_program_is_judged_alike_under_every_scheme() -> None:
    for scheme in ("ecmp", "gse1"):
        run = somebody_else_worked(0.85)(healthy(scenario_of(), scheme=scheme))
        assert verdict(run).level is Level.INVALID


def test_background_traffic_may_add_bytes_but_not_take_them() -> None:
    background = scenario_of(background=[{"src": "h1", "dst": "h3"}])
    assert found(replace(uplink_bytes(1.5)(healthy(scenario_of())), scenario=background)) == {}
    assert found(replace(uplink_bytes(0.5)(healthy(scenario_of())), scenario=background)) == {"uplink_bytes": "INVALID"}


def test_what_a_switch_gives_up_behind_a_dropped_frame_is_no_doubt() -> None:
    run = healthy(scenario_of())
    assert found(lost_before_h1(20, 50)(run)) == {}
    assert found(lost_before_h1(40, 50)(run)) == {"lost_in_switch": "SUSPECT"}


def test_frames_lost_in_switches_are_counted_where_nothing_else_explains_them() -> None:
    lost = lost_before_h1(20, 0)(healthy(scenario_of()))
    assert "lost_in_switch" not in found(under_gse2(lost))  # a leaf's GSP takes hosts' frames and makes others
    assert "lost_in_switch" in found(under_gse2(lost_within_a_spine(healthy(scenario_of()))))
    waits = [
        replace(row, backlog_packets=20) if row.intf == "l1-eth1" and row.t_s == lost.tables.queues[-1].t_s else row
        for row in lost.tables.queues
    ]
    assert found(with_rows(lost, queues=waits)) == {}  # they are still there
    broken = scenario_of(faults=[{"t_s": 0.2, "action": "fail", "target": "l1-s1"}])
    assert "lost_in_switch" not in found(lost_before_h1(20, 0)(healthy(broken)))


def test_what_a_broken_link_loses_is_part_of_the_scenario() -> None:
    scenario = scenario_of(faults=[{"t_s": 0.2, "action": "fail", "target": "l2-s1"}])
    run = interface_lost("tx_dropped")(healthy(scenario))  # l2-eth3 leads to s1
    start_s = run.tables.iterations[1].start_s
    event = {"event": "fault", "t_s": start_s + 0.2, "action": "fail", "target": "l2-s1"}
    assert found(replace(run, events=(*run.events, event))) == {}


RATE = "rate (bytes/s) is 125000, expected 1.25e+06"
SLOWED = [f"{intf}: {RATE}" for intf in ("l2-eth3", "s1-eth2")]  # both ends of l2-s1


def changed_by(faults: list[tuple[float, str, str]], differences: list[str], read_back_s: float = 9.0) -> RunRecord:
    """Return a run with faults (when made, action, target) that was read back with differences at the end."""
    scenario = scenario_of(faults=[{"t_s": t_s, "action": action, "target": name} for t_s, action, name in faults])
    made = [{"event": "fault", "t_s": t_s, "action": action, "target": name} for t_s, action, name in faults]
    said = {"event": "read_back", "t_s": read_back_s, "differences": differences}
    run = healthy(scenario)
    return replace(run, events=(*run.events, *made, said))


@pytest.mark.parametrize(
    ("faults", "left"),
    [
        ([(2.0, "slow", "l2-s1")], []),
        ([(2.0, "slow", "s1")], []),
        ([(2.0, "slow", "l1-s1")], SLOWED),
        ([(2.0, "slow", "l2-s2")], SLOWED),
        ([(2.0, "slow", "l2-s1"), (3.0, "heal", "l2-s1")], SLOWED),
        ([(2.0, "slow", "l2-s1"), (3.0, "heal", "s1")], SLOWED),
        ([(2.0, "slow", "s1"), (3.0, "heal", "l1-s1")], []),
        ([(2.0, "slow", "l2-s1"), (3.0, "heal", "l2-s1"), (4.0, "slow", "l2-s1")], []),
        ([(3.0, "heal", "l2-s1"), (2.0, "slow", "l2-s1")], SLOWED),  # told in another order
        ([(2.0, "slow", "l2-s1"), (9.5, "heal", "l2-s1")], []),  # after the settings were read back
        ([(9.5, "slow", "l2-s1")], SLOWED),
    ],
)
def test_only_faults_nothing_healed_excuse_other_settings_at_the_end(
    faults: list[tuple[float, str, str]], left: list[str]
) -> None:
    elsewhere = "l1-eth1: mtu is 1500, expected 9000"
    for others in ([], [elsewhere]):
        findings = verdict(changed_by(faults, [*SLOWED, *others])).findings
        said = [finding.text for finding in findings if finding.check == "settings_after"]
        expected = [*left, *others]
        assert said == ([f"settings changed during the run: {'; '.join(expected)}"] if expected else [])


def test_faults_that_were_planned_but_not_made_excuse_nothing() -> None:
    run = changed_by([(2.0, "slow", "l2-s1")], SLOWED)
    run = replace(run, events=tuple(event for event in run.events if event["event"] != "fault"))
    assert found(run)["settings_after"] == "INVALID"


def test_a_strangers_fault_excuses_nothing() -> None:
    run = changed_by([(2.0, "slow", "l2-s1")], SLOWED)
    events = [{**event, "target": "s9"} if event["event"] == "fault" else event for event in run.events]
    assert found(replace(run, events=tuple(events)))["settings_after"] == "INVALID"


def test_short_collectives_may_profit_from_a_full_token_bucket() -> None:
    """64 KiB on 4 ranks is 98 kB per hop: a bucket of 11.5 kB is 12% of it."""
    run = healthy(scenario_of(workload={"size_bytes": 65_536}, measure={"probe_interval_ms": 1}))
    assert found(completion_times(0.87)(run)) == {}
    assert found(completion_times(0.84)(run)) == {"impossible": "INVALID"}


def without(column: str) -> Spoil:
    def spoil(run: RunRecord) -> RunRecord:
        return with_rows(run, flows=[replace(row, **{column: None}) for row in run.tables.flows])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "missing"),
    [
        (lambda run: with_rows(run, links=[]), "uplink counters"),
        (lambda run: with_rows(run, queues=[]), "queue drops"),
        (lambda run: with_rows(run, cpu=[]), "CPU of cores"),
        (lambda run: with_rows(run, threads=[]), "CPU of the switches"),
        (lambda run: with_rows(run, sockets=[]), "packet-socket drops"),
        (lambda run: with_rows(run, probes=[]), "latency"),
        (lambda run: with_rows(run, probes=[replace(row, latency_s=None) for row in run.tables.probes]), "latency"),
        (without("retransmitted_segments"), "retransmitted segments"),
        (without("out_of_order_packets"), "out-of-order packets"),
        (without("path"), "paths of flows"),
        (lambda run: replace(run, events=()), "lateness of samples"),
        (lambda run: replace(run, network={}), "read-back settings, packet-socket drops"),
        (
            lambda run: with_rows(run, ranks=[replace(row, start_lateness_s=None) for row in run.tables.ranks]),
            "lateness of ranks",
        ),
    ],
)
def test_what_was_not_measured_is_said(spoil: Spoil, missing: str) -> None:
    run = spoil(healthy(scenario_of()))
    if missing.endswith(", packet-socket drops"):
        run = with_rows(run, sockets=[])
    result = verdict(run)
    assert result.reasons == (f"not measured: {missing}",)
    assert result.level is Level.SUSPECT


def on_kernel_datapath(run: RunRecord) -> RunRecord:
    return replace(run, network={**run.network, "datapath": "kernel"})


def test_kernel_datapath_has_no_packet_sockets_to_look_at() -> None:
    assert found(on_kernel_datapath(with_rows(healthy(scenario_of()), sockets=[]))) == {}


def test_kernel_datapath_does_not_wait_for_the_daemon() -> None:
    run = switch_thread(0.02, 0.6)(healthy(scenario_of()))
    assert found(run) == {"switch_wait": "INVALID"}
    assert found(on_kernel_datapath(run)) == {}


def test_kernel_datapath_without_idle_time_must_not_set_the_pace() -> None:
    run = on_kernel_datapath(cores_busy(0.97)(healthy(scenario_of())))
    assert found(run) == {"busy_cores": "SUSPECT"}
    both = {"switch_bound": "INVALID", "short_of_paths": "INVALID"}
    assert found(completion_times(1.2)(run)) == {"busy_cores": "SUSPECT", **both}
    assert "switch_bound" not in found(completion_times(1.2)(on_kernel_datapath(healthy(scenario_of()))))


def test_interrupts_are_the_kernel_datapath_and_nobody_else() -> None:
    run = healthy(scenario_of())
    cpu = [replace(row, softirq_s=0.2 * row.t_s, idle_s=row.idle_s - 0.2 * row.t_s) for row in run.tables.cpu]
    run = with_rows(run, cpu=cpu)
    assert found(run) == {"foreign_load": "SUSPECT"}  # 2 x 0.2 cores nobody of the run accounts for
    assert found(on_kernel_datapath(run)) == {}
    assert found(
        on_kernel_datapath(with_rows(run, cpu=[replace(row, softirq_s=0.0, system_s=row.softirq_s) for row in cpu]))
    ) == {"foreign_load": "SUSPECT"}


def test_a_fault_no_iteration_saw_is_no_measured_outage() -> None:
    run = healthy(scenario_of(faults=[{"t_s": 60, "action": "fail", "target": "s1"}]))
    event = {"event": "fault", "t_s": 60.0, "action": "fail", "target": "s1"}
    assert verdict(replace(run, events=(*run.events, event))).reasons == ("not measured: outage",)
    (reason,) = verdict(run).reasons
    assert re.fullmatch(
        r"not measured: faults: fail s1 \(planned for 60 s\) never made: the workload was over after [\d.]+ s", reason
    )


def test_run_without_any_measured_iteration_is_invalid_not_a_crash() -> None:
    run = healthy(scenario_of())
    result = verdict(with_rows(run, iterations=run.tables.iterations[:1]))
    assert result.level is Level.INVALID
    assert any(reason.startswith("not measured: completion times") for reason in result.reasons)


def test_a_threshold_itself_is_still_good() -> None:
    threshold = Threshold(0.03, 0.10, "")
    assert [threshold.level(value) for value in (0.03, 0.031, 0.10, 0.11)] == [
        Level.VALID,
        Level.SUSPECT,
        Level.SUSPECT,
        Level.INVALID,
    ]


def test_sockets_of_several_switch_processes_are_added() -> None:
    rows = [
        SocketRow(t_s=t_s, process="ovs-vswitchd", inode_or_port=port, drops=drops)
        for t_s, port, drops in ((0.0, "1", 5), (9.0, "1", 20), (0.0, "2", 0), (9.0, "2", 15))
    ]
    run = with_rows(healthy(scenario_of()), sockets=rows)
    assert "30 packets lost in packet sockets of switches and agents" in verdict(run).reasons[0]


@pytest.mark.parametrize("scheme", ["ecmp", "gse1", "gse2-n2n", "gse2-e2e"])
def test_runs_of_a_quiet_machine_that_are_stored_with_the_project_are_valid_by_these_checks(scheme: str) -> None:
    first, *_others = sorted((PROJECT / "results" / "reference" / "allreduce_ring").glob(f"*-{scheme}-seed1-*"))
    assert verdict(load(first).record) == Verdict(Level.VALID, ())
