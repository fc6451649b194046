"""What one agent is told at its start, as a JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.gse.dataplane.place import Place, Where
from testbed.gse.dataplane.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """``host_intfs``: port -> interface towards the host; ``uplink_intfs``: the leaf's uplinks, by path, to watch.

    ``pid``: a process whose network namespace has the interfaces; None: the agent's own.
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
    pid: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        place = value["place"]
        return cls(
            name=str(value["name"]),
            place=Place(
                gsp=int(place["gsp"]),
                ports={int(port): float(rate) for port, rate in place["ports"].items()},
                paths=int(place["paths"]),
                uplink_bytes_per_s=float(place["uplink_bytes_per_s"]),
                hosts={bytes.fromhex(mac): Where(int(gsp), int(port)) for mac, (gsp, port) in place["hosts"].items()},
                peers=[int(peer) for peer in place["peers"]],
                watches_paths=bool(place["watches_paths"]),
            ),
            profile=Profile.model_validate(value["profile"]),
            passthrough=bool(value["passthrough"]),
            seed=int(value["seed"]),
            fabric_intf=str(value["fabric_intf"]),
            host_intfs={int(port): str(intf) for port, intf in value["host_intfs"].items()},
            uplink_intfs=tuple(str(intf) for intf in value["uplink_intfs"]),
            frame_bytes=int(value["frame_bytes"]),
            buffer_bytes=int(value["buffer_bytes"]),
            pid=None if value["pid"] is None else int(value["pid"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        place = self.place
        return {
            "name": self.name,
            "place": {
                "gsp": place.gsp,
                "ports": {str(port): rate for port, rate in place.ports.items()},
                "paths": place.paths,
                "uplink_bytes_per_s": place.uplink_bytes_per_s,
                "hosts": {mac.hex(): list(where) for mac, where in place.hosts.items()},
                "peers": list(place.peers),
                "watches_paths": place.watches_paths,
            },
            "profile": self.profile.to_json(),
            "passthrough": self.passthrough,
            "seed": self.seed,
            "fabric_intf": self.fabric_intf,
            "host_intfs": {str(port): intf for port, intf in self.host_intfs.items()},
            "uplink_intfs": list(self.uplink_intfs),
            "frame_bytes": self.frame_bytes,
            "buffer_bytes": self.buffer_bytes,
            "pid": self.pid,
        }
