"""Which code, tools and kernel made a result."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed import __version__
from testbed.errors import CommandError
from testbed.system.command import run
from testbed.system.machine import Machine

PACKAGES = ("mininet", "os-ken", "scapy", "numpy", "matplotlib", "pydantic")


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

    git is not to refresh its index by the way: root would own it, and a commit made meanwhile would find it locked.
    """
    project = Path(__file__).resolve().parents[2]
    git = ["git", "--no-optional-locks", "-c", f"safe.directory={project}", "-C", str(project)]
    try:
        name = run([*git, "rev-parse", "HEAD"]).stdout.strip()
        changed = run([*git, "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except CommandError:
        return None
    return f"{name}-dirty" if changed else name


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
