"""When the machine is called quiet, and how long that is waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

import testbed.runs.quiet
from testbed.measurement.parsers import CoreTimes
from testbed.runs.quiet import PAUSE_S, Taken, _core_times, await_quiet, look_around, taken

QUIET, STOLEN, SHARED = Taken(0.0, 0.05), Taken(0.02, 0.0), Taken(0.0, 0.5)


def core(number: int, user_s: float, *, steal_s: float = 0.0) -> CoreTimes:
    return CoreTimes(
        core=number, user_s=user_s, system_s=0.0, idle_s=0.0, iowait_s=0.0, irq_s=0.0, softirq_s=0.0, steal_s=steal_s
    )


def test_what_others_took_is_what_neither_we_had_nor_was_idle() -> None:
    before = [core(0, 10.0), core(1, 20.0, steal_s=1.0)]
    after = [core(0, 12.0), core(1, 21.6, steal_s=1.4)]
    assert taken(before, after, own_s=3.0, wall_s=2.0) == pytest.approx((0.1, 0.3))
    assert taken(before, after, own_s=3.7, wall_s=2.0).cores == 0.0  # ticks are coarse: never less than nothing


@pytest.mark.parametrize(("one", "quiet"), [(QUIET, True), (STOLEN, False), (SHARED, False), (Taken(0.004, 0.1), True)])
def test_a_machine_is_quiet_when_no_run_would_be_doubted(one: Taken, quiet: bool) -> None:
    assert one.quiet is quiet


@pytest.mark.parametrize(
    ("looks", "longest_s", "found", "waited_s"),
    [
        ([QUIET], 60.0, True, 0.0),
        ([STOLEN, SHARED, QUIET], 60.0, True, 2 * PAUSE_S),
        ([STOLEN] * 99, 60.0, False, 50.0),
        ([STOLEN], 0.0, False, 0.0),
    ],
)
def test_it_is_waited_for_and_not_for_ever(looks: list[Taken], longest_s: float, found: bool, waited_s: float) -> None:
    now_s, left = [100.0], list(looks)

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    assert await_quiet(longest_s, look=lambda: left.pop(0), clock=lambda: now_s[0], sleep=sleep) is found
    assert now_s[0] - 100.0 == pytest.approx(waited_s)


def test_only_cores_that_may_be_used_are_looked_at() -> None:
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usable)})
    try:
        assert [core.core for core in _core_times()] == [max(usable)]
    finally:
        os.sched_setaffinity(0, usable)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], tuple[Taken, float]]:
    """Look at a machine with so many cores' work of others beside our own; return what was seen, and what we used."""
    monkeypatch.setattr(testbed.runs.quiet, "LOOK_S", 0.2)

    def look(others_cores: float) -> tuple[Taken, float]:
        def core_times() -> list[CoreTimes]:
            return [core(0, time.process_time() + others_cores * time.monotonic())]

        monkeypatch.setattr(testbed.runs.quiet, "_core_times", core_times)
        own_s = time.process_time()
        return look_around(), time.process_time() - own_s

    return look


def test_a_look_uses_the_machine_and_takes_its_own_work_for_nobody_elses(
    counted: Callable[[float], tuple[Taken, float]],
) -> None:
    found, own_s = counted(0.0)
    assert own_s > 0.02
    assert found.cores < 0.02
    assert found.quiet


def test_where_others_work_they_are_seen_and_left_alone(counted: Callable[[float], tuple[Taken, float]]) -> None:
    found, own_s = counted(0.5)
    assert found.cores == pytest.approx(0.5, abs=0.05)
    assert own_s < 0.1
