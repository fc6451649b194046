import tracemalloc
from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.gse.load import LinkId, links_of_path
from testbed.gse.placement import Request, even_paths, link_flows, place

LEAVES = 4


def everywhere(paths):
    return lambda _src, _dst: tuple(range(paths))


def pairs(leaves=LEAVES):
    return st.tuples(st.integers(0, leaves - 1), st.integers(0, leaves - 1)).filter(lambda pair: pair[0] != pair[1])


def requests_of(leaf_pairs, weight=1.0):
    return [Request(src, dst, weight) for src, dst in leaf_pairs]


def degree(leaf_pairs):
    out, into = defaultdict(int), defaultdict(int)
    for src, dst in leaf_pairs:
        out[src] += 1
        into[dst] += 1
    return max([*out.values(), *into.values()])


def loads_of(requests, paths, base=()):
    loads = defaultdict(float, base)
    for request, path in zip(requests, paths, strict=True):
        for link in links_of_path(request.src_leaf, request.dst_leaf, path):
            loads[link] += request.weight
    return loads


@given(st.lists(pairs(), min_size=1, max_size=40))
def test_with_as_many_paths_as_flows_per_leaf_no_link_carries_two_flows(leaf_pairs):
    requests = requests_of(leaf_pairs)
    placed = place(requests, everywhere(degree(leaf_pairs)), {})
    assert max(link_flows(requests, placed.paths).values()) == 1


@given(st.lists(pairs(), min_size=1, max_size=40), st.lists(st.floats(0.01, 1.0), min_size=40, max_size=40))
def test_unequal_demands_do_not_cost_the_conflict_free_placement(leaf_pairs, weights):
    requests = [Request(src, dst, w) for (src, dst), w in zip(leaf_pairs, weights, strict=False)]
    placed = place(requests, everywhere(degree(leaf_pairs)), {})
    assert max(link_flows(requests, placed.paths).values()) == 1


