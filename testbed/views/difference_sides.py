"""The two sides of a comparison: which runs of a set are used, and what is said of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from testbed.results.listing import FailedRun
from testbed.results.sets import commit_of
from testbed.views.comparison import VERDICTS, Entry, describe


@dataclass(frozen=True)
class Side:
    """The runs of one set that have counterparts in the other: those used, those INVALID, those that came to no end."""

    name: str
    used: tuple[Entry, ...]
    invalid: tuple[Entry, ...]
    others: tuple[str, ...]
    failed: tuple[FailedRun, ...] = ()

    def verdicts(self) -> dict[str, int]:
        """Return verdict -> runs."""
        found = Counter(entry.verdict for entry in (*self.used, *self.invalid))
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @cached_property
    def commits(self) -> dict[str, int]:
        """Commit -> used runs."""
        return dict(Counter(commit_of(entry.run) for entry in self.used))

    @cached_property
    def span_utc(self) -> tuple[str, str]:
        """When the first and the last used run began."""
        times = sorted(str(entry.run.manifest.get("started_utc", "")) for entry in self.used)
        return times[0], times[-1]

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        first, last = self.span_utc
        return {
            "name": self.name,
            "runs": [str(entry.run.path) for entry in self.used],
            "invalid": [str(entry.run.path) for entry in self.invalid],
            "failed": [str(one.path) for one in self.failed],
            "verdicts": self.verdicts(),
            "commits": self.commits,
            "first_started_utc": first,
            "last_started_utc": last,
        }


def heading(side: Side) -> str:
    """Return a set in a line: its name, runs and verdicts, what was emulated, with which commits, when."""
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in side.verdicts().items())
    commits = ", ".join(_short(name) for name in side.commits)
    first, last = side.span_utc
    when = first if first == last else f"{first} to {last}"
    return f"{side.name}: {verdicts}; commit {commits}; {when}"


def _short(commit: str) -> str:
    name, dash, dirty = commit.partition("-")
    return name[:7] + dash + dirty


def emulated(side: Side) -> str:
    """Return what was emulated, of several questions the first."""
    return describe(side.used[0].run.scenario)
