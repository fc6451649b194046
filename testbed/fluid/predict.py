"""What a scenario is expected to give under a scheme, seed by seed and over seeds. Pure.

Three ways, by what waits for what (``testbed.model.pattern``):

=============== ============================================ ==================================================
who waits        model                                        collectives
=============== ============================================ ==================================================
all in step      each job one stream; bytes at its rate, plus  rings, chains
                 what slices wait (``testbed.model.rounds``)
nobody           each pair one stream, until all have ended    all_to_all, sendrecv, incast, permutation
some for others  slice by slice (``testbed.fluid.slices``)     halving_doubling, double_tree, hierarchical, tree
=============== ============================================ ==================================================

A job's pairs that go in step share one rate, so that its slowest hop sets it; a pair deals slices to its flows in turn,
so that its slowest flow does. What one leaves, others take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, Literal

import numpy as np

from testbed.fluid.case import Case
from testbed.fluid.fairness import completion, joined, max_min
from testbed.fluid.overhead import overhead_of
from testbed.fluid.slices import play, script_of
from testbed.fluid.traffic import Traffic, bottleneck, traffic_of
from testbed.model.fabric_spec import FabricSpec
from testbed.model.oracle import BAND_FRACTION, BAND_RESAMPLES, Band, pattern_ideal
from testbed.model.pattern import Pattern
from testbed.model.rounds import MAX_SLICES, pattern_rounds, schedule_of
from testbed.model.scenario import Scenario
from testbed.units import bytes_to_mbps

Way = Literal["in step", "independent", "slice by slice"]
TOGETHER: Final = 50  # seeds whose pairs are solved side by side
SEEDS: Final[dict[Way, int]] = {"in step": 200, "independent": 200, "slice by slice": 20}
MOST_SIMULATED: Final = 60_000  # slices of all jobs; more take minutes
SHARE_DIGITS: Final = 4
MOST_DRAWN: Final = 1_000_000  # values at once: of 10,000 seeds all together were most of a gigabyte


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one seed is expected to give. ``efficiency``: ideal time over ``time_s``, as ``gse run`` has it.

    ``most_flows``: on one link between leaves; None: every flow uses all. ``bottleneck``: the fullest link at first.
    """

    seed: int
    time_s: float
    efficiency: float
    busbw_mbps: float
    most_flows: int | None
    bottleneck: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A scheme over seeds: ``own`` those of the scenario, ``others`` as many as stand for all there are.

    ``band``: of the efficiency; ``low``, ``high`` hold 95% of means over as many seeds as the scenario has.
    ``single``: what holds 95% of single seeds. ``is_bound``: what waiting costs is left out: too much to count.
    """

    scheme: str
    way: Way
    own: tuple[Outcome, ...]
    others: tuple[Outcome, ...]
    band: Band
    single: tuple[float, float]
    is_bound: bool


def way_of(pattern: Pattern) -> Way:
    """Return how a pattern is modelled."""
    if pattern.in_step:
        return "in step"
    return "independent" if pattern.independent else "slice by slice"


def expect(scenario: Scenario, scheme: str, *, seeds: int | None = None) -> Expected:
    """Return what to expect under a scheme; ``seeds``: how many stand for all (None: ``SEEDS``).

    For what ``testbed.fluid.case.problems`` finds nothing wrong with.
    """
    cases = [Case(scenario, scheme, seed) for seed in scenario.seeds]
    way = way_of(cases[0].pattern)
    if not cases[0].depends_on_seed:
        (one,) = outcomes([cases[0]])
        own = tuple(_of_seed(one, seed) for seed in scenario.seeds)
        others: tuple[Outcome, ...] = (one,)
    else:
        own = tuple(outcomes(cases))
        others = tuple(outcomes([Case(scenario, scheme, seed) for seed in range(1, (seeds or SEEDS[way]) + 1)]))
    efficiencies = [one.efficiency for one in others]
    low, high = np.quantile(efficiencies, ((1 - BAND_FRACTION) / 2, (1 + BAND_FRACTION) / 2))
    return Expected(
        scheme=scheme,
        way=way,
        own=own,
        others=others,
        band=band_of_means(efficiencies, len(scenario.seeds)),
        single=(float(low), float(high)),
        is_bound=_is_bound(cases[0], way),
    )


def outcomes(cases: Sequence[Case]) -> Iterator[Outcome]:
    """Yield what each case is expected to give, in order."""
    remaining = iter(cases)
    while batch := list(islice(remaining, TOGETHER)):
        way = way_of(batch[0].pattern)
        if way == "slice by slice":
            yield from (_by_slices(case) for case in batch)
        else:
            yield from _by_streams(batch, way)


def band_of_means(values: Sequence[float], runs: int) -> Band:
    """Return mean, deviation of one, and where the mean of ``runs`` of these values falls with 95% probability.

    By resampling, always the same for the same values.
    """
    found, rng = np.asarray(values, float), np.random.default_rng(0)
    rows = max(MOST_DRAWN // runs, 1)
    sizes = (min(rows, BAND_RESAMPLES - first) for first in range(0, BAND_RESAMPLES, rows))
    means = np.sort(np.concatenate([rng.choice(found, (size, runs)).mean(axis=1) for size in sizes]))
    low, high = np.quantile(means, ((1 - BAND_FRACTION) / 2, (1 + BAND_FRACTION) / 2))
    return Band(mean=float(found.mean()), deviation=float(found.std()), low=float(low), high=float(high), runs=runs)


def _by_streams(batch: Sequence[Case], way: Way) -> Iterator[Outcome]:
    traffics = [traffic_of(case, "job" if way == "in step" else "pair") for case in batch]
    network, group = joined([traffic.network for traffic in traffics])
    ends = completion(network, np.concatenate([traffic.sizes for traffic in traffics]), group)
    for index, (case, traffic) in enumerate(zip(batch, traffics, strict=True)):
        time_s = float(ends[group == index].max())
        step_s = overhead_of(case.scheme, case.scenario.fabric, case.scenario.gsp).step_s
        if way == "in step":
            time_s += _waiting_s(case, traffic, time_s, step_s)
        else:
            time_s += step_s
        yield _outcome(case, traffic, time_s)


def _by_slices(case: Case) -> Outcome:
    work = case.scenario.workload
    traffic = traffic_of(case, "flow")
    if _is_bound(case, "slice by slice"):
        loads = np.bincount(
            traffic.network.link,
            traffic.network.cost * traffic.sizes[traffic.network.stream],
            len(traffic.network.capacity),
        )
        return _outcome(case, traffic, float((loads / traffic.network.capacity).max()))
    schedule = schedule_of(case.pattern, work.size_bytes, case.slice_bytes)
    script = script_of(schedule, case.pattern.jobs, case.pattern.pairs, work.flows_per_hop)
    step_s = overhead_of(case.scheme, case.scenario.fabric, case.scenario.gsp).step_s
    return _outcome(case, traffic, play(script, traffic.network, step_s))


def _is_bound(case: Case, way: Way) -> bool:
    slices = sum(-(-size // case.slice_bytes) for size in case.sizes)
    limits: dict[Way, int] = {"in step": MAX_SLICES * len(case.pattern.jobs), "slice by slice": MOST_SIMULATED}
    return slices > limits.get(way, slices)


def _outcome(case: Case, traffic: Traffic, time_s: float) -> Outcome:
    size_bytes = case.scenario.workload.size_bytes
    limit = pattern_ideal(case.topology, case.hosts, case.pattern, size_bytes)
    return Outcome(
        seed=case.seed,
        time_s=time_s,
        efficiency=limit.ideal_s / time_s,
        busbw_mbps=bytes_to_mbps(case.pattern.bus_factor * size_bytes, time_s),
        most_flows=None if case.spreads else (traffic.most_flows or 0),
        bottleneck=bottleneck(traffic, max_min(traffic.network)),
    )


def _of_seed(outcome: Outcome, seed: int) -> Outcome:
    return Outcome(
        seed=seed,
        time_s=outcome.time_s,
        efficiency=outcome.efficiency,
        busbw_mbps=outcome.busbw_mbps,
        most_flows=outcome.most_flows,
        bottleneck=outcome.bottleneck,
    )


def _waiting_s(case: Case, traffic: Traffic, time_s: float, step_s: float) -> float:
    """Return what the order of slices adds to the time of the bytes; slices on shared links are slower for it."""
    work = case.scenario.workload
    share = min(1.0, round(traffic.alone_s / time_s, SHARE_DIGITS))
    return _rounds_waiting_s(
        case.scenario.fabric, case.pattern, work.size_bytes, case.slice_bytes, work.flows_per_hop, step_s, share
    )


@lru_cache(maxsize=512)
def _rounds_waiting_s(
    fabric: FabricSpec, pattern: Pattern, size_bytes: int, slice_bytes: int, flows: int, step_s: float, share: float
) -> float:
    found = pattern_rounds(
        fabric, pattern, size_bytes=size_bytes, slice_bytes=slice_bytes, flows=flows, step_s=step_s, share=share
    )
    return 0.0 if found is None else found.waiting_s
