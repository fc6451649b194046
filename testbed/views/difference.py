"""Two sets of stored runs: what was asked differently, what came out differently, and what of that is more than chance.

Statistics are ``testbed.inference``'s; which runs answer the same question is ``difference_cells``', what was asked of
them ``difference_settings``'. Here is which numbers are looked at, and what is said about them. How it looks is
``difference_table``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from testbed.errors import Problem, ResultsError
from testbed.inference.contrast import LEAST_RUNS, holm
from testbed.inference.pairing import NOTHING_TO_TEST, Found, Measured, contrasted
from testbed.inference.words import size_word
from testbed.results.sets import RunSet
from testbed.results.summary import summarise
from testbed.views.comparison import INVALID, Entry
from testbed.views.difference_cells import Cell, matched
from testbed.views.difference_settings import Setting, different_settings
from testbed.views.difference_sides import Side
from testbed.views.quantities import COMPARED, Quantity

FORMAT_VERSION: Final = 1
Outcome = Literal["better", "worse", "within margin", "undecided", "not tested"]


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity under one scheme. ``p`` is adjusted for the number of all tested rows; None when not tested.

    ``usable``: how many runs of A and of B there are, with that number or without.
    """

    question: str
    scheme: str
    quantity: Quantity
    found: Found
    p: float | None
    p_beyond: float | None
    usable: tuple[int, int]

    def outcome(self, alpha: float) -> Outcome:
        """Return what is to be said of it with this error rate."""
        contrast = self.found.contrast
        if contrast is None or self.p is None:
            return "not tested"
        if self.p <= alpha:
            return "better" if (contrast.ratio > 1) == self.quantity.more_is_better else "worse"
        return "within margin" if self.is_within(alpha) else "undecided"

    def is_within(self, alpha: float) -> bool:
        """Return whether it was shown that the ratio is within the margin; False without a margin."""
        return self.p_beyond is not None and self.p_beyond <= alpha

    @property
    def is_constant(self) -> bool:
        """Whether all runs of both sets have the same number."""
        return self.found.untested == NOTHING_TO_TEST


