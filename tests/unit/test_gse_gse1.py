from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.gse.announced import expected_fractions
from testbed.gse.gse1 import Gse1Policy
from testbed.gse.pins import IDLE_TIMEOUT_S
from testbed.gse.policy import PRIORITY_PINNED, PortCounter
from testbed.gse.rulebook import flow_match, reverse_of
from testbed.model import pattern
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import TCP, UDP, Flow, pair_flows, place_ranks
from testbed.model.rules import FirstLive, HashBucket, Output, PacketIn
from testbed.model.scenario import GsosSpec
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=4, spines=4, hosts_per_leaf=4))
L1, L2, S1, S2 = 0x101, 0x102, 0x201, 0x202
SETTINGS = GsosSpec(restore_hold_s=1.0, hold_s=2.0)


def policy_of(topology=TOPOLOGY, **changes):
    return Gse1Policy(topology, 1, SETTINGS.model_copy(update=changes))


def ring(topology=TOPOLOGY, flows_per_hop=1, demand_bytes=1000, placement="cross_leaf"):
    rng = Random(7)
    hosts = place_ranks(topology, topology.fabric.hosts, placement, rng)
    hops = pair_flows(
        hosts, pattern.ring(len(hosts)).pairs, flows_per_pair=flows_per_hop, demand_bytes=demand_bytes, rng=rng
    )
    return [flow for hop in hops for flow in hop]


def tcp(src, dst, port=40000):
    return Flow(src, dst, TCP, port, 20000)


def pinned(policy, dpid, flow):
    """Return the ports of the rule that pins a flow, best first; None when there is none."""
    rule = policy.rules(dpid).get((PRIORITY_PINNED, flow_match(flow)))
    if rule is None:
        return None
    (action,) = rule.actions
    assert isinstance(action, FirstLive)
    return action.ports


def where(policy):
    return {(answer["src_ip"], answer["dst_ip"], answer["src_port"]): answer["path"] for answer in policy.placement()}


def first_port(policy, flow):
    host = TOPOLOGY.host_by_ip(flow.src_ip)
    ports = pinned(policy, TOPOLOGY.leaves[host.leaf].dpid, flow)
    return None if ports is None else ports[0]


# --- announced jobs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fabric",
    [
        {"leaves": 4, "spines": 4, "hosts_per_leaf": 4},
        {"leaves": 2, "spines": 8, "hosts_per_leaf": 4},
        {"leaves": 3, "spines": 5, "hosts_per_leaf": 3},
        {"leaves": 8, "spines": 4, "hosts_per_leaf": 2},
        {"leaves": 4, "spines": 2, "hosts_per_leaf": 4, "links_per_pair": 2},
    ],
)
def test_ring_shares_no_uplink_and_no_downlink(fabric):
    topology = Topology(FabricSpec(**fabric))
    policy = policy_of(topology)
    policy.job_announced("ring", ring(topology), 0.0)
    used = Counter(answer[end] for answer in policy.placement() for end in ("uplink", "downlink"))
    assert max(used.values()) == 1


def test_twice_as_many_flows_as_paths_share_links_two_by_two():
    policy = policy_of()
    policy.job_announced("ring", ring(flows_per_hop=2), 0.0)
    used = Counter(answer[end] for answer in policy.placement() for end in ("uplink", "downlink"))
    assert set(used.values()) == {2}
    assert len(used) == 32


def test_flow_and_its_acknowledgements_take_the_same_path():
    policy = policy_of()
    flows = ring()
    policy.job_announced("ring", flows, 0.0)
    for flow in flows:
        assert first_port(policy, flow) == first_port(policy, reverse_of(flow)) is not None


def test_rule_of_a_placed_flow_lists_every_other_uplink_for_when_its_own_is_dead():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.job_announced("job", [flow], 0.0)
    ports = pinned(policy, L1, flow)
    assert sorted(ports) == [5, 6, 7, 8]
    assert policy.rules(L1)[PRIORITY_PINNED, flow_match(flow)].idle_timeout_s == 0


