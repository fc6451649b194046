"""What computes and what sends, and how long an iteration computes. Pure.

Floating-point operations of an iteration with T tokens of length s: 6 P T + 12 L h s T (Chowdhery et al., "PaLM", arXiv
2204.02311, appendix B): two for each parameter forward and four backward, and attention's scores and sums, without
discount for the causal mask. With experts P is what a token passes. The embedding counts like any matrix, as in all
"6 P T". Activations are not computed again.

``mfu`` is the fraction of the accelerator's peak these operations get while the rank computes. Published figures are
per iteration: they already contain what tensor parallelism costs inside a node, pipeline bubbles and exposed
communication. Take one from a run whose communication was hidden, or all of that is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import Field

from testbed.fields import Spec
from testbed.training.layout import Layout
from testbed.training.model import Transformer

FORWARD_FRACTION: Final = 1 / 3  # of an iteration's operations: 2 of 6 for a parameter, 4 of 12 in attention


class Accelerator(Spec):
    """A processor for training. ``peak_tflops``: dense bf16, 1e12 operations per second."""

    name: str
    peak_tflops: float = Field(gt=0, allow_inf_nan=False)


# NVIDIA A100 data sheet: BF16 Tensor Core 312 TFLOPS (624 with sparsity).
A100: Final = Accelerator(name="a100", peak_tflops=312)
# NVIDIA H100 data sheet, SXM: BFLOAT16 Tensor Core 1979 TFLOPS with sparsity, half of it without.
H100: Final = Accelerator(name="h100", peak_tflops=989)
ACCELERATORS: Final[Mapping[str, Accelerator]] = MappingProxyType({chip.name: chip for chip in (A100, H100)})


class Hardware(Spec):
    """Accelerators, how well they are used, and the rate of each NIC in Mbit/s (400G: 400_000)."""

    accelerator: Accelerator
    mfu: float = Field(gt=0, le=1, description="model FLOPs utilisation while computing")
    nic_mbps: float = Field(gt=0, allow_inf_nan=False)

    @property
    def flops_per_s(self) -> float:
        """Operations per second that one accelerator gives the model."""
        return self.accelerator.peak_tflops * 1e12 * self.mfu


def iteration_flops(model: Transformer, layout: Layout) -> float:
    """Return the operations of one iteration on all accelerators: 6 P T + 12 L h s T."""
    attention = 12 * model.layers * model.hidden * layout.sequence
    return float((6 * model.active_parameters + attention) * layout.tokens)


def iteration_compute_s(model: Transformer, layout: Layout, hardware: Hardware) -> float:
    """Return the seconds an accelerator computes in one iteration: operations / (accelerators x peak x MFU).

    Pipeline stages differ by embedding and output; this is their mean.
    """
    return iteration_flops(model, layout) / (layout.gpus * hardware.flops_per_s)
