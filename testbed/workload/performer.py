"""Goes through a rank's tasks in an iteration, over an ``Exchange``: keeps the time, begins and ends communications.

A communication is over for a rank when it has received all of its part and its kernel has sent all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from testbed.collectives.slices import Stream
from testbed.training.tasks import Pause, Tasks
from testbed.workload.cargo import Cargo
from testbed.workload.course import Course
from testbed.workload.exchange import Exchange

SELECTOR_STEP_S = 0.001  # a selector waits whole milliseconds; the rest is slept


@dataclass(frozen=True, slots=True)
class Part:
    """This rank's part in a communication: streams by peer, data, ranks that slices count by."""

    out: Mapping[int, Stream]
    into: Mapping[int, Stream]
    cargo: Cargo
    members: tuple[int, ...]
    slice_bytes: int

    @property
    def expected_bytes(self) -> int:
        """What this rank receives."""
        return sum(stream.size_bytes for stream in self.into.values())


class Performer:
    """``perform`` once; ``turn(timeout_s)`` lets the selector's callbacks run, and returns after the time at latest."""

    def __init__(
        self,
        exchange: Exchange,
        tasks: Tasks,
        parts: Sequence[Part],
        *,
        turn: Callable[[float | None], None],
        wake_bytes: int | None,
    ) -> None:
        self._exchange = exchange
        self._tasks = tasks
        self._parts = parts
        self._turn = turn
        self._wake_bytes = wake_bytes
        self._course = Course(tasks.tasks)
        self._received_bytes = 0  # in communications that are over
        self._expected_bytes = sum(part.expected_bytes for part in parts)
        self._current: int | None = None
        self._max_gap: tuple[float, float] | None = None  # how long, and since when

    def perform(self, at_s: float) -> None:
        """Do all of it; ``at_s`` (monotonic) is when the iteration began."""
        course = self._course
        course.begin(at_s)
        while not course.over:
            if (number := course.to_begin) is not None:
                self._begin(number)
            elif not self._moved_all:
                self._wait()
            if self._moved_all:
                self._end()
            if course.due_s is not None and (now_s := time.monotonic()) >= course.due_s:
                course.computed(now_s)

    @property
    def _moved_all(self) -> bool:
        """Whether a communication is under way that has nothing more to move."""
        return self._current is not None and self._exchange.finished and self._exchange.drained

    def _begin(self, number: int) -> None:
        part, now_s = self._parts[number], time.monotonic()
        self._course.begun(now_s)
        self._current = number
        self._exchange.begin(
            part.cargo,
            part.out,
            part.into,
            members=part.members,
            slice_bytes=part.slice_bytes,
            wake_bytes=self._wake_bytes,
            drain=True,
        )
        self._exchange.start(now_s)

    def _end(self) -> None:
        exchange = self._exchange
        exchange.end()
        self._received_bytes += exchange.received_bytes
        if exchange.max_gap_s is not None:
            found = (exchange.max_gap_s, exchange.max_gap_at_s)
            self._max_gap = found if self._max_gap is None else max(self._max_gap, found)
        self._current = None
        self._course.ended(time.monotonic())

    def _wait(self) -> None:
        """Wait until something happens, or what is being computed is done; nothing is ever slept through for long."""
        if self._course.due_s is None:
            self._turn(None)
            return
        left_s = self._course.due_s - time.monotonic()
        steps = floor(left_s / SELECTOR_STEP_S)
        if steps > 0:
            self._turn(steps * SELECTOR_STEP_S - SELECTOR_STEP_S / 2)  # rounded up by the selector
        elif left_s > 0:
            self._turn(0)
            time.sleep(max(0.0, self._course.due_s - time.monotonic()))

    # -- what became of it ------------------------------------------------------------------------------------

    @property
    def progress(self) -> dict[str, Any]:
        """How far it is, as ``progress`` events say it."""
        exchange, moving = self._exchange, self._current is not None
        return {
            "received_bytes": self._received_bytes + (exchange.received_bytes if moving else 0),
            "expected_bytes": self._expected_bytes,
            "silent_s": max(0.0, time.monotonic() - exchange.last_byte_s) if moving else 0.0,
            "awaited": exchange.awaited if moving else [],
            "computing": self._course.computing,
        }

    def result(self, t0_s: float) -> dict[str, Any]:
        """Return when what was done, in seconds since ``t0_s``, as ``moved`` events say it."""
        course, gap = self._course, self._max_gap
        return {
            "max_gap_s": None if gap is None else gap[0],
            "max_gap_at_s": None if gap is None else gap[1] - t0_s,
            "arrived_s": [],
            "operations": [[one.issued_s - t0_s, one.start_s - t0_s, one.end_s - t0_s] for one in course.moments],
            "computing": {
                "compute_s": sum(task.duration_s for task in self._tasks.tasks if isinstance(task, Pause)),
                "excess_s": course.excess_s,
                "latest_s": course.latest_s,
            },
        }

    def count_wrong(self) -> int:
        """Return how many elements of all communications are not right."""
        return sum(part.cargo.count_wrong() for part in self._parts)
