"""Scheme ``ecmp``: every flow goes where its hash says. The baseline everybody has.

What GSOS adds to the switches' own local repair is what routing adds in a real fabric: when a spine
loses a leaf, the other leaves stop using that spine for that leaf. It neither places nor moves flows.
With ``repair`` ``controller`` it adds nothing to local repair but stands in its place.
"""

from __future__ import annotations

from testbed.gse.answers import link_decision
from testbed.gse.policy import Decisions
from testbed.gse.rulebook import host_rules
from testbed.gse.spread import leaf_spread_rules, spine_hash_rules
from testbed.gse.static import StaticPolicy
from testbed.model.attachment import Attachment
from testbed.model.scheme_spec import Repair
from testbed.model.topology import Topology


class EcmpPolicy(StaticPolicy):
    """Equal-cost multipath over all live spines, with a hash basis per switch and seed."""

    path_of_flows = "by hash"

    def __init__(
        self,
        topology: Topology,
        seed: int,
        *,
        scheme: str = "ecmp",
        attachment: Attachment = "none",
        repair: Repair = "local",
    ) -> None:
        super().__init__(topology, scheme)
        self._seed = seed
        self._repair: Repair = repair
        for leaf in topology.leaves:
            for rule in host_rules(topology, leaf.index, attachment):
                self._book.put(leaf.dpid, rule)
        for spine in topology.spines:
            for rule in spine_hash_rules(topology, seed, spine.index):
                self._book.put(spine.dpid, rule)
        self._spread()

    def port_changed(self, dpid: int, port: int, up: bool, now_s: float) -> Decisions:
        """Withdraw or bring back the paths over a link that failed or returned."""
        found = self._live.link_of(dpid, port)
        if found is None or not self._live.set_end(*found, up=up, now_s=now_s):
            return ()
        self._spread()
        action = "its paths are used again" if up else "its paths are withdrawn"
        return (link_decision(self._live, found[0], up=up, action=action, now_s=now_s),)

    def _spread(self) -> None:
        def usable(src: int, dst: int) -> tuple[int, ...]:
            # With nothing alive all stay in: whichever link returns first carries again, GSOS or not.
            return self._living(src, dst) or tuple(range(self._topology.fabric.paths))

        for leaf in self._topology.leaves:
            for rule in leaf_spread_rules(self._topology, self._seed, leaf.index, usable, self._repair):
                self._book.put(leaf.dpid, rule)
