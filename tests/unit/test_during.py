"""Windows asked about by halving say what looking at each of them says, and are not looked at one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import healthy, scenario_of, store, with_rows

import testbed.evaluation.queues
import testbed.evaluation.timeline
import testbed.views.drawn
from testbed.evaluation.crossflows import burst_times, flow_times, offered_load, replayed
from testbed.evaluation.during import During, Window
from testbed.evaluation.linkrates import run_link_rates
from testbed.evaluation.metrics import latency, measured, usual_pause_s, windows
from testbed.evaluation.probedelay import probe_delay
from testbed.evaluation.queues import largest_backlogs
from testbed.evaluation.records import ProbeRow, ReplayRow, RunRecord, ThreadRow
from testbed.evaluation.series import Series, total
from testbed.evaluation.timeline import timeline
from testbed.evaluation.usage import machine_usage, role_usage
from testbed.results.run import load
from testbed.units import KIB
from testbed.views.comparison import compare
from testbed.views.drawn import flow_slowdowns, latencies_ms

# Whole numbers, so that ends meet, and others. Windows may overlap, be a moment, and (of strangers) end before they
# begin.
moments = st.integers(0, 12).map(float) | st.floats(0, 12)
any_windows = st.lists(st.tuples(moments, moments), max_size=12)
forward_windows = st.lists(st.tuples(moments, moments).map(lambda ends: (min(ends), max(ends))), max_size=40)


@cache
def quiet() -> RunRecord:
    return healthy(scenario_of())


@given(given_windows=any_windows, t_s=moments, other_s=moments)
def test_what_lies_in_a_window_is_what_looking_at_each_says(
    given_windows: list[Window], t_s: float, other_s: float
) -> None:
    during = During(given_windows)
    start_s, end_s = min(t_s, other_s), max(t_s, other_s)
    assert during.has(t_s) == any(start <= t_s <= end for start, end in given_windows)
    assert during.hold(start_s, end_s) == any(start <= start_s and end_s <= end for start, end in given_windows)
    assert during.meet(start_s, end_s) == any(start < end_s and start_s < end for start, end in given_windows)


@given(given_windows=forward_windows, t_s=moments, other_s=moments)
def test_how_much_of_the_time_windows_have_is_what_looking_at_each_says(
    given_windows: list[Window], t_s: float, other_s: float
) -> None:
    during = During(given_windows)
    each_s = sum(max(min(end, t_s) - start, 0.0) for start, end in given_windows)
    assert during.covered_s(t_s) == pytest.approx(each_s, abs=1e-9)
    start_s, end_s = min(t_s, other_s), max(t_s, other_s)
    assert during.within(start_s, end_s) == all(start_s <= start and end <= end_s for start, end in given_windows)
    assert during.forward == tuple((start, end) for start, end in given_windows if start < end)


def test_windows_stay_in_the_order_they_came_in_and_are_made_once() -> None:
    during = During.of([(3.0, 4.0), (1.0, 2.0)])
    assert list(during) == [(3.0, 4.0), (1.0, 2.0)]
    assert During.of(during) is during


# --- counters: the plain way, window by window -----------------------------------------------------------


def increase(series: Series, start_s: float, end_s: float) -> float | None:
    """Return the growth in a window; None where a step of it, or one that reaches into it, is a fall."""
    steps = list(zip(series.times_s, series.times_s[1:], series.values, series.values[1:], strict=False))
    fell = any(after < before and t0 < end_s and start_s < t1 for t0, t1, before, after in steps)
    return None if fell else series.change(start_s, end_s)


def clamped(series: Series, given_windows: Sequence[Window]) -> float:
    """Return the growth of every step that is none down, by how much of it each window has."""
    steps = list(zip(series.times_s, series.times_s[1:], series.values, series.values[1:], strict=False))
    return sum(
        (after - before) * max(min(end, t1) - max(start, t0), 0.0) / (t1 - t0)
        for start, end in given_windows
        for t0, t1, before, after in steps
        if after >= before
    )


@st.composite
def series_of(draw: st.DrawFn, *, may_fall: bool = True) -> Series:
    times = draw(st.lists(st.integers(0, 24), min_size=1, max_size=10, unique=True).map(sorted))
    values = [float(draw(st.integers(0, 100))) for _ in times]
    return Series(tuple(t / 2 for t in times), tuple(values if may_fall else sorted(values)))


@given(series=series_of(), start_s=moments, other_s=moments)
def test_a_window_grows_unless_a_step_of_it_falls(series: Series, start_s: float, other_s: float) -> None:
    start_s, end_s = min(start_s, other_s), max(start_s, other_s)
    found = series.increase(start_s, end_s)
    assert found == increase(series, start_s, end_s)
    assert found is None or found >= -1e-9, "never less than nothing"


@given(series=series_of(), given_windows=forward_windows)
def test_many_windows_together_are_what_each_of_them_says(series: Series, given_windows: list[Window]) -> None:
    each = total(increase(series, start, end) for start, end in given_windows)
    found = series.increase_over(given_windows)
    assert (found is None) == (each is None)
    assert found is None or found == pytest.approx(each, abs=1e-6)
    changes = total(series.change(start, end) for start, end in given_windows)
    assert series.change_over(given_windows) == (None if changes is None else pytest.approx(changes, abs=1e-6))
    assert series.clamped(given_windows) == pytest.approx(clamped(series, given_windows), abs=1e-6)


@given(series=series_of(may_fall=False), given_windows=forward_windows)
def test_few_windows_are_added_up_as_ever(series: Series, given_windows: list[Window]) -> None:
    """To the last bit: what is stored of runs does not change."""
    few = given_windows[: len(series.times_s)]
    assert series.increase_over(few) == total(series.increase(start, end) for start, end in few)


# --- nobody looks at every window for every row ----------------------------------------------------------


class Counted(During):
    """Windows that count how often they are gone through."""

    looks = 0

    def __iter__(self) -> Iterator[Window]:
        type(self).looks += 1
        return super().__iter__()


MOST_LOOKS = 12  # of what is made once; the rows below are hundreds


def rows_of_many_kinds() -> RunRecord:
    cross = {
        "poisson": {"load": 0.3, "size_scale": 0.02},
        "bursts": {"storage": ["h4"], "period_s": 0.02, "first_s": 0.0, "size_bytes": 4 * KIB},
    }
    run = healthy(scenario_of(workload={"iterations": 2, "size_bytes": 512 * KIB}, cross_traffic=cross))
    frames = [
        ReplayRow(
            sent_s=row.sent_s, frame=row.seq, src_host=row.src_host, dst_host=row.dst_host, size_bytes=100,
            latency_s=row.latency_s, send_lateness_s=0.0,
        )
        for row in run.tables.probes
    ]  # fmt: skip
    fault = {"event": "fault", "t_s": run.tables.iterations[1].start_s, "action": "slow", "target": "l1-s1"}
    return replace(with_rows(run, replay=frames), events=(*run.events, fault))


def crowded(run: RunRecord) -> RunRecord:
    """Return the run with something waiting in every queue at all times."""
    return with_rows(run, queues=[replace(row, backlog_bytes=10**9) for row in run.tables.queues])


USES: dict[str, Callable[[RunRecord, During], Any]] = {
    "probes": lambda run, during: latency(run.tables.probes, during),
    "Poisson flows": flow_times,
    "their load": offered_load,
    "bursts": burst_times,
    "replayed frames": lambda run, during: replayed(run.tables.replay, during),
    "what probes waited for": probe_delay,
    "link rates": lambda run, during: run_link_rates(crowded(run), during, {}),
    "threads": lambda run, during: role_usage(run.tables.threads, during),
    "cores": lambda run, during: machine_usage(run.tables.cpu, during),
    "largest queues": lambda run, _during: largest_backlogs(run),
    "bins around a fault": lambda run, _during: timeline(run, [n / 100 for n in range(200)]),
}
# threads and cores are few, and looked at for their few windows each
SERIES_OF = {"threads": 8, "cores": 14}


@pytest.mark.parametrize("what", USES)
def test_rows_are_told_without_going_through_all_windows_for_each(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = rows_of_many_kinds()
    for module in (testbed.evaluation.queues, testbed.evaluation.timeline):
        monkeypatch.setattr(module, "windows", lambda rows: Counted(windows(rows)))
    plain = USES[what](run, windows(measured(run.tables.iterations)))
    assert plain
    Counted.looks = 0
    assert USES[what](run, Counted(windows(measured(run.tables.iterations)))) == plain
    assert 0 < Counted.looks <= MOST_LOOKS + SERIES_OF.get(what, 0)


def test_threads_of_many_iterations_are_not_looked_at_iteration_by_iteration() -> None:
    """A hundred thousand iterations, and as many threads of a stranger's table: each would have been asked for each."""
    rows = [
        ThreadRow(t_s=t_s, pid=1, tid=tid, role="rank", name="t", run_s=t_s / 2, wait_s=0.0)
        for tid in range(200)
        for t_s in (0.0, 100.0)
    ]
    during = Counted((n / 10, n / 10 + 0.05) for n in range(1000))
    Counted.looks = 0
    found = role_usage(rows, during)["rank"]
    assert found.run_cores == pytest.approx(200 * 0.5)
    assert Counted.looks <= MOST_LOOKS
    counters = [Series((0.0, 100.0), (0.0, 1.0 + number)) for number in range(200)]
    grown = [series.increase_over(during) for series in counters]
    assert grown == [pytest.approx((1.0 + number) / 2) for number in range(200)]
    assert Counted.looks <= MOST_LOOKS


