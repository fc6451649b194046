"""A collective as it is asked for: which operation, by which algorithm, in what groups. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

from testbed.collectives.algorithms import ALGORITHMS, default_algorithm, problems, program
from testbed.collectives.operation import ProgramOperation, bus_factor
from testbed.collectives.program import BY_MESSAGES, Pair, Program, Span, pair_bytes
from testbed.collectives.slices import FLOAT_BYTES

# what a collective is called where it is asked for: allreduce (by its default algorithm), allreduce/ring, ...
NAMES: Final[tuple[str, ...]] = tuple(
    name
    for operation, algorithms in ALGORITHMS.items()
    for name in (operation, *(f"{operation}/{algorithm}" for algorithm in algorithms))
)


@dataclass(frozen=True, slots=True)
class Collective:
    """``operation`` by ``algorithm`` (see ``ALGORITHMS``); ``root``: a broadcast's, None is rank 0 of the group."""

    operation: ProgramOperation
    algorithm: str
    group_ranks: int | None = None
    root: int | None = None

    @property
    def name(self) -> str:
        """What it is called where it is asked for."""
        return f"{self.operation}/{self.algorithm}"

    @property
    def in_step(self) -> bool:
        """Whether all pairs move the same bytes at one rate, because each forwards what it receives."""
        return ALGORITHMS[self.operation][self.algorithm].in_step

    @property
    def independent(self) -> bool:
        """Whether nobody forwards anything, so that every pair is on its own."""
        return self.operation in BY_MESSAGES

    def problems(self, n_ranks: int) -> list[str]:
        """Return all that keeps it from ``n_ranks`` ranks, as sentences; empty: nothing does."""
        wrong = problems(self.operation, self.algorithm, n_ranks, self.group_ranks)
        if self.root is not None and self.operation != "broadcast":
            wrong.append(f"{self.name}: root={self.root}, expected none: it has no root")
        elif self.root is not None and not 0 <= self.root < n_ranks:
            wrong.append(f"{self.name}: root={self.root}, expected one of the ranks 0..{n_ranks - 1}")
        return wrong

    def program(self, n_ranks: int, size_bytes: int) -> Program:
        """Return its program. Raises ValueError for what ``problems`` finds, and for sizes that cannot be."""
        return program(
            self.operation,
            n_ranks,
            size_bytes,
            algorithm=self.algorithm,
            root=self.root,
            group_ranks=self.group_ranks,
        )

    def bus_factor(self, n_ranks: int) -> float:
        """Return busbw / algbw."""
        return bus_factor(self.operation, n_ranks)


RING: Final = Collective("allreduce", "ring")
ALL_TO_ALL: Final = Collective("all_to_all", "direct")


def parse_name(name: str) -> tuple[ProgramOperation, str]:
    """Return operation and algorithm of ``allreduce`` or ``allreduce/ring``. Raises ValueError."""
    if name not in NAMES:
        raise ValueError(f"no such collective; expected one of {', '.join(NAMES)}")
    operation, _, algorithm = name.partition("/")
    found = cast(ProgramOperation, operation)
    return found, algorithm or default_algorithm(found)


@lru_cache(maxsize=64)
def volumes(collective: Collective, n_ranks: int, size_bytes: int) -> Mapping[Pair, int]:
    """Return the payload bytes of every ordered pair that exchanges any, as ``pair_bytes`` of its program does.

    Of the two that fabrics of thousands of hosts are asked about without any transfer being made.
    """
    members, whole = range(n_ranks), Span(0, size_bytes)
    if collective == RING:
        return _moving(_ring_bytes(members, whole))
    if collective == ALL_TO_ALL:
        parts = [_length(whole.part(rank, n_ranks)) for rank in members]
        steps = ((rank, (rank + step) % n_ranks) for step in range(1, n_ranks) for rank in members)
        return _moving({(src, dst): parts[dst] for src, dst in steps})
    return pair_bytes(collective.program(n_ranks, size_bytes))


def pairs_of(collective: Collective, n_ranks: int) -> tuple[Pair, ...]:
    """Return the pairs that exchange anything, whatever the size: by source, peers in the order it begins with them.

    With a float for every rank no part of an array is empty.
    """
    return tuple(sorted(volumes(collective, n_ranks, FLOAT_BYTES * n_ranks), key=lambda pair: pair[0]))


def most_peers(collective: Collective, n_ranks: int) -> int:
    """Return the most ranks that one rank sends to, or receives from."""
    pairs = pairs_of(collective, n_ranks)
    return max(_degree([pair[end] for pair in pairs]) for end in (0, 1))


def _degree(ends: Sequence[int]) -> int:
    counts: dict[int, int] = {}
    for rank in ends:
        counts[rank] = counts.get(rank, 0) + 1
    return max(counts.values(), default=0)


def _ring_bytes(members: range, whole: Span) -> dict[Pair, int]:
    """Return the bytes of each hop: every part twice, but for the last of either round."""
    n, twice = len(members), 2 * _length(whole)
    parts = [_length(whole.part(rank, n)) for rank in members]
    return {(rank, (rank + 1) % n): twice - parts[(rank + 1) % n] - parts[(rank + 2) % n] for rank in members}


def _length(span: Span) -> int:
    return span.end_byte - span.start_byte


def _moving(sizes: dict[Pair, int]) -> dict[Pair, int]:
    return {pair: size for pair, size in sizes.items() if size}
