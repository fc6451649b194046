"""The runs of a sweep put together: one group per value and scheme, medians over seeds, nothing left out unsaid.

INVALID runs have no part in medians but are counted and drawn as what they are; what was not measured is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from math import log10
from os.path import commonprefix
from statistics import median
from typing import Any, Final, Literal

from testbed.errors import Problem, ResultsError
from testbed.inference.median import median_interval
from testbed.model.effects import why_not
from testbed.model.sweep import Value
from testbed.results.run import load
from testbed.results.summary import judged_anew, summary_of
from testbed.results.sweeps import StoredRun, StoredSweep
from testbed.units import KIB, MIB
from testbed.views.comparison import INVALID, VERDICTS, Entry, describe, origin_texts
from testbed.views.predicted import modelled_together
from testbed.views.quantities import QUANTITIES

FORMAT_VERSION: Final = 1
INTERVAL_WORDS: Final = "95% confidence interval of the median (order statistics, from six runs on)"
MOST_PLAIN: Final = 10_000  # larger numbers have commas
RUN_FAILED, NOT_RUN = "FAILED", "NOT RUN"
STATES: Final = (*VERDICTS, RUN_FAILED, NOT_RUN)


@dataclass(frozen=True, slots=True)
class Median:
    """Median and range of a quantity, and over how many runs."""

    median: float
    smallest: float
    largest: float
    runs: int


@dataclass(frozen=True)
class Member:
    """One run of a group; ``entry`` is None when it failed or was not made."""

    stored: StoredRun
    entry: Entry | None

    @property
    def state(self) -> str:
        """The verdict, or why there is none."""
        if self.entry is not None:
            return self.entry.verdict
        return NOT_RUN if self.stored.name is None else RUN_FAILED

    @cached_property
    def numbers(self) -> dict[str, float | None]:
        """Every quantity by its key."""
        return {one.key: None if self.entry is None else one.number(self.entry) for one in QUANTITIES}


@dataclass(frozen=True)
class Group:
    """All runs with one value under one scheme, by seed."""

    point: int
    value: Value
    text: str
    scheme: str
    members: tuple[Member, ...]

    def counts(self) -> dict[str, int]:
        """Return verdict, FAILED or NOT RUN -> how many."""
        found = Counter(member.state for member in self.members)
        return {state: found[state] for state in STATES if found[state]}

    def median(self, key: str) -> Median | None:
        """Return the median over the runs that have the quantity and are not INVALID; None when there is none."""
        numbers = self._usable(key)
        return Median(median(numbers), min(numbers), max(numbers), len(numbers)) if numbers else None

    def interval(self, key: str) -> tuple[float, float] | None:
        """Return where the median of all runs there could be lies, with 95% confidence or more; None below six."""
        return median_interval(self._usable(key))

    def seeds(self, key: str) -> tuple[int, ...]:
        """Return the seeds of the runs that have part in the median."""
        return tuple(member.stored.run.seed for member in self.counted if member.numbers[key] is not None)

    def _usable(self, key: str) -> list[float]:
        return [number for member in self.counted if (number := member.numbers[key]) is not None]

    @property
    def counted(self) -> Iterator[Member]:
        """The runs that are in medians, where they have the quantity."""
        return (member for member in self.members if member.state not in (INVALID, RUN_FAILED))


@dataclass(frozen=True)
class SweepResults:
    """A sweep with its runs loaded; groups value by value, schemes in the scenario's order."""

    stored: StoredSweep
    groups: tuple[Group, ...]

    def of(self, scheme: str) -> tuple[Group, ...]:
        """Return the groups of a scheme, in the order of the values."""
        return tuple(group for group in self.groups if group.scheme == scheme)

    @property
    def members(self) -> Iterator[Member]:
        """Every run."""
        return (member for group in self.groups for member in group.members)

    def has(self, key: str, scheme: str | None = None) -> bool:
        """Return whether any run that is not INVALID, of a scheme or of all, has the quantity."""
        groups = self.groups if scheme is None else self.of(scheme)
        return any(group.median(key) is not None for group in groups)

    def counts(self) -> dict[str, int]:
        """Return verdict, FAILED or NOT RUN -> how many of all runs."""
        found = Counter(member.state for member in self.members)
        return {state: found[state] for state in STATES if found[state]}

    @cached_property
    def modelled(self) -> dict[tuple[int, str], float]:
        """The efficiency the fluid model has by value and scheme, the median over the seeds the runs' median is over.

        Only where it has something (``testbed.views.predicted``).
        """
        points = self.stored.sweep.points
        asked = [(points[group.point], group.scheme, group.seeds("efficiency")) for group in self.groups]
        found = zip(self.groups, modelled_together(asked), strict=True)
        return {(group.point, group.scheme): one.median_efficiency for group, one in found if one is not None}

    def modelled_of(self, scheme: str) -> dict[int, float]:
        """Return the same of one scheme, by value."""
        return {point: efficiency for (point, own), efficiency in self.modelled.items() if own == scheme}

    @cached_property
    def heading(self) -> str:
        """What was emulated, in a line; said of the first value where it differs between them."""
        sweep = self.stored.sweep
        texts = [describe(point) for point in sweep.points]
        first = texts[0] if len(set(texts)) == 1 else f"with {sweep.texts[0]}: {texts[0]}"
        return f"{sweep.points[0].name} over {sweep.field}; {first}"

    def notes(self) -> list[str]:
        """Return what a reader has to know beside the numbers."""
        sweep, counts, notes = self.stored.sweep, self.counts(), []
        if counts.get(INVALID):
            notes.append(f"{counts[INVALID]} INVALID run(s) are in no median")
        for state, words in ((RUN_FAILED, "failed and have no numbers"), (NOT_RUN, "were not made")):
            if counts.get(state):
                notes.append(f"{counts[state]} of {len(self.stored.runs)} runs {words}")
        notes += origin_texts([member.entry for member in self.members if member.entry is not None])
        if schemes := sweep.untouched():
            why = why_not(sweep.field, schemes)
            notes.append(f"{', '.join(schemes)}: {why}, so {sweep.field} changes nothing there")
        if derived := sweep.derived():
            notes.append(f"derived from it, so changing along: {', '.join(derived)}")
        return notes

    def document(self) -> dict[str, Any]:
        """Return everything as JSON: the sweep, medians per value and scheme, every run with its numbers."""
        stored, sweep = self.stored, self.stored.sweep
        return {
            "format_version": FORMAT_VERSION,
            "sweep_dir": str(stored.path),
            "status": stored.status,
            "field": sweep.field,
            "values": list(sweep.values),
            "schemes": list(sweep.schemes),
            "seeds": list(sweep.seeds),
            "derived": list(sweep.derived()),
            "scenario": sweep.points[0].model_dump(mode="json"),
            "verdicts": self.counts(),
            "points": [_point(group, self.modelled.get((group.point, group.scheme))) for group in self.groups],
            "runs": [self._run_document(member) for member in self._in_order()],
        }

    def _in_order(self) -> list[Member]:
        by_run = {member.stored.run: member for member in self.members}
        return [by_run[one.run] for one in self.stored.runs]

    def _run_document(self, member: Member) -> dict[str, Any]:
        run, stored, entry = member.stored.run, member.stored, member.entry
        error = [] if stored.error is None else [stored.error]
        return {
            "value": self.stored.sweep.values[run.point],
            "scheme": run.scheme,
            "seed": run.seed,
            "verdict": member.state,
            "reasons": list(entry.reasons) if entry is not None else error,
            "run_dir": None if stored.name is None else str(self.stored.runs_dir / stored.name),
            **member.numbers,
        }


