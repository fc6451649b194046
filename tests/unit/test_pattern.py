"""Who sends to whom: every pair once, bytes conserved, and streams that both ends read alike."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.collectives.collective import NAMES
from testbed.collectives.program import Span
from testbed.model.messages import Direct
from testbed.model.pattern import Pattern, permutation_pairs, ring, seeded_pattern
from testbed.model.ranks import place_ranks
from testbed.model.rounds import schedule_of
from testbed.model.scenario_input import parse_scenario
from testbed.model.topology import Topology
from testbed.model.workload_spec import WorkloadKind

# training is one job, of its own making (test_training_spec.py)
KINDS = [kind for kind in get_args(WorkloadKind) if kind != "training"]


def test_a_ring_sends_every_rank_to_the_next() -> None:
    pattern = ring(4)
    assert pattern.pairs == ((0, 1), (1, 2), (2, 3), (3, 0))
    assert (pattern.n_ranks, pattern.job_ranks, pattern.in_step, pattern.independent) == (4, 4, True, False)
    assert pattern.bus_factor == 1.5  # 2 x 3/4
    assert pattern.pair_bytes(1000) == (1500, 1500, 1500, 1500)
    assert (pattern.sent_by(3), pattern.received_by(0)) == ((3,), (3,))


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(1, 5))
def test_the_flows_of_a_stream_carry_every_byte_once_and_in_order(floats: int, slice_floats: int, flows: int) -> None:
    own = Direct(4 * floats, 4 * slice_floats)
    stripes = [list(own.stripe(flow, flows)) for flow in range(flows)]
    for flow, pieces in enumerate(stripes):
        assert [piece.number for piece in pieces] == list(range(flow, flow + flows * len(pieces), flows))
        assert all(not piece.after and not piece.reduce for piece in pieces)
    pieces = sorted((piece for stripe in stripes for piece in stripe), key=lambda piece: piece.number)
    ends = [0, *(piece.end_byte for piece in pieces)]
    assert [piece.start_byte for piece in pieces] == ends[:-1]
    assert ends[-1] == own.size_bytes


@pytest.mark.parametrize(("size_bytes", "slice_bytes"), [(6, 4), (-4, 4), (8, 0), (8, 6)])
def test_messages_of_no_whole_floats_are_refused(size_bytes: int, slice_bytes: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        Direct(size_bytes, slice_bytes)


def pattern(
    kind: str, ranks: int, *, seed: int = 1, fabric: dict[str, int] | None = None, **workload: object
) -> Pattern:
    scenario = parse_scenario(
        {
            "name": "x",
            "fabric": fabric or {"leaves": 4, "spines": 4, "hosts_per_leaf": -(-ranks // 4)},
            "workload": {"kind": kind, "ranks": ranks, "placement": "random", **workload},
        },
        source="test",
    )
    hosts = place_ranks(Topology(scenario.fabric), ranks, "random", Random(seed))
    return seeded_pattern(scenario, hosts, seed)


@given(st.integers(2, 20), st.integers(1, 3000))
def test_all_to_all_has_every_ordered_pair_once_and_conserves_bytes(ranks: int, floats: int) -> None:
    size_bytes = 4 * (floats + ranks)
    found = pattern("all_to_all", ranks)
    assert sorted(found.pairs) == [(src, dst) for src in range(ranks) for dst in range(ranks) if src != dst]
    sizes = dict(zip(found.pairs, found.pair_bytes(size_bytes), strict=True))
    for rank in range(ranks):
        own = Span(0, size_bytes).part(rank, ranks)  # what stays at home
        assert sum(size for (src, _dst), size in sizes.items() if src == rank) == size_bytes - (own[1] - own[0])
        assert len({size for (_src, dst), size in sizes.items() if dst == rank}) == 1
    assert max(sizes.values()) - min(sizes.values()) <= 4


def test_all_to_all_counts_as_nccl_tests_does() -> None:
    found = pattern("all_to_all", 16)
    assert found.bus_factor == 15 / 16
    assert set(found.pair_bytes(8 << 20)) == {1 << 19}  # size / 16


def test_no_two_ranks_of_an_all_to_all_begin_with_the_same_peer() -> None:
    found = pattern("all_to_all", 8)
    firsts = [found.pairs[found.sent_by(rank)[0]][1] for rank in range(8)]
    assert sorted(firsts) == list(range(8))


@given(st.integers(2, 20))
def test_an_incast_is_everyone_to_the_first_rank(ranks: int) -> None:
    found = pattern("incast", ranks)
    assert found.pairs == tuple((rank, 0) for rank in range(1, ranks))
    assert set(found.pair_bytes(4096)) == {4096}
    assert found.bus_factor * 4096 == (ranks - 1) * 4096  # what the receiver's link carries


@given(st.integers(2, 24), st.integers(0, 2**32))
def test_a_permutation_gives_every_rank_one_partner_and_is_nobodys_own(ranks: int, seed: int) -> None:
    pairs = permutation_pairs({rank: rank for rank in range(ranks)}, Random(seed))
    assert [src for src, _dst in pairs] == list(range(ranks))
    assert sorted(dst for _src, dst in pairs) == list(range(ranks))
    assert all(src != dst for src, dst in pairs)
    assert pairs == permutation_pairs({rank: rank for rank in range(ranks)}, Random(seed))


def test_a_permutation_of_very_many_ranks_is_found() -> None:
    """With few partners left a choice may have to be made again by hundreds of ranks in turn."""
    pairs = permutation_pairs({rank: rank % 16 for rank in range(1200)}, Random(1))
    assert sorted(dst for _src, dst in pairs) == list(range(1200))


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 2**32))
def test_a_permutation_leaves_the_group_wherever_that_is_possible(sizes: list[int], seed: int) -> None:
    groups = dict(enumerate(group for group, size in enumerate(sizes) for _ in range(size)))
    if max(sizes) > sum(sizes) / 2:
        with pytest.raises(ValueError, match="has no partner outside its group"):
            permutation_pairs(groups, Random(seed))
    else:
        pairs = permutation_pairs(groups, Random(seed))
        assert sorted(dst for _src, dst in pairs) == sorted(groups)
        assert all(groups[src] != groups[dst] for src, dst in pairs)


def test_permutations_differ_between_seeds_and_are_spread() -> None:
    found = {permutation_pairs({rank: rank for rank in range(8)}, Random(seed)) for seed in range(50)}
    assert len(found) > 45
    assert {pairs[0][1] for pairs in found} == set(range(1, 8))  # rank 0 gets every partner at times


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jobs", [2, 4])
def test_jobs_keep_to_themselves_and_are_alike(kind: str, jobs: int) -> None:
    found = pattern(kind, 16, jobs=jobs, partners="any")
    alone = pattern(kind, 16 // jobs, partners="any")
    assert [len(job) for job in found.jobs] == [16 // jobs] * jobs
    assert sorted(rank for job in found.jobs for rank in job) == list(range(16))
    assert all(found.job_of(src) == found.job_of(dst) for src, dst in found.pairs)
    assert len(found.pairs) == jobs * len(alone.pairs)
    assert found.bus_factor == alone.bus_factor
    assert found.pair_bytes(4096) == alone.pair_bytes(4096) * jobs
    assert list(found.pairs) == sorted(found.pairs, key=lambda pair: pair[0])


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_found_by_either_end(kind: str) -> None:
    found = pattern(kind, 12, jobs=2, partners="any")
    for rank in range(12):
        assert [found.pairs[index][0] for index in found.sent_by(rank)] == [rank] * len(found.sent_by(rank))
        assert [found.pairs[index][1] for index in found.received_by(rank)] == [rank] * len(found.received_by(rank))
    for end in (found.sent_by, found.received_by):
        assert sorted(index for rank in range(12) for index in end(rank)) == list(range(len(found.pairs)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size_bytes", [64, 1004])
def test_pairs_of_a_collective_have_the_bytes_of_their_streams(name: str, size_bytes: int) -> None:
    found = pattern("collective", 16, jobs=2, collective=name)
    assert found.collective is not None
    schedule = schedule_of(found, size_bytes, 8)
    for job in found.jobs:
        for rank in job:
            peers = [found.pairs[index][1] for index in found.sent_by(rank)]
            assert peers == [job[dst] for dst in schedule.sent_by(job.index(rank))], "in the order it begins with them"
    for (src, dst), size in zip(found.pairs, found.pair_bytes(size_bytes), strict=True):
        assert size == schedule.stream(src % 8, dst % 8).size_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_says_of_itself_is_so(kind: WorkloadKind) -> None:
    names = NAMES if kind == "collective" else (None,)
    for name in names:
        found = pattern(kind, 8, partners="any", collective=name)
        most = max(len(pairs(rank)) for rank in range(8) for pairs in (found.sent_by, found.received_by))
        workload = {"kind": kind, "ranks": 8, "collective": name}
        asked = parse_scenario({"name": "x", "workload": workload}, source="test")
        assert asked.peers == most
        assert (asked.workload.in_step, asked.workload.independent) == (found.in_step, found.independent)
        waits = False
        if found.collective is not None:
            schedule = schedule_of(found, 4096, 64)
            waits = any(piece.after for pair in schedule.pairs for piece in schedule.stream(*pair).stripe(0, 1))
            if found.in_step:  # all move alike, and everybody sends to and gets from at most one
                assert most == 1 and max(found.pair_bytes(4096)) == min(found.pair_bytes(4096))
        assert waits == (not found.independent)