def test_alternatives_are_turned_from_flow_to_flow_so_that_a_failure_spreads_them():
    topology = Topology(FabricSpec(leaves=2, spines=4, hosts_per_leaf=4))
    policy = policy_of(topology)
    flows = [Flow("10.0.1.1", "10.0.2.1", TCP, 40000 + i, 1) for i in range(16)]
    policy.job_announced("job", flows, 0.0)
    by_path = {}
    for flow in flows:
        first, second, *_rest = pinned(policy, L1, flow)
        by_path.setdefault(first, set()).add(second)
    assert all(len(seconds) > 1 for seconds in by_path.values())


def test_flows_within_a_leaf_need_no_path():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.1.2")
    assert policy.job_announced("job", [flow], 0.0) == ()
    assert [answer["path"] for answer in policy.job_placement("job")] == [None]


def test_flow_announced_in_both_directions_gets_two_places_of_its_own():
    policy = policy_of()
    there, back = tcp("10.0.1.1", "10.0.2.1"), reverse_of(tcp("10.0.1.1", "10.0.2.1"))
    policy.job_announced("job", [there, back], 0.0)
    assert [answer["both_ways"] for answer in policy.placement()] == [False, False]


def test_reverse_announced_later_by_another_job_goes_its_own_way():
    policy = policy_of()
    there = tcp("10.0.1.1", "10.0.2.1")
    policy.job_announced("one", [there], 0.0)
    policy.job_announced("two", [reverse_of(there)], 1.0)
    assert [answer["both_ways"] for answer in policy.placement()] == [False, False]
    policy.job_withdrawn("two", 2.0)
    assert pinned(policy, L2, reverse_of(there)) is None
    assert pinned(policy, L1, there) is not None


def test_second_job_avoids_the_links_of_the_first():
    policy = policy_of()
    policy.job_announced("one", [tcp("10.0.1.1", "10.0.2.1", 1)], 0.0)
    policy.job_announced("two", [tcp("10.0.1.2", "10.0.2.2", 2), tcp("10.0.1.3", "10.0.2.3", 3)], 1.0)
    assert len({answer["uplink"] for answer in policy.placement()}) == 3


def test_announcing_again_replaces_and_withdrawing_removes():
    policy = policy_of()
    fresh = {dpid: dict(policy.rules(dpid)) for dpid in (L1, L2)}
    one, two = tcp("10.0.1.1", "10.0.2.1", 1), tcp("10.0.1.1", "10.0.2.1", 2)
    policy.job_announced("job", [one], 0.0)
    policy.job_announced("job", [two], 1.0)
    assert (pinned(policy, L1, one), pinned(policy, L2, reverse_of(one))) == (None, None)
    assert pinned(policy, L1, two) is not None
    policy.job_withdrawn("job", 2.0)
    assert {dpid: dict(policy.rules(dpid)) for dpid in (L1, L2)} == fresh


@pytest.mark.parametrize(
    ("flows", "what"),
    [
        ([tcp("10.0.9.1", "10.0.2.1")], "source is no host of this fabric; got 10.0.9.1"),
        ([tcp("10.0.1.1", "10.0.2.200")], "destination is no host"),
        ([tcp("10.0.1.1", "10.0.2.1"), tcp("10.0.1.1", "10.0.2.1")], "flow announced twice"),
        ([tcp("10.0.1.1", "10.0.2.1", 77)], "flow belongs to another job"),
        ([Flow("10.0.1.1", "10.0.2.1", TCP, 1, 2, -5)], "negative demand; got -5 B"),
    ],
)
def test_bad_announcement_is_refused_and_changes_nothing(flows, what):
    policy = policy_of()
    policy.job_announced("other", [tcp("10.0.1.1", "10.0.2.1", 77)], 0.0)
    before = dict(policy.rules(L1))
    with pytest.raises(InputError, match=what):
        policy.job_announced("job", flows, 1.0)
    assert policy.rules(L1) == before


