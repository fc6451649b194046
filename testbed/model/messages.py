"""A message: what one rank sends another of its own, in slices that wait for nothing. Pure.

Of the workloads without a collective (incast, permutation) it is all that a pair moves; what a collective moves is
``testbed.collectives.schedule``'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.collectives.slices import FLOAT_BYTES, Slice, count_slices


@dataclass(frozen=True)
class Direct:
    """``size_bytes`` of a rank's own for one peer, in slices dealt to the flows in turn; nothing is waited for.

    Raises ValueError for sizes that are no whole number of floats.
    """

    size_bytes: int
    slice_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.size_bytes % FLOAT_BYTES:
            raise ValueError(f"size_bytes={self.size_bytes}, expected a multiple of {FLOAT_BYTES}")
        if self.slice_bytes <= 0 or self.slice_bytes % FLOAT_BYTES:
            raise ValueError(f"slice_bytes={self.slice_bytes}, expected a positive multiple of {FLOAT_BYTES}")

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
