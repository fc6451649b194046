"""The rate at which a backlogged queue drains, from readings of its byte counter. Pure.

The counter moves in whole frames, 7 ms each for 9014 bytes at 10 Mbit/s; a straight line through many readings
knows the rate much better than the two ends do. Only stretches count during which the queue was never empty: there
the token bucket is empty and the queue drains at its rate.
"""

from __future__ import annotations

import math


class DrainFit:
    """Least squares over the stretches of one queue, with one slope and an intercept for each stretch."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._sxx = self._sxy = 0.0
        self._count = 0  # of the current stretch, as the means
        self._mean_t = self._mean_b = 0.0
        self._last: tuple[float, int, int] | None = None  # time, sent, ready of the last reading in the stretch
        self.covered_s = 0.0

    def add(self, t_s: float, sent_bytes: int, backlog_bytes: int, ready_bytes: int) -> None:
        """Take a reading: bytes sent so far, bytes waiting, and bytes waiting once refilled right after it.

        Readings come in order of time. A reading continues the stretch when less was sent since the last
        one than was ready then; nothing waiting ends it.
        """
        if self._last is not None and sent_bytes - self._last[1] >= self._last[2]:
            self._last = None
        if backlog_bytes <= 0:
            self._last = None
            return
        if self._last is None:
            self._count = 0
            self._mean_t = self._mean_b = 0.0
        else:
            self.covered_s += t_s - self._last[0]
        self._last = (t_s, sent_bytes, ready_bytes)
        self._count += 1
        from_mean_t = t_s - self._mean_t
        self._mean_t += from_mean_t / self._count
        self._mean_b += (sent_bytes - self._mean_b) / self._count
        self._sxx += from_mean_t * (t_s - self._mean_t)
        self._sxy += from_mean_t * (sent_bytes - self._mean_b)

    @property
    def rate_bytes_per_s(self) -> float | None:
        """The slope, None without a stretch of two readings."""
        return self._sxy / self._sxx if self._sxx > 0 else None

    @property
    def error_fraction(self) -> float:
        """Standard error of the rate by whole frames alone, as a fraction of it; infinite while unknown.

        Counting whole frames errs evenly over one frame, which has a standard deviation of frame / sqrt(12).
        """
        rate = self.rate_bytes_per_s
        if not rate or rate < 0:
            return math.inf
        return self._frame_bytes / math.sqrt(12 * self._sxx) / rate
