"""What the configuration files of programs that send beside a run have in common: where they run, whose hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HostPlaces = Mapping[str, tuple[int, str]]  # name -> (a PID in it, its address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Where a program's table goes, when the run's time began (monotonic), and the hosts it sends from and to.

    ``linger_s`` is how long it waits for what is still under way at the end.
    """

    run_dir: Path
    t0_s: float
    hosts: HostPlaces
    linger_s: float


def beside_from(value: Mapping[str, Any], linger_s: float | None = None) -> dict[str, Any]:
    """Return the fields of ``Beside`` in a decoded file; ``linger_s`` is for one that does not say.

    Raises KeyError, TypeError or ValueError.
    """
    return {
        "run_dir": Path(value["run_dir"]),
        "t0_s": float(value["t0_s"]),
        "hosts": {str(name): (int(host["pid"]), str(host["ip"])) for name, host in value["hosts"].items()},
        "linger_s": float(value["linger_s"] if linger_s is None else value.get("linger_s", linger_s)),
    }


def check_known(noun: str, names: Iterable[str], hosts: HostPlaces) -> None:
    """Raise ValueError unless ``noun`` name some hosts, and only known ones."""
    named = set(names)
    strangers = sorted(named - set(hosts))
    if not named or strangers:
        raise ValueError(f"{noun} name {strangers or 'no host'}, expected some of {', '.join(hosts)}")


def check_beat(interval_s: float, noun: str, size_bytes: int, least_bytes: int) -> None:
    """Raise ValueError unless something of at least ``least_bytes`` can be sent each ``interval_s``."""
    if not interval_s > 0 or size_bytes < least_bytes:
        raise ValueError(f"interval_s is {interval_s} and {noun} {size_bytes}, expected > 0, >= {least_bytes}")