def _point(group: Group, modelled: float | None) -> dict[str, Any]:
    found = {one.key: group.median(one.key) for one in QUANTITIES}
    return {
        "value": group.value,
        "scheme": group.scheme,
        "verdicts": group.counts(),
        "modelled_efficiency": modelled,
        **{key: None if one is None else asdict(one) for key, one in found.items()},
    }


def sweep_results(stored: StoredSweep, *, judge_anew: bool = False) -> SweepResults:
    """Load the runs of a sweep, ``judge_anew``: with the summaries this version makes, not those stored.

    Raises ResultsError when one is gone, damaged or of another question.
    """
    sweep = stored.sweep
    members = {one.run: Member(one, _entry(stored, one, judge_anew)) for one in stored.runs}
    groups = [
        Group(
            point,
            value,
            sweep.texts[point],
            scheme,
            tuple(
                member
                for run, member in sorted(members.items(), key=lambda item: item[0].seed)
                if (run.point, run.scheme) == (point, scheme)
            ),
        )
        for point, value in enumerate(sweep.values)
        for scheme in sweep.schemes
    ]
    return SweepResults(stored, tuple(groups))


def _entry(stored: StoredSweep, one: StoredRun, judge_anew: bool) -> Entry | None:
    if one.name is None or one.failed:
        return None
    path, wanted = stored.runs_dir / one.name, one.run
    run = load(path)
    if (run.scheme, run.seed, run.scenario) != (wanted.scheme, wanted.seed, stored.sweep.points[wanted.point]):
        got = f"{run.scheme}, seed {run.seed}, of another value or scenario"
        expected = f"{wanted.scheme}, seed {wanted.seed}, {stored.sweep.field}={stored.sweep.texts[wanted.point]}"
        raise ResultsError(Problem("not a run of this sweep", str(path), got, expected))
    if judge_anew:
        run = judged_anew(run)
    return Entry(run, summary_of(run))


# --- the axis of the values ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the values stand on a figure's x axis, in what unit."""

    kind: Literal["log", "linear", "words"]
    label: str
    positions: tuple[float, ...]
    ticks: tuple[str, ...]


UNITS: Final = {"_ms": "ms", "_s": "s", "_mbps": "Mbit/s"}


def axis_of(stored: StoredSweep) -> Axis:
    """Return the axis: numbers at their place, logarithmic where they span a decade; words side by side."""
    sweep = stored.sweep
    values = [value for value in sweep.values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(values) < len(sweep.values):
        shared, ticks = without_shared(sweep.texts)
        label = f"{sweep.field} ({shared}…)" if shared else sweep.field
        return Axis("words", label, tuple(float(i) for i in range(len(sweep.values))), ticks)
    unit, factor = _unit(sweep.field, min(values))
    positions = tuple(value / factor for value in values)
    log = min(positions) > 0 and log10(max(positions) / min(positions)) >= 1
    label = f"{sweep.field} ({unit})" if unit else sweep.field
    ticks = tuple(f"{position:,.0f}" if position >= MOST_PLAIN else f"{position:.4g}" for position in positions)
    return Axis("log" if log else "linear", label, positions, ticks)


def without_shared(texts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the folders all words begin with (``llama2-13b/``), and what is left of each: room is for differences."""
    shared = commonprefix(texts)
    shared = shared[: shared.rfind("/") + 1]
    left = tuple(text.removeprefix(shared) for text in texts)
    return (shared, left) if len(texts) > 1 and all(left) else ("", texts)


def _unit(field: str, least: float) -> tuple[str, float]:
    """Return the unit a field is shown in, and how much of its own unit that is."""
    if field.endswith("_bytes"):
        return ("MiB", MIB) if least >= MIB else ("KiB", KIB) if least >= KIB else ("bytes", 1)
    return next(((unit, 1.0) for suffix, unit in UNITS.items() if field.endswith(suffix)), ("", 1.0))
