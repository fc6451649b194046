"""Is each uplink path alive? Carrier at once, silence after a few missing hellos, back only after clean seconds.

Every path is asked now and then; one that has not answered is asked again soon. It is silent when several hellos in a
row are missing that others have meanwhile brought back: a machine that stands still, or an agent that was not
scheduled, delays them all and proves nothing. How long an answer is waited for is set, and more where answers have
lately taken longer: a busy machine is slow on every path, if not on all at once. One that is slow alone, much slower
than the next to another hello, counts little, and one over a path that is down not at all.

Where frames arrive all the time, they prove the path that brings them as well as a hello would, and it is asked seldom
(``hello_proven_s``: they say nothing of the way out). When they stop while other paths go on bringing some, that is as
good as a missing hello, and the path is asked at once. Frames that have only begun to come prove no such thing: when
everybody starts to send they come irregularly, and answers are late on a machine that has just woken up.

Two things speak for a path whose hellos are missing. Frames that came by it after the last of them was sent, while
they go on coming (not what only drains from a queue behind a link that has died): it lives, inwards at least, and is
waited for as long as one that is dead only outwards is waited for anyway. And others of the same leaf that are missing
with it: links die one by one, a busy machine is late on several.

A link that is very slow, and not dead, is silent while frames wait for it and answers when none do: a path that fails
again soon after its return has to be clean for twice as long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from testbed.gse.dataplane.profile import Profile

ALL_SILENT_S: Final = 1.0  # when no path brings anything back, only this proves that all are dead
PATIENCE: Final = 1.25  # times the longest answer of late
PATIENCE_HALF_LIFE_S: Final = 0.5
MOST_PATIENCE_S: Final = 0.25
QUIET: Final = 5.0  # times ``hello_wait_s`` without a frame: what comes then has only begun to come
BEGUN: Final = 4.0  # times the same after that: frames that stop mean something
LAPSED_WAIT: Final = 0.75  # of that, where frames have stopped: most answers come within a frame and a half
ALONE: Final = 2.0  # times the second slowest: a single slow answer counts for no more
MOST_ALIKE: Final = 3.0  # times ``hello_wait_s``: what delays even the first answer for longer is no path's
SOON: Final = 5.0  # times ``restore_s``: a path that fails again so soon after its return has to be clean for longer
MOST_HOLD: Final = 16.0  # times ``restore_s``
SENT_KEPT: Final = 256  # hellos an answer may be late by


@dataclass(slots=True)
class _Sent:
    number: int
    sent_s: float
    heard_s: float = inf  # when the first path had brought it back


class _Slow(NamedTuple):
    """An answer that took long: to which hello, how long, and when it came."""

    number: int
    took_s: float
    at_s: float


@dataclass(slots=True)
class _Path:
    up: bool = True
    carrier: bool = True
    heard_s: float = 0.0
    unanswered: list[_Sent] = field(default_factory=list)  # the first ones, at most as many as prove silence
    again_s: float = 0.0  # with something unanswered: when it is asked again, or judged
    clean_since_s: float | None = None  # while it is down: since when it has answered without a break
    failures: int = 0
    returned_s: float = float("-inf")  # when it was last used again
    hold: float = 1.0  # times ``restore_s`` it has to be clean now
    arrived_s: float = float("-inf")  # when a frame last came this way
    began_s: float = float("-inf")  # when frames began to come after a pause
    asked_s: float = float("-inf")
    proven: bool = False  # frames came all the time when we last looked
    lapsed: bool = False  # they have stopped since, and others go on: worth one hello


class PathMonitor:
    """State of one leaf's own paths, counted from 0. ``check`` returns what changed, ``asks`` whom to send hellos."""

    def __init__(self, profile: Profile, paths: int, now_s: float) -> None:
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._hello_misses = profile.hello_misses
        self._hello_proven_s = profile.hello_proven_s
        self._hello_retry_s = profile.hello_retry_s
        self._hello_s = profile.hello_s
        self._hello_wait_s = profile.hello_wait_s
        self._restore_s = profile.restore_s
        self._paths = [_Path(heard_s=now_s) for _ in range(paths)]
        self._round_s = now_s
        self.number = 0  # of the latest hello
        self._sent: deque[_Sent] = deque(maxlen=SENT_KEPT)
        self._slowest = _Slow(0, 0.0, now_s)  # answer of late
        self._second = _Slow(0, 0.0, now_s)  # to another hello
        self.due_s = now_s  # when ``check`` and ``asks`` have something to do

    def up(self, path: int) -> bool:
        """Return whether a path is in use."""
        return self._paths[path].up

    def has_carrier(self, path: int) -> bool:
        """Return whether a path's own uplink has carrier."""
        return self._paths[path].carrier

    def down_paths(self) -> list[int]:
        """Return the paths that are out of use."""
        return [number for number, path in enumerate(self._paths) if not path.up]

    def failures(self) -> int:
        """Return how often paths have failed so far."""
        return sum(path.failures for path in self._paths)

    def arrived(self, path: int, now_s: float) -> None:
        """A frame has come by ``path``."""
        found = self._paths[path]
        if now_s - found.arrived_s > QUIET * self._hello_wait_s:
            found.began_s = now_s
        found.arrived_s = now_s

    def asks(self, now_s: float) -> tuple[int, list[int]]:
        """Return the paths to send a hello over now, and its number."""
        self._look_at_arrivals(now_s)
        asked = {number for number, path in enumerate(self._paths) if self._asks_again(path, now_s)}
        # the last one before a verdict goes over all paths: what the others bring back is what it is measured by
        verdict = any(len(path.unanswered) == self._needs(path) - 1 for path in map(self._paths.__getitem__, asked))
        awaited = verdict or any(path.up and len(path.unanswered) >= self._needs(path) for path in self._paths)
        if now_s >= self._round_s or verdict:
            self._round_s = now_s + self._hello_s
            asked.update(
                number
                for number, path in enumerate(self._paths)
                if not (path.up and 0 < len(path.unanswered) < self._needs(path))
                # one that is down has to answer without a break, whatever still comes by it
                and (awaited or not (path.up and path.proven) or now_s >= path.asked_s + self._hello_proven_s)
            )
        if not asked:
            self._reckon()
            return self.number, []
        self.number = (self.number + 1) & 0x7FFF_FFFF
        sent = _Sent(self.number, now_s)
        self._sent.append(sent)
        for number in asked:
            path = self._paths[number]
            path.asked_s = now_s
            missing, needed = len(path.unanswered) + 1, self._needs(path)
            if missing <= needed:  # else only its return is of interest
                path.unanswered.append(sent)
                between = 1 < missing < needed
                path.again_s = now_s + (self._hello_retry_s if between else self._wait_of(path, now_s))
        self._reckon()
        return self.number, sorted(asked)

    def _look_at_arrivals(self, now_s: float) -> None:
        """Note which paths bring frames all the time, and which have just stopped to while others go on."""
        lapses_s = self._hello_wait_s
        for path in self._paths:
            if path.arrived_s + lapses_s > now_s:
                if path.lapsed:  # it was asked for nothing else
                    path.unanswered.clear()
                path.proven, path.lapsed = True, False
            elif path.proven:
                path.proven = False
                begun = path.arrived_s - path.began_s >= BEGUN * lapses_s
                if path.up and begun and not path.unanswered and self._hello_misses > 1:
                    path.lapsed = any(other.arrived_s + lapses_s > now_s for other in self._paths)
                    path.again_s = now_s

    def heard(self, number: int, hello: int, now_s: float) -> None:
        """A hello came back over path ``number``; one that was never sent, or long ago, is ignored."""
        sent = next((sent for sent in reversed(self._sent) if sent.number == hello), None)
        if sent is None:
            return
        path = self._paths[number]
        sent.heard_s = min(sent.heard_s, now_s)
        if path.up:  # one that is down is slow for another reason
            first_s = min(sent.heard_s - sent.sent_s, MOST_ALIKE * self._hello_wait_s)
            self._learn(_Slow(hello, first_s + now_s - sent.heard_s, now_s))
        while path.unanswered and path.unanswered[0].sent_s <= sent.sent_s:
            path.unanswered.pop(0)
        path.lapsed = False
        if path.again_s <= self.due_s:
            self._reckon()
        silence_s = self._hello_s * self._hello_misses
        if not path.up and (path.clean_since_s is None or now_s - path.heard_s > silence_s):
            path.clean_since_s = now_s
        path.heard_s = now_s

    def carrier(self, number: int, *, up: bool, now_s: float) -> None:
        """The uplink's carrier went or came."""
        path = self._paths[number]
        path.carrier = up
        if up:
            path.heard_s = now_s
            path.unanswered.clear()
        else:
            path.clean_since_s = None
        self._reckon()

    def check(self, now_s: float) -> list[tuple[int, bool]]:
        """Return the paths that changed, with whether they are up now."""
        changed = []
        missing = sum(path.up and self._missing(path, now_s) for path in self._paths)
        for number, path in enumerate(self._paths):
            silent = self._silent(path, missing, now_s)
            if path.up and (silent or not path.carrier):
                path.up, path.clean_since_s = False, None
                path.failures += 1
                soon = now_s - path.returned_s < SOON * self._restore_s
                path.hold = min(MOST_HOLD, 2 * path.hold) if soon else 1.0
                changed.append((number, False))
            elif not path.up and path.carrier and not silent and self._clean_long_enough(path, now_s):
                path.up, path.returned_s = True, now_s
                changed.append((number, True))
            elif path.again_s <= now_s and len(path.unanswered) >= self._needs(path):
                path.again_s = now_s + self._hello_retry_s  # nothing proved: judged again
        return changed

    def wait_s(self, now_s: float) -> float:
        """Return how long an answer is waited for now."""
        longest_s = min(_faded_s(self._slowest, now_s), ALONE * _faded_s(self._second, now_s))
        if longest_s <= self._hello_wait_s:
            return self._hello_wait_s
        return max(self._hello_wait_s, min(PATIENCE * longest_s, MOST_PATIENCE_S))

    def _wait_of(self, path: _Path, now_s: float) -> float:
        """Return the same for one path: its hellos are not the only ones that are missing where frames have stopped."""
        return self.wait_s(now_s) * (LAPSED_WAIT if path.lapsed else 1.0)

    def _learn(self, slow: _Slow) -> None:
        """Keep the two slowest answers of late, to two hellos."""
        if slow.number == self._slowest.number:
            if slow.took_s >= _faded_s(self._slowest, slow.at_s):
                self._slowest = slow
        elif slow.took_s >= _faded_s(self._slowest, slow.at_s):
            self._slowest, self._second = slow, self._slowest
        elif slow.took_s >= _faded_s(self._second, slow.at_s):
            self._second = slow

    def _reckon(self) -> None:
        paths = [path for path in self._paths if path.up]
        self.due_s = min(
            [
                self._round_s,
                *(path.again_s for path in paths if path.unanswered),
                *(path.arrived_s + self._hello_wait_s for path in paths if path.proven),
            ]
        )

    def _needs(self, path: _Path) -> int:
        """Return how many hellos in a row have to be missing."""
        return self._hello_misses - path.lapsed

    def _asks_again(self, path: _Path, now_s: float) -> bool:
        missing = len(path.unanswered)
        begun = missing > 0 or path.lapsed
        return path.up and begun and missing < self._needs(path) and path.again_s <= now_s

    def _missing(self, path: _Path, now_s: float) -> bool:
        """Return whether all the hellos that prove silence are overdue, and nothing else has come by the path."""
        if len(path.unanswered) < self._needs(path):
            return False
        first, last = path.unanswered[0], path.unanswered[-1]
        speaks_s = min(first.sent_s + self._hello_proven_s, path.arrived_s + self._hello_wait_s)
        if path.arrived_s > last.sent_s and now_s < speaks_s:
            return False
        return now_s >= last.sent_s + self._wait_of(path, now_s)

    def _silent(self, path: _Path, missing: int, now_s: float) -> bool:
        """Return whether a path is silent, where ``missing`` paths of the leaf are waited for at once."""
        if not self._missing(path, now_s):
            return False
        if now_s - path.heard_s > ALL_SILENT_S:
            return True
        # paths differ by what they are just sending; what comes back later still must not put it off
        return now_s >= self._proven_s(path.unanswered[-1]) + max(1, missing) * self.wait_s(now_s) / 2

    def _proven_s(self, hello: _Sent) -> float:
        """Return when another path had first brought back this hello, or a later one; infinite where none has."""
        first_s = inf
        for sent in reversed(self._sent):
            if sent.sent_s < hello.sent_s:
                break
            first_s = min(first_s, sent.heard_s)
        return first_s

    def _clean_long_enough(self, path: _Path, now_s: float) -> bool:
        return path.clean_since_s is not None and now_s - path.clean_since_s >= path.hold * self._restore_s


def _faded_s(slow: _Slow, now_s: float) -> float:
    faded: float = 0.5 ** ((now_s - slow.at_s) / PATIENCE_HALF_LIFE_S)
    return slow.took_s * faded
