"""From a transformer, a layout and hardware to what one rank does in an iteration. Pure.

Messages (B = 2 bytes of a bf16 activation): tensor groups exchange b s h B at each place ``testbed.training.sections``
names, as an all-reduce, or with sequence parallelism as an all-gather and a reduce-scatter of the same size
(Korthikanti et al., arXiv 2205.05198: the same bytes). Experts: each rank sends its b s / t tokens to k experts each,
b s k h B / t in an all-to-all, and gets them back in another, forward and again backward; between them the tensor group
gathers and scatters them (``MoEAlltoAllTokenDispatcher`` in Megatron-LM, ``core/transformer/moe/token_dispatcher.py``,
with experts divided among the tensor group as everything else, its default; the paper behind it: Lepikhin et al.,
"GShard", arXiv 2006.16668). A token that goes to several experts of a rank is sent as often (DeepSeek-V3, arXiv
2412.19437, section 3.2.2, sends it to a node once, and in 8 bits). All this is waited for. Pipeline stages hand on b s
h B a micro-batch and direction, with sequence parallelism each rank its 1/t: ``testbed.training.pipeline``. Replicas:
``testbed.training.sharding``.

An ``Iteration`` is one pipeline stage's: it computes and waits for messages, so the bubble, (p - 1) / m of the
computation with m micro-batches, appears between ranks that execute it (``testbed.training.rehearsal``), and is in no
single rank's timeline.
"""

from __future__ import annotations

from testbed.collectives.operation import ProgramOperation
from testbed.training.groups import Group, inside_node
from testbed.training.hardware import Hardware
from testbed.training.iteration import Communicate, Iteration, Recorder
from testbed.training.layout import Layout, check_fit
from testbed.training.model import Transformer
from testbed.training.pieces import Row, cut
from testbed.training.pipeline import Direction, HandOn, one_forward_one_backward
from testbed.training.sections import Section, stage_sections
from testbed.training.sharding import SHARDING, Replicated

ACTIVATION_BYTES = 2  # bf16
BACKWARD_PER_FORWARD = 2  # 4 operations for 2 (testbed.training.hardware)


def build(model: Transformer, layout: Layout, hardware: Hardware, *, stage: int = 0) -> Iteration:
    """Return what a rank of pipeline stage ``stage`` (from 0) does; ranks of a stage all do the same.

    Raises ``Mistakes`` when the layout does not fit the model, ValueError when there is no such stage.
    """
    check_fit(model, layout)
    row = cut(stage_sections(model, layout, hardware, stage), layout.gradient_element_bytes, layout.bucket_bytes)
    recorder = Recorder(inside_node(layout))
    sharding = SHARDING[layout.zero](layout, row.buckets, recorder)
    rank = _Rank(model, layout, row, sharding, recorder)
    sharding.begin()
    for step in one_forward_one_backward(layout.pipeline, stage, layout.micro_batches):
        if isinstance(step, HandOn):
            rank.hand_on(step)
        elif step.direction == "forward":
            sharding.reduce_pending()
            rank.forward(step.micro_batch)
        else:
            rank.backward(step.micro_batch)
    sharding.reduce_pending()
    sharding.end()
    return recorder.iteration()


def build_stages(model: Transformer, layout: Layout, hardware: Hardware) -> tuple[Iteration, ...]:
    """Return what a rank of each pipeline stage does. Raises ``Mistakes`` when the layout does not fit the model."""
    return tuple(build(model, layout, hardware, stage=stage) for stage in range(layout.pipeline))


class _Rank:
    """Passes of one rank over its pieces."""

    def __init__(self, model: Transformer, layout: Layout, row: Row, sharding: Replicated, recorder: Recorder) -> None:
        self._layout = layout
        self._pieces = row.pieces
        self._sharding = sharding
        self._recorder = recorder
        self._activation_bytes = layout.micro_batch * layout.sequence * model.hidden * ACTIVATION_BYTES

    def forward(self, micro_batch: int) -> None:
        for piece in self._pieces:
            after = self._sharding.before_forward(micro_batch, piece.bucket) if piece.begins_bucket else None
            if piece.begins_section:
                self._send_tokens("forward", piece.section)
            self._recorder.compute("forward", piece.forward_s, after)
            if piece.ends_section:
                self._get_tokens_back("forward", piece.section)
                self._exchange("forward", piece.section.forward_exchanges, piece.section.layers)

    def backward(self, micro_batch: int) -> None:
        for piece in reversed(self._pieces):
            after = self._sharding.before_backward(micro_batch, piece.bucket) if piece.ends_bucket else None
            if piece.ends_section:
                self._send_tokens("backward", piece.section)
            self._recorder.compute("backward", piece.forward_s * BACKWARD_PER_FORWARD, after)
            if piece.begins_section:
                self._get_tokens_back("backward", piece.section)
                self._exchange("backward", piece.section.backward_exchanges, piece.section.layers)
            if piece.begins_bucket:
                self._sharding.gradients_ready(micro_batch, piece.bucket)

    def hand_on(self, step: HandOn) -> None:
        """Exchange activations or their gradients with the neighbouring stage."""
        size_bytes = self._activation_bytes
        if self._layout.sequence_parallel:
            size_bytes //= self._layout.tensor
        self._recorder.communicate(Communicate(step.phase, step.operation, "pp", size_bytes, peer=step.peer))

    def _send_tokens(self, direction: Direction, section: Section) -> None:
        """Send tokens (backward: their gradients) where their experts are."""
        self._all_to_all(direction, section)
        self._tensor_group(direction, "all_gather", section)

    def _get_tokens_back(self, direction: Direction, section: Section) -> None:
        self._tensor_group(direction, "reduce_scatter", section)
        self._all_to_all(direction, section)

    def _all_to_all(self, direction: Direction, section: Section) -> None:
        if section.copies and self._layout.expert > 1:
            size_bytes = self._activation_bytes * section.copies * section.layers // self._layout.tensor
            self._communicate(direction, "all_to_all", "ep", size_bytes)

    def _tensor_group(self, direction: Direction, operation: ProgramOperation, section: Section) -> None:
        if section.copies and self._layout.tensor > 1:
            self._communicate(direction, operation, "tp", self._activation_bytes * section.copies * section.layers)

    def _exchange(self, direction: Direction, times: int, layers: int) -> None:
        """Exchange activations within the tensor group."""
        if self._layout.tensor == 1:
            return
        both: tuple[ProgramOperation, ...] = ("allreduce",)
        if self._layout.sequence_parallel:
            both = ("all_gather", "reduce_scatter")
        for _ in range(times):
            for operation in both:
                self._communicate(direction, operation, "tp", self._activation_bytes * layers)

    def _communicate(self, direction: Direction, operation: ProgramOperation, group: Group, size_bytes: int) -> None:
        self._recorder.communicate(Communicate(direction, operation, group, size_bytes))
