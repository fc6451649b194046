"""What of probes' latencies the modelled queues explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import healthy, scenario_of, with_rows

from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.probedelay import LEAST_PROBES, ProbeDelay, _Extremes, probe_delay, waiting_s
from testbed.evaluation.records import ProbeQueueRow, ProbeRow, RunRecord
from testbed.fidelity.delays import allowed_ms
from testbed.gse.hashing import hashed_path
from testbed.model.oracle import path_name
from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.topology import Host
from testbed.results.run import load
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import PROBE_PORT

PROJECT = Path(__file__).resolve().parents[2]
FRAME, PROBE = 9014, 106  # a full frame; 64 bytes in UDP, IPv4 and Ethernet
RATE = mbps_to_bytes_per_s(10.0)


@cache
def quiet() -> RunRecord:
    return healthy(scenario_of())


def explained(run: RunRecord) -> ProbeDelay | None:
    return probe_delay(run, windows(measured(run.tables.iterations)))


def told(run: RunRecord) -> ProbeDelay:
    found = explained(run)
    assert found is not None
    return found


def with_queues(run: RunRecord, backlog: Callable[[str, float], int], own_bytes: int = 0) -> RunRecord:
    """Return the run with other backlogs: of the switches' queues by interface and time, and before every probe."""
    queues = [replace(row, backlog_bytes=backlog(row.intf, row.t_s)) for row in run.tables.queues]
    before = [replace(row, backlog_bytes=own_bytes) for row in run.tables.probe_queues]
    return with_rows(run, queues=queues, probe_queues=before)


def with_latencies(run: RunRecord, latency_s: Callable[[ProbeRow], float | None]) -> RunRecord:
    return with_rows(run, probes=[replace(row, latency_s=latency_s(row)) for row in run.tables.probes])


def in_windows(run: RunRecord) -> Sequence[ProbeQueueRow]:
    during = windows(measured(run.tables.iterations))
    return [row for row in run.tables.probe_queues if any(start <= row.sent_s <= end for start, end in during)]


def links_of(run: RunRecord, src: str, dst: str, path: int) -> list[str]:
    """Return the interfaces behind its host's own that a frame leaves by."""
    topology = run.topology
    return [one.src.intf for one in topology.route(topology.host(src), topology.host(dst), path)[1:]]


def passed_s(backlog_bytes: float, head: float) -> float:
    """Return how long a queue keeps a probe; ``head``: how much of the first frame has been waited for already."""
    if not backlog_bytes:
        return 0.0
    return (backlog_bytes - head * min(backlog_bytes, FRAME) + PROBE) / RATE


def intfs(run: RunRecord) -> list[str]:
    return [one.src.intf for one in run.topology.directions if one.kind != "host_tx"]


@given(size=st.integers(0, 700), lacking=st.floats(0, 1), seed=st.integers(0, 9999))
def test_extremes_of_any_stretch_are_those_of_its_samples(size: int, lacking: float, seed: int) -> None:
    rng = Random(seed)
    values = [None if rng.random() < lacking else rng.randrange(1000) for _ in range(size)]
    extremes = _Extremes(values)
    for _ in range(30):
        first = rng.randrange(size + 1)
        end = rng.randrange(first, size + 3)
        sampled = [value for value in values[first:end] if value is not None]
        assert extremes.of(first, end) == ((min(sampled), max(sampled)) if sampled else None)


backlogs = st.one_of(st.just(0), st.integers(PROBE, 262_144))


@given(
    st.lists(backlogs, min_size=len(intfs(quiet())), max_size=len(intfs(quiet()))),
    backlogs,
    st.integers(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.2),
)
def test_what_queues_do_is_explained_on_any_path_and_what_something_else_does_is_not(
    values: list[int], own_bytes: int, path: int, head: float, held_s: float
) -> None:
    waiting = dict(zip(intfs(quiet()), values, strict=True))
    run = with_queues(quiet(), lambda intf, _t_s: waiting.get(intf, 0), own_bytes)

    def latency_s(row: ProbeRow) -> float:
        links = links_of(run, row.src_host, row.dst_host, path)
        return passed_s(own_bytes, head) + sum(passed_s(waiting[intf], head) for intf in links) + held_s

    found = told(with_latencies(run, latency_s))
    assert not found.paths_known
    assert found.unexplained_p50_ms <= held_s * 1000 + 1e-6
    assert found.explained_low_p50_ms <= found.measured_p50_ms - held_s * 1000 + 1e-6


