"""The ring's limits, by hand; what hashing does, against the table of published expectations."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model import oracle
from testbed.model.fabric_spec import FabricSpec
from testbed.model.oracle import (
    FlowPath,
    expected_ecmp,
    ideal,
    parse_path,
    path_name,
    pattern_ideal,
    predict,
    scenario_expectation,
)
from testbed.model.pattern import ring, seeded_pattern
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.model.topology import Topology


def fabric(leaves: int, spines: int, hosts: int, **more: object) -> Topology:
    return Topology(FabricSpec(leaves=leaves, spines=spines, hosts_per_leaf=hosts, **more))


def cross_leaf(topology: Topology):
    return place_ranks(topology, topology.fabric.hosts, "cross_leaf", Random(0))


def hops(topology: Topology, hosts=None):
    """Return the pairs of a ring over ``hosts``, by default dealt across leaves."""
    hosts = hosts or cross_leaf(topology)
    return ring(len(hosts)).host_pairs(hosts)


def in_turn(topology: Topology, hosts, flows: int = 1):
    """Every leaf's flows take its paths in turn."""
    return [
        [FlowPath((src.index * flows + f) % topology.fabric.paths, 0) for f in range(flows)]
        if src.leaf != hosts[(rank + 1) % len(hosts)].leaf
        else [None] * flows
        for rank, src in enumerate(hosts)
    ]


def test_limit_of_the_default_fabric_is_a_host_link_times_the_payload_of_a_frame() -> None:
    topology = fabric(4, 4, 4)
    found = ideal(topology, hops(topology), [15_728_640] * 16)  # 2 * 15/16 * 8 MiB
    assert found.hop_rate_mbps == 10
    assert found.bottleneck == "host links"
    assert found.busbw_limit_mbps == pytest.approx(10 * 8948 / 9014)
    assert found.ideal_s == pytest.approx(15_728_640 * 8 / (10e6 * 8948 / 9014))  # 12.68 s


def test_the_hop_with_most_bytes_sets_the_ideal_time() -> None:
    topology = fabric(2, 2, 2)
    hosts = cross_leaf(topology)
    assert (
        ideal(topology, hops(topology, hosts), [1000, 1004, 1000, 1000]).ideal_s
        == ideal(topology, hops(topology, hosts), [1004] * 4).ideal_s
    )


def test_two_to_one_oversubscription_halves_the_limit() -> None:
    topology = fabric(4, 2, 4)  # four hops leave each leaf over two uplinks of 10: 2 * 10 / 4
    found = ideal(topology, hops(topology), [1] * 16)
    assert found.hop_rate_mbps == 5
    assert found.bottleneck == "uplinks of l1"


def test_ring_filled_leaf_by_leaf_needs_one_uplink_only() -> None:
    topology = fabric(4, 1, 4, uplink_rate_mbps=10, host_rate_mbps=10)
    assert (
        ideal(topology, hops(topology, place_ranks(topology, 16, "leaf_local", Random(0))), [1] * 16).bottleneck
        == "host links"
    )


def test_slow_uplinks_limit_a_single_crossing_hop_to_their_sum() -> None:
    topology = fabric(2, 2, 2, host_rate_mbps=100, uplink_rate_mbps=10)
    hosts = place_ranks(topology, 4, "leaf_local", Random(0))  # h1 h2 | h3 h4: one hop each way
    assert ideal(topology, hops(topology, hosts), [1] * 4).hop_rate_mbps == 20


def test_flows_in_turn_reach_the_limit_without_conflict() -> None:
    topology = fabric(4, 4, 4)
    hosts = cross_leaf(topology)
    found = predict(topology, hops(topology, hosts), in_turn(topology, hosts))
    assert found.efficiency == 1
    assert (found.max_uplink_flows, found.max_downlink_flows) == (1, 1)


def test_two_flows_on_one_uplink_halve_the_ring() -> None:
    topology = fabric(4, 4, 4)
    hosts = cross_leaf(topology)
    paths = in_turn(topology, hosts)
    paths[0] = paths[4]  # ranks 0 and 4 are h1 and h2, both on l1
    found = predict(topology, hops(topology, hosts), paths)
    assert found.efficiency == 0.5
    assert (found.max_uplink_flows, found.max_downlink_flows) == (2, 2)
    assert found.busiest in ("l1-eth6>s2-eth1", "s2-eth2>l2-eth6")


