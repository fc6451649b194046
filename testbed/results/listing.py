"""The runs in a scenario's folder: which are finished, how many others there are, and what the failed ones were."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import ResultsError, ScenarioError
from testbed.model.scenario import SCHEMES
from testbed.results.disk import os_errors
from testbed.results.endings import DISTURBED, FAILED, PARTIAL
from testbed.results.json_files import read_json
from testbed.results.run import Run


@dataclass(frozen=True)
class RunListing:
    """The finished runs of a scenario, oldest first, and how many others there are."""

    finished: tuple[Path, ...]
    partial: int
    failed: int
    disturbed: int = 0


def list_runs(results_dir: Path, scenario: str) -> RunListing:
    """Return the runs of ``scenario``; those unfinished or failed are only counted.

    Raises ResultsError when ``results_dir`` is no directory or may not be read; that it does not exist yet is none.
    """
    parent = results_dir / scenario
    with os_errors("cannot list runs", parent):
        if results_dir.exists() and not results_dir.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(results_dir))
        names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.exists() else []
    complete = (parent / name for name in names if not name.endswith((PARTIAL, FAILED, DISTURBED)))
    return RunListing(
        finished=tuple(path for path in complete if (path / "manifest.json").exists()),
        partial=sum(name.endswith(PARTIAL) for name in names),
        failed=sum(name.endswith(FAILED) for name in names),
        disturbed=sum(name.endswith(DISTURBED) for name in names),
    )


@dataclass(frozen=True)
class FailedRun:
    """A run that came to no end: what it was to answer, and why there is no result.

    ``verdict``: INVALID where its workload went wrong, FAILED where the testbed or its machine did, or was interrupted.
    ``run``: its manifest, and nothing measured.
    """

    path: Path
    run: Run
    scenario_hash: str
    scheme: str
    seed: int
    verdict: str
    error: str


def failed_runs(folder: Path) -> tuple[FailedRun, ...]:
    """Return the failed runs of a scenario's folder, oldest first, but those whose manifest does not say of what."""
    with os_errors("cannot list runs", folder):
        found = sorted(path for path in folder.iterdir() if path.name.endswith(FAILED)) if folder.is_dir() else []
    return tuple(run for path in found if (run := load_failed(path)) is not None)


def load_failed(path: Path) -> FailedRun | None:
    """Return a failed run; None of a user's program, and where a full disk or a stranger left no manifest to go by."""
    try:
        manifest = read_json(path / "manifest.json")
        scheme, seed = manifest.get("scheme"), manifest.get("seed")
        if scheme not in SCHEMES or isinstance(seed, bool) or not isinstance(seed, int) or "program" in manifest:
            return None
        if not isinstance(manifest.get("scenario"), dict):
            return None
        run = Run(path, manifest, None)
        asked = run.scenario_hash
    except (ResultsError, ScenarioError):
        return None
    verdict, error = manifest.get("verdict", "FAILED"), manifest.get("error", "")
    return FailedRun(path, run, asked, str(scheme), seed, str(verdict), str(error))


def is_run(path: Path) -> bool:
    """Return whether ``path`` is the folder of a run, in whatever state. Raises ResultsError when nobody can tell."""
    with os_errors("cannot look into", path):
        return (path / "manifest.json").exists()
