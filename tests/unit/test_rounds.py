"""The bound that waiting sets: by hand, and as a property: nothing that obeys links and waits is faster."""

from __future__ import annotations

from random import Random

import pytest
from collective_wires import Case, all_slices, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.collectives.algorithms import program
from testbed.collectives.collective import Collective
from testbed.collectives.schedule import Schedule
from testbed.model.oracle import pattern_ideal
from testbed.model.pattern import Pattern, of_collective
from testbed.model.ranks import place_ranks
from testbed.model.rounds import pattern_rounds, rounds
from testbed.model.scenario import FabricSpec
from testbed.model.slices import count_slices
from testbed.model.topology import Host, Topology

MSS, HEADER = 8948, 66
RATE = 10e6 / 8


def fabric(leaves: int, hosts_per_leaf: int) -> FabricSpec:
    return FabricSpec(leaves=leaves, spines=4, hosts_per_leaf=hosts_per_leaf)


def placed(spec: FabricSpec, ranks: int) -> tuple[Host, ...]:
    return place_ranks(Topology(spec), ranks, "cross_leaf" if spec.leaves > 1 else "leaf_local", Random(0))


def bound(spec: FabricSpec, collective: Collective, ranks: int, size_bytes: int, slice_bytes: int):  # type: ignore[no-untyped-def]
    pattern = of_collective(collective, range(ranks))
    hosts = placed(spec, ranks)
    found = pattern_rounds(spec, hosts, pattern, size_bytes=size_bytes, slice_bytes=slice_bytes, flows=1)
    assert found is not None
    return found, pattern_ideal(Topology(spec), hosts, pattern, size_bytes)


def test_a_chain_ends_a_slice_later_for_every_rank_between() -> None:
    """Eight ranks, ten slices of one frame each: the last link begins when a frame has crossed six pairs."""
    found, limit = bound(fabric(4, 2), Collective("broadcast", "ring"), 8, 10 * MSS, MSS)
    frame_s = (MSS + HEADER) / RATE
    assert found.least_s == pytest.approx(6 * 4 * frame_s + 3 * frame_s + 10 * frame_s)
    assert limit.ideal_s == pytest.approx(10 * frame_s)
    assert found.depth == 7


def test_a_ring_of_small_parts_takes_as_long_as_slices_from_rank_to_rank() -> None:
    found, _limit = bound(fabric(4, 4), Collective("allreduce", "ring"), 16, 16 * 4096, 4096)
    assert found.depth == 30
    assert found.least_s == pytest.approx(30 * 4 * (4096 + HEADER) / RATE)


def test_a_ring_of_large_parts_is_a_matter_of_bytes() -> None:
    found, limit = bound(fabric(4, 4), Collective("allreduce", "ring"), 16, 16 * 64 * MSS, 4 * MSS)
    assert found.least_s == pytest.approx(limit.ideal_s, rel=0.002)
    assert found.least_s >= limit.ideal_s * (1 - 1e-9)


def test_rounds_that_do_not_overlap_add_up() -> None:
    """With slices as large as what is sent, halving and doubling are rounds one after the other."""
    size = 8 * MSS * 4
    found, limit = bound(fabric(1, 4), Collective("allreduce", "halving_doubling"), 4, size, size)
    frame_s, frames = (MSS + HEADER) / RATE, size // MSS
    assert found.least_s == pytest.approx((frames / 2 + frames / 4 + frames / 4 + frames / 2) * frame_s + 4 * frame_s)
    assert limit.ideal_s == pytest.approx(2 * 3 / 4 * frames * frame_s)
    assert found.depth == 4


def test_within_a_leaf_a_frame_crosses_two_links() -> None:
    found, _limit = bound(fabric(1, 4), Collective("broadcast", "ring"), 4, MSS, MSS)
    assert found.least_s == pytest.approx(3 * 2 * (MSS + HEADER) / RATE)


@pytest.mark.parametrize("name", ["all_to_all", "sendrecv"])
def test_where_nothing_waits_there_is_no_bound_of_its_own(name: str) -> None:
    spec = fabric(4, 4)
    pattern = of_collective(Collective(name, "direct"), range(16))  # type: ignore[arg-type]
    hosts = placed(spec, 16)
    assert pattern_rounds(spec, hosts, pattern, size_bytes=1 << 20, slice_bytes=4096, flows=1) is None