def test_a_conflict_on_the_way_down_counts_as_much() -> None:
    topology = fabric(3, 2, 2)
    hosts = tuple(topology.host(name) for name in ("h1", "h5", "h3", "h6", "h2", "h4"))
    # h1->h5 (l1>l3), h5->h3 (l3>l2), h3->h6 (l2>l3), h6->h2 (l3>l1), h2->h4 (l1>l2), h4->h1 (l2>l1)
    up = [0, 0, 0, 1, 1, 1]  # l1: 0 and 1; l2: 0 and 1; l3: 0 and 1. Down to l3: 0 and 0
    found = predict(topology, hops(topology, hosts), [[FlowPath(path, 0)] for path in up])
    assert (found.max_uplink_flows, found.max_downlink_flows) == (1, 2)
    assert found.efficiency == 0.5


def test_a_hop_of_two_flows_moves_at_twice_its_slowest() -> None:
    topology = fabric(2, 2, 1)
    hosts = cross_leaf(topology)  # one hop each way, each of two flows
    apart, together = [FlowPath(0, 0), FlowPath(1, 0)], [FlowPath(0, 0), FlowPath(0, 0)]
    assert predict(topology, hops(topology, hosts), [apart, together]).efficiency == 1  # 2 flows of 5 on a link of 10
    slow = fabric(2, 4, 1, uplink_rate_mbps=5)
    # the limit is the host link of 10; both flows on one uplink of 5 make 2.5 each, 5 together
    assert predict(slow, hops(slow), [apart, together]).efficiency == 0.5


def test_a_flow_across_leaves_needs_a_path() -> None:
    topology = fabric(2, 2, 1)
    with pytest.raises(ValueError, match="crosses leaves but has no path"):
        predict(topology, hops(topology), [[None], [None]])


def test_downlink_is_counted_where_the_spine_sent_the_flow() -> None:
    topology = fabric(2, 1, 2, links_per_pair=2)
    hosts = cross_leaf(topology)
    up_apart_down_together = [[FlowPath(src.index, 0)] for src in hosts]
    found = predict(topology, hops(topology, hosts), up_apart_down_together)
    assert (found.max_uplink_flows, found.max_downlink_flows, found.efficiency) == (1, 2, 0.5)


@pytest.mark.parametrize(
    ("shape", "one_flow", "four_flows"),
    [
        ((2, 2, 2), 0.63, 0.73),
        ((2, 4, 4), 0.44, 0.61),
        ((4, 4, 4), 0.39, 0.56),
        ((4, 8, 8), 0.32, 0.49),
    ],
)
def test_expectation_agrees_with_the_known_table(
    shape: tuple[int, int, int], one_flow: float, four_flows: float
) -> None:
    """The table of the GSE notes ("slowest hop" = flows x slowest flow), rounded to per cents there."""
    topology = fabric(*shape)
    hosts = cross_leaf(topology)
    one = expected_ecmp(topology, hops(topology, hosts), flows_per_hop=1, runs=20, rng=Random(5))
    four = expected_ecmp(topology, hops(topology, hosts), flows_per_hop=4, runs=20, rng=Random(5), trials=1000)
    assert one.efficiency.mean == pytest.approx(one_flow, abs=0.015)
    assert four.efficiency.mean == pytest.approx(four_flows, abs=0.015)


def test_two_flows_on_two_paths_collide_every_other_time() -> None:
    """With two hosts a leaf and two spines, the flows of a leaf collide with probability 1/2."""
    topology = fabric(2, 2, 2)
    found = expected_ecmp(topology, hops(topology), flows_per_hop=1, runs=1, rng=Random(3), trials=20_000)
    # uplinks of l1 carry the flows that are l2's downlinks: 2 pairs, each collides with 1/2; free in 1/4 of cases
    assert found.efficiency.mean == pytest.approx(0.25 * 1 + 0.75 * 0.5, abs=0.01)
    assert found.slowdown.mean == pytest.approx(0.25 * 1 + 0.75 * 2, abs=0.02)
    assert (found.efficiency.low, found.efficiency.high) == (0.5, 1.0)  # of one run


def test_spine_hashes_parallel_links_by_itself() -> None:
    topology = fabric(2, 1, 2, links_per_pair=2)
    found = expected_ecmp(topology, hops(topology), flows_per_hop=1, runs=1, rng=Random(3), trials=20_000)
    # two pairs of flows, each must be apart twice, on the way up and independently on the way down: (1/2)**4 free
    assert found.efficiency.mean == pytest.approx(1 / 16 + 15 / 16 * 0.5, abs=0.01)


