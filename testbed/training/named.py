"""Training jobs under a name: model, layout and hardware together. Pure.

LLaMA2-13B on 64 A100 in nodes of 8, sequences of 4096, nothing overlapped: the cases of ``testbed.training.gain``,
from a network that hardly matters to one that does, but in four buckets (6.6 GB) in place of 209 of 125 MB: scaled down
to a MB or two, a ring's parts would be far below a frame (docs/workloads.md, "Scaling down"). Where nothing is
overlapped the size of a bucket changes nothing natively. ``overlap``: gradients are reduced behind the backward pass,
and parameters gathered ahead; with four buckets less can be hidden than with 209. DeepSeekMoE 16B: one accelerator a
node, the experts of a layer on 8 of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from testbed.training.hardware import A100, Hardware
from testbed.training.layout import Layout
from testbed.training.model import Transformer
from testbed.training.presets import DEEPSEEK_MOE_16B, LLAMA2_13B

# Where nothing overlaps, buckets change latencies alone, and those are scaled up: 1.2 MB in twelve operations are few
# frames, natively 100 MB, far above what a round trip carries. So everything goes at once.
WHOLE_BYTES: Final = 27_000_000_000  # more than all gradients of LLaMA2-13B
OVERLAPPED_BYTES: Final = 6_600_000_000  # a quarter: what is behind computing has to be cut


@dataclass(frozen=True, slots=True)
class Named:
    """A job on hardware."""

    model: Transformer
    layout: Layout
    hardware: Hardware


_A100: Final = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)


def _llama(*, zero: int, nics: int, overlap: bool = False) -> Named:
    sequences = 1 if zero else 2
    about = {"data": 64, "zero": zero, "micro_batch": sequences, "global_batch": 64 * sequences, "sequence": 4096}
    about |= {"nics_per_node": nics, "overlap": overlap}
    about["bucket_bytes"] = OVERLAPPED_BYTES if overlap else WHOLE_BYTES
    return Named(LLAMA2_13B, _layout(about), _A100)


def _deepseek() -> Named:
    about = {"data": 64, "expert": 8, "zero": 1, "micro_batch": 8, "global_batch": 512, "sequence": 4096}
    about |= {"gpus_per_node": 1, "nics_per_node": 1, "overlap": False, "bucket_bytes": OVERLAPPED_BYTES}
    return Named(DEEPSEEK_MOE_16B, _layout(about), _A100)


def _layout(about: Mapping[str, Any]) -> Layout:
    return Layout.model_validate(about)


NAMED: Final[Mapping[str, Named]] = MappingProxyType(
    {
        "llama2-13b/dp/8-nics": _llama(zero=0, nics=8),
        "llama2-13b/dp/1-nic": _llama(zero=0, nics=1),
        "llama2-13b/dp/1-nic/overlap": _llama(zero=0, nics=1, overlap=True),
        "llama2-13b/zero3/8-nics": _llama(zero=3, nics=8),
        "llama2-13b/zero3/1-nic": _llama(zero=3, nics=1),
        "llama2-13b/zero3/1-nic/overlap": _llama(zero=3, nics=1, overlap=True),
        "deepseek-moe-16b/ep8": _deepseek(),
    }
)
