"""What was asked differently in two sets of runs, and with what: settings, versions, machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from testbed.results.run import Run
from testbed.results.sets import flatten
from testbed.views.difference_cells import Cell, question_fields

# What of the machine and the versions is different at every run, and says nothing.
VOLATILE: Final = frozenset(
    {
        *("machine.memory_available_bytes", "machine.results_dir", "machine.results_free_bytes", "machine.uid"),
        *("machine.processes_available", "machine.open_files", "machine.ceiling_crossings_per_s"),
        *("machine.capsule_tried", "machine.kernel", "machine.python"),  # the last two are among the versions
    }
)


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that is not the same in both sets: value -> in how many runs, as texts."""

    name: str
    a: str
    b: str


def different_settings(cells: Sequence[Cell]) -> tuple[Setting, ...]:
    """Return what differs between the sets, over the runs that are compared."""
    sides = [[entry.run for cell in cells for entry in (cell.a, cell.b)[index]] for index in (0, 1)]
    counts = [_counted(runs) for runs in sides]
    names = dict.fromkeys(name for one in counts for name in one)
    settings = []
    for name in names:
        a, b = (one.get(name, Counter()) for one in counts)
        if set(a) != set(b):
            settings.append(Setting(name, _values_text(a), _values_text(b)))
    return tuple(settings)


def _counted(runs: Sequence[Run]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for run in runs:
        for name, value in _settings_of(run).items():
            found.setdefault(name, Counter())[value] += 1
    return found


def _settings_of(run: Run) -> dict[str, str]:
    manifest = run.manifest
    named = {
        "scheme": run.scheme,
        **question_fields(run),
        **flatten(manifest["versions"], "versions"),
        **flatten(manifest.get("machine") or {}, "machine"),
        **flatten(manifest["network"], "network"),
    }
    left = {
        name: value for name, value in named.items() if name not in VOLATILE and not name.startswith("machine.tools")
    }
    return {name: "none" if value is None else str(value) for name, value in left.items()}


def _values_text(counts: Counter[str]) -> str:
    """Return ``10.0``, or ``10.0 (3 runs), 9.5 (1 run)`` where a set has several values."""
    if len(counts) <= 1:
        return next(iter(counts), "not there")
    return ", ".join(f"{value} ({number} run{'s' if number > 1 else ''})" for value, number in counts.most_common(3))
