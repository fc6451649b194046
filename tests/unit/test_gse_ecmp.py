from dataclasses import replace

from testbed.gse.ecmp import EcmpPolicy
from testbed.gse.policy import PortCounter
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import Flow
from testbed.model.rules import ETH_TYPE_IPV4, HashBucket, HashLive, Match, Output
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=3, spines=3, hosts_per_leaf=2))
L1, L2, L3, S2 = 0x101, 0x102, 0x103, 0x202
FLOW = Flow("10.0.1.1", "10.0.2.1", 6, 40000, 20001, 100)


def spread_ports(policy, dpid, leaf):
    match = Match(eth_type=ETH_TYPE_IPV4, ip_dst=f"10.0.{leaf}.0/24")
    action = policy.rules(dpid)[100, match].actions[0]
    assert isinstance(action, HashLive)
    return action.ports


def test_leaf_delivers_to_its_hosts_and_spreads_everything_else():
    policy = EcmpPolicy(TOPOLOGY, 1)
    rules = policy.rules(L1).values()
    assert {rule.actions[0] for rule in rules if rule.match.ip_dst == "10.0.1.2"} == {Output(2)}
    assert len(rules) == 2 + 2  # hosts, other leaves
    assert spread_ports(policy, L1, 3) == (3, 4, 5)


def bucket_ports(policy, dpid, leaf):
    """Return the port of each bucket in use, in order."""
    match = Match(eth_type=ETH_TYPE_IPV4, ip_dst=f"10.0.{leaf}.0/24")
    (action,) = policy.rules(dpid)[100, match].actions
    assert isinstance(action, HashBucket)
    chosen = [policy.rules(dpid)[100, replace(match, bucket=bucket)].actions for bucket in range(action.buckets)]
    return tuple(output.port for (output,) in chosen)


def test_with_repair_by_the_controller_no_leaf_looks_at_carriers_and_gsos_takes_the_dead_port_out():
    policy = EcmpPolicy(TOPOLOGY, 1, repair="controller")
    kinds = {type(action) for leaf in (L1, L2, L3) for rule in policy.rules(leaf).values() for action in rule.actions}
    assert kinds == {HashBucket, Output}
    assert bucket_ports(policy, L1, 2) == (3, 4, 5)
    before = dict(policy.rules(L1))
    (decision,) = policy.port_changed(L1, 4, False, 5.0)  # its own uplink to spine 2
    assert decision.subject == "l1-s2"
    assert bucket_ports(policy, L1, 2) == bucket_ports(policy, L1, 3) == (3, 5)
    assert bucket_ports(policy, L2, 1) == (3, 5), "the others leave the far end alone, as under local repair"
    assert bucket_ports(policy, L2, 3) == (3, 4, 5)
    assert policy.rules(L1).keys() == before.keys(), "no bucket is ever without a rule"
    policy.port_changed(L1, 4, True, 6.0)
    assert policy.rules(L1) == before


def test_seed_changes_nothing_but_the_basis():
    one, two = (EcmpPolicy(TOPOLOGY, seed).rules(L1) for seed in (1, 2))
    assert one.keys() == two.keys()
    assert one != two


def test_lost_link_is_withdrawn_everywhere_it_matters_and_nowhere_else():
    policy = EcmpPolicy(TOPOLOGY, 1)
    revisions = {switch.dpid: policy.revision(switch.dpid) for switch in TOPOLOGY.switches}
    (decision,) = policy.port_changed(S2, 3, False, 5.0)  # spine 2 loses leaf 3
    assert (decision.kind, decision.subject, decision.t_s) == ("link down", "l3-s2", 5.0)
    assert spread_ports(policy, L1, 3) == (3, 5)
    assert spread_ports(policy, L1, 2) == (3, 4, 5)
    assert spread_ports(policy, L3, 1) == (3, 5)
    changed = {dpid for dpid, revision in revisions.items() if policy.revision(dpid) != revision}
    assert changed == {L1, L2, L3}, "the spine itself has nothing to change"
    assert policy.failed_links() == ["l3-s2"]
    assert policy.paths()["l1-l3"] == ["s1", "s3"]


def test_the_other_end_of_a_dead_link_is_no_news():
    policy = EcmpPolicy(TOPOLOGY, 1)
    assert policy.port_changed(S2, 3, False, 5.0)
    assert policy.port_changed(L3, 4, False, 5.1) == ()
    assert policy.port_changed(S2, 3, True, 6.0) == ()
    (decision,) = policy.port_changed(L3, 4, True, 6.1)
    assert decision.kind == "link up"
    assert policy.rules(L1) == EcmpPolicy(TOPOLOGY, 1).rules(L1)


def test_with_no_path_left_all_stay_so_that_the_first_to_return_carries():
    policy = EcmpPolicy(TOPOLOGY, 1)
    for port in (3, 4, 5):
        policy.port_changed(L1, port, False, 1.0)
    assert spread_ports(policy, L1, 2) == (3, 4, 5)
    assert policy.paths()["l1-l2"] == []
    assert policy.paths()["l2-l3"] == ["s1", "s2", "s3"]


def test_host_ports_and_unknown_ports_are_no_business_of_the_fabric():
    policy = EcmpPolicy(TOPOLOGY, 1)
    assert policy.port_changed(L1, 1, False, 1.0) == ()
    assert policy.port_changed(L1, 99, False, 1.0) == ()
    assert policy.port_changed(0x777, 1, False, 1.0) == ()


def test_announced_jobs_are_taken_note_of_and_left_to_the_hash():
    policy = EcmpPolicy(TOPOLOGY, 1)
    before = dict(policy.rules(L1))
    policy.job_announced("job", [FLOW], 1.0)
    assert policy.rules(L1) == before
    assert [answer["path"] for answer in policy.job_placement("job")] == [None]
    assert policy.placement() == []
    policy.job_withdrawn("job", 2.0)
    assert policy.job_placement("job") == []


def test_utilization_is_the_share_of_the_link_rate():
    policy = EcmpPolicy(TOPOLOGY, 1)
    policy.counters({(L1, 3): PortCounter(tx_bytes=0, age_s=10.0)}, {}, 1.0)
    assert policy.utilization() == {}
    policy.counters({(L1, 3): PortCounter(tx_bytes=312_500, age_s=10.5)}, {}, 1.5)  # 5 Mbit/s of 10
    assert policy.utilization() == {"l1-eth3>s1-eth1": 0.5}


def test_a_restarted_policy_has_nothing_to_remember():
    policy = EcmpPolicy(TOPOLOGY, 1)
    policy.restore(policy.snapshot(), 1.0)
    assert policy.rules(L1) == EcmpPolicy(TOPOLOGY, 1).rules(L1)
