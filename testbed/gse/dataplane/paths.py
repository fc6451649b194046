"""Is each uplink path alive? Carrier at once, silence after a few missing hellos, back only after clean seconds.

Every path is asked now and then; one that has not answered is asked again soon. It is silent when several hellos in a
row are missing that others have meanwhile brought back: a machine that stands still, or an agent that was not
scheduled, delays them all and proves nothing. How long an answer is waited for is set, and more where answers have
lately come later than the first one to the same hello: a busy machine is slow on single paths, too. What delays all
answers alike makes nobody wait longer, for then none is there to compare with.

Where frames arrive all the time, they prove the path that brings them as well as a hello would, and it is asked seldom
(``hello_proven_s``: they say nothing of the way out). When they stop while other paths go on bringing some, that is as
good as a missing hello, and the path is asked at once, twice; when the answer is due and still no frame has come, as
good as two. The frames of other paths are then what it is measured by.

A link that is very slow, and not dead, is silent while frames wait for it and answers when none do: a path that fails
again soon after its return has to be clean for twice as long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Final

from testbed.gse.dataplane.profile import Profile

ALL_SILENT_S: Final = 1.0  # when no path brings anything back, only this proves that all are dead
PATIENCE: Final = 1.25  # times the longest answer of late
PATIENCE_HALF_LIFE_S: Final = 1.0
MOST_PATIENCE_S: Final = 0.25
LAPSED_WAIT: Final = 1.15  # times ``hello_wait_s``: no answer takes longer than two frames and what software takes
LAPSE: Final = 0.85  # times ``hello_wait_s`` without a frame: they have stopped, or hosts send less
MOST_LAPSES: Final = 2
SOON: Final = 5.0  # times ``restore_s``: a path that fails again so soon after its return has to be clean for longer
MOST_HOLD: Final = 16.0  # times ``restore_s``
SENT_KEPT: Final = 256  # hellos an answer may be late by


@dataclass(slots=True)
class _Sent:
    number: int
    sent_s: float
    heard_s: float = inf  # when the first path had brought it back


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
    asked_s: float = float("-inf")
    proven: bool = False  # frames came all the time when we last looked
    lapses: int = 0  # they have stopped since, and others go on: so many hellos are that worth


class PathMonitor:
    """State of one leaf's own paths, counted from 0. ``check`` returns what changed, ``asks`` whom to send hellos."""

    def __init__(self, profile: Profile, paths: int, now_s: float) -> None:
        self._profile = profile
        self._paths = [_Path(heard_s=now_s) for _ in range(paths)]
        self._round_s = now_s
        self.number = 0  # of the latest hello
        self._sent: deque[_Sent] = deque(maxlen=SENT_KEPT)
        self._longest_s = 0.0  # answer of late, with when that was
        self._longest_at_s = now_s
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
        self._paths[path].arrived_s = now_s

    def asks(self, now_s: float) -> tuple[int, list[int]]:
        """Return the paths to send a hello over now, and its number."""
        self._look_at_arrivals(now_s)
        asked = {number for number, path in enumerate(self._paths) if self._asks_again(path, now_s)}
        # the last one before a verdict goes over all paths: what the others bring back is what it is measured by
        verdict = any(self._is_verdict(self._paths[number]) for number in asked)
        awaited = verdict or any([self._all_overdue(path, now_s) for path in self._paths])
        if now_s >= self._round_s or verdict:
            self._round_s = now_s + self._profile.hello_s
            asked.update(
                number
                for number, path in enumerate(self._paths)
                if not (path.up and 0 < len(path.unanswered) < self._needs(path))
                and (awaited or not path.proven or now_s >= path.asked_s + self._profile.hello_proven_s)
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
                between = missing < needed if path.lapses else 1 < missing < needed
                # most answers come within a frame's time: where one will decide, the copy is not sent before that
                path.again_s = now_s + (self._wait_of(path, now_s) / 2 if path.lapses else self._profile.hello_retry_s)
                if not between:
                    first_s = path.unanswered[min(self._decisive(path), missing - 1)].sent_s
                    path.again_s = max(path.again_s, first_s + self._wait_of(path, now_s))
        self._reckon()
        return self.number, sorted(asked)

    def _look_at_arrivals(self, now_s: float) -> None:
        """Note which paths bring frames all the time, and which have just stopped to while others go on."""
        lapses_s = LAPSE * self._profile.hello_wait_s
        for path in self._paths:
            if path.arrived_s + lapses_s > now_s:
                if path.lapses:  # it was asked for nothing else
                    path.lapses = 0
                    path.unanswered.clear()
                path.proven = True
                continue
            stopped, path.proven = path.proven, False
            if not path.up or path.lapses + 1 >= self._profile.hello_misses:
                continue
            asked_in_vain = path.lapses == 1 and len(path.unanswered) > 1 and now_s >= self._first_due_s(path)
            # frames of others say that neither the machine nor this program stands still
            others_go_on = any([other.arrived_s + lapses_s > now_s for other in self._paths])
            if ((stopped and path.lapses == 0) or asked_in_vain) and others_go_on:
                path.lapses += 1
                path.again_s = now_s

    def heard(self, number: int, hello: int, now_s: float) -> None:
        """A hello came back over path ``number``; one that was never sent, or long ago, is ignored."""
        sent = next((sent for sent in reversed(self._sent) if sent.number == hello), None)
        if sent is None:
            return
        path = self._paths[number]
        sent.heard_s = min(sent.heard_s, now_s)
        took_s = min(sent.heard_s - sent.sent_s, self._profile.hello_wait_s) + now_s - sent.heard_s
        if path.up and took_s > self._longest_of_late_s(now_s):  # one that is down is slow for another reason
            self._longest_s, self._longest_at_s = took_s, now_s
        while path.unanswered and path.unanswered[0].sent_s <= sent.sent_s:
            path.unanswered.pop(0)
        path.lapses = 0
        if path.again_s <= self.due_s:
            self._reckon()
        silence_s = self._profile.hello_s * self._profile.hello_misses
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
        self._look_at_arrivals(now_s)
        changed = []
        for number, path in enumerate(self._paths):
            silent = self._silent(path, now_s)
            if path.up and (silent or not path.carrier):
                path.up, path.clean_since_s = False, None
                path.failures += 1
                soon = now_s - path.returned_s < SOON * self._profile.restore_s
                path.hold = min(MOST_HOLD, 2 * path.hold) if soon else 1.0
                changed.append((number, False))
            elif not path.up and path.carrier and not silent and self._clean_long_enough(path, now_s):
                path.up, path.returned_s = True, now_s
                changed.append((number, True))
            elif path.again_s <= now_s and len(path.unanswered) >= self._needs(path):
                path.again_s = now_s + self._profile.hello_retry_s  # nothing proved: judged again
        return changed

    def wait_s(self, now_s: float) -> float:
        """Return how long an answer is waited for now."""
        longest_s = self._longest_of_late_s(now_s)
        if longest_s <= self._profile.hello_wait_s:
            return self._profile.hello_wait_s
        return max(self._profile.hello_wait_s, min(PATIENCE * longest_s, MOST_PATIENCE_S))

    def _wait_of(self, path: _Path, now_s: float) -> float:
        """Return the same for one path: where frames have stopped, one answer that is surely missing decides."""
        wait_s = self.wait_s(now_s)
        return max(wait_s, LAPSED_WAIT * self._profile.hello_wait_s) if path.lapses else wait_s

    def _longest_of_late_s(self, now_s: float) -> float:
        faded: float = 0.5 ** ((now_s - self._longest_at_s) / PATIENCE_HALF_LIFE_S)
        return self._longest_s * faded

    def _reckon(self) -> None:
        paths = [path for path in self._paths if path.up]
        self.due_s = min(
            [
                self._round_s,
                *(path.again_s for path in paths if path.unanswered),
                *(self._first_due_s(path) for path in paths if path.lapses == 1 and path.unanswered),
                *(path.arrived_s + LAPSE * self._profile.hello_wait_s for path in paths if path.proven),
            ]
        )

    def _needs(self, path: _Path) -> int:
        """Return how many hellos in a row have to be missing."""
        return self._profile.hello_misses - path.lapses

    def _is_verdict(self, path: _Path) -> bool:
        """Return whether the next hello over a path may decide: then it goes over all, to compare."""
        return path.lapses == 0 and len(path.unanswered) >= self._decisive(path)

    def _decisive(self, path: _Path) -> int:
        """Return which of the hellos that have to be missing, from 0, is waited for in full: the last but one.

        The last repeats it a little later, in case it was lost for another reason.
        """
        needs = self._needs(path)
        return needs - 1 if path.lapses else max(0, needs - 2)

    def _all_overdue(self, path: _Path, now_s: float) -> bool:
        """Return whether a path has not answered, and what proves that others have is still to come."""
        if not path.up or len(path.unanswered) < self._needs(path):
            return False
        last = path.unanswered[self._decisive(path)]
        return now_s >= last.sent_s + self._wait_of(path, now_s)

    def _first_due_s(self, path: _Path) -> float:
        first_s = path.unanswered[0].sent_s
        return first_s + self._wait_of(path, first_s)

    def _asks_again(self, path: _Path, now_s: float) -> bool:
        missing = len(path.unanswered)
        begun = missing > 0 or path.lapses > 0
        return path.up and begun and missing < self._needs(path) and path.again_s <= now_s

    def _silent(self, path: _Path, now_s: float) -> bool:
        if now_s - path.heard_s > ALL_SILENT_S:
            return True
        if len(path.unanswered) < self._needs(path):
            return False
        last = path.unanswered[self._decisive(path)]
        if now_s < last.sent_s + self._wait_of(path, now_s):
            return False
        half_s = self.wait_s(now_s) / 2  # paths differ by what they are just sending
        if path.lapses == MOST_LAPSES and any([other.arrived_s > last.sent_s + half_s for other in self._paths]):
            return True
        proof_s = inf  # since when it is known that hellos sent no earlier come back
        for sent in reversed(self._sent):
            if sent.sent_s < last.sent_s:
                break
            proof_s = min(proof_s, sent.heard_s)
        return now_s >= proof_s + half_s

    def _clean_long_enough(self, path: _Path, now_s: float) -> bool:
        return path.clean_since_s is not None and now_s - path.clean_since_s >= path.hold * self._profile.restore_s