def test_band_narrows_with_the_number_of_runs_and_repeats_for_the_same_seed() -> None:
    topology = fabric(4, 4, 4)
    few = expected_ecmp(topology, hops(topology), flows_per_hop=1, runs=3, rng=Random(1))
    many = expected_ecmp(topology, hops(topology), flows_per_hop=1, runs=20, rng=Random(1))
    assert few.efficiency.low < many.efficiency.low < many.efficiency.mean < many.efficiency.high < few.efficiency.high
    # normal approximation: mean +- 1.96 sd / sqrt(20)
    reach = 1.96 * many.efficiency.deviation / 20**0.5
    assert many.efficiency.high - many.efficiency.mean == pytest.approx(reach, rel=0.25)
    assert few == expected_ecmp(topology, hops(topology), flows_per_hop=1, runs=3, rng=Random(1))


def test_hops_within_a_leaf_cannot_collide() -> None:
    topology = fabric(1, 2, 4)
    hosts = place_ranks(topology, 4, "leaf_local", Random(0))
    assert (
        expected_ecmp(
            topology, hops(topology, hosts), flows_per_hop=2, runs=1, rng=Random(0), trials=10
        ).efficiency.mean
        == 1
    )


@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_path_names_are_read_back(spines: int, links: int, data: st.DataObject) -> None:
    topology = fabric(2, spines, 1, links_per_pair=links)
    path = FlowPath(data.draw(st.integers(0, spines * links - 1)), data.draw(st.integers(0, links - 1)))
    assert parse_path(topology, path_name(topology, path)) == path


@pytest.mark.parametrize("name", ["", "s3", "s0", "s1.2", "s1/2", "s1/", "s1/x", "1"])
def test_a_path_the_fabric_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        parse_path(fabric(2, 2, 1), name)


def test_pairs_times_flows_times_paths_bound_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = scenario("allreduce_ring", jobs=2, flows_per_hop=2)  # 16 pairs, 4 paths
    monkeypatch.setattr(oracle, "MAX_ROUTES", 16 * 2 * 4)
    assert scenario_expectation(asked, runs=1) is not None
    monkeypatch.setattr(oracle, "MAX_ROUTES", 16 * 2 * 4 - 1)
    assert scenario_expectation(asked, runs=1) is None


def test_a_fabric_too_large_to_draw_from_has_no_expectation() -> None:
    fields = {"name": "x", "fabric": {"leaves": 64, "spines": 16, "hosts_per_leaf": 64, "links_per_pair": 16}}
    assert scenario_expectation(parse_scenario(fields, source="x"), runs=1) is None


# -- other patterns -------------------------------------------------------------------------------------------


def test_bytes_over_cuts_not_pairs_set_the_limit() -> None:
    topology = fabric(2, 1, 2)  # h1 h2 | h3 h4, one uplink of 10 for two hosts of 10
    h1, h2, h3, h4 = topology.hosts
    pairs = [(h1, h2), (h1, h3), (h2, h4)]
    rate = 10e6 / 8 * 8948 / 9014
    alone = ideal(topology, pairs, [9000, 1000, 1000])
    assert (alone.bottleneck, alone.ideal_s) == ("host link of h1", pytest.approx(10_000 / rate))
    crossing = ideal(topology, pairs, [1000, 6000, 6000], bus_bytes=24_000)
    assert (crossing.bottleneck, crossing.ideal_s) == ("uplinks of l1", pytest.approx(12_000 / rate))
    assert crossing.hop_rate_mbps == pytest.approx(5)  # of the largest pair, were all to end together
    assert crossing.busbw_limit_mbps == pytest.approx(24_000 * 8 / 1e6 / crossing.ideal_s)


def test_unequal_pairs_load_a_path_by_their_bytes() -> None:
    topology = fabric(2, 2, 2)
    h1, h2, h3, h4 = topology.hosts
    pairs, sizes = [(h1, h3), (h2, h4)], [3000, 1000]
    apart = predict(topology, pairs, [[FlowPath(0, 0)], [FlowPath(1, 0)]], sizes)
    assert apart.efficiency == pytest.approx(1)  # the host link with 3000 bytes
    together = predict(topology, pairs, [[FlowPath(0, 0)], [FlowPath(0, 0)]], sizes)
    assert together.efficiency == pytest.approx(3 / 4)  # 4000 bytes over one link
    assert together.max_uplink_flows == 2


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.sampled_from([5.0, 10.0, 40.0]))


