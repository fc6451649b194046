"""A slice: the unit in which ranks move data, and what its sender waits for. Pure.

All that one rank sends another in one iteration is a *stream* of slices, numbered from 0 and dealt to the flows
(connections) of the pair in turn. Both ends compute it, so that nothing but data is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from testbed.units import KIB

FLOAT_BYTES = 4  # arrays are float32
MIN_DEFAULT_SLICE_BYTES = 4 * KIB
MAX_DEFAULT_SLICE_BYTES = 64 * KIB


class Slice(NamedTuple):
    """``[start_byte, end_byte)`` of an array, or of a message where ranks keep none.

    ``after`` are the slices the sender must have received (and added) first, as (rank of the group, number in the
    stream from that rank); empty: it may be sent at once.
    """

    number: int
    start_byte: int
    end_byte: int
    reduce: bool  # True: the receiver adds it to its own; False: it replaces them
    after: tuple[tuple[int, int], ...]


class Stream(Protocol):
    """All that one rank sends to one peer in one iteration."""

    @property
    def size_bytes(self) -> int:
        """Payload bytes."""

    def stripe(self, flow: int, flows: int) -> Iterator[Slice]:
        """Yield the slices that flow ``flow`` of ``flows`` carries, in order: numbers flow, flow + flows, ..."""


def count_slices(size_bytes: int, slice_bytes: int) -> int:
    """Return how many slices of at most ``slice_bytes`` make ``size_bytes``."""
    return -(-size_bytes // slice_bytes)


def default_slice_bytes(n_ranks: int, size_bytes: int) -> int:
    """Return a quarter of a part, the array being cut into ``n_ranks``, within 4..64 KiB and a multiple of 4.

    Four slices to a part leave three of slack: a rank may lag by that much before the next link idles.
    """
    quarter = size_bytes // n_ranks // 4
    return min(max(quarter, MIN_DEFAULT_SLICE_BYTES), MAX_DEFAULT_SLICE_BYTES) // FLOAT_BYTES * FLOAT_BYTES
