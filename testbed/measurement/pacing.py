"""Doing something at regular times, and how late it was done. Pure: the clock is the caller's."""

from __future__ import annotations

from typing import Final

MOST_TOLD: Final = 100_000  # times left out, of which each one's lateness is kept: by then nothing keeps pace


class Schedule:
    """Due times ``first_s + k * interval_s``. ``lateness_s`` says how late each was met.

    Times that passed unused while one was late are left out, not made up for.
    """

    def __init__(self, first_s: float, interval_s: float) -> None:
        self.lateness_s: list[float] = []
        self._left_out_s: list[float] = []
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

    @property
    def lateness_of_due_s(self) -> list[float]:
        """How late every time was that was due, one left out by when it was passed over.

        Of those met alone a pause is a single late one however long it lasts: the longer, the fewer are met.
        """
        return [*self.lateness_s, *self._left_out_s]

    def met(self, now_s: float) -> float:
        """Note that what was due is done now; return how late that is, in seconds."""
        lateness_s = max(now_s - self.due_s, 0.0)
        self.lateness_s.append(lateness_s)
        left_out = int(lateness_s // self._interval_s)
        told = min(left_out, MOST_TOLD - len(self._left_out_s))
        self._left_out_s += [lateness_s - number * self._interval_s for number in range(1, told + 1)]
        self._number += 1 + left_out
        return lateness_s
