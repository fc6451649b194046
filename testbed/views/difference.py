"""Two sets of stored runs: what was asked differently, what came out differently, and what of that is more than chance.

Statistics are ``testbed.inference``'s; which runs answer the same question is ``difference_cells``', what was asked of
them ``difference_settings``', which have no part ``difference_left_out``'s, which numbers are tested
``difference_rows``'. Here is what follows. How it looks is ``difference_table``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from testbed.errors import Problem, ResultsError
from testbed.inference.contrast import LEAST_RUNS
from testbed.inference.words import size_word
from testbed.results.sets import RunSet
from testbed.views.comparison import INVALID, entries_of
from testbed.views.difference_cells import Cell, matched
from testbed.views.difference_left_out import left_out, why_not_judged
from testbed.views.difference_rows import Row, rows_of
from testbed.views.difference_settings import Setting, different_settings
from testbed.views.difference_sides import Side

FORMAT_VERSION: Final = 2
Answer = Literal["different", "margin not shown", "not judged", "no significant difference", "within margin"]
# 2 as where there is nothing to compare: nobody knows, and a script that takes silence for a pass should stop.
EXIT_STATUS: Final[dict[Answer, int]] = {
    "different": 1,
    "margin not shown": 1,
    "not judged": 2,
    "no significant difference": 0,
    "within margin": 0,
}
PROBES_ELSEWHERE: Final = (
    "where senders ask for grants probes have queues of their own and pass the bulk, which waits at its source (see "
    "there); elsewhere they wait behind it: their latencies under the one and the other are not alike"
)


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Why the runs that are left of a question under a scheme cannot be called alike."""

    question: str
    scheme: str
    text: str


