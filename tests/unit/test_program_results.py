"""A program's run: its numbers, its verdict, its summary; rows are made up, of a healthy machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gse_command import Gse
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import healthy, scenario_of, store, with_rows

from testbed.cli.exec import summary_lines
from testbed.errors import ResultsError
from testbed.evaluation.probedelay import LEAST_PROBES
from testbed.evaluation.program import HostTraffic, ProgramMetrics, _merged, measure_program
from testbed.evaluation.records import CrossFlowRow, ReplayRow, RunRecord, cells_from_row, columns
from testbed.fidelity.alarms import ALARMS, STRANGERS
from testbed.fidelity.program import evidence_of_program, judge_program
from testbed.fidelity.verdict import Level, Verdict
from testbed.results.json_files import read_json, write_json
from testbed.results.program_summary import summarise_program
from testbed.results.run import load
from testbed.views.comparison import compare

Spoil = Callable[[RunRecord], RunRecord]
TCP = {"sent_segments": 1000, "retransmitted_segments": 2, "out_of_order_packets": 3}


def program_run(scheme: str = "ecmp") -> RunRecord:
    """Return a run whose fabric carried what a ring all-reduce sends twice, and nobody knows that it was one."""
    run = healthy(scenario_of(workload={"announce": False}), scheme=scheme)
    starts = [row.start_s for row in run.tables.iterations if not row.warmup]
    end_s = max(row.end_s for row in run.tables.iterations)
    hosts = {row.rank: row.host for row in run.tables.ranks}
    events = [
        {"event": "rank_started", "t_s": min(starts) - 0.5 + rank * 0.01, "rank": rank, "host": host, "pid": 100 + rank}
        for rank, host in hosts.items()
    ]
    events += [
        {"event": "rank_ended", "t_s": end_s + 0.4 + rank * 0.01, "rank": rank, "host": host, "status": 0}
        for rank, host in hosts.items()
    ]
    events += [
        {"event": "tcp", "t_s": end_s + 0.5, "hosts": dict.fromkeys(hosts.values(), TCP)},
        {"event": "read_back", "t_s": end_s + 0.6, "differences": []},
        {"event": "gsos_jobs", "t_s": end_s + 0.6, "before": {}, "after": {}},
        {"event": "reported", "t_s": end_s, "rank": 0, "host": "h1", "values": {"busbw_mbps": 9.5}},
    ]
    run = with_rows(run, iterations=(), ranks=(), flows=(), transfers=())
    return replace(run, events=(*run.events, *events))


def verdict(run: RunRecord, *, ranks_poll: bool = False) -> Verdict:
    metrics = measure_program(run)
    return judge_program(evidence_of_program(run, metrics), metrics, ranks_poll=ranks_poll)


# --- numbers ------------------------------------------------------------------------------------------


def test_numbers_of_a_program_come_from_the_fabric() -> None:
    metrics = measure_program(program_run())
    assert metrics.span is not None
    assert metrics.span[1] - metrics.span[0] > metrics.communicating_s > 0
    ((first_s, last_s),) = metrics.communicating  # the pause is shorter than a sample and a bit
    assert first_s == pytest.approx(metrics.span[0] + 0.5, abs=0.25)
    assert last_s == pytest.approx(metrics.span[1] - 0.43, abs=0.25)
    for host in metrics.hosts:
        # two rings of 1 MiB over four ranks: 2 x 3/4 MiB each, and frames' headers, acknowledgements, probes
        assert host.sent_bytes == pytest.approx(2 * 1.5 * 2**20, rel=0.03)
        assert host.received_bytes == pytest.approx(2 * 1.5 * 2**20, rel=0.03)
        assert host.retransmitted_segments == 2
    assert metrics.uplinks is not None
    assert 0.3 < metrics.uplinks.utilization <= 1.0
    assert metrics.dropped_packets == 0
    assert metrics.latency is not None and metrics.latency.count > 0


def test_ranks_are_told_apart_from_start_to_end() -> None:
    metrics = measure_program(program_run())
    assert [(rank.rank, rank.status) for rank in metrics.ranks] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert metrics.span == (metrics.ranks[0].start_s, metrics.ranks[3].end_s)


def without_end(run: RunRecord) -> RunRecord:
    return replace(run, events=tuple(event for event in run.events if event["event"] != "rank_ended"))


def test_a_program_that_never_ended_has_no_duration() -> None:
    metrics = measure_program(without_end(program_run()))
    assert metrics.span is None
    assert metrics.judged == ()
    assert metrics.dropped_packets is None
    assert [host.sent_bytes for host in metrics.hosts] == [None] * 4


def silent(run: RunRecord) -> RunRecord:
    still = [replace(row, tx_bytes=0, rx_bytes=0, tx_packets=0, rx_packets=0) for row in run.tables.links]
    return with_rows(run, links=still)


def test_probes_alone_are_no_traffic_of_a_program() -> None:
    run = healthy(scenario_of(measure={"probe_interval_ms": 20.0}))
    last_s = run.tables.links[-1].t_s
    base = {(row.intf): row for row in run.tables.links if row.t_s == run.tables.links[0].t_s}
    frame = 14 + 20 + 8 + run.scenario.measure.probe_bytes
    rows = [
        replace(
            base[row.intf],
            t_s=row.t_s,
            tx_bytes=base[row.intf].tx_bytes + round(row.t_s / 0.02) * frame,
            rx_bytes=base[row.intf].rx_bytes + round(row.t_s / 0.02) * frame,
        )
        for row in run.tables.links
    ]
    events = (
        {"event": "rank_started", "t_s": 0.0, "rank": 0, "host": "h1"},
        {"event": "rank_ended", "t_s": last_s, "rank": 0, "host": "h1", "status": 0},
    )
    metrics = measure_program(replace(with_rows(run, links=rows), events=events))
    assert metrics.communicating == ()
    assert metrics.judged == ((0.0, last_s),)  # the machine is judged all the time then


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5))))
def test_merged_windows_cover_the_same_and_do_not_touch(pairs: list[tuple[int, int]]) -> None:
    windows = sorted((float(start), float(start + length)) for start, length in pairs)
    merged = list(_merged(windows))
    covered = {second for start, end in windows for second in range(int(start), int(end))}
    assert {second for start, end in merged for second in range(int(start), int(end))} == covered
    assert all(before[1] < after[0] for before, after in zip(merged, merged[1:], strict=False))


# --- other traffic ------------------------------------------------------------------------------------


def flow(src: str, dst: str, size_bytes: int, start_s: float, completion_s: float | None) -> CrossFlowRow:
    return CrossFlowRow(
        start_s=start_s,
        kind="poisson",
        burst=None,
        src_host=src,
        dst_host=dst,
        seq=0,
        src_port=25_000,
        size_bytes=size_bytes,
        completion_s=completion_s,
        start_lateness_s=0.0,
    )


def by_host(run: RunRecord) -> dict[str, HostTraffic]:
    return {host.host: host for host in measure_program(run).hosts}


def test_without_other_traffic_all_is_the_programs() -> None:
    metrics = measure_program(program_run())
    assert metrics.others == () and metrics.other_sent_bytes == 0
    assert metrics.own_sent_bytes == sum(host.sent_bytes or 0.0 for host in metrics.hosts)


def test_what_others_sent_is_not_the_programs() -> None:
    run = program_run()
    span = measure_program(run).span
    assert span is not None
    replayed = ReplayRow(
        sent_s=span[0] + 1, frame=1, src_host="h1", dst_host="h2", size_bytes=200, latency_s=None, send_lateness_s=0.0
    )
    run = with_rows(run, cross_flows=[flow("h1", "h3", 100_000, span[0] + 0.5, 0.2)], replay=[replayed])
    hosts, metrics = by_host(run), measure_program(run)
    # twelve frames of 8948 bytes of payload and 66 of headers, six acknowledgements
    assert hosts["h1"].other_sent_bytes == pytest.approx(100_000 + 12 * 66 + 200)
    assert (hosts["h3"].other_received_bytes, hosts["h3"].other_sent_bytes) == (100_792, 396)
    assert hosts["h2"].other_received_bytes == 200 and hosts["h4"].other_sent_bytes == 0
    assert metrics.own_sent_bytes == pytest.approx(sum(h.sent_bytes or 0.0 for h in metrics.hosts) - 101_388)
    assert [(one.kind, one.count, one.size_bytes, one.missing) for one in metrics.others] == [
        ("Poisson flows", 1, 100_000, 0),
        ("replayed frames", 1, 0, 1),
    ]


def test_of_what_lasts_longer_than_the_program_only_that_part_counts() -> None:
    run = program_run()
    first_s, last_s = measure_program(run).span or (0.0, 0.0)
    length_s = last_s - first_s
    halves = [flow("h1", "h3", 8948 * 100, first_s - length_s, 2 * length_s)]
    sent = by_host(with_rows(run, cross_flows=halves))["h1"].other_sent_bytes
    assert sent == pytest.approx(9014 * 100 / 2, rel=0.15)  # counters are read a bit before and after


def test_a_program_that_sends_nothing_beside_others_is_a_doubt() -> None:
    run = program_run()
    metrics = measure_program(run)
    assert metrics.span is not None
    everything = [
        flow(host.host, "h1" if host.host != "h1" else "h2", int((host.sent_bytes or 0) * 0.97), metrics.span[0], 1.0)
        for host in metrics.hosts
    ]
    alone = verdict(with_rows(run, cross_flows=everything))
    assert [one.check for one in alone.findings] == ["no_traffic"]
    assert "cannot be told from other traffic" in alone.reasons[0]
    halved = [replace(row, size_bytes=row.size_bytes // 2) for row in everything]
    assert verdict(with_rows(run, cross_flows=halved)).level is Level.VALID


def test_background_transfers_are_others_and_unknown_ones_are_missing() -> None:
    run = program_run()
    span = measure_program(run).span
    assert span is not None
    said = {"event": "background", "src_host": "h1", "dst_host": "h3", "t_s": span[1], "duration_s": 1.0}
    known = replace(run, events=(*run.events, {**said, "received_bytes": 89_480}))
    assert by_host(known)["h1"].other_sent_bytes == pytest.approx(90_140)
    unknown = replace(run, events=(*run.events, {**said, "received_bytes": None}))
    assert measure_program(unknown).own_sent_bytes is None
    assert "bytes of other traffic" in verdict(unknown).reasons[0]


# --- verdict ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ecmp", "gse1"])
def test_a_good_run_is_valid(scheme: str) -> None:
    assert verdict(program_run(scheme)) == Verdict(Level.VALID, ())


def event(kind: str, /, **fields: object) -> Spoil:
    return lambda run: replace(run, events=(*run.events, {"event": kind, "t_s": 2.0, **fields}))


def without(kind: str) -> Spoil:
    return lambda run: replace(run, events=tuple(event for event in run.events if event["event"] != kind))


def no_idle_time(run: RunRecord) -> RunRecord:
    """Ranks fill whatever time there is."""
    cpu = [replace(row, idle_s=0.0, iowait_s=0.0, user_s=row.t_s) for row in run.tables.cpu]
    threads = [replace(row, run_s=1.15 * row.t_s) if row.role == "rank" else row for row in run.tables.threads]
    return with_rows(run, cpu=cpu, threads=threads)


def kept_waiting(run: RunRecord) -> RunRecord:
    return with_rows(run, threads=[replace(row, wait_s=0.4 * row.t_s) for row in run.tables.threads])


def slow_link(run: RunRecord) -> RunRecord:
    """Frames wait for l1-eth3, which sends 5% slower than it should."""
    rows = [
        replace(row, backlog_bytes=400_000, sent_bytes=round(0.95 * 1_250_000 * row.t_s))
        if row.intf == "l1-eth3"
        else row
        for row in run.tables.queues
    ]
    return with_rows(run, queues=rows)


def unanswered(run: RunRecord) -> RunRecord:
    first, last = run.tables.lookups
    return with_rows(run, lookups=[first, replace(last, lost=4)])


def cores_drop(run: RunRecord) -> RunRecord:
    *others, last = run.tables.softnet
    return with_rows(run, softnet=[*others, replace(last, dropped=last.dropped + 1)])


def held_probes(run: RunRecord, during: Callable[[float], bool] = lambda _sent_s: True) -> RunRecord:
    """Those sent at such times took half a second longer than any queue explains."""
    rows = [
        replace(row, latency_s=row.latency_s + 0.5) if row.latency_s is not None and during(row.sent_s) else row
        for row in run.tables.probes
    ]
    return with_rows(run, probes=rows)


CASES: dict[str, tuple[Spoil, Level, str]] = {
    "probe_delay": (held_probes, Level.SUSPECT, "ms (p50) where queues explain"),
    "link_rate": (slow_link, Level.SUSPECT, "l1-eth3>s1-eth1 carried 0.950 of its rate while frames waited"),
    "upcalls_lost": (unanswered, Level.INVALID, "4 packets lost in upcalls"),
    "softnet_drops": (cores_drop, Level.SUSPECT, "cores dropped 1 packets they had received (softnet)"),
    "program_failed": (
        event("program_failed", message="rank 3 on h4 (pid 9) exited with status 3", rank=3, host="h4"),
        Level.INVALID,
        "rank 3 on h4 (pid 9) exited with status 3",
    ),
    "no_traffic": (silent, Level.SUSPECT, "next to nothing"),
    "process_died": (event("process_died", role="gsos"), Level.INVALID, "died during the run: gsos at 2.0 s"),
    "process_stopped": (event("process_stopped", name="rank 1"), Level.SUSPECT, "rank 1"),
    "jobs": (event("gsos_jobs", before={}, after={"x": 1}), Level.INVALID, "x"),
    "settings_after": (event("read_back", differences=["l1-eth1: rate"]), Level.INVALID, "l1-eth1: rate"),
    "busy_cores": (no_idle_time, Level.INVALID, "cores 100.0% busy"),
    "switch_wait": (kept_waiting, Level.SUSPECT, "for a core 40% of the time"),
    "missing": (without("tcp"), Level.SUSPECT, "not measured: TCP's counters"),
}


@pytest.mark.parametrize("check", CASES)
def test_spoiling_one_thing_trips_one_check(check: str) -> None:
    spoil, level, text = CASES[check]
    (finding,) = verdict(spoil(program_run())).findings
    assert (finding.check, finding.level) == (check, level)
    assert text in finding.text


@pytest.mark.parametrize(
    ("path", "after_s", "seen"),
    [
        (1, 0.5, True),
        (2, 0.5, False),  # what the scenario broke
        (1, -0.9, True),  # before the first rank, and not back when it began
        (1, -1.5, False),
        (1, 1000.0, False),
    ],
)
def test_healthy_paths_taken_for_dead_are_a_doubt_beside_faults(path: int, after_s: float, seen: bool) -> None:
    fault = {"t_s": 0.1, "action": "fail", "target": "l1-s2"}
    span = measure_program(program_run()).span
    assert span is not None
    change = {"gsp": "l2", "t_s": span[0] + after_s, "leaf": 1, "path": path, "up": False}
    run = replace(program_run(), scheme="gse2-n2n", scenario=scenario_of(workload={"announce": False}, faults=[fault]))
    for told in (
        event("fault", action="fail", target="l1-s2"),
        event("agents", **dict.fromkeys((*ALARMS, *STRANGERS), 0)),
        event("path_changes", gsps=["l1", "l2"], changes=[change]),
    ):
        run = told(run)
    assert [one.check for one in verdict(run).findings] == (["agents"] if seen else [])


def test_probes_are_judged_while_a_program_sends_and_at_no_other_time(tmp_path: Path) -> None:
    run = program_run("gse1")  # as it is stored below
    ((first_s, last_s),) = measure_program(run).judged

    def quiet(sent_s: float) -> bool:
        return not first_s <= sent_s <= last_s

    assert len([row for row in run.tables.probes if quiet(row.sent_s)]) >= LEAST_PROBES
    assert verdict(held_probes(run, quiet)).level is Level.VALID
    found = summarise_program(load(stored(tmp_path, run)))["details"]["probe_delay"]
    sent = [row for row in run.tables.probe_queues if not quiet(row.sent_s)]
    assert found["probes"] == len(sent) and found["unexplained_p50_ms"] >= 0


def test_ranks_that_poll_leave_no_idle_time_and_that_is_no_doubt() -> None:
    assert verdict(no_idle_time(program_run()), ranks_poll=True).level is Level.VALID


def test_a_full_core_while_nothing_is_sent_is_no_doubt() -> None:
    """Importing a library fills cores before anything is measured."""
    run = program_run()
    first_s = measure_program(run).communicating[0][0]

    def busy_until(t_s: float) -> float:
        return min(t_s, first_s)

    early = [replace(r, user_s=r.user_s + busy_until(r.t_s) * 9, idle_s=r.idle_s) for r in run.tables.cpu]
    assert verdict(with_rows(run, cpu=early)).level is Level.VALID


# --- stored -------------------------------------------------------------------------------------------


def stored(tmp_path: Path, run: RunRecord) -> Path:
    """Write a run as ``gse exec`` does."""
    path = store(tmp_path, healthy(scenario_of()))
    manifest = read_json(path / "manifest.json")
    program = {"argv": ["python3", "x.py"], "cwd": "/", "timeout_s": 600.0, "mpi": False}
    fields = {"events": list(run.events), "program": program, "scenario": run.scenario.model_dump(mode="json")}
    write_json(path / "manifest.json", {**manifest, **fields})
    for name in ("iterations.csv", "ranks.csv", "flows.csv", "summary.json"):
        (path / name).unlink()
    return path


def test_a_summary_says_what_the_fabric_carried_and_what_the_program_said(tmp_path: Path) -> None:
    summary: dict[str, Any] = summarise_program(load(stored(tmp_path, program_run())))
    assert summary["verdict"] == "VALID"
    assert summary["reported"] == [{"busbw_mbps": 9.5, "rank": 0}]
    assert summary["program"]["argv"] == ["python3", "x.py"]
    assert summary["program"]["failed"] is None
    assert [rank["host"] for rank in summary["program"]["ranks"]] == ["h1", "h3", "h2", "h4"]
    assert summary["retransmitted_segments"] == 8
    assert summary["details"]["cpu"]["machine"] is not None


def test_a_summary_and_its_lines_say_what_others_sent(tmp_path: Path) -> None:
    run = program_run()
    span = measure_program(run).span
    assert span is not None
    rows = [flow("h1", "h3", 500_000, span[0], 1.0), flow("h2", "h4", 9000, span[0], None)]
    path = stored(tmp_path, run)
    with (path / "crossflows.csv").open("w") as file:
        print(*columns(CrossFlowRow), sep=",", file=file)
        for row in rows:
            print(*cells_from_row(row), sep=",", file=file)
    summary = summarise_program(load(path))
    assert summary["other_traffic"]["sent_bytes"] == pytest.approx(500_000 + 9000, rel=0.02)
    lines = dict(summary_lines(summary))
    assert lines["Poisson flows, MB"] == "0.500 by 2, 1 not arrived"
    own_mb, other_mb = float(lines["  of the program, about"]), float(lines["  of other traffic, about"])
    assert own_mb + other_mb == pytest.approx(float(lines["sent by all hosts, MB"]), abs=0.002)
    assert "  of which links were busy, s" in lines
    (path / "crossflows.csv").unlink()
    alone = summarise_program(load(path))
    assert "other_traffic" not in alone and "  of which communicating, s" in dict(summary_lines(alone))


@pytest.mark.parametrize(
    "broken",
    [
        {"event": "rank_started", "t_s": 1.0, "rank": 4, "host": "h99"},
        {"event": "tcp", "t_s": 1.0, "hosts": {"h1": 5}},
    ],
)
def test_events_that_cannot_be_are_an_error(tmp_path: Path, broken: dict[str, Any]) -> None:
    run = program_run()
    path = stored(tmp_path, replace(run, events=(*run.events, broken)))
    with pytest.raises(ResultsError):
        summarise_program(load(path))


def test_a_programs_run_is_not_compared_as_if_it_were_the_scenarios_workload(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored(tmp_path, program_run())
    with pytest.raises(ResultsError, match="no workload to compare"):
        compare([load(path)], allow_invalid=True)
    answer = Gse(capsys)("plot", str(path))
    assert answer.status == 2
    assert "no workload to compare; got a run of gse exec" in answer.err


def test_numbers_never_come_from_nothing() -> None:
    empty = ProgramMetrics(
        span=None, communicating=(), ranks=(), hosts=(), uplinks=None, latency=None, dropped_packets=None
    )
    assert empty.judged == ()
    assert empty.communicating_s == 0
