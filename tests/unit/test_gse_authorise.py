"""Rates GSOS authorises: fair, within every link, and only where several hosts could hurt each other."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.authorise import MARGIN, Routed, authorised_rates, max_min_rates
from testbed.gse.gse1 import Gse1Policy
from testbed.gse.load import LinkId
from testbed.model import pattern
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import TCP, Flow, pair_flows, place_ranks
from testbed.model.scenario import GsosSpec
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=4, spines=4, hosts_per_leaf=4))
HOSTS = TOPOLOGY.hosts


def flow(src: int, dst: int, port: int = 40_000) -> Flow:
    return Flow(HOSTS[src].ip, HOSTS[dst].ip, TCP, port, 20_000)


def policy_of(*, authorise: bool = True) -> Gse1Policy:
    return Gse1Policy(TOPOLOGY, 1, GsosSpec(authorise=authorise))


def test_senders_to_one_host_share_its_link() -> None:
    policy = policy_of()
    policy.job_announced("incast", [flow(src, 0) for src in range(1, 16)], 0.0)
    assert policy.authorised("incast") == [pytest.approx(MARGIN * 10 / 15)] * 15


def test_a_ring_whose_flows_share_no_link_is_not_limited() -> None:
    rng = Random(1)
    hosts = place_ranks(TOPOLOGY, 16, "cross_leaf", rng)
    pairs = pattern.ring(16).pairs
    flows = [f for pair in pair_flows(hosts, pairs, flows_per_pair=1, demand_bytes=1000, rng=rng) for f in pair]
    policy = policy_of()
    policy.job_announced("ring", flows, 0.0)
    assert policy.authorised("ring") == [None] * 16


def test_flows_of_one_host_are_left_to_its_tcp() -> None:
    flows = [Routed(flow(0, 4, port), 0) for port in range(40_000, 40_004)]
    assert authorised_rates(TOPOLOGY, flows, {}) == [None] * 4


def test_flows_of_two_hosts_on_one_uplink_get_half_of_it_and_others_nothing_to_heed() -> None:
    flows = [Routed(flow(0, 4), 2), Routed(flow(1, 8), 2), Routed(flow(2, 12), 1), Routed(flow(3, 2), None)]
    rates = authorised_rates(TOPOLOGY, flows, {})
    assert rates == [pytest.approx(MARGIN * 5), pytest.approx(MARGIN * 5), None, None]


def test_what_nobody_announced_is_taken_off_but_never_everything() -> None:
    flows = [Routed(flow(0, 4), 2), Routed(flow(1, 8), 2)]
    assert authorised_rates(TOPOLOGY, flows, {LinkId("up", 0, 2): 0.4}) == [pytest.approx(MARGIN * 3)] * 2
    assert authorised_rates(TOPOLOGY, flows, {LinkId("up", 0, 2): 7.0}) == [pytest.approx(MARGIN * 0.25)] * 2


def test_a_path_that_fails_changes_what_is_authorised() -> None:
    policy = policy_of()
    policy.job_announced("two", [flow(0, 4), flow(1, 8)], 0.0)
    assert policy.authorised("two") == [None, None]
    for path in range(3):  # one uplink is left for both
        lower, _upper = TOPOLOGY.link_ends(0, *TOPOLOGY.path_spine_link(path))
        policy.port_changed(TOPOLOGY.leaves[0].dpid, lower.port, False, 1.0 + path)
    assert policy.authorised("two") == [pytest.approx(MARGIN * 5)] * 2


def test_only_who_is_asked_to_authorises() -> None:
    policy = policy_of(authorise=False)
    policy.job_announced("incast", [flow(src, 0) for src in range(1, 16)], 0.0)
    assert policy.authorised("incast") == [None] * 15
    assert policy_of().authorised("unknown") == []


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=40),
    st.dictionaries(
        st.builds(LinkId, st.sampled_from(["up", "down"]), st.integers(0, 3), st.integers(0, 3)), st.floats(0, 2)
    ),
)
def test_no_link_is_promised_more_than_it_has(drawn: list[tuple[int, int, int]], others: dict[LinkId, float]) -> None:
    flows = [
        Routed(flow(src, dst, 40_000 + number), path if HOSTS[src].leaf != HOSTS[dst].leaf else None)
        for number, (src, dst, path) in enumerate(drawn)
        if src != dst
    ]
    rates = authorised_rates(TOPOLOGY, flows, others)
    promised: dict[str, float] = defaultdict(float)
    for routed, rate in zip(flows, rates, strict=True):
        assert rate is None or 0 < rate <= 10
        src, dst = TOPOLOGY.host_by_ip(routed.flow.src_ip), TOPOLOGY.host_by_ip(routed.flow.dst_ip)
        assert src is not None and dst is not None
        for direction in TOPOLOGY.route(src, dst, routed.path or 0):
            promised[direction.name] += rate or 0.0
    assert all(total <= 10 for total in promised.values())


def test_max_min_rates_of_a_textbook_case() -> None:
    # A: flows 0, 1, 2 share 10 -> but flow 2 is held at 2 by B, so 0 and 1 get 4 each; flow 3 alone fills C
    rates = max_min_rates([["A"], ["A"], ["A", "B"], ["C"]], {"A": 10, "B": 2, "C": 7})
    assert rates == [4, 4, 2, 7]


@given(
    st.lists(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=3, unique=True), min_size=1, max_size=8),
    st.tuples(*[st.integers(1, 100)] * 4),
)
def test_max_min_rates_fill_a_link_of_every_flow_and_none_beyond(
    routes: list[list[str]], rates: tuple[int, ...]
) -> None:
    capacities = dict(zip("ABCD", map(float, rates), strict=True))
    found = max_min_rates(routes, capacities)
    used = {link: sum(rate for rate, route in zip(found, routes, strict=True) if link in route) for link in capacities}
    for link, capacity in capacities.items():
        assert used[link] <= capacity * (1 + 1e-9)
    for rate, route in zip(found, routes, strict=True):
        # every flow has a full link on which nobody gets more than it
        assert any(
            used[link] >= capacities[link] * (1 - 1e-9)
            and all(other <= rate * (1 + 1e-9) for other, way in zip(found, routes, strict=True) if link in way)
            for link in route
        )
