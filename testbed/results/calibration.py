"""What machines were found to carry, on disk: ``calibration.json`` beside the installed packages.

It belongs to the machine, not to results, which travel. Whoever reads it says which machine he is on: what was found on
another one, or before its kernel, cores, Open vSwitch or Python changed, is none. Machines may share a checkout, and
several processes find something at once: each adds what it has found to what is there by then, under a lock.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from testbed.errors import printable
from testbed.evaluation.records import MOST_MEASURED
from testbed.files import MAX_JSON_BYTES, read_input, write_together
from testbed.model.attachment import Attachment
from testbed.model.calibrated import Carried
from testbed.results.checks import parse_json
from testbed.results.disk import os_errors
from testbed.results.lock import held

FORMAT_VERSION: Final = 3
OF_ONE_MACHINE: Final = 2  # the version before: of the machine that wrote it last
MOST_MACHINES: Final = 32  # a machine whose kernel changes is another one: those not calibrated for longest are dropped
WAIT_S: Final = 10.0  # for who writes just now, which takes a moment
FILE: Final = "calibration.json"
# Of a machine: what changes what it carries. Agents are compiled for a Python; one program switches all frames.
IDENTITY: Final = ("cpu", "architecture", "cores", "kernel", "datapath", "python")
SWITCHES: Final = "ovs-vswitchd"
OPTIONAL: Final = ("rate_mbps", "beyond_mbps")
WHOLE: Final = ("hosts", "mtu_bytes")
ENTRY: Final = {"machine", "begun_utc", "found"}
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


def store_found(one: Carried, calibration: Calibration, machine: Mapping[str, Any]) -> tuple[Path, Calibration]:
    """Keep what was found of a kind of run, as part of a calibration; return where, and all that is known by now.

    What others have kept meanwhile stays: of this machine's other kinds of run, and of other machines. ``machine`` is
    what ``gse doctor`` tells of it. Raises ResultsError.
    """
    path, identity = calibration_path(), _identity(machine)
    with held(path.parent, what="what machines carry is being written", wait_s=WAIT_S), os_errors(UNKEPT, path):
        entries = _entries(path)
        known = _calibration_of(entries, identity) or calibration
        known = replace(known, begun_utc=calibration.begun_utc).with_one(one)
        others = [entry for entry in entries if entry.get("machine") != identity]
        kept = [*others, {"machine": identity, **known.to_json()}][-MOST_MACHINES:]
        document = {"format_version": FORMAT_VERSION, "machines": kept}
        write_together(path.parent, {path.name: (json.dumps(document, indent=2) + "\n").encode()})
    return path, known


def load_calibration(machine: Mapping[str, Any]) -> Calibration | None:
    """Return what was found on this machine as it is now; None: nothing, or nothing that can be read."""
    return _calibration_of(_entries(calibration_path()), _identity(machine))


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return what the file says of each machine, unchecked; nothing where it cannot be read."""
    try:
        document = parse_json(read_input(path, MAX_JSON_BYTES).decode())
        version = document["format_version"]
        entries = [document] if version == OF_ONE_MACHINE else document["machines"] if version == FORMAT_VERSION else []
        return [entry for entry in entries if isinstance(entry, dict) and entry.keys() >= ENTRY]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _calibration_of(entries: Sequence[Mapping[str, Any]], identity: Mapping[str, Any]) -> Calibration | None:
    """Return what is said of a machine; None: nothing, or nothing that can be true."""
    try:
        (entry,) = (one for one in entries if one["machine"] == identity)
        found = tuple(_carried(one) for one in entry["found"])
        if len({_kind(one) for one in found}) < len(found):
            raise ValueError("a kind of run twice")
        return Calibration(_text(entry["begun_utc"]), found) if found else None
    except (ValueError, KeyError, TypeError, OverflowError):
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
        if not 0 <= number <= MOST_MEASURED or (number == 0 and name != "crossings_per_s"):
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