def test_withdrawing_an_unknown_job_is_refused():
    with pytest.raises(InputError, match="unknown job; got nothing-like-it"):
        policy_of().job_withdrawn("nothing-like-it", 0.0)


def test_expected_share_is_that_of_the_tighter_end():
    # h1 sends 300 and 100; h5 receives 300 + 300, so the first flow is held to a half there, not to 3/4.
    flows = [
        Flow("10.0.1.1", "10.0.2.1", TCP, 1, 1, 300),
        Flow("10.0.1.1", "10.0.2.2", TCP, 2, 1, 100),
        Flow("10.0.1.2", "10.0.2.1", TCP, 3, 1, 300),
    ]
    assert expected_fractions(TOPOLOGY, flows) == pytest.approx([0.5, 0.25, 0.5])


def test_expected_share_of_a_faster_uplink_is_smaller():
    topology = Topology(FabricSpec(host_rate_mbps=10, uplink_rate_mbps=40))
    assert expected_fractions(topology, [tcp("10.0.1.1", "10.0.2.1")]) == [0.25]


def test_flows_without_a_demand_count_as_typical_ones():
    flows = [Flow("10.0.1.1", "10.0.2.1", TCP, 1, 1, 200), Flow("10.0.1.1", "10.0.2.2", TCP, 2, 1, 0)]
    assert expected_fractions(TOPOLOGY, flows) == pytest.approx([0.5, 0.5])


# --- failures ---------------------------------------------------------------------------------------


def fail(policy, leaf, path, now_s, up=False):
    """Take both ends of a link down (or up) as two switches report it."""
    spine, link = policy._topology.path_spine_link(path)
    lower, upper = policy._topology.link_ends(leaf, spine, link)
    first = policy.port_changed(0x101 + leaf, lower.port, up, now_s)
    return first + policy.port_changed(0x201 + spine, upper.port, up, now_s)


def test_only_the_flows_of_a_failed_link_move_and_all_of_them():
    policy = policy_of()
    policy.job_announced("ring", ring(), 0.0)
    before = where(policy)
    decisions = fail(policy, 0, 1, 5.0)  # l1-s2: one flow out of leaf 1, one into it
    after = where(policy)
    moved = {flow for flow in before if before[flow] != after[flow]}
    assert len(moved) == 2
    assert all(before[flow] == "s2" and "10.0.1." in flow[0] + flow[1] for flow in moved)
    assert [decision.kind for decision in decisions] == ["link down", "rerouted", "rerouted"]


def test_flow_returns_when_its_path_has_been_clean_long_enough():
    policy = policy_of()
    policy.job_announced("ring", ring(), 0.0)
    before = where(policy)
    fail(policy, 0, 1, 5.0)
    fail(policy, 0, 1, 6.0, up=True)
    assert policy.tick(6.9) == ()
    assert [decision.kind for decision in policy.tick(7.0)] == ["restored", "restored"]
    assert where(policy) == before


def test_flapping_link_does_not_get_its_flows_back():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.job_announced("job", [flow], 0.0)
    home = first_port(policy, flow) - 5
    for round_s in range(5, 10):
        fail(policy, 0, home, round_s)
        fail(policy, 0, home, round_s + 0.5, up=True)
        policy.tick(round_s + 0.9)
        assert first_port(policy, flow) - 5 != home


def test_with_repair_by_the_controller_a_flow_stays_on_its_dead_uplink_until_gsos_moves_it():
    policy = policy_of(repair="controller")
    policy.job_announced("job", ring(), 0.0)
    rules = {leaf.dpid: dict(policy.rules(leaf.dpid)) for leaf in TOPOLOGY.leaves}
    kinds = {type(action) for held in rules.values() for rule in held.values() for action in rule.actions}
    assert kinds == {Output, HashBucket, PacketIn}, "nothing a leaf could repair with"
    decisions = policy.port_changed(L1, TOPOLOGY.uplink_port(1), False, 5.0)
    moved = [decision for decision in decisions if decision.kind == "rerouted"]
    assert len(moved) == 2, "one out of leaf 1 over spine 2, one into it"
    dead = Output(TOPOLOGY.uplink_port(1))
    assert not [rule for rule in policy.rules(L1).values() if dead in rule.actions]


