"""A sweep on disk: which stored runs belong together, and which value each had. docs/results-format.md is its contract.

``<results>/<scenario>/sweeps/<sweep>/sweep.json`` names ordinary run directories in ``<results>/<scenario>``. It is
written anew after every run, so whatever ends a sweep, what was done is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, get_args

from testbed.errors import Problem, ResultsError, ScenarioError, first_problems
from testbed.fidelity.verdict import OUTSIDE
from testbed.files import give_to_caller
from testbed.model.scenario_input import parse_scenario
from testbed.model.sweep import Sweep, SweepRun, sweep_of
from testbed.results.checks import FOLDER_NAME, checks_problems, tries_problems
from testbed.results.disk import make_parents, os_errors
from testbed.results.endings import FAILED
from testbed.results.json_files import json_text, read_json, write_json
from testbed.results.listing import load_failed
from testbed.results.run import hash_of

FOLDER: Final = "sweeps"
FILE: Final = "sweep.json"
ROOM: Final = ".room"  # a file beside it that holds as much of the disk as it may need, while runs are made
ROOM_PER_RUN_BYTES: Final = 4096  # for its name, why it failed, and what a folder and a file cost
FORMAT_VERSION: Final = 1
FIELDS: Final[Mapping[str, type]] = {
    "field": str,
    "values": list,
    "scenario": dict,
    "runs": list,
    "status": str,
    "started_utc": str,
}
Status = Literal["running", "finished", "interrupted"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
OF_WORKLOAD: Final = "INVALID"  # verdict of a failed run, in its manifest, where its workload failed


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What became of a run: ``name`` is its folder, None when it was not made; ``error`` is why it failed."""

    run: SweepRun
    name: str | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it was made and has no result."""
        return self.name is not None and (self.error is not None or self.name.endswith(FAILED))


@dataclass(frozen=True)
class StoredSweep:
    """A sweep and its folder; ``runs`` are in the order they are made."""

    path: Path
    sweep: Sweep
    runs: tuple[StoredRun, ...]
    status: Status
    started_utc: str

    @property
    def runs_dir(self) -> Path:
        """The folder of the scenario's runs, also where the sweep's was given as ``../other`` or by a link to it."""
        return self.path.resolve().parent.parent

    @property
    def pending(self) -> tuple[int, ...]:
        """Which runs are to be made yet, in order: those that were not, or failed for what is none of their own.

        Each is asked for itself, whatever was made before or after it: runs may be made in any order, and be
        interrupted more than once. One that failed because of its workload is a result (``is_own_failure``). One whose
        folder somebody has removed is none.
        """
        return tuple(
            index
            for index, one in enumerate(self.runs)
            if one.name is None or (one.failed and not self.is_own_failure(index)) or self.is_gone(index)
        )

    def is_gone(self, index: int) -> bool:
        """Return whether a run was made to its end and its folder is not there any more."""
        one = self.runs[index]
        return one.name is not None and not one.failed and not os.path.lexists(self.runs_dir / one.name)

    def is_own_failure(self, index: int) -> bool:
        """Return whether a run failed because of its workload, by what is stored of it: a rank died, hung, fell silent.

        That says something about what was to be measured; making it again until it goes well would choose among
        results. Other failures, an interruption or a full disk, are the testbed's or its machine's and say nothing of
        it; so is what nobody can read any more, or is of another run.
        """
        one = self.runs[index]
        if one.name is None or not one.failed:
            return False
        found, wanted = load_failed(self.runs_dir / one.name), one.run
        return (
            found is not None
            and found.verdict == OF_WORKLOAD
            and (found.scheme, found.seed) == (wanted.scheme, wanted.seed)
            and found.scenario_hash == hash_of(self.sweep.points[wanted.point])
        )

    @property
    def done(self) -> int:
        """How many runs were made, finished or failed."""
        return sum(run.name is not None for run in self.runs)

    def to_make(self, repeats: int = 0) -> tuple[int, ...]:
        """Return which runs are to be made: the ``pending``, then again those whose verdicts name what others did.

        Of the latter those that were not made again ``repeats`` times, first those that are INVALID: they are what a
        table lacks. Raises ResultsError where a run cannot be read.
        """
        if not repeats:
            return self.pending
        again = [index for index in range(len(self.runs)) if self._was_disturbed(index, repeats)]
        return (*self.pending, *sorted(again, key=lambda index: self._summary(index).get("verdict") != "INVALID"))

    def _was_disturbed(self, index: int, repeats: int) -> bool:
        one = self.runs[index]
        if one.name is None or one.failed or self.is_gone(index):
            return False
        checks = self._summary(index).get("checks", [])
        return bool(OUTSIDE.intersection(checks)) and len(self.earlier_tries(index)) < repeats

    def _summary(self, index: int) -> dict[str, Any]:
        return self._read(index, "summary.json", checks_problems)

    def earlier_tries(self, index: int) -> tuple[str, ...]:
        """Return the folders of a run's tries that were disturbed and set aside. Raises ResultsError."""
        return tuple(self._read(index, "manifest.json", tries_problems).get("earlier_tries", ()))

    def _read(
        self, index: int, file: str, problems_in: Callable[[Mapping[str, Any], str], Iterator[Problem]]
    ) -> dict[str, Any]:
        """Return what a file of a run says. Raises ResultsError where that is not what it may say."""
        name = self.runs[index].name
        assert name is not None, "a run that was made"
        path = self.runs_dir / name / file
        found = read_json(path)
        if problems := list(problems_in(found, str(path))):
            raise ResultsError(problems)
        return found

    def with_run(self, index: int, name: str | None, error: str | None) -> StoredSweep:
        """Return the sweep once run ``index`` was made; without a ``name`` it is yet to be."""
        made = StoredRun(self.runs[index].run, name, error)
        return replace(self, runs=(*self.runs[:index], made, *self.runs[index + 1 :]))

    def write(self) -> None:
        """Write ``sweep.json``, whole or not at all, if need be where room was kept for it. Raises ResultsError."""
        try:
            write_json(self.path / FILE, self._to_json())
        except ResultsError:
            if not self.give_up_room():
                raise
            write_json(self.path / FILE, self._to_json())

    def keep_room(self) -> None:
        """Keep room for ``sweep.json`` on the disk: a run that ends as it becomes full is to be known all the same."""
        room = self.path / ROOM
        with suppress(OSError):
            room.unlink(missing_ok=True)  # of a sweep that was killed, or a stranger's link
            descriptor = os.open(room, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, len(json_text(self._to_json())) + ROOM_PER_RUN_BYTES * len(self.runs))
                give_to_caller(room)
            finally:
                os.close(descriptor)

    def give_up_room(self) -> bool:
        """Give the room back; return whether there was any."""
        try:
            (self.path / ROOM).unlink()
        except OSError:
            return False
        return True

    def _to_json(self) -> dict[str, Any]:
        sweep = self.sweep
        return {
            "format_version": FORMAT_VERSION,
            "status": self.status,
            "started_utc": self.started_utc,
            "field": sweep.field,
            "values": list(sweep.values),
            "scenario": sweep.points[0].model_dump(mode="json"),
            "runs": [
                {
                    "value": sweep.values[one.run.point],
                    "scheme": one.run.scheme,
                    "seed": one.run.seed,
                    "run": one.name,
                    "error": one.error,
                }
                for one in self.runs
            ],
        }


