from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evaluation.drainfit import DrainFit

FRAME = 9014
RATE = 1_250_000.0  # 10 Mbit/s


def staircase(t_s: float, rate: float, frame: int, phase_s: float) -> int:
    """Bytes sent by a queue that sends one frame every frame/rate."""
    return int((t_s + phase_s) * rate // frame) * frame


@given(
    rate=st.floats(1e5, 1e9),
    phase=st.floats(0, 1),
    readings_per_frame=st.floats(0.02, 8),
    readings=st.integers(60, 400),
)
def test_rate_of_a_backlogged_queue_is_found_within_its_own_error(
    rate: float, phase: float, readings_per_frame: float, readings: int
) -> None:
    frame_s = FRAME / rate
    interval_s = frame_s / readings_per_frame
    fit = DrainFit(FRAME)
    for number in range(readings):
        # uneven, as a real reader is: evenly spaced readings can step with the frames
        t_s = interval_s * (number + 0.4 * math.sin(number * 2.4))
        fit.add(t_s, staircase(t_s, rate, FRAME, phase * frame_s), 10 * FRAME, 10**12)
    assert fit.rate_bytes_per_s is not None
    # readings within one frame err together, so that only frames count as independent
    together = max(readings_per_frame, 1.0) ** 0.5
    # four standard errors, were readings at random; where they nearly step with the frames they are not quite
    assert fit.rate_bytes_per_s == pytest.approx(rate, rel=6 * fit.error_fraction * together + 1e-9)


def test_expected_error_is_a_frame_over_root_12_over_the_spread_of_the_times() -> None:
    fit = DrainFit(FRAME)
    for t_s in (0.0, 1.0, 2.0):
        fit.add(t_s, round(RATE * t_s), FRAME, 10**9)
    assert fit.rate_bytes_per_s == pytest.approx(RATE)
    # sum of (t - 1)^2 = 2
    assert fit.error_fraction == pytest.approx(9014 / math.sqrt(12 * 2) / 1_250_000)
    assert fit.covered_s == pytest.approx(2.0)


def test_nothing_is_known_without_two_readings_in_a_row() -> None:
    fit = DrainFit(FRAME)
    assert fit.rate_bytes_per_s is None
    assert fit.error_fraction == math.inf
    fit.add(0.0, 0, FRAME, FRAME)
    assert fit.rate_bytes_per_s is None
    assert fit.covered_s == 0.0


def test_time_with_an_empty_queue_does_not_count() -> None:
    fit = DrainFit(FRAME)
    for start_s, sent in ((0.0, 0), (10.0, 20_000_000)):  # idle for nine seconds, then whatever was sent meanwhile
        for step in range(11):
            t_s = step / 10
            fit.add(start_s + t_s, sent + round(RATE * t_s), 3 * FRAME if step < 10 else 0, 10**6)
    assert fit.rate_bytes_per_s == pytest.approx(RATE)
    assert fit.covered_s == pytest.approx(2 * 0.9)


def test_queue_that_may_have_run_empty_between_readings_begins_anew() -> None:
    fit = DrainFit(FRAME)
    fit.add(0.0, 0, 2 * FRAME, 4 * FRAME)
    fit.add(1.0, 4 * FRAME, 2 * FRAME, 4 * FRAME)  # all that was ready was sent: it may have been idle
    assert fit.rate_bytes_per_s is None
    fit.add(2.0, 7 * FRAME, FRAME, 4 * FRAME)
    assert fit.rate_bytes_per_s == pytest.approx(3 * FRAME)
    assert fit.covered_s == 1.0


def test_counter_that_stands_still_is_no_rate() -> None:
    fit = DrainFit(FRAME)
    for t_s in (0.0, 1.0, 2.0):
        fit.add(t_s, 500, FRAME, 2 * FRAME)
    assert fit.rate_bytes_per_s == 0.0
    assert fit.error_fraction == math.inf