@dataclass(frozen=True)
class Difference:
    """What ``gse compare`` says. ``margin`` is None where equivalence was not asked for."""

    a: Side
    b: Side
    settings: tuple[Setting, ...]
    rows: tuple[Row, ...]
    unmatched: tuple[str, ...]
    alpha: float
    margin: float | None
    judged_anew: bool = False

    @property
    def tested(self) -> tuple[Row, ...]:
        """The rows of the family whose error rate is ``alpha``."""
        return tuple(row for row in self.rows if row.p is not None)

    @property
    def significant(self) -> tuple[Row, ...]:
        """Rows that differ by more than chance."""
        return tuple(row for row in self.tested if row.outcome(self.alpha) in ("better", "worse"))

    def counting(self, *, allow_better: bool) -> tuple[Row, ...]:
        """Return the significant rows that matter: not those shown to be within the margin, nor allowed ones."""
        return tuple(
            row
            for row in self.significant
            if not row.is_within(self.alpha) and not (allow_better and row.outcome(self.alpha) == "better")
        )

    @property
    def not_within(self) -> tuple[Row, ...]:
        """Rows with a ratio, counts apart, that were not shown to be within the margin."""
        return tuple(row for row in self.tested if row.p_beyond is not None and not row.is_within(self.alpha))

    @property
    def is_within_margin(self) -> bool | None:
        """Whether every tested ratio was shown to be within the margin; None: not asked for, or no ratio was tested."""
        return not self.not_within if any(row.p_beyond is not None for row in self.tested) else None

    @property
    def untested(self) -> tuple[Row, ...]:
        """Rows, counts apart, that have no test though they are not the same in every run: no claim is about them."""
        return tuple(row for row in self.rows if row.p is None and not row.is_constant and not row.quantity.is_count)

    def partly_measured(self) -> Iterator[str]:
        """Yield the quantities that some runs have no number of: what happened in those may be why."""
        several = len({(row.question, row.scheme) for row in self.rows}) > 1
        for row in self.rows:
            sides = tuple(zip((row.found.a_runs, row.found.b_runs), row.usable, strict=True))
            if any(0 < known < usable for known, usable in sides):
                name = f"{row.scheme} {row.quantity.label.strip()}" if several else row.quantity.label.strip()
                told = " and ".join(f"{known} of {usable}" for known, usable in sides)
                yield f"{name}: measured in {told} runs of A and B; the others have no part in it"

    def notes(self) -> Iterator[str]:
        """Yield what a reader has to know beside the numbers."""
        for letter, side in (("A", self.a), ("B", self.b)):
            if side.invalid:
                reasons = side.invalid[0].reasons
                why = f" ({reasons[0]}{', ...' if len(side.invalid) > 1 else ''})" if reasons else ""
                yield f"{letter}: {len(side.invalid)} INVALID run(s) left out{why}"
            if len(side.commits) > 1:
                yield f"{letter} mixes runs of {len(side.commits)} commits"
            if self.tested and (seeds := len({entry.seed for entry in side.used})) < LEAST_RUNS:
                yield f"{letter} has runs of {seeds} seed{'s' if seeds > 1 else ''} only: nothing is said of others"
            if any(name.endswith("-dirty") for name in side.commits):
                yield f"{letter} has runs with uncommitted changes: one commit may be several states of the code"
            yield from (f"{letter}: {what}" for what in side.others)
        yield from self.unmatched
        yield from self.partly_measured()
        if not self.judged_anew and set(self.a.commits) != set(self.b.commits):
            yield (
                "the sets are of different commits, whose summaries may define a number differently (CHANGELOG.md): "
                "--judge-anew makes both by this version"
            )
        (a_first, a_last), (b_first, b_last) = self.a.span_utc, self.b.span_utc
        if a_last < b_first or b_last < a_first:
            yield (
                "the sets were measured one after the other, not in turn: what the machine did differently meanwhile "
                "is among the differences, above all in latencies and processor time"
            )
        if any(row.found.contrast is not None and not row.found.contrast.is_paired for row in self.tested):
            yield "few or no common seeds: sets compared as a whole (Welch), differences between seeds included"

    def document(self, *, allow_better: bool) -> dict[str, Any]:
        """Return everything as JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "alpha": self.alpha,
            "margin": self.margin,
            "a": self.a.document(),
            "b": self.b.document(),
            "settings": [asdict(setting) for setting in self.settings],
            "results": [self._row_document(row) for row in self.rows],
            "tested": len(self.tested),
            "significant": len(self.significant),
            "counting": len(self.counting(allow_better=allow_better)),
            "within_margin": self.is_within_margin,
            "notes": list(self.notes()),
        }

    def _row_document(self, row: Row) -> dict[str, Any]:
        found, contrast = row.found, row.found.contrast
        low, high = contrast.interval() if contrast is not None else (None, None)
        return {
            "question": row.question,
            "scheme": row.scheme,
            "quantity": row.quantity.key,
            "outcome": "equal" if row.is_constant else row.outcome(self.alpha),
            "untested": found.untested or None,
            "a_mean": found.a_mean,
            "b_mean": found.b_mean,
            "a_runs": found.a_runs,
            "b_runs": found.b_runs,
            "ratio": None if contrast is None else contrast.ratio,
            "ratio_low": low,
            "ratio_high": high,
            "of_counts_plus_one": row.quantity.is_count,
            "pairs": contrast.runs if contrast is not None and contrast.is_paired else None,
            "p_adjusted": row.p,
            "p_beyond_margin": row.p_beyond,
            "size": None if contrast is None else size_word(contrast.ratio),
        }


def difference(
    a: RunSet,
    b: RunSet,
    *,
    alpha: float,
    margin: float | None = None,
    only: Sequence[str] = (),
    judged_anew: bool = False,
) -> Difference:
    """Compare two sets at a family-wise error rate ``alpha``; ``only``: keys of quantities, all of them when empty.

    ``judged_anew``: summaries are not those stored, but all made by one version.

    Raises ResultsError when nothing of them can be compared.
    """
    entries = [_entries(one) for one in (a, b)]
    cells, unmatched = matched(*entries)
    if not cells:
        got = "; ".join(unmatched) or "nothing in common"
        raise ResultsError(Problem("nothing to compare", f"{a.name} and {b.name}", got, "runs of the same questions"))
    used = [[tuple(e for e in side if e.verdict != INVALID) for side in (cell.a, cell.b)] for cell in cells]
    problems = [
        Problem(
            "no usable run", f"{letter}, {cell.scheme}", f"{len(every)} INVALID run(s)", "runs that are not INVALID"
        )
        for cell, both in zip(cells, used, strict=True)
        for letter, every, left in (("A", cell.a, both[0]), ("B", cell.b, both[1]))
        if not left
    ]
    if problems:
        raise ResultsError(problems)
    kept = [Cell(cell.question, cell.scheme, *both) for cell, both in zip(cells, used, strict=True)]
    rows = _rows(kept, margin, only)
    if not any(row.p is not None for row in rows) and not _all_the_same(rows):
        got = "; ".join(sorted({_why_untested(row) for row in rows})) or "not measured in any run"
        expected = f"at least {LEAST_RUNS} runs of each, best of the same seeds"
        raise ResultsError(Problem("nothing can be tested", f"{a.name} and {b.name}", got, expected))
    sides = [
        Side(
            one.name,
            tuple(entry for both in used for entry in both[index]),
            tuple(e for cell in cells for e in (cell.a, cell.b)[index] if e.verdict == INVALID),
            one.others,
        )
        for index, one in enumerate((a, b))
    ]
    return Difference(sides[0], sides[1], different_settings(kept), rows, tuple(unmatched), alpha, margin, judged_anew)


def _all_the_same(rows: Sequence[Row]) -> bool:
    """Whether there are numbers, of runs enough on both sides to tell, and none of them differs."""
    return bool(rows) and all(row.is_constant and not _has_too_few(row.found) for row in rows)


def _has_too_few(found: Found) -> bool:
    return min(found.a_runs, found.b_runs) < LEAST_RUNS


def _why_untested(row: Row) -> str:
    """Return why a row has no p-value; of one or two runs to be alike says nothing."""
    found = row.found
    if row.is_constant and _has_too_few(found):
        return f"too few runs: {found.a_runs} and {found.b_runs}"
    return found.untested


def _entries(one: RunSet) -> list[Entry]:
    """Return the runs with their summaries. Raises ResultsError for runs of users' programs."""
    got, expected = "a run of gse exec", "runs of gse run; what a program did is in summary.json and links.csv"
    strangers = [run for run in one.runs if run.program is not None]
    if strangers:
        raise ResultsError([Problem("no workload to compare", str(run.path), got, expected) for run in strangers])
    return [Entry(run, run.summary or summarise(run)) for run in one.runs]


def _rows(cells: Sequence[Cell], margin: float | None, only: Sequence[str]) -> tuple[Row, ...]:
    """Return a row per cell and quantity any run has, p-values adjusted over all of them."""
    wanted = [one for one in COMPARED if not only or one.key in only]
    found = []
    for cell in cells:
        sides = [
            [Measured(entry.seed, {one.key: one.number(entry) for one in wanted}) for entry in side]
            for side in (cell.a, cell.b)
        ]
        for one in wanted:
            result = contrasted(sides[0], sides[1], one.key, is_count=one.is_count)
            if result is not None:
                found.append((cell, one, result))
    raw = [result.contrast.p_equal() for _, _, result in found if result.contrast is not None]
    adjusted = iter(holm(raw))
    return tuple(
        Row(
            cell.question,
            cell.scheme,
            one,
            result,
            None if result.contrast is None else next(adjusted),
            None if result.contrast is None or margin is None or one.is_count else result.contrast.p_beyond(margin),
            (len(cell.a), len(cell.b)),
        )
        for cell, one, result in found
    )
