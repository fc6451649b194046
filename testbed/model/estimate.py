"""How long a run will take, for progress bars and refusals. A guess, never a result."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from testbed.model.oracle import expected_ecmp, pattern_ideal
from testbed.model.pattern import pattern_of
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology

SETUP_S = 3.0  # capsule, fabric, GSOS
PER_HOST_S = 0.15  # starting a rank, its share of calibration
TRIALS = 100


def run_duration_s(scenario: Scenario, scheme: str) -> float:
    """Return the expected duration in seconds of one run under ``scheme``."""
    topology = Topology(scenario.fabric)
    work = scenario.workload
    rng = Random(0)
    hosts = place_ranks(topology, scenario.ranks, work.placement, rng)
    warmup_bytes = work.warmup_bytes
    volume_bytes = work.iterations * work.size_bytes + work.warmup_iterations * warmup_bytes
    if work.mice_only_s is not None:
        return SETUP_S + PER_HOST_S * scenario.fabric.hosts + work.iterations * work.mice_only_s
    pattern = pattern_of(scenario, hosts, rng)
    slowdown = 1.0
    if scheme == "ecmp" and (pattern.in_step or pattern.training is not None or work.kind == "permutation"):
        pairs = pattern.host_pairs(hosts)
        hashed = expected_ecmp(topology, pairs, flows_per_hop=work.flows_per_hop, runs=1, rng=rng, trials=TRIALS)
        slowdown = hashed.slowdown.mean
    if (job := scenario.job) is not None:
        communication_s = job.scaled.emulated.communication_s
        measured_s = work.iterations * (job.ideal.duration_s + (slowdown - 1) * communication_s)
        warmup_s = work.warmup_iterations * slowdown * warmup_bytes / job.size_bytes * communication_s
        return SETUP_S + PER_HOST_S * scenario.fabric.hosts + measured_s + warmup_s
    # of one large iteration: what parts of floats and waiting add is no matter here
    duration_s = pattern_ideal(topology, hosts, pattern, volume_bytes).ideal_s
    return SETUP_S + PER_HOST_S * scenario.fabric.hosts + slowdown * duration_s


def ideal_measured_s(scenario: Scenario) -> float:
    """Return how long all measured iterations last at least."""
    work = scenario.workload
    if work.mice_only_s is not None:
        return work.iterations * work.mice_only_s
    if (job := scenario.job) is not None:
        return work.iterations * job.ideal.duration_s
    topology = Topology(scenario.fabric)
    hosts = place_ranks(topology, scenario.ranks, work.placement, Random(0))
    return (
        work.iterations
        * pattern_ideal(topology, hosts, pattern_of(scenario, hosts, Random(0)), work.size_bytes).ideal_s
    )


def faults_in_doubt(scenario: Scenario) -> Iterator[str]:
    """Yield in words each fault that is later than the workload lasts ideally: then a run may end before it is made."""
    if not scenario.faults:
        return
    lasts_s = ideal_measured_s(scenario)
    for number, fault in enumerate(scenario.faults):
        if fault.t_s >= lasts_s:
            yield (
                f"{fault.action} {fault.target} at {fault.t_s:g} s may never come: what is measured lasts "
                f"{lasts_s:.3g} s ideally; more workload.iterations, a larger size, or --set faults.{number}.t_s="
            )
