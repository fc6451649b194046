"""A scenario at other rates: all links and elephants faster or slower by one factor. Pure.

What a scenario tells in seconds stays as it is: how often probes and small messages go out, bursts, a replayed capture,
when faults come. So what a machine has to switch is part in proportion to the rates and part not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

from testbed.model.capacity import crossings_per_s
from testbed.model.scenario import Scenario

LINK_RATES: Final = ("link_rate_mbps", "host_rate_mbps", "uplink_rate_mbps")
RATE: Final = re.compile(rf"fabric\.({'|'.join(LINK_RATES)})|background\.[0-9]+\.rate_mbps")


def is_rate(field: str) -> bool:
    """Return whether a field, by its dotted name, is one of the rates that are scaled."""
    return RATE.fullmatch(field) is not None


def rate_changes(scenario: Scenario, factor: float) -> dict[str, float]:
    """Return what makes every rate ``factor`` times as high: fields by dotted name, those that are set."""
    changes = {
        f"fabric.{name}": rate * factor for name in LINK_RATES if (rate := getattr(scenario.fabric, name)) is not None
    }
    for number, elephant in enumerate(scenario.background):
        if elephant.rate_mbps is not None:
            changes[f"background.{number}.rate_mbps"] = elephant.rate_mbps * factor
    return changes


def rate_factor(scenario: Scenario, most_crossings_per_s: float) -> float | None:
    """Return the factor by which rates fit a machine, two digits, rounded down; 1 where they fit as they are.

    None: at no rate, for what does not depend on rates is too much already.
    """
    whole = crossings_per_s(scenario)
    if whole <= most_crossings_per_s:
        return 1.0
    by_rate = 2 * (whole - crossings_per_s(_at_half(scenario)))
    room = most_crossings_per_s - (whole - by_rate)
    return rounded_down(room / by_rate) if room > 0 and by_rate > 0 else None


def told_in_seconds(scenario: Scenario) -> Iterator[str]:
    """Yield in words what of a scenario's traffic and faults other rates leave as it is."""
    cross = scenario.cross_traffic
    told = {
        "small messages": scenario.workload.mice_interval_ms > 0,
        "bursts": cross.bursts is not None,
        "replayed frames": cross.replay is not None,
        "times of faults": bool(scenario.faults),
    }
    return (words for words, there in told.items() if there)


def rounded_down(factor: float) -> float:
    """Return ``factor`` with two digits, never more than it is: who follows the advice is not refused again."""
    step = 10.0 ** (math.floor(math.log10(factor)) - 1)
    return math.floor(factor / step) * step


def _at_half(scenario: Scenario) -> Scenario:
    """Return the scenario at half its rates, for arithmetic: not validated again."""
    fabric = scenario.fabric
    halved = {name: rate / 2 for name in LINK_RATES if (rate := getattr(fabric, name)) is not None}
    elephants = tuple(
        one if one.rate_mbps is None else one.model_copy(update={"rate_mbps": one.rate_mbps / 2})
        for one in scenario.background
    )
    return scenario.model_copy(update={"fabric": fabric.model_copy(update=halved), "background": elephants})
