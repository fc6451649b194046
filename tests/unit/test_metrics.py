"""Numbers of a run against sums done by hand."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evaluation.metrics import (
    latency,
    measure,
    outages,
    uplink_load,
    usual_pause_s,
)
from testbed.evaluation.pairs import goodput_fairness, job_completions_s
from testbed.evaluation.records import CpuRow, LinkRow, ProbeRow, RunRecord, ThreadRow, TransferRow
from testbed.evaluation.series import Rates, Series, direction_series, rate_series_mbps, total
from testbed.evaluation.usage import busiest_thread, machine_usage, role_usage, usage
from testbed.model.pattern import ring
from testbed.model.topology import Topology
from tests.unit.synthetic_runs import PACE, healthy, scenario_of, with_rows


def link(t_s: float, intf: str, tx_bytes: int, rx_bytes: int = 0) -> LinkRow:
    return LinkRow(
        t_s=t_s,
        intf=intf,
        tx_bytes=tx_bytes,
        tx_packets=tx_bytes // 1000,
        rx_bytes=rx_bytes,
        rx_packets=rx_bytes // 1000,
        rx_dropped=0,
        tx_dropped=0,
    )


def probe(sent_s: float, latency_s: float | None) -> ProbeRow:
    return ProbeRow(sent_s=sent_s, src_host="h1", dst_host="h3", seq=0, latency_s=latency_s, send_lateness_s=0.0)


# --- series ---------------------------------------------------------------------------------------------


def test_series_interpolates_between_samples_and_says_nothing_beyond() -> None:
    series = Series((0.0, 1.0, 3.0), (0.0, 10.0, 50.0))
    assert [series.at(t) for t in (-0.1, 0.0, 0.5, 1.0, 2.0, 3.0, 3.1)] == [None, 0.0, 5.0, 10.0, 30.0, 50.0, None]
    assert series.increase(0.5, 2.0) == 25.0
    assert series.increase(0.5, 3.5) is None
    assert series.increase_over([(0.0, 0.5), (2.0, 3.0)]) == 25.0
    assert series.rates() == Rates((1.0, 3.0), (10.0, 20.0))


def test_counter_that_was_reset_is_not_measured_rather_than_negative() -> None:
    series = Series((0.0, 1.0, 2.0, 3.0), (5.0, 9.0, 1.0, 4.0))
    assert series.increase(0.0, 3.0) is None
    assert series.increase_around(0.2, 2.5) is None
    assert series.increase(2.0, 3.0) == 3.0
    assert series.increase(1.5, 3.0) is None, "a window that begins within the fall: 4 - 5"
    assert series.rates() == Rates((1.0, 2.0, 3.0), (4.0, None, 3.0))


def test_the_rate_of_an_interface_that_was_reset_is_a_gap() -> None:
    rows = [link(t_s, "l1-eth3", tx_bytes) for t_s, tx_bytes in ((0.0, 2_500_000), (2.0, 5_000_000), (4.0, 1000))]
    rows.append(link(6.0, "l1-eth3", 2_501_000))
    (rates,) = rate_series_mbps(Topology(scenario_of().fabric), rows, ("uplink",)).values()
    assert rates == Rates((2.0, 4.0, 6.0), (10.0, None, 10.0))


def test_increase_around_takes_the_enclosing_samples_or_the_outermost() -> None:
    series = Series((0.0, 1.0, 2.0, 9.0), (0.0, 1.0, 5.0, 7.0))
    assert series.increase_around(1.2, 1.8) == 4.0
    assert series.increase_around(1.0, 2.0) == 4.0
    assert series.increase_around(-5.0, 20.0) == 7.0
    assert Series((1.0,), (4.0,)).increase_around(0.0, 2.0) is None


def test_a_thread_that_came_late_counts_while_it_was_seen() -> None:
    assert Series((2.0, 4.0), (1.0, 2.0)).clamped([(0.0, 3.0), (3.5, 9.0)]) == pytest.approx(0.5 + 0.25)
    assert Series((2.0, 4.0), (1.0, 2.0)).clamped([(5.0, 6.0)]) == 0.0


def test_of_a_thread_whose_number_another_got_both_count_while_they_were_seen() -> None:
    """Its time fell: nothing would hide what ran, and the difference be less than nothing."""
    series = Series((0.0, 1.0, 2.0, 3.0), (5.0, 9.0, 1.0, 2.0))
    assert series.clamped([(0.0, 3.0)]) == pytest.approx(4.0 + 1.0)
    assert series.clamped([(1.0, 2.0)]) == 0.0


def test_total_of_something_unknown_is_unknown() -> None:
    assert total([1.0, 2.0]) == 3.0
    assert total([1.0, None]) is None
    assert total([]) is None


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20), st.data())
def test_increases_add_up(steps: list[int], data: st.DataObject) -> None:
    values = [float(sum(steps[: i + 1])) for i in range(len(steps))]
    series = Series(tuple(map(float, range(len(steps)))), tuple(values))
    middle = data.draw(st.floats(0, len(steps) - 1))
    parts = series.increase_over([(0.0, middle), (middle, float(len(steps) - 1))])
    assert parts == pytest.approx(values[-1] - values[0], abs=1e-6)


def test_host_to_leaf_is_counted_where_it_arrives() -> None:
    topology = Topology(scenario_of().fabric)
    rows = [link(0.0, "l1-eth1", 0, 0), link(2.0, "l1-eth1", 1000, 2_500_000), link(2.0, "l1-eth3", 7)]
    series = direction_series(topology, rows, "bytes")
    assert series["h1-eth0>l1-eth1"].values == (0.0, 2_500_000.0)
    assert series["l1-eth1>h1-eth0"].values == (0.0, 1000.0)
    assert "s1-eth1>l1-eth3" not in series
    assert rate_series_mbps(topology, rows, ("host_tx",))["h1-eth0>l1-eth1"] == Rates((2.0,), (10.0,))  # 1.25 MB/s


# --- the collective -------------------------------------------------------------------------------------


def with_completions(run: RunRecord, *seconds: float) -> RunRecord:
    rows = [replace(run.tables.iterations[1], iteration=i, completion_s=s) for i, s in enumerate(seconds)]
    return with_rows(run, iterations=[run.tables.iterations[0], *rows])


def test_bandwidths_follow_nccl_tests() -> None:
    run = with_completions(healthy(scenario_of()), 2.0, 1.0, 4.0)  # 1 MiB on 4 ranks, median 2 s
    found = measure(run)
    assert found.completion_s == 2.0
    assert found.algbw_mbps == pytest.approx(2**20 * 8 / 1e6 / 2.0)  # 4.194
    assert found.busbw_mbps == pytest.approx(2**20 * 8 / 1e6 / 2.0 * 2 * 3 / 4)  # 6.291
    assert found.efficiency == pytest.approx(6.291456 / (10 * 8948 / 9014))
    assert found.completions_s == (2.0, 1.0, 4.0)
    assert found.iterations == 3


def test_warm_up_is_not_measured_but_its_sums_must_be_right() -> None:
    run = healthy(scenario_of())
    warm = replace(run.tables.iterations[0], completion_s=99.0, wrong_elements=3)
    found = measure(with_rows(run, iterations=[warm, *run.tables.iterations[1:]]))
    assert found.completion_s == measure(run).completion_s
    assert found.wrong_elements == 3


def test_uneven_chunks_are_counted_exactly() -> None:
    sizes = ring(4).pair_bytes(1004)  # 251 floats on 4 ranks: chunks of 62 and 63
    assert sum(sizes) == 2 * 3 * 1004
    assert max(sizes) - min(sizes) == 4


def test_healthy_run_reaches_what_its_placement_allows() -> None:
    for scheme, allowed in (("gse1", 1.0), ("ecmp", 0.5)):
        found = measure(healthy(scenario_of(), scheme=scheme))
        assert found.prediction is not None
        assert found.prediction.efficiency == allowed
        assert found.efficiency == pytest.approx(PACE * allowed)


def test_prediction_needs_every_path_between_leaves() -> None:
    run = healthy(scenario_of())
    flows = [replace(run.tables.flows[0], path=None), *run.tables.flows[1:]]
    assert measure(with_rows(run, flows=flows)).prediction is None


def test_a_path_the_fabric_does_not_have_is_an_error() -> None:
    run = healthy(scenario_of())
    with pytest.raises(ValueError, match="'s9' is not a path"):
        measure(with_rows(run, flows=[replace(row, path="s9") for row in run.tables.flows]))


def test_a_run_that_lacks_a_rank_is_an_error() -> None:
    run = healthy(scenario_of())
    with pytest.raises(ValueError, match=r"no row of rank 2, expected ranks 0\.\.3"):
        measure(with_rows(run, ranks=[row for row in run.tables.ranks if row.rank != 2]))


def test_sums_over_flows_are_unknown_if_one_is() -> None:
    run = healthy(scenario_of())
    flows = [replace(row, retransmitted_segments=2, out_of_order_packets=5, timeouts=1) for row in run.tables.flows]
    known = measure(with_rows(run, flows=flows))
    assert (known.retransmitted_segments, known.timeouts) == (8, 4)
    flows[0] = replace(flows[0], retransmitted_segments=None)
    found = measure(with_rows(run, flows=flows))
    assert (found.retransmitted_segments, found.out_of_order_packets) == (None, 20)


# --- links and queues -----------------------------------------------------------------------------------


def uplink_rows(run: RunRecord, moved: dict[str, int]) -> list[LinkRow]:
    """Counters of all uplinks: nothing before the first iteration, ``moved`` bytes at once in the last one's middle."""
    start_s, end_s = run.tables.iterations[1].start_s, run.tables.iterations[-1].end_s
    names = [d.src.intf for d in run.topology.directions if d.kind == "uplink"]
    return [
        link(t_s, name, int(moved.get(name, 0) * done))
        for name in names
        for t_s, done in ((0.0, 0), (start_s - 0.1, 0), ((start_s + end_s) / 2, 0.5), (end_s + 0.1, 1), (end_s + 5, 1))
    ]


