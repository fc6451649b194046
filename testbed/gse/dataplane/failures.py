"""What a GSP does about paths: check its own with hellos, tell everybody of a failure, believe what others tell.

A path that another GSP calls slow gets less (multiplicative decrease), and more again while nobody complains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.outlet import Outlet
from testbed.gse.dataplane.paths import PathMonitor
from testbed.gse.dataplane.place import Place
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.serial import is_newer, is_newer_epoch
from testbed.gse.dataplane.spread import Spreader

FAULT_COPIES: Final = 3
FAULT_COPY_S: Final = 0.001
FAULT_REFRESH_S: Final = 0.5  # a path that is down is told again this often
FAULT_LIFE_S: Final = 2.0  # a notice not told again for so long is void: the path works, or its GSP is gone
LEVEL_THAT_COUNTS: Final = 3  # below is what containers that meet by chance do to each other
SLOW_DOWN: Final = 0.5
STORY_KEPT: Final = 256  # latest changes
CLEAN_REPORTS: Final = 5  # without a complaint before a path is given more, each time
RECOVERY: Final = 1.2


class PathChange(NamedTuple):
    """From ``t_s`` on, ``path`` (from 1) to and from ``leaf`` is used, or not."""

    t_s: float
    leaf: int
    path: int
    up: bool


class Failures:
    """See the module. Paths of a leaf are checked by one GSP only (``Place.watches_paths``)."""

    def __init__(
        self,
        profile: Profile,
        place: Place,
        epoch: int,
        spread: Spreader,
        outlet: Outlet,
        counters: Counters,
        now_s: float,
    ) -> None:
        self._epoch = epoch
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._congestion_report_s = profile.congestion_report_s
        self._place, self._spread, self._outlet, self._counters = place, spread, outlet, counters
        self._recover_s = now_s
        self.monitor = PathMonitor(profile, place.paths, now_s)
        self._seq = 0
        self._heard: dict[tuple[int, int], tuple[int, int]] = {}  # (source, path) -> epoch and number of its latest
        self._told_down_s: dict[tuple[int, int], float] = {}  # (leaf, path) -> when it was last told to be down
        self.story: deque[PathChange] = deque(maxlen=STORY_KEPT)
        self._later: list[tuple[float, wire.Fault, int | None]] = []  # when, what, by which path
        # told of own uplinks that have lost carrier, with the bytes that waited there; and of every change of any path
        self.lost: Callable[[int, float, float], None]
        self.changed: Callable[[bool, float], None]
        self._refresh_s = now_s + FAULT_REFRESH_S

    def due_s(self) -> float:
        """Return when ``advance`` has something to do; inf: not before something is heard."""
        told_s = self._later[0][0] if self._later else inf
        return min(told_s, self.monitor.due_s) if self._place.watches_paths else told_s

    def advance(self, now_s: float) -> None:
        """Send hellos and notices that are due, and judge the paths."""
        self._send_due(now_s)
        if self._place.watches_paths and now_s >= self.monitor.due_s:
            self.check(now_s)
            hello, paths = self.monitor.asks(now_s)
            for path in paths:
                self._counters.hellos += 1
                self._outlet.control(wire.Hello(self._place.gsp, self._place.gsp, path + 1, hello), now_s, path)
            if now_s >= self._refresh_s:
                self._refresh_s = now_s + FAULT_REFRESH_S
                for path in self.monitor.down_paths():
                    self._tell(path, False, now_s, 0)

    def check(self, now_s: float) -> None:
        """Take paths that died out of use at once, tell everybody; the same for paths that are back."""
        for path, up in self.monitor.check(now_s):
            waiting_bytes = self._spread.waiting(path, now_s)
            self._spread.set_local(path, up=up)
            self._counters.path_changes += 1
            self.story.append(PathChange(now_s, self._place.leaf, path + 1, up))
            for copy in range(FAULT_COPIES):
                self._tell(path, up, now_s, copy)
            self._send_due(now_s)  # before anything that is to be sent again
            if not up and not self.monitor.has_carrier(path):
                self.lost(path, waiting_bytes, now_s)
            self.changed(up, now_s)

    def _send_due(self, now_s: float) -> None:
        while self._later and self._later[0][0] <= now_s:
            _at_s, fault, path = self._later.pop(0)
            self._outlet.control(fault, now_s, path)

    def hear_hello(self, message: wire.Hello, now_s: float) -> None:
        """One of this GSP's own has come back."""
        if 1 <= message.path <= self._place.paths and message.src == self._place.gsp:
            self.monitor.heard(message.path - 1, message.seq, now_s)

    def hear_fault(self, message: wire.Fault, now_s: float) -> None:
        """Use a path or not as another GSP says, unless it has said otherwise since."""
        if not 1 <= message.path <= self._place.paths or message.leaf != message.src >> 8:
            self._counters.misdirected += 1
            return
        key = (message.src, message.path)
        epoch, seq = self._heard.get(key, (message.epoch, message.seq - 1))
        if not (is_newer(message.seq, seq) if epoch == message.epoch else is_newer_epoch(message.epoch, epoch)):
            return
        self._heard[key] = (message.epoch, message.seq)
        self._counters.faults_heard += 1
        known_down = (message.leaf, message.path) in self._told_down_s
        if not message.up:
            self._told_down_s[message.leaf, message.path] = now_s
        else:
            self._told_down_s.pop((message.leaf, message.path), None)
        if known_down == message.up:  # else it is no news
            self._use(message.leaf, message.path, up=message.up, now_s=now_s)

    def hear_congestion(self, message: wire.Congestion, now_s: float) -> None:
        """Send less over a path that is slow towards the GSP that says so."""
        if not 1 <= message.path <= self._place.paths:
            self._counters.misdirected += 1
            return
        self._counters.congestion_heard += 1
        leaf = message.src >> 8
        if message.level >= LEVEL_THAT_COUNTS and leaf != self._place.leaf:
            self._spread.slow_down(leaf, message.path - 1, SLOW_DOWN)
            self._recover_s = now_s + self._congestion_report_s * CLEAN_REPORTS

    def recover(self, now_s: float) -> None:
        """Trust slowed paths a little more while nobody complains, and dead ones that nobody calls dead any more."""
        if self._told_down_s:
            for (leaf, path), told_s in list(self._told_down_s.items()):
                if now_s - told_s > FAULT_LIFE_S:
                    del self._told_down_s[leaf, path]
                    self._use(leaf, path, up=True, now_s=now_s)
        if now_s >= self._recover_s:
            self._recover_s = now_s + self._congestion_report_s * CLEAN_REPORTS
            self._spread.recover(RECOVERY)

    def _use(self, leaf: int, path: int, *, up: bool, now_s: float) -> None:
        self.story.append(PathChange(now_s, leaf, path, up))
        if leaf == self._place.leaf:  # a host's agent hears of its own leaf's uplinks
            self._spread.set_local(path - 1, up=up)
        else:
            self._spread.set_weight(leaf, path - 1, 1.0 if up else 0.0)
        self.changed(up, now_s)

    def _tell(self, path: int, up: bool, now_s: float, copy: int) -> None:
        """Tell everybody; copies for one GSP leave at once by different paths, and later where there are no more.

        A frame that is just being sent holds a notice up by its own time on every link: the first copy to get through
        counts.
        """
        self._seq = (self._seq + 1) & 0xFFFF_FFFF
        for place, peer in enumerate(self._place.peers):
            fault = wire.Fault(self._place.gsp, peer, self._epoch, self._place.leaf, path + 1, up, self._seq)
            if peer >> 8 == self._place.leaf:
                self._later.append((now_s + copy * FAULT_COPY_S, fault, None))
                continue
            living = self._spread.living(peer >> 8)
            way = living[(place + copy) % len(living)]
            self._later.append((now_s + copy // len(living) * FAULT_COPY_S, fault, way))
        self._later.sort(key=lambda item: item[0])
