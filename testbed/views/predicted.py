"""What the fluid model has for the very runs that are shown, where that takes no time worth mentioning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, median
from typing import Final

from pydantic import ValidationError

from testbed.fluid.case import PLACED, Case, problems
from testbed.fluid.predict import Outcome, outcomes, way_of
from testbed.model.cross_spec import CrossTrafficSpec
from testbed.model.rounds import MAX_SLICES
from testbed.model.scenario import GsosSpec, GspSpec, MeasureSpec, Scenario
from testbed.model.schemes import SETTINGS, profile_of

MODEL: Final = "fluid model"  # as figures and tables call it
MOST_ENTRIES: Final = 200_000  # pairs x flows x links x seeds: some tenths of a second; 'gse predict' does more
MOST_SLICES: Final = 200_000  # of pairs in step, whose order is walked through for each share: some seconds
SHARES: Final = 5  # of links that hashing leaves rings, hardly ever more: 1, 1/2, 1/3, ...
ENTRIES_PER_SLICE: Final = 10  # as long as these it takes
MOST_TOGETHER: Final = 12_000_000  # entries of all values and schemes of a sweep: ten to twenty seconds


@dataclass(frozen=True, slots=True)
class Modelled:
    """What the model has for a scheme: of every seed, or of one where all are alike."""

    outcomes: tuple[Outcome, ...]

    @property
    def completion_s(self) -> float:
        """The mean time of an iteration."""
        return fmean(one.time_s for one in self.outcomes)

    @property
    def busbw_mbps(self) -> float:
        """The mean bus bandwidth."""
        return fmean(one.busbw_mbps for one in self.outcomes)

    @property
    def efficiency(self) -> float:
        """The mean efficiency."""
        return fmean(one.efficiency for one in self.outcomes)

    def efficiency_of(self, seed: int) -> float | None:
        """The efficiency of a seed of those asked about."""
        alike = self.outcomes[0].efficiency if len(self.outcomes) == 1 else None
        return next((one.efficiency for one in self.outcomes if one.seed == seed), alike)

    @property
    def median_efficiency(self) -> float:
        """The median efficiency, for what is held against medians over seeds."""
        return median(one.efficiency for one in self.outcomes)


@dataclass(frozen=True, slots=True)
class _Question:
    """What the model looks at and nothing else, so that questions that come to the same are equal.

    ``entries``: how much there is to solve, slices included.
    """

    scenario: Scenario
    scheme: str
    seeds: tuple[int, ...]
    entries: int

    @property
    def cases(self) -> list[Case]:
        """What is to be solved."""
        return [Case(self.scenario, self.scheme, seed) for seed in self.seeds]


def fluid_efficiency(scenario: Scenario, scheme: str, seeds: Sequence[int]) -> float | None:
    """Return the efficiency the model has for a scheme, the mean over seeds; None as of ``modelled``."""
    found = modelled(scenario, scheme, seeds)
    return None if found is None else found.efficiency


def modelled(scenario: Scenario, scheme: str, seeds: Sequence[int]) -> Modelled | None:
    """Return what the model has for a scheme.

    None: no seeds; a scenario that is not for the model, or that it plays slice by slice; too many flows; settings of a
    stranger's that no agent could have.
    """
    question = _question(scenario, scheme, seeds)
    return None if question is None else _answer(question)


def modelled_together(asked: Sequence[tuple[Scenario, str, Sequence[int]]]) -> list[Modelled | None]:
    """Return the same for many at once: what comes to the same is solved once, ``MOST_TOGETHER`` in all.

    What costs least is solved first, and nothing (None) of what would be too much then.
    """
    questions = [_question(*one) for one in asked]
    distinct = dict.fromkeys(question for question in questions if question is not None)
    answers: dict[_Question, Modelled | None] = {}
    left = MOST_TOGETHER
    for question in sorted(distinct, key=lambda one: one.entries):
        left -= question.entries
        if left < 0:
            break
        answers[question] = _answer(question)
    return [None if question is None else answers.get(question) for question in questions]


def _question(scenario: Scenario, scheme: str, seeds: Sequence[int]) -> _Question | None:
    asked, work = scenario.model_copy(update={"schemes": (scheme,)}), scenario.workload
    if not seeds or not work.bulk_bytes or work.training is not None or problems(asked):
        return None
    case = Case(asked, scheme, seeds[0])
    if way_of(case.pattern) == "slice by slice":
        return None
    wanted = tuple(seeds) if case.depends_on_seed else tuple(seeds[:1])
    links = 8 + 4 * scenario.fabric.paths
    entries = len(case.pattern.pairs) * work.flows_per_hop * links * len(wanted)
    slices = _slices(case) * min(len(wanted), SHARES)
    if entries > MOST_ENTRIES or slices > MOST_SLICES:
        return None
    try:
        return _Question(_seen(asked, scheme), scheme, wanted, entries + ENTRIES_PER_SLICE * slices)
    except ValidationError:
        return None


def _slices(case: Case) -> int:
    """Return how many slices are walked through to see what their order costs; of too many none are."""
    if way_of(case.pattern) != "in step":
        return 0
    found = sum(-(-size // case.slice_bytes) for size in case.sizes)
    return found if found <= MAX_SLICES * len(case.pattern.jobs) else 0


def _seen(scenario: Scenario, scheme: str) -> Scenario:
    """Return the scenario with what the model does not look at as it is usually.

    Of agents it sees the pace of grants (``testbed.fluid.overhead``), of GSOS what places flows. Raises
    ValidationError where no agent could have these settings.
    """
    usual = {
        "name": "asked",
        "question": "",
        "expectation": "",
        "background": (),
        "cross_traffic": CrossTrafficSpec(),
        "measure": MeasureSpec(),
        "seeds": (1,),
        "gsp": _pace(scenario, scheme) if SETTINGS[scheme].grants else GspSpec(),
    }
    return scenario.model_copy(update=usual if scheme in PLACED else {**usual, "gsos": GsosSpec()})


def _pace(scenario: Scenario, scheme: str) -> GspSpec:
    """Return the agents' settings with nothing but the pace of grants, where agents could be set to that alone."""
    alone = GspSpec(pacing=profile_of(scheme, scenario.fabric, scenario.gsp).pacing)
    try:
        profile_of(scheme, scenario.fabric, alone)
    except ValidationError:
        return scenario.gsp
    return alone


@lru_cache(maxsize=512)
def _answer(question: _Question) -> Modelled:
    return Modelled(tuple(outcomes(question.cases)))
