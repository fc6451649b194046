"""Tables as text, and numbers as they stand in them."""

from __future__ import annotations

from dataclasses import dataclass

NOT_MEASURED = "-"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text: ``notes`` stand below it. The first ``labels`` columns are words, the rest numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    labels: int = 1


def number_text(value: float | None, digits: int) -> str:
    """Return a number as tables show it; what was not measured is a dash."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def time_text(seconds: float | None) -> str:
    """Return seconds as tables show them."""
    return number_text(seconds, time_digits(seconds or 0.0))


def time_digits(seconds: float) -> int:
    """Return the decimals that leave about four significant digits."""
    return 2 if seconds >= 10 else 3 if seconds >= 1 else 4
