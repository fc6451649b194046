"""What the switches looked up in the measured part, and what they lost because nobody answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import increases


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """Packets of all datapaths together, once at each switch: a rule was there, had to be asked for, or never came."""

    hit: int
    missed: int
    lost: int


def lookups(run: RunRecord) -> Lookups | None:
    """Return what happened between the first reading and the last; None without two, or where a counter fell."""
    columns = ("hit", "missed", "lost")
    grown = increases(run.tables.lookups, columns, key=lambda row: row.datapath, t_s=lambda row: row.t_s)
    return None if grown is None else Lookups(**grown)
