"""How long an iteration takes one rank, given how long each of its communications takes. Pure.

One rank, one channel: its operations go one after another in the order they are issued, each from when it is issued and
the one before it is over. Peers are taken to be ready: nothing here waits for another rank
(``testbed.training.rehearsal`` has them all). So for any iteration

    max(compute, communication) <= duration <= compute + communication,

since at any moment the rank computes, or the channel is busy with what it waits for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from testbed.collectives.operation import Operation
from testbed.training.groups import Group
from testbed.training.iteration import Communicate, Compute, Iteration

SecondsOf = Callable[[Communicate], float]


@dataclass(frozen=True, slots=True)
class Timed:
    """An operation with the seconds, from the iteration's begin, when it was issued, started and ended."""

    op: Communicate
    issued_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Timeline:
    """An iteration as it went; all times in seconds.

    ``exposed_s``: what communication adds to the computation, duration - compute.
    """

    duration_s: float
    compute_s: float
    operations: tuple[Timed, ...]

    @cached_property
    def communication_s(self) -> float:
        """Seconds of all operations together, hidden or not."""
        return math.fsum(timed.end_s - timed.start_s for timed in self.operations)

    @property
    def exposed_s(self) -> float:
        """Seconds the rank does not compute."""
        return self.duration_s - self.compute_s

    @property
    def exposed_share(self) -> float:
        """Return the fraction of the iteration the rank does not compute; 0 for an empty iteration."""
        return self.exposed_s / self.duration_s if self.duration_s else 0.0

    def seconds_by_kind(self) -> dict[tuple[Operation, Group], float]:
        """Return the seconds of operations by operation and group, in order of first appearance."""
        found: dict[tuple[Operation, Group], float] = {}
        for timed in self.operations:
            key = (timed.op.operation, timed.op.group)
            found[key] = found.get(key, 0.0) + timed.end_s - timed.start_s
        return found


def checked_seconds(seconds_of: SecondsOf, op: Communicate) -> float:
    """Return the duration of an operation. Raises ValueError for one that cannot be."""
    seconds = seconds_of(op)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{op}: {seconds} seconds, expected a finite number, at least 0")
    return seconds


def play(iteration: Iteration, seconds_of: SecondsOf) -> Timeline:
    """Return the timeline of one rank; ``seconds_of`` gives the duration of an operation, at least 0.

    Raises ValueError for a duration that cannot be.
    """
    now_s = free_s = 0.0  # the rank's time, and when the channel has done all that was issued
    done: list[Timed] = []
    for op in iteration.ops:
        if isinstance(op, Compute):
            if op.after is not None:
                now_s = max(now_s, done[op.after].end_s)
            now_s += op.duration_s
            continue
        start_s = max(now_s, free_s)
        free_s = start_s + checked_seconds(seconds_of, op)
        done.append(Timed(op, now_s, start_s, free_s))
        if op.blocking:
            now_s = free_s
    return Timeline(max(now_s, free_s), iteration.compute_s, tuple(done))
