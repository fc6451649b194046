"""A pipeline stage as a row of sections (embedding, layers, output) that are computed one after another. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.training.hardware import Hardware
from testbed.training.layout import Layout
from testbed.training.model import Transformer


@dataclass(frozen=True, slots=True)
class Section:
    """What one rank computes between two places where its tensor group exchanges activations.

    ``elements``: parameters the rank works on (1/t of the section's); ``forward_s``: seconds of one micro-batch,
    backward is twice that; ``forward_exchanges``, ``backward_exchanges``: all-reduces of the tensor group.
    """

    name: str
    elements: int
    forward_s: float
    forward_exchanges: int
    backward_exchanges: int


def stage_sections(model: Transformer, layout: Layout, hardware: Hardware, stage: int) -> tuple[Section, ...]:
    """Return the sections of pipeline stage ``stage`` (from 0), in forward order.

    Layers are divided evenly; the first stage has the embedding, too, the last the output. Tensor parallelism (Shoeybi
    et al., "Megatron-LM", arXiv 1909.08053, section 3) exchanges activations twice a layer in each direction, once
    behind the embedding (forward) and once before the output matrix (backward). Elements are divided by t and rounded
    up: that norms are on every rank, which is 1e-5 of a model, is left out.

    Raises ValueError when there is no such stage.
    """
    if not 0 <= stage < layout.pipeline:
        raise ValueError(f"stage={stage}, expected 0..{layout.pipeline - 1}")
    per_rank_flops = layout.tensor * hardware.flops_per_s
    tokens = layout.micro_batch * layout.sequence

    def section(name: str, parameters: int, token_flops: int, forward: int, backward: int) -> Section:
        return Section(name, -(-parameters // layout.tensor), token_flops * tokens / per_rank_flops, forward, backward)

    layer_flops = 2 * model.layer_parameters + 4 * model.hidden * layout.sequence  # a third of 6 P + 12 h s
    embedding_flops, head_flops = 2 * model.embedding_parameters, 2 * model.head_parameters
    if model.tied_embeddings:  # its one matrix is multiplied with at the output; in front it is looked up
        embedding_flops, head_flops = 0, embedding_flops + head_flops
    per_stage = model.layers // layout.pipeline
    first = stage * per_stage
    found = [section(f"layer {n}", model.layer_parameters, layer_flops, 2, 2) for n in range(first, first + per_stage)]
    if stage == 0:
        found.insert(0, section("embedding", model.embedding_parameters, embedding_flops, 1, 0))
    if stage == layout.pipeline - 1:
        found.append(section("output", model.head_parameters, head_flops, 0, 1))
    return tuple(found)
