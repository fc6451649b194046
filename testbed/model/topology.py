"""Leaf-spine topology as plain values: names, ports, dpids, addresses, all paths.

Needs neither Mininet nor root. Leaves and spines are numbered from 1 in names and from 0 in code.
A *path* between two leaves is a (spine, parallel link) pair; its id is ``spine * links_per_pair + link``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from testbed.model.fabric_spec import FabricSpec

LEAF_DPID_BASE = 0x100
SPINE_DPID_BASE = 0x200


@dataclass(frozen=True)
class Host:
    """A host: ``leaf`` and ``index`` are 0-based, ``port`` is its port on the leaf."""

    name: str
    leaf: int
    index: int
    port: int
    ip: str
    mac: str

    @property
    def intf(self) -> str:
        """Name of the host's interface."""
        return f"{self.name}-eth0"


@dataclass(frozen=True)
class Switch:
    """A leaf or spine; ``index`` is 0-based within its tier."""

    name: str
    tier: Literal["leaf", "spine"]
    index: int
    dpid: int


@dataclass(frozen=True)
class End:
    """One end of a link. For a switch ``port`` is its OpenFlow port, for a host 0."""

    node: str
    port: int

    @property
    def intf(self) -> str:
        """Name of the interface, e.g. ``l1-eth5``."""
        return f"{self.node}-eth{self.port}"


@dataclass(frozen=True)
class Link:
    """A full-duplex link. ``lower`` is the host (host links) or the leaf (uplinks)."""

    kind: Literal["host", "uplink"]
    lower: End
    upper: End
    rate_mbps: float


@dataclass(frozen=True)
class Direction:
    """One direction of a link; the queue is on the egress interface ``src.intf``."""

    kind: Literal["host_tx", "host_rx", "uplink", "downlink"]
    src: End
    dst: End
    rate_mbps: float

    @property
    def name(self) -> str:
        """Name for tables and figures, e.g. ``l1-eth5>s1-eth1``."""
        return f"{self.src.intf}>{self.dst.intf}"


@dataclass(frozen=True)
class Topology:
    """The whole fabric, computed from its specification."""

    fabric: FabricSpec

    @cached_property
    def leaves(self) -> tuple[Switch, ...]:
        """Leaves l1.., dpid 0x100 + number."""
        return tuple(Switch(f"l{i + 1}", "leaf", i, LEAF_DPID_BASE + i + 1) for i in range(self.fabric.leaves))

    @cached_property
    def spines(self) -> tuple[Switch, ...]:
        """Spines s1.., dpid 0x200 + number."""
        return tuple(Switch(f"s{i + 1}", "spine", i, SPINE_DPID_BASE + i + 1) for i in range(self.fabric.spines))

    @property
    def switches(self) -> tuple[Switch, ...]:
        """Leaves, then spines."""
        return self.leaves + self.spines

    @cached_property
    def hosts(self) -> tuple[Host, ...]:
        """Hosts h1.., leaf by leaf; address 10.0.LEAF.PORT, locally administered MAC 02:00:00:00:LEAF:PORT."""
        per_leaf = self.fabric.hosts_per_leaf
        return tuple(
            Host(
                name=f"h{leaf * per_leaf + index + 1}",
                leaf=leaf,
                index=index,
                port=index + 1,
                ip=f"10.0.{leaf + 1}.{index + 1}",
                mac=f"02:00:00:00:{leaf + 1:02x}:{index + 1:02x}",
            )
            for leaf in range(self.fabric.leaves)
            for index in range(per_leaf)
        )

    @cached_property
    def _host_by_name(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _host_by_ip(self) -> dict[str, Host]:
        return {host.ip: host for host in self.hosts}

    def host(self, name: str) -> Host:
        """Return the host called ``name``; KeyError when there is none."""
        return self._host_by_name[name]

    def host_by_ip(self, ip: str) -> Host | None:
        """Return the host with this address, or None."""
        return self._host_by_ip.get(ip)

    def leaf_prefix(self, leaf: int) -> str:
        """Return the CIDR prefix of the hosts on ``leaf``."""
        return f"10.0.{leaf + 1}.0/24"

    def path_id(self, spine: int, link: int) -> int:
        """Return the id of the path over ``spine`` by parallel link ``link`` (both 0-based)."""
        return spine * self.fabric.links_per_pair + link

    def path_spine_link(self, path: int) -> tuple[int, int]:
        """Return (spine, parallel link), 0-based, of a path id."""
        return divmod(path, self.fabric.links_per_pair)

    def path_name(self, path: int) -> str:
        """Return ``s2``, or ``s2.1`` where leaf-spine pairs have several links."""
        spine, link = self.path_spine_link(path)
        return f"s{spine + 1}" if self.fabric.links_per_pair == 1 else f"s{spine + 1}.{link + 1}"

    def uplink_port(self, path: int) -> int:
        """Return the port on every leaf that leads to ``path``."""
        return self.fabric.hosts_per_leaf + path + 1

    def downlink_port(self, leaf: int, link: int) -> int:
        """Return the port on every spine that leads to ``leaf`` by parallel link ``link``."""
        return leaf * self.fabric.links_per_pair + link + 1

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Host links in host order, then uplinks leaf by leaf in path order."""
        host_links = [
            Link("host", End(h.name, 0), End(self.leaves[h.leaf].name, h.port), self.fabric.host_link_mbps)
            for h in self.hosts
        ]
        uplinks = []
        for leaf in self.leaves:
            for path in range(self.fabric.paths):
                spine, link = self.path_spine_link(path)
                lower = End(leaf.name, self.uplink_port(path))
                upper = End(self.spines[spine].name, self.downlink_port(leaf.index, link))
                uplinks.append(Link("uplink", lower, upper, self.fabric.uplink_mbps))
        return tuple(host_links + uplinks)

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction of every link, in link order, upward first."""
        both = []
        for link in self.links:
            up, down = ("host_tx", "host_rx") if link.kind == "host" else ("uplink", "downlink")
            both.append(Direction(up, link.lower, link.upper, link.rate_mbps))  # type: ignore[arg-type]
            both.append(Direction(down, link.upper, link.lower, link.rate_mbps))  # type: ignore[arg-type]
        return tuple(both)

    def link_ends(self, leaf: int, spine: int, link: int) -> tuple[End, End]:
        """Return the (leaf, spine) ends of one leaf-spine link."""
        return (
            End(self.leaves[leaf].name, self.uplink_port(self.path_id(spine, link))),
            End(self.spines[spine].name, self.downlink_port(leaf, link)),
        )

    def route(self, src: Host, dst: Host, path: int) -> tuple[Direction, ...]:
        """Return the directions a frame takes from ``src`` to ``dst``; ``path`` matters across leaves only."""
        by_src = self._direction_by_src
        first = by_src[src.intf]
        last = by_src[End(self.leaves[dst.leaf].name, dst.port).intf]
        if src.leaf == dst.leaf:
            return (first, last)
        spine, link = self.path_spine_link(path)
        up = by_src[End(self.leaves[src.leaf].name, self.uplink_port(path)).intf]
        down = by_src[End(self.spines[spine].name, self.downlink_port(dst.leaf, link)).intf]
        return (first, up, down, last)

    @cached_property
    def _direction_by_src(self) -> dict[str, Direction]:
        return {direction.src.intf: direction for direction in self.directions}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value from which ``from_json`` rebuilds the topology."""
        return {"fabric": self.fabric.model_dump(mode="json")}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Topology:
        """Rebuild a topology written by ``to_json``."""
        return cls(FabricSpec.model_validate(value["fabric"]))
