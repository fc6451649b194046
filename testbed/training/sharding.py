"""What replicas communicate, and when: plain data parallelism and the levels of ZeRO. Pure.

Volumes and levels: Rajbhandari et al., "ZeRO", arXiv 1910.02054, section 7: a reduce-scatter of the gradients and an
all-gather of the parameters move what an all-reduce does; gathering parameters forward and backward moves half as much
again. With M bytes of parameters (equal to those of gradients) and m micro-batches a rank takes part in

==== ====================================================== ============================= =====================
zero gradients                                              parameters                    ring, bytes sent
==== ====================================================== ============================= =====================
0    all-reduce M                                           -                             2 (n-1)/n M
1    reduce-scatter M                                       all-gather M                  2 (n-1)/n M
2    reduce-scatter M every micro-batch                     all-gather M                  (m+1) (n-1)/n M
3    reduce-scatter M every micro-batch                     all-gather 2 M every time     3 m (n-1)/n M
==== ====================================================== ============================= =====================

Levels 0 and 1 add up gradients of micro-batches where they are and reduce them with the last one's (DDP's ``no_sync``,
Megatron). Level 3 frees parameters after each pass over them (FSDP's default, FULL_SHARD), the last ones forward, too,
which FSDP would keep.

With overlap every operation goes behind the computation as soon as its data are there: gradients when their bucket is
ready (PyTorch DDP, Megatron's overlap_grad_reduce); level 1 and 2 gather the parameters while the next forward pass is
on its way, which waits bucket by bucket (overlap_param_gather): an iteration begins with the gathers that belong to the
previous one; level 3 gathers one bucket ahead (FSDP's prefetch). Without overlap everything is waited for.

A bucket is communicated in its group: ``dp``, or ``dp_ep`` for experts that are shared out. What a single rank has is
communicated with nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.collectives.operation import ProgramOperation
from testbed.training.groups import group_ranks
from testbed.training.iteration import Communicate, Recorder
from testbed.training.layout import Layout
from testbed.training.pieces import Bucket


class Replicated:
    """ZeRO-0: every rank has all parameters, gradients are all-reduced. Base of the others."""

    reduction: ProgramOperation = "allreduce"

    def __init__(self, layout: Layout, buckets: Sequence[Bucket], recorder: Recorder) -> None:
        self.layout = layout
        self._recorder = recorder
        self._buckets = buckets
        self._pending: list[int] = []  # buckets ready, to be reduced when the backward pass is over

    @property
    def buckets(self) -> range:
        """Numbers of the buckets, in the order in which forward begins them."""
        return range(len(self._buckets))

    def begin(self) -> None:
        """Do what comes before the first forward pass."""

    def before_forward(self, micro_batch: int, bucket: int) -> int | None:
        """Return the operation that the forward pass over a bucket waits for."""
        return None

    def before_backward(self, micro_batch: int, bucket: int) -> int | None:
        """Return the operation that the backward pass over a bucket waits for."""
        return None

    def gradients_ready(self, micro_batch: int, bucket: int) -> None:
        """Take note that the backward pass over a bucket is over."""
        if not self.reduces(micro_batch):
            return
        if self.layout.overlap:
            self.reduce(bucket, blocking=False)
        else:
            self._pending.append(bucket)

    def reduce_pending(self) -> None:
        """Reduce what is ready and has waited for the end of the backward pass, with its messages."""
        for bucket in self._pending:
            self.reduce(bucket, blocking=True)
        self._pending.clear()

    def end(self) -> None:
        """Do what comes after the last backward pass."""

    def reduces(self, micro_batch: int) -> bool:
        """Tell whether gradients of this micro-batch are reduced, or only added to those of the next."""
        return micro_batch == self.layout.micro_batches - 1

    def reduce(self, bucket: int, *, blocking: bool) -> None:
        """Reduce the gradients of a bucket."""
        self._communicate("backward", self.reduction, bucket, self.layout.gradient_element_bytes, blocking)

    def gather(self, phase: str, bucket: int, *, blocking: bool) -> int | None:
        """Gather the parameters of a bucket; return the operation's number."""
        return self._communicate(phase, "all_gather", bucket, self.layout.parameter_element_bytes, blocking)

    def _communicate(
        self, phase: str, operation: ProgramOperation, bucket: int, element_bytes: int, blocking: bool
    ) -> int | None:
        group, elements = self._buckets[bucket]
        if group_ranks(self.layout, group) == 1:
            return None
        return self._recorder.communicate(Communicate(phase, operation, group, elements * element_bytes, blocking))


class ShardedOptimiser(Replicated):
    """ZeRO-1: each rank updates its part of the parameters, which are then gathered."""

    reduction: ProgramOperation = "reduce_scatter"

    def __init__(self, layout: Layout, buckets: Sequence[Bucket], recorder: Recorder) -> None:
        super().__init__(layout, buckets, recorder)
        self._gathers: list[int | None] = []

    def begin(self) -> None:
        """Have the parameters gathered behind the forward pass."""
        if self.layout.overlap:
            self._gathers = [self.gather("optimizer", bucket, blocking=False) for bucket in self.buckets]

    def before_forward(self, micro_batch: int, bucket: int) -> int | None:
        """Wait for the parameters of a bucket, the first time they are needed."""
        return self._gathers[bucket] if self._gathers and micro_batch == 0 else None

    def end(self) -> None:
        """Gather the parameters, unless that is done behind the forward pass."""
        if not self.layout.overlap:
            for bucket in self.buckets:
                self.gather("optimizer", bucket, blocking=True)


class ShardedGradients(ShardedOptimiser):
    """ZeRO-2: a rank keeps its part of the gradients only, so each micro-batch's are reduced."""

    def reduces(self, micro_batch: int) -> bool:
        """Tell that those of every micro-batch are."""
        return True


class ShardedParameters(Replicated):
    """ZeRO-3, FSDP: a rank keeps its part of everything; parameters are gathered for each pass and freed."""

    reduction: ProgramOperation = "reduce_scatter"

    def __init__(self, layout: Layout, buckets: Sequence[Bucket], recorder: Recorder) -> None:
        super().__init__(layout, buckets, recorder)
        self._ahead: tuple[int, int | None] | None = None  # the bucket gathered ahead, and its operation

    def before_forward(self, micro_batch: int, bucket: int) -> int | None:
        """Gather this bucket and, with overlap, the next one."""
        return self._gather_ahead("forward", bucket, bucket + 1)

    def before_backward(self, micro_batch: int, bucket: int) -> int | None:
        """Gather this bucket and, with overlap, the one before it."""
        return self._gather_ahead("backward", bucket, bucket - 1)

    def gradients_ready(self, micro_batch: int, bucket: int) -> None:
        """Reduce the gradients of a bucket at once: they are as large as what was freed."""
        self.reduce(bucket, blocking=not self.layout.overlap)

    def _gather_ahead(self, phase: str, bucket: int, following: int) -> int | None:
        if not self.layout.overlap:
            self.gather(phase, bucket, blocking=True)
            return None
        number = self._ahead[1] if self._ahead else self.gather(phase, bucket, blocking=False)
        more = following in self.buckets
        self._ahead = (following, self.gather(phase, following, blocking=False)) if more else None
        return number


SHARDING: dict[int, type[Replicated]] = {
    0: Replicated,
    1: ShardedOptimiser,
    2: ShardedGradients,
    3: ShardedParameters,
}
