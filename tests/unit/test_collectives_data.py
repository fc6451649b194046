"""Every collective, in any order things can happen in, brings everybody what numpy says it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
from collective_wires import LAND, SEND, Case, Wires, all_slices, any_order, cases
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from testbed.collectives import holdings
from testbed.collectives.program import Pair, Program, Transfer
from testbed.collectives.schedule import Schedule
from testbed.collectives.slices import Slice
from testbed.workload.cargo import Cargo, CollectiveArray, KeptArray, Messages
from testbed.workload.payload import Floats

BIG = 1e9


class KeptMessages:
    """A rank's messages as they are, and what has come from whom."""

    def __init__(self, out: dict[int, Floats], into: dict[int, Floats]) -> None:
        self.out, self.into = out, into

    def outgoing(self, peer: int, piece: Slice, done_bytes: int) -> memoryview:
        return self.out[peer].data.cast("B")[piece.start_byte + done_bytes : piece.end_byte]

    def target(self, piece: Slice, scratch: memoryview) -> memoryview:
        return scratch

    def take(self, peer: int, piece: Slice, scratch: Floats) -> None:
        length = (piece.end_byte - piece.start_byte) // 4
        self.into[peer][piece.start_byte // 4 : piece.end_byte // 4] = scratch[:length]

    def count_wrong(self) -> int:
        raise NotImplementedError


def part(floats: int, index: int, parts: int) -> slice:
    return slice(floats * index // parts, floats * (index + 1) // parts)


def brought(case: Case) -> Floats:
    """What all ranks bring: shape (n_ranks, floats), whole numbers so small that any sum is exact."""
    rng = np.random.default_rng(case.seed)
    return rng.integers(1, 1000, size=(case.program.n_ranks, case.floats)).astype(np.float32)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_arrays_and_messages_end_as_numpy_says(case: Case) -> None:
    check_against_numpy(case)


@pytest.mark.full
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_a_thousand_random_collectives_end_as_numpy_says(case: Case) -> None:
    check_against_numpy(case)


def check_against_numpy(case: Case) -> None:
    n, floats, operation = case.program.n_ranks, case.floats, case.program.operation
    has = brought(case)
    if not case.program.in_place:
        check_messages(case, has)
        return
    arrays = [KeptArray(has[rank].copy()) for rank in range(n)]
    Wires(case.schedule, arrays, case.flows, any_order(Random(case.seed))).run()  # type: ignore[arg-type]
    for rank, array in enumerate(arrays):
        values, own = array._values, part(floats, rank, n)
        if operation == "allreduce":
            assert np.array_equal(values, has.sum(axis=0))
        elif operation == "reduce_scatter":
            assert np.array_equal(values[own], has.sum(axis=0)[own])
        elif operation == "all_gather":
            assert np.array_equal(values, np.concatenate([has[i][part(floats, i, n)] for i in range(n)]))
        else:
            assert np.array_equal(values, has[case.program.root or 0])


def check_messages(case: Case, has: Floats) -> None:
    n, floats = case.program.n_ranks, case.floats
    if case.program.operation == "all_to_all":
        wanted = {(i, j): has[i][part(floats, j, n)].copy() for i in range(n) for j in range(n) if i != j}
    else:
        wanted = {(i, (i + 1) % n): has[i] for i in range(n)}
    ranks = [
        KeptMessages(
            {dst: data for (src, dst), data in wanted.items() if src == rank},
            {src: np.zeros_like(data) for (src, dst), data in wanted.items() if dst == rank},
        )
        for rank in range(n)
    ]
    Wires(case.schedule, ranks, case.flows, any_order(Random(case.seed))).run()
    for (src, dst), data in wanted.items():
        assert np.array_equal(ranks[dst].into[src], data)


def cargos(case: Case) -> list[Cargo]:
    """The cargos of real runs, which check what they hold."""
    program, n = case.program, case.program.n_ranks
    if program.in_place:
        return [
            CollectiveArray(n, rank, program.size_bytes, case.seed, promised=holdings.after(program, rank))
            for rank in range(n)
        ]
    expected = [sum(held.end_byte for held in holdings.after(program, rank)) for rank in range(n)]
    return [Messages(rank, expected[rank], case.schedule.slice_bytes, case.seed) for rank in range(n)]


def wrong(ranks: list[Cargo]) -> int:
    return sum(rank.count_wrong() for rank in ranks)


@settings(max_examples=200, deadline=None)
@given(cases(max_floats=40))
def test_what_is_right_is_counted_as_right_and_nothing_is_before(case: Case) -> None:
    ranks = cargos(case)
    n, program = case.program.n_ranks, case.program
    promised = sum(held.end_byte - held.start_byte for rank in range(n) for held in holdings.after(program, rank)) // 4
    at_home = {"all_gather": case.floats, "broadcast": case.floats}.get(program.operation, 0)
    assert wrong(ranks) == promised - at_home
    Wires(case.schedule, ranks, case.flows, any_order(Random(case.seed))).run()
    assert wrong(ranks) == 0


def left_out(data: bytes) -> bytes | None:
    return None


def changed(data: bytes) -> bytes | None:
    values = np.frombuffer(data, dtype=np.float32).copy()
    values[-1] += 1
    return values.tobytes()


def doubled(data: bytes) -> bytes | None:
    return (2 * np.frombuffer(data, dtype=np.float32)).astype(np.float32).tobytes()


@pytest.mark.parametrize("spoil", [left_out, changed, doubled])
@settings(max_examples=70, deadline=None)
@given(case=cases(max_floats=40))
def test_one_slice_that_is_left_out_or_changed_is_noticed(case: Case, spoil: Callable[[bytes], bytes | None]) -> None:
    victim = Random(case.seed).choice(list(all_slices(case.schedule)))
    ranks = cargos(case)

    def arriving(pair: Pair, piece: Slice, data: bytes) -> bytes | None:
        return spoil(data) if (*pair, piece.number) == victim else data

    Wires(case.schedule, ranks, case.flows, any_order(Random(case.seed)), arriving=arriving).run()
    assert wrong(ranks) > 0


@settings(max_examples=150, deadline=None)
@given(cases(max_ranks=8, aligned=True, in_place_only=True))
def test_one_dependency_less_is_noticed(case: Case) -> None:
    """What nobody waits for comes last; every slice has a flow of its own, so nothing else makes it wait."""
    slices = all_slices(case.schedule)
    waiting = [(where, needed) for where, piece in slices.items() for needed in piece.after]
    assume(waiting)
    (src, dst, number), needed = Random(case.seed).choice(waiting)
    rng = Random(case.seed)

    def weigh(what: str, pair: Pair, at: int) -> float:
        return BIG if (what, *pair, at) == (LAND, needed[0], src, needed[1]) else rng.random()

    def edit(pair: Pair, piece: Slice) -> Slice:
        if (*pair, piece.number) != (src, dst, number):
            return piece
        return piece._replace(after=tuple(one for one in piece.after if one != needed))

    ranks = cargos(case)
    Wires(case.schedule, ranks, 1 + max(where[2] for where in slices), weigh, edit=edit).run()
    assert wrong(ranks) > 0


@dataclass
class Executed:
    """What a program's transfers do one after another."""

    arrays: Floats

    def run(self, program: Program) -> None:
        for src, dst, start, end, reduce in program.transfers:
            place = slice(start // 4, end // 4)
            self.arrays[dst, place] = self.arrays[src, place] + (self.arrays[dst, place] if reduce else 0)


@st.composite
def any_transfers(draw: st.DrawFn) -> tuple[int, list[Transfer]]:
    n, transfers = draw(st.integers(2, 4)), []
    for _transfer in range(draw(st.integers(1, 7))):
        src, offset = draw(st.integers(0, n - 1)), draw(st.integers(1, n - 1))
        start, end = sorted(draw(st.tuples(st.integers(0, 4), st.integers(0, 4))))
        transfers.append(Transfer(src, (src + offset) % n, 4 * start, 4 * end, draw(st.booleans())))
    return n, transfers


@settings(max_examples=500, deadline=None)
@given(any_transfers(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1 << 30))
def test_any_program_does_in_any_order_what_it_says_or_is_refused(
    made: tuple[int, list[Transfer]], slice_floats: int, flows: int, seed: int
) -> None:
    n, transfers = made
    kept: list[Transfer] = []
    for transfer in transfers:  # leave out what would be refused, so that long programs are tried, too
        try:
            Schedule(Program("allreduce", n, 16, None, (*kept, transfer)), 4)
        except ValueError:
            continue
        kept.append(transfer)
    program = Program("allreduce", n, 16, None, tuple(kept))
    start = np.random.default_rng(seed).integers(1, 1000, size=(n, 4)).astype(np.float32)
    executed = Executed(start.copy())
    executed.run(program)
    arrays = [KeptArray(values.copy()) for values in start]
    Wires(Schedule(program, 4 * slice_floats), arrays, flows, any_order(Random(seed))).run()  # type: ignore[arg-type]
    assert np.array_equal([array._values for array in arrays], executed.arrays)


def test_refused_programs_would_go_wrong() -> None:
    """Rank 0 is to send what it has to rank 1, then to get rank 2's: nothing makes that wait."""
    size = 16
    orders = {
        "sent before": [Transfer(0, 1, 0, size, False), Transfer(2, 0, 0, size, False)],
        "added before": [Transfer(0, 1, 0, size, False), Transfer(2, 0, 0, size, True)],
        "replaced before": [Transfer(1, 0, 0, size, False), Transfer(2, 0, 0, size, False)],
        "replaced after adding": [Transfer(1, 0, 0, size, True), Transfer(2, 0, 0, size, False)],
        "added after replacing": [Transfer(1, 0, 0, size, False), Transfer(2, 0, 0, size, True)],
    }
    for name, transfers in orders.items():
        program = Program("allreduce", 3, size, None, tuple(transfers))
        with pytest.raises(ValueError, match="may arrive before .* is over"):
            Schedule(program, size)
        executed = Executed(np.arange(12, dtype=np.float32).reshape(3, 4) + 1)
        swapped = Executed(executed.arrays.copy())
        executed.run(program)
        swapped.run(Program("allreduce", 3, size, None, tuple(reversed(transfers))))
        assert not np.array_equal(executed.arrays, swapped.arrays), name


def test_a_chain_makes_an_overwriting_transfer_safe() -> None:
    """Rank 2 answers rank 0 with what rank 1 has made of rank 0's."""
    transfers = (Transfer(0, 1, 0, 16, True), Transfer(1, 2, 0, 16, False), Transfer(2, 0, 0, 16, False))
    schedule = Schedule(Program("allreduce", 3, 16, None, transfers), 8)
    assert [piece.after for piece in schedule.stream(2, 0).stripe(0, 1)] == [((1, 0),), ((1, 1),)]


def test_a_lost_slice_would_be_a_deadlock_and_be_seen() -> None:
    program = Program("broadcast", 3, 8, 0, (Transfer(0, 1, 0, 8, False), Transfer(1, 2, 0, 8, False)))
    ranks = [KeptArray(np.zeros(2, dtype=np.float32)) for _rank in range(3)]

    def weigh(what: str, pair: Pair, number: int) -> float:
        return 0.0 if what == SEND else 1.0

    def edit(pair: Pair, piece: Slice) -> Slice:
        return piece._replace(after=((0, 7),)) if pair == (1, 2) else piece

    with pytest.raises(AssertionError, match="deadlock"):
        Wires(Schedule(program, 8), ranks, 1, weigh, edit=edit).run()  # type: ignore[arg-type]
