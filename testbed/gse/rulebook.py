"""The rules wanted on every switch, and the rules each switch needs whatever the scheme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from testbed.gse.policy import PRIORITY_HOST
from testbed.model.attachment import Attachment, gsp_port
from testbed.model.ranks import Flow
from testbed.model.rules import ETH_TYPE_IPV4, Match, Output, Rule
from testbed.model.topology import Topology

Identity = tuple[int, Match]


class RuleBook:
    """Rules by switch and identity; ``revision`` says cheaply whether a switch's rules have changed."""

    def __init__(self, dpids: Iterable[int]) -> None:
        self._rules: dict[int, dict[Identity, Rule]] = {dpid: {} for dpid in dpids}
        self._revisions = dict.fromkeys(self._rules, 0)

    def put(self, dpid: int, rule: Rule) -> None:
        """Want ``rule`` on a switch, in place of one with the same priority and match."""
        if self._rules[dpid].get(rule.identity) != rule:
            self._rules[dpid][rule.identity] = rule
            self._revisions[dpid] += 1

    def drop(self, dpid: int, identity: Identity) -> None:
        """No longer want a rule; it need not be there."""
        if self._rules[dpid].pop(identity, None) is not None:
            self._revisions[dpid] += 1

    def rules(self, dpid: int) -> Mapping[Identity, Rule]:
        """Return the rules wanted on a switch; none for a switch that is not part of the fabric."""
        return MappingProxyType(self._rules.get(dpid, {}))

    def revision(self, dpid: int) -> int:
        """Return a number that grows with every change of a switch's rules."""
        return self._revisions.get(dpid, 0)


def host_rules(topology: Topology, leaf: int, attachment: Attachment = "none") -> list[Rule]:
    """Return the rules that deliver to the hosts of a leaf, or to the leaf's agent that stands before them."""
    agent = gsp_port(topology) if attachment == "leaf" else None
    return [
        Rule(PRIORITY_HOST, Match(eth_type=ETH_TYPE_IPV4, ip_dst=host.ip), (Output(agent or host.port),))
        for host in topology.hosts
        if host.leaf == leaf
    ]


def flow_match(flow: Flow) -> Match:
    """Return the match for exactly one transport flow."""
    return Match(
        eth_type=ETH_TYPE_IPV4,
        ip_src=flow.src_ip,
        ip_dst=flow.dst_ip,
        ip_proto=flow.proto,
        l4_src=flow.src_port,
        l4_dst=flow.dst_port,
    )


def reverse_of(flow: Flow) -> Flow:
    """Return the flow in the other direction (of a TCP connection: its acknowledgements)."""
    return Flow(flow.dst_ip, flow.src_ip, flow.proto, flow.dst_port, flow.src_port)
