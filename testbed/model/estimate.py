"""How long a run will take, for progress bars and refusals. A guess, never a result."""

from __future__ import annotations

from random import Random

from testbed.model.collectives import mean_bytes_per_hop
from testbed.model.oracle import expected_ecmp, ideal
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
    hop_bytes = max(1, round(mean_bytes_per_hop(scenario.ranks, volume_bytes)))
    duration_s = ideal(topology, hosts, [hop_bytes] * scenario.ranks).ideal_s
    if scheme == "ecmp":
        duration_s *= expected_ecmp(
            topology, hosts, flows_per_hop=work.flows_per_hop, runs=1, rng=rng, trials=TRIALS
        ).slowdown.mean
    return SETUP_S + PER_HOST_S * scenario.fabric.hosts + duration_s
