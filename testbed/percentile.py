"""Percentiles that were really observed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

P99_MIN_SAMPLES: Final = 100  # fewer say nothing about one in a hundred


def nearest_rank(values: Iterable[float], percent: int) -> float | None:
    """Return the percentile by nearest rank (the value that ``percent`` of 100 do not exceed), None of no values."""
    ordered = sorted(values)
    rank = max(-(-len(ordered) * percent // 100), 1)
    return ordered[rank - 1] if ordered else None
