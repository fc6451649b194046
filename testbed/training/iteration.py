"""What one rank does in a training iteration, as values: computations and communications in order. Pure.

Whoever has a trace makes an ``Iteration`` with ``testbed.training.traced``; whoever has a model and a layout with
``testbed.training.build``. How long it takes is the business of ``testbed.training.timeline`` (one rank alone) and
``testbed.training.rehearsal`` (all of them).

Words: a *phase* is a part of the iteration ("forward", "backward", ...), a *stage* a part of a pipeline, a *level* one
of ZeRO's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

from testbed.collectives.operation import MESSAGES, Operation
from testbed.fields import Mistakes
from testbed.training.groups import Group

Peer = Literal["next", "previous"]
MAX_BYTES: Final = 2**60  # of an operation: more than any machine holds, and few enough for floating point


@dataclass(frozen=True, slots=True)
class Compute:
    """The rank computes for ``duration_s``.

    ``after``: the number of the ``Communicate`` (the first one of the iteration is 0) that must be complete first;
    None: whatever is under way goes on behind.
    """

    phase: str
    duration_s: float
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Communicate:
    """The rank takes part in an operation of a group.

    ``size_bytes`` is nccl-tests' size: the array of a rank; for reduce_scatter, all_gather and all_to_all the larger of
    what it has before and after. ``send``, ``recv`` and ``exchange`` are messages of ``size_bytes`` to, from, or to and
    from ``peer``: the rank of the next or the previous pipeline stage. Operations of a rank go one after another. Not
    ``blocking``: the rank goes on at once, and the operation is complete at the latest when the iteration is.
    """

    phase: str
    operation: Operation
    group: Group
    size_bytes: int
    blocking: bool = True
    peer: Peer | None = None


Op = Compute | Communicate


class Total(NamedTuple):
    """Operations of one kind together."""

    phase: str
    operation: Operation
    group: Group
    times: int
    size_bytes: int


@dataclass(frozen=True)
class Iteration:
    """All that one rank does, in order; ``local``: operations that stay inside a node: listed, never sent.

    Raises ``Mistakes`` with all that is wrong: sizes and durations that cannot be, waits for what has not been issued,
    messages to nobody.
    """

    ops: tuple[Op, ...]
    local: tuple[Communicate, ...] = ()

    def __post_init__(self) -> None:
        mistakes = []
        issued = 0
        for place, op in enumerate(self.ops):
            if isinstance(op, Communicate):
                issued += 1
            else:
                mistakes += _compute_mistakes(op, f"ops[{place}]", issued)
        for where, found in (("ops", self.ops), ("local", self.local)):
            for place, op in enumerate(found):
                if isinstance(op, Communicate):
                    mistakes += _communicate_mistakes(op, f"{where}[{place}]")
        if mistakes:
            raise Mistakes(mistakes)

    @cached_property
    def communications(self) -> tuple[Communicate, ...]:
        """Operations on the fabric, in order: ``after`` counts these."""
        return tuple(op for op in self.ops if isinstance(op, Communicate))

    @cached_property
    def compute_s(self) -> float:
        """Seconds the rank computes."""
        return math.fsum(op.duration_s for op in self.ops if isinstance(op, Compute))

    def totals(self) -> tuple[Total, ...]:
        """Return count and bytes by phase, operation and group on the fabric, in order of first appearance."""
        return totals(self.communications)


def totals(found: Iterable[Communicate]) -> tuple[Total, ...]:
    """Return count and bytes of operations by phase, operation and group, in order of first appearance."""
    sums: dict[tuple[str, Operation, Group], tuple[int, int]] = {}
    for op in found:
        key = (op.phase, op.operation, op.group)
        times, size_bytes = sums.get(key, (0, 0))
        sums[key] = (times + 1, size_bytes + op.size_bytes)
    return tuple(Total(*key, times, size_bytes) for key, (times, size_bytes) in sums.items())


def _compute_mistakes(op: Compute, where: str, issued: int) -> list[str]:
    mistakes = []
    if not (math.isfinite(op.duration_s) and op.duration_s >= 0):
        mistakes.append(f"{where}.duration_s={op.duration_s}; expected a finite number, at least 0")
    if op.after is not None and not 0 <= op.after < issued:
        mistakes.append(f"{where}.after={op.after}; expected the number of one of the {issued} operations before it")
    return mistakes


def _communicate_mistakes(op: Communicate, where: str) -> list[str]:
    mistakes = []
    if op.size_bytes < 1:
        mistakes.append(f"{where}.size_bytes={op.size_bytes}; expected at least 1")
    if op.size_bytes > MAX_BYTES:
        mistakes.append(f"{where}.size_bytes={op.size_bytes}; expected at most {MAX_BYTES}")
    if op.operation in MESSAGES and (op.peer is None or op.group != "pp"):
        mistakes.append(
            f"{where}: {op.operation} with group={op.group}, peer={op.peer}; expected pp and next or previous"
        )
    if op.operation not in MESSAGES and op.peer is not None:
        mistakes.append(f"{where}.peer={op.peer}; expected None: {op.operation} is of the whole group")
    return mistakes


class Recorder:
    """Collects what a rank does; computations of a phase that follow each other become one."""

    def __init__(self, inside_node: Collection[Group]) -> None:
        self._inside_node = frozenset(inside_node)
        self._ops: list[Op] = []
        self._local: list[Communicate] = []
        self._issued = 0

    def compute(self, phase: str, duration_s: float, after: int | None = None) -> None:
        """Add a computation; one of no duration that waits for nothing vanishes."""
        last = self._ops[-1] if self._ops else None
        if after is None and isinstance(last, Compute) and last.phase == phase:
            self._ops[-1] = Compute(phase, last.duration_s + duration_s, last.after)
        elif duration_s or after is not None:
            self._ops.append(Compute(phase, duration_s, after))

    def communicate(self, op: Communicate) -> int | None:
        """Add an operation; return its number, or None when it stays inside a node and nobody waits for it."""
        if op.group in self._inside_node:
            self._local.append(op)
            return None
        self._ops.append(op)
        self._issued += 1
        return self._issued - 1

    def iteration(self) -> Iteration:
        """Return what has been collected."""
        return Iteration(tuple(self._ops), tuple(self._local))