def test_spread_traffic_leaves_a_dead_path_at_once_and_returns_after_the_hold():
    policy = policy_of()

    def spread_ports():
        return {rule.actions[0].ports for rule in policy.rules(L2).values() if rule.match.ip_dst == "10.0.1.0/24"}

    fail(policy, 0, 1, 5.0)
    assert spread_ports() == {(5, 7, 8)}
    fail(policy, 0, 1, 6.0, up=True)
    policy.tick(6.5)
    assert spread_ports() == {(5, 7, 8)}
    policy.tick(7.0)
    assert spread_ports() == {(5, 6, 7, 8)}


def test_spine_failure_spreads_its_flows_over_the_others():
    policy = policy_of()
    policy.job_announced("ring", ring(), 0.0)
    for leaf in range(4):
        fail(policy, leaf, 1, 5.0)
    used = Counter(answer["uplink"] for answer in policy.placement())
    assert all(answer["path"] != "s2" for answer in policy.placement())
    assert max(used.values()) == 2, "four flows per leaf on three uplinks"


def test_flow_with_no_path_left_waits_and_takes_the_first_that_returns():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.job_announced("job", [flow], 0.0)
    kinds = [decision.kind for path in range(4) for decision in fail(policy, 0, path, 5.0)]
    assert kinds.count("stranded") == 1
    fail(policy, 0, 2, 6.0, up=True)
    assert first_port(policy, flow) == 5 + 2, "no hold: there is nothing else"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=25), st.integers(1, 2))
def test_whatever_fails_no_flow_is_ever_on_a_dead_path_while_a_live_one_exists(events, flows_per_hop):
    policy = policy_of()
    policy.job_announced("ring", ring(flows_per_hop=flows_per_hop), 0.0)
    down = set()
    for step, (leaf, path, up) in enumerate(events):
        fail(policy, leaf, path, step * 0.4, up=up)
        policy.tick(step * 0.4 + 0.2)
        (down.discard if up else down.add)((leaf, path))
        for answer in policy.placement():
            src, dst = (TOPOLOGY.host_by_ip(answer[end]).leaf for end in ("src_ip", "dst_ip"))
            live = {f"s{p + 1}" for p in range(4) if not {(src, p), (dst, p)} & down}
            assert answer["path"] in live or not live


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=10))
def test_when_everything_is_mended_everything_is_as_planned(failures):
    policy = policy_of()
    policy.job_announced("ring", ring(), 0.0)
    rules = {switch.dpid: dict(policy.rules(switch.dpid)) for switch in TOPOLOGY.switches}
    for leaf, path in failures:
        fail(policy, leaf, path, 1.0)
    for leaf, path in failures:
        fail(policy, leaf, path, 2.0, up=True)
    policy.tick(3.5)
    assert {switch.dpid: dict(policy.rules(switch.dpid)) for switch in TOPOLOGY.switches} == rules


# --- flows nobody announced -----------------------------------------------------------------------


def load(policy, utilization, now_s=1.0):
    """Let two polls measure the given (leaf, path) uplinks as that busy."""
    for age_s in (1.0, 2.0):
        ports = {
            (0x101 + leaf, 5 + path): PortCounter(tx_bytes=int(fraction * 1_250_000 * age_s), age_s=age_s)
            for (leaf, path), fraction in utilization.items()
        }
        policy.counters(ports, {}, now_s)


