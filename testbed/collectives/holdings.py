"""What every rank holds before an operation and must hold after it. Pure.

A holding names a place and the ranks whose contributions are added up there. A rank's array is its own contribution
all over; where an operation does not use it at the start (all but its own part of an ``all_gather``, all of it in a
broadcast's receivers) it is there to be replaced, and must not be what is expected in the end.
"""

from __future__ import annotations

from typing import NamedTuple

from testbed.collectives.program import Program, Span, pair_bytes


class Holding(NamedTuple):
    """``[start_byte, end_byte)`` holds the sum of what ``ranks`` brought; or a message, of one rank."""

    start_byte: int
    end_byte: int
    ranks: tuple[int, ...]


def before(program: Program, rank: int) -> tuple[Holding, ...]:
    """Return what ``rank`` brings: the places of its array that the result is made of, or its messages."""
    whole, everybody = Span(0, program.size_bytes), program.n_ranks
    if program.operation == "all_gather":
        return _held(whole.part(rank, everybody), rank)
    if program.operation == "broadcast":
        return _held(whole, rank) if rank == program.root else ()
    if program.in_place:
        return _held(whole, rank)
    return tuple(Holding(0, size, (rank,)) for (src, _dst), size in pair_bytes(program).items() if src == rank)


def after(program: Program, rank: int) -> tuple[Holding, ...]:
    """Return what ``rank`` must hold in the end: places of its array, or the whole message of every sender."""
    whole, everybody = Span(0, program.size_bytes), tuple(range(program.n_ranks))
    if program.operation == "allreduce":
        return _held(whole, *everybody)
    if program.operation == "reduce_scatter":
        return _held(whole.part(rank, len(everybody)), *everybody)
    if program.operation == "all_gather":
        return tuple(held for src in everybody for held in _held(whole.part(src, len(everybody)), src))
    if program.root is not None:
        return _held(whole, program.root)
    return tuple(Holding(0, size, (src,)) for (src, dst), size in pair_bytes(program).items() if dst == rank)


def _held(span: Span, *ranks: int) -> tuple[Holding, ...]:
    return (Holding(*span, ranks),) if span.end_byte > span.start_byte else ()
