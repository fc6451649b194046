"""What is drawn around a fault, as numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic_runs import healthy, scenario_of, with_rows

from testbed.evaluation.records import IterationRow, LinkRow, QueueRow, RunRecord
from testbed.evaluation.timeline import across, bin_edges, covered, marks, timeline

INTERVAL_S = 0.1
FAULT_S = 5.0
# One leaf pair, one spine, a rank on each leaf; every link carries 1.25 MB/s.
SCENARIO = scenario_of(
    fabric={"leaves": 2, "spines": 1, "hosts_per_leaf": 1},
    faults=[{"t_s": 1.0, "action": "fail", "target": "l1-s1"}],
    measure={"sample_interval_s": INTERVAL_S},
)
RATE_BYTES_PER_S = 1_250_000
DELIVERS = ("l1-eth1", "l2-eth1")
FABRIC_ENDS = ("l1-eth2", "l2-eth2", "s1-eth1", "s1-eth2")


def link(t_s: float, intf: str, tx_bytes: float) -> LinkRow:
    return LinkRow(
        t_s=t_s,
        intf=intf,
        tx_bytes=round(tx_bytes),
        tx_packets=0,
        rx_bytes=0,
        rx_packets=0,
        rx_dropped=0,
        tx_dropped=0,
    )


def queue(t_s: float, intf: str, backlog_bytes: int) -> QueueRow:
    return QueueRow(
        t_s=t_s,
        intf=intf,
        backlog_bytes=backlog_bytes,
        backlog_packets=0,
        sent_bytes=0,
        sent_packets=0,
        dropped_packets=0,
        overlimits=0,
    )


def sampled(times_s: list[float], **changes: Any) -> RunRecord:
    """Return a run in which both hosts receive at half their rate until the fault and nothing from then on."""
    moved = [min(t_s, FAULT_S) * RATE_BYTES_PER_S / 2 for t_s in times_s]
    links = [link(t_s, intf, size) for t_s, size in zip(times_s, moved, strict=True) for intf in DELIVERS]
    queues = [queue(t_s, intf, 100 if t_s < FAULT_S else 0) for t_s in times_s for intf in FABRIC_ENDS]
    queues += [queue(t_s, "l1-eth1", 10**6) for t_s in times_s]  # to a host: none of the fabric's
    run = with_rows(healthy(SCENARIO), iterations=[during(4.0, 7.0)], links=links, queues=queues, **changes)
    fault = {"event": "fault", "t_s": FAULT_S, "done_s": FAULT_S + 0.01, "action": "fail", "target": "l1-s1"}
    return replace(run, events=(*run.events, fault))


def during(start_s: float, end_s: float, iteration: int = 1) -> IterationRow:
    return IterationRow(
        iteration=iteration,
        warmup=False,
        size_bytes=1,
        start_s=start_s,
        end_s=end_s,
        completion_s=end_s - start_s,
        wrong_elements=0,
    )


def every(interval_s: float, start_s: float, end_s: float) -> list[float]:
    return [start_s + index * interval_s for index in range(round((end_s - start_s) / interval_s) + 1)]


ALL = every(INTERVAL_S, 3.0, 8.0)


def test_bins_cover_the_time_and_the_fault_is_an_edge() -> None:
    assert bin_edges(-0.25, 0.3, 0.1) == pytest.approx((-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3))
    assert bin_edges(-0.3, 0.1, 0.1) == pytest.approx((-0.3, -0.2, -0.1, 0.0, 0.1))  # rounding adds no bin


def test_rate_and_queue_are_told_bin_by_bin() -> None:
    found = timeline(sampled(ALL), bin_edges(-0.2, 0.2, 0.1))
    assert found.received_fraction == pytest.approx((0.5, 0.5, 0.0, 0.0))
    assert found.queue_bytes[0] == 100
    assert found.queue_bytes[3] == 0, "a queue that was seen empty is empty, not missing"


def test_wider_bins_hold_several_samples() -> None:
    found = timeline(sampled(ALL), (-0.5, 0.5))
    assert found.received_fraction == pytest.approx((0.25,))
    assert found.queue_bytes == (100,)


def test_samples_need_not_be_on_time() -> None:
    late = [t_s + (0.03 if index % 3 else 0.0) for index, t_s in enumerate(ALL)]
    found = timeline(sampled(late), bin_edges(-0.3, -0.1, 0.1))
    assert found.received_fraction == pytest.approx((0.5, 0.5))
    assert found.queue_bytes == (100, 100)


def test_only_what_happens_in_an_iteration_is_told() -> None:
    edges = bin_edges(-1.2, -0.8, 0.1)  # the iteration begins at -1
    found = timeline(sampled(ALL), edges)
    assert [value is None for value in found.received_fraction] == [True, True, False, False]
    assert [value is None for value in found.queue_bytes] == [True, True, False, False]
    assert covered(sampled(ALL)) == (-1.0, 2.0)


def test_samples_that_are_missing_are_no_zeros() -> None:
    holed = [t_s for t_s in ALL if not 5.15 < t_s < 5.75]
    found = timeline(sampled(holed), bin_edges(0.0, 1.1, 0.1))  # 5.1 and 5.8 are the last and the first beside it
    assert [found.received_fraction[index] for index in (0, 9, 10)] == [0, 0, 0]
    assert set(found.received_fraction[1:8]) == {None}
    assert [found.queue_bytes[index] for index in (0, 9, 10)] == [0, 0, 0]
    assert set(found.queue_bytes[2:7]) == {None}


def test_one_sample_late_does_not_make_a_hole() -> None:
    found = timeline(sampled([t_s for t_s in ALL if abs(t_s - 5.3) > 0.01]), bin_edges(0.0, 1.0, 0.1))
    assert None not in found.received_fraction


def test_samples_that_end_with_the_fault_leave_the_rest_open() -> None:
    found = timeline(sampled(every(INTERVAL_S, 3.0, FAULT_S)), bin_edges(-0.2, 0.2, 0.1))
    assert found.received_fraction == pytest.approx((0.5, 0.5, None, None))
    assert found.queue_bytes[3] is None


def test_a_fault_at_the_very_end_has_only_a_before() -> None:
    run = with_rows(sampled(ALL), iterations=[during(4.0, FAULT_S)])
    assert covered(run) == (-1.0, 0.0)
    found = timeline(run, bin_edges(-0.1, 0.1, 0.1))
    assert found.received_fraction == pytest.approx((0.5, None))


@pytest.mark.parametrize("times_s", [[], [4.95]])
def test_no_sample_or_a_single_one_gives_no_rate(times_s: list[float]) -> None:
    found = timeline(sampled(times_s), bin_edges(-0.2, 0.1, 0.1))
    assert found.received_fraction == (None, None, None)
    assert found.queue_bytes[1] == (100 if times_s else None)


def test_an_interface_that_was_not_sampled_leaves_the_sum_unknown() -> None:
    run = sampled(ALL)
    some = with_rows(
        run,
        links=[row for row in run.tables.links if row.intf != "l2-eth1"],
        queues=[row for row in run.tables.queues if row.intf != "s1-eth2"],
    )
    found = timeline(some, bin_edges(-0.1, 0.1, 0.1))
    assert found.received_fraction == found.queue_bytes == (None, None)


def test_a_rank_nobody_knows_of_leaves_the_sum_unknown() -> None:
    run = sampled(ALL)
    some = with_rows(run, ranks=[row for row in run.tables.ranks if row.rank])
    assert timeline(some, bin_edges(-0.1, 0.1, 0.1)).received_fraction == (None, None)


def test_a_run_without_a_fault_has_no_values() -> None:
    run = replace(sampled(ALL), events=())
    assert marks(run) == () and covered(run) is None
    assert timeline(run, (0.0, 0.1)).received_fraction == (None,)


def test_marks_are_told_from_the_first_fault_on() -> None:
    run = sampled(ALL)
    heal = {"event": "fault", "t_s": 6.5, "action": "heal", "target": "l1-s1"}
    found = marks(replace(run, events=(heal, *run.events)))
    assert [(mark.t_s, mark.action) for mark in found] == [(0.0, "fail"), (1.5, "heal")]


def test_median_and_range_are_of_the_runs_that_have_a_value() -> None:
    band = across([(1.0, None, None), (2.0, 4.0, None), (6.0, None, None)])
    assert band.median == (2.0, 4.0, None)
    assert (band.low, band.high) == ((1.0, 4.0, None), (6.0, 4.0, None))
