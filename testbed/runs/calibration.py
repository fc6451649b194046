"""Find out by runs what this machine carries: hosts x MTU x place of the agents, each at rising rates.

A rate is carried where a run of a ring all-reduce is VALID: whatever verdicts look at (cores, waiting, losses outside
the modelled queues, speed against paths and grants) then found nothing. Every run is kept, as any other is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.errors import MachineError, Problem
from testbed.fidelity.verdict import Level
from testbed.model.calibrated import Carried, highest
from testbed.model.capacity import crossings_per_s
from testbed.model.scenario import Scenario, SchemeName
from testbed.model.scenario_input import override
from testbed.model.schemes import SETTINGS
from testbed.runs.campaign import Campaign, Outcome
from testbed.system.machine import Machine, check_scenario
from testbed.units import KIB, MIB, mbps_to_bytes_per_s

NAME: Final = "calibration"
RATES_MBPS: Final = (2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, 640.0)
SHAPES: Final = ((2, 2, 2), (4, 4, 4))  # leaves, spines, hosts of a leaf
MTUS_BYTES: Final = (1500, 9000)
# One scheme for each place agents may have: what they cost is a matter of the place.
SCHEMES: Final[tuple[SchemeName, ...]] = ("gse1", "gse2-n2n", "gse2-e2e")
LASTS_S: Final = 6.0  # an all-reduce; of less, asking first is a part that verdicts notice
SIZES_BYTES: Final = (MIB, 16 * MIB)
REPEATS: Final = 2  # where others disturbed a run


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

    def scenario(self, rate_mbps: float) -> Scenario:
        """Return the scenario that tries a rate: an all-reduce of ``LASTS_S``, or of the sizes there may be."""
        ranks = self.leaves * self.hosts_per_leaf
        in_time = mbps_to_bytes_per_s(rate_mbps) * LASTS_S * ranks / (2 * (ranks - 1))
        least, most = SIZES_BYTES
        return override(
            Scenario(name=NAME, question="Does this machine carry it?", seeds=(1,)),
            {
                "fabric.leaves": self.leaves,
                "fabric.spines": self.spines,
                "fabric.hosts_per_leaf": self.hosts_per_leaf,
                "fabric.mtu_bytes": self.mtu_bytes,
                "fabric.link_rate_mbps": rate_mbps,
                "workload.size_bytes": min(max(round(in_time) // KIB * KIB, least), most),
                "workload.iterations": 1,
                "schemes": [self.scheme],
            },
        )

    def carried(self, rate_mbps: float | None, beyond_mbps: float | None) -> Carried:
        """Return what was found."""
        return Carried(
            attachment=SETTINGS[self.scheme].attachment,
            hosts=self.leaves * self.hosts_per_leaf,
            mtu_bytes=self.mtu_bytes,
            rate_mbps=rate_mbps,
            crossings_per_s=0.0 if rate_mbps is None else crossings_per_s(self.scenario(rate_mbps)),
            beyond_mbps=beyond_mbps,
        )


KINDS: Final = tuple(Kind(scheme, *shape, mtu) for scheme in SCHEMES for shape in SHAPES for mtu in MTUS_BYTES)


def find_out(
    machine: Machine, results_dir: Path, on_run: Callable[[Kind, float, Outcome], None], kinds: tuple[Kind, ...] = KINDS
) -> Iterator[Carried]:
    """Yield what the machine carries of each kind; ``on_run`` is told of every run.

    Rates that the machine is not to be asked for at all (``check_scenario``) are not tried. Raises MachineError when
    nothing can be stored.
    """
    for kind in kinds:
        rates = [rate for rate in RATES_MBPS if not check_scenario(kind.scenario(rate), machine)]
        if not rates:  # too little memory, say: nothing is known of it then
            continue

        def carries(rate_mbps: float, kind: Kind = kind) -> bool:
            (outcome,) = Campaign(kind.scenario(rate_mbps), results_dir, machine, repeats=REPEATS).run()
            if outcome.exit_status == 2:  # a full disk, say: the next one would fail alike
                got, expected = outcome.error or "nothing", "a run that can be kept"
                raise MachineError(Problem("calibration cannot go on", str(outcome.run_dir), got, expected))
            on_run(kind, rate_mbps, outcome)
            return outcome.verdict == Level.VALID.value

        yield kind.carried(*highest(rates, carries))
