"""What a better network is expected to gain a training job, from the model alone. Pure.

An ideal operation takes its bytes over the NIC's rate; at a utilisation u it takes 1/u of that. For an iteration that
does not overlap, with communication share f at the base and operations s times faster, the gain is 1 / (1 - f + f / s)
- 1 (Amdahl). Nothing here is measured, and utilisations are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.training.build import build
from testbed.training.hardware import A100, H100, Hardware
from testbed.training.iteration import Iteration
from testbed.training.layout import Layout
from testbed.training.model import Transformer
from testbed.training.presets import LLAMA2_13B
from testbed.training.timeline import SecondsOf, Timeline, play
from testbed.training.volume import ideal_seconds

ECMP_UTILISATION = 0.5
SCHEDULED_UTILISATION = 0.95


@dataclass(frozen=True, slots=True)
class Case:
    """A job on hardware."""

    name: str
    model: Transformer
    layout: Layout
    hardware: Hardware


@dataclass(frozen=True, slots=True)
class Gain:
    """An iteration at two utilisations; ``ideal_s`` is all its communication at a utilisation of 1."""

    compute_s: float
    ideal_s: float
    base: Timeline
    better: Timeline

    @property
    def gain_fraction(self) -> float:
        """Iterations per second at the better utilisation over those at the base, minus 1."""
        return self.base.duration_s / self.better.duration_s - 1


def expected_gain(
    iteration: Iteration,
    ideal_s: SecondsOf,
    *,
    base: float = ECMP_UTILISATION,
    better: float = SCHEDULED_UTILISATION,
) -> Gain:
    """Return what to expect when utilisation rises from ``base`` to ``better``, both in (0, 1].

    Raises ValueError for utilisations outside.
    """
    for name, value in (("base", base), ("better", better)):
        if not 0 < value <= 1:
            raise ValueError(f"{name}={value}, expected 0 < {name} <= 1")
    return Gain(
        compute_s=iteration.compute_s,
        ideal_s=sum(map(ideal_s, iteration.communications)),
        base=play(iteration, lambda op: ideal_s(op) / base),
        better=play(iteration, lambda op: ideal_s(op) / better),
    )


def case_gain(case: Case) -> Gain:
    """Return the gain of a case on its first pipeline stage, from ECMP's utilisation to a scheduled fabric's."""
    iteration = build(case.model, case.layout, case.hardware)
    return expected_gain(iteration, ideal_seconds(case.layout, case.hardware.nic_mbps))


def _case(name: str, hardware: Hardware, *, zero: int, nics: int) -> Case:
    """64 accelerators in nodes of 8; ZeRO-3 with one sequence each, plain data parallelism with two."""
    sequences = 1 if zero else 2
    layout = Layout.model_validate(
        {
            "data": 64,
            "zero": zero,
            "micro_batch": sequences,
            "global_batch": 64 * sequences,
            "sequence": 4096,
            "nics_per_node": nics,
            "overlap": False,
        }
    )
    return Case(name, LLAMA2_13B, layout, hardware)


_A100 = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)
_H100 = Hardware(accelerator=H100, mfu=0.40, nic_mbps=400_000)

# LLaMA2-13B, sequences of 4096, nothing overlapped: the range from a network that hardly matters to one that does. MFU
# 45% and 40% are assumptions of ours, of the size that well-tuned jobs report.
CASES: tuple[Case, ...] = (
    _case("A100, 8 x 200G, DP", _A100, zero=0, nics=8),
    _case("A100, 1 x 200G, DP", _A100, zero=0, nics=1),
    _case("A100, 8 x 200G, ZeRO-3", _A100, zero=3, nics=8),
    _case("A100, 1 x 200G, ZeRO-3", _A100, zero=3, nics=1),
    _case("H100, 8 x 400G, DP", _H100, zero=0, nics=8),
    _case("H100, 8 x 400G, ZeRO-3", _H100, zero=3, nics=8),
)
