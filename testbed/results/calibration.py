"""What this machine was found to carry, on disk: ``calibration.json`` beside the installed packages.

It belongs to the machine, not to results, which travel. Whoever reads it says which machine he is on: what was found on
another one, or before its kernel, cores, Open vSwitch or Python changed, is none.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from testbed.errors import printable
from testbed.evaluation.records import MOST
from testbed.files import MAX_JSON_BYTES, read_input, write_together
from testbed.model.attachment import Attachment
from testbed.model.calibrated import Carried
from testbed.results.store import os_errors

FORMAT_VERSION: Final = 2
FILE: Final = "calibration.json"
# Of a machine: what changes what it carries. Agents are compiled for a Python; one program switches all frames.
IDENTITY: Final = ("cpu", "architecture", "cores", "kernel", "datapath", "python")
SWITCHES: Final = "ovs-vswitchd"
OPTIONAL: Final = ("rate_mbps", "beyond_mbps")
WHOLE: Final = ("hosts", "mtu_bytes")
UNKEPT: Final = "cannot keep what is found"


@dataclass(frozen=True)
class Calibration:
    """What was found. ``begun_utc``: what was found before that is to be found again, and counts until then."""

    begun_utc: str
    found: tuple[Carried, ...] = ()

    def with_one(self, one: Carried) -> Calibration:
        """Return it with what is known now of a kind of run, instead of what was."""
        return replace(self, found=(*(other for other in self.found if _kind(other) != _kind(one)), one))

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {"begun_utc": self.begun_utc, "found": [asdict(one) for one in self.found]}


def calibration_path() -> Path:
    """Return where it is kept."""
    return Path(sys.prefix) / FILE


def check_place() -> None:
    """See that something can be kept there, before anything is found out. Raises ResultsError."""
    path = calibration_path()
    with os_errors(UNKEPT, path), tempfile.TemporaryFile(dir=path.parent):
        pass


def store_calibration(calibration: Calibration, machine: Mapping[str, Any]) -> Path:
    """Keep what was found on a machine; ``machine``: what ``gse doctor`` tells of it. Raises ResultsError."""
    path = calibration_path()
    document = {"format_version": FORMAT_VERSION, "machine": _identity(machine), **calibration.to_json()}
    with os_errors(UNKEPT, path):
        write_together(path.parent, {path.name: (json.dumps(document, indent=2) + "\n").encode()})
    return path


def load_calibration(machine: Mapping[str, Any]) -> Calibration | None:
    """Return what was found on this machine as it is now; None: nothing, or nothing that can be read."""
    try:
        document = json.loads(read_input(calibration_path(), MAX_JSON_BYTES))
        if document["format_version"] != FORMAT_VERSION or document["machine"] != _identity(machine):
            return None
        found = tuple(_carried(one) for one in document["found"])
        if len({_kind(one) for one in found}) < len(found):
            raise ValueError("a kind of run twice")
        return Calibration(_text(document["begun_utc"]), found) if found else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _identity(machine: Mapping[str, Any]) -> dict[str, Any]:
    switches = next((tool["version"] for tool in machine["tools"] if tool["name"] == SWITCHES), None)
    return {**{name: machine[name] for name in IDENTITY}, "open_vswitch": switches}


def _kind(one: Carried) -> tuple[Attachment, int, int]:
    return one.attachment, one.hosts, one.mtu_bytes


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return printable(value)


def _carried(fields: Mapping[str, Any]) -> Carried:
    """Return one of the kinds of run. Raises ValueError, KeyError or TypeError when it is none."""
    if fields["attachment"] not in get_args(Attachment):
        raise ValueError("no such place of agents")
    numbers = {name: fields[name] for name in (*WHOLE, *OPTIONAL, "crossings_per_s")}
    for name, number in numbers.items():
        if number is None and name in OPTIONAL:
            continue
        if isinstance(number, bool) or not isinstance(number, int if name in WHOLE else int | float):
            raise TypeError(f"{name} is no such number")
        if not 0 <= number <= MOST or (number == 0 and name != "crossings_per_s"):
            raise ValueError(f"{name} is out of range")
    disturbed, rate_mbps, beyond_mbps = fields["disturbed"], fields["rate_mbps"], fields["beyond_mbps"]
    if not isinstance(disturbed, bool):
        raise TypeError("disturbed is neither true nor false")
    if (rate_mbps is None) != (fields["crossings_per_s"] == 0) or (rate_mbps is None and beyond_mbps is None):
        raise ValueError("carried or not carried, which is it?")
    if beyond_mbps is not None and beyond_mbps <= (rate_mbps or 0):
        raise ValueError("not carried at a rate that is carried")
    commit = None if fields["commit"] is None else _text(fields["commit"])
    made_utc = _text(fields["made_utc"])
    return Carried(attachment=fields["attachment"], disturbed=disturbed, made_utc=made_utc, commit=commit, **numbers)