def test_new_flow_goes_where_least_is_measured():
    policy = policy_of()
    load(policy, {(0, 0): 0.6, (0, 1): 0.5, (0, 2): 0.1, (0, 3): 0.7})
    flow = tcp("10.0.1.1", "10.0.2.1")
    (decision,) = policy.first_packet(L1, 1, flow, 2.0)
    assert (decision.kind, decision.action) == ("placed", "on s3")
    assert first_port(policy, flow) == 7
    assert first_port(policy, reverse_of(flow)) == 7
    assert policy.rules(L1)[PRIORITY_PINNED, flow_match(flow)].idle_timeout_s == IDLE_TIMEOUT_S


def test_flows_that_arrive_between_two_polls_do_not_herd():
    policy = policy_of()
    load(policy, {(0, 0): 0.2, (0, 1): 0.0, (0, 2): 0.1, (0, 3): 0.3})
    for port in range(4):
        policy.first_packet(L1, 1, tcp("10.0.1.1", "10.0.2.1", 40000 + port), 2.0)
    assert sorted(where(policy).values()) == ["s1", "s2", "s3", "s4"]


def test_udp_flow_is_placed_without_its_reverse():
    policy = policy_of()
    flow = Flow("10.0.1.1", "10.0.2.1", UDP, 5000, 6000)
    policy.first_packet(L1, 1, flow, 1.0)
    assert first_port(policy, flow) is not None
    assert first_port(policy, reverse_of(flow)) is None


@pytest.mark.parametrize(
    ("dpid", "in_port", "flow"),
    [
        (L1, 1, tcp("10.0.1.1", "10.0.1.2")),  # stays on its leaf
        (L1, 1, tcp("10.0.1.1", "10.9.9.9")),  # goes nowhere
        (L1, 5, tcp("10.0.1.1", "10.0.2.1")),  # comes from a spine
        (L2, 1, tcp("10.0.1.1", "10.0.2.1")),  # seen at another leaf
        (S1, 1, tcp("10.0.1.1", "10.0.2.1")),  # seen at a spine
    ],
)
def test_first_packets_that_need_no_decision(dpid, in_port, flow):
    policy = policy_of()
    assert policy.first_packet(dpid, in_port, flow, 1.0) == ()
    assert policy.placement() == []


def test_announced_flows_and_answers_to_known_ones_are_not_placed_twice():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.job_announced("job", [flow], 0.0)
    assert policy.first_packet(L1, 1, flow, 1.0) == ()
    assert policy.first_packet(L2, 1, reverse_of(flow), 1.0) == ()


def test_idle_flow_is_forgotten_in_both_directions():
    policy = policy_of()
    before = {dpid: dict(policy.rules(dpid)) for dpid in (L1, L2)}
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.first_packet(L1, 1, flow, 1.0)
    (decision,) = policy.flow_removed(L2, reverse_of(flow), 12.0)
    assert decision.kind == "expired"
    assert policy.flow_removed(L1, flow, 12.1) == ()
    assert {dpid: dict(policy.rules(dpid)) for dpid in (L1, L2)} == before


def test_announced_flow_never_expires():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.job_announced("job", [flow], 0.0)
    assert policy.flow_removed(L1, flow, 50.0) == ()
    assert first_port(policy, flow) is not None


def test_job_takes_over_a_flow_that_was_first_seen_unannounced():
    policy = policy_of()
    flow = tcp("10.0.1.1", "10.0.2.1")
    policy.first_packet(L1, 1, flow, 0.5)
    policy.job_announced("job", [flow], 1.0)
    assert [answer["job"] for answer in policy.placement()] == ["job"]
    assert policy.rules(L1)[PRIORITY_PINNED, flow_match(flow)].idle_timeout_s == 0