@given(st.lists(pairs(), min_size=1, max_size=40), st.integers(1, 8))
def test_no_link_carries_more_equal_flows_than_it_must(leaf_pairs, paths):
    requests = requests_of(leaf_pairs)
    placed = place(requests, everywhere(paths), {})
    assert max(link_flows(requests, placed.paths).values()) == -(-degree(leaf_pairs) // paths)


@given(st.lists(pairs(), min_size=1, max_size=40), st.integers(1, 8))
def test_flows_that_are_alike_are_placed_as_by_their_leaves_alone(leaf_pairs, paths):
    placed = place(requests_of(leaf_pairs), everywhere(paths), {})
    assert list(placed.paths) == even_paths(leaf_pairs, range(paths))[0]


def test_paths_all_flows_may_use_are_kept_once():
    """As a set for each of 1000 flows these are 131 MB."""
    every, requests = tuple(range(2000)), requests_of([(flow % 50, 50 + flow % 49) for flow in range(1000)])
    tracemalloc.start()
    try:
        placed = place(requests, lambda _src, _dst: every, {})
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(link_flows(requests, placed.paths).values()) == 1
    assert peak_bytes < 10e6


@settings(max_examples=60)
@given(st.data(), st.lists(pairs(), min_size=1, max_size=16), st.integers(2, 5))
def test_a_path_that_is_not_allowed_is_never_used(data, leaf_pairs, paths):
    subsets = st.sets(st.integers(0, paths - 1), min_size=1).map(lambda chosen: tuple(sorted(chosen)))
    allowed = {pair: data.draw(subsets) for pair in sorted(set(leaf_pairs))}
    requests = [Request(*pair, data.draw(st.sampled_from([0.25, 0.5, 1.0]))) for pair in leaf_pairs]
    placed = place(requests, lambda src, dst: allowed[src, dst], {})
    assert all(path in allowed[pair] for pair, path in zip(leaf_pairs, placed.paths, strict=True))


@settings(max_examples=60)
@given(
    st.lists(pairs(), min_size=1, max_size=16),
    st.lists(st.sampled_from([0.1, 0.25, 0.5, 1.0]), min_size=16, max_size=16),
    st.integers(1, 4),
)
def test_unequal_loads_stay_below_twice_the_ideal_plus_one_flow_per_direction(leaf_pairs, weights, paths):
    # Heaviest first onto the least loaded of P paths: when a flow is put down, its uplink and downlink together
    # carry on average at most (U + D) / P over the paths, so the best path's worst link has at most that.
    requests = [Request(src, dst, w) for (src, dst), w in zip(leaf_pairs, weights, strict=False)]
    up, down = defaultdict(float), defaultdict(float)
    for request in requests:
        up[request.src_leaf] += request.weight
        down[request.dst_leaf] += request.weight
    bound = (max(up.values()) + max(down.values())) / paths + max(request.weight for request in requests)
    assert max(loads_of(requests, place(requests, everywhere(paths), {}).paths).values()) <= bound + 1e-9


@given(st.lists(pairs(), min_size=1, max_size=16))
def test_the_same_flows_are_placed_the_same_way(leaf_pairs):
    requests = requests_of(leaf_pairs)
    assert place(requests, everywhere(3), {}) == place(requests, everywhere(3), {})


def test_nothing_to_place():
    assert place([], everywhere(4), {}).paths == ()


def test_a_link_other_traffic_uses_is_avoided():
    busy = {LinkId("up", 0, 0): 0.5}
    assert place(requests_of([(0, 1)]), everywhere(2), busy).paths == (1,)


def test_busy_downlinks_count_too():
    busy = {LinkId("down", 1, 0): 0.5, LinkId("down", 1, 2): 0.5}
    assert place(requests_of([(0, 1)]), everywhere(3), busy).paths == (1,)


def test_load_elsewhere_does_not_disturb_a_conflict_free_placement():
    busy = {LinkId("up", 3, 0): 0.9}
    requests = requests_of([(0, 1)] * 3 + [(1, 2)] * 3 + [(2, 0)] * 3)
    assert max(link_flows(requests, place(requests, everywhere(3), busy).paths).values()) == 1


def test_two_heavy_and_two_light_flows_are_paired_heavy_with_light():
    # 1.0 + 0.5 on each of two paths; heavy with heavy would put 2.0 on one.
    requests = [Request(0, 1, weight) for weight in (1.0, 1.0, 0.5, 0.5)]
    loads = loads_of(requests, place(requests, everywhere(2), {}).paths)
    assert max(loads.values()) == pytest.approx(1.5)


def test_a_dead_link_of_one_leaf_costs_only_that_leaf():
    # 4 leaves, 4 paths, 4 flows out of and into each leaf; leaf 0 has lost path 2, so one of its links has two.
    leaf_pairs = [(leaf, (leaf + 1) % 4) for leaf in range(4) for _ in range(4)]
    requests = requests_of(leaf_pairs)
    placed = place(requests, lambda src, dst: (0, 1, 3) if 0 in (src, dst) else (0, 1, 2, 3), {})
    flows = link_flows(requests, placed.paths)
    assert max(flows.values()) == 2
    assert max(n for link, n in flows.items() if link.leaf == 2) == 1


def test_improvement_frees_a_flow_that_greed_has_boxed_in():
    # Flow b may only use path 0 where a (placed first, being heavier) sits; a can go to path 1.
    allowed = {(0, 1): (0, 1), (0, 2): (0,)}
    requests = [Request(0, 1, 1.0), Request(0, 2, 0.9)]
    placed = place(requests, lambda src, dst: allowed[src, dst], {})
    assert placed.paths == (1, 0)


def test_colouring_saves_what_greed_and_improvement_cannot():
    # Found by search: with a little load on one uplink, heaviest first ends with two flows on some link.
    leaf_pairs = [(2, 0), (0, 3), (0, 1), (1, 2), (2, 3), (2, 3), (1, 0), (0, 1)]
    requests = requests_of(leaf_pairs)
    placed = place(requests, everywhere(3), {LinkId("up", 0, 0): 0.1})
    assert max(link_flows(requests, placed.paths).values()) == 1


def least_possible(requests, choices):
    """Return the smallest worst load there is, by trying everything that can still be better."""
    best, loads = [float("inf")], defaultdict(float)

    def place_from(index, worst):
        if worst >= best[0] - 1e-9:
            return
        if index == len(requests):
            best[0] = worst
            return
        request = requests[index]
        for path in choices[index]:
            links = links_of_path(request.src_leaf, request.dst_leaf, path)
            for link in links:
                loads[link] += request.weight
            place_from(index + 1, max(worst, *(loads[link] for link in links)))
            for link in links:
                loads[link] -= request.weight

    place_from(0, 0.0)
    return best[0]


@pytest.mark.parametrize("seed", range(30))
def test_small_cases_are_as_good_as_exhaustive_search(seed):
    rng = Random(seed)
    leaf_pairs = [(src, (src + 1 + rng.randrange(3)) % 4) for src in (rng.randrange(4) for _ in range(9))]
    requests = [Request(src, dst, rng.choice([0.25, 0.5, 1.0])) for src, dst in leaf_pairs]
    dead = {(rng.randrange(4), rng.randrange(3)) for _ in range(rng.randrange(3))}
    allowed = {
        (src, dst): tuple(p for p in range(3) if not {(src, p), (dst, p)} & dead) or (0, 1, 2)
        for src, dst in leaf_pairs
    }
    placed = place(requests, lambda src, dst: allowed[src, dst], {})
    ideal = least_possible(requests, [allowed[pair] for pair in leaf_pairs])
    assert max(loads_of(requests, placed.paths).values()) == pytest.approx(ideal)
