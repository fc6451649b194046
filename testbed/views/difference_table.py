"""A difference between two sets of runs as text for the terminal: settings, results, and what follows in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from testbed.errors import printable
from testbed.inference.words import SIZES_TEXT, change_text, changes_text, size_word
from testbed.views.cells import NOT_MEASURED, Grid
from testbed.views.difference import Difference, Row
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
    if contrast is None or row.p is None:
        return (row.quantity.label, *means, *[NOT_MEASURED] * 3, _meaning(row, found))
    low, high = contrast.interval()
    ratio, low_text, high_text = changes_text(contrast.ratio, low, high)
    interval = f"{low_text}..{high_text}"
    return (row.quantity.label, *means, ratio, interval, _p_text(row.p), _meaning(row, found))


def _meaning(row: Row, found: Difference) -> str:
    """Return a row's outcome in words, with the size of the effect."""
    outcome = row.outcome(found.alpha)
    if outcome == "not tested":
        return row.found.untested
    assert row.found.contrast is not None
    within = row.is_within(found.alpha) and found.margin is not None
    said = f"shown within {found.margin:.3g}" if within and found.margin is not None else ""
    if outcome in ("better", "worse"):
        word = f"{outcome.upper()}, {size_word(row.found.contrast.ratio)}"
        return f"{word}, but {said}" if said else word
    return said if said else "not significant"


def conclusion(found: Difference, *, allow_better: bool) -> Iterator[str]:
    """Yield what follows, in sentences; the first is the answer."""
    tested, rate = len(found.tested), f"{found.alpha:.3g}"
    family = f"{tested} quantit{'y' if tested == 1 else 'ies'} tested, family-wise error rate {rate} (Holm)"
    counting = found.counting(allow_better=allow_better)
    if counting:
        yield f"DIFFERENT in {len(counting)} of {family}: {_named(counting, found)}"
    else:
        yield f"no significant difference in {family}"
    if found.unmatched:
        more = f"; and {len(found.unmatched) - MOST_NAMED} more" if len(found.unmatched) > MOST_NAMED else ""
        yield f"NOT compared: {'; '.join(found.unmatched[:MOST_NAMED])}{more}"
    passed = [row for row in found.significant if row not in counting]
    if passed:
        why = "better, which is allowed, or shown to be within the margin" if allow_better else "within the margin"
        yield f"not counted: {_named(passed, found)} ({why})"
    if found.margin is not None:
        yield from _equivalence(found, found.margin)
    elif not counting:
        yield "that is no evidence of equality: the intervals say what may still be there; --margin 0.02 asks for it"


def _equivalence(found: Difference, margin: float) -> Iterator[str]:
    claim = (
        f"no ratio differs by more than {margin:.3g} (two one-sided tests, error rate {found.alpha:.3g}; counts apart)"
    )
    missing = found.not_within
    if found.is_within_margin is None:
        yield f"nothing can be said of the margin {margin:.3g}: no ratio was tested"
    elif not missing:
        silent = f"; not tested: {_named(found.untested, found)}" if found.untested else ""
        yield f"shown: {claim}{silent}"
    else:
        yield f"NOT shown: that {claim}; missing: {_named(missing, found)}"


def _named(rows: Sequence[Row], found: Difference) -> str:
    """Return rows by name with their change, or why there is none; their scheme only where there are several."""
    several = len({(row.question, row.scheme) for row in found.rows}) > 1
    names = [
        f"{f'{row.scheme} ' if several else ''}{row.quantity.label.strip()} {_change(row)}" for row in rows[:MOST_NAMED]
    ]
    return "; ".join(names) + (f"; and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else "")


def _change(row: Row) -> str:
    return f"({row.found.untested})" if row.found.contrast is None else change_text(row.found.contrast.ratio)


def _notes(found: Difference) -> Iterator[str]:
    yield "A, B: means over runs; B/A: geometric mean over pairs of the same seed, with its own interval, not adjusted"
    if any(row.quantity.is_count and row.p is not None for row in found.rows):
        yield "counts: B/A of counts plus one, never taken to be steadier than chance makes them (Poisson)"
    yield f"size of a change: {SIZES_TEXT}"
    yield from (printable(note) for note in found.notes())


def _mean(value: float | None, row: Row) -> str:
    if value is None:
        return NOT_MEASURED
    return f"{value:.1f}" if row.quantity.is_count else f"{value:.4g}"


def _p_text(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= MOST_SETTING_CHARACTERS else text[: MOST_SETTING_CHARACTERS - 3] + "..."
