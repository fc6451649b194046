from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.workload.pacing import Schedule


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
