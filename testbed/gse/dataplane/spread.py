"""Which path a container takes: the one that is furthest behind its fair share towards that destination.

Per destination leaf every path has a deficit: bytes sent by it, divided by its weight. What this GSP has put on an
uplink and the uplink has not had time to send counts too, so that two queues do not choose the same uplink at once.
GSPs that share uplinks without knowing of each other (hosts under E2E) choose at random among paths that are about
equal: else those that begin alike go on in step, all on one uplink, then all on the next. Dead paths (weight 0) are
never chosen while a living one exists, full ones (``room_bytes`` wait at the uplink) not while another has room.
"""

from __future__ import annotations

from math import inf
from random import Random

FULL_WEIGHT = 1.0
LEAST_PACE = 1 / 64


class Spreader:
    """Path choice of one GSP. Paths count from 0; ``uplink_bytes_per_s`` is the rate of every uplink.

    With ``room_bytes`` the uplinks are this GSP's own, and ``room_s`` says when one has room for a new container, or
    for the next frame of the open one. ``pacing``: the fraction of the rate at which uplinks are reckoned to send while
    some path is dead. Then they are full for as long as that lasts, and what a late timer or a stolen processor takes
    from a link would otherwise wait in its queue, more and more of it.
    """

    def __init__(
        self,
        paths: int,
        uplink_bytes_per_s: float,
        rng: Random,
        *,
        slack_bytes: int = 0,
        room_bytes: int | None = None,
        container_bytes: int = 0,
        pacing: float = 1.0,
    ) -> None:
        self._slack = slack_bytes + 1e-6
        self._room = inf if room_bytes is None else float(room_bytes)
        self._room_to_go_on = self._room + container_bytes
        self._paths = list(range(paths))
        self._full_rate, self._scarce_rate = uplink_bytes_per_s, uplink_bytes_per_s * pacing
        self._rate = uplink_bytes_per_s
        self._rng = rng
        self._sent: dict[int, list[float]] = {}  # destination leaf -> weighted bytes by path
        self._backlog = [0.0] * paths
        self._backlog_s = [0.0] * paths
        self._weight: dict[int, list[float]] = {}  # destination leaf -> weight by path
        self._pace: dict[int, list[float]] = {}  # the same for what congestion leaves of it
        self._local_up = [True] * paths
        self._ups = paths  # how many of them
        self.path_bytes = [0] * paths

    def choose(self, leaf: int, now_s: float, avoid: int | None = None) -> int:
        """Return the path for the next container to ``leaf``, ``avoid`` only if there is no other."""
        sent = self._sent_to(leaf)
        living = self.living(leaf)
        if avoid is not None:
            living = [path for path in living if path != avoid] or living
        living = [path for path in living if self.waiting(path, now_s) < self._room] or living
        scores = [sent[path] + self.waiting(path, now_s) for path in living]
        least = inf
        for score in scores:
            least = min(least, score)
        enough = least + self._slack
        best = [path for place, path in enumerate(living) if scores[place] <= enough]
        return best[0] if len(best) == 1 else self._rng.choice(best)

    def room_s(self, leaf: int, now_s: float, path: int | None = None) -> float:
        """Return when a frame to ``leaf`` may leave: ``now_s`` or later. ``path``: its container is open there."""
        if path is not None:
            return self._below_s(path, self._room_to_go_on, now_s)
        first_s = inf
        for living in self.living(leaf):
            first_s = min(first_s, self._below_s(living, self._room, now_s))
        return first_s

    def burden(self, path: int, frame_bytes: int, now_s: float) -> None:
        """A frame that is nobody's share (control) has been put on an uplink."""
        self._backlog[path] = self.waiting(path, now_s) + frame_bytes
        self._backlog_s[path] = now_s

    @property
    def egress_bytes_per_s(self) -> float:
        """What the living uplinks are reckoned to send together; of all when none lives."""
        return (self._ups or len(self._paths)) * self._rate

    def record(self, leaf: int, path: int, frame_bytes: int, now_s: float) -> None:
        """A frame of ``frame_bytes`` has been sent to ``leaf`` by ``path``."""
        self.burden(path, frame_bytes, now_s)
        self.path_bytes[path] += frame_bytes
        sent = self._sent_to(leaf)
        sent[path] += frame_bytes / ((self._weights(leaf)[path] or FULL_WEIGHT) * self._paces(leaf)[path])
        # Only differences matter: keep them small, so that floats stay exact for ever.
        if sent[path] > 1e9:
            least = min(sent)
            for other in self._paths:
                sent[other] -= least

    def living(self, leaf: int) -> list[int]:
        """Return the paths to ``leaf`` that may be used; all of them when none lives."""
        weights = self._weights(leaf)
        living = [path for path in self._paths if self._local_up[path] and weights[path] > 0]
        return living or self._paths

    def reach(self, leaf: int) -> float:
        """Return the fraction of the paths to a leaf that live; 1 also when none does."""
        return len(self.living(leaf)) / len(self._paths)

    @property
    def local_reach(self) -> float:
        """The fraction of this leaf's own uplinks that live; 1 also when none does."""
        return (self._ups or len(self._paths)) / len(self._paths)

    def lives(self, leaf: int, path: int) -> bool:
        """Return whether a path to ``leaf`` is in use."""
        return self._local_up[path] and self._weights(leaf)[path] > 0

    def set_local(self, path: int, *, up: bool) -> None:
        """Take this GSP's own uplink out of use or back in."""
        if self._local_up[path] != up:
            self._local_up[path] = up
            self._ups += 1 if up else -1
            self._backlog[path] = 0.0
            self._reckon_rate()
            if up:
                for leaf in self._sent:
                    self._level(leaf, path)

    def set_weight(self, leaf: int, path: int, weight: float) -> None:
        """Weigh a path towards ``leaf``: 1 full share, 0 dead."""
        weights = self._weights(leaf)
        revived = weights[path] == 0 < weight
        weights[path] = weight
        self._reckon_rate()
        if revived:
            self._level(leaf, path)

    def slow_down(self, leaf: int, path: int, factor: float) -> None:
        """Give a path towards ``leaf`` less by ``factor`` (0..1), but never nothing: it has to show that it is well."""
        paces = self._paces(leaf)
        paces[path] = max(LEAST_PACE, paces[path] * factor)

    def recover(self, growth: float) -> None:
        """Give every path that was slowed down more again by ``growth`` (> 1)."""
        for leaf, paces in self._pace.items():
            for path, pace in enumerate(paces):
                if pace < FULL_WEIGHT:
                    paces[path] = min(FULL_WEIGHT, pace * growth)
                    self._level(leaf, path)

    def paces(self) -> dict[int, list[float]]:
        """Return destination leaf -> what congestion leaves of each path's weight, where it leaves less than all."""
        return {leaf: list(paces) for leaf, paces in self._pace.items() if min(paces) < FULL_WEIGHT}

    def _paces(self, leaf: int) -> list[float]:
        paces = self._pace.get(leaf)
        if paces is None:
            paces = self._pace[leaf] = [FULL_WEIGHT] * len(self._paths)
        return paces

    def _level(self, leaf: int, path: int) -> None:
        """Let a path that returns begin where the others stand, or it would have to catch up alone."""
        sent = self._sent_to(leaf)
        others = [sent[other] for other in self.living(leaf) if other != path]
        sent[path] = max([sent[path], *([min(others)] if others else [])])

    def _sent_to(self, leaf: int) -> list[float]:
        sent = self._sent.get(leaf)
        if sent is None:
            sent = self._sent[leaf] = [0.0] * len(self._paths)
        return sent

    def _weights(self, leaf: int) -> list[float]:
        weights = self._weight.get(leaf)
        if weights is None:
            weights = self._weight[leaf] = [FULL_WEIGHT] * len(self._paths)
        return weights

    def _below_s(self, path: int, most_bytes: float, now_s: float) -> float:
        excess = self.waiting(path, now_s) - most_bytes
        return now_s if excess < 0 else now_s + (excess + 1.0) / self._rate

    def _reckon_rate(self) -> None:
        scarce = not all(self._local_up) or any([min(weights) == 0 for weights in self._weight.values()])
        self._rate = self._scarce_rate if scarce else self._full_rate

    def waiting(self, path: int, now_s: float) -> float:
        """Return the bytes this GSP has put on an uplink that the uplink has not had time to send."""
        return max(0.0, self._backlog[path] - (now_s - self._backlog_s[path]) * self._rate)
