"""The cases on which the model is held against emulation. Pure: which they are, and what counts as agreement.

``CASES``: one run each, small enough that all take some ten minutes; ``BOUNDS``: the same, where the model promises
only that nothing is faster. ``BANDS``: hashing over twenty seeds on six fabrics with three flow counts, for hours;
``OPTIMA``: GSE2.0 once on each of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from testbed.model.fabric_spec import FabricSpec
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.wire import frame_bytes

WITHIN: Final = 0.05  # of the measured time
WITHIN_OF_OPTIMUM: Final = 0.03
BAND_SEEDS: Final = tuple(range(1, 21))
BAND_SIZES: Final[Mapping[int, int]] = {1: 1 << 20, 4: 4 << 20, 16: 16 << 20}  # bytes of the array by flows per hop
QUIET: Final[Mapping[str, Any]] = {"workload.iterations": 1, "faults": [], "background": []}
SMALL: Final[Mapping[str, Any]] = {"workload.size_bytes": 4 << 20}


@dataclass(frozen=True, slots=True)
class ValidationCase:
    """``settings`` change the default scenario; the run is that of ``scheme`` and ``seed``."""

    name: str
    what: str
    scheme: str
    settings: Mapping[str, Any]
    seed: int = 1

    @property
    def scenario(self) -> Scenario:
        """The scenario, named ``validation_<name>``, of this scheme and seed only."""
        base = Scenario(name=f"validation_{self.name}")
        return override(base, {**QUIET, **SMALL, **self.settings, "schemes": [self.scheme], "seeds": [self.seed]})


_TWO_TO_ONE: Final = {"fabric.uplink_rate_mbps": 5.0}
_TREE: Final = {"workload.kind": "collective", "workload.collective": "allreduce/double_tree"}
_HIERARCHICAL: Final = {
    "workload.kind": "collective",
    "workload.collective": "allreduce/hierarchical",
    "workload.placement": "leaf_local",
}

CASES: Final[tuple[ValidationCase, ...]] = (
    ValidationCase("ring_ecmp", "ring, 4x4x4", "ecmp", {}),
    ValidationCase("ring_ecmp_2", "ring, 4x4x4, another seed", "ecmp", {}, seed=2),
    ValidationCase("ring_gse1", "ring, 4x4x4", "gse1", {}),
    ValidationCase("ring_n2n", "ring, 4x4x4", "gse2-n2n", {}),
    ValidationCase("ring_e2e", "ring, 4x4x4", "gse2-e2e", {}),
    ValidationCase("ring_flows", "ring, 4x4x4, 4 flows per hop", "gse1", {"workload.flows_per_hop": 4}),
    ValidationCase("ring_narrow", "ring, 4x4x4, uplinks of half the rate", "gse2-n2n", _TWO_TO_ONE),
    ValidationCase("two_jobs", "two rings, 4x4x4", "ecmp", {"workload.jobs": 2}),
    ValidationCase("all_to_all", "all-to-all, 4x4x4", "gse1", {"workload.kind": "all_to_all"}),
    ValidationCase(
        "incast",
        "15 to 1, 4x4x4",
        "gse2-n2n",
        {"workload.kind": "incast", "workload.size_bytes": 512 << 10},
    ),
    ValidationCase("double_tree_n2n", "double binary tree, 4x4x4", "gse2-n2n", _TREE),
    ValidationCase("hierarchical_n2n", "hierarchical, a group per leaf, 4x4x4", "gse2-n2n", _HIERARCHICAL),
)
# Where several flows meet in a queue that drops and nobody goes in step, TCP's pauses are what the model does not know.
BOUNDS: Final[tuple[ValidationCase, ...]] = (
    ValidationCase("all_to_all_ecmp", "all-to-all, 4x4x4", "ecmp", {"workload.kind": "all_to_all"}),
    ValidationCase("double_tree", "double binary tree, 4x4x4", "gse1", _TREE),
    ValidationCase("hierarchical", "hierarchical, a group per leaf, 4x4x4", "ecmp", _HIERARCHICAL),
)


@dataclass(frozen=True, slots=True)
class BandCase:
    """Ring all-reduces on a fabric under ``ecmp`` over ``BAND_SEEDS``."""

    leaves: int
    spines: int
    hosts_per_leaf: int
    flows: int
    links_per_pair: int = 1

    @property
    def fabric(self) -> str:
        """Leaves x spines x hosts of a leaf, and parallel links where there are any."""
        parallel = f", {self.links_per_pair} links per pair" if self.links_per_pair > 1 else ""
        return f"{self.leaves}x{self.spines}x{self.hosts_per_leaf}{parallel}"

    @property
    def name(self) -> str:
        """What it is asked for by, and its scenario is called: ``band_4x2x4_2_16``, of two links per pair, 16 flows."""
        links = f"_{self.links_per_pair}" if self.links_per_pair > 1 else ""
        return f"band_{self.leaves}x{self.spines}x{self.hosts_per_leaf}{links}_{self.flows}"

    @property
    def size_bytes(self) -> int:
        """The array, larger where there are more flows.

        The band is of flows that all have something to send all the time. Getting going, the last slices, which follow
        each other, and TCP's timers cost the more the more flows there are, and the less the more is moved: on 2x2x2
        with 16 flows 2 MiB made 13% less of what the paths allow in the mean, 8 MiB 4% (the median 0.6%), 16
        MiB 0.8%.
        """
        return BAND_SIZES[self.flows]

    @property
    def queue_bytes(self) -> int:
        """The queues: as they are by default, but for links that many flows share larger ones, as TCP needs them.

        TCP cannot share a link whose queue holds less than a frame for each of its flows: it waits for its timers. On
        4x2x4 with 16 flows an uplink has 32 of them on average, and 29 frames of room by default: a quarter of the
        segments was lost, and the mean of twenty seeds was 7% below what the paths allow.
        """
        usual = FabricSpec().queue_bytes
        evenly = self.flows * self.hosts_per_leaf / (self.spines * self.links_per_pair)
        return usual if evenly * frame_bytes(FabricSpec().mtu_bytes) <= usual else 2 * usual

    @property
    def scenario(self) -> Scenario:
        """The scenario; nothing else on the network, a size that takes seconds.

        With several flows at twice the usual rate, as hashing leaves the machine time: 4x4x4 with 16 flows measured
        0.661 and 0.587 at 20 Mbit/s, 0.659 and 0.587 at 10, all VALID.
        """
        many = self.flows > 1
        return override(
            Scenario(name=self.name),
            {
                **QUIET,
                "fabric.leaves": self.leaves,
                "fabric.spines": self.spines,
                "fabric.hosts_per_leaf": self.hosts_per_leaf,
                "fabric.links_per_pair": self.links_per_pair,
                "fabric.queue_bytes": self.queue_bytes,
                "fabric.link_rate_mbps": 20.0 if many else 10.0,
                "workload.size_bytes": self.size_bytes,
                "workload.warmup_size_bytes": self.size_bytes // 4,
                "workload.flows_per_hop": self.flows,
                "measure.probe_interval_ms": 0,
                "measure.calibrate": False,
                "schemes": ["ecmp"],
                "seeds": list(BAND_SEEDS),
            },
        )


_FABRICS: Final = ((2, 2, 2, 1), (2, 4, 4, 1), (4, 2, 4, 1), (4, 4, 4, 1), (4, 8, 4, 1), (4, 2, 4, 2))
BANDS: Final = tuple(
    BandCase(leaves, spines, hosts, flows, links) for leaves, spines, hosts, links in _FABRICS for flows in BAND_SIZES
)


def _optimum(band: BandCase) -> ValidationCase:
    """Return GSE2.0 on the fabric and with the flow count of a band, where paths are no matter of luck."""
    return ValidationCase(
        band.name.replace("band", "optimum", 1),
        f"ring, {band.fabric}, {band.flows} flow{'s' if band.flows > 1 else ''} per hop",
        "gse2-n2n",
        {
            "fabric.leaves": band.leaves,
            "fabric.spines": band.spines,
            "fabric.hosts_per_leaf": band.hosts_per_leaf,
            "fabric.links_per_pair": band.links_per_pair,
            "workload.flows_per_hop": band.flows,
        },
    )


# No seeds: the model has every flow on every path. 4 MiB and not 1 MiB (bands of one flow), of which asking first takes
# 2%.
OPTIMA: Final = tuple(_optimum(band) for band in BANDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What was predicted and measured of one run; times in seconds, None: no run is stored that may count."""

    what: str
    scheme: str
    seed: int
    predicted_s: float
    predicted_efficiency: float
    measured_s: float | None
    measured_efficiency: float | None
    verdict: str | None
    is_bound: bool = False
    within: float = WITHIN

    @property
    def off(self) -> float | None:
        """Predicted over measured time, minus 1."""
        return None if self.measured_s is None else self.predicted_s / self.measured_s - 1

    @property
    def agrees(self) -> bool | None:
        """Whether they are within ``within``, of a bound on its side; None without a measurement."""
        return None if self.off is None else (self.off if self.is_bound else abs(self.off)) <= self.within


