"""Is each uplink path alive? Carrier at once, silence after a few missing hellos, back only after clean seconds."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.gse.dataplane.profile import Profile


@dataclass(slots=True)
class _Path:
    up: bool = True
    carrier: bool = True
    heard_s: float = 0.0
    clean_since_s: float | None = None  # while it is down: since when it has answered without a break
    failures: int = 0


class PathMonitor:
    """State of one leaf's own paths, counted from 0. ``check`` returns what changed."""

    def __init__(self, profile: Profile, paths: int, now_s: float) -> None:
        self._profile = profile
        self._paths = [_Path(heard_s=now_s) for _ in range(paths)]
        self.hello_due_s = now_s

    @property
    def silence_s(self) -> float:
        """A path silent for longer is dead."""
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

    def sent_hellos(self, now_s: float) -> None:
        """One hello per path leaves now. After a pause of our own, silence counts from now: nobody was asked."""
        if now_s - self.hello_due_s > self._profile.hello_s:
            for path in self._paths:
                path.heard_s = max(path.heard_s, now_s - self._profile.hello_s)
        self.hello_due_s = now_s + self._profile.hello_s

    def heard(self, number: int, now_s: float) -> None:
        """A hello came back over a path."""
        path = self._paths[number]
        if not path.up and (path.clean_since_s is None or now_s - path.heard_s > self.silence_s):
            path.clean_since_s = now_s
        path.heard_s = now_s

    def carrier(self, number: int, *, up: bool, now_s: float) -> None:
        """The uplink's carrier went or came."""
        path = self._paths[number]
        path.carrier = up
        if up:
            path.heard_s = now_s
        else:
            path.clean_since_s = None

    def check(self, now_s: float) -> list[tuple[int, bool]]:
        """Return the paths that changed, with whether they are up now."""
        changed = []
        for number, path in enumerate(self._paths):
            silent = now_s - path.heard_s > self.silence_s
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
