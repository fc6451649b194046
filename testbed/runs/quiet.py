"""Is the machine left to us now? Found by using all of it for a moment: what a hypervisor takes shows only then."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from testbed.fidelity import THRESHOLDS
from testbed.measurement.parsers import CoreTimes, core_times

LOOK_S: Final = 2.0  # with two cores and 100 ticks a second one tick is 0.25%
PAUSE_S: Final = 10.0  # between looks: a hypervisor's busy times last for minutes
BLOCK: Final = bytes(1 << 20)  # hashed without the interpreter's lock, on every core at once


class Taken(NamedTuple):
    """What others took: ``steal_fraction`` of all processors by the hypervisor, ``cores`` by other programs."""

    steal_fraction: float
    cores: float

    @property
    def quiet(self) -> bool:
        """Whether a run would not be doubted for it, half a limit to spare."""
        limits = (THRESHOLDS["steal"].suspect or 0.0, THRESHOLDS["foreign_load"].suspect or 0.0)
        return self.steal_fraction <= limits[0] / 2 and self.cores <= limits[1] / 2


def taken(before: Sequence[CoreTimes], after: Sequence[CoreTimes], own_s: float, wall_s: float) -> Taken:
    """Return what others took between two readings of /proc/stat; ``own_s``: this process's time. Pure."""
    early = {core.core: core for core in before}
    pairs = [(early[core.core], core) for core in after if core.core in early]
    steal_s = sum(late.steal_s - first.steal_s for first, late in pairs)
    busy_s = sum(_busy_s(late) - _busy_s(first) for first, late in pairs)
    return Taken(steal_s / (wall_s * max(len(pairs), 1)), max(0.0, busy_s - own_s) / wall_s)


def await_quiet(
    longest_s: float,
    *,
    look: Callable[[], Taken] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until nobody else uses the machine, ``longest_s`` at most; return whether that is so."""
    look = look or look_around
    until_s = clock() + longest_s
    while not look().quiet:
        if clock() + PAUSE_S >= until_s:
            return False
        sleep(PAUSE_S)
    return True


def look_around() -> Taken:
    """Watch for a moment; where nobody else is seen, use every core for LOOK_S. Return what others took meanwhile."""
    before, own_s, began_s = _core_times(), time.process_time(), time.monotonic()
    time.sleep(LOOK_S)
    seen = taken(before, _core_times(), time.process_time() - own_s, time.monotonic() - began_s)
    if not seen.quiet:
        return seen  # somebody works, or measures: he is not to be disturbed in turn
    before, own_s, began_s = _core_times(), time.process_time(), time.monotonic()
    threads = [threading.Thread(target=_burn, args=(began_s + LOOK_S,)) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken(before, _core_times(), time.process_time() - own_s, time.monotonic() - began_s)


def _burn(until_s: float) -> None:
    while time.monotonic() < until_s:
        hashlib.sha256(BLOCK).digest()


def _core_times() -> list[CoreTimes]:
    """Read /proc/stat: of the cores a run may use, as its verdict is about these."""
    usable = os.sched_getaffinity(0)
    found = core_times(Path("/proc/stat").read_text(), os.sysconf("SC_CLK_TCK"))
    return [core for core in found if core.core in usable]


def _busy_s(core: CoreTimes) -> float:
    return core.user_s + core.system_s + core.irq_s + core.softirq_s
