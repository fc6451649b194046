"""Stored results as commands take them: folders of runs, of scenarios, of sweeps. Not a command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import Problem, ResultsError, printable
from testbed.results.disk import os_errors
from testbed.results.endings import DISTURBED
from testbed.results.listing import is_run, list_runs
from testbed.results.run import Run, load
from testbed.results.summary import judged_anew
from testbed.results.sweeps import FILE, load_sweep
from testbed.views.sweep import SweepResults, sweep_results


@dataclass(frozen=True)
class Stored:
    """What the paths lead to."""

    runs: list[Run]
    sweeps: list[SweepResults]


def load_stored(paths: list[Path], *, judge_anew: bool) -> Stored:
    """Load sweeps by their folders, and every finished run below the other paths.

    ``judge_anew``: with the summaries this version makes, not those stored. Raises ResultsError.
    """
    sweeps = [path for path in paths if _is_sweep(path)]
    others = [path for path in paths if path not in sweeps]
    runs = load_all(others, judge_anew=judge_anew) if others else []
    return Stored(runs, [sweep_results(load_sweep(path), judge_anew=judge_anew) for path in sweeps])


def _is_sweep(path: Path) -> bool:
    with os_errors("cannot look into", path):
        return (path / FILE).exists()


def load_all(paths: list[Path], *, judge_anew: bool = False) -> list[Run]:
    """Load every finished run below the paths, ``judge_anew`` as above. Raises ResultsError when there is none."""
    runs: list[Run] = []
    aside = [path for path in paths if path.name.endswith(DISTURBED)]
    for path in paths:
        if path in aside and len(aside) < len(paths):  # a pattern that means runs would count them twice
            print(printable(f"gse: {path} was made again and is left out; name it alone to see it"), file=sys.stderr)
        elif is_run(path):
            runs.append(load(path))
        else:
            runs += _runs_of(path)
    return [judged_anew(run) for run in runs] if judge_anew else runs


def _runs_of(folder: Path) -> list[Run]:
    """Load every finished run of a scenario's folder. Raises ResultsError when there is none."""
    if _is_sweep(folder):
        expected = f"folders of runs; 'gse sweep --again {folder}' draws the sweep"
        raise ResultsError(Problem("a sweep is no folder of runs", str(folder), FILE, expected))
    listing = list_runs(folder.parent, folder.name)
    if listing.finished:
        return [load(path) for path in listing.finished]
    below = [one.name for one in sorted(folder.glob("*/")) if list_runs(folder, one.name).finished]
    counts = f"{listing.partial} unfinished, {listing.failed} failed and {listing.disturbed} disturbed run(s)"
    raise ResultsError(
        Problem(
            "no finished run",
            str(folder),
            counts if folder.exists() else "no such folder",
            f"a folder of runs below it: {', '.join(below)}"
            if below
            else "a run folder or a folder of runs, e.g. results/allreduce_ring",
        )
    )
