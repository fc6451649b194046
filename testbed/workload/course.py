"""How far a rank is in its tasks, and what it may do now. Pure: whoever moves bytes and keeps time tells it.

The rules are those of ``testbed.training.rehearsal``: the rank goes through its tasks in order; it computes, or waits
for what must be over; communications go one after another on one channel, in the order they are come to, behind the
computation where they are not waited for.

A timer is always late by something. What is computed directly after something else is timed from when that should
have been over, so that lateness does not add up; where it can no longer be made up for, because something was waited
for or the end has come, it lengthens the rank's computing: ``excess_s``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.training.tasks import Message, Pause, Task, Together


@dataclass(slots=True)
class Moments:
    """When (monotonic) a communication was come to, begun and over."""

    issued_s: float
    start_s: float = 0.0
    end_s: float = 0.0


class Course:
    """Begin with ``begin``; then tell it what happens, until it is ``over``."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self._place = 0
        self._queue: deque[int] = deque()  # come to, not begun
        self._under_way: int | None = None
        self._n_over = 0
        self._waits_for: int | None = None  # communication that must be over before the rank goes on
        self._clock_s = 0.0  # when what the rank did last should have been over
        self._late_s = 0.0  # how much later it was
        self.moments: list[Moments] = []
        self.due_s: float | None = None  # when what is being computed is done
        self.excess_s = 0.0
        self.latest_s = 0.0  # of all timers

    @property
    def over(self) -> bool:
        """Whether everything is done."""
        done = self._place == len(self._tasks) and self.due_s is None and self._waits_for is None
        return done and self._under_way is None and not self._queue

    @property
    def computing(self) -> bool:
        """Whether the rank computes now."""
        return self.due_s is not None

    @property
    def to_begin(self) -> int | None:
        """The communication to begin with now; None: the channel is busy, or there is none."""
        return self._queue[0] if self._queue and self._under_way is None else None

    def begin(self, now_s: float) -> None:
        """Begin with the first task; ``now_s`` is when that should be."""
        self._clock_s = now_s
        self._go_on(now_s)

    def begun(self, now_s: float) -> None:
        """Take note that ``to_begin`` was begun with."""
        self._under_way = self._queue.popleft()
        self.moments[self._under_way].start_s = now_s

    def ended(self, now_s: float) -> None:
        """Take note that the communication under way is over."""
        assert self._under_way is not None
        self.moments[self._under_way].end_s = now_s
        self._under_way = None
        self._n_over += 1
        if self._waits_for is not None and self._waits_for < self._n_over:
            self._waits_for = None
            self._clock_s, self._late_s = now_s, 0.0
            self._go_on(now_s)

    def computed(self, now_s: float) -> None:
        """Take note that it is ``due_s``, or later."""
        assert self.due_s is not None
        self._clock_s, self._late_s = self.due_s, max(0.0, now_s - self.due_s)
        self.latest_s = max(self.latest_s, self._late_s)
        self.due_s = None
        self._go_on(now_s)

    def _go_on(self, now_s: float) -> None:
        while self._place < len(self._tasks):
            task = self._tasks[self._place]
            if isinstance(task, Pause):
                if task.after is not None and task.after >= self._n_over:
                    self._wait_for(task.after)
                    return
                self._place += 1
                self.due_s = self._clock_s + task.duration_s
                return
            self._issue(task, now_s)
            self._place += 1
            if self._waits_for is not None:
                return
        self._lengthen()

    def _issue(self, task: Together | Message, now_s: float) -> None:
        number = len(self.moments)
        self.moments.append(Moments(now_s))
        self._queue.append(number)
        if task.blocking:
            self._wait_for(number)

    def _wait_for(self, number: int) -> None:
        self._waits_for = number
        self._lengthen()

    def _lengthen(self) -> None:
        self.excess_s += self._late_s
        self._late_s = 0.0
