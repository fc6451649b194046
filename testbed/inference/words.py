"""Effect sizes and probabilities in words. Pure."""

from __future__ import annotations

import math
from typing import Final

# Least change of a ratio (or of its inverse) -> its word. 1%: what runs of one thing may differ by. 5%: a rate off by
# that is no longer the rate asked for. 20%: what is claimed of GSE for a training job. 2: two flows on one link.
SIZES: Final = ((1.0, "very large"), (0.2, "large"), (0.05, "moderate"), (0.01, "small"), (0.0, "negligible"))
PERCENT_FROM: Final = 0.5  # a ratio below this, or above its inverse, is said as a factor
# The same in a line, for notes below tables.
SIZES_TEXT: Final = (
    "below 1% negligible, below 5% small, below 20% moderate, below a factor of 2 large, else very large"
)


def size_word(ratio: float) -> str:
    """Return how large a change is; a ratio and its inverse are alike. ``ratio`` > 0."""
    change = math.expm1(abs(math.log(ratio)))
    return next(word for least, word in SIZES if change >= least)


def change_text(ratio: float) -> str:
    """Return a ratio as people say it: ``+5.3%``, ``-0.04%``, ``x 2.35``."""
    return changes_text(ratio)[0]


def changes_text(*ratios: float) -> tuple[str, ...]:
    """Return ratios in one way: as per cent where none is a factor of 2 or more, else as factors."""
    if not all(PERCENT_FROM < ratio < 1 / PERCENT_FROM for ratio in ratios):
        return tuple(f"x {ratio:.3g}" for ratio in ratios)
    return tuple(f"{(ratio - 1) * 100:+.{1 if abs(ratio - 1) >= 0.01 else 2}f}%" for ratio in ratios)


def p_text(p: float) -> str:
    """Return a p-value; below 0.1 with digits enough to tell on which side of an error rate of 0.05 or 0.01 it is."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"
