"""How a run stands, which the ending of its folder's name says, and finished runs set aside and taken back.

``<results>/<scenario>/<run>`` is ``<run>.partial`` while the run lasts and ``<run>.failed`` (with
``error.txt``) when it could not be finished, ``<run>.disturbed`` when it was made again because
others used the machine meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from testbed.results.disk import os_errors
from testbed.results.json_files import read_json, write_json

PARTIAL = ".partial"
FAILED = ".failed"
DISTURBED = ".disturbed"


def put_aside(path: Path) -> Path:
    """Keep a finished run, which is to be made again, as ``<run>.disturbed``; return its path. Raises ResultsError."""
    target = path.with_name(path.name + DISTURBED)
    summary = read_json(path / "summary.json")
    write_json(path / "summary.json", {**summary, "run_dir": str(target)})
    with os_errors("cannot rename the run directory", path):
        path.rename(target)
    return target


def take_back(path: Path) -> Path:
    """Make a run that was set aside one that counts, for it will not be made again; return its path."""
    target = path.with_name(path.name.removesuffix(DISTURBED))
    summary = read_json(path / "summary.json")
    write_json(path / "summary.json", {**summary, "run_dir": str(target)})
    with os_errors("cannot rename the run directory", path):
        path.rename(target)
    return target
