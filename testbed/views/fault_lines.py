"""Which runs are shown around a fault, as which line, on paper and on pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

from testbed.evaluation.timeline import covered
from testbed.views.comparison import Comparison, Entry

BEFORE_S, AFTER_S = 1.0, 3.0  # shown of the time before the first and after the last fault


@dataclass(frozen=True)
class Line:
    """One scheme under one ``gsos.repair``: its runs in which a fault was made."""

    scheme: str
    repair: str
    entries: tuple[Entry, ...]

    @property
    def label(self) -> str:
        """What the legend says, with what was measured of the fault: medians over the runs that have it."""
        said = (
            self._left("path left", " after", "recovery_ms"),
            self._left("at its own leaf", "", "local_recovery_ms"),
            "" if (pause_ms := self._median("outage_ms")) is None else f"longest pause {pause_ms:.0f} ms",
        )
        repair = ", repair by GSOS" if self.repair == "controller" else ""
        runs = f"{len(self.entries)} run{'s' if len(self.entries) > 1 else ''}"
        told = ", ".join(filter(None, said))
        return f"{self.scheme}{repair} ({runs})" + (f": {told}" if told else "")

    def _left(self, what: str, after: str, key: str) -> str:
        """Return a median in words, and of how many runs it is where in others some GSP used the path on."""
        middle_ms, never = self._median(key), sum(entry.never_left(key) for entry in self.entries)
        if middle_ms is None:
            return f"{what} in none of {never} run{'s' if never > 1 else ''}" if never else ""
        known = len(self._known(key))
        return f"{what}{after} {middle_ms:.0f} ms" + (f" in {known} of {known + never} runs" if never else "")

    def _median(self, key: str) -> float | None:
        known = self._known(key)
        return median(known) if known else None

    def _known(self, key: str) -> list[float]:
        return [value for entry in self.entries if (value := entry.number(key)) is not None]


def beside(comparison: Comparison) -> Comparison | None:
    """Return what is drawn of the same question under other repair: its runs with a fault; None without any."""
    other = comparison.other_repair
    entries = () if other is None else tuple(filter(_has_fault, other.entries))
    return replace(other, entries=entries) if other is not None and entries else None


def _has_fault(entry: Entry) -> bool:
    return covered(entry.run.record) is not None


def lines_of(comparison: Comparison) -> tuple[Line, ...]:
    """Return what is drawn: every scheme's runs with a fault, and those of the same question under other repair."""
    questions = [one for one in (comparison, beside(comparison)) if one is not None]
    found = []
    for scheme in dict.fromkeys(scheme for question in questions for scheme in question.schemes):
        for question in questions:
            entries = tuple(filter(_has_fault, question.of(scheme)))
            if entries:
                found.append(Line(scheme, question.scenario.gsos.repair, entries))
    return tuple(found)
