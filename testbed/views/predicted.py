"""What the fluid model has for the very runs that are shown, where that takes no time worth mentioning."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from pydantic import ValidationError

from testbed.fluid.case import Case, problems
from testbed.fluid.predict import outcomes, way_of
from testbed.model.scenario import Scenario

MOST_ENTRIES: Final = 200_000  # pairs x flows x links x seeds: some tenths of a second; 'gse predict' does more


def fluid_efficiency(scenario: Scenario, scheme: str, seeds: Sequence[int]) -> float | None:
    """Return the efficiency the model has for a scheme, the mean over seeds.

    None: no seeds; a scenario that is not for the model, or that it plays slice by slice; too many flows; settings of a
    stranger's that no agent could have.
    """
    asked, work = scenario.model_copy(update={"schemes": (scheme,)}), scenario.workload
    if not seeds or not work.bulk_bytes or problems(asked):
        return None
    cases = [Case(asked, scheme, seed) for seed in seeds]
    if way_of(cases[0].pattern) == "slice by slice":
        return None
    wanted = cases if cases[0].depends_on_seed else cases[:1]
    links = 8 + 4 * scenario.fabric.paths
    if len(cases[0].pattern.pairs) * work.flows_per_hop * links * len(wanted) > MOST_ENTRIES:
        return None
    try:
        return fmean(one.efficiency for one in outcomes(wanted))
    except ValidationError:
        return None
