"""The order in which a pipeline stage computes and hands on: one forward, one backward (1F1B). Pure.

Narayanan et al., "PipeDream-Flush" in arXiv 2104.04473, section 2.2; messages as Megatron-LM has them
(``forward_backward_pipelining_without_interleaving`` in ``core/pipeline_parallel/schedules.py``). While a stage does
both passes, what it sends a neighbour and what it then waits for from the same one are a single ``exchange``
(``send_forward_recv_backward``, ``send_backward_recv_forward``): two neighbours that both send first, each of whom is
received from only later, would wait for each other. Two stages with three micro-batches, forward F, backward B:

    first    F0 ──► F1    ◄──► B0 F2 ◄──► B1   ◄── B2
    second      ──► F0 B0 ◄──► F1 B1 ◄──► F2 B2 ──►
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from testbed.collectives.operation import Message
from testbed.training.iteration import Peer

Direction = Literal["forward", "backward"]


class Pass(NamedTuple):
    """A pass over the stage's layers."""

    direction: Direction
    micro_batch: int


class HandOn(NamedTuple):
    """Activations or their gradients from or to a neighbouring stage, or one each way; after which kind of pass."""

    phase: Direction
    operation: Message
    peer: Peer


def one_forward_one_backward(stages: int, stage: int, micro_batches: int) -> Iterator[Pass | HandOn]:
    """Yield what a stage (from 0) does, in order; the first and the last have one neighbour."""
    first, last = stage == 0, stage == stages - 1
    ahead = min(stages - 1 - stage, micro_batches)
    steady = micro_batches - ahead
    for number in range(ahead):
        if not first:
            yield HandOn("forward", "recv", "previous")
        yield Pass("forward", number)
        yield HandOn("forward", "send", "next")
    if steady and not first:
        yield HandOn("forward", "recv", "previous")
    for number in range(steady):
        yield Pass("forward", ahead + number)
        if not last:
            yield HandOn("forward", "exchange", "next")
        yield Pass("backward", number)
        if not first:
            yield HandOn("backward", "exchange" if number < steady - 1 else "send", "previous")
    for number in range(steady, micro_batches):
        yield HandOn("backward", "recv", "next")
        yield Pass("backward", number)
        if not first:
            yield HandOn("backward", "send", "previous")
