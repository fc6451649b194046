"""What a leaf's GSP hands to its hosts: no more at once than the queue in front of a host holds.

Grants bound what arrives for a port. They do not bound what becomes deliverable at once: when a gap in the order is
filled, all that waited behind it does. What the port could not take waits here instead of being lost there, and counts
against the port's window (``GrantScheduler.held_bytes``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import inf


class Delivery:
    """``ports``: port -> bytes/s of its link; ``most_bytes``: what may wait in front of one."""

    def __init__(self, ports: Mapping[int, float], most_bytes: float, now_s: float) -> None:
        self._rates = dict(ports)
        self._most = most_bytes
        self._waiting = dict.fromkeys(ports, 0.0)  # handed over, and not yet sent by the link at ``_since_s``
        self._since_s = dict.fromkeys(ports, now_s)
        self._held: dict[int, deque[bytes]] = {}  # no port with nothing held
        self._held_bytes = dict.fromkeys(ports, 0)

    def held_bytes(self, port: int) -> int:
        """Return what is held back for a port."""
        return self._held_bytes[port]

    def offer(self, port: int, frame: bytes, now_s: float) -> bool:
        """Return whether a frame may go to its host now; else it is held until its turn."""
        held = self._held.get(port)
        if held is None and self._takes(port, len(frame), now_s):
            return True
        if held is None:
            held = self._held[port] = deque()
        held.append(frame)
        self._held_bytes[port] += len(frame)
        return False

    def release(self, now_s: float) -> list[tuple[int, bytes]]:
        """Return the held frames that may go now, with their ports."""
        ready = []
        for port, held in list(self._held.items()):
            while held and self._takes(port, len(held[0]), now_s):
                frame = held.popleft()
                self._held_bytes[port] -= len(frame)
                ready.append((port, frame))
            if not held:
                del self._held[port]
        return ready

    def due_s(self) -> float:
        """Return when ``release`` will have something; inf: nothing is held."""
        due_s = inf
        if not self._held:  # as nearly always
            return due_s
        for port, held in self._held.items():
            excess = max(0.0, self._waiting[port] + len(held[0]) - self._most)
            # an empty queue takes a frame of any size
            excess = min(excess, self._waiting[port])
            due_s = min(due_s, self._since_s[port] + (excess + 1.0) / self._rates[port])
        return due_s

    def _takes(self, port: int, size_bytes: int, now_s: float) -> bool:
        """Hand a frame over if there is room for it, or nothing else waits."""
        waiting = max(0.0, self._waiting[port] - (now_s - self._since_s[port]) * self._rates[port])
        self._since_s[port] = now_s
        fits = not waiting or waiting + size_bytes <= self._most
        self._waiting[port] = waiting + size_bytes if fits else waiting
        return fits
