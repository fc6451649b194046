"""One number of two sets of runs: compared, tested where that means something, and if not, why not.

Not tested is what only seems to be one number: counts over other numbers of iterations, latencies of probes that pass
the bulk and of such that do not. Nor is the same thing tested twice, for every test more makes all others blunter.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from testbed.inference.contrast import LEAST_RUNS, holm
from testbed.inference.pairing import NOTHING_TO_TEST, Found, Measured, contrasted
from testbed.views.difference_cells import Cell
from testbed.views.quantities import COMPARED, PROBES_PASS, PROBES_SHARE, Quantity

Outcome = Literal["better", "worse", "within margin", "undecided", "not tested"]


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity under one scheme. ``p`` is adjusted for the number of all tested rows; None when not tested.

    ``usable``: how many runs of A and of B there are, with that number or without. ``told_by``: the quantity whose
    test this row's would be once more. ``is_judged``: no run was left out that may have told against equality.
    """

    question: str
    scheme: str
    quantity: Quantity
    found: Found
    p: float | None
    p_beyond: float | None
    usable: tuple[int, int]
    told_by: Quantity | None = None
    is_judged: bool = True

    def outcome(self, alpha: float) -> Outcome:
        """Return what is to be said of it with this error rate."""
        contrast = self.found.contrast
        if contrast is None or self.p is None:
            return "not tested"
        if self.p <= alpha:
            return "better" if (contrast.ratio > 1) == self.quantity.more_is_better else "worse"
        return "within margin" if self.is_judged and self.is_within(alpha) else "undecided"

    def is_within(self, alpha: float) -> bool:
        """Return whether it was shown that the ratio is within the margin, of these runs; False without a margin."""
        return self.p_beyond is not None and self.p_beyond <= alpha

    @property
    def is_constant(self) -> bool:
        """Whether all runs of both sets have the same number."""
        return self.found.untested == NOTHING_TO_TEST

    @property
    def has_too_few(self) -> bool:
        """Whether there are so few runs with that number that even to be alike says nothing."""
        return min(self.found.a_runs, self.found.b_runs) < LEAST_RUNS

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of it: no test, not by another row either, and not the same in runs enough."""
        return self.p is None and self.told_by is None and (not self.is_constant or self.has_too_few)

    @property
    def why_untested(self) -> str:
        """Why there is no test; empty where there is one."""
        if self.told_by is not None:
            return f"told by {name_of(self.told_by)}"
        if self.is_constant and self.has_too_few:
            return f"too few runs: {self.found.a_runs} and {self.found.b_runs}"
        return self.found.untested

    @property
    def is_of_other_probes(self) -> bool:
        """Whether it is not tested because probes wait elsewhere on one side than on the other."""
        return PROBES_PASS in self.found.untested and PROBES_SHARE in self.found.untested


def name_of(quantity: Quantity) -> str:
    """Return what a quantity is called in a sentence: ``completion time``."""
    return quantity.label.strip().partition(",")[0]


def rows_of(
    cells: Sequence[Cell], *, margin: float | None, only: Sequence[str], unjudged: Container[tuple[str, str]]
) -> tuple[Row, ...]:
    """Return a row per cell and quantity any run has, p-values adjusted over all that are tested.

    ``only``: keys of quantities, all of them when empty; ``unjudged``: (question, scheme) of cells.
    """
    wanted = [one for one in COMPARED if not only or one.key in only]
    found = [(cell, *one) for cell in cells for one in _compared(cell, wanted)]
    tests = [None if told_by is not None else result.contrast for _, _, result, told_by in found]
    adjusted = iter(holm([test.p_equal() for test in tests if test is not None]))
    return tuple(
        Row(
            cell.question,
            cell.scheme,
            one,
            result,
            None if test is None else next(adjusted),
            None if test is None or margin is None or one.is_count else test.p_beyond(margin),
            (len(cell.a), len(cell.b)),
            told_by,
            (cell.question, cell.scheme) not in unjudged,
        )
        for (cell, one, result, told_by), test in zip(found, tests, strict=True)
    )


def _compared(cell: Cell, wanted: Sequence[Quantity]) -> list[tuple[Quantity, Found, Quantity | None]]:
    """Return of each quantity that any run has how the sides contrast, and which other one has its test."""
    sides = [
        [Measured(entry.seed, {one.key: one.number(entry) for one in wanted}) for entry in side]
        for side in (cell.a, cell.b)
    ]
    results = [(one, contrasted(sides[0], sides[1], one.key, is_count=one.is_count)) for one in wanted]
    found = {one.key: (one, _if_alike(cell, one, result)) for one, result in results if result is not None}
    return [(one, result, _teller(result, found.get(one.told_by or ""))) for one, result in found.values()]


def _teller(result: Found, other: tuple[Quantity, Found] | None) -> Quantity | None:
    """Return the other quantity if its test says what this one's would: its ratio is this one, or its inverse."""
    if other is None or result.contrast is None or other[1].contrast is None:
        return None
    return other[0] if result.contrast.says_the_same(other[1].contrast) else None


def _if_alike(cell: Cell, one: Quantity, found: Found) -> Found:
    """Return what was found, without a test where the sides' numbers are of different things.

    Nothing at all (no packet was dropped) is the same over however many iterations.
    """
    if not found.a_runs or not found.b_runs or not (found.a_mean or found.b_mean):
        return found
    ours, theirs = (sorted({one.basis(entry) for entry in side}) for side in (cell.a, cell.b))
    if len(ours) == 1 and ours == theirs:
        return found
    return replace(found, contrast=None, untested=f"not alike: {' or '.join(ours)} in A, {' or '.join(theirs)} in B")
