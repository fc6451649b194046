"""What cores did not take in of what they received in the measured part (softnet). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import collect, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Softnet:
    """Of all cores, whoever's packets they were: dropped, and how often a core had to stop with packets left."""

    dropped: int
    squeezed: int


def softnet(run: RunRecord) -> Softnet | None:
    """Return what happened between the first reading and the last; None without two, or where a counter fell."""
    grown = {column: _growth(run, column) for column in ("dropped", "squeezed")}
    known = {column: round(value) for column, value in grown.items() if value is not None}
    return Softnet(**known) if len(known) == len(grown) else None


def _growth(run: RunRecord, column: str) -> float | None:
    counted = collect(
        run.tables.softnet,
        key=lambda row: row.core,
        t_s=lambda row: row.t_s,
        value=lambda row: float(getattr(row, column)),
    )
    return total(series.increase_around(series.times_s[0], series.times_s[-1]) for series in counted.values())
