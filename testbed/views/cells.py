"""How tables write numbers."""

from __future__ import annotations

from typing import Final

NOT_MEASURED: Final = "-"


def number_text(value: float | None, digits: int) -> str:
    """Return a number as tables show it; what was not measured is a dash."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"
