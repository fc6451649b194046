"""A program cut into slices: what each rank sends each other, in order, and what every slice waits for. Pure.

Each transfer is cut, from its start, into slices of at most ``slice_bytes``. Those of an ordered pair of ranks are
numbered through all its transfers and dealt to its flows in turn. A slice waits for those slices that carry what it
carries (``testbed.collectives.dataflow``), so that every algorithm is a pipeline:

    rank 0 adds    from 1   ├── 0 ──┼── 1 ──┼── 2 ──┤
                   from 2       ├── 0 ──┼── 1 ──┼── 2 ──┤      begins half a slice later
    and sends      to 3     ├── 0 ──┼── 1 ──┼── 2 ──┼ 3 ┤      1 after rank 1's 1 and rank 2's 0 and 1

Who asks for one stream computes no other; slices are made as they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from testbed.collectives.dataflow import Wait, waits
from testbed.collectives.program import Pair, Program
from testbed.collectives.slices import FLOAT_BYTES, Slice, count_slices

Newest = dict[tuple[int, int], int]  # (peer, its flow) -> number of a slice that has come when all needed have


class Source(NamedTuple):
    """A transfer to the sender: from ``peer``, its first byte at ``start_byte``, its first slice ``first_number``."""

    peer: int
    start_byte: int
    first_number: int


class Need(NamedTuple):
    """What has to have arrived in ``[start_byte, end_byte)`` before that is sent."""

    start_byte: int
    end_byte: int
    sources: tuple[Source, ...]


class Step(NamedTuple):
    """One transfer of a stream; ``needs`` are in the order of places."""

    start_byte: int
    end_byte: int
    reduce: bool
    first_number: int
    needs: tuple[Need, ...]


@dataclass(frozen=True)
class PairStream:
    """All that one rank sends another: a ``testbed.collectives.slices.Stream``."""

    slice_bytes: int
    steps: tuple[Step, ...]

    @cached_property
    def size_bytes(self) -> int:
        """Payload bytes."""
        return sum(step.end_byte - step.start_byte for step in self.steps)

    @cached_property
    def slices(self) -> int:
        """Number of slices."""
        return sum(count_slices(step.end_byte - step.start_byte, self.slice_bytes) for step in self.steps)

    def stripe(self, flow: int, flows: int) -> Iterator[Slice]:
        """Yield the slices that flow ``flow`` of ``flows`` carries, in order: numbers flow, flow + flows, ...

        All pairs have ``flows`` flows, and each keeps its order. So of several slices that come by one flow, the last
        is enough, and what an earlier slice of this flow has waited for is not told again.
        """
        awaited: Newest = {}
        number = flow
        for step in self.steps:
            needs = iter(step.needs)
            need = next(needs, None)
            behind = step.first_number + count_slices(step.end_byte - step.start_byte, self.slice_bytes)
            while number < behind:
                start = step.start_byte + (number - step.first_number) * self.slice_bytes
                end = min(start + self.slice_bytes, step.end_byte)
                wanted: Newest = {}
                while need is not None and need.start_byte < end:
                    self._want(wanted, need, start, end, flows)
                    if need.end_byte > end:
                        break
                    need = next(needs, None)
                yield Slice(number, start, end, step.reduce, _not_yet(awaited, wanted) if wanted else ())
                number += flows

    def _want(self, wanted: Newest, need: Need, start: int, end: int, flows: int) -> None:
        """Add the slices that carry the common part of ``need`` and ``[start, end)``: of each flow the last."""
        start, end = max(start, need.start_byte), min(end, need.end_byte)
        if start >= end:
            return
        for peer, origin, first_number in need.sources:
            first = first_number + (start - origin) // self.slice_bytes
            last = first_number + (end - 1 - origin) // self.slice_bytes
            for number in range(max(first, last - flows + 1), last + 1):
                key = peer, number % flows
                if wanted.get(key, -1) < number:
                    wanted[key] = number


def _not_yet(awaited: Newest, wanted: Newest) -> tuple[tuple[int, int], ...]:
    """Return what of ``wanted`` is not in ``awaited``, and add it there."""
    after = []
    for key, number in wanted.items():
        if awaited.get(key, -1) < number:
            awaited[key] = number
            after.append((key[0], number))
    after.sort()
    return tuple(after)


@dataclass(frozen=True)
class Schedule:
    """``program`` in slices of at most ``slice_bytes``.

    Raises ValueError for a slice that is no whole number of floats, and for a program whose transfers may destroy
    what is still to be sent (``testbed.collectives.dataflow.waits``).
    """

    program: Program
    slice_bytes: int

    def __post_init__(self) -> None:
        if self.slice_bytes <= 0 or self.slice_bytes % FLOAT_BYTES:
            raise ValueError(f"slice_bytes={self.slice_bytes}, expected a positive multiple of {FLOAT_BYTES}")
        _ = self._waits  # refuses here, not where the first stream is asked for

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The ordered pairs that exchange anything; a rank's peers come in the order it begins with them."""
        return tuple(self._of_pair)

    def sent_by(self, rank: int) -> tuple[int, ...]:
        """Return the ranks ``rank`` sends to, in the order it begins with them."""
        return tuple(dst for src, dst in self._of_pair if src == rank)

    def received_by(self, rank: int) -> tuple[int, ...]:
        """Return the ranks ``rank`` receives from."""
        return tuple(src for src, dst in self._of_pair if dst == rank)

    def stream(self, src: int, dst: int) -> PairStream:
        """Return all that ``src`` sends ``dst``; empty for a pair that exchanges nothing."""
        return self._stream(src, dst, lambda index: tuple(self._need(wait) for wait in self._waits[index]))

    def incoming(self, src: int, dst: int) -> PairStream:
        """Return the same as ``dst`` needs to know it, without what ``src`` waits for: a fraction of the work."""
        return self._stream(src, dst, lambda _index: ())

    def _stream(self, src: int, dst: int, needs: Callable[[int], tuple[Need, ...]]) -> PairStream:
        steps = []
        for index in self._of_pair.get((src, dst), ()):
            _src, _dst, start, end, reduce = self.program.transfers[index]
            steps.append(Step(start, end, reduce, self._first_number[index], needs(index)))
        return PairStream(self.slice_bytes, tuple(steps))

    @cached_property
    def _waits(self) -> tuple[tuple[Wait, ...], ...]:
        return waits(self.program)

    @cached_property
    def _of_pair(self) -> dict[Pair, list[int]]:
        found: dict[Pair, list[int]] = {}
        for index, transfer in enumerate(self.program.transfers):
            found.setdefault((transfer.src, transfer.dst), []).append(index)
        return found

    @cached_property
    def _first_number(self) -> list[int]:
        """Number of the first slice of each transfer in the stream of its pair."""
        behind: dict[Pair, int] = {}
        numbers = []
        for src, dst, start, end, _reduce in self.program.transfers:
            first = behind.get((src, dst), 0)
            numbers.append(first)
            behind[src, dst] = first + count_slices(end - start, self.slice_bytes)
        return numbers

    def _need(self, wait: Wait) -> Need:
        sources = []
        for index in wait.transfers:
            transfer = self.program.transfers[index]
            sources.append(Source(transfer.src, transfer.start_byte, self._first_number[index]))
        return Need(wait.start_byte, wait.end_byte, tuple(sources))
