"""Ring all-reduce as values: which bytes a rank sends, in which order, and what each of them waits for. Pure.

The array of ``size_bytes`` (float32) is cut into one chunk per rank. In step s of 2(n-1) rank r sends chunk
(r - s) mod n to rank r + 1 and receives chunk (r - s - 1) mod n from rank r - 1: n - 1 steps that add up
(reduce-scatter), then n - 1 steps that pass the sums on (all-gather). So a rank sends its own chunk, and
after it, in order, all it receives but the last step. Chunks are cut into slices: a slice is sent on as
soon as it has been received (and added), so no link idles between steps.

Slices of a hop are numbered through all steps and dealt to its flows in turn, which both ends can
compute: no header is needed in the stream. Whatever the array holds is ``testbed.workload.payload``'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from testbed.model.slices import FLOAT_BYTES, Slice, count_slices
from testbed.units import KIB

MIN_DEFAULT_SLICE_BYTES = 4 * KIB
MAX_DEFAULT_SLICE_BYTES = 64 * KIB


def bus_factor(n_ranks: int) -> float:
    """Return busbw / algbw of an all-reduce, 2(n-1)/n (nccl-tests PERFORMANCE.md)."""
    return 2 * (n_ranks - 1) / n_ranks


def default_slice_bytes(n_ranks: int, size_bytes: int) -> int:
    """Return a quarter of a chunk, within 4..64 KiB and a multiple of 4.

    Four slices to a chunk leave three of slack: a rank may lag by that much before the next link idles.
    """
    quarter = size_bytes // n_ranks // 4
    return min(max(quarter, MIN_DEFAULT_SLICE_BYTES), MAX_DEFAULT_SLICE_BYTES) // FLOAT_BYTES * FLOAT_BYTES


class Step(NamedTuple):
    """What one hop carries in one step: a chunk, whose first slice has ``first_number``."""

    chunk: int
    start_byte: int
    end_byte: int
    first_number: int


@dataclass(frozen=True)
class Hop:
    """All that rank ``rank`` sends to the next rank in one all-reduce."""

    n_ranks: int
    rank: int
    slice_bytes: int
    steps: tuple[Step, ...]

    @cached_property
    def slices(self) -> int:
        """Number of slices of the hop."""
        last = self.steps[-1]
        return last.first_number + count_slices(last.end_byte - last.start_byte, self.slice_bytes)

    @cached_property
    def size_bytes(self) -> int:
        """Payload bytes of the hop, exact also for uneven chunks."""
        return sum(step.end_byte - step.start_byte for step in self.steps)

    def stripe(self, flow: int, flows: int) -> Iterator[Slice]:
        """Yield the slices that flow ``flow`` of ``flows`` carries, in order: numbers flow, flow + flows, ..."""
        own_slices = self.steps[1].first_number
        previous = (self.rank - 1) % self.n_ranks
        number = flow
        for index, step in enumerate(self.steps):
            behind = self.steps[index + 1].first_number if index + 1 < len(self.steps) else self.slices
            while number < behind:
                start = step.start_byte + (number - step.first_number) * self.slice_bytes
                yield Slice(
                    number=number,
                    start_byte=start,
                    end_byte=min(start + self.slice_bytes, step.end_byte),
                    reduce=index < self.n_ranks - 1,
                    after=((previous, number - own_slices),) if index else (),
                )
                number += flows


@dataclass(frozen=True)
class RingAllReduce:
    """A ring all-reduce of ``size_bytes`` per rank between ``n_ranks`` ranks, sent in slices of ``slice_bytes``.

    Raises ValueError for what cannot be: fewer than two ranks, sizes that are no whole number of floats.
    """

    n_ranks: int
    size_bytes: int
    slice_bytes: int

    def __post_init__(self) -> None:
        if self.n_ranks < 2:
            raise ValueError(f"n_ranks={self.n_ranks}, expected at least 2")
        for name in ("size_bytes", "slice_bytes"):
            value = getattr(self, name)
            if value <= 0 or value % FLOAT_BYTES:
                raise ValueError(f"{name}={value}, expected a positive multiple of {FLOAT_BYTES}")

    def chunk(self, index: int) -> tuple[int, int]:
        """Return ``[start, end)`` in bytes of a chunk. Chunks differ by at most one float; some may be empty."""
        elements = self.size_bytes // FLOAT_BYTES
        start, end = (elements * i // self.n_ranks * FLOAT_BYTES for i in (index, index + 1))
        return start, end

    def hop(self, rank: int) -> Hop:
        """Return what ``rank`` sends; what it receives is ``hop(rank - 1)``."""
        n_steps = 2 * (self.n_ranks - 1)
        chunks = [(rank - step) % self.n_ranks for step in range(n_steps)]
        bounds = [self.chunk(chunk) for chunk in chunks]
        counts = [count_slices(end - start, self.slice_bytes) for start, end in bounds]
        firsts = accumulate(counts[:-1], initial=0)
        steps = tuple(
            Step(chunk, start, end, first) for chunk, (start, end), first in zip(chunks, bounds, firsts, strict=True)
        )
        return Hop(self.n_ranks, rank % self.n_ranks, self.slice_bytes, steps)
