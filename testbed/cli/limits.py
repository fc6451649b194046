"""What this machine carries, by its kind and by what was found by trying; and ``--auto-rate``. Not a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from testbed.errors import Problem, ScenarioError, printable
from testbed.model.calibrated import exceeded, tightest
from testbed.model.capacity import crossings_per_s
from testbed.model.rates import is_rate, rate_changes, rate_factor, told_in_seconds
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.sweep import Sweep, merged_problems
from testbed.model.windows import window_problems
from testbed.results.calibration import load_calibration
from testbed.runs.traffic_files import taken_in
from testbed.system.machine import Machine

AUTO_RATE = "--auto-rate"


@dataclass(frozen=True)
class Limit:
    """The most a scenario may ask of this machine, and whose word that is."""

    crossings_per_s: float
    whose: str


def add_auto_rate(parser: argparse.ArgumentParser, *, several: str = "") -> None:
    """Add ``--auto-rate``; ``several``: what a command makes scenarios of, whose rates are to be the same."""
    parser.add_argument(
        AUTO_RATE,
        action="store_true",
        help="where rates are more than this machine carries ('gse doctor --calibrate' finds out; else what its kind "
        "may be asked for), lower all of them by one factor, which is told"
        + (f"; the same for all {several}, as the one that asks for most needs it" if several else ""),
    )


def limit_for(scenario: Scenario, machine: Machine) -> Limit:
    """Return what a scenario may ask for."""
    of_kind = machine.ceiling_crossings_per_s
    calibration = load_calibration(machine.to_json())
    carried = None if calibration is None else tightest(calibration.found, scenario)
    if carried is None or carried.limit_per_s >= of_kind:
        unknown = "" if carried is not None else " ('gse doctor --calibrate' finds out what this one carries)"
        return Limit(of_kind, f"the most that is asked of machines of this kind{unknown}")
    return Limit(carried.limit_per_s, f"carried when this machine was calibrated ({carried.made_utc})")


def at_carried_rates(scenario: Scenario, machine: Machine) -> Scenario:
    """Return the scenario at rates this machine carries, and say on stderr what was done to them.

    Where no rate would do it is returned as it is: what is wrong then is for the machine's check to say, or for
    verdicts. Raises ScenarioError where the lower rates do not go with a capture, or with settings of agents.
    """
    (slower,) = _at_carried_rates((scenario,), machine)
    return slower


def sweep_at_carried_rates(sweep: Sweep, machine: Machine) -> Sweep:
    """Do the same for a sweep, by one factor for all its values: curves are to compare these, not rates."""
    points = _at_carried_rates(sweep.points, machine, sweep.field, sweep.texts)
    return replace(sweep, points=points)


def refuse_varied_rate(field: str) -> None:
    """Refuse ``--auto-rate`` where the field that is varied is a rate itself. Raises ScenarioError."""
    if is_rate(field):
        got = f"--over {field}, a rate: lowered, it would not have the values that are asked for"
        expected = "another field to vary, or values this machine carries and no --auto-rate"
        raise ScenarioError(Problem("lowers all rates by one factor", AUTO_RATE, got, expected))


def _at_carried_rates(
    points: Sequence[Scenario], machine: Machine, field: str = "", texts: Sequence[str] = ("",)
) -> tuple[Scenario, ...]:
    """Lower the rates of scenarios that differ in ``field``, no rate, by the factor of the one that needs it most."""
    limits = [limit_for(point, machine) for point in points]
    factors = [rate_factor(point, limit.crossings_per_s) for point, limit in zip(points, limits, strict=True)]
    rooms = [limit.crossings_per_s - crossings_per_s(point) for point, limit in zip(points, limits, strict=True)]
    worst = min(range(len(points)), key=lambda index: (factors[index] or 0.0, rooms[index]))
    factor, limit, first = factors[worst], limits[worst], points[0]
    there = f" at {field}={texts[worst]}" if len(points) > 1 else ""
    told = f"{limit.crossings_per_s:,.0f} switch crossings/s are {limit.whose}"
    if factor is None or factor >= 1:
        at_all = f" at all {len(points)} values" if there else ""
        what = f"no rate would do{there}" if factor is None else f"they fit{at_all}"
        _say(f"rates stay as they are: {what}; {told}")
        return tuple(points)
    slower, of_points = [], []
    for point in points:
        problems: Sequence[Problem] = ()
        try:
            slower.append(_slower(point, factor))
        except ScenarioError as error:
            problems = error.problems
        of_points.append(problems)
    if problems := merged_problems(field, texts, of_points):
        raise ScenarioError(problems)
    was_mbps, is_mbps = first.fabric.host_link_mbps, slower[0].fabric.host_link_mbps
    kept = ", ".join(dict.fromkeys(words for point in points for words in told_in_seconds(point)))
    _say(
        f"all rates x {factor:g}, host links {is_mbps:g} instead of {was_mbps:g} Mbit/s; {told}; "
        "results are fractions of line rate"
        + (f"; the same for all {len(points)} values, as most is asked for{there}" if there else "")
        + (f"; not scaled: {kept}" if kept else "")
    )
    return tuple(slower)


def _slower(scenario: Scenario, factor: float) -> Scenario:
    slower = taken_in(override(scenario, rate_changes(scenario, factor)))
    if wrong := window_problems(slower):  # timers of agents follow from rates
        raise ScenarioError(wrong)
    return slower


def _say(text: str) -> None:
    print(printable(f"gse: {AUTO_RATE}: {text}"), file=sys.stderr)


def calibration_words(scenario: Scenario, machine: Machine) -> Iterator[str]:
    """Yield in words that a scenario asks for more than this machine was found to carry."""
    calibration = load_calibration(machine.to_json())
    carried = None if calibration is None else exceeded(calibration.found, scenario)
    if carried is not None:
        yield (
            f"{crossings_per_s(scenario):,.0f} switch crossings/s are asked for, and {carried.crossings_per_s:,.0f} "
            f"were carried when this machine was calibrated ({carried.made_utc}): expect SUSPECT or INVALID runs "
            f"({AUTO_RATE} lowers rates to that)"
        )
