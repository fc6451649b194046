"""GSOS's part of GSE2.0: static rules by path and destination GSP, and a picture of the fabric's state.

The destination grants and the agents repair, so GSOS decides nothing per container. It installs what switches need
before the first frame and confirms failures. One policy serves every scheme that is a setting of the agents.
"""

from __future__ import annotations

from testbed.gse.answers import link_decision
from testbed.gse.dataplane.wire import ETH_CONTROL, ETH_DATA, MAC_PREFIX
from testbed.gse.policy import Decisions
from testbed.gse.static import StaticPolicy
from testbed.model.attachment import Attachment, gsp_port
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


class Gse2Policy(StaticPolicy):
    """Static forwarding for agents; remembers jobs and link states to answer questions."""

    path_of_flows = "every path carries every flow"

    def __init__(self, topology: Topology, scheme: str, attachment: Attachment) -> None:
        super().__init__(topology, scheme)
        for leaf in topology.leaves:
            for rule in leaf_rules(topology, leaf.index, attachment):
                self._book.put(leaf.dpid, rule)
        for spine in topology.spines:
            for rule in spine_rules(topology, spine.index):
                self._book.put(spine.dpid, rule)

    def port_changed(self, dpid: int, port: int, up: bool, now_s: float) -> Decisions:
        """Note a link's failure or return; the agents have acted already."""
        found = self._live.link_of(dpid, port)
        if found is None or not self._live.set_end(*found, up=up, now_s=now_s):
            return ()
        action = (
            "confirmed; the agents use it again after a clean second, or more if it failed often"
            if up
            else "confirmed; the agents avoid it"
        )
        return (link_decision(self._live, found[0], up=up, action=action, now_s=now_s),)
