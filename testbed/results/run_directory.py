"""The directory of a run being made: created, appended to, finished or failed. docs/results-format.md is its contract.

Creating it is the lock that keeps concurrent runs apart. Nothing here computes anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from testbed.errors import ResultsError
from testbed.evaluation.records import Row
from testbed.files import give_to_caller
from testbed.results.disk import make_parents, os_errors
from testbed.results.endings import DISTURBED, FAILED, PARTIAL
from testbed.results.json_files import read_json, write_json
from testbed.results.table_files import append_rows


@dataclass(frozen=True)
class RunDirectory:
    """The directory of a run being made; ``path`` ends in ``.partial``. All writers raise ResultsError."""

    path: Path

    @classmethod
    def create(
        cls, results_dir: Path, *, scenario: str, scheme: str, seed: int, commit: str | None, now_utc: datetime
    ) -> RunDirectory:
        """Make ``results_dir/scenario/<run id>.partial`` with ``raw/`` in it, unique among concurrent runs.

        ``commit`` is the hash of the checkout, None outside git. ``now_utc`` is an aware time.
        """
        stamp = now_utc.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        base = f"{stamp}-{scheme}-seed{seed}-{commit[:7] if commit else 'nogit'}"
        parent = results_dir / scenario
        with os_errors("cannot create a run directory", parent):
            make_parents(parent)
            claims = (_claim(parent, base if attempt == 1 else f"{base}-{attempt}") for attempt in count(1))
            directory = cls(next(path for path in claims if path is not None))
            directory.raw.mkdir()
            give_to_caller(directory.path)
            give_to_caller(directory.raw)
        return directory

    @property
    def run_id(self) -> str:
        """The run's name without ``.partial``."""
        return self.path.name.removesuffix(PARTIAL)

    @property
    def final_path(self) -> Path:
        """Where the run will be once it has finished."""
        return self.path.with_name(self.run_id)

    @property
    def disturbed_path(self) -> Path:
        """Where it will be if it is made again."""
        return self.path.with_name(self.run_id + DISTURBED)

    @property
    def raw(self) -> Path:
        """Where verbatim tool output goes."""
        return self.path / "raw"

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows of one or several tables to their files; a new file begins with its header."""
        append_rows(self.path, rows)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write ``name`` so that a reader sees the old file or the new one, never half of it."""
        write_json(self.path / name, value)

    def finish(self) -> Path:
        """Drop ``.partial`` from the name and return the final path."""
        return self._rename(self.final_path.name)

    def fail(self, message: str) -> Path:
        """Keep what there is as ``<run>.failed`` with ``message`` in ``error.txt``; return the path.

        A disk too full for ``error.txt`` or the new status does not stop the renaming: the name still says
        "failed", and the message reaches the user by other means too.
        """
        with suppress(OSError):
            (self.path / "error.txt").write_text(message.rstrip("\n") + "\n")
        with suppress(ResultsError):
            manifest = read_json(self.path / "manifest.json")
            self.write_json("manifest.json", {**manifest, "status": "failed", "error": message})
        return self._rename(self.run_id + FAILED)

    def set_aside(self) -> Path:
        """Keep a run that was disturbed from outside and is made again as ``<run>.disturbed``; return the path."""
        return self._rename(self.disturbed_path.name)

    def _rename(self, name: str) -> Path:
        target = self.path.with_name(name)
        with os_errors("cannot rename the run directory", self.path):
            for root, directories, files in os.walk(self.path):
                for entry in (*directories, *files):
                    give_to_caller(Path(root, entry))
            self.path.rename(target)
        return target


def _claim(parent: Path, name: str) -> Path | None:
    """Make ``name.partial`` unless a run of that name exists in any state; return None if one does.

    The look at the finished names comes after mkdir: another run of this name can only leave ``.partial``
    by renaming it, so whoever holds ``.partial`` sees every earlier holder's final name.
    """
    path = parent / (name + PARTIAL)
    try:
        path.mkdir()
    except FileExistsError:
        return None
    if any((parent / (name + ending)).exists() for ending in ("", FAILED, DISTURBED)):
        path.rmdir()
        return None
    return path