def test_small_unannounced_flows_do_not_cost_the_job_its_placement():
    policy = policy_of()
    probes = [Flow(f"10.0.1.{host}", "10.0.2.1", UDP, 5000, 6000) for host in range(1, 5)]
    for host, flow in enumerate(probes, start=1):
        policy.first_packet(L1, host, flow, 0.0)
    for t_s in (0.5, 2.5):  # one per cent of a link each
        policy.counters({}, {flow.key: int(12_500 * t_s) for flow in probes}, t_s)
    policy.job_announced("ring", ring(), 3.0)
    announced = [answer for answer in policy.placement() if answer["announced"]]
    assert {answer["reason"] for answer in announced} == {"job ring: edge colouring"}
    assert max(Counter(answer[end] for answer in announced for end in ("uplink", "downlink")).values()) == 1


# --- moving on load -----------------------------------------------------------------------------------


def polls(policy, flows, fractions, count, *, begin_s=0.0):
    """Run polls in which each flow has a steady rate and the links carry just these flows; return the decisions."""
    decisions = []
    for number in range(count):
        t_s = begin_s + 0.5 * number
        ports, sizes = {}, {}
        for flow, fraction in zip(flows, fractions, strict=True):
            size = int(fraction * 1_250_000 * t_s)
            sizes[flow.key] = size
            src, dst = TOPOLOGY.host_by_ip(flow.src_ip).leaf, TOPOLOGY.host_by_ip(flow.dst_ip).leaf
            path = first_port(policy, flow) - 5
            for port in ((0x101 + src, 5 + path), (0x201 + path, dst + 1)):
                ports[port] = ports.get(port, 0) + size
        counters = {port: PortCounter(tx_bytes=size, age_s=t_s) for port, size in ports.items()}
        decisions += policy.counters(counters, sizes, t_s)
    return decisions


def test_flows_that_turn_out_to_share_a_hot_link_are_parted():
    policy = policy_of(hold_s=0.0)
    one, two = Flow("10.0.1.1", "10.0.2.1", UDP, 1, 1), Flow("10.0.1.2", "10.0.2.2", UDP, 2, 1)
    # Two flows to different leaves' hosts that hash nowhere: put on one path by hand of the load seen at that moment.
    load(policy, {(0, 0): 0.9, (0, 1): 0.9, (0, 2): 0.0, (0, 3): 0.9}, now_s=0.0)
    policy.first_packet(L1, 1, one, 0.1)
    load(policy, {(0, 0): 0.9, (0, 1): 0.9, (0, 2): 0.0, (0, 3): 0.9}, now_s=0.2)
    policy.first_packet(L1, 2, two, 0.3)
    assert set(where(policy).values()) == {"s3"}
    fresh = policy_of(hold_s=0.0)
    fresh.restore(policy.snapshot(), 0.4)
    (move,) = polls(fresh, [one, two], [0.5, 0.48], 8, begin_s=1.0)
    assert move.kind == "moved"
    assert "s3" in where(fresh).values()
    assert len(set(where(fresh).values())) == 2


def test_after_a_move_the_links_are_watched_anew_before_the_next():
    policy = policy_of(hold_s=0.0)
    flows = [Flow("10.0.1.1", "10.0.2.1", UDP, 1, port) for port in range(4)]
    for path in (1, 2, 3):
        fail(policy, 0, path, 0.0)
    policy.job_announced("job", flows, 0.0)
    for path in (1, 2, 3):
        fail(policy, 0, path, 0.1, up=True)
    moves = []
    for number in range(10):  # the old link stays as hot as it was, whatever moves away
        t_s = 10.0 + number
        counters = {(L1, 5): PortCounter(tx_bytes=int(1_250_000 * 0.96 * t_s), age_s=t_s)}
        rates = {flow.key: int(1_250_000 * 0.24 * t_s) for flow in flows}
        moves.append(len(policy.counters(counters, rates, t_s)))
    # Flow rates are known from the third poll on; a link must be hot for two polls after each move.
    assert moves == [0, 0, 1, 0, 1, 0, 1, 0, 1, 0]


