"""What this machine carries, by its kind and by what was found by trying; and ``--auto-rate``. Not a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.errors import ScenarioError
from testbed.model.calibrated import carried_crossings_per_s, exceeded
from testbed.model.capacity import crossings_per_s
from testbed.model.rates import rate_changes, rate_factor, told_in_seconds
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.windows import window_problems
from testbed.results.calibration import load_calibration
from testbed.runs.traffic_files import taken_in
from testbed.system.machine import Machine


@dataclass(frozen=True)
class Limit:
    """The most a scenario may ask of this machine, and whose word that is."""

    crossings_per_s: float
    whose: str


def add_auto_rate(parser: argparse.ArgumentParser) -> None:
    """Add ``--auto-rate``."""
    parser.add_argument(
        "--auto-rate",
        action="store_true",
        help="where rates are more than this machine carries ('gse doctor --calibrate' finds out; else what its kind "
        "may be asked for), lower all of them by one factor, which is told",
    )


def limit_for(scenario: Scenario, machine: Machine) -> Limit:
    """Return what a scenario may ask for."""
    of_kind = machine.ceiling_crossings_per_s
    calibration = load_calibration(machine.to_json())
    carried = None if calibration is None else carried_crossings_per_s(calibration.found, scenario)
    if calibration is None or carried is None or carried >= of_kind:
        unknown = "" if carried is not None else " ('gse doctor --calibrate' finds out what this one carries)"
        return Limit(of_kind, f"the most that is asked of machines of this kind{unknown}")
    return Limit(carried, f"carried when this machine was calibrated ({calibration.made_utc})")


def at_carried_rates(scenario: Scenario, machine: Machine) -> Scenario:
    """Return the scenario at rates this machine carries, and say on stderr what was done to them.

    Where no rate would do it is returned as it is: what is wrong then is for the machine's check to say, or for
    verdicts. Raises ScenarioError where the lower rates do not go with a capture, or with settings of agents.
    """
    limit = limit_for(scenario, machine)
    told = f"{limit.crossings_per_s:,.0f} switch crossings/s are {limit.whose}"
    factor = rate_factor(scenario, limit.crossings_per_s)
    if factor is None or factor >= 1:
        what = "rates stay as they are: " + ("no rate would do" if factor is None else "they fit")
        print(f"gse: --auto-rate: {what}; {told}", file=sys.stderr)
        return scenario
    slower = taken_in(override(scenario, rate_changes(scenario, factor)))
    if wrong := window_problems(slower):  # timers of agents follow from rates
        raise ScenarioError(wrong)
    was_mbps, is_mbps = scenario.fabric.host_link_mbps, slower.fabric.host_link_mbps
    kept = ", ".join(told_in_seconds(scenario))
    print(
        f"gse: --auto-rate: all rates x {factor:g}, host links {is_mbps:g} instead of {was_mbps:g} Mbit/s; {told}; "
        "results are fractions of line rate" + (f"; not scaled: {kept}" if kept else ""),
        file=sys.stderr,
    )
    return slower


def calibration_words(scenario: Scenario, machine: Machine) -> Iterator[str]:
    """Yield in words that a scenario asks for more than this machine was found to carry."""
    calibration = load_calibration(machine.to_json())
    carried = None if calibration is None else exceeded(calibration.found, scenario)
    if calibration is not None and carried is not None:
        yield (
            f"{crossings_per_s(scenario):,.0f} switch crossings/s are asked for, and {carried:,.0f} were carried when "
            f"this machine was calibrated ({calibration.made_utc}): expect SUSPECT or INVALID runs "
            "(gse run has --auto-rate)"
        )
