"""What one agent is told at its start, as a JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeConfig:
    """The shaper of a sender: the one of ``intf`` in the namespace of ``host``, whose process is ``pid``."""

    host: str
    intf: str
    parent: int
    handle: int
    rate_bytes_per_s: int
    burst_bytes: int
    paused_bytes_per_s: int
    paused_burst_bytes: int
    limit_bytes: int  # of the shaper's own queue
    pid: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BrakeConfig:
        """Read one of a configuration file. Raises KeyError, TypeError or ValueError."""
        numbers = (
            *("parent", "handle", "rate_bytes_per_s", "burst_bytes", "limit_bytes"),
            *("paused_bytes_per_s", "paused_burst_bytes"),
        )
        return cls(
            host=str(value["host"]),
            intf=str(value["intf"]),
            pid=None if value["pid"] is None else int(value["pid"]),
            **{name: int(value[name]) for name in numbers},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """``host_intfs``: port -> interface towards the host; ``uplink_intfs``: the leaf's uplinks, by path, to watch.

    ``brakes``: port -> the shaper of the host there, for back-pressure.
    ``pid``: a process whose network namespace has the interfaces; None: the agent's own.
    ``journal``: the file for what enters and leaves the core, and its most bytes; None: nothing is recorded.
    """

    name: str
    place: Place
    profile: Profile
    passthrough: bool
    seed: int
    fabric_intf: str
    host_intfs: Mapping[int, str]
    uplink_intfs: tuple[str, ...]
    frame_bytes: int  # largest frame, outer headers included
    buffer_bytes: int  # room in the sending sockets
    brakes: Mapping[int, BrakeConfig] = field(default_factory=dict)
    pid: int | None = None
    journal: str | None = None
    journal_most_bytes: int = 0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        return cls(
            name=str(value["name"]),
            place=Place.from_json(value["place"]),
            profile=Profile.model_validate(value["profile"]),
            passthrough=bool(value["passthrough"]),
            seed=int(value["seed"]),
            fabric_intf=str(value["fabric_intf"]),
            host_intfs={int(port): str(intf) for port, intf in value["host_intfs"].items()},
            uplink_intfs=tuple(str(intf) for intf in value["uplink_intfs"]),
            frame_bytes=int(value["frame_bytes"]),
            buffer_bytes=int(value["buffer_bytes"]),
            brakes={int(port): BrakeConfig.from_json(one) for port, one in value["brakes"].items()},
            pid=None if value["pid"] is None else int(value["pid"]),
            journal=None if value["journal"] is None else str(value["journal"]),
            journal_most_bytes=int(value["journal_most_bytes"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {
            "name": self.name,
            "place": self.place.to_json(),
            "profile": self.profile.to_json(),
            "passthrough": self.passthrough,
            "seed": self.seed,
            "fabric_intf": self.fabric_intf,
            "host_intfs": {str(port): intf for port, intf in self.host_intfs.items()},
            "uplink_intfs": list(self.uplink_intfs),
            "frame_bytes": self.frame_bytes,
            "buffer_bytes": self.buffer_bytes,
            "brakes": {str(port): asdict(brake) for port, brake in self.brakes.items()},
            "pid": self.pid,
            "journal": self.journal,
            "journal_most_bytes": self.journal_most_bytes,
        }
