"""What the switches looked up in the measured part, and what they lost because nobody answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import collect, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """Packets of all datapaths together, once at each switch: a rule was there, had to be asked for, or never came."""

    hit: int
    missed: int
    lost: int


def lookups(run: RunRecord) -> Lookups | None:
    """Return what happened between the first reading and the last; None without two, or where a counter fell."""
    grown = {column: _growth(run, column) for column in ("hit", "missed", "lost")}
    known = {column: round(value) for column, value in grown.items() if value is not None}
    return Lookups(**known) if len(known) == len(grown) else None


def _growth(run: RunRecord, column: str) -> float | None:
    counted = collect(
        run.tables.lookups,
        key=lambda row: row.datapath,
        t_s=lambda row: row.t_s,
        value=lambda row: float(getattr(row, column)),
    )
    return total(series.increase_around(series.times_s[0], series.times_s[-1]) for series in counted.values())
