"""A set of stored runs as people name it: runs, scenarios' folders and sweeps, joined with ``+``, narrowed with ``@``.

``results/allreduce_ring@scheme=gse1`` are the runs of one scheme, ``@commit=ab12`` those of one commit (its first
digits), ``@fabric.link_rate_mbps=9.5`` those with one value of a scenario's field; several conditions with ``,``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from testbed.errors import Problem, ResultsError, ScenarioError
from testbed.model.scenario import MAX_SEED
from testbed.model.scenario_input import override
from testbed.model.yaml_input import parse_settings
from testbed.results.disk import os_errors
from testbed.results.endings import FAILED
from testbed.results.listing import FailedRun, RunListing, failed_runs, is_run, list_runs, load_failed
from testbed.results.run import Run, load
from testbed.results.sweeps import FILE as SWEEP_FILE
from testbed.results.sweeps import load_sweep

JOIN: Final = "+"
NARROW: Final = "@"
MOST_DIGITS: Final = 20  # of a seed: more than any has, fewer than Python refuses to read


@dataclass(frozen=True)
class RunSet:
    """Finished runs, oldest first, under the name they were asked for by; ``others``: what was found beside them.

    ``failed``: those of the others that came to no end, as far as they tell what they were to answer.
    """

    name: str
    runs: tuple[Run, ...]
    others: tuple[str, ...] = ()
    failed: tuple[FailedRun, ...] = ()


class _Found(NamedTuple):
    """What is at a path: finished runs, failed ones, and in words what is not looked at."""

    finished: list[Path]
    failed: list[FailedRun]
    beside: list[str]


def load_set(text: str) -> RunSet:
    """Load the runs ``text`` names. Raises ResultsError when there are none, or one cannot be read."""
    runs: dict[Path, Run] = {}
    failed: dict[Path, FailedRun] = {}
    others: list[str] = []
    for path, conditions in _parts(text):
        found = _found(path)
        others += found.beside
        loaded = [load(one) for one in found.finished]
        runs |= {run.path.resolve(): run for run in _narrowed(loaded, conditions, text)}
        failed |= {one.path.resolve(): one for one in found.failed if _meets_all(one.run, conditions, text)}
    return RunSet(
        text,
        tuple(sorted(runs.values(), key=lambda run: run.path.name)),
        tuple(others),
        tuple(sorted(failed.values(), key=lambda one: one.path.name)),
    )


def _parts(text: str) -> Iterator[tuple[Path, str]]:
    """Yield (path, conditions) of each joined part; a path that is there is taken whole, whatever is in its name."""
    # os.path: of many joined parts the whole is too long for a path, which is no error of any of them
    for part in [text] if os.path.exists(text) else text.split(JOIN):
        path, _, conditions = (part, "", "") if os.path.exists(part) else part.rpartition(NARROW)
        yield Path(path or conditions), conditions if path else ""


def _found(path: Path) -> _Found:
    """Return the finished runs at a path and what there is beside them. Raises ResultsError for none."""
    if is_run(path):
        return _Found([path], [], [])
    if (path / SWEEP_FILE).exists():
        sweep = load_sweep(path)
        made = [one for one in sweep.runs if one.name is not None and one.error is None]
        missing = len(sweep.runs) - len(made)
        beside = [f"{path}: {missing} of the sweep's runs failed or were not made"] if missing else []
        finished = [sweep.runs_dir / str(one.name) for one in made if not str(one.name).endswith(FAILED)]
        ended = (sweep.runs_dir / one.name for one in sweep.runs if one.name is not None and one.name.endswith(FAILED))
        return _Found(finished, [run for one in ended if (run := load_failed(one)) is not None], beside)
    folder = path.absolute()
    listings = {folder: list_runs(folder.parent, folder.name)}
    if not listings[folder].finished:
        with os_errors("cannot look into", folder):
            below = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
        listings |= {one: list_runs(folder, one.name) for one in below}
    found = [_as_given(one, folder, path) for listing in listings.values() for one in listing.finished]
    if not found:
        expected = "a run, a folder of runs, a folder of such folders, or a sweep"
        got = _beside(listings.values()) or "none" if folder.exists() else "no such folder"
        raise ResultsError(Problem("no finished run", str(path), got, expected))
    said = _beside(listings.values())
    failed = [run for one, listing in listings.items() if listing.failed for run in failed_runs(one)]
    return _Found(found, failed, [f"{path}: {said} not looked at"] if said else [])


def _as_given(run: Path, folder: Path, given: Path) -> Path:
    return given / run.relative_to(folder)


def _beside(listings: Iterable[RunListing]) -> str:
    """Return how many runs are not finished ones, empty where there are none."""
    counts = {"unfinished": 0, "failed": 0, "disturbed": 0}
    for one in listings:
        counts["unfinished"] += one.partial
        counts["failed"] += one.failed
        counts["disturbed"] += one.disturbed
    return ", ".join(f"{number} {what} run(s)" for what, number in counts.items() if number)


def _narrowed(runs: Sequence[Run], conditions: str, where: str) -> list[Run]:
    """Return the runs that meet every condition. Raises ResultsError for one that is wrong, or that none meets."""
    left = list(runs)
    for condition in conditions.split(",") if conditions else ():
        name, equals, value = condition.partition("=")
        if not equals or not name or not value:
            expected = "scheme=, seed=, commit= or a scenario's field=, e.g. @scheme=gse1,seed=3"
            raise ResultsError(Problem("not a condition", where, repr(condition)[:80], expected))
        met = [run for run in left if _meets(run, name, value, where)]
        if not met:
            raise ResultsError(Problem(f"no run with {condition[:80]}", where, *_alternatives(left, name)))
        left = met
    return left


def _meets_all(run: Run, conditions: str, where: str) -> bool:
    """Return whether a run meets every condition; one whose scenario does not have such a field does not."""
    named = (condition.partition("=") for condition in conditions.split(",")) if conditions else ()
    try:
        return all(_meets(run, name, value, where) for name, _equals, value in named)
    except ResultsError:
        return False


def _meets(run: Run, name: str, value: str, where: str) -> bool:
    if name == "scheme":
        return run.scheme == value
    if name == "seed":
        if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS and int(value) <= MAX_SEED):
            raise ResultsError(Problem("not a seed", where, repr(value)[:80], f"0..{MAX_SEED}"))
        return run.seed == int(value)
    if name == "commit":
        return commit_of(run).startswith(value)
    known = flatten(run.scenario.model_dump(mode="json"))
    if name not in known:
        raise ResultsError(
            Problem("no such field", where, repr(name)[:80], "e.g. fabric.spines or workload.size_bytes")
        )
    try:
        (wanted,) = parse_settings([f"{name}={value}"]).values()
        return override(run.scenario, {name: wanted}) == run.scenario
    except ScenarioError:  # this scenario could not have that value at all
        return False


def _alternatives(runs: Sequence[Run], name: str) -> tuple[str, str]:
    """Return (got, expected) for a condition that no run meets."""
    if name in ("scheme", "seed", "commit"):
        found = {str({"scheme": run.scheme, "seed": run.seed, "commit": commit_of(run)[:7]}[name]) for run in runs}
    else:
        found = {str(flatten(run.scenario.model_dump(mode="json")).get(name)) for run in runs}
    return f"{len(runs)} runs without", f"one of {', '.join(sorted(found))[:200]}"


def commit_of(run: Run) -> str:
    """Return the commit a run was made with, ``unknown`` where that was no checkout."""
    versions = run.manifest.get("versions")  # a failed run may not have come to it
    return str((versions.get("commit") if isinstance(versions, Mapping) else None) or "unknown")


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested mappings and lists as dotted names: ``{"fabric.spines": 4, "faults.0.t_s": 3}``."""
    items: Mapping[str, Any]
    if isinstance(value, dict):
        items = {str(key): below for key, below in value.items()}
    elif isinstance(value, list) and value:
        items = {str(index): below for index, below in enumerate(value)}
    else:
        return {name: value}
    return {
        key: plain
        for part, below in items.items()
        for key, plain in flatten(below, f"{name}.{part}".strip(".")).items()
    }
