"""One run as the model sees it: who sends what to whom under which seed, and on which path each flow is. Pure.

Ranks, pattern, ports are those of ``gse run`` for the same seed (``testbed.runs.plan``): a prediction is of that run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Final

from testbed.collectives.slices import default_slice_bytes
from testbed.errors import Problem
from testbed.gse.hashing import hashed_paths
from testbed.gse.rulebook import reverse_of
from testbed.gse.schemes import make_policy
from testbed.model.oracle import FlowPath, parse_path
from testbed.model.pattern import Pattern, seeded_pattern
from testbed.model.ranks import Flow, pair_flows, place_ranks
from testbed.model.scenario import Scenario
from testbed.model.topology import Host, Topology

HASHED: Final = frozenset({"ecmp", "ecmp-agents"})
PLACED: Final = frozenset({"gse1"})
UNKNOWN: Final = frozenset({"flowlet"})  # a fluid has no gaps
MOST_ENTRIES: Final = 2_000_000  # pairs x flows x links of one seed; more take minutes and gigabytes

Paths = list[list[FlowPath | None]]  # [pair][flow]; None: within a leaf


@dataclass(frozen=True)
class Case:
    """One scenario, scheme and seed."""

    scenario: Scenario
    scheme: str
    seed: int

    @cached_property
    def topology(self) -> Topology:
        """The fabric."""
        return Topology(self.scenario.fabric)

    @cached_property
    def hosts(self) -> tuple[Host, ...]:
        """The host of each rank."""
        rng = Random(f"{self.seed}/placement")
        return place_ranks(self.topology, self.scenario.ranks, self.scenario.workload.placement, rng)

    @cached_property
    def pattern(self) -> Pattern:
        """Who sends to whom."""
        return seeded_pattern(self.scenario, self.hosts, self.seed)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Payload bytes of each pair in an iteration."""
        return self.pattern.pair_bytes(self.scenario.workload.size_bytes)

    @cached_property
    def flows(self) -> tuple[tuple[Flow, ...], ...]:
        """The TCP flows of each pair."""
        work = self.scenario.workload
        return pair_flows(
            self.hosts,
            self.pattern.pairs,
            flows_per_pair=work.flows_per_hop,
            demand_bytes=[size * work.iterations for size in self.sizes],
            rng=Random(f"{self.seed}/ports"),
        )

    @property
    def slice_bytes(self) -> int:
        """The pipelining unit."""
        work = self.scenario.workload
        return work.slice_bytes or default_slice_bytes(self.pattern.job_ranks, work.size_bytes)

    @property
    def spreads(self) -> bool:
        """Whether every flow uses every path."""
        return self.scheme not in HASHED | PLACED

    @property
    def depends_on_seed(self) -> bool:
        """Whether another seed may give another result."""
        work = self.scenario.workload
        return self.scheme in HASHED or work.placement == "random" or work.kind == "permutation"

    @cached_property
    def paths(self) -> tuple[Paths, Paths]:
        """The path of every flow, and of its acknowledgements; of schemes that do not spread."""
        pairs = self.pattern.host_pairs(self.hosts)
        if self.scheme in HASHED:
            reverse = [[reverse_of(flow) for flow in own] for own in self.flows]
            back = [(dst, src) for src, dst in pairs]
            return (
                hashed_paths(self.topology, self.flows, pairs, self.seed),
                hashed_paths(self.topology, reverse, back, self.seed),
            )
        placed = self._placed(pairs)
        return placed, placed  # a placed flow's acknowledgements take its path

    def _placed(self, pairs: Sequence[tuple[Host, Host]]) -> Paths:
        """Ask GSOS's own policy, told all jobs in order as it is before a run."""
        policy = make_policy(self.scheme, self.topology, seed=self.seed, settings=self.scenario.gsos)
        names = self.scenario.workload.job_names
        jobs = [self.pattern.job_of(src) for src, _dst in self.pattern.pairs]
        path_of: dict[tuple[str, str, int, int, int], FlowPath] = {}
        for number, name in enumerate(names):
            own = [flow for job, flows in zip(jobs, self.flows, strict=True) if job == number for flow in flows]
            policy.job_announced(name, own, now_s=0.0)
        for number, name in enumerate(names):
            own = [flow for job, flows in zip(jobs, self.flows, strict=True) if job == number for flow in flows]
            for flow, answer in zip(own, policy.job_placement(name), strict=True):
                if answer["path"] is not None:
                    path_of[flow.key] = parse_path(self.topology, answer["path"])
        return [
            [None if src.leaf == dst.leaf else path_of[flow.key] for flow in flows]
            for (src, dst), flows in zip(pairs, self.flows, strict=True)
        ]


def problems(scenario: Scenario) -> list[Problem]:
    """Return what keeps the model from a scenario under its schemes; empty: nothing does."""
    where, work, fabric = f"scenario {scenario.name}", scenario.workload, scenario.fabric
    found = []
    if scenario.faults:
        found.append(Problem("the model knows no faults", where, f"{len(scenario.faults)} faults", "--set faults=[]"))
    if work.training is not None:
        found.append(Problem("not a collective", where, "a training iteration", "'gse predict training'"))
    if scenario.is_disturbed:
        got, expected = "elephants, mice or cross traffic", "background=[], cross_traffic unset, few small messages"
        found.append(Problem("the model knows no other traffic", where, got, expected))
    if work.mice_only_s is not None:
        found.append(Problem("the model knows no small messages", where, "mice_only_s", "mice_only_s unset"))
    if fabric.loss_fraction:
        got = f"loss_fraction={fabric.loss_fraction:g}"
        found.append(Problem("the model knows no loss", where, got, "fabric.loss_fraction=null"))
    for scheme in scenario.schemes:
        if scheme in UNKNOWN:
            found.append(Problem("a fluid has no gaps to find", where, f"scheme {scheme}", "another scheme"))
        if scheme in PLACED and not work.announce:
            got = f"workload.announce=false with {scheme}"
            found.append(Problem("what GSOS sees first is a matter of time", where, got, "workload.announce=true"))
    pairs = scenario.ranks * scenario.peers
    entries = pairs * work.flows_per_hop * (8 + 4 * fabric.paths)
    if entries > MOST_ENTRIES:
        got = f"{pairs} pairs x {work.flows_per_hop} flows over {fabric.paths} paths"
        found.append(Problem("too many flows", where, got, "fewer ranks, flows or paths, or 'gse predict cluster'"))
    return found