def test_a_conflict_free_ring_at_full_load_is_left_alone():
    policy = policy_of(hold_s=0.0)
    flows = ring()
    policy.job_announced("ring", flows, 0.0)
    assert polls(policy, flows, [0.97] * len(flows), 20, begin_s=1.0) == []


# --- restart --------------------------------------------------------------------------------------------


def test_restarted_policy_wants_the_same_rules():
    policy = policy_of()
    policy.job_announced("ring", ring(), 0.0)
    policy.first_packet(L1, 1, Flow("10.0.1.1", "10.0.3.1", UDP, 5000, 6000), 1.0)
    restarted = policy_of()
    restarted.restore(policy.snapshot(), 100.0)
    for switch in TOPOLOGY.switches:
        assert restarted.rules(switch.dpid) == policy.rules(switch.dpid)
    assert restarted.job_placement("ring") == policy.job_placement("ring")


def test_snapshot_is_plain_json():
    import json

    policy = policy_of()
    policy.job_announced("ring", ring(), 0.0)
    restarted = policy_of()
    restarted.restore(json.loads(json.dumps(policy.snapshot())), 0.0)
    assert where(restarted) == where(policy)


# --- elephants nobody announced -----------------------------------------------------------------


def poll(policy, rates, t_s):
    """One poll at ``t_s``: constant rates (fraction of a link) of flows from leaf 1 to leaf 2, ports as they add up."""
    ports = {}
    for spine in range(4):
        load = sum(rate for flow, rate in rates.items() if first_port(policy, flow) == TOPOLOGY.uplink_port(spine))
        counter = PortCounter(tx_bytes=int(load * 1_250_000 * t_s), age_s=t_s)
        ports[L1, TOPOLOGY.uplink_port(spine)] = counter
        ports[S1 + spine, 2] = counter
    return policy.counters(ports, {flow.key: int(rate * 1_250_000 * t_s) for flow, rate in rates.items()}, t_s)


def crowd(policy, count):
    """Pin ``count`` unannounced flows between different hosts on one path, by letting only one path live."""
    for spine in (1, 2, 3):
        policy.port_changed(L1, TOPOLOGY.uplink_port(spine), False, 0.0)
    flows = [tcp(f"10.0.1.{i + 1}", f"10.0.2.{i + 1}") for i in range(count)]
    for i, flow in enumerate(flows):
        policy.first_packet(L1, i + 1, flow, 0.1)
    for spine in (1, 2, 3):
        policy.port_changed(L1, TOPOLOGY.uplink_port(spine), True, 0.2)
    assert {first_port(policy, flow) for flow in flows} == {TOPOLOGY.uplink_port(0)}
    return flows


def test_an_elephant_throttled_by_another_is_moved_although_both_get_only_half_a_link():
    policy = policy_of()
    flows = crowd(policy, 2)
    for t_s in (4.0, 5.0, 6.0, 7.0):
        poll(policy, dict.fromkeys(flows, 0.5), t_s)
    assert len({first_port(policy, flow) for flow in flows}) == 2


def test_elephants_held_back_elsewhere_are_not_crowded_because_they_look_small():
    policy = policy_of()
    crowded = crowd(policy, 2)
    policy.port_changed(L1, TOPOLOGY.uplink_port(3), False, 0.3)  # three paths for four elephants
    alone = [tcp("10.0.1.3", "10.0.2.3"), tcp("10.0.1.4", "10.0.2.4")]
    for port, flow in ((3, alone[0]), (4, alone[1])):
        policy.first_packet(L1, port, flow, 2.0)
    assert len({first_port(policy, flow) for flow in (*crowded, *alone)}) == 3
    rates = {**dict.fromkeys(crowded, 0.5), **dict.fromkeys(alone, 0.3)}
    moved = [decision for t_s in (5.0, 6.0, 7.0, 8.0, 9.0) for decision in poll(policy, rates, t_s)]
    assert moved == [], "each path is wanted fully by somebody; by measured rates 0.3 + 0.5 would have looked better"
