"""Small models and all layouts of them to draw from."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from testbed.training.build import build_stages
from testbed.training.hardware import Accelerator, Hardware
from testbed.training.iteration import Iteration
from testbed.training.layout import Layout
from testbed.training.model import Experts, Transformer

# 1e12 operations a second
UNIT = Hardware(accelerator=Accelerator(name="unit", peak_tflops=1), mfu=1, nic_mbps=1)


def transformer(experts: Experts | None = None, layers: int = 12) -> Transformer:
    # a layer without experts: 4 x 16 + 2 x 32 + 2 x 4 = 136 parameters, embedding 40, output 44
    return Transformer(
        name="tiny", hidden=4, layers=layers, heads=2, kv_heads=2, ffn=8, vocab=10, context=64,
        gated_ffn=False, tied_embeddings=False, experts=experts,
    )  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A job with its stages' iterations."""

    model: Transformer
    layout: Layout
    stages: tuple[Iteration, ...]


@st.composite
def experts(draw: st.DrawFn) -> Experts:
    return Experts(
        count=4,
        per_token=draw(st.integers(1, 4)),
        ffn=4,
        shared_ffn=draw(st.sampled_from([0, 8])),
        dense_layers=draw(st.integers(0, 3)),
    )


@st.composite
def jobs(draw: st.DrawFn, *, on_the_fabric: bool = False) -> Drawn:
    """Draw a job; ``on_the_fabric``: one accelerator a node, so that no group stays inside one."""
    model = transformer(draw(st.none() | experts()))
    tensor, data, pipeline = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 4))
    expert = draw(st.sampled_from([e for e in (1, 2, 4) if data % e == 0])) if model.experts else 1
    levels = [0] if data == 1 else [0, 1] if pipeline > 1 else [0, 1, 2] if expert > 1 else [0, 1, 2, 3]
    nodes = [1] if on_the_fabric else [1, tensor, tensor * data, tensor * data * pipeline]
    gpus_per_node = draw(st.sampled_from(nodes))
    layout = Layout(
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        expert=expert,
        zero=draw(st.sampled_from(levels)),
        sequence_parallel=tensor > 1 and (model.experts is not None or draw(st.booleans())),
        global_batch=data * draw(st.integers(1, 5)),
        sequence=8,
        bucket_bytes=draw(st.integers(40, 4000)),
        gradient_element_bytes=draw(st.sampled_from([2, 4])),
        gpus_per_node=gpus_per_node,
        nics_per_node=draw(st.sampled_from([n for n in (1, 2, 4) if gpus_per_node % n == 0])),
        overlap=draw(st.booleans()),
    )
    return Drawn(model, layout, build_stages(model, layout, UNIT))
