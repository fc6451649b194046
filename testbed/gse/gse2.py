"""GSOS's part of GSE2.0: static rules by path and destination GSP, and a picture of the fabric's state.

The destination grants and the agents repair, so GSOS decides nothing per container. It installs what switches need
before the first frame and confirms failures. One policy serves every scheme that is a setting of the agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.gse.answers import failed_json, flow_json, link_decision, paths_json
from testbed.gse.dataplane.wire import ETH_CONTROL, ETH_DATA, MAC_PREFIX
from testbed.gse.liveness import Liveness
from testbed.gse.load import LoadMonitor
from testbed.gse.policy import Decision, Decisions, FlowKey, PortCounter
from testbed.gse.rulebook import Identity, RuleBook
from testbed.gse.spread import living_hashed_paths
from testbed.model.attachment import Attachment, gsp_port
from testbed.model.ranks import Flow
from testbed.model.rules import IN_PORT, Match, Output, Rule
from testbed.model.topology import Topology

PRIORITY_TURN_ROUND = 230  # a hello back to its leaf
PRIORITY_OUTBOUND = 220  # what an agent sends takes the path it names, even to its own leaf: that is a hello
PRIORITY_DELIVER = 210
ETH_TYPES = (ETH_DATA, ETH_CONTROL)


def outer_match(
    eth_type: int,
    *,
    path: int | None = None,
    leaf: int | None = None,
    port: int | None = None,
    in_port: int | None = None,
) -> Match:
    """Return the match on the outer MAC of GSE frames; ``path``, ``leaf`` and ``port`` count from 1, None: any."""
    value, mask = bytearray(MAC_PREFIX), bytearray(b"\xff\xff\xff")
    for field in (path, leaf, port):
        value.append(0 if field is None else field)
        mask.append(0 if field is None else 0xFF)
    return Match(in_port=in_port, eth_type=eth_type, eth_dst=f"{value.hex(':')}/{mask.hex(':')}")


def leaf_rules(topology: Topology, leaf: int, attachment: Attachment) -> list[Rule]:
    """Return the rules of a leaf: up by the path named, down to the agent or the host named."""
    rules: list[Rule] = []
    agent, mine = gsp_port(topology), leaf + 1
    hosts = [host for host in topology.hosts if host.leaf == leaf]
    for eth_type in ETH_TYPES:
        for path in range(topology.fabric.paths):
            up = (Output(topology.uplink_port(path)),)
            rules.append(Rule(PRIORITY_OUTBOUND, outer_match(eth_type, path=path + 1, in_port=agent), up))
            if attachment == "host":
                rules += [
                    Rule(PRIORITY_OUTBOUND, outer_match(eth_type, path=path + 1, in_port=host.port), up)
                    for host in hosts
                ]
        rules.append(Rule(PRIORITY_DELIVER, outer_match(eth_type, leaf=mine, port=0), (Output(agent),)))
        if attachment == "host":
            rules += [
                Rule(PRIORITY_DELIVER, outer_match(eth_type, leaf=mine, port=host.port), (Output(host.port),))
                for host in hosts
            ]
    return rules


def spine_rules(topology: Topology, spine: int) -> list[Rule]:
    """Return the rules of a spine: down to the leaf named, by the parallel link the path names; hellos turn round."""
    rules: list[Rule] = []
    for leaf in range(topology.fabric.leaves):
        for link in range(topology.fabric.links_per_pair):
            port, path = topology.downlink_port(leaf, link), topology.path_id(spine, link) + 1
            for eth_type in ETH_TYPES:
                match = outer_match(eth_type, path=path, leaf=leaf + 1)
                rules.append(Rule(PRIORITY_DELIVER, match, (Output(port),)))
            turn = outer_match(ETH_CONTROL, path=path, leaf=leaf + 1, in_port=port)
            rules.append(Rule(PRIORITY_TURN_ROUND, turn, (Output(IN_PORT),)))
    return rules


class Gse2Policy:
    """Static forwarding for agents; remembers jobs and link states to answer questions."""

    wants_flow_counters = False

    def __init__(self, topology: Topology, scheme: str, attachment: Attachment) -> None:
        self.scheme = scheme
        self._topology = topology
        self._live = Liveness(topology)
        self._load = LoadMonitor(topology)
        self._jobs: dict[str, tuple[Flow, ...]] = {}
        self._book = RuleBook(switch.dpid for switch in topology.switches)
        for leaf in topology.leaves:
            for rule in leaf_rules(topology, leaf.index, attachment):
                self._book.put(leaf.dpid, rule)
        for spine in topology.spines:
            for rule in spine_rules(topology, spine.index):
                self._book.put(spine.dpid, rule)

    def revision(self, dpid: int) -> int:
        """See Policy."""
        return self._book.revision(dpid)

    def rules(self, dpid: int) -> Mapping[Identity, Rule]:
        """See Policy."""
        return self._book.rules(dpid)

    def port_changed(self, dpid: int, port: int, up: bool, now_s: float) -> Decisions:
        """Note a link's failure or return; the agents have acted already."""
        found = self._live.link_of(dpid, port)
        if found is None or not self._live.set_end(*found, up=up, now_s=now_s):
            return ()
        action = "confirmed; the agents use it again after clean seconds" if up else "confirmed; the agents avoid it"
        return (link_decision(self._live, found[0], up=up, action=action, now_s=now_s),)

    def job_announced(self, job: str, flows: Sequence[Flow], now_s: float) -> Decisions:
        """Remember the job; containers need no placement."""
        self._jobs[job] = tuple(flows)
        reason = f"{self.scheme} places nothing: every path carries every flow"
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
        """Do nothing: this scheme has no timers here."""
        return ()

    def placement(self) -> list[dict[str, Any]]:
        """Return nothing: no flow has a path of its own."""
        return []

    def job_placement(self, job: str) -> list[dict[str, Any]]:
        """Return the job's flows, each without a path."""
        return [flow_json(flow) | {"path": None, "reason": "every path"} for flow in self._jobs.get(job, ())]

    def paths(self) -> dict[str, list[str]]:
        """See Policy."""
        return paths_json(self._topology, lambda src, dst: living_hashed_paths(self._topology, self._live, src, dst))

    def utilization(self) -> dict[str, float]:
        """See Policy."""
        return self._load.named()

    def failed_links(self) -> list[str]:
        """See Policy."""
        return failed_json(self._live)

    def snapshot(self) -> dict[str, Any]:
        """Return nothing to remember: rules follow from the topology."""
        return {}

    def restore(self, snapshot: Mapping[str, Any], now_s: float) -> None:
        """Do nothing: see ``snapshot``."""
