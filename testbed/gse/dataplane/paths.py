"""Is each uplink path alive? Carrier at once, silence after a few missing hellos, back only after clean seconds.

Hellos are numbered and go out over all paths together. A path is silent when others have brought back hellos that it
has not: a machine that stands still, or an agent that was not scheduled, delays them all and proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.gse.dataplane.profile import Profile

ALL_SILENT_FACTOR: Final = 20


@dataclass(slots=True)
class _Path:
    up: bool = True
    carrier: bool = True
    heard: int = 0  # number of the latest hello that came back
    heard_s: float = 0.0
    clean_since_s: float | None = None  # while it is down: since when it has answered without a break
    failures: int = 0


class PathMonitor:
    """State of one leaf's own paths, counted from 0. ``check`` returns what changed."""

    def __init__(self, profile: Profile, paths: int, now_s: float) -> None:
        self._profile = profile
        self._paths = [_Path(heard_s=now_s) for _ in range(paths)]
        self.hello_due_s = now_s
        self.number = 0  # of the latest hello

    @property
    def silence_s(self) -> float:
        """A path silent for longer than all others is dead."""
        return self._profile.hello_s * self._profile.hello_misses

    def up(self, path: int) -> bool:
        """Return whether a path is in use."""
        return self._paths[path].up

    def down_paths(self) -> list[int]:
        """Return the paths that are out of use."""
        return [number for number, path in enumerate(self._paths) if not path.up]

    def failures(self) -> int:
        """Return how often paths have failed so far."""
        return sum(path.failures for path in self._paths)

    def next_hello(self, now_s: float) -> int:
        """One hello per path leaves now; return its number."""
        self.number = (self.number + 1) & 0x7FFF_FFFF
        self.hello_due_s = now_s + self._profile.hello_s
        return self.number

    def heard(self, number: int, hello: int, now_s: float) -> None:
        """A hello came back over path ``number``; one that was never sent is ignored."""
        if not 0 < hello <= self.number:
            return
        path = self._paths[number]
        path.heard = max(path.heard, hello)
        if not path.up and (path.clean_since_s is None or now_s - path.heard_s > self.silence_s):
            path.clean_since_s = now_s
        path.heard_s = now_s

    def carrier(self, number: int, *, up: bool, now_s: float) -> None:
        """The uplink's carrier went or came."""
        path = self._paths[number]
        path.carrier = up
        if up:
            path.heard_s, path.heard = now_s, self.number
        else:
            path.clean_since_s = None

    def check(self, now_s: float) -> list[tuple[int, bool]]:
        """Return the paths that changed, with whether they are up now."""
        changed = []
        newest = max(path.heard for path in self._paths)
        for number, path in enumerate(self._paths):
            # when no path brings anything back, only long silence counts
            silent = newest - path.heard >= self._profile.hello_misses or (
                now_s - path.heard_s > ALL_SILENT_FACTOR * self.silence_s
            )
            if path.up and (silent or not path.carrier):
                path.up, path.clean_since_s = False, None
                path.failures += 1
                changed.append((number, False))
            elif not path.up and path.carrier and not silent and self._clean_long_enough(path, now_s):
                path.up = True
                changed.append((number, True))
        return changed

    def _clean_long_enough(self, path: _Path, now_s: float) -> bool:
        return path.clean_since_s is not None and now_s - path.clean_since_s >= self._profile.restore_s
