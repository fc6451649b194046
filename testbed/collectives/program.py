"""A collective as a program: transfers in an order that is right when they are executed one after another. Pure.

Who has to wait for whom is not said here: it follows from the bytes (``testbed.collectives.dataflow``).

Two kinds of operation:

- *in place* (``allreduce``, ``reduce_scatter``, ``all_gather``, ``broadcast``): every rank has one array of
  ``size_bytes``; a transfer carries a place of the sender's array to the same place of the receiver's.
- *messages* (``all_to_all``, ``sendrecv``): what a rank sends and what it receives lie in buffers of their own, so
  that nothing is overwritten and nothing waits; a transfer carries ``[start_byte, end_byte)`` of the message its
  sender has for its receiver.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from testbed.collectives.operation import ProgramOperation
from testbed.collectives.slices import FLOAT_BYTES

BY_MESSAGES: Final[frozenset[ProgramOperation]] = frozenset({"all_to_all", "sendrecv"})

Pair = tuple[int, int]  # ranks of the group: source, destination


class Span(NamedTuple):
    """``[start_byte, end_byte)`` of an array."""

    start_byte: int
    end_byte: int

    def part(self, index: int, parts: int) -> Span:
        """Return part ``index`` of ``parts``. Parts are whole floats and differ by at most one; some may be empty."""
        floats = (self.end_byte - self.start_byte) // FLOAT_BYTES
        start, end = (self.start_byte + floats * i // parts * FLOAT_BYTES for i in (index, index + 1))
        return Span(start, end)


class Transfer(NamedTuple):
    """``[start_byte, end_byte)`` from rank ``src`` to rank ``dst`` of the group."""

    src: int
    dst: int
    start_byte: int
    end_byte: int
    reduce: bool  # True: the receiver adds it to its own; False: it replaces them


@dataclass(frozen=True, slots=True)
class Program:
    """``operation`` between ranks 0..n-1; ``size_bytes`` as nccl-tests counts (see ``testbed.collectives.algorithms``).

    ``root`` is None but for a broadcast. Transfers of no bytes vanish. Raises ValueError for what cannot be: ranks or
    places that do not exist, parts of floats, a root missing or out of place, messages that are added.
    """

    operation: ProgramOperation
    n_ranks: int
    size_bytes: int
    root: int | None
    transfers: tuple[Transfer, ...]

    def __post_init__(self) -> None:
        if self.n_ranks < 2:
            raise ValueError(f"n_ranks={self.n_ranks}, expected at least 2")
        if self.size_bytes <= 0 or self.size_bytes % FLOAT_BYTES:
            raise ValueError(f"size_bytes={self.size_bytes}, expected a positive multiple of {FLOAT_BYTES}")
        if self.operation == "broadcast":
            if self.root is None or not 0 <= self.root < self.n_ranks:
                raise ValueError(f"broadcast: root={self.root}, expected one of the ranks 0..{self.n_ranks - 1}")
        elif self.root is not None:
            raise ValueError(f"{self.operation}: root={self.root}, expected None: it has no root")
        for transfer in self.transfers:
            self._check(transfer)
        moving = tuple(transfer for transfer in self.transfers if transfer.end_byte > transfer.start_byte)
        object.__setattr__(self, "transfers", moving)

    @property
    def in_place(self) -> bool:
        """Whether ranks keep one array each, so that what they receive may replace what they have yet to send."""
        return self.operation not in BY_MESSAGES

    def _check(self, transfer: Transfer) -> None:
        src, dst, start, end, reduce = transfer
        if src == dst or not (0 <= src < self.n_ranks and 0 <= dst < self.n_ranks):
            raise ValueError(f"{transfer}, expected two different ranks of 0..{self.n_ranks - 1}")
        if not 0 <= start <= end <= self.size_bytes or start % FLOAT_BYTES or end % FLOAT_BYTES:
            raise ValueError(f"{transfer}, expected whole floats within {self.size_bytes} bytes")
        if reduce and self.operation in BY_MESSAGES:
            raise ValueError(f"{transfer}, expected reduce=False: {self.operation} adds nothing")


def pair_bytes(program: Program) -> dict[Pair, int]:
    """Return the payload bytes of each ordered pair of ranks that exchanges any, in the order they are begun with."""
    found: dict[Pair, int] = {}
    for src, dst, start, end, _reduce in program.transfers:
        found[src, dst] = found.get((src, dst), 0) + end - start
    return found


def sent_bytes(program: Program) -> tuple[int, ...]:
    """Return the payload bytes each rank sends."""
    return _totals(program, ((src, size) for (src, _dst), size in pair_bytes(program).items()))


def received_bytes(program: Program) -> tuple[int, ...]:
    """Return the payload bytes each rank receives."""
    return _totals(program, ((dst, size) for (_src, dst), size in pair_bytes(program).items()))


def _totals(program: Program, sizes: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    totals = [0] * program.n_ranks
    for rank, size_bytes in sizes:
        totals[rank] += size_bytes
    return tuple(totals)