def test_figures_take_the_same_rows_without_going_through_all_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross = {"poisson": {"load": 0.3, "size_scale": 0.02}}
    (comparison,) = compare([load(store(tmp_path, healthy(scenario_of(cross_traffic=cross))))], allow_invalid=True)
    entries = comparison.entries
    wanted = latencies_ms(entries, ProbeRow), flow_slowdowns(entries)
    assert wanted[0][0] > 50 and wanted[1]
    monkeypatch.setattr(testbed.views.drawn, "windows", lambda rows: Counted(windows(rows)))
    Counted.looks = 0
    assert (latencies_ms(entries, ProbeRow), flow_slowdowns(entries)) == wanted
    assert 0 < Counted.looks <= MOST_LOOKS


@given(
    faults_s=st.lists(moments, max_size=6),
    spans=st.lists(st.tuples(moments, moments).map(lambda ends: (min(ends), max(ends))), min_size=1, max_size=6),
)
def test_iterations_with_a_fault_are_told_as_by_looking_at_each(faults_s: list[float], spans: list[Window]) -> None:
    run = quiet()
    one = run.tables.ranks[0]
    rows = [
        replace(one, iteration=number, start_s=start, end_s=end, max_gap_s=1.0 + number)
        for number, (start, end) in enumerate(spans)
    ]
    events = tuple({"event": "fault", "t_s": t_s, "action": "fail", "target": "s1"} for t_s in faults_s)
    kept = [row.max_gap_s for row in rows if not any(row.start_s <= t_s <= row.end_s for t_s in faults_s)]
    longest = [gap_s for gap_s in kept if gap_s is not None]
    found = usual_pause_s(replace(with_rows(run, ranks=rows), events=events))
    assert found == (median(longest) if longest else None)
