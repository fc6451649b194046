"""All-reduces at native scale: bytes at the rings' rates, and what steps take one after another. Pure.

``ring``: each NIC's ring goes through every accelerator of every node (inside nodes over NVLink) with its part of the
array. ``hierarchical``: reduce-scatter inside each node, an all-reduce of every rail's part between nodes, all-gather
inside; the three one after the other. Time of a ring = the longer of its bytes at the slowest ring's rate and the
chain of its steps: a piece of data passes 2 (n - 1) hops, each at its latency and the piece's own time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from testbed.fields import Spec
from testbed.fluid.cluster import ClusterSpec
from testbed.fluid.job import Order
from testbed.fluid.predict import band_of_means
from testbed.fluid.rings import ClusterScheme, RingRates, ring_rates
from testbed.model.oracle import BAND_FRACTION, Band

NativeAlgorithm = Literal["ring", "hierarchical"]
NATIVE_ALGORITHMS: Final[tuple[NativeAlgorithm, ...]] = ("ring", "hierarchical")
SEEDS: Final = 20


class Latencies(Spec):
    """Seconds of a step. The defaults of rings are those NCCL's own tuning takes (src/graph/tuning.cc, hwLat, Simple).

    ``ask_s``: what asking first adds to a step under GSE2.0. In the emulation it is 4 ms where a frame's round trip is
    61 ms (``testbed.fidelity.grants``), as most steps find credit of the one before; as much of 15 us is the default.
    ``piece_bytes``: what is handed on at once, at most.
    """

    network_s: float = 14e-6
    nvlink_s: float = 3.4e-6
    ask_s: float = 1e-6
    piece_bytes: int = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """An all-reduce under a scheme. ``busbw``: 2(n-1)/n x size over ``time_s``, GB/s, as nccl-tests has it.

    ``efficiency``: ideal time over time, ideal being bytes alone at the NICs' (or the fullest cut's) rate with RoCE's
    headers. ``waits``: whether the chain of steps, not bytes, decides.
    """

    seed: int
    time_s: float
    efficiency: float
    busbw_gbytes_per_s: float
    rates: RingRates
    waits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeExpected:
    """A scheme over seeds; ``single`` holds 95% of the seeds' efficiencies."""

    scheme: ClusterScheme
    ranks: int
    algorithm: NativeAlgorithm
    seeds: tuple[Native, ...]
    band: Band
    single: tuple[float, float]

    @property
    def mean_s(self) -> float:
        """Return the mean time."""
        return float(np.mean([one.time_s for one in self.seeds]))


def step_s(scheme: ClusterScheme, latencies: Latencies) -> float:
    """Return what a step between nodes takes beside its piece's own time."""
    return latencies.network_s + (latencies.ask_s if scheme == "gse2" else 0.0)


def ring_seconds(
    rates: RingRates, scheme: ClusterScheme, nic_bytes: float, steps: int, latencies: Latencies
) -> tuple[float, bool]:
    """Return how long rings between nodes take, and whether it is their steps that decide.

    ``nic_bytes`` is what a NIC sends, in ``steps`` one after another.
    """
    piece = min(nic_bytes / steps, latencies.piece_bytes)
    chain_s = steps * (step_s(scheme, latencies) + piece / rates.slowest)
    bytes_s = nic_bytes / rates.slowest
    return max(bytes_s, chain_s), chain_s > bytes_s


def all_reduce(
    cluster: ClusterSpec,
    rates: RingRates,
    scheme: ClusterScheme,
    algorithm: NativeAlgorithm,
    *,
    ranks: int,
    size_bytes: int,
    latencies: Latencies,
    seed: int,
) -> Native:
    """Return an all-reduce of ``size_bytes`` over ``ranks`` accelerators in whole nodes."""
    nodes, inside = ranks // cluster.gpus_per_node, cluster.gpus_per_node
    part = size_bytes / cluster.nics_per_node
    factor = 2 * (ranks - 1) / ranks
    nvlink = cluster.nvlink_gbytes_per_s * 1e9
    between = 2 * (nodes - 1)
    if algorithm == "ring":
        nic_bytes, nvlink_bytes_s = factor * part, factor * size_bytes / nvlink
        piece = min(part / ranks, latencies.piece_bytes)
        chain_s = (2 * (ranks - 1) - between) * (latencies.nvlink_s + piece / nvlink)
        chain_s += between * (step_s(scheme, latencies) + piece / rates.slowest)
        bytes_s = max(nic_bytes / rates.slowest, nvlink_bytes_s)
        time_s, waits = max(bytes_s, chain_s), chain_s > bytes_s
        ideal_s = max(nic_bytes / rates.limit, nvlink_bytes_s)
    else:
        nic_bytes = between / nodes * part
        time_s, waits = ring_seconds(rates, scheme, nic_bytes, between, latencies)
        local_s = 2 * (inside - 1) / inside * size_bytes / nvlink
        time_s += local_s + 2 * (inside - 1) * latencies.nvlink_s
        ideal_s = nic_bytes / rates.limit + local_s
    return Native(
        seed=seed,
        time_s=time_s,
        efficiency=ideal_s / time_s,
        busbw_gbytes_per_s=factor * size_bytes / time_s / 1e9,
        rates=rates,
        waits=waits,
    )


def expect_native(
    cluster: ClusterSpec,
    scheme: ClusterScheme,
    algorithm: NativeAlgorithm,
    *,
    ranks: int,
    size_bytes: int,
    order: Order,
    flows: int,
    latencies: Latencies,
    seeds: int = SEEDS,
) -> NativeExpected:
    """Return an all-reduce over seeds 1..``seeds`` (of the hash, and of the nodes where these are scattered)."""
    nodes = ranks // cluster.gpus_per_node
    depends = scheme == "ecmp" or order == "scattered"
    found = []
    for seed in range(1, (seeds if depends else 1) + 1):
        rates = ring_rates(cluster, nodes, scheme, order=order, flows=flows, seed=seed)
        found.append(
            all_reduce(
                cluster, rates, scheme, algorithm, ranks=ranks, size_bytes=size_bytes, latencies=latencies, seed=seed
            )
        )
    values = [one.efficiency for one in found]
    low, high = np.quantile(values, ((1 - BAND_FRACTION) / 2, (1 + BAND_FRACTION) / 2))
    return NativeExpected(
        scheme=scheme,
        ranks=ranks,
        algorithm=algorithm,
        seeds=tuple(found),
        band=band_of_means(values, len(found)),
        single=(float(low), float(high)),
    )
