"""Files in ``raw/`` that a replayed capture leaves."""

from __future__ import annotations

from typing import Final

UNMAPPED_FILE: Final = "replay-unmapped.csv"  # frames that are not sent: number, why
