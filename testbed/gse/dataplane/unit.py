"""What takes one path: container, packet, flowlet or flow. The schemes differ in little more."""

from __future__ import annotations

import zlib
from typing import Final

from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.former import Slot
from testbed.gse.dataplane.inner import flow_key
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.spread import Spreader

MAX_FLOWLETS: Final = 65_536  # the table is bounded; past that the oldest flows are forgotten


class UnitChooser:
    """Chooses the path of each packet by the profile's ``unit``."""

    def __init__(self, profile: Profile, spread: Spreader, seed: int) -> None:
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._flowlet_gap_s = profile.flowlet_gap_s
        self._unit = profile.unit
        self._spread = spread
        self._seed = seed.to_bytes(4, "big")
        self._flowlets: dict[bytes, tuple[int, float]] = {}

    def choose(self, queue: SourceQueue, frame: bytes, leaf: int, local: bool, now_s: float) -> tuple[int, Slot]:
        """Return path (from 0) and slot of the next packet of ``queue``. ``local``: not over the fabric at all."""
        unit, former = self._unit, queue.former
        if unit != "container":
            former.close()  # every packet is its own container
        elif not local and former.is_open and not self._spread.lives(leaf, queue.path):
            former.close()
        slot = former.place(len(frame))
        if local:
            return 0, slot
        if unit == "flow":
            path = self._by_flow(frame, leaf)
        elif unit == "flowlet":
            path = self._by_flowlet(frame, leaf, now_s)
        else:
            path = self._spread.choose(leaf, now_s) if slot.first else queue.path
        queue.path = path
        return path, slot

    def _by_flow(self, frame: bytes, leaf: int) -> int:
        living = self._spread.living(leaf)
        return living[zlib.crc32(self._seed + flow_key(frame)) % len(living)]

    def _by_flowlet(self, frame: bytes, leaf: int, now_s: float) -> int:
        key = flow_key(frame)
        path, last_s = self._flowlets.pop(key, (-1, 0.0))
        if path < 0 or now_s - last_s > self._flowlet_gap_s or not self._spread.lives(leaf, path):
            path = self._spread.choose(leaf, now_s)
        self._flowlets[key] = (path, now_s)
        if len(self._flowlets) > MAX_FLOWLETS:
            del self._flowlets[next(iter(self._flowlets))]
        return path