@given(st.lists(backlogs, min_size=60, max_size=60), st.floats(0, 1), st.floats(0, 0.1))
def test_a_queue_that_grows_or_shrinks_between_samples_explains_what_it_does(
    samples: list[int], head: float, held_s: float
) -> None:
    """All else is empty, so that what is explained is this queue's doing."""
    port, times_s = "l2-eth2", sorted({row.t_s for row in quiet().tables.queues})
    values = dict(zip(times_s, (samples * len(times_s))[: len(times_s)], strict=True))
    run = with_queues(quiet(), lambda intf, t_s: values[t_s] if intf == port else 0)

    def backlog_at(t_s: float) -> float:
        before = max(t for t in times_s if t <= t_s)
        after = min(t for t in times_s if t >= t_s)
        share = (t_s - before) / (after - before) if after > before else 0.0
        return values[before] + share * (values[after] - values[before])

    def latency_s(row: ProbeRow) -> float:
        there = port in links_of(run, row.src_host, row.dst_host, 0)
        return (passed_s(backlog_at(row.sent_s), head) if there else 0.0) + held_s

    found = told(with_latencies(run, latency_s))
    assert found.unexplained_p50_ms <= found.unexplained_p90_ms <= held_s * 1000 + 1e-6
    assert found.explained_low_p50_ms <= found.measured_p50_ms - held_s * 1000 + 1e-6


@given(backlogs, backlogs, st.floats(1, 1000))
def test_more_backlog_never_explains_less(one: int, other: int, rate_mbps: float) -> None:
    least, most = sorted((one, other))
    low, high = waiting_s((least, most), rate_mbps, probe_bytes=PROBE, full_bytes=FRAME)
    assert 0 <= low <= high
    assert low <= waiting_s((most, most), rate_mbps, probe_bytes=PROBE, full_bytes=FRAME)[0]
    assert waiting_s((least, least), rate_mbps, probe_bytes=PROBE, full_bytes=FRAME)[1] <= high


def test_an_empty_fabric_explains_nothing_for_a_bucket_passes_a_frame_at_once() -> None:
    found = told(with_latencies(with_queues(quiet(), lambda _intf, _t_s: 0), lambda _row: 0.001))
    assert (found.explained_low_p50_ms, found.explained_high_p50_ms) == (0.0, 0.0)
    assert found.measured_p50_ms == found.measured_mean_ms == found.unexplained_p50_ms == pytest.approx(1.0)


def test_numbers_of_a_known_backlog() -> None:
    """Two frames before the probe in its host, one in front of the receiver: 14.4 + 7.2 ms, and itself twice."""
    run = with_queues(quiet(), lambda intf, _t_s: FRAME if intf in ("l2-eth1", "l2-eth2") else 0, 2 * FRAME)
    found = told(with_latencies(run, lambda row: 0.02 + (0.001 if row.seq % 2 else 0.0)))
    assert found.explained_high_p50_ms == pytest.approx((3 * FRAME + 2 * PROBE) / RATE * 1000)
    assert found.explained_low_p50_ms == pytest.approx(FRAME / RATE * 1000)
    assert found.measured_p50_ms in (pytest.approx(20.0), pytest.approx(21.0))
    assert found.measured_mean_ms == pytest.approx(20.5, abs=0.1)
    assert found.unexplained_p50_ms == 0.0


def test_single_probes_that_were_held_up_are_no_doubt_of_all() -> None:
    run = with_queues(quiet(), lambda _intf, _t_s: 0)
    found = told(with_latencies(run, lambda row: 0.5 if row.seq % 5 == 0 else 0.001))
    assert found.unexplained_p50_ms == pytest.approx(1.0)
    assert found.unexplained_p90_ms == pytest.approx(500.0)


