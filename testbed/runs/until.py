"""A campaign that adds seeds until speed-ups are known as well as was asked for, or the seeds it may use are made.

Every seed is made under all schemes before anybody looks: pairs stay complete, and the order stays interleaved. No run
is dropped for its result; a run that failed or is INVALID leaves its seed without a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from testbed.evaluation.records import LEAST_S
from testbed.inference.stopping import Reach, reach
from testbed.model.scenario import MAX_SEED
from testbed.runs.campaign import Campaign, Outcome


@dataclass
class UntilKnown:
    """``campaign`` with seeds added; ``target`` is the relative half width, 0.05 for 5%."""

    campaign: Campaign
    target: float
    max_seeds: int
    outcomes: list[Outcome] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def run(self) -> Iterator[Outcome]:
        """Make seed after seed and yield every outcome; stop where nothing could be stored (exit status 2)."""
        for index, seed in enumerate(seeds_from(self.campaign.scenario.seeds, self.max_seeds)):
            self.seeds.append(seed)
            for plan in self.campaign.plans_of(index, seed):
                outcome = self.campaign.run_one(plan)
                self.outcomes.append(outcome)
                yield outcome
                if outcome.exit_status == 2:
                    return
            if self.is_reached or all(one.exit_status for one in self.outcomes):
                return

    @property
    def is_reached(self) -> bool:
        """Whether every speed-up is known well enough."""
        return all(one.is_within(self.target) for one in self.reaches().values())

    def reaches(self) -> dict[str, Reach]:
        """Return scheme -> how well its speed-up over the first scheme is known."""
        baseline, *others = self.campaign.scenario.schemes
        return {scheme: reach(self._completions_s(baseline), self._completions_s(scheme)) for scheme in others}

    def _completions_s(self, scheme: str) -> dict[int, float]:
        return {
            one.plan.seed: seconds
            for one in self.outcomes
            if one.plan.scheme == scheme and one.summary is not None and one.summary["verdict"] != "INVALID"
            if (seconds := one.summary.get("completion_s")) is not None and seconds >= LEAST_S
        }


def seeds_from(first: Sequence[int], most: int) -> Iterator[int]:
    """Yield at most ``most`` seeds: those asked for, then the next numbers that are not among them."""
    begin = max(first) + 1
    more = (seed for seed in count(begin if begin + most <= MAX_SEED else 1) if seed not in first)
    yield from islice((*first, *islice(more, most)), most)
