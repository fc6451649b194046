"""What a machine has been found to carry, and what that says of a scenario. Pure.

``gse doctor --calibrate`` looks, kind by kind of run, for the highest rate at which nothing is to be said against a run
(``testbed.runs.calibration``). Kept is how much forwarding that was, in the unit of ``testbed.model.capacity``: of
fabrics and MTUs that were not tried the nearest one stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Final

from testbed.model.attachment import Attachment
from testbed.model.capacity import crossings_per_s
from testbed.model.scenario import Scenario, SchemeName
from testbed.model.schemes import SETTINGS

TOLERANCE: Final = 1.02  # above what was carried: how rates are rounded is not to decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The highest rate a kind of run was carried at; None: not even the lowest.

    ``beyond_mbps``: the next rate, at which something was to be said against runs; None: nothing higher was tried.
    ``disturbed``: that was what others did to the machine, which may carry more. ``made_utc``, ``commit``: when it was
    found, and by which state of the code; None: not known.
    """

    attachment: Attachment
    hosts: int
    mtu_bytes: int
    rate_mbps: float | None
    crossings_per_s: float
    beyond_mbps: float | None = None
    disturbed: bool = False
    made_utc: str | None = None
    commit: str | None = None

    @property
    def limit_per_s(self) -> float:
        """The most crossings per second to ask for; endless where the highest rate that was tried was carried."""
        return inf if self.beyond_mbps is None else self.crossings_per_s


def highest(rates: Sequence[float], carries: Callable[[float], bool]) -> tuple[float | None, float | None]:
    """Return the highest rate that is carried and the lowest that is not, by halving; ``rates`` ascend.

    What carries a rate is taken to carry all below it: each is tried once at most. That nothing is carried is not left
    to that: there may be something else to say against the lowest rates, and then those that were passed over count.
    """
    low, high = -1, len(rates)  # the last one known to be carried, the first known not to be
    tried: set[int] = set()
    while high - low > 1:
        middle = (low + high) // 2
        tried.add(middle)
        if carries(rates[middle]):
            low = middle
        else:
            high = middle
    if low < 0:
        for index in sorted(set(range(max(tried, default=0))) - tried, reverse=True):
            if carries(rates[index]):
                return rates[index], rates[index + 1]
    return (rates[low] if low >= 0 else None, rates[high] if high < len(rates) else None)


def nearest(found: Sequence[Carried], scenario: Scenario, scheme: SchemeName) -> Carried | None:
    """Return what was found of the kind of run most like that of a scheme; None: nothing with agents at that place."""
    attachment, fabric = SETTINGS[scheme].attachment, scenario.fabric

    def distance(one: Carried) -> tuple[float, int]:
        apart = abs(log(one.mtu_bytes / fabric.mtu_bytes)) + abs(log(one.hosts / fabric.hosts))
        return apart, one.hosts

    return min((one for one in found if one.attachment == attachment), key=distance, default=None)


def tightest(found: Sequence[Carried], scenario: Scenario) -> Carried | None:
    """Return what limits a scenario, the least of all its schemes; None where one of them was never tried."""
    limits = [nearest(found, scenario, scheme) for scheme in scenario.schemes]
    return None if None in limits else min((one for one in limits if one is not None), key=lambda one: one.limit_per_s)


def exceeded(found: Sequence[Carried], scenario: Scenario) -> Carried | None:
    """Return what limits a scenario where it asks for more than that; else None."""
    limit = tightest(found, scenario)
    return limit if limit is not None and crossings_per_s(scenario) > TOLERANCE * limit.limit_per_s else None