def test_uplink_utilization_is_bytes_on_loaded_uplinks_over_rate_times_completion_time() -> None:
    run = with_completions(healthy(scenario_of()), 2.0, 2.0)  # 4 s at 10 Mbit/s: 5 MB for each loaded uplink
    start_s = run.tables.iterations[1].start_s
    iterations = [
        run.tables.iterations[0],
        *(replace(row, start_s=start_s, end_s=start_s + 4) for row in run.tables.iterations[1:]),
    ]
    run = with_rows(run, iterations=iterations)
    rows = uplink_rows(run, {"l1-eth3": 4_000_000, "l1-eth4": 2_000_000, "l2-eth3": 3_000_000, "l2-eth4": 20_000})
    found = uplink_load(with_rows(run, links=rows))
    assert found is not None
    # one hop moves 2 x 1.5 MiB: 1% is 31 kB, so l2-eth4 is not loaded: 9 MB of 3 x 5 MB
    assert found.loaded == 3
    assert found.utilization == pytest.approx(9 / 15)
    assert found.max_over_mean == pytest.approx(4.0 / ((4 + 2 + 3 + 0.02) / 4))
    assert found.wire_bytes == 9_020_000


def test_acknowledgements_alone_do_not_make_an_uplink_a_loaded_one() -> None:
    run = healthy(scenario_of())
    sent = uplink_rows(run, {"l1-eth3": 1_500_000, "l2-eth3": 1_500_000, "l2-eth4": 150_000})
    without = uplink_load(with_rows(run, links=sent))
    assert without is not None
    assert without.loaded == 3
    only_answers = [replace(row, tx_packets=row.tx_bytes // 66) if row.intf == "l2-eth4" else row for row in sent]
    found = uplink_load(with_rows(run, links=only_answers))
    assert found is not None
    assert found.loaded == 2
    assert found.utilization == pytest.approx(without.utilization * 3 / 2 * 3.0 / 3.15)


def test_uplinks_without_a_sample_after_the_last_iteration_are_not_measured() -> None:
    run = healthy(scenario_of())
    end_s = run.tables.iterations[-1].end_s
    assert uplink_load(run) is not None
    assert uplink_load(with_rows(run, links=[row for row in run.tables.links if row.t_s < end_s])) is None


def test_bytes_between_iterations_use_no_uplink_where_background_traffic_sent_them() -> None:
    scenario = scenario_of()
    quiet = healthy(scenario)
    noisy = replace(quiet, scenario=scenario_of(background=[{"src": "h1", "dst": "h3"}]))
    last_first, next_start = quiet.tables.iterations[1].end_s, quiet.tables.iterations[2].start_s
    extra = [
        replace(row, tx_bytes=row.tx_bytes + (1_000_000 if row.t_s > (last_first + next_start) / 2 else 0))
        for row in quiet.tables.links
    ]
    both = [uplink_load(with_rows(run, links=extra)) for run in (quiet, noisy)]
    assert both[0] is not None
    assert both[1] is not None
    assert both[0].utilization > both[1].utilization + 0.1
    assert both[0].wire_bytes == both[1].wire_bytes  # what was sent at all does not depend on who sent it


def test_short_iterations_beside_background_traffic_miss_none_of_their_bytes() -> None:
    """Between samples nobody knows when bytes passed: interpolation would cut off the ends of each iteration."""
    scenario = scenario_of(background=[{"src": "h1", "dst": "h3"}], measure={"sample_interval_s": 0.3})
    run = healthy(scenario)
    found = uplink_load(run)
    assert found is not None
    ends = [row for row in run.tables.links if row.intf.startswith("l") and row.intf.endswith(("-eth3", "-eth4"))]
    sent = sum(max(r.tx_bytes for r in ends if r.intf == name) for name in {row.intf for row in ends})
    warm = run.tables.iterations[0]
    at_start = [row for row in ends if warm.end_s <= row.t_s <= run.tables.iterations[1].start_s]
    assert at_start, "a sample lies between warm-up and measurement"
    before = sum(max(r.tx_bytes for r in at_start if r.intf == name) for name in {row.intf for row in at_start})
    assert found.wire_bytes == sent - before


def test_warm_up_bytes_between_two_samples_are_not_all_taken_for_measured_ones() -> None:
    run = healthy(scenario_of(measure={"sample_interval_s": 0.3}))  # samples at 0.9 and 1.2, measured from 1.0 on
    warm = replace(run.tables.iterations[0], end_s=0.95)
    rows = [
        replace(row, tx_bytes=row.tx_bytes + (300_000 if row.t_s > 0.95 else 0)) if row.intf == "l1-eth3" else row
        for row in run.tables.links
    ]
    usual = uplink_load(run)
    spoilt = uplink_load(with_rows(run, links=rows))  # the warm-up ended at 0.4: somebody else sent them
    guarded = uplink_load(with_rows(run, links=rows, iterations=[warm, *run.tables.iterations[1:]]))
    assert usual is not None
    assert spoilt is not None
    assert guarded is not None
    assert spoilt.wire_bytes == usual.wire_bytes + 300_000
    assert guarded.wire_bytes < usual.wire_bytes + 200_001  # what interpolation cannot tell apart


def test_queue_drops_are_those_of_the_measured_part() -> None:
    run = healthy(scenario_of())
    start_s = run.tables.iterations[1].start_s
    rows = [
        replace(row, dropped_packets=100 + (7 if row.t_s > start_s + 0.3 else 0)) if row.intf == "l1-eth3" else row
        for row in run.tables.queues
    ]
    assert measure(with_rows(run, queues=rows)).dropped_packets == 7


def test_queue_drops_are_unknown_if_a_queue_was_not_sampled() -> None:
    run = healthy(scenario_of())
    rows = [row for row in run.tables.queues if row.intf != "h1-eth0"]
    assert measure(with_rows(run, queues=rows)).dropped_packets is None


# --- latency --------------------------------------------------------------------------------------------


def test_latency_counts_probes_sent_while_the_collective_ran() -> None:
    rows = [probe(0.5, 9.0), probe(1.0, 0.010), probe(1.5, 0.020), probe(2.0, 0.030), probe(2.0, None), probe(3.5, 9.0)]
    found = latency(rows, [(1.0, 2.0), (4.0, 5.0)])
    assert found is not None
    assert (found.p50_ms, found.p99_ms, found.max_ms, found.count, found.lost) == (20.0, None, 30.0, 3, 1)


def test_p99_needs_a_hundred_samples() -> None:
    rows = [probe(1.0, i / 1000) for i in range(1, 101)]
    assert latency(rows[:99], [(0, 2)]).p99_ms is None  # type: ignore[union-attr]
    assert latency(rows, [(0, 2)]).p99_ms == 99.0  # type: ignore[union-attr]


def test_no_probe_is_no_latency_and_all_lost_is_not_zero() -> None:
    assert latency([], [(0, 2)]) is None
    found = latency([probe(1.0, None)], [(0, 2)])
    assert found is not None
    assert (found.p50_ms, found.max_ms, found.lost) == (None, None, 1)


# --- faults ---------------------------------------------------------------------------------------------


def faulted() -> RunRecord:
    """First iteration with a pause of 300 ms from 0.1 s before the fault on, and one of 900 ms long before it."""
    run = healthy(scenario_of(faults=[{"t_s": 0.5, "action": "fail", "target": "l1-s1"}]))
    start_s = run.tables.iterations[1].start_s
    gaps = {0: (0.300, start_s + 0.4), 1: (0.250, start_s + 0.6), 2: (0.9 * 0.3, start_s + 0.1), 3: (0.05, start_s)}
    rows = [
        replace(row, max_gap_s=gaps[row.rank][0], max_gap_at_s=gaps[row.rank][1]) if row.iteration == 0 else row
        for row in run.tables.ranks
    ]
    event = {"event": "fault", "t_s": start_s + 0.5, "action": "fail", "target": "l1-s1"}
    return replace(with_rows(run, ranks=rows), events=(*run.events, event))


def test_outage_is_the_longest_pause_going_on_around_the_fault() -> None:
    run = faulted()
    (outage,) = outages(run)
    assert (outage.action, outage.target, outage.pause_s) == ("fail", "l1-s1", 0.300)


def test_a_pause_that_ended_before_or_began_long_after_the_fault_is_not_its_doing() -> None:
    run = faulted()
    fault_s = run.events_named("fault")[0]["t_s"]
    rows = [
        replace(row, max_gap_s=0.2, max_gap_at_s=fault_s - 0.3 if row.rank else fault_s + 1.1)
        for row in run.tables.ranks
    ]
    (outage,) = outages(with_rows(run, ranks=rows))
    assert (outage.pause_s, outage.at_most_s) == (None, 0.2)


TIMES = st.integers(0, 12).map(lambda tenths: tenths / 4)


@given(faults_s=st.lists(TIMES, max_size=6), rows=st.lists(st.tuples(TIMES, TIMES, TIMES, TIMES), max_size=8))
def test_each_outage_is_the_longest_pause_of_all(
    faults_s: list[float], rows: list[tuple[float, float, float, float]]
) -> None:
    """However many faults there are; here by asking every row about every fault."""
    run = faulted()
    ranks = [
        replace(run.tables.ranks[0], start_s=start, end_s=start + lasts, max_gap_s=length, max_gap_at_s=begin)
        for start, lasts, length, begin in rows
    ]
    fault = {"event": "fault", "action": "fail"}
    events = tuple({**fault, "t_s": t_s, "target": f"s{number}"} for number, t_s in enumerate(faults_s))
    found = outages(replace(with_rows(run, ranks=ranks), events=events))
    assert [(one.t_s, one.target) for one in found] == [(event["t_s"], event["target"]) for event in events]
    for one in found:
        under_way = [row for row in ranks if row.start_s <= one.t_s <= row.end_s]
        lengths = [(row.max_gap_s or 0.0, row.max_gap_at_s or 0.0) for row in under_way]
        going_on = [length for length, begin in lengths if begin <= one.t_s + 1.0 and begin + length >= one.t_s]
        assert one.at_most_s == max((length for length, _begin in lengths), default=None)
        assert one.pause_s == max(going_on, default=None)


def test_time_does_not_grow_with_faults_times_ranks() -> None:
    """20,000 of each took minutes; whoever sends results decides how many there are."""
    run = faulted()
    ranks = [replace(run.tables.ranks[0], start_s=0.0, end_s=20_000.0)] * 20_000
    event = run.events_named("fault")[0]
    events = tuple({**event, "t_s": float(number)} for number in range(20_000))
    began_s = time.process_time()
    assert len(outages(replace(with_rows(run, ranks=ranks), events=events))) == 20_000
    assert time.process_time() - began_s < 10


def test_usual_pause_is_that_of_iterations_without_a_fault() -> None:
    assert usual_pause_s(faulted()) == pytest.approx(0.011)  # the second iteration


def test_a_fault_between_iterations_caused_no_outage_we_know_of() -> None:
    run = replace(faulted(), events=({"event": "fault", "t_s": 0.0, "action": "fail", "target": "s1"},))
    assert (outages(run)[0].pause_s, outages(run)[0].at_most_s) == (None, None)


# --- CPU ------------------------------------------------------------------------------------------------


def thread(t_s: float, tid: int, role: str, run_s: float, wait_s: float = 0.0) -> ThreadRow:
    return ThreadRow(t_s=t_s, pid=1, tid=tid, role=role, name=f"t{tid}", run_s=run_s, wait_s=wait_s)


def test_roles_are_charged_what_their_threads_ran_during_the_iterations() -> None:
    rows = [
        *(thread(0.0, 1, "vswitchd", 5.0, 1.0), thread(10.0, 1, "vswitchd", 13.0, 2.0)),
        *(thread(0.0, 2, "vswitchd", 0.0), thread(10.0, 2, "vswitchd", 1.0)),
        *(thread(0.0, 3, "rank", 0.0), thread(10.0, 3, "rank", 5.0)),
    ]
    during = [(0.0, 2.0), (4.0, 6.0)]
    roles = role_usage(rows, during)
    assert {role: (cost.run_cores, cost.wait_cores) for role, cost in roles.items()} == {
        "rank": (pytest.approx(0.5), 0.0),
        "vswitchd": (pytest.approx(0.9), pytest.approx(0.1)),
    }
    busiest = busiest_thread(rows, during, "vswitchd")
    assert busiest is not None
    assert (busiest.name, busiest.run_fraction, busiest.wait_fraction) == ("t1", pytest.approx(0.8), pytest.approx(0.1))
    rows += [thread(0.0, 4, "vswitchd", 0.0, 0.0), thread(10.0, 4, "vswitchd", 0.0, 3.0)]
    waiting = busiest_thread(rows, during, "vswitchd", by="wait_s")
    assert waiting is not None
    assert (waiting.name, waiting.run_fraction, waiting.wait_fraction) == ("t4", 0.0, pytest.approx(0.3))


def cpu(t_s: float, core: int, user_s: float, idle_s: float, *, iowait_s: float = 0.0, steal_s: float = 0.0) -> CpuRow:
    return CpuRow(
        t_s=t_s,
        core=core,
        user_s=user_s,
        system_s=0.0,
        idle_s=idle_s,
        iowait_s=iowait_s,
        irq_s=0.0,
        softirq_s=0.0,
        steal_s=steal_s,
    )


def test_machine_usage_by_core_with_idle_and_stolen_shares() -> None:
    rows = [cpu(0, 0, 0, 0), cpu(10, 0, 9, 1), cpu(0, 1, 0, 0), cpu(10, 1, 2, 6, iowait_s=0, steal_s=2)]
    found = machine_usage(rows, [(0.0, 10.0)])
    assert found is not None
    assert found.busy_fractions == (pytest.approx(0.9), pytest.approx(0.4))
    assert found.idle_fraction == pytest.approx(7 / 20)
    assert found.steal_fraction == pytest.approx(2 / 20)


def test_interrupts_count_as_busy_and_are_told_apart() -> None:
    rows = [cpu(0, 0, 0, 0), replace(cpu(10, 0, 4, 3), irq_s=1.0, softirq_s=2.0)]
    found = machine_usage(rows, [(0.0, 10.0)])
    assert found is not None
    assert (found.busy_fractions, found.interrupt_fractions) == ((pytest.approx(0.7),), (pytest.approx(0.3),))


def test_iowait_that_steps_back_does_not_lose_the_measurement() -> None:
    rows = [cpu(0, 0, 0, 0, iowait_s=5.0), cpu(5, 0, 1, 4, iowait_s=5.1), cpu(10, 0, 2, 8, iowait_s=5.0)]
    found = machine_usage(rows, [(0.0, 10.0)])
    assert found is not None
    assert found.busy_fractions[0] == pytest.approx(0.2)


def test_cores_that_were_counted_anew_are_not_measured_rather_than_idle_or_more_than_busy() -> None:
    whole = [(0.0, 10.0)]
    fine = [cpu(0, 1, 0, 0), cpu(10, 1, 5, 5)]
    assert machine_usage([cpu(0, 0, 90, 50), cpu(5, 0, 94, 51), cpu(10, 0, 4, 56), *fine], whole) is None
    assert machine_usage([cpu(0, 0, 90, 50), cpu(10, 0, 96, 4), *fine], whole) is None, "idle time alone fell"
    found = machine_usage([cpu(0, 0, 90, 50), cpu(10, 0, 100, 49.99)], whole)  # a tick
    assert found is not None
    assert found.idle_fraction == 0.0


def test_usage_that_was_not_sampled_is_unknown() -> None:
    run = with_rows(healthy(scenario_of()), threads=[], cpu=[])
    found = usage(run)
    assert (found.roles, found.switch_thread, found.machine) == ({}, None, None)


def transfer(size_bytes: int, end_s: float, **more: Any) -> TransferRow:
    fields = {"iteration": 1, "warmup": False, "src_rank": 1, "dst_rank": 0, "src_host": "h2", "dst_host": "h1"}
    return TransferRow(**{**fields, "size_bytes": size_bytes, "start_s": 1.0, "end_s": end_s, **more})


def test_fairness_of_pairs_is_jains_index_of_their_goodput() -> None:
    equal = [transfer(1000, 2.0), transfer(1000, 2.0)]
    assert goodput_fairness(equal) == 1
    # 1000 B/s and 500 B/s: 1500^2 / (2 x (1000^2 + 500^2)) = 0.9
    unequal = [transfer(1000, 2.0), transfer(1000, 3.0)]
    assert goodput_fairness(unequal) == pytest.approx(0.9)
    later = [transfer(1000, 2.0, iteration=2), transfer(1000, 2.0, iteration=2)]
    assert goodput_fairness([*unequal, *later]) == pytest.approx(0.95)  # median of two
    assert goodput_fairness([replace(row, warmup=True) for row in equal]) is None


def test_the_receivers_link_is_judged_for_incast_only() -> None:
    run = healthy(scenario_of(workload={"kind": "incast"}))
    # its link is the bottleneck, kept busy but for the pace of these runs
    assert measure(run).receiver_utilization == pytest.approx(PACE, abs=0.01)
    assert measure(with_rows(run, links=())).receiver_utilization is None
    assert measure(healthy(scenario_of(workload={"kind": "all_to_all"}))).receiver_utilization is None


def test_each_job_is_done_when_its_last_rank_is() -> None:
    run = healthy(scenario_of(workload={"jobs": 2, "iterations": 1, "placement": "leaf_local"}))
    (iteration,) = (row for row in run.tables.iterations if not row.warmup)
    assert job_completions_s(run) == pytest.approx((iteration.completion_s,) * 2)
    early = [
        replace(row, end_s=row.end_s - 0.1 * (row.rank + 1)) if row.rank < 2 else row for row in run.tables.ranks
    ]  # ranks 0 and 1 are the first job
    assert job_completions_s(with_rows(run, ranks=early)) == pytest.approx(
        (iteration.completion_s - 0.1, iteration.completion_s)
    )
    assert job_completions_s(with_rows(run, ranks=[row for row in early if row.rank < 2])) == ()


def test_small_messages_are_summed_up_like_probes() -> None:
    run = healthy(scenario_of(workload={"kind": "permutation", "mice_interval_ms": 10.0}))
    found = measure(run).mice
    assert found is not None
    assert (found.p50_ms, found.p99_ms, found.lost) == (10, 10, 0)
    few = [row for row in run.tables.messages if row.seq % 40 == 0]
    lost = [replace(row, latency_s=None) if row.src_host == "h1" else row for row in few]
    rare = measure(with_rows(run, messages=lost)).mice
    assert rare is not None
    assert rare.p99_ms is None, "fewer than a hundred"
    assert rare.lost == rare.count / 3  # one of four hosts


def test_a_run_of_small_messages_alone_has_no_completion_time() -> None:
    run = healthy(scenario_of(workload={"kind": "permutation", "mice_interval_ms": 10.0, "mice_only_s": 3.0}))
    found = measure(run)
    assert (found.completion_s, found.algbw_mbps, found.busbw_mbps, found.efficiency) == (None,) * 4
    assert (found.uplinks, found.prediction) == (None, None)
    assert found.mice is not None and found.mice.count > 1000
