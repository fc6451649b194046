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
from testbed.model.fabric_spec import FabricSpec
from testbed.model.oracle import pattern_ideal
from testbed.model.pattern import of_collective
from testbed.model.ranks import place_ranks
from testbed.model.rounds import pattern_rounds, rounds
from testbed.model.shaping import queue_setting
from testbed.model.topology import Topology

MSS, FRAME = 8948, 9014
RATE = 10e6 / 8  # of wire bytes
FRAME_S = FRAME / RATE
FABRIC = FabricSpec()


def of(operation: str, algorithm: str, ranks: int, size_bytes: int, slice_bytes: int) -> Schedule:
    return Schedule(program(operation, ranks, size_bytes, algorithm=algorithm), slice_bytes)  # type: ignore[arg-type]


def test_a_chain_ends_a_slice_later_for_every_rank_between() -> None:
    """Eight ranks, ten slices of four frames each: the last link begins when a slice has crossed six pairs."""
    schedule = of("broadcast", "ring", 8, 40 * MSS, 4 * MSS)
    found = rounds(FABRIC, schedule, 1, burst_bytes=0)
    assert found.least_s == pytest.approx((6 * 4 + 40) * FRAME_S)
    assert found.waiting_s == pytest.approx(6 * 4 * FRAME_S)
    assert found.depth == 7
    # a full bucket takes its part of every slice, and once of all that a link carries
    burst_bytes = FRAME + 2500
    emptied = rounds(FABRIC, schedule, 1, burst_bytes=burst_bytes)
    assert emptied.least_s == pytest.approx((6 * 4 + 40) * FRAME_S - 7 * burst_bytes / RATE)
    assert emptied == rounds(FABRIC, schedule, 1), "which is that of the default fabric"
    assert queue_setting(FABRIC, 10.0).burst_bytes == burst_bytes


def test_what_a_slice_takes_beside_links_counts_for_every_step() -> None:
    schedule = of("broadcast", "ring", 8, 40 * MSS, 4 * MSS)
    without, late = (rounds(FABRIC, schedule, 1, burst_bytes=0, step_s=step_s) for step_s in (0.0, 0.005))
    assert late.least_s == pytest.approx(without.least_s + 7 * 0.005)
    assert late.waiting_s == pytest.approx(without.waiting_s + 6 * 0.005), "the last step is everybody's"


def test_a_shared_link_is_slower_and_its_bucket_empty() -> None:
    schedule = of("broadcast", "ring", 8, 40 * MSS, 4 * MSS)
    assert rounds(FABRIC, schedule, 1, share=0.5).least_s == pytest.approx(2 * (6 * 4 + 40) * FRAME_S)


def test_a_ring_is_a_matter_of_bytes() -> None:
    for size_bytes in (16 * 4096, 16 * 64 * MSS):
        collective = Collective("allreduce", "ring")
        pattern = of_collective(collective, range(16))
        hosts = place_ranks(Topology(FABRIC), 16, "cross_leaf", Random(0))
        limit = pattern_ideal(Topology(FABRIC), hosts, pattern, size_bytes)
        found = pattern_rounds(FABRIC, pattern, size_bytes=size_bytes, slice_bytes=4096, flows=1)
        assert found is not None
        assert found.waiting_s == pytest.approx(0, abs=1e-9)
        assert found.least_s == pytest.approx(limit.ideal_s - queue_setting(FABRIC, 10.0).burst_bytes / RATE)
        assert found.depth == 30


def test_rounds_that_do_not_overlap_add_up() -> None:
    """With slices as large as what is sent, a tree is rounds one after the other: 1 sends to 3, 0 to 2 and 1 to 3."""
    size = 8 * MSS
    assert rounds(FABRIC, of("broadcast", "tree", 4, size, size), 1, burst_bytes=0).least_s == pytest.approx(
        2 * 8 * FRAME_S
    )
    halving = rounds(FABRIC, of("allreduce", "halving_doubling", 4, size, size), 1, burst_bytes=0)
    assert halving.least_s == pytest.approx((4 + 2 + 2 + 4) * FRAME_S)
    assert (halving.depth, halving.waiting_s) == (4, pytest.approx(0))


@pytest.mark.parametrize("name", ["all_to_all", "sendrecv"])
def test_where_nothing_waits_there_is_no_bound_of_its_own(name: str) -> None:
    pattern = of_collective(Collective(name, "direct"), range(16))  # type: ignore[arg-type]
    assert pattern_rounds(FABRIC, pattern, size_bytes=1 << 20, slice_bytes=4096, flows=1) is None


