"""What cores did not take in of what they received in the measured part (softnet). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import increases


@dataclass(frozen=True, slots=True, kw_only=True)
class Softnet:
    """Of all cores, whoever's packets they were: dropped, and how often a core had to stop with packets left."""

    dropped: int
    squeezed: int


def softnet(run: RunRecord) -> Softnet | None:
    """Return what happened between the first reading and the last; None without two, or where a counter fell."""
    columns = ("dropped", "squeezed")
    grown = increases(run.tables.softnet, columns, key=lambda row: row.core, t_s=lambda row: row.t_s)
    return None if grown is None else Softnet(**grown)