def create_sweep(results_dir: Path, sweep: Sweep, now_utc: datetime) -> StoredSweep:
    """Make the folder of a new sweep with its ``sweep.json``. ``now_utc`` is an aware time. Raises ResultsError."""
    now_utc = now_utc.astimezone(timezone.utc)
    parent = results_dir / sweep.points[0].name / FOLDER
    base = f"{now_utc.strftime('%Y%m%dT%H%M%SZ')}-{sweep.field}"
    with os_errors("cannot create a sweep's directory", parent):
        make_parents(parent)
        candidates = (parent / (base if number == 1 else f"{base}-{number}") for number in count(1))
        path = next(candidate for candidate in candidates if _made(candidate))
        give_to_caller(path)
    runs = tuple(StoredRun(run) for run in sweep.order())
    stored = StoredSweep(path, sweep, runs, "running", now_utc.isoformat(timespec="seconds"))
    stored.write()
    return stored


def load_sweep(path: Path) -> StoredSweep:
    """Read a sweep's folder. Raises ResultsError with what is wrong with it."""
    where = path / FILE
    found = read_json(where)
    if found.get("format_version") != FORMAT_VERSION:
        got = repr(found.get("format_version"))[:60]
        raise ResultsError(Problem("unknown sweep format", f"{where}: format_version", got, str(FORMAT_VERSION)))
    problems = [
        Problem("missing or of a wrong type", f"{where}: {name}", type(found.get(name)).__name__, kind.__name__)
        for name, kind in FIELDS.items()
        if not isinstance(found.get(name), kind)
    ]
    if not problems and found["status"] not in STATUSES:
        expected = f"one of {', '.join(STATUSES)}"
        problems.append(Problem("not valid", f"{where}: status", repr(found["status"])[:60], expected))
    if problems:
        raise ResultsError(problems)
    try:
        base = parse_scenario(found["scenario"], source=str(where))
        sweep = sweep_of(base, found["field"], found["values"], least_values=1)
    except ScenarioError as error:
        raise ResultsError([_at(problem, where) for problem in error.problems]) from None
    return StoredSweep(path, sweep, _runs(found["runs"], sweep, where), found["status"], found["started_utc"])


