"""Scheme ``ecmp``: every flow goes where its hash says. The baseline everybody has.

What GSOS adds to the switches' own local repair is what routing adds in a real fabric: when a spine
loses a leaf, the other leaves stop using that spine for that leaf. It neither places nor moves flows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.gse.answers import failed_json, flow_json, link_decision, paths_json
from testbed.gse.liveness import Liveness
from testbed.gse.load import LoadMonitor
from testbed.gse.policy import Decision, Decisions, FlowKey, PortCounter
from testbed.gse.rulebook import Identity, RuleBook, host_rules
from testbed.gse.spread import leaf_spread_rules, living_hashed_paths, spine_hash_rules
from testbed.model.attachment import Attachment
from testbed.model.ranks import Flow
from testbed.model.rules import Rule
from testbed.model.topology import Topology


class EcmpPolicy:
    """Equal-cost multipath over all live spines, with a hash basis per switch and seed."""

    wants_flow_counters = False

    def __init__(self, topology: Topology, seed: int, *, scheme: str = "ecmp", attachment: Attachment = "none") -> None:
        self.scheme = scheme
        self._topology = topology
        self._seed = seed
        self._live = Liveness(topology)
        self._load = LoadMonitor(topology)
        self._jobs: dict[str, tuple[Flow, ...]] = {}
        self._book = RuleBook(switch.dpid for switch in topology.switches)
        for leaf in topology.leaves:
            for rule in host_rules(topology, leaf.index, attachment):
                self._book.put(leaf.dpid, rule)
        for spine in topology.spines:
            for rule in spine_hash_rules(topology, seed, spine.index):
                self._book.put(spine.dpid, rule)
        self._spread()

    def revision(self, dpid: int) -> int:
        """See Policy."""
        return self._book.revision(dpid)

    def rules(self, dpid: int) -> Mapping[Identity, Rule]:
        """See Policy."""
        return self._book.rules(dpid)

    def port_changed(self, dpid: int, port: int, up: bool, now_s: float) -> Decisions:
        """Withdraw or bring back the paths over a link that failed or returned."""
        found = self._live.link_of(dpid, port)
        if found is None or not self._live.set_end(*found, up=up, now_s=now_s):
            return ()
        self._spread()
        action = "its paths are used again" if up else "its paths are withdrawn"
        return (link_decision(self._live, found[0], up=up, action=action, now_s=now_s),)

    def job_announced(self, job: str, flows: Sequence[Flow], now_s: float) -> Decisions:
        """Remember the job; the hash alone decides where its flows go."""
        self._jobs[job] = tuple(flows)
        reason = "ecmp places nothing: the hash decides"
        return (Decision(t_s=now_s, kind="announced", subject=job, action=f"{len(flows)} flows", reason=reason),)

    def job_withdrawn(self, job: str, now_s: float) -> Decisions:
        """Forget the job, if it is known."""
        self._jobs.pop(job, None)
        return ()

    def first_packet(self, dpid: int, in_port: int, flow: Flow, now_s: float) -> Decisions:
        """Do nothing: no rule of this scheme sends packets to GSOS."""
        return ()

    def flow_removed(self, dpid: int, flow: Flow, now_s: float) -> Decisions:
        """Do nothing: no rule of this scheme times out."""
        return ()

    def counters(
        self, port_tx: Mapping[tuple[int, int], PortCounter], flow_bytes: Mapping[FlowKey, int], now_s: float
    ) -> Decisions:
        """Take in utilisation, for ``utilization`` only."""
        self._load.record(port_tx, flow_bytes, now_s)
        return ()

    def tick(self, now_s: float) -> Decisions:
        """Do nothing: this scheme has no timers."""
        return ()

    def placement(self) -> list[dict[str, Any]]:
        """Return nothing: this scheme places no flow."""
        return []

    def job_placement(self, job: str) -> list[dict[str, Any]]:
        """Return the job's flows, each without a path: only the switches know."""
        return [flow_json(flow) | {"path": None, "reason": "by hash"} for flow in self._jobs.get(job, ())]

    def paths(self) -> dict[str, list[str]]:
        """See Policy."""
        return paths_json(self._topology, self._living)

    def utilization(self) -> dict[str, float]:
        """See Policy."""
        return self._load.named()

    def failed_links(self) -> list[str]:
        """See Policy."""
        return failed_json(self._live)

    def snapshot(self) -> dict[str, Any]:
        """Return nothing to remember: rules follow from topology, seed and port states."""
        return {}

    def restore(self, snapshot: Mapping[str, Any], now_s: float) -> None:
        """Do nothing: see ``snapshot``."""

    def _living(self, src: int, dst: int) -> tuple[int, ...]:
        return living_hashed_paths(self._topology, self._live, src, dst)

    def _spread(self) -> None:
        def usable(src: int, dst: int) -> tuple[int, ...]:
            # With nothing alive all stay in: whichever link returns first carries again, GSOS or not.
            return self._living(src, dst) or tuple(range(self._topology.fabric.paths))

        for leaf in self._topology.leaves:
            for rule in leaf_spread_rules(self._topology, self._seed, leaf.index, usable):
                self._book.put(leaf.dpid, rule)
