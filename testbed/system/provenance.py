"""Which code, tools and kernel made a result."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from testbed import __version__
from testbed.errors import CommandError
from testbed.system.command import run
from testbed.system.machine import Machine

PACKAGES = ("mininet", "os-ken", "scapy", "numpy", "matplotlib", "pydantic")
NOTE: Final = "COMMIT"  # at the top of copies without .git; the Vagrantfile writes it
NOTED: Final = re.compile(r"[0-9a-f]{40}(-dirty)?")
PROGRAMS: Final = ("testbed", "apps", "scenarios")


def provenance(machine: Machine) -> dict[str, Any]:
    """Return versions, commit and machine as a JSON value; what is not known is null."""
    return {
        "gse_testbed": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "packages": {name: _version(name) for name in PACKAGES},
        "open_vswitch": _first_line(["ovs-vswitchd", "--version"]),
        "iperf3": _first_line(["iperf3", "--version"]),
        "iproute2": _first_line(["ip", "-V"]),
        "machine": machine.to_json(),
    }


def commit() -> str | None:
    """Return the commit of the checkout, ``-dirty`` when files differ from it, or None outside of one.

    Of a copy without .git it is the commit that was noted when the copy was made.
    git is not to refresh its index by the way: root would own it, and a commit made meanwhile would find it locked.
    """
    project = Path(__file__).resolve().parents[2]
    if not (project / ".git").exists() and (noted := _noted(project)) is not None:
        return noted
    git = ["git", "--no-optional-locks", "-c", f"safe.directory={project}", "-C", str(project)]
    try:
        name = run([*git, "rev-parse", "HEAD"]).stdout.strip()
        changed = run([*git, "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except CommandError:
        return None
    return f"{name}-dirty" if changed else name


def _noted(project: Path) -> str | None:
    """Return the commit a copy was made of, ``-dirty`` where programs were changed since; None where none is noted."""
    note = project / NOTE
    try:
        name, written_s = note.read_text().strip(), note.stat().st_mtime
        sources = (path for folder in PROGRAMS for path in (project / folder).rglob("*.py"))
        changed = any(path.stat().st_mtime > written_s for path in sources)
    except (OSError, ValueError):
        return None
    if not NOTED.fullmatch(name):
        return None
    return f"{name}-dirty" if changed and not name.endswith("-dirty") else name


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _first_line(argv: list[str]) -> str | None:
    try:
        text = run(argv).stdout.strip()
    except CommandError:
        return None
    return text.splitlines()[0] if text else None
