"""Packets into containers: the unit that takes one path.

A packet belongs wholly to one container. A container closes when the next whole packet would exceed its size, when
its queue ran empty, or when its path died; it is a tag on packets that leave at once, never a store.
"""

from __future__ import annotations

from dataclasses import dataclass


class Slot:
    """Where a packet stands: container number, index in it, whether it is the first.

    A class and no NamedTuple, as one is made for every frame: compiled code makes its own without the interpreter.
    """

    __slots__ = ("csn", "first", "pidx")

    def __init__(self, csn: int, pidx: int, first: bool) -> None:
        self.csn, self.pidx, self.first = csn, pidx, first


@dataclass(slots=True)
class Former:
    """The open container of one queue."""

    container_bytes: int
    csn: int = -1  # of the open or last closed container
    formed: int = 0  # containers closed
    short: int = 0  # of these, closed although another packet like the last one would have fitted
    is_open: bool = False
    _bytes: int = 0
    _packets: int = 0
    _last_bytes: int = 0

    def place(self, packet_bytes: int) -> Slot:
        """Return where the next packet goes; ``first`` says that a path has to be chosen."""
        if self.is_open and self._bytes + packet_bytes > self.container_bytes:
            self.is_open = False
            self.formed += 1
        first = not self.is_open
        if first:
            self.csn += 1
            self.is_open, self._bytes, self._packets = True, 0, 0
        slot = Slot(self.csn, self._packets, first)
        self._bytes += packet_bytes
        self._packets += 1
        self._last_bytes = packet_bytes
        return slot

    def goes_on(self, packet_bytes: int) -> bool:
        """Return whether the next packet belongs to the open container."""
        return self.is_open and self._bytes + packet_bytes <= self.container_bytes

    def close(self) -> None:
        """Close the open container, if there is one: the queue ran empty or the path died."""
        if not self.is_open:
            return
        self.is_open = False
        self.formed += 1
        if self._bytes + self._last_bytes <= self.container_bytes:
            self.short += 1
