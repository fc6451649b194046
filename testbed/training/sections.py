"""A pipeline stage as a row of sections (embedding, layers, output) that are computed one after another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from testbed.training.groups import Group
from testbed.training.hardware import Hardware
from testbed.training.layout import Layout
from testbed.training.model import Transformer


@dataclass(frozen=True, slots=True)
class Section:
    """What one rank computes between two places where its tensor group exchanges activations.

    ``elements``: parameters the rank has of it (1/t of the section's, of experts 1/(t e)); ``forward_s``: seconds of
    one micro-batch, backward is twice that; ``forward_exchanges``, ``backward_exchanges``: all-reduces of the tensor
    group behind it; ``copies``: to how many of its experts a token is sent, 0: it has none; ``group``: whose ranks have
    the same parameters, and reduce their gradients; ``layers``: how many layers' it is, with messages as many times as
    large.
    """

    name: str
    elements: int
    forward_s: float
    forward_exchanges: int = 0
    backward_exchanges: int = 0
    copies: int = 0
    group: Group = "dp"
    layers: int = 1


@dataclass(frozen=True, slots=True)
class _Rank:
    """What seconds and elements depend on."""

    model: Transformer
    layout: Layout
    hardware: Hardware

    def section(self, name: str, parameters: int, token_flops: int, forward: int, backward: int) -> Section:
        return Section(name, -(-parameters // self.layout.tensor), self._forward_s(token_flops), forward, backward)

    def layer(self, number: int) -> Iterator[Section]:
        model, experts = self.model, self.model.experts
        attention_flops = 4 * model.hidden * self.layout.sequence  # a third of 12 h s
        if experts is None or number < model.dense_layers:
            parameters = model.layer_parameters
            yield self.section(f"layer {number}", parameters, 2 * parameters + attention_flops, 2, 2)
            return
        exchanges = 2 if experts.shared_ffn else 1
        parameters = model.routing_parameters
        yield self.section(f"layer {number}", parameters, 2 * parameters + attention_flops, exchanges, exchanges)
        shared_out = self.layout.tensor * self.layout.expert
        yield Section(
            f"experts {number}",
            -(-experts.count * model.expert_parameters // shared_out),
            self._forward_s(2 * experts.per_token * model.expert_parameters),
            copies=experts.per_token,
            group="dp" if self.layout.expert == 1 else "dp_ep",
        )

    def _forward_s(self, token_flops: int) -> float:
        """Seconds of a micro-batch, whose tokens' operations are divided among the tensor group."""
        tokens = self.layout.micro_batch * self.layout.sequence
        return token_flops * tokens / (self.layout.tensor * self.hardware.flops_per_s)


def stage_sections(model: Transformer, layout: Layout, hardware: Hardware, stage: int) -> tuple[Section, ...]:
    """Return the sections of pipeline stage ``stage`` (from 0), in forward order.

    Layers are divided evenly; the first stage has the embedding, too, the last the output. Tensor parallelism (Shoeybi
    et al., "Megatron-LM", arXiv 1909.08053, section 3) exchanges activations twice a layer in each direction (with
    experts once for attention and once for shared ones), once behind the embedding (forward) and once before the output
    matrix (backward). Experts are a section of their own. Tokens go to all of them evenly, so each rank computes as
    many as it sends. Elements are divided by t and rounded up: that norms and routers are on every rank, which is 1e-5
    of a model, is left out.

    Raises ValueError when there is no such stage.
    """
    if not 0 <= stage < layout.pipeline:
        raise ValueError(f"stage={stage}, expected 0..{layout.pipeline - 1}")
    rank = _Rank(model, layout, hardware)
    embedding_flops, head_flops = 2 * model.embedding_parameters, 2 * model.head_parameters
    if model.tied_embeddings:  # its one matrix is multiplied with at the output; in front it is looked up
        embedding_flops, head_flops = 0, embedding_flops + head_flops
    per_stage = model.layers // layout.pipeline
    layers = [tuple(rank.layer(number)) for number in range(stage * per_stage, (stage + 1) * per_stage)]
    found = list(_together(layers, layout.layers_at_once))
    if stage == 0:
        found.insert(0, rank.section("embedding", model.embedding_parameters, embedding_flops, 1, 0))
    if stage == layout.pipeline - 1:
        found.append(rank.section("output", model.head_parameters, head_flops, 0, 1))
    return tuple(found)


def _together(layers: Sequence[tuple[Section, ...]], at_once: int) -> Iterator[Section]:
    """Yield the sections of layers, of up to ``at_once`` alike in a row as one; those with experts are others."""
    for _sections, alike in groupby(layers, key=len):
        row = list(alike)
        for at in range(0, len(row), at_once):
            for parts in zip(*row[at : at + at_once], strict=True):
                first, n = parts[0], len(parts)
                elements, forward_s = sum(one.elements for one in parts), sum(one.forward_s for one in parts)
                yield replace(first, elements=elements, forward_s=forward_s, layers=n) if n > 1 else first
