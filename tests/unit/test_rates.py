"""Rates that fit a machine: what is in proportion to them, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import GOOD

from testbed.model.capacity import crossings_per_s
from testbed.model.rates import rate_changes, rate_factor, rounded_down, told_in_seconds
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.system.machine import check_scenario

FAST = override(Scenario(name="x"), {"fabric.link_rate_mbps": 100.0})
MICE = {"workload.mice_interval_ms": 5.0, "workload.mice_bytes": 4000}  # 16 hosts x 200/s x 4.5 = 14,400 crossings/s
CEILING = GOOD.ceiling_crossings_per_s


def test_what_fits_stays_as_it_is() -> None:
    assert rate_factor(Scenario(name="x"), CEILING) == 1.0


def test_what_goes_out_by_the_clock_is_taken_off_before_rates_are_lowered() -> None:
    """66,000 of 115,205 is 0.57, at which 72,272 are left: the small messages come as often at any rate."""
    scenario = override(FAST, MICE)
    assert crossings_per_s(scenario) == pytest.approx(115_205, abs=1)
    factor = rate_factor(scenario, CEILING)
    assert factor == pytest.approx(0.5)
    assert factor is not None and check_scenario(override(scenario, rate_changes(scenario, factor)), GOOD) == []
    (problem,) = check_scenario(scenario, GOOD)
    assert "rates x 0.5 " in problem.expected
    assert check_scenario(override(scenario, rate_changes(scenario, 0.57)), GOOD) != []  # what was recommended before


def test_where_no_rate_would_do_none_is_recommended() -> None:
    scenario = override(FAST, {**MICE, "workload.mice_interval_ms": 1.0})  # 72,000 crossings/s by themselves
    assert rate_factor(scenario, CEILING) is None
    (problem,) = check_scenario(scenario, GOOD)
    assert "whatever the rates" in problem.expected and "rates x" not in problem.expected


@settings(max_examples=30)
@given(
    rate_mbps=st.floats(61, 90_000),
    uplink=st.one_of(st.none(), st.floats(1, 90_000)),
    elephant=st.one_of(st.none(), st.floats(1, 1000)),
    mice_ms=st.sampled_from([0.0, 5.0, 50.0]),
)
def test_at_the_recommended_rates_a_scenario_is_accepted(
    rate_mbps: float, uplink: float | None, elephant: float | None, mice_ms: float
) -> None:
    scenario = override(
        Scenario(name="x"),
        {
            "fabric.link_rate_mbps": rate_mbps,
            "fabric.uplink_rate_mbps": uplink,
            "workload.mice_interval_ms": mice_ms,
            "background": [{"src": "h1", "dst": "h5", "rate_mbps": elephant}],
        },
    )
    machine = replace(GOOD, processes_available=10**6)
    factor = rate_factor(scenario, CEILING)
    assert factor is not None and 0 < factor <= 1
    slower = override(scenario, rate_changes(scenario, factor))
    assert slower.fabric.host_link_mbps == pytest.approx(rate_mbps * factor)
    assert slower.fabric.uplink_mbps == pytest.approx((rate_mbps if uplink is None else uplink) * factor)
    assert crossings_per_s(slower) <= CEILING * (1 + 1e-9)
    assert not [problem for problem in check_scenario(slower, machine) if "switch" in problem.what]


@given(st.floats(1e-6, 1.0))
def test_a_factor_has_two_digits_and_is_never_rounded_up(factor: float) -> None:
    found = rounded_down(factor)
    assert 0.9 * factor < found <= factor * (1 + 1e-12)
    assert float(f"{found:.2g}") == pytest.approx(found)


def test_what_other_rates_leave_as_it_is_is_named() -> None:
    assert list(told_in_seconds(FAST)) == []
    told = override(
        override(FAST, MICE),
        {
            "faults": [{"t_s": 1.0, "action": "fail", "target": "l1-s1"}],
            "cross_traffic.bursts": {"size_bytes": 1_000_000, "period_s": 4.0, "storage": ["h1"]},
        },
    )
    assert list(told_in_seconds(told)) == ["small messages", "bursts", "times of faults"]
