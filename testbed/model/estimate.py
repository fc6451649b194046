"""How long a run will take, for progress bars and refusals. A guess, never a result."""

from __future__ import annotations

from random import Random

from testbed.model.oracle import expected_ecmp, pattern_ideal
from testbed.model.pattern import pattern_of
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology
from testbed.units import MIB

SETUP_S = 3.0  # capsule, fabric, GSOS
PER_HOST_S = 0.15  # starting a rank, its share of calibration
TRIALS = 100


def run_duration_s(scenario: Scenario, scheme: str) -> float:
    """Return the expected duration in seconds of one run under ``scheme``."""
    topology = Topology(scenario.fabric)
    work = scenario.workload
    rng = Random(0)
    hosts = place_ranks(topology, scenario.ranks, work.placement, rng)
    warmup_bytes = min(work.size_bytes, MIB) if work.warmup_size_bytes is None else work.warmup_size_bytes
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
