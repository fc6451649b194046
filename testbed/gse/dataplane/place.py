"""Where a GSP stands: its address, ports, paths, and where everybody else is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Where(NamedTuple):
    """Where a host is attached: its GSP's address and the port there."""

    gsp: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an ``Edge`` stands in the fabric. ``ports``: port -> rate of its egress link in bytes/s."""

    gsp: int
    ports: Mapping[int, float]
    paths: int
    uplink_bytes_per_s: float
    hosts: Mapping[bytes, Where]  # every host by MAC
    peers: Sequence[int]  # every other GSP
    watches_paths: bool  # whether it checks its leaf's uplinks with hellos

    @property
    def in_host(self) -> bool:
        """Whether it stands in a host, with one link to its leaf, and not for a leaf, with all its uplinks."""
        return self.gsp & 0xFF != 0

    @property
    def egress_links(self) -> int:
        """How many links into the fabric it has."""
        return 1 if self.in_host else self.paths

    @property
    def egress_bytes_per_s(self) -> float:
        """What its links into the fabric carry together."""
        return sum(self.ports.values()) if self.in_host else self.paths * self.uplink_bytes_per_s

    @property
    def leaf(self) -> int:
        """The leaf it is on, from 1."""
        return self.gsp >> 8

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Place:
        """Return what ``to_json`` has written. Raises KeyError, TypeError or ValueError."""
        return cls(
            gsp=int(value["gsp"]),
            ports={int(port): float(rate) for port, rate in value["ports"].items()},
            paths=int(value["paths"]),
            uplink_bytes_per_s=float(value["uplink_bytes_per_s"]),
            hosts={bytes.fromhex(mac): Where(int(gsp), int(port)) for mac, (gsp, port) in value["hosts"].items()},
            peers=[int(peer) for peer in value["peers"]],
            watches_paths=bool(value["watches_paths"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON; the order of ports and peers is part of it, for grants and notices follow it."""
        return {
            "gsp": self.gsp,
            "ports": {str(port): rate for port, rate in self.ports.items()},
            "paths": self.paths,
            "uplink_bytes_per_s": self.uplink_bytes_per_s,
            "hosts": {mac.hex(): list(where) for mac, where in self.hosts.items()},
            "peers": list(self.peers),
            "watches_paths": self.watches_paths,
        }
