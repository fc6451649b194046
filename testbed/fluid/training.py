"""Training iterations at native scale: what a scheme makes of communication that is exposed. Pure.

``testbed.training`` has the iteration of a rank, ``testbed.fluid.rings`` the rates at which its rings move. One job
alone on the cluster; pipelines and tensor groups stay inside nodes in the cases here, so all on the fabric is data
parallel: rings through all nodes, an operation after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from typing import Final

import numpy as np

from testbed.fluid.cluster import ClusterSpec
from testbed.fluid.job import Order
from testbed.fluid.native import Latencies, ring_seconds
from testbed.fluid.rings import CLUSTER_SCHEMES, ClusterScheme, RingRates, ring_rates
from testbed.training.build import build
from testbed.training.hardware import A100, Hardware
from testbed.training.iteration import Communicate, Iteration
from testbed.training.layout import Layout
from testbed.training.presets import LLAMA2_13B
from testbed.training.timeline import SecondsOf, Timeline, play
from testbed.training.volume import nic_bytes_per_byte

SEEDS: Final = 20
GPUS: Final = (64, 128, 256, 512, 1024)
# The fabric of these jobs: NICs and links of one rate, no more NICs on a leaf than uplinks.
A100_JOBS: Final = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Means over seeds; ``speedup``: iterations per second over ecmp's, mean and what holds 95% of the seeds."""

    scheme: ClusterScheme
    iteration_s: float
    exposed_share: float
    utilisation: float
    speedup: float
    speedup_low: float
    speedup_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCase:
    """``zero``: level of ZeRO; 0 is plain data parallelism. LLaMA2-13B, sequences of 4096, nothing else overlapped."""

    gpus: int
    nics_per_node: int
    zero: int
    order: Order
    flows: int = 1
    overlap: bool = False

    @property
    def layout(self) -> Layout:
        """The job's layout: one sequence a replica with ZeRO-3, else two, as in ``testbed.training.gain``."""
        sequences = 1 if self.zero else 2
        return Layout.model_validate(
            {
                "data": self.gpus,
                "zero": self.zero,
                "micro_batch": sequences,
                "global_batch": self.gpus * sequences,
                "sequence": 4096,
                "nics_per_node": self.nics_per_node,
                "overlap": self.overlap,
            }
        )

    @property
    def cluster(self) -> ClusterSpec:
        """The fabric: two tiers, 32 nodes a group, 200 Gbit/s everywhere, twice as many nodes as the largest job."""
        return ClusterSpec(
            name="training",
            nodes=256,
            nics_per_node=self.nics_per_node,
            nodes_per_leaf=32,
            nic_gbps=A100_JOBS.nic_mbps / 1e3,
            link_gbps=A100_JOBS.nic_mbps / 1e3,
        )


def seconds_of(layout: Layout, rates: RingRates, scheme: ClusterScheme, latencies: Latencies) -> SecondsOf:
    """Return the function op -> seconds of a data-parallel operation. Raises ValueError for operations of others."""
    nodes, per_byte = layout.nodes, cache(partial(nic_bytes_per_byte, layout))

    def seconds(op: Communicate) -> float:
        if op.group != "dp" or op.operation not in ("allreduce", "reduce_scatter", "all_gather"):
            raise ValueError(f"{op.operation} of {op.group}, expected a ring of dp")
        steps = (2 if op.operation == "allreduce" else 1) * (nodes - 1)
        time_s, _waits = ring_seconds(rates, scheme, per_byte(op.operation, op.group) * op.size_bytes, steps, latencies)
        return time_s

    return seconds


def trained(case: TrainingCase, *, latencies: Latencies, seeds: int = SEEDS) -> list[Trained]:
    """Return the case under each scheme, over seeds 1..``seeds``, the same nodes for all schemes of a seed."""
    player = _Player(case, build(LLAMA2_13B, case.layout, A100_JOBS), latencies)
    played = {scheme: [player.play(scheme, seed) for seed in range(1, seeds + 1)] for scheme in CLUSTER_SCHEMES}
    found = []
    for scheme in CLUSTER_SCHEMES:
        times = np.array([one[0] for one in played[scheme]])
        ratios = np.array([one[0] for one in played["ecmp"]]) / times
        low, high = np.quantile(ratios, (0.025, 0.975))
        found.append(
            Trained(
                scheme=scheme,
                iteration_s=float(times.mean()),
                exposed_share=float(np.mean([one[1] for one in played[scheme]])),
                utilisation=float(np.mean([one[2] for one in played[scheme]])),
                speedup=float(ratios.mean()),
                speedup_low=float(low),
                speedup_high=float(high),
            )
        )
    return found


@dataclass
class _Player:
    """Plays an iteration once for each rate: hashing leaves a job one of a few."""

    case: TrainingCase
    iteration: Iteration
    latencies: Latencies
    known: dict[tuple[ClusterScheme, float], Timeline] = field(default_factory=dict)

    def play(self, scheme: ClusterScheme, seed: int) -> tuple[float, float, float]:
        """Return duration, exposed share, and the rings' rate over what NICs or the fullest cut allow."""
        case = self.case
        rates = ring_rates(case.cluster, case.layout.nodes, scheme, order=case.order, flows=case.flows, seed=seed)
        key = (scheme, rates.slowest)
        if key not in self.known:
            self.known[key] = play(self.iteration, seconds_of(case.layout, rates, scheme, self.latencies))
        timeline = self.known[key]
        return timeline.duration_s, timeline.exposed_share, rates.slowest / rates.limit
