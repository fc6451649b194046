"""Which runs have no part in a comparison, and whether what the others say may then be called equality.

A run that is INVALID for what it was itself, slow or wrong, is left out for its result, as is one whose workload
failed: the others flatter whoever made it, however many of them agree. A run that is left out because the machine
failed says nothing by itself; but where one side loses more of its runs than the other, it may be what was measured
that overloads the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from testbed.errors import printable
from testbed.fidelity import SLOW, THRESHOLDS, WRONG
from testbed.results.listing import FailedRun
from testbed.results.sets import RunSet
from testbed.views.comparison import INVALID, Entry
from testbed.views.difference_cells import Cell

MOST_NAMES: Final = 4
MOST_NAME_CHARACTERS: Final = 40
MOST_REASON_CHARACTERS: Final = 120
Kind = Literal["slow", "wrong", "unknown", "machine"]
NOT_KNOWN: Final = "for reasons this version does not know"
# For that alone; or perhaps for something else, and that as well.
WORDS: Final[dict[Kind, tuple[str, str]]] = {
    "slow": ("for being slow", "and slow"),
    "wrong": ("for being wrong", "and wrong"),
    "unknown": (NOT_KNOWN, NOT_KNOWN),
}


@dataclass(frozen=True)
class LeftOut:
    """The runs of one side of a cell that are not compared, and how many runs that side has altogether.

    ``failed``: runs of the same question that came to no end and were not made again, and every one whose workload
    failed.
    """

    letter: str
    runs: int
    invalid: tuple[Entry, ...]
    failed: tuple[FailedRun, ...]

    @property
    def number(self) -> int:
        """How many they are."""
        return len(self.invalid) + len(self.failed)

    def for_their_results(self) -> Iterator[str]:
        """Yield how many were left out for what they were themselves, or may have been."""
        by_kind: dict[Kind, list[Entry]] = {}
        for entry in self.invalid:
            by_kind.setdefault(kind_of(entry), []).append(entry)
        for kind, (alone, as_well) in WORDS.items():
            if own := by_kind.get(kind):
                names = {name for entry in own for name in causes(entry)}
                word = alone if names <= (SLOW if kind == "slow" else WRONG) else as_well
                verb = "is" if len(own) == 1 else "are"
                yield f"{len(own)} of {self.runs} runs of {self.letter} {verb} INVALID {word}{_named(names)}, left out"
        if ended := [one for one in self.failed if one.verdict == INVALID]:
            why = printable(next(iter(ended[0].error.splitlines()), "")[:MOST_REASON_CHARACTERS])
            why = f" ({why})" if why else ""
            yield f"the workload of {len(ended)} of {self.runs} runs of {self.letter} failed{why}"


def causes(entry: Entry) -> frozenset[str]:
    """Return the checks that may have made a run INVALID: those it tripped that can, and those nobody knows any more.

    A summary does not say which of them did: one that was only doubted for being slow, and INVALID for something else,
    was slow all the same.
    """
    names = entry.summary.get("checks")
    told = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return frozenset(name for name in told if name not in THRESHOLDS or THRESHOLDS[name].invalid is not None)


def kind_of(entry: Entry) -> Kind:
    """Return what an INVALID run is INVALID for, the worst for what may be said of the others first."""
    found = causes(entry)
    if found & SLOW:
        return "slow"
    if found & WRONG:
        return "wrong"
    return "machine" if found and found <= THRESHOLDS.keys() else "unknown"


def left_out(cell: Cell, a: RunSet, b: RunSet) -> tuple[LeftOut, LeftOut]:
    """Return which runs of both sides of a cell (INVALID ones in it) are not compared."""
    ours, theirs = (
        LeftOut(letter, len(side) + len(failed), tuple(one for one in side if one.verdict == INVALID), failed)
        for letter, side, failed in (("A", cell.a, _failed(cell.a, a)), ("B", cell.b, _failed(cell.b, b)))
    )
    return ours, theirs


def _failed(side: Sequence[Entry], one: RunSet) -> tuple[FailedRun, ...]:
    """Return the failed runs of a set that were to answer what these did; those made again only if it was the workload.

    A workload that failed is a result, whatever came of trying again.
    """
    if not one.failed:
        return ()
    asked = {(entry.run.scenario_hash, entry.scheme) for entry in side}
    made = {(entry.run.scenario_hash, entry.scheme, entry.seed) for entry in side}
    return tuple(
        run
        for run in one.failed
        if (run.scenario_hash, run.scheme) in asked
        and (run.verdict == INVALID or (run.scenario_hash, run.scheme, run.seed) not in made)
    )


def why_not_judged(a: LeftOut, b: LeftOut) -> list[str]:
    """Return why the runs that are left cannot show that both sides are alike; nothing where they can."""
    results = [*a.for_their_results(), *b.for_their_results()]
    if results or a.number * b.runs == b.number * a.runs:
        return results
    names = _named({name for side in (a, b) for entry in side.invalid for name in causes(entry)})
    shares = " and ".join(f"{side.number} of {side.runs} runs of {side.letter}" for side in (a, b))
    return [f"{shares} are INVALID or FAILED{names}, left out"]


def _named(names: set[str]) -> str:
    """Return names of checks in brackets, those that judge results first; nothing for none."""
    order = sorted(names, key=lambda name: (name not in SLOW, name not in WRONG, name))
    shown = [printable(name[:MOST_NAME_CHARACTERS]) for name in order[:MOST_NAMES]]
    return f" ({', '.join([*shown, *(['...'] if len(order) > MOST_NAMES else [])])})" if shown else ""
