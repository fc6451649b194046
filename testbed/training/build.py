"""From a transformer, a layout and hardware to what one rank does in an iteration. Pure.

Messages (B = 2 bytes of a bf16 activation): tensor groups exchange b s h B at each place ``testbed.training.sections``
names, as an all-reduce, or with sequence parallelism as an all-gather and a reduce-scatter of the same size
(Korthikanti et al., arXiv 2205.05198: the same bytes); it is always waited for. Pipeline stages hand on b s h B a
micro-batch and direction, with sequence parallelism each rank its 1/t. Replicas: ``testbed.training.sharding``.

Pipelines run one forward, one backward (1F1B; Narayanan et al., "PipeDream-Flush" in arXiv 2104.04473, section 2.2). An
``Iteration`` is one stage's: it computes and waits for messages, so the bubble, (p - 1) / m of the computation with m
micro-batches, appears between ranks that execute it, and is in no single rank's timeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from testbed.training.groups import inside_node
from testbed.training.hardware import Hardware
from testbed.training.iteration import Communicate, Iteration, Operation, Recorder
from testbed.training.layout import Layout, check_fit
from testbed.training.model import Transformer
from testbed.training.pieces import Piece, bucket_edges, pieces
from testbed.training.sections import stage_sections
from testbed.training.sharding import SHARDING, Replicated

ACTIVATION_BYTES = 2  # bf16
BACKWARD_PER_FORWARD = 2  # 4 operations for 2 (testbed.training.hardware)

Direction = Literal["forward", "backward"]


def build(model: Transformer, layout: Layout, hardware: Hardware, *, stage: int = 0) -> Iteration:
    """Return what a rank of pipeline stage ``stage`` (from 0) does; ranks of a stage all do the same.

    Raises ``Mistakes`` when the layout does not fit the model, ValueError when there is no such stage.
    """
    check_fit(model, layout)
    sections = stage_sections(model, layout, hardware, stage)
    elements = sum(section.elements for section in sections)
    edges = bucket_edges(elements, layout.gradient_element_bytes, layout.bucket_bytes)
    recorder = Recorder(inside_node(layout))
    sharding = SHARDING[layout.zero](layout, edges, recorder)
    rank = _Rank(model, layout, stage, pieces(sections, edges), sharding, recorder)
    sharding.begin()
    for direction, micro_batch in one_forward_one_backward(layout.pipeline, stage, layout.micro_batches):
        if direction == "forward":
            rank.forward(micro_batch)
        else:
            rank.backward(micro_batch)
    sharding.end()
    return recorder.iteration()


def one_forward_one_backward(stages: int, stage: int, micro_batches: int) -> Iterator[tuple[Direction, int]]:
    """Yield direction and micro-batch in the order a stage computes them (1F1B)."""
    ahead = min(stages - 1 - stage, micro_batches)
    for number in range(ahead):
        yield "forward", number
    for number in range(micro_batches - ahead):
        yield "forward", ahead + number
        yield "backward", number
    for number in range(micro_batches - ahead, micro_batches):
        yield "backward", number


class _Rank:
    """Passes of one rank over its pieces."""

    def __init__(
        self,
        model: Transformer,
        layout: Layout,
        stage: int,
        row: tuple[Piece, ...],
        sharding: Replicated,
        recorder: Recorder,
    ) -> None:
        self._layout = layout
        self._first, self._last = stage == 0, stage == layout.pipeline - 1
        self._row = row
        self._sharding = sharding
        self._recorder = recorder
        self._activation_bytes = layout.micro_batch * layout.sequence * model.hidden * ACTIVATION_BYTES

    def forward(self, micro_batch: int) -> None:
        if not self._first:
            self._hand_on("forward", "recv")
        for piece in self._row:
            after = self._sharding.before_forward(micro_batch, piece.bucket) if piece.begins_bucket else None
            self._recorder.compute("forward", piece.forward_s, after)
            if piece.ends_section:
                self._exchange("forward", piece.section.forward_exchanges)
        if not self._last:
            self._hand_on("forward", "send")

    def backward(self, micro_batch: int) -> None:
        if not self._last:
            self._hand_on("backward", "recv")
        for piece in reversed(self._row):
            after = self._sharding.before_backward(micro_batch, piece.bucket) if piece.ends_bucket else None
            self._recorder.compute("backward", piece.forward_s * BACKWARD_PER_FORWARD, after)
            if piece.begins_section:
                self._exchange("backward", piece.section.backward_exchanges)
            if piece.begins_bucket:
                self._sharding.gradients_ready(micro_batch, piece.bucket)
        if not self._first:
            self._hand_on("backward", "send")
        self._sharding.after_backward(micro_batch)

    def _hand_on(self, direction: Direction, operation: Operation) -> None:
        """Exchange activations or their gradients with the neighbouring stage; what is sent need not be waited for."""
        size_bytes = self._activation_bytes
        if self._layout.sequence_parallel:
            size_bytes //= self._layout.tensor
        blocking = operation == "recv" or not self._layout.overlap
        self._recorder.communicate(Communicate(direction, operation, "pp", size_bytes, blocking))

    def _exchange(self, direction: Direction, times: int) -> None:
        """Exchange activations within the tensor group."""
        if self._layout.tensor == 1:
            return
        both: tuple[Operation, ...] = ("allreduce",)
        if self._layout.sequence_parallel:
            both = ("all_gather", "reduce_scatter")
        for _ in range(times):
            for operation in both:
                self._recorder.communicate(Communicate(direction, operation, "tp", self._activation_bytes))
