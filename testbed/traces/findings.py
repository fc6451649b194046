"""What a parser has found in a file so far: records, what it does not understand, and what is wrong. Pure.

All that is wrong is raised at once, up to a limit; memory is bounded whatever a file holds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from testbed.errors import Problem, TraceError
from testbed.traces.trace import Format, Places, Record, Trace, Unknown

MAX_RECORDS: Final = 2_000_000  # half a gigabyte of them
MAX_UNKNOWN: Final = 1000  # kept with their text; the rest is counted
MAX_PROBLEMS: Final = 50
MAX_TEXT: Final = 160  # characters of a file in a message
MAX_BYTES: Final = 2**60  # more than any machine holds
MAX_RANKS: Final = 10**7
MAX_SECONDS: Final = 1e9
MAX_NS: Final = 2**63 - 1

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}(?:\.0*)?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?")


def shown(value: object) -> str:
    """Return something of a file as messages show it: short."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except RecursionError:  # JSON may have just as many levels as could be read, and showing them takes more
        text = "something of very many levels"
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def group_name(value: object) -> str | None:
    """Return what we call a process group, or None for what is no name. Whole: others may begin like it."""
    if isinstance(value, str):
        return f"pg {value}"
    return f"pg {value!r}" if isinstance(value, int | float) else None


def number(value: object) -> float | None:
    """Return a number given as one or as a text, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):  # float() takes underscores, and any length
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


@dataclass(slots=True)
class Findings:
    """What one file has been found to say. ``trace`` ends it."""

    source: str
    format: Format
    places: Places
    _records: list[Record] = field(default_factory=list)
    _unknown: list[Unknown] = field(default_factory=list)
    _n_unknown: int = 0
    _known: Counter[str] = field(default_factory=Counter)
    _problems: list[Problem] = field(default_factory=list)

    def record(self, record: Record) -> None:
        """Add a record. Raises TraceError when there are too many."""
        if len(self._records) >= MAX_RECORDS:
            self.problem(record.place, "too many records", f"more than {MAX_RECORDS:,}", "a part of the trace")
            raise TraceError(self._problems)
        self._records.append(record)

    def unknown(self, place: int, text: object, why: str) -> None:
        """Note something that is not understood. Raises TraceError when it is most of the file."""
        self._n_unknown += 1
        if self._n_unknown > MAX_RECORDS:
            self.problem(place, "nearly nothing is understood", f"more than {MAX_RECORDS:,} unknown", f"{self.format}")
            raise TraceError(self._problems)
        if len(self._unknown) < MAX_UNKNOWN:
            self._unknown.append(Unknown(place, shown(text), why))

    def known(self, what: str) -> None:
        """Count something that is understood and is no record."""
        self._known[what] += 1

    def problem(self, place: int | None, what: str, got: object, expected: str) -> None:
        """Note something that is wrong. Raises TraceError when it is enough."""
        where = self.source if place is None else f"{self.source}: {self.places} {place}"
        self._problems.append(Problem(what, where, shown(got) or "nothing", expected))
        if len(self._problems) >= MAX_PROBLEMS:
            raise TraceError(self._problems)

    def count(self, place: int, what: str, value: object, most: int = MAX_BYTES) -> int | None:
        """Return a whole number from 0 to ``most``, given as a number or a text; None when it is not one: a problem."""
        whole = _whole(value)
        if whole is not None and 0 <= whole <= most:
            return whole
        self.problem(place, f"{what} is wrong", value, f"a whole number from 0 to {most:,}")
        return None

    def seconds(self, place: int, what: str, value: object, *, per_second: float) -> float | None:
        """Return a time given in units of which ``per_second`` make a second; None when it is not one: a problem."""
        time = number(value)
        if time is not None and 0 <= time <= MAX_SECONDS * per_second:
            return time / per_second
        self.problem(place, f"{what} is wrong", value, f"a number from 0 to {MAX_SECONDS * per_second:g}")
        return None

    def trace(self, *, n_ranks: int | None = None, group_sizes: Mapping[str, int] | None = None) -> Trace:
        """Return what was found. Raises TraceError with all that is wrong, also when nothing at all was understood."""
        if not self._problems and not self._records:
            first = f"first unknown: {self._unknown[0].text!r}" if self._unknown else "nothing"
            self.problem(None, f"no record of format {self.format} in it", first, "a trace of that format")
        if self._problems:
            raise TraceError(self._problems)
        return Trace(
            source=self.source,
            format=self.format,
            places=self.places,
            records=tuple(self._records),
            unknown=tuple(self._unknown),
            n_unknown=self._n_unknown,
            known=tuple(sorted(self._known.items())),
            n_ranks=n_ranks,
            group_sizes=tuple(sorted((group_sizes or {}).items())),
        )


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    return None
