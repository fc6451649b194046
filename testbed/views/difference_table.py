"""A difference between two sets of runs as text for the terminal: settings, results, and what follows in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from testbed.errors import printable
from testbed.inference.words import SIZES_TEXT, change_text, changes_text, p_text, size_word
from testbed.views.cells import NOT_MEASURED, Grid
from testbed.views.difference import Difference
from testbed.views.difference_rows import Row
from testbed.views.difference_sides import emulated, heading
from testbed.views.tables import rendered

MOST_SETTING_CHARACTERS: Final = 60
MOST_NAMED: Final = 4


def difference_table(found: Difference, *, allow_better: bool) -> RenderableType:
    """Return everything there is to say."""
    head = [f"A  {heading(found.a)}", f"B  {heading(found.b)}", emulated(found.a)]
    same = () if found.settings else ("settings, versions, machine: no difference", "")
    settings = [setting_grid(found)] if found.settings else []
    return Group(
        *(Text(printable(line)) for line in (*head, "", *same)),
        rendered([*settings, *result_grids(found)]),
        *(Text(printable(note), style="dim") for note in _notes(found)),
        Text(""),
        *(Text(printable(line), style="bold") for line in conclusion(found, allow_better=allow_better)),
    )


def setting_grid(found: Difference) -> Grid:
    """Return what is not the same in both sets."""
    rows = tuple(tuple(_cut(text) for text in (one.name, one.a, one.b)) for one in found.settings)
    return Grid("settings", ("different", "A", "B"), rows, (), labels=3)


def result_grids(found: Difference) -> Iterator[Grid]:
    """Yield the results of each question and scheme."""
    for cell in dict.fromkeys((row.question, row.scheme) for row in found.rows):
        yield Grid(
            printable(", ".join(part for part in ("results", *reversed(cell)) if part)),
            ("", "A", "B", "B/A", "95% interval", "p (Holm)", "in words"),
            tuple(_cells(row, found) for row in found.rows if (row.question, row.scheme) == cell),
            (),
        )


def _cells(row: Row, found: Difference) -> tuple[str, ...]:
    result, contrast = row.found, row.found.contrast
    means = (_mean(result.a_mean, row), _mean(result.b_mean, row))
    if contrast is None:
        return (row.quantity.label, *means, *[NOT_MEASURED] * 3, _meaning(row, found))
    low, high = contrast.interval()
    ratio, low_text, high_text = changes_text(contrast.ratio, low, high)
    p = NOT_MEASURED if row.p is None else p_text(row.p)
    return (row.quantity.label, *means, ratio, f"{low_text}..{high_text}", p, _meaning(row, found))


def _meaning(row: Row, found: Difference) -> str:
    """Return a row's outcome in words, with the size of the effect."""
    outcome = row.outcome(found.alpha)
    if outcome == "not tested":
        return row.why_untested
    assert row.found.contrast is not None
    said = ""
    if row.is_within(found.alpha) and found.margin is not None:
        within = f"within {found.margin:.3g}"
        said = f"shown {within}" if row.is_judged else f"not judged, those left {within}"
    if outcome in ("better", "worse"):
        word = f"{outcome.upper()}, {size_word(row.found.contrast.ratio)}"
        return f"{word}, but {said}" if said else word
    return said if said else "not significant"


def conclusion(found: Difference, *, allow_better: bool) -> Iterator[str]:
    """Yield what follows, in sentences; the first is the answer."""
    tested, rate = len(found.tested), f"{found.alpha:.3g}"
    family = f"{tested} quantit{'y' if tested == 1 else 'ies'} tested, family-wise error rate {rate} (Holm)"
    counting = found.counting(allow_better=allow_better)
    unjudged = _first(found.why_not_judged())
    if counting:
        yield f"DIFFERENT in {len(counting)} of {family}: {_named(counting, found)}"
        if unjudged:
            yield f"of the runs that are left; how different all of them are is not judged: {unjudged}"
    elif unjudged:
        yield f"not judged: {unjudged}"
        yield f"of the runs that are left nothing is significant in {family}; those left out may be why"
    else:
        yield f"no significant difference in {family}"
    if found.unmatched:
        yield f"NOT compared: {_first(found.unmatched)}"
    passed = [row for row in found.significant if row not in counting]
    if passed:
        why = "better, which is allowed, or shown to be within the margin" if allow_better else "within the margin"
        yield f"not counted: {_named(passed, found)} ({why})"
    if found.margin is not None:
        yield from _equivalence(found, found.margin, allow_better=allow_better)
    elif not counting and not unjudged:
        yield "that is no evidence of equality: the intervals say what may still be there; --margin 0.02 asks for it"


def _equivalence(found: Difference, margin: float, *, allow_better: bool) -> Iterator[str]:
    """Yield whether it is shown that all is within the margin, and if not, what is missing."""
    apart = "counts and what is better apart" if allow_better else "counts apart"
    claim = f"no ratio differs by more than {margin:.3g} (two one-sided tests, error rate {found.alpha:.3g}; {apart})"
    is_shown = found.is_within_margin(allow_better=allow_better)
    if is_shown is None:
        yield f"nothing can be said of the margin {margin:.3g}: no ratio was tested"
    elif is_shown:
        yield f"shown: {claim}"
    else:
        missing, untested = found.not_within(allow_better=allow_better), found.untested
        why = [
            *([f"missing: {_named(missing, found)}"] if missing else []),
            *([f"not tested: {_named(untested, found)}"] if untested else []),
            *(["of the runs that are left only"] if found.unjudged else []),
        ]
        yield f"NOT shown: that {'; '.join([claim, *why])}"


def _first(texts: Sequence[str]) -> str:
    """Return several sentences in a line, the first of them if they are many."""
    more = [f"and {len(texts) - MOST_NAMED} more"] if len(texts) > MOST_NAMED else []
    return "; ".join([*texts[:MOST_NAMED], *more])


def _named(rows: Sequence[Row], found: Difference) -> str:
    """Return rows by name with their change, or why there is none; their scheme only where there are several."""
    several = len({(row.question, row.scheme) for row in found.rows}) > 1
    names = [
        f"{f'{row.scheme} ' if several else ''}{row.quantity.label.strip()} {_change(row)}" for row in rows[:MOST_NAMED]
    ]
    return "; ".join(names) + (f"; and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else "")


def _change(row: Row) -> str:
    return f"({row.why_untested})" if row.found.contrast is None else change_text(row.found.contrast.ratio)


def _notes(found: Difference) -> Iterator[str]:
    yield f"A, B: means over runs; B/A: {_ratio_words(found)}, with its own interval, not adjusted"
    if any(row.quantity.is_count and row.p is not None for row in found.rows):
        yield "counts: B/A of counts plus one, never taken to be steadier than chance makes them (Poisson)"
    yield f"size of a change: {SIZES_TEXT}"
    yield from (printable(note) for note in found.notes())


def _ratio_words(found: Difference) -> str:
    """Return what B/A is: of pairs, of sets that have none, or of some rows this and of others that."""
    kinds = {row.found.contrast.is_paired for row in found.rows if row.found.contrast is not None}
    pairs, sets = "geometric mean over pairs of the same seed", "ratio of the sets' geometric means"
    if kinds == {False}:
        return sets
    return f"{pairs}, without pairs enough {sets}" if False in kinds else pairs


def _mean(value: float | None, row: Row) -> str:
    if value is None:
        return NOT_MEASURED
    return f"{value:.1f}" if row.quantity.is_count else f"{value:.4g}"


def _cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= MOST_SETTING_CHARACTERS else text[: MOST_SETTING_CHARACTERS - 3] + "..."