@dataclass(frozen=True, slots=True)
class OfAllowed:
    """What runs made of their paths: most come close, a few wait for TCP's timers, so no mean and no Student."""

    median: float
    interval: tuple[float, float] | None
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BandAgreement:
    """Means over the seeds that are stored. ``modelled``: where 95% of such means fall, as the fluid model has it.

    ``low``, ``high``: the same of what random paths allow, which knows no acknowledgements and no slices that wait for
    each other: a bound, 0.4% above what TCP can reach.
    ``predicted``: the model's mean with the paths these seeds hash to. ``allowed``: with those that were recorded.
    ``of_allowed``: measured over allowed of a run, in which no luck of hashes is: median, its 95% interval (None below
    six runs), and the least.
    """

    case: BandCase
    seeds: int
    low: float
    high: float
    modelled: tuple[float, float]
    predicted: float
    allowed: float | None
    measured: float | None
    of_allowed: OfAllowed | None = None
    valid: int = 0  # of the seeds, how many runs are; the others are SUSPECT

    @property
    def agrees(self) -> bool | None:
        """Whether the measured mean is inside what the model has; None without measurements."""
        low, high = self.modelled
        return None if self.measured is None else low <= self.measured <= high

    @property
    def within_bound(self) -> bool | None:
        """Whether the measured mean is inside what random paths allow; None without measurements."""
        return None if self.measured is None else self.low <= self.measured <= self.high

    @property
    def holds(self) -> bool | None:
        """Whether it is inside both, which is what an exit status asks; None without measurements."""
        return None if self.measured is None else bool(self.agrees and self.within_bound)
