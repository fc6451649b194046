"""What a rank sends and what it does with what it receives, apart from how it moves. Pure.

- ``CollectiveArray``: the array of an operation in which ranks keep one, checked as a whole at the end.
- ``Messages``: bytes of its own for every peer, each element a function of (iteration, source, destination, place), and
  checked by the receiver as they arrive: no rank ever holds more than a slice per connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from testbed.collectives.holdings import Holding
from testbed.collectives.slices import FLOAT_BYTES, Slice
from testbed.workload.payload import (
    Base,
    Floats,
    count_unlike_turned,
    make_base,
    turned_values,
)

PATTERN_ELEMENTS = 65_521  # a prime, so that shifts of fewer ranks never meet
SHIFT = 7_919  # places from the first element for one destination to that for the next
SOURCE_SHIFT = 104_729  # the same between sources


class Cargo(Protocol):
    """What ``testbed.workload.exchange`` asks of the data it moves. ``peer`` is a rank."""

    def outgoing(self, peer: int, piece: Slice, done_bytes: int) -> memoryview:
        """Return what is left to send of a slice for ``peer`` after its first ``done_bytes``."""

    def target(self, piece: Slice, scratch: memoryview) -> memoryview:
        """Return where to receive a slice: the scratch space of the connection, or its final place."""

    def take(self, peer: int, piece: Slice, scratch: Floats) -> None:
        """Use a slice that has arrived from ``peer`` at its target."""

    def count_wrong(self) -> int:
        """Return how many of the elements that should be here now are not right; one that never came is not."""


class KeptArray:
    """An array that peers' slices are added to or put into, and that is sent from as it then is."""

    def __init__(self, values: Floats) -> None:
        self._values = values
        self._view = values.data.cast("B")

    def outgoing(self, peer: int, piece: Slice, done_bytes: int) -> memoryview:
        """Return the array's bytes; every peer gets the same."""
        return self._view[piece.start_byte + done_bytes : piece.end_byte]

    def target(self, piece: Slice, scratch: memoryview) -> memoryview:
        """Return the slice's place in the array, or scratch when it is to be added."""
        return scratch if piece.reduce else self._view[piece.start_byte : piece.end_byte]

    def take(self, peer: int, piece: Slice, scratch: Floats) -> None:
        """Add what is to be added."""
        if piece.reduce:
            place = self._values[piece.start_byte // FLOAT_BYTES : piece.end_byte // FLOAT_BYTES]
            np.add(place, scratch[: len(place)], out=place)


class CollectiveArray(KeptArray):
    """The array of rank number ``position`` of ``n_ranks``, which must hold ``promised`` in the end.

    All of it is the rank's own contribution at the start, so nothing that has to come from others is right before it
    comes.
    """

    def __init__(
        self, n_ranks: int, position: int, size_bytes: int, iteration: int, *, promised: Sequence[Holding]
    ) -> None:
        self._n_ranks = n_ranks
        self._promised = promised
        self._base: Base = make_base(n_ranks, size_bytes, iteration)
        super().__init__(turned_values(self._base, position, n_ranks))

    def count_wrong(self) -> int:
        """Return how many elements of the promised places are not exactly the sum of the contributions named."""
        return sum(self._count_unlike(held) for held in self._promised)

    def _count_unlike(self, held: Holding) -> int:
        start, end = held.start_byte // FLOAT_BYTES, held.end_byte // FLOAT_BYTES
        return count_unlike_turned(self._values[start:end], self._base, start, held.ranks, self._n_ranks)


class Messages:
    """What rank ``rank`` sends to its peers and expects of them, ``expected_bytes`` in all.

    Every pair reads the same pseudo-random pattern of the iteration from a place of its own (no two pairs with a rank
    in common share one), so that what belongs to another pair, iteration or place is seen as wrong. ``slice_bytes`` is
    the longest slice.
    """

    def __init__(self, rank: int, expected_bytes: int, slice_bytes: int, iteration: int) -> None:
        self._rank = rank
        self._missing = expected_bytes // FLOAT_BYTES
        self._pattern = _pattern(iteration, 2 + -(-slice_bytes // FLOAT_BYTES // PATTERN_ELEMENTS))
        self._view = self._pattern.data.cast("B")

    def outgoing(self, peer: int, piece: Slice, done_bytes: int) -> memoryview:
        """Return the bytes for ``peer``."""
        start = self._place(self._rank, peer, piece) * FLOAT_BYTES
        return self._view[start + done_bytes : start + piece.end_byte - piece.start_byte]

    def target(self, piece: Slice, scratch: memoryview) -> memoryview:
        """Return the scratch space: nothing is kept."""
        return scratch

    def take(self, peer: int, piece: Slice, scratch: Floats) -> None:
        """Compare a slice element by element with what ``peer`` should have sent."""
        start, length = self._place(peer, self._rank, piece), (piece.end_byte - piece.start_byte) // FLOAT_BYTES
        self._missing -= int(np.count_nonzero(scratch[:length] == self._pattern[start : start + length]))

    def count_wrong(self) -> int:
        """Return how many expected elements did not arrive, or not as they were sent."""
        return self._missing

    def _place(self, src: int, dst: int, piece: Slice) -> int:
        return (src * SOURCE_SHIFT + dst * SHIFT + piece.start_byte // FLOAT_BYTES) % PATTERN_ELEMENTS


@lru_cache(maxsize=8)
def _pattern(iteration: int, repeats: int) -> Floats:
    """Return the numbers of an iteration, so many times; nobody writes to it."""
    once: Floats = np.random.default_rng(iteration).integers(1, 1 << 24, size=PATTERN_ELEMENTS).astype(np.float32)
    pattern: Floats = np.tile(once, repeats)
    pattern.flags.writeable = False
    return pattern