def test_no_one_waits_for_more_slices_than_can_be_gone_through() -> None:
    spec = fabric(4, 4)
    pattern = of_collective(Collective("allreduce", "ring"), range(16))
    assert pattern_rounds(spec, placed(spec, 16), pattern, size_bytes=1 << 28, slice_bytes=64, flows=1) is None


def least_possible_s(spec: FabricSpec, hosts: tuple[Host, ...], schedule: Schedule, flows: int, rng: Random) -> float:
    """Play a collective: every host's link sends one slice at a time, whichever ``rng`` chooses of those that may go.

    Links into hosts take what comes one after the other, too. Slices of a connection keep their order.
    """
    slices = dict(all_slices(schedule))
    lines = {}
    for src, dst in schedule.pairs:
        stream = schedule.stream(src, dst)
        for flow in range(flows):
            lines[src, dst, flow] = [piece.number for piece in stream.stripe(flow, flows)]
    arrived: dict[tuple[int, int, int], float] = {}
    free_out, free_in, free_line = [0.0] * len(hosts), [0.0] * len(hosts), dict.fromkeys(lines, 0.0)
    while any(lines.values()):
        may = [
            line
            for line, numbers in lines.items()
            if numbers and all((peer, line[0], n) in arrived for peer, n in slices[line[0], line[1], numbers[0]].after)
        ]
        line = rng.choice(may)
        src, dst, _flow = line
        piece = slices[src, dst, lines[line].pop(0)]
        size = piece.end_byte - piece.start_byte
        send_s = (size + HEADER * count_slices(size, MSS)) / RATE
        first_s = (min(size, MSS) + HEADER) / RATE
        ready_s = max([arrived[peer, src, n] for peer, n in piece.after], default=0.0)
        start_s = max(ready_s, free_out[src], free_line[line])
        free_out[src] = free_line[line] = start_s + send_s
        further_s = first_s * (3 if hosts[src].leaf != hosts[dst].leaf else 1)
        received_s = max(start_s + further_s, free_in[dst]) + send_s
        arrived[src, dst, piece.number] = free_in[dst] = received_s
    return max(arrived.values(), default=0.0)


@settings(max_examples=150, deadline=None)
@given(cases(max_ranks=8, max_floats=4000, max_flows=2, in_place_only=True), st.sampled_from([(1, 8), (2, 4), (4, 2)]))
def test_nothing_that_obeys_links_and_waits_is_faster(case: Case, shape: tuple[int, int]) -> None:
    made = case.program
    slice_bytes = max(4, made.size_bytes // 40 // 4 * 4)  # a few frames at most, so that there is something to play
    schedule = Schedule(made, slice_bytes)
    spec = fabric(*shape)
    hosts = placed(spec, made.n_ranks)
    pattern = Pattern("collective", (tuple(range(made.n_ranks)),), schedule.pairs)
    found = rounds(spec, hosts, pattern, schedule, case.flows)
    rng = Random(case.seed)
    for _play in range(3):
        assert least_possible_s(spec, hosts, schedule, case.flows, rng) >= found.least_s * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(cases(max_ranks=8, max_floats=4000, max_flows=1, in_place_only=True))
def test_waiting_never_makes_a_collective_faster_than_its_bytes_over_host_links(case: Case) -> None:
    spec, made = fabric(4, 2), case.program
    schedule = Schedule(made, max(4, made.size_bytes // 20 // 4 * 4))
    hosts = placed(spec, made.n_ranks)
    pattern = Pattern("collective", (tuple(range(made.n_ranks)),), schedule.pairs)
    found = rounds(spec, hosts, pattern, schedule, 1)
    loads = [
        sum(t.end_byte - t.start_byte for t in made.transfers if t[end] == r)
        for r in range(made.n_ranks)
        for end in (0, 1)
    ]
    assert found.least_s >= max(loads, default=0) / RATE


def test_a_chain_reaches_its_bound() -> None:
    spec, schedule = fabric(4, 2), Schedule(program("broadcast", 8, 10 * MSS), MSS)
    hosts = placed(spec, 8)
    pattern = of_collective(Collective("broadcast", "ring"), range(8))
    least_s = min(least_possible_s(spec, hosts, schedule, 1, Random(seed)) for seed in range(20))
    assert least_s == pytest.approx(rounds(spec, hosts, pattern, schedule, 1).least_s)
