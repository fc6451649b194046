"""The static rules of schemes with agents, executed in memory: a frame ends where its outer address says."""

from __future__ import annotations

import pytest

from testbed.gse.dataplane import wire
from testbed.gse.gse2 import Gse2Policy
from testbed.model.attachment import Attachment, gsp_port
from testbed.model.fabric_spec import FabricSpec
from testbed.model.rules import IN_PORT, Output, Rule
from testbed.model.topology import Topology

FABRICS = [FabricSpec(), FabricSpec(leaves=2, spines=3, hosts_per_leaf=5), FabricSpec(links_per_pair=2)]


def matches(rule: Rule, in_port: int, eth_type: int, eth_dst: bytes) -> bool:
    assert rule.match.eth_dst is not None
    value, mask = (int(part.replace(":", ""), 16) for part in rule.match.eth_dst.split("/"))
    return (
        rule.match.in_port in (None, in_port)
        and rule.match.eth_type == eth_type
        and int.from_bytes(eth_dst, "big") & mask == value
    )


def output(policy: Gse2Policy, dpid: int, in_port: int, eth_type: int, eth_dst: bytes) -> int | None:
    """Return the port a switch sends a frame out of, None when it drops it."""
    found = [rule for rule in policy.rules(dpid).values() if matches(rule, in_port, eth_type, eth_dst)]
    if not found:
        return None
    best = max(rule.priority for rule in found)
    (rule,) = [rule for rule in found if rule.priority == best]  # never ambiguous
    (action,) = rule.actions
    assert isinstance(action, Output)
    if action.port == IN_PORT:
        return in_port
    assert action.port != in_port, "a switch does not send a frame back where it came from"
    return action.port


def travel(
    topology: Topology, policy: Gse2Policy, leaf: int, in_port: int, eth_type: int, dst: bytes
) -> tuple[int, int]:
    """Follow a frame from a leaf's port; return (leaf, port) where it leaves the fabric."""
    port = output(policy, topology.leaves[leaf].dpid, in_port, eth_type, dst)
    assert port is not None
    path = port - topology.uplink_port(0)
    if not 0 <= path < topology.fabric.paths:
        return leaf, port
    assert path == dst[3] - 1
    spine, link = topology.path_spine_link(path)
    down = output(policy, topology.spines[spine].dpid, topology.downlink_port(leaf, link), eth_type, dst)
    assert down is not None
    far, far_link = divmod(down - 1, topology.fabric.links_per_pair)
    assert far_link == link  # a path is one lane
    last = output(policy, topology.leaves[far].dpid, topology.uplink_port(path), eth_type, dst)
    assert last is not None
    return far, last


@pytest.mark.parametrize("fabric", FABRICS)
def test_agents_of_leaves_reach_each_other_by_every_path(fabric: FabricSpec) -> None:
    topology = Topology(fabric)
    policy = Gse2Policy(topology, "gse2-n2n", "leaf")
    agent = gsp_port(topology)
    for src in range(fabric.leaves):
        for dst in range(fabric.leaves):
            for path in range(fabric.paths):
                for eth_type in (wire.ETH_DATA, wire.ETH_CONTROL):
                    if src == dst and eth_type == wire.ETH_DATA:
                        continue
                    mac = wire.mac(wire.address(dst + 1), path + 1)
                    # to its own leaf: a hello, which the spine turns round
                    assert travel(topology, policy, src, agent, eth_type, mac) == (dst, agent)


@pytest.mark.parametrize("fabric", FABRICS)
def test_agents_of_hosts_reach_each_other_and_the_watching_agents(fabric: FabricSpec) -> None:
    topology = Topology(fabric)
    policy = Gse2Policy(topology, "gse2-e2e", "host")
    for src in topology.hosts:
        for dst in topology.hosts:
            if src == dst:
                continue
            address = wire.address(dst.leaf + 1, dst.port)
            for path in range(fabric.paths) if src.leaf != dst.leaf else [-1]:
                mac = wire.mac(address, path + 1)
                assert travel(topology, policy, src.leaf, src.port, wire.ETH_DATA, mac) == (dst.leaf, dst.port)
        own = wire.mac(wire.address(src.leaf + 1), 0)
        assert travel(topology, policy, src.leaf, src.port, wire.ETH_CONTROL, own) == (src.leaf, gsp_port(topology))


@pytest.mark.parametrize("attachment", ["leaf", "host"])
def test_ordinary_frames_are_dropped(attachment: Attachment) -> None:
    topology = Topology(FabricSpec())
    policy = Gse2Policy(topology, "gse2-n2n", attachment)
    host = bytes.fromhex(topology.hosts[5].mac.replace(":", ""))
    for switch in topology.switches:
        assert output(policy, switch.dpid, 1, wire.ETH_DATA, host) is None


def test_rules_grow_with_paths_and_leaves_not_with_flows() -> None:
    topology = Topology(FabricSpec(leaves=8, spines=4, hosts_per_leaf=4))
    policy = Gse2Policy(topology, "gse2-n2n", "leaf")
    assert len(policy.rules(topology.leaves[0].dpid)) == 2 * (4 + 1)  # per EtherType: a path each, and the agent
    assert len(policy.rules(topology.spines[0].dpid)) == 3 * 8  # data, control and hello per leaf


def test_failure_is_noted_and_changes_no_rule() -> None:
    topology = Topology(FabricSpec())
    policy = Gse2Policy(topology, "gse2-n2n", "leaf")
    leaf = topology.leaves[0]
    before = policy.revision(leaf.dpid)
    (decision,) = policy.port_changed(leaf.dpid, topology.uplink_port(1), False, 5.0)
    assert decision.kind == "link down"
    assert policy.failed_links() == ["l1-s2"]
    assert policy.revision(leaf.dpid) == before
    assert "s2" not in policy.paths()["l1-l2"]
