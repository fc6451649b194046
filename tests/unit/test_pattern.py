"""Who sends to whom: every pair once, bytes conserved, and streams that both ends read alike."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model.pattern import Pattern, permutation_pairs, ring, seeded_pattern
from testbed.model.ranks import place_ranks
from testbed.model.ring import RingAllReduce
from testbed.model.scenario import parse_scenario
from testbed.model.streams import Direct, stream
from testbed.model.topology import Topology
from testbed.model.workload_spec import KINDS, WorkloadKind, most_peers


def test_a_ring_sends_every_rank_to_the_next() -> None:
    pattern = ring(4)
    assert pattern.pairs == ((0, 1), (1, 2), (2, 3), (3, 0))
    assert (pattern.n_ranks, pattern.job_ranks, pattern.bus_pairs) == (4, 4, 1)
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


def test_sizes_that_are_no_whole_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="size_bytes=6, expected a positive multiple of 4"):
        stream("allreduce_ring", (0, 1), (0, 1), 6, 4)


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
        own = RingAllReduce(ranks, size_bytes, 4).chunk(rank)  # what stays at home
        assert sum(size for (src, _dst), size in sizes.items() if src == rank) == size_bytes - (own[1] - own[0])
        assert len({size for (_src, dst), size in sizes.items() if dst == rank}) == 1
    assert max(sizes.values()) - min(sizes.values()) <= 4


def test_all_to_all_counts_as_nccl_tests_does() -> None:
    found = pattern("all_to_all", 16)
    assert found.bus_factor == 15 / 16
    assert found.mean_pair_bytes(8 << 20) == 1 << 19  # size / 16
    assert found.bus_pairs * found.mean_pair_bytes(8 << 20) == found.bus_factor * (8 << 20)


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


@pytest.mark.parametrize("kind", get_args(WorkloadKind))
@pytest.mark.parametrize("jobs", [2, 4])
def test_jobs_keep_to_themselves_and_are_alike(kind: str, jobs: int) -> None:
    found = pattern(kind, 16, jobs=jobs, partners="any")
    alone = pattern(kind, 16 // jobs, partners="any")
    assert [len(job) for job in found.jobs] == [16 // jobs] * jobs
    assert sorted(rank for job in found.jobs for rank in job) == list(range(16))
    assert all(found.job_of(src) == found.job_of(dst) for src, dst in found.pairs)
    assert len(found.pairs) == jobs * len(alone.pairs)
    assert (found.bus_factor, found.bus_pairs) == (alone.bus_factor, alone.bus_pairs)
    assert found.pair_bytes(4096) == alone.pair_bytes(4096) * jobs
    assert list(found.pairs) == sorted(found.pairs, key=lambda pair: pair[0])


def test_every_stream_of_a_ring_job_forwards_within_its_job() -> None:
    """Rank 3 of the job (3, 4, 5) sends what rank 0 of a ring of three would."""
    assert stream("allreduce_ring", (3, 4, 5), (3, 4), 48, 8) == RingAllReduce(3, 48, 8).hop(0)


@pytest.mark.parametrize("kind", get_args(WorkloadKind))
def test_pairs_are_found_by_either_end_and_have_their_streams_bytes(kind: str) -> None:
    found = pattern(kind, 12, jobs=2, partners="any")
    for rank in range(12):
        assert [found.pairs[index][0] for index in found.sent_by(rank)] == [rank] * len(found.sent_by(rank))
        assert [found.pairs[index][1] for index in found.received_by(rank)] == [rank] * len(found.received_by(rank))
    for end in (found.sent_by, found.received_by):
        assert sorted(index for rank in range(12) for index in end(rank)) == list(range(len(found.pairs)))
    for pair, size_bytes in zip(found.pairs, found.pair_bytes(1004), strict=True):
        assert size_bytes == stream(found.kind, found.members(pair[0]), pair, 1004, 8).size_bytes


def test_every_kind_of_workload_says_what_it_is() -> None:
    assert set(KINDS) == set(get_args(WorkloadKind))


@pytest.mark.parametrize("kind", get_args(WorkloadKind))
def test_what_a_kind_says_of_itself_is_so(kind: WorkloadKind) -> None:
    found = pattern(kind, 8, partners="any")
    most = max(len(pairs(rank)) for rank in range(8) for pairs in (found.sent_by, found.received_by))
    asked = parse_scenario({"name": "x", "workload": {"kind": kind, "ranks": 8}}, source="test")
    assert most == found.bus_pairs == asked.peers == most_peers(kind, 8)
    streams = [stream(kind, found.members(pair[0]), pair, 4096, 64) for pair in found.pairs]
    waits = any(piece.after for one in streams for piece in one.stripe(0, 1))
    assert waits == KINDS[kind].in_step