@given(SHAPES, st.data())
def test_no_split_of_the_bytes_over_paths_beats_the_limit(
    shape: tuple[int, int, int, float], data: st.DataObject
) -> None:
    """However flows are spread, some link needs as long as the fullest cut at least."""
    leaves, spines, hosts_per_leaf, uplink = shape
    topology = fabric(leaves, spines, hosts_per_leaf, uplink_rate_mbps=uplink)
    hosts = st.sampled_from(topology.hosts)
    pairs = data.draw(
        st.lists(st.tuples(hosts, hosts).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=12)
        if len(topology.hosts) > 1
        else st.just([])
    )
    if not pairs:
        return
    sizes = [data.draw(st.integers(1, 1000)) for _pair in pairs]
    flows = data.draw(st.integers(1, 3))
    paths = [
        [FlowPath(data.draw(st.integers(0, spines - 1)), 0) if src.leaf != dst.leaf else None for _flow in range(flows)]
        for src, dst in pairs
    ]
    assert predict(topology, pairs, paths, sizes).efficiency <= 1 + 1e-9


def scenario(kind: str, **workload: object) -> Scenario:
    return Scenario.model_validate({"name": "x", "workload": {"kind": kind, **workload}})


def limit_of(kind: str, topology: Topology, size_bytes: int):
    hosts = cross_leaf(topology)
    spec = scenario(kind).model_copy(update={"fabric": topology.fabric})
    found = seeded_pattern(spec, hosts, 1)
    return pattern_ideal(topology, hosts, found, size_bytes)


def test_an_all_to_all_is_limited_by_what_a_host_sends() -> None:
    found = limit_of("all_to_all", fabric(4, 4, 4), 16 << 20)
    assert found.bottleneck == "host links"
    assert found.hop_rate_mbps == pytest.approx(10 / 15)
    assert found.busbw_limit_mbps == pytest.approx(10 * 8948 / 9014)
    assert found.ideal_s == pytest.approx(15 * (1 << 20) * 8 / 1e6 / (10 * 8948 / 9014))


def test_an_all_to_all_over_few_uplinks_is_limited_by_those() -> None:
    found = limit_of("all_to_all", fabric(4, 2, 4), 16 << 20)  # 4 x 12 pairs leave a leaf over 2 x 10 Mbit/s
    assert found.bottleneck == "uplinks of l1"
    assert found.hop_rate_mbps == pytest.approx(20 / 48)


def test_an_incast_is_limited_by_the_receivers_link() -> None:
    found = limit_of("incast", fabric(4, 4, 4), 1 << 20)
    assert found.bottleneck == "host link of h1"
    assert found.busbw_limit_mbps == pytest.approx(10 * 8948 / 9014)
    assert found.ideal_s == pytest.approx(15 * (1 << 20) * 8 / 1e6 / (10 * 8948 / 9014))


def test_a_permutation_is_limited_by_host_links() -> None:
    assert limit_of("permutation", fabric(4, 4, 4), 1 << 20).hop_rate_mbps == 10


@pytest.mark.parametrize("kind", ["all_to_all", "incast", "permutation"])
def test_nothing_is_expected_where_pairs_are_on_their_own(kind: str) -> None:
    assert scenario_expectation(scenario(kind), runs=5) is None


def test_small_messages_beside_a_ring_are_no_disturbance_up_to_a_fiftieth_of_a_link() -> None:
    # 2048 B x 8 / 85 ms = 0.193 Mbit/s of 10; at 80 ms 0.205
    assert scenario_expectation(scenario("allreduce_ring", mice_interval_ms=85.0), runs=1) is not None
    assert scenario_expectation(scenario("allreduce_ring", mice_interval_ms=80.0), runs=1) is None


def test_two_jobs_are_expected_to_collide_like_one_ring_of_as_many_flows() -> None:
    both = scenario_expectation(scenario("allreduce_ring", jobs=2), runs=5)
    one = scenario_expectation(scenario("allreduce_ring"), runs=5)
    assert both is not None and one is not None
    assert both.efficiency.mean == pytest.approx(one.efficiency.mean, abs=0.02)
