"""Find out by runs what this machine carries: hosts x MTU x place of the agents, each at rising rates.

A rate is carried where a run of a ring all-reduce is VALID: whatever verdicts look at (cores, waiting, losses outside
the modelled queues, speed against paths and grants) then found nothing. One run that is not VALID may be an accident,
and would cost up to half of the rates: it is made again under other seeds, and of three the majority decides. What
others do to the machine is no answer. Every run is kept, as any other is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from testbed.errors import MachineError, Problem
from testbed.fidelity import OUTSIDE
from testbed.fidelity.verdict import Level
from testbed.model.calibrated import Carried, highest
from testbed.model.capacity import crossings_per_s
from testbed.model.estimate import run_duration_s
from testbed.model.scenario import Scenario, SchemeName
from testbed.model.scenario_input import override
from testbed.model.schemes import SETTINGS
from testbed.runs.campaign import FAILED, Campaign, OnEvent, Outcome
from testbed.system.machine import Machine, check_scenario
from testbed.units import KIB, MIB, mbps_to_bytes_per_s

NAME: Final = "calibration"
RATES_MBPS: Final = (2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, 640.0)
SHAPES: Final = ((2, 2, 2), (4, 4, 4))  # leaves, spines, hosts of a leaf
MTUS_BYTES: Final = (1500, 9000)
# One scheme for each place agents may have: what they cost is a matter of the place.
SCHEMES: Final[tuple[SchemeName, ...]] = ("gse1", "gse2-n2n", "gse2-e2e")
LASTS_S: Final = 6.0  # all all-reduces of a run
# A rank's part of an array; of less, asking first takes a share of the time that verdicts notice whatever the machine.
LEAST_CHUNK_BYTES: Final = 256 * KIB
MOST_BYTES: Final = 256 * MIB  # of all ranks' arrays together; several copies of each are held
REPEATS: Final = 2  # where others disturbed a run
SEEDS: Final = (1, 2, 3)
RUNS_OF_A_RATE: Final = 1.5  # about half of the rates that halving tries are not carried, which takes two runs

Answer = Literal["carried", "not carried", "disturbed", "failed"]
OnRun = Callable[["Kind", float, Outcome], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run."""

    scheme: SchemeName
    leaves: int
    spines: int
    hosts_per_leaf: int
    mtu_bytes: int

    def __str__(self) -> str:
        return f"{self.scheme}, {self.leaves}x{self.spines}x{self.hosts_per_leaf}, MTU {self.mtu_bytes}"

    def scenario(self, rate_mbps: float, seed: int = SEEDS[0]) -> Scenario:
        """Return the scenario that tries a rate: all-reduces of ``LASTS_S``, of the sizes there may be."""
        ranks = self.leaves * self.hosts_per_leaf
        bytes_per_s = mbps_to_bytes_per_s(rate_mbps) * ranks / (2 * (ranks - 1))
        least, most = ranks * LEAST_CHUNK_BYTES, MOST_BYTES // ranks
        size_bytes = min(max(round(bytes_per_s * LASTS_S) // KIB * KIB, least), most)
        return override(
            Scenario(name=NAME, question="Does this machine carry it?", seeds=(seed,)),
            {
                "fabric.leaves": self.leaves,
                "fabric.spines": self.spines,
                "fabric.hosts_per_leaf": self.hosts_per_leaf,
                "fabric.mtu_bytes": self.mtu_bytes,
                "fabric.link_rate_mbps": rate_mbps,
                "workload.size_bytes": size_bytes,
                "workload.iterations": max(1, round(LASTS_S * bytes_per_s / size_bytes)),
                "schemes": [self.scheme],
            },
        )

    def rates_mbps(self, machine: Machine) -> list[float]:
        """Return the rates that may be asked of a machine; none: it has too little memory, say."""
        return [rate for rate in RATES_MBPS if not check_scenario(self.scenario(rate), machine)]

    def is_of(self, one: Carried) -> bool:
        """Return whether something was found of this kind."""
        mine = (SETTINGS[self.scheme].attachment, self.leaves * self.hosts_per_leaf, self.mtu_bytes)
        return mine == (one.attachment, one.hosts, one.mtu_bytes)

    def carried(self, rate_mbps: float | None, beyond_mbps: float | None, *, disturbed: bool = False) -> Carried:
        """Return what was found."""
        return Carried(
            attachment=SETTINGS[self.scheme].attachment,
            hosts=self.leaves * self.hosts_per_leaf,
            mtu_bytes=self.mtu_bytes,
            rate_mbps=rate_mbps,
            crossings_per_s=0.0 if rate_mbps is None else crossings_per_s(self.scenario(rate_mbps)),
            beyond_mbps=beyond_mbps,
            disturbed=disturbed,
        )


KINDS: Final = tuple(Kind(scheme, *shape, mtu) for scheme in SCHEMES for shape in SHAPES for mtu in MTUS_BYTES)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a kind of run. ``carried``: None where nothing is known, for the reason in ``doubt``."""

    kind: Kind
    carried: Carried | None
    doubt: str | None = None


def kinds_left(
    found: Sequence[Carried], commit: str | None, since_utc: str, kinds: Sequence[Kind] = KINDS
) -> tuple[Kind, ...]:
    """Return of which kinds nothing is known yet, or only what others left of the machine, or by other code."""

    def is_known(kind: Kind) -> bool:
        return any(
            kind.is_of(one)
            and not one.disturbed
            and one.commit == commit
            and one.made_utc is not None
            and one.made_utc >= since_utc
            for one in found
        )

    return tuple(kind for kind in kinds if not is_known(kind))


def expected_s(kinds: Sequence[Kind], machine: Machine) -> float:
    """Return how long it takes, about, where nobody disturbs it."""
    total_s = 0.0
    for kind in kinds:
        if rates := kind.rates_mbps(machine):
            usual_s = run_duration_s(kind.scenario(rates[len(rates) // 2]), kind.scheme)
            total_s += RUNS_OF_A_RATE * len(rates).bit_length() * usual_s
    return total_s


def find_out(
    machine: Machine,
    results_dir: Path,
    on_run: OnRun,
    kinds: Sequence[Kind] = KINDS,
    *,
    on_event: OnEvent = lambda _event: None,
) -> Iterator[Found]:
    """Yield what the machine carries of each kind; ``on_run`` is told of every run, ``on_event`` as a campaign's.

    Rates that the machine is not to be asked for at all (``check_scenario``) are not tried. Raises MachineError when
    nothing can be stored.
    """
    for kind in kinds:
        yield _found(kind, machine, results_dir, on_run, on_event)


def _found(kind: Kind, machine: Machine, results_dir: Path, on_run: OnRun, on_event: OnEvent) -> Found:
    rates = kind.rates_mbps(machine)
    if not rates:
        (first, *_others) = check_scenario(kind.scenario(RATES_MBPS[0]), machine)
        return Found(kind, None, str(first))
    answers: dict[float, Answer] = {}

    def carries(rate_mbps: float) -> bool:
        answers[rate_mbps] = _answer(kind, rate_mbps, machine, results_dir, on_run, on_event)
        return answers[rate_mbps] == "carried"

    rate_mbps, beyond_mbps = highest(rates, carries)
    against = None if beyond_mbps is None else answers[beyond_mbps]
    disturbed = against == "disturbed"
    doubt = f"others disturbed every run at {beyond_mbps:g} Mbit/s" if disturbed else None
    if rate_mbps is None and against == "failed":
        doubt = f"runs fail at {beyond_mbps:g} Mbit/s and above, which is no matter of rates"
    if rate_mbps is None and doubt is not None:
        return Found(kind, None, doubt)
    return Found(kind, kind.carried(rate_mbps, beyond_mbps, disturbed=disturbed), doubt)


def _answer(
    kind: Kind, rate_mbps: float, machine: Machine, results_dir: Path, on_run: OnRun, on_event: OnEvent
) -> Answer:
    """Return what runs say of a rate: one that is VALID, else the majority of three."""
    outcomes: list[Outcome] = []
    for seed in SEEDS:
        scenario = kind.scenario(rate_mbps, seed)
        (outcome,) = Campaign(scenario, results_dir, machine, on_event=on_event, repeats=REPEATS).run()
        if outcome.exit_status == 2:  # a full disk, say: the next one would fail alike
            got, expected = outcome.error or "nothing", "a run that can be kept"
            raise MachineError(Problem("calibration cannot go on", str(outcome.run_dir), got, expected))
        on_run(kind, rate_mbps, outcome)
        if outcome.summary is not None and OUTSIDE.intersection(outcome.summary["checks"]):
            return "disturbed"  # in every try of this run: more of them would be, too
        outcomes.append(outcome)
        valid = [one.verdict == Level.VALID.value for one in outcomes]
        if valid == [True] or valid.count(True) == 2:
            return "carried"
        if valid.count(False) == 2:
            break
    return "failed" if all(one.verdict == FAILED for one in outcomes) else "not carried"