@dataclass(frozen=True)
class Difference:
    """What ``gse compare`` says. ``margin`` is None where equivalence was not asked for.

    ``unjudged``: where runs were left out whose results may be why nothing differs.
    """

    a: Side
    b: Side
    settings: tuple[Setting, ...]
    rows: tuple[Row, ...]
    unmatched: tuple[str, ...]
    alpha: float
    margin: float | None
    judged_anew: bool = False
    unjudged: tuple[Unjudged, ...] = ()

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

    def answer(self, *, allow_better: bool) -> Answer:
        """Return what all of it comes to: where runs are left out for their results, equality is no answer."""
        if self.counting(allow_better=allow_better):
            return "different"
        if self.margin is not None and not self.are_left_within(allow_better=allow_better):
            return "margin not shown"
        if self.unjudged:
            return "not judged"
        return "no significant difference" if self.margin is None else "within margin"

    def not_within(self, *, allow_better: bool) -> tuple[Row, ...]:
        """Return rows with a ratio, counts apart, not shown to be within the margin; what may be better if it is not.

        Better than chance explains is not worse by more than the margin: the claim keeps its error rate.
        """
        return tuple(
            row
            for row in self.tested
            if row.p_beyond is not None
            and not row.is_within(self.alpha)
            and not (allow_better and row.outcome(self.alpha) == "better")
        )

    def are_left_within(self, *, allow_better: bool) -> bool | None:
        """Return whether of the runs that are left every ratio looked at was shown to be within the margin.

        None: not asked for, or no ratio was tested, nor was any the same in every run. What was looked at and has no
        test is not shown.
        """
        if self.margin is None:
            return None
        ratios = [row for row in self.rows if not row.quantity.is_count]
        if all(row.is_open for row in ratios):
            return None
        return not self.not_within(allow_better=allow_better) and not self.untested

    def is_within_margin(self, *, allow_better: bool) -> bool | None:
        """Return the same of all runs: whether it is shown, so not where some were left out for their results."""
        left = self.are_left_within(allow_better=allow_better)
        return left if left is None else left and not self.unjudged

    @property
    def untested(self) -> tuple[Row, ...]:
        """Rows, counts apart, of which nothing is known: no claim is about them."""
        return tuple(row for row in self.rows if row.is_open and not row.quantity.is_count)

    def why_not_judged(self) -> tuple[str, ...]:
        """Return why no equality may be claimed; which scheme that is about where there are several."""
        several = len({(row.question, row.scheme) for row in self.rows}) > 1
        return tuple(
            f"{one.scheme}{f' with {one.question}' if one.question else ''}: {one.text}" if several else one.text
            for one in self.unjudged
        )

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
        if any(row.is_of_other_probes for row in self.rows):
            yield PROBES_ELSEWHERE
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
        answer = self.answer(allow_better=allow_better)
        return {
            "format_version": FORMAT_VERSION,
            "answer": answer,
            "exit_status": EXIT_STATUS[answer],
            "alpha": self.alpha,
            "margin": self.margin,
            "a": self.a.document(),
            "b": self.b.document(),
            "settings": [asdict(setting) for setting in self.settings],
            "results": [self._row_document(row) for row in self.rows],
            "tested": len(self.tested),
            "significant": len(self.significant),
            "counting": len(self.counting(allow_better=allow_better)),
            "within_margin": self.is_within_margin(allow_better=allow_better),
            "not_judged": list(self.why_not_judged()),
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
            "untested": row.why_untested or None,
            "told_by": None if row.told_by is None else row.told_by.key,
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
    entries = [entries_of(one.runs) for one in (a, b)]
    cells, unmatched = matched(*entries)
    if not cells:
        got = "; ".join(unmatched) or "nothing in common"
        raise ResultsError(Problem("nothing to compare", f"{a.name} and {b.name}", got, "runs of the same questions"))
    kept = _without_invalid(cells)
    lacking = [left_out(cell, a, b) for cell in cells]
    unjudged = tuple(
        Unjudged(cell.question, cell.scheme, text)
        for cell, both in zip(cells, lacking, strict=True)
        for text in why_not_judged(*both)
    )
    rows = rows_of(kept, margin=margin, only=only, unjudged={(one.question, one.scheme) for one in unjudged})
    if not any(row.p is not None for row in rows) and not _all_the_same(rows):
        got = "; ".join(sorted({row.why_untested for row in rows})) or "not measured in any run"
        expected = f"at least {LEAST_RUNS} runs of each, best of the same seeds"
        raise ResultsError(Problem("nothing can be tested", f"{a.name} and {b.name}", got, expected))
    sides = [
        Side(
            one.name,
            tuple(entry for cell in kept for entry in (cell.a, cell.b)[index]),
            tuple(e for both in lacking for e in both[index].invalid),
            one.others,
            tuple(run for both in lacking for run in both[index].failed),
        )
        for index, one in enumerate((a, b))
    ]
    return Difference(
        a=sides[0],
        b=sides[1],
        settings=different_settings(kept),
        rows=rows,
        unmatched=tuple(unmatched),
        alpha=alpha,
        margin=margin,
        judged_anew=judged_anew,
        unjudged=unjudged,
    )


def _without_invalid(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with the runs that are used. Raises ResultsError where that is none."""
    kept = [
        Cell(cell.question, cell.scheme, *(tuple(e for e in side if e.verdict != INVALID) for side in (cell.a, cell.b)))
        for cell in cells
    ]
    problems = [
        Problem(
            "no usable run", f"{letter}, {cell.scheme}", f"{len(every)} INVALID run(s)", "runs that are not INVALID"
        )
        for cell, left in zip(cells, kept, strict=True)
        for letter, every, used in (("A", cell.a, left.a), ("B", cell.b, left.b))
        if not used
    ]
    if problems:
        raise ResultsError(problems)
    return kept


def _all_the_same(rows: Sequence[Row]) -> bool:
    """Whether there are numbers, of runs enough on both sides to tell, and none of them differs."""
    return bool(rows) and all(row.is_constant and not row.has_too_few for row in rows)
