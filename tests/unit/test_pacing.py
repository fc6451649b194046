from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.measurement.pacing import MOST_TOLD, Schedule
from testbed.percentile import nearest_rank


def test_due_times_do_not_drift_with_lateness() -> None:
    schedule = Schedule(10.0, 0.5)
    assert schedule.due_s == 10.0
    assert schedule.met(10.2) == pytest.approx(0.2)
    assert schedule.due_s == 10.5
    schedule.met(10.5)
    assert schedule.due_s == 11.0


def test_times_that_passed_are_left_out_and_counted() -> None:
    schedule = Schedule(10.0, 0.5)
    schedule.met(11.2)  # due at 10.0; 10.5 and 11.0 have passed, 11.5 is next
    assert schedule.due_s == 11.5
    assert schedule.missed == 2
    assert schedule.lateness_s == [pytest.approx(1.2)]


def test_a_pause_counts_for_every_time_it_passed_over() -> None:
    schedule = Schedule(0.0, 0.1)
    for number in range(99):
        schedule.met(number * 0.1)
    schedule.met(10.95)  # due at 9.9; ten others passed meanwhile, the last of them 0.05 s ago
    assert nearest_rank(schedule.lateness_s, 99) == pytest.approx(0.0, abs=1e-9)
    assert len(schedule.lateness_of_due_s) == 100 + schedule.missed == 110
    assert sorted(schedule.lateness_of_due_s)[-11:] == pytest.approx([0.05 + 0.1 * number for number in range(11)])
    assert nearest_rank(schedule.lateness_of_due_s, 99) == pytest.approx(0.95)


def test_what_never_keeps_pace_does_not_fill_the_memory() -> None:
    schedule = Schedule(0.0, 1e-6)
    for _ in range(3):
        schedule.met(schedule.due_s + 1.0)
    assert schedule.missed > 2_900_000
    assert len(schedule.lateness_of_due_s) == 3 + MOST_TOLD


def test_early_is_not_late() -> None:
    schedule = Schedule(10.0, 0.5)
    assert schedule.met(9.9) == 0.0


@given(st.lists(st.floats(0, 3), min_size=1, max_size=50), st.floats(0.01, 1))
def test_next_is_always_due_after_now_and_within_one_interval(pauses: list[float], interval_s: float) -> None:
    schedule, now_s = Schedule(5.0, interval_s), 5.0
    for pause_s in pauses:
        now_s = max(now_s + pause_s, schedule.due_s)
        schedule.met(now_s)
        assert now_s - 1e-9 <= schedule.due_s <= now_s + interval_s + 1e-9
    assert len(schedule.lateness_s) == len(pauses)
    assert len(schedule.lateness_of_due_s) == len(pauses) + schedule.missed
