"""Which leaf-spine links carry, as far as the switches have reported."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.model.topology import Topology


@dataclass(frozen=True, slots=True)
class FabricLink:
    """A leaf-spine link by leaf and path id."""

    leaf: int
    path: int


class Liveness:
    """Both ends of every leaf-spine link. A link lives while neither end is reported down.

    Ends nobody has reported yet count as up: rules are installed before the last switch connects.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._switches = {switch.dpid: switch for switch in topology.switches}
        self._down: set[tuple[FabricLink, str]] = set()
        self._up_since_s: dict[FabricLink, float] = {}

    def link_of(self, dpid: int, port: int) -> tuple[FabricLink, str] | None:
        """Return the link a switch port belongs to and the tier of that end; None for host and unknown ports."""
        fabric, switch = self._topology.fabric, self._switches.get(dpid)
        if switch is None:
            return None
        if switch.tier == "leaf":
            path = port - self._topology.uplink_port(0)
            return (FabricLink(switch.index, path), "leaf") if 0 <= path < fabric.paths else None
        leaf, link = divmod(port - 1, fabric.links_per_pair)
        known = port >= 1 and leaf < fabric.leaves
        return (FabricLink(leaf, self._topology.path_id(switch.index, link)), "spine") if known else None

    def set_end(self, link: FabricLink, tier: str, *, up: bool, now_s: float) -> bool:
        """Record the state of one end; return whether the link's own state changed by it."""
        before = self.link_up(link)
        if up:
            self._down.discard((link, tier))
        else:
            self._down.add((link, tier))
        after = self.link_up(link)
        if after and not before:
            self._up_since_s[link] = now_s
        return after != before

    def link_up(self, link: FabricLink) -> bool:
        """Return whether a link carries."""
        return (link, "leaf") not in self._down and (link, "spine") not in self._down

    def path_up(self, src_leaf: int, dst_leaf: int, path: int) -> bool:
        """Return whether both links of a path between two leaves carry."""
        return self.link_up(FabricLink(src_leaf, path)) and self.link_up(FabricLink(dst_leaf, path))

    def path_clean_s(self, src_leaf: int, dst_leaf: int, path: int, now_s: float) -> float:
        """Return for how long a live path has been live (infinite: never seen failing), in seconds."""
        ends = (FabricLink(src_leaf, path), FabricLink(dst_leaf, path))
        return now_s - max(self._up_since_s.get(link, float("-inf")) for link in ends)

    def failed(self) -> list[FabricLink]:
        """Return the links that are down, in order."""
        return sorted({link for link, _tier in self._down}, key=lambda link: (link.leaf, link.path))

    def link_name(self, link: FabricLink) -> str:
        """Return ``l1-s2``, or ``l1-s2.1`` where leaf-spine pairs have several links."""
        return f"{self._topology.leaves[link.leaf].name}-{self._topology.path_name(link.path)}"