def test_no_one_waits_for_more_slices_than_can_be_gone_through() -> None:
    pattern = of_collective(Collective("allreduce", "ring"), range(16))
    assert pattern_rounds(FABRIC, pattern, size_bytes=1 << 28, slice_bytes=64, flows=1) is None


class Bucket:
    """A link that sends one slice after another, at once as far as its bucket goes."""

    def __init__(self, burst_bytes: float) -> None:
        self.burst_bytes = self.tokens = burst_bytes
        self.free_s = self.filled_s = 0.0

    def send(self, start_s: float, wire_bytes: float) -> float:
        """Return when the last byte has passed; not before ``start_s``, nor before what was sent earlier."""
        start_s = max(start_s, self.free_s)
        tokens = min(self.burst_bytes, self.tokens + (start_s - self.filled_s) * RATE)
        self.free_s = self.filled_s = start_s + max(0.0, wire_bytes - tokens) / RATE
        self.tokens = max(0.0, tokens - wire_bytes)
        return self.free_s


def played_s(schedule: Schedule, flows: int, burst_bytes: float, rng: Random) -> float:
    """Play a collective over hosts' links, which send whichever slice ``rng`` chooses of those that may go."""
    slices = dict(all_slices(schedule))
    lines = {
        (src, dst, flow): [piece.number for piece in schedule.stream(src, dst).stripe(flow, flows)]
        for src, dst in schedule.pairs
        for flow in range(flows)
    }
    n = schedule.program.n_ranks
    out, into = ([Bucket(burst_bytes) for _rank in range(n)] for _end in range(2))
    arrived: dict[tuple[int, int, int], float] = {}
    sent: dict[tuple[int, int, int], float] = dict.fromkeys(lines, 0.0)
    while any(lines.values()):
        may = [
            (src, dst, flow)
            for (src, dst, flow), numbers in lines.items()
            if numbers and all((peer, src, one) in arrived for peer, one in slices[src, dst, numbers[0]].after)
        ]
        src, dst, flow = line = rng.choice(may)
        piece = slices[src, dst, lines[line].pop(0)]
        wire_bytes = (piece.end_byte - piece.start_byte) * FRAME / MSS
        ready_s = max([arrived[peer, src, one] for peer, one in piece.after], default=0.0)
        start_s = max(ready_s, sent[line], out[src].free_s)
        sent[line] = out[src].send(start_s, wire_bytes)
        # the first byte comes when it is sent, the last not before that has been
        arrived[src, dst, piece.number] = max(sent[line], into[dst].send(start_s, wire_bytes))
    return max(arrived.values(), default=0.0)


@settings(max_examples=200, deadline=None)
@given(cases(max_ranks=8, max_floats=4000, max_flows=2, in_place_only=True), st.sampled_from([0, 1000, FRAME + 2500]))
def test_nothing_that_obeys_links_and_waits_is_faster(case: Case, burst_bytes: int) -> None:
    made = case.program
    schedule = Schedule(made, max(4, made.size_bytes // 40 // 4 * 4))
    least_s = rounds(FABRIC, schedule, case.flows, burst_bytes=burst_bytes).least_s
    rng = Random(case.seed)
    for _play in range(3):
        assert played_s(schedule, case.flows, burst_bytes, rng) >= least_s - 1e-9


@settings(max_examples=60, deadline=None)
@given(cases(max_ranks=8, max_floats=4000, max_flows=2, in_place_only=True), st.sampled_from([0, 5000]))
def test_waiting_is_never_less_than_the_bytes_over_host_links(case: Case, burst_bytes: int) -> None:
    made = case.program
    schedule = Schedule(made, max(4, made.size_bytes // 20 // 4 * 4))
    found = rounds(FABRIC, schedule, case.flows, burst_bytes=burst_bytes)
    loads = [
        sum(transfer.end_byte - transfer.start_byte for transfer in made.transfers if transfer[end] == rank)
        for rank in range(made.n_ranks)
        for end in (0, 1)
    ]
    body_s = max(0.0, max(loads, default=0) * FRAME / MSS - burst_bytes) / RATE
    assert found.least_s >= body_s - 1e-9
    assert found.waiting_s == pytest.approx(found.least_s - body_s)


@pytest.mark.parametrize("burst_bytes", [0, 5000])
def test_a_chain_reaches_its_bound(burst_bytes: int) -> None:
    schedule = of("broadcast", "ring", 8, 10 * MSS, MSS)
    least_s = min(played_s(schedule, 1, burst_bytes, Random(seed)) for seed in range(20))
    assert least_s == pytest.approx(rounds(FABRIC, schedule, 1, burst_bytes=burst_bytes).least_s)
