"""Which runs of two sets answer the same question, and are therefore compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from testbed.model.question import question_of
from testbed.results.run import Run
from testbed.results.sets import flatten
from testbed.views.comparison import Entry


@dataclass(frozen=True)
class Cell:
    """Runs of A and of B that answer the same question under the schemes compared."""

    question: str
    scheme: str
    a: tuple[Entry, ...]
    b: tuple[Entry, ...]


def matched(a: Sequence[Entry], b: Sequence[Entry]) -> tuple[list[Cell], list[str]]:
    """Return the cells both sets have, and in words what only one of them has.

    What varies within a set (the field of a sweep, several scenarios) tells its questions apart; what differs only
    between the sets is what is compared.
    """
    fields = {id(entry.run): question_fields(entry.run) for entry in (*a, *b)}
    varying = sorted(_varying([fields[id(entry.run)] for entry in a]) | _varying([fields[id(e.run)] for e in b]))

    def grouped(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
        groups: dict[str, list[Entry]] = {}
        for entry in entries:
            own = fields[id(entry.run)]
            groups.setdefault(json.dumps([own.get(name) for name in varying]), []).append(entry)
        return groups

    ours, theirs = grouped(a), grouped(b)
    cells: list[Cell] = []
    words: list[str] = []
    for key in dict.fromkeys((*ours, *theirs)):
        values = [f"{name}={value}" for name, value in zip(varying, json.loads(key), strict=True)]
        question = ", ".join(values[:3]) + (", ..." if len(values) > 3 else "")
        if key not in ours or key not in theirs:
            letter, other = ("A", "B") if key in ours else ("B", "A")
            words.append(f"only in {letter}: {question or 'all of it'}; {other} has no such runs")
            continue
        more, unmatched = _by_scheme(question, ours[key], theirs[key])
        cells += more
        words += unmatched
    return cells, words


def _by_scheme(question: str, a: Sequence[Entry], b: Sequence[Entry]) -> tuple[list[Cell], list[str]]:
    """Return a cell per scheme; two sets of one scheme each are compared even where the schemes differ."""
    order = dict.fromkeys(entry.scheme for entry in (*a, *b))
    ours, theirs = ({name: tuple(e for e in side if e.scheme == name) for name in order} for side in (a, b))
    alone = [[name for name in order if side[name]] for side in (ours, theirs)]
    if len(alone[0]) == len(alone[1]) == 1 and alone[0] != alone[1]:
        (first,), (second,) = alone
        return [Cell(question, f"{first} -> {second}", ours[first], theirs[second])], []
    both = [name for name in order if ours[name] and theirs[name]]
    words = [
        f"only in {'A' if ours[name] else 'B'}: {name}{' with ' + question if question else ''}"
        for name in order
        if name not in both
    ]
    return [Cell(question, name, ours[name], theirs[name]) for name in both], words


def question_fields(run: Run) -> dict[str, Any]:
    """Return the scenario's fields as dotted names, without words, schemes and seeds."""
    return flatten(question_of(run.scenario))


def _varying(found: Sequence[dict[str, Any]]) -> set[str]:
    """Return the names that do not have the same value everywhere."""
    names = {name for one in found for name in one}
    return {name for name in names if len({json.dumps(one.get(name)) for one in found}) > 1}
