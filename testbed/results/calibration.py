"""What this machine was found to carry, on disk: ``calibration.json`` beside the installed packages.

It belongs to the machine, not to results, which travel. Whoever reads it says which machine he is on: what was found on
another one, or before its kernel or cores changed, is none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

from testbed.errors import printable
from testbed.evaluation.records import MOST
from testbed.model.attachment import Attachment
from testbed.model.calibrated import Carried
from testbed.results.files import MAX_JSON_BYTES, read_input, write_together
from testbed.results.store import os_errors

FORMAT_VERSION: Final = 1
FILE: Final = "calibration.json"
IDENTITY: Final = ("cpu", "architecture", "cores", "kernel", "datapath")  # of a machine: what changes what it carries


@dataclass(frozen=True)
class Calibration:
    """What was found, when, and by which state of the code."""

    made_utc: str
    commit: str | None
    found: tuple[Carried, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {"made_utc": self.made_utc, "commit": self.commit, "found": [asdict(one) for one in self.found]}


def calibration_path() -> Path:
    """Return where it is kept."""
    return Path(sys.prefix) / FILE


def store_calibration(calibration: Calibration, machine: Mapping[str, Any]) -> Path:
    """Keep what was found on a machine; ``machine``: what ``gse doctor`` tells of it. Raises ResultsError."""
    path = calibration_path()
    document = {"format_version": FORMAT_VERSION, "machine": _identity(machine), **calibration.to_json()}
    with os_errors("cannot keep what was found", path):
        write_together(path.parent, {path.name: (json.dumps(document, indent=2) + "\n").encode()})
    return path


def load_calibration(machine: Mapping[str, Any]) -> Calibration | None:
    """Return what was found on this machine as it is now; None: nothing, or nothing that can be read."""
    try:
        document = json.loads(read_input(calibration_path(), MAX_JSON_BYTES))
        if document["format_version"] != FORMAT_VERSION or document["machine"] != _identity(machine):
            return None
        found = tuple(_carried(one) for one in document["found"])
        commit = document["commit"]
        return Calibration(printable(str(document["made_utc"])), None if commit is None else str(commit), found)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _identity(machine: Mapping[str, Any]) -> dict[str, Any]:
    return {name: machine[name] for name in IDENTITY}


def _carried(fields: Mapping[str, Any]) -> Carried:
    """Return one of the kinds of run. Raises ValueError, KeyError or TypeError when it is none."""
    if fields["attachment"] not in get_args(Attachment):
        raise ValueError("no such place of agents")
    numbers = {name: fields[name] for name in ("hosts", "mtu_bytes", "rate_mbps", "crossings_per_s", "beyond_mbps")}
    for name, number in numbers.items():
        if number is None and name in ("rate_mbps", "beyond_mbps"):
            continue
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{name} is no number")
        if not 0 <= number <= MOST or (number == 0 and name != "crossings_per_s"):
            raise ValueError(f"{name} is out of range")
    return Carried(attachment=fields["attachment"], **numbers)