def hashed(run: RunRecord) -> RunRecord:
    """Return a run under ecmp whose flows took the paths that the model of hashing has for them."""

    def path_of(src_ip: str, dst_ip: str, src_port: int, dst_port: int) -> str | None:
        src, dst = run.topology.host_by_ip(src_ip), run.topology.host_by_ip(dst_ip)
        assert src and dst
        path = hashed_path(run.topology, Flow(src_ip, dst_ip, TCP, src_port, dst_port), src, dst, run.seed)
        return None if path is None else path_name(run.topology, path)

    flows = [replace(row, path=path_of(row.src_ip, row.dst_ip, row.src_port, row.dst_port)) for row in run.tables.flows]
    return with_rows(replace(run, scheme="ecmp"), flows=flows)


MANY_FLOWS = scenario_of(workload={"flows_per_hop": 4})  # 16 of them: no chance


def test_under_ecmp_only_the_path_a_probe_hashes_to_explains_it() -> None:
    run = hashed(healthy(MANY_FLOWS, scheme="ecmp"))

    def way(src: Host, dst: Host) -> list[str]:
        path = hashed_path(run.topology, Flow(src.ip, dst.ip, UDP, PROBE_PORT, PROBE_PORT), src, dst, run.seed)
        assert path is not None
        return links_of(run, src.name, dst.name, path.up)

    pairs = {(row.src_host, row.dst_host) for row in run.tables.probes}
    taken = {intf for src, dst in pairs for intf in way(run.topology.host(src), run.topology.host(dst))}
    beside = set(intfs(run)) - taken
    assert beside & {"l1-eth3", "l1-eth4"}  # both pairs have one sum of addresses, so one path
    full = with_queues(run, lambda intf, _t_s: 200_000 if intf in beside else 0)
    held = with_latencies(full, lambda _row: 0.1)
    found = told(held)
    assert found.paths_known
    assert (found.explained_high_p50_ms, found.unexplained_p50_ms) == (0.0, pytest.approx(100.0))
    assert told(replace(held, scheme="gse1")).unexplained_p50_ms == 0.0  # there it may have gone by the full ones


@pytest.mark.parametrize("why", ["another path", "told of few", "told of none"])
def test_a_model_that_the_switches_contradict_or_hardly_confirm_is_not_believed(why: str) -> None:
    run = hashed(healthy(MANY_FLOWS, scheme="ecmp"))
    first, *others = run.tables.flows
    flows = {
        "another path": [replace(first, path="s1" if first.path == "s2" else "s2"), *others],
        "told of few": [first, *(replace(row, path=None) for row in others)],
        "told of none": [replace(row, path=None) for row in run.tables.flows],
    }
    assert told(run).paths_known
    assert not told(with_rows(run, flows=flows[why])).paths_known


def test_the_model_has_the_paths_of_stored_runs_so_probes_paths_are_known() -> None:
    paths = sorted((PROJECT / "results" / "reference" / "allreduce_ring").glob("*-ecmp-*"))
    assert paths
    for path in paths:
        run = load(path).record
        rows = [
            ProbeQueueRow(sent_s=row.sent_s, src_host=row.src_host, dst_host=row.dst_host, seq=row.seq, backlog_bytes=0)
            for row in run.tables.probes
        ]
        assert explained(run) is None  # stored before hosts' queues were read
        found = told(with_rows(run, probe_queues=rows))
        assert found.paths_known
        # some probes wait 200 ms there: other paths than these would leave much of that unexplained
        assert found.unexplained_p50_ms < 1
        assert found.unexplained_p90_ms < 20


def test_on_one_leaf_a_probe_waits_in_its_hosts_queue_and_in_front_of_the_receiver() -> None:
    one_leaf = {"leaves": 1, "spines": 1, "hosts_per_leaf": 4}
    run = healthy(scenario_of(fabric=one_leaf, workload={"placement": "leaf_local"}))
    pairs = {(row.src_host, row.dst_host) for row in run.tables.probes}
    ports = {intf for src, dst in pairs for intf in links_of(run, src, dst, 0)}
    assert {run.topology.host(dst).port for _src, dst in pairs} == {int(intf.rpartition("eth")[2]) for intf in ports}
    assert not {one.src.intf for one in run.topology.directions if one.kind != "host_rx"} & ports
    full = with_queues(run, lambda intf, _t_s: 2 * FRAME if intf in ports else 200_000, FRAME)
    held = with_latencies(full, lambda _row: 0.1)
    for scheme in ("ecmp", "gse1"):
        found = told(replace(held, scheme=scheme))
        assert found.explained_low_p50_ms == pytest.approx(FRAME / RATE * 1000)
        assert found.explained_high_p50_ms == pytest.approx((3 * FRAME + 2 * PROBE) / RATE * 1000)
        assert found.unexplained_p50_ms == pytest.approx(100 - found.explained_high_p50_ms)


