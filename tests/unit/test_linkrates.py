"""Rates and pauses of links, told from readings of queues behind a token bucket that works, or does not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import healthy, scenario_of, store, with_rows

from testbed.evaluation.linkrates import LinkRate, Reading, link_rate, run_link_rates
from testbed.evaluation.program import measured_part
from testbed.evaluation.records import QueueRow, RunRecord
from testbed.model.fabric_spec import FabricSpec
from testbed.model.shaping import QueueSetting, queue_setting
from testbed.results.program_summary import summarise_program
from testbed.results.run import load
from testbed.results.summary import summarise
from testbed.wire import frame_bytes

FABRIC = FabricSpec()
RATE_MBPS = FABRIC.link_rate_mbps
SETTING = queue_setting(FABRIC, RATE_MBPS)
RATE, BURST_S = SETTING.rate_bytes_per_s, SETTING.burst_bytes / SETTING.rate_bytes_per_s
FRAME = frame_bytes(FABRIC.mtu_bytes)
FRAME_S = FRAME / RATE
LINK = "l1-eth5>s1-eth1"
NEVER = (0.0, 0.0)

uneven = st.lists(st.floats(0.07, 0.14), min_size=15, max_size=40)  # between readings
phases = st.floats(0, 1)


def told(readings: Sequence[Reading], setting: QueueSetting = SETTING) -> LinkRate | None:
    return link_rate(LINK, readings, setting, frame=FRAME)


def times(gaps_s: Sequence[float]) -> list[float]:
    return list(accumulate(gaps_s, initial=0.0))


def departures(arrivals_s: Sequence[float], pause_s: tuple[float, float] = NEVER) -> list[float]:
    """Return when a token bucket passes frames on that arrive at these times; in the pause nobody asks it to."""
    tokens, at_s, passed = float(SETTING.burst_bytes), 0.0, list[float]()
    for arrival_s in arrivals_s:
        ready_s = max(arrival_s, at_s)
        tokens = min(SETTING.burst_bytes, tokens + (ready_s - at_s) * RATE)
        leaves_s = ready_s + max(FRAME - tokens, 0.0) / RATE
        if pause_s[0] <= leaves_s < pause_s[1]:
            leaves_s = pause_s[1]
        tokens = min(SETTING.burst_bytes, tokens + (leaves_s - ready_s) * RATE) - FRAME
        at_s = leaves_s
        passed.append(leaves_s)
    return passed


def readings_of(arrivals_s: Sequence[float], passed_s: Sequence[float], times_s: Sequence[float]) -> list[Reading]:
    came = [bisect_right(arrivals_s, t_s) for t_s in times_s]
    went = [bisect_right(passed_s, t_s) for t_s in times_s]
    return [
        Reading(t_s=t_s, within_s=0.0, backlog_bytes=(arrived - left) * FRAME, sent_bytes=left * FRAME)
        for t_s, arrived, left in zip(times_s, came, went, strict=True)
    ]


def crowded(times_s: Sequence[float]) -> list[float]:
    """Return when frames arrive so that hundreds wait all the time."""
    return [0.0] * round(times_s[-1] / FRAME_S + 300)


# --- what always holds ------------------------------------------------------------------------------------


@given(share=st.floats(0.3, 1.1), gaps_s=uneven, phase=phases)
def test_a_queue_that_is_served_at_a_rate_has_that_rate(share: float, gaps_s: list[float], phase: float) -> None:
    readings = [
        Reading(t_s=t_s, within_s=0.0, backlog_bytes=100 * FRAME, sent_bytes=int(t_s * share / FRAME_S + phase) * FRAME)
        for t_s in times(gaps_s)
    ]
    found = told(readings)
    assert found is not None and found.ratio is not None and found.rate_mbps is not None
    assert found.busy_s == pytest.approx(sum(gaps_s))
    assert found.ratio == pytest.approx(share, abs=FRAME_S / found.busy_s + 1e-9)
    assert found.rate_mbps == pytest.approx(found.ratio * RATE_MBPS)
    assert found.longest_stall_s == 0  # slow is not still


@given(bursts=st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 60)), max_size=20), gaps_s=uneven, first_s=phases)
def test_whatever_arrives_and_when_a_bucket_that_works_is_right_and_never_still(
    bursts: list[tuple[float, int]], gaps_s: list[float], first_s: float
) -> None:
    arrivals_s = sorted(at_s for at_s, frames in bursts for _ in range(frames))
    times_s = [first_s * 0.1 + t_s for t_s in times(gaps_s)]
    found = told(readings_of(arrivals_s, departures(arrivals_s), times_s))
    if found is None:
        return
    assert found.longest_stall_s == pytest.approx(0, abs=1e-9)
    if found.ratio is not None:
        assert found.ratio == pytest.approx(1, abs=(len(bursts) + 1) * FRAME_S / found.busy_s)
        assert found.busy_s >= 0.5


@given(gaps_s=uneven, sent=st.lists(st.integers(0, 30), min_size=41, max_size=41))
def test_an_empty_queue_never_counts(gaps_s: list[float], sent: list[int]) -> None:
    counted = accumulate(sent)
    readings = [
        Reading(t_s=t_s, within_s=0.0, backlog_bytes=0, sent_bytes=frames * FRAME)
        for t_s, frames in zip(times(gaps_s), counted, strict=False)
    ]
    assert told(readings) is None


@given(gaps_s=uneven, phase=phases, at=st.floats(0.2, 0.7), length_s=st.floats(0.06, 0.5))
def test_a_pause_is_found_but_for_what_the_bucket_makes_up_for(
    gaps_s: list[float], phase: float, at: float, length_s: float
) -> None:
    times_s = [phase * FRAME_S + t_s for t_s in times(gaps_s)]
    arrivals_s = crowded(times_s)
    pause_s = at * times_s[-1]
    readings = readings_of(arrivals_s, departures(arrivals_s, (pause_s, pause_s + length_s)), times_s)
    found = told(readings)
    assert found is not None
    most_s = min(length_s, times_s[-1] - pause_s)
    assert found.longest_stall_s <= most_s + 1e-9
    if pause_s + length_s + 0.2 < times_s[-1]:
        # what is left of the pause elsewhere takes from the rate that other intervals seem to have
        assert found.longest_stall_s >= 0.5 * length_s - 4 * BURST_S


@given(gaps_s=uneven, errors=st.lists(st.floats(-0.03, 0.03), min_size=41, max_size=41))
def test_readings_that_were_held_up_are_no_pause(gaps_s: list[float], errors: list[float]) -> None:
    true_s = [0.05 + t_s for t_s in times(gaps_s)]
    arrivals_s = crowded(true_s)
    readings = [
        replace(reading, t_s=reading.t_s + error_s, within_s=abs(error_s))
        for reading, error_s in zip(readings_of(arrivals_s, departures(arrivals_s), true_s), errors, strict=False)
    ]
    found = told(readings)
    assert found is not None
    assert found.longest_stall_s == pytest.approx(0, abs=1e-9)


# --- examples ---------------------------------------------------------------------------------------------


def test_a_pause_over_several_intervals_is_one() -> None:
    times_s = [number / 10 for number in range(60)]
    arrivals_s = crowded(times_s)
    for length_s in (0.08, 0.25, 1.0):
        pause = (2.05, 2.05 + length_s)
        found = told(readings_of(arrivals_s, departures(arrivals_s, pause), times_s))
        assert found is not None
        assert found.longest_stall_s == pytest.approx(length_s - BURST_S, abs=0.02 + 0.05 * length_s)
        assert found.ratio == pytest.approx(1 - length_s / 5.9, abs=0.004)


def test_a_link_that_sends_nothing_at_all_stands_still() -> None:
    readings = [Reading(t_s=t / 10, within_s=0, backlog_bytes=100 * FRAME, sent_bytes=0) for t in range(21)]
    found = told(readings)
    assert found is not None
    assert found.ratio == 0
    assert found.longest_stall_s == pytest.approx(2 - BURST_S)


def test_a_rate_is_known_from_enough_frames_in_few_stretches() -> None:
    def steady(seconds: int, *, stretch: int = 1000) -> list[Reading]:
        return [
            Reading(
                t_s=t / 10, within_s=0, backlog_bytes=(0 if t % stretch == stretch - 1 else 100) * FRAME,
                sent_bytes=round(t / 10 * RATE),
            )
            for t in range(10 * seconds + 1)
        ]  # fmt: skip

    short, enough = told(steady(1)[:9]), told(steady(1))
    assert short is not None and short.ratio is None and short.rate_mbps is None
    assert short.busy_s == pytest.approx(0.8)
    assert enough is not None and enough.ratio == pytest.approx(1)
    often_empty = told(steady(3, stretch=2))  # 15 stretches of 14 frames
    assert often_empty is not None and often_empty.ratio is None
    longer = told(steady(25, stretch=2))
    assert longer is not None and longer.ratio == pytest.approx(1)


def test_which_intervals_the_rate_is_of_does_not_hang_on_what_was_sent_in_them() -> None:
    """13 or 14 frames leave in 0.1 s, 13.5 wait: those in which fewer left than waited are all too slow, by 6%."""
    times_s = [number / 10 for number in range(101)]
    waiting = int(13.5 * FRAME)
    readings = [
        Reading(t_s=t_s, within_s=0, backlog_bytes=waiting, sent_bytes=int(t_s / FRAME_S) * FRAME) for t_s in times_s
    ]
    found = told(readings)
    assert found is not None
    assert (found.busy_s, found.ratio) == (0, None)
    assert found.longest_stall_s == 0


def test_a_counter_that_was_reset_ends_a_stretch() -> None:
    readings = [
        Reading(t_s=t / 10, within_s=0, backlog_bytes=100 * FRAME, sent_bytes=round((t - 30 * (t >= 30)) / 10 * RATE))
        for t in range(61)
    ]
    found = told(readings)
    assert found is not None
    assert found.busy_s == pytest.approx(5.9)
    assert found.ratio == pytest.approx(1)
    assert found.longest_stall_s == 0


# --- of a run ---------------------------------------------------------------------------------------------


def full_queue(run: RunRecord, intf: str, *, share: float = 1.0, backlog_bytes: int = 50 * FRAME) -> RunRecord:
    """Frames wait for one link all the time, which sends at so much of its rate."""

    def row_of(row: QueueRow) -> QueueRow:
        if row.intf != intf:
            return row
        return replace(row, backlog_bytes=backlog_bytes, sent_bytes=round(share * RATE * row.t_s))

    return with_rows(run, queues=map(row_of, run.tables.queues))


def rates(run: RunRecord, **left_out: list[tuple[float, float]]) -> dict[str, LinkRate]:
    windows = {name.replace("_", "-"): spans for name, spans in left_out.items()}
    return {one.link: one for one in run_link_rates(run, measured_part(run), windows)}


def test_a_run_tells_the_links_that_frames_waited_for_in_measured_iterations() -> None:
    run = healthy(scenario_of(workload={"size_bytes": 2**22}))
    assert rates(run) == {}
    found = rates(full_queue(run, "s1-eth2", share=0.9))
    assert list(found) == ["s1-eth2>l2-eth3"]
    (link,) = found.values()
    whole_s = sum(end - start for start, end in measured_part(run))
    assert link.ratio == pytest.approx(0.9, abs=0.001)
    assert whole_s - 4 * 0.25 <= link.busy_s <= whole_s


def test_hosts_own_ends_are_not_told_for_nobody_samples_them() -> None:
    run = healthy(scenario_of())
    assert rates(full_queue(run, "h1-eth0")) == {}


def test_what_is_left_out_of_a_link_does_not_count() -> None:
    run = full_queue(healthy(scenario_of(workload={"size_bytes": 2**22})), "l1-eth3")
    (start_s, end_s), *_others = measured_part(run)
    whole, half = rates(run), rates(run, l1_eth3=[(start_s, (start_s + end_s) / 2)])
    elsewhere = rates(run, l1_eth4=[(start_s, end_s)])
    assert elsewhere == whole
    assert half["l1-eth3>s1-eth1"].busy_s == pytest.approx(
        whole["l1-eth3>s1-eth1"].busy_s - (end_s - start_s) / 2, abs=0.5
    )
    assert rates(run, l1_eth3=[(0.0, float("inf"))]) == {}


def test_readings_far_apart_say_nothing() -> None:
    run = healthy(scenario_of(workload={"size_bytes": 2**22}))
    run = full_queue(run, "l1-eth3", share=0.5, backlog_bytes=2_000_000)  # more than could be sent between any two
    (start_s, end_s), *_others = measured_part(run)
    kept = [row for row in run.tables.queues if not start_s < row.t_s < end_s or row.t_s % 0.75 == 0]
    found = rates(with_rows(run, queues=kept))["l1-eth3>s1-eth1"]
    assert found.busy_s < rates(run)["l1-eth3>s1-eth1"].busy_s - (end_s - start_s) + 1


def test_how_long_a_reading_took_is_told_by_what_was_read_before() -> None:
    """A sampler that is held up while it reads queues: what it noted may be wrong by as long."""
    run = full_queue(healthy(scenario_of(workload={"size_bytes": 2**22})), "l1-eth3")
    start_s = measured_part(run)[0][0]
    late_s = next(row.t_s for row in run.tables.queues if row.t_s > start_s + 1)
    for known in (True, False):
        queues = [replace(row, t_s=row.t_s + 0.06) if row.t_s == late_s else row for row in run.tables.queues]
        links = [replace(row, t_s=row.t_s + 0.06) if row.t_s == late_s else row for row in run.tables.links]
        held_up = with_rows(run, queues=queues, links=run.tables.links if known else links)
        stood_s = rates(held_up)["l1-eth3>s1-eth1"].longest_stall_s
        assert stood_s == (0 if known else pytest.approx(0.06 - BURST_S, abs=0.001))


def test_without_interfaces_counters_nobody_knows_when_queues_were_read() -> None:
    assert rates(with_rows(full_queue(healthy(scenario_of()), "l1-eth3"), links=())) == {}


def test_summaries_say_of_how_many_links_the_rate_is_known_and_which_is_worst(tmp_path: Path) -> None:
    run = full_queue(full_queue(healthy(scenario_of()), "l1-eth3", share=0.99), "l1-eth4", share=1.02)
    details = load(store(tmp_path, run)).summary["details"]  # type: ignore[index]
    found = details["link_rates"]
    assert (found["links"], found["told"]) == (12, 2)  # 8 between leaves and spines, 4 to hosts
    assert set(found["worst"]) == {"link", "busy_s", "rate_mbps", "ratio", "longest_stall_s"}
    assert found["worst"]["link"] == "l1-eth4>s2-eth1"
    assert found["worst"]["rate_mbps"] == pytest.approx(10.2)
    assert found["longest_stall"]["longest_stall_s"] == 0
    assert details["lookups"] == {"hit": 8000, "missed": 20, "lost": 0}
    assert details["softnet"] == {"dropped": 0, "squeezed": 2}


def test_a_run_of_before_there_was_the_table_is_read_and_its_lookups_are_not_known(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    for name in ("lookups", "softnet"):
        (path / f"{name}.csv").unlink()
    run = load(path)
    assert run.tables.lookups == run.tables.softnet == ()
    summary = summarise(run)
    assert (summary["verdict"], summary["details"]["link_rates"], summary["details"]["lookups"]) == (
        "VALID",
        None,
        None,
    )
    assert summary["details"]["softnet"] is None


@pytest.mark.parametrize("of_program", [False, True])
def test_a_summary_computes_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_program: bool) -> None:
    run = load(store(tmp_path, full_queue(healthy(scenario_of()), "l1-eth3")))
    asked: list[RunRecord] = []

    def counted(of: RunRecord, *windows: Any) -> tuple[LinkRate, ...]:
        asked.append(of)
        return run_link_rates(of, *windows)

    monkeypatch.setattr("testbed.fidelity.links.run_link_rates", counted)
    summary = summarise_program(run) if of_program else summarise(run)
    assert len(asked) == 1
    assert of_program or summary["details"]["link_rates"]["told"] == 1
