import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.liveness import FabricLink, Liveness
from testbed.gse.policy import hash_basis
from testbed.gse.spread import (
    leaf_first_packet_rules,
    leaf_spread_rules,
    living_hashed_paths,
    spine_hash_rules,
    spine_lane_rules,
)
from testbed.model.fabric_spec import FabricSpec
from testbed.model.rules import ETH_TYPE_IPV4, FirstLive, HashBucket, HashLive, Match, Output, PacketIn
from testbed.model.topology import Topology


def topology(**fabric):
    return Topology(FabricSpec(**{"leaves": 3, "spines": 2, "hosts_per_leaf": 2, **fabric}))


def test_basis_is_16_bits_and_differs_by_seed_and_by_switch():
    bases = {hash_basis(seed, dpid) for seed in range(30) for dpid in range(0x101, 0x111)}
    assert all(0 <= basis < 1 << 16 for basis in bases)
    assert len(bases) > 470  # 480 draws from 65536: 1.8 coincidences expected


def test_basis_of_a_seed_never_changes():
    assert hash_basis(1, 0x101) == 24548  # sha256("1/257") begins 5f e4


def test_leaf_spreads_to_every_other_leaf_over_the_paths_it_is_given():
    rules = leaf_spread_rules(topology(), 1, 1, lambda _src, dst: (0, 1) if dst == 0 else (1,))
    ports = {rule.match.ip_dst: rule.actions[0].ports for rule in rules}
    assert ports == {"10.0.1.0/24": (3, 4), "10.0.3.0/24": (4,)}


def test_first_packets_are_spread_by_the_same_hash_and_shown_to_gsos():
    fabric = topology()
    spread = leaf_spread_rules(fabric, 1, 0, lambda _src, _dst: (0, 1))
    first = leaf_first_packet_rules(fabric, 1, 0, lambda _src, _dst: (0, 1))
    assert {rule.actions for rule in first} == {(spread[0].actions[0], PacketIn())}
    assert {(rule.match.ip_proto, rule.match.tcp_flags) for rule in first} == {(6, 2), (17, None)}
    assert min(rule.priority for rule in first) > spread[0].priority


def test_first_packets_go_by_the_same_buckets():
    fabric = topology()
    first = leaf_first_packet_rules(fabric, 1, 0, lambda _src, _dst: (0, 1), "controller")
    assert {rule.actions for rule in first} == {(HashBucket(2, hash_basis(1, 0x101)), PacketIn())}
    assert {rule.match.bucket for rule in first} == {None}


def test_buckets_that_are_not_in_use_lead_somewhere_too():
    rules = leaf_spread_rules(topology(), 1, 0, lambda _src, _dst: (1,), "controller")
    ports = {rule.match.bucket: rule.actions[0].port for rule in rules if rule.match.bucket is not None}
    assert ports == {0: 4, 1: 4}
    assert {rule.actions[0].buckets for rule in rules if rule.match.bucket is None} == {1}


def test_spine_with_single_links_just_goes_down():
    rules = spine_hash_rules(topology(), 1, 0)
    assert [(rule.match.ip_dst, rule.actions) for rule in rules] == [
        ("10.0.1.0/24", (Output(1),)),
        ("10.0.2.0/24", (Output(2),)),
        ("10.0.3.0/24", (Output(3),)),
    ]


def test_spine_hashes_over_parallel_links_under_ecmp():
    rules = spine_hash_rules(topology(links_per_pair=2), 5, 1)
    assert rules[1].actions == (HashLive((3, 4), hash_basis(5, 0x202)),)


def test_spine_keeps_the_lane_under_gse1_and_falls_back_to_the_other():
    rules = {rule.match: rule.actions for rule in spine_lane_rules(topology(links_per_pair=2), 5, 1)}
    # leaf 1 arrives by ports 1 and 2, leaf 3 is reached by ports 5 and 6
    arriving = Match(in_port=2, eth_type=ETH_TYPE_IPV4, ip_dst="10.0.3.0/24")
    assert rules[arriving] == (FirstLive((6, 5)),)
    assert len(rules) == 3 * 2 * 2  # leaves x links x other leaves


def test_lanes_need_no_arrival_port_where_links_are_single():
    assert spine_lane_rules(topology(), 1, 0) == spine_hash_rules(topology(), 1, 0)


def test_link_needs_both_ends():
    live = Liveness(topology())
    link = FabricLink(1, 0)
    assert live.set_end(link, "spine", up=False, now_s=1.0)
    assert not live.set_end(link, "leaf", up=False, now_s=1.1), "it was dead already"
    assert not live.set_end(link, "spine", up=True, now_s=2.0)
    assert not live.link_up(link)
    assert live.set_end(link, "leaf", up=True, now_s=3.0)
    assert live.link_up(link)
    assert live.path_clean_s(1, 0, 0, 3.5) == pytest.approx(0.5)
    assert live.path_clean_s(0, 2, 0, 3.5) == float("inf")


@pytest.mark.parametrize(
    ("dpid", "port", "expected"),
    [
        (0x102, 3, (FabricLink(1, 0), "leaf")),  # hosts are ports 1 and 2
        (0x102, 6, (FabricLink(1, 3), "leaf")),
        (0x102, 2, None),
        (0x102, 7, None),
        (0x201, 4, (FabricLink(1, 1), "spine")),
        (0x202, 5, (FabricLink(2, 2), "spine")),
        (0x202, 7, None),
        (0x202, 0, None),
        (0x202, 0xFFFFFFFE, None),
        (0x999, 1, None),
    ],
)
def test_ports_are_known_by_the_link_they_end(dpid, port, expected):
    assert Liveness(topology(links_per_pair=2)).link_of(dpid, port) == expected


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_every_link_has_exactly_two_ends_that_name_it(leaves, spines, links):
    fabric = topology(leaves=leaves, spines=spines, links_per_pair=links)
    live = Liveness(fabric)
    named = {}
    for switch in fabric.switches:
        for port in range(1, 40):
            found = live.link_of(switch.dpid, port)
            if found:
                named.setdefault(found[0], []).append(found[1])
    assert set(named) == {FabricLink(leaf, path) for leaf in range(leaves) for path in range(spines * links)}
    assert all(sorted(tiers) == ["leaf", "spine"] for tiers in named.values())


def test_under_hashing_spines_a_path_dies_with_its_uplink_or_with_all_its_downlinks():
    fabric = topology(links_per_pair=2)
    live = Liveness(fabric)
    assert living_hashed_paths(fabric, live, 0, 1) == (0, 1, 2, 3)
    live.set_end(FabricLink(1, 0), "leaf", up=False, now_s=0)
    assert living_hashed_paths(fabric, live, 0, 1) == (0, 1, 2, 3), "spine 1 still reaches leaf 2 by its second link"
    live.set_end(FabricLink(1, 1), "spine", up=False, now_s=0)
    assert living_hashed_paths(fabric, live, 0, 1) == (2, 3)
    live.set_end(FabricLink(0, 3), "leaf", up=False, now_s=0)
    assert living_hashed_paths(fabric, live, 0, 1) == (2,)