def test_queues_of_slow_host_links_take_as_long_as_these_links_take() -> None:
    """Own queue and receiver's at 5 Mbit/s, uplink and downlink at 20: what waits there takes a quarter of that."""
    run = healthy(scenario_of(fabric={"host_rate_mbps": 5.0, "uplink_rate_mbps": 20.0}))
    slow, fast = mbps_to_bytes_per_s(5.0), mbps_to_bytes_per_s(20.0)
    full = with_queues(run, lambda _intf, _t_s: 3 * FRAME, 2 * FRAME)
    found = told(with_latencies(full, lambda _row: 0.2))
    high_s = (2 * FRAME + PROBE) / slow + 2 * (3 * FRAME + PROBE) / fast + (3 * FRAME + PROBE) / slow
    low_s = FRAME / slow + 2 * 2 * FRAME / fast + 2 * FRAME / slow
    assert found.explained_high_p50_ms == pytest.approx(high_s * 1000)
    assert found.explained_low_p50_ms == pytest.approx(low_s * 1000)
    assert found.unexplained_p50_ms == pytest.approx(200 - high_s * 1000)


@pytest.mark.parametrize(
    "changes",
    [
        {"faults": [{"t_s": 60, "action": "fail", "target": "s1"}]},
        {"fabric": {"delay_ms": 1.0}},
        {"fabric": {"loss_fraction": 0.001}},
        {"fabric": {"priority_band": True}},
    ],
    ids=["faults", "delay", "loss", "bands"],
)
def test_where_the_model_has_no_bound_nothing_is_said(changes: Mapping[str, object]) -> None:
    assert explained(healthy(scenario_of(**changes))) is None


@pytest.mark.parametrize("scheme", ["ecmp-agents", "gse2-n2n", "gse2-e2e", "spray", "flowlet", "uet"])
def test_queues_of_agents_are_not_judged(scheme: str) -> None:
    assert explained(quiet()) is not None
    assert explained(replace(quiet(), scheme=scheme)) is None


def test_what_was_not_measured_explains_nothing() -> None:
    run, tables = quiet(), quiet().tables
    uplinks = {one.src.intf for one in run.topology.directions if one.kind == "uplink"}
    assert explained(with_rows(run, probe_queues=())) is None
    assert explained(with_rows(run, queues=[row for row in tables.queues if row.intf not in uplinks])) is None
    assert explained(with_latencies(run, lambda _row: None)) is None
    assert probe_delay(run, ()) is None
    assert explained(with_rows(run, probe_queues=in_windows(run)[:LEAST_PROBES])) is not None
    assert explained(with_rows(run, probe_queues=in_windows(run)[: LEAST_PROBES - 1])) is None


def test_probes_that_no_sample_encloses_are_left_out() -> None:
    run = quiet()
    whole = told(run)
    assert whole.probes == len(in_windows(run))
    middle_s = measured(run.tables.iterations)[0].end_s
    cut = with_rows(run, queues=[row for row in run.tables.queues if row.t_s <= middle_s])
    assert LEAST_PROBES <= told(cut).probes < whole.probes


@pytest.mark.parametrize(
    ("changes", "explained_ms", "limit_ms"),
    [({}, 13.3, 14.4224), ({}, 200.0, 50.0), ({"link_rate_mbps": 100.0}, 1.0, 10.0), ({"mtu_bytes": 1500}, 1.0, 10.0)]
    + [({name: 5.0}, 1.0, 28.8448) for name in ("host_rate_mbps", "uplink_rate_mbps")],
)
def test_what_may_be_unexplained_is_two_frames_ten_milliseconds_or_a_quarter(
    changes: Mapping[str, object], explained_ms: float, limit_ms: float
) -> None:
    assert allowed_ms(scenario_of(fabric=changes).fabric, explained_ms) == pytest.approx(limit_ms)
