"""What one rank sends another in one iteration, as values: its slices, in order, and what each waits for. Pure.

A ring all-reduce forwards what it receives (``testbed.model.ring``); in every other workload a rank's bytes for
a peer are its own and wait for nothing. Both ends compute the same streams, so nothing but data is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.model.ring import RingAllReduce
from testbed.model.slices import Slice, Stream, count_slices

if TYPE_CHECKING:  # pydantic takes as long to start as the rest of a rank
    from testbed.model.scenario import WorkloadKind


@dataclass(frozen=True)
class Direct:
    """``size_bytes`` of a rank's own for one peer, in slices dealt to the flows in turn; nothing is waited for."""

    size_bytes: int
    slice_bytes: int

    def stripe(self, flow: int, flows: int) -> Iterator[Slice]:
        """Yield the slices that flow ``flow`` of ``flows`` carries, in order: numbers flow, flow + flows, ..."""
        for number in range(flow, count_slices(self.size_bytes, self.slice_bytes), flows):
            start = number * self.slice_bytes
            yield Slice(
                number=number,
                start_byte=start,
                end_byte=min(start + self.slice_bytes, self.size_bytes),
                reduce=False,
                after=(),
            )


def forwards(kind: WorkloadKind) -> bool:
    """Return whether ranks keep an array, and send on what they receive from the one rank that sends to them."""
    return kind == "allreduce_ring"


def stream(
    kind: WorkloadKind, members: Sequence[int], pair: tuple[int, int], size_bytes: int, slice_bytes: int
) -> Stream:
    """Return what ``pair`` = (source, destination) moves in an iteration of the job of ranks ``members``.

    ``size_bytes`` is the workload's (see ``testbed.model.pattern``). What slices wait for is told by the place of a
    rank in ``members``, not by its number. Raises ValueError for sizes that cannot be.
    """
    if kind not in ("allreduce_ring", "all_to_all"):
        return Direct(size_bytes, slice_bytes)
    array = RingAllReduce(len(members), size_bytes, slice_bytes)
    src, dst = pair
    if kind == "allreduce_ring":
        return array.hop(members.index(src))
    start, end = array.chunk(members.index(dst))
    return Direct(end - start, slice_bytes)