def _at(problem: Problem, where: Path) -> Problem:
    return problem if str(where) in problem.where else replace(problem, where=f"{where}: {problem.where}")


def _runs(found: list[Any], sweep: Sweep, where: Path) -> tuple[StoredRun, ...]:
    """Return the runs of the file. Raises ResultsError unless each of the sweep's is there once."""
    read = [_run(one, sweep) for one in found]
    expected = "value, scheme and seed of the sweep, run: a folder's name or null, error: a text or null"
    strange = (
        Problem("not a run of this sweep", f"{where}: runs.{index}", repr(one)[:60], expected)
        for index, (one, run) in enumerate(zip(found, read, strict=True))
        if run is None
    )
    problems = first_problems(strange, f"{where}: runs")
    runs, wanted = [run for run in read if run is not None], set(sweep.order())
    if not problems and (len(runs) != len(wanted) or {one.run for one in runs} != wanted):
        got = f"{len(runs)} runs, {len({one.run for one in runs})} of them different"
        problems.append(Problem("not every run once", f"{where}: runs", got, f"the sweep's {len(wanted)} runs"))
    if problems:
        raise ResultsError(problems)
    return tuple(runs)


def _run(one: Any, sweep: Sweep) -> StoredRun | None:
    """Return a run as the file has it; None when it cannot be one of this sweep."""
    if not isinstance(one, dict) or one.get("value", ()) not in sweep.values:
        return None
    scheme, seed, name, error = (one.get(key) for key in ("scheme", "seed", "run", "error"))
    if scheme not in sweep.schemes or type(seed) is not int or seed not in sweep.seeds:  # nor 1.0, nor true
        return None
    if name is not None and not (isinstance(name, str) and FOLDER_NAME.fullmatch(name)):
        return None
    if error is not None and (not isinstance(error, str) or name is None):
        return None
    return StoredRun(SweepRun(sweep.values.index(one["value"]), scheme, seed), name, error)


def _made(path: Path) -> bool:
    """Make a folder that is not there yet; making it is the lock that keeps concurrent sweeps apart."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True
