"""Doing something at regular times, and how late it was done. Pure: the clock is the caller's."""

from __future__ import annotations


class Schedule:
    """Due times ``first_s + k * interval_s``. ``lateness_s`` says how late each was met.

    Times that passed unused while one was late are left out, not made up for.
    """

    def __init__(self, first_s: float, interval_s: float) -> None:
        self.lateness_s: list[float] = []
        self._first_s = first_s
        self._interval_s = interval_s
        self._number = 0

    @property
    def due_s(self) -> float:
        """When the next is due."""
        return self._first_s + self._number * self._interval_s

    @property
    def missed(self) -> int:
        """How many times were left out."""
        return self._number - len(self.lateness_s)

    def met(self, now_s: float) -> float:
        """Note that what was due is done now; return how late that is, in seconds."""
        lateness_s = max(now_s - self.due_s, 0.0)
        self.lateness_s.append(lateness_s)
        self._number += 1 + int(lateness_s // self._interval_s)
        return lateness_s
