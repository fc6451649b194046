"""A dynamic global scheduling queue at its source: what waits for one egress port of the whole fabric.

Made when the first frame from a port for (destination, its port, class) comes, aged when it has been empty for a
while. It knows what it has been asked to carry (``demand``), may send (``grant``) and has sent (``sent``), all
cumulative bytes of inner frames. It decides when to ask and when to ask again; it neither sends nor chooses paths.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from testbed.gse.dataplane.former import Former
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.serial import unwrap

WATCHDOG_ROUNDS: Final = 3  # alarms without a grant before the queue is given up
NEWEST: Final = 0.5  # share of the latest in what was lately
USUAL_KEPT: Final = 0.75  # of what was usual stays when a grant came sooner
PATIENCE: Final = 1.5  # times the usual, until a grant that has not come is asked for again
PATIENCE_GAPS: Final = 1.5  # gap times at most: after two a destination forgets who is silent


class SourceQueue:
    """See the module. ``dst`` is a GSP address, ``qid`` this source's number for the queue, ``port`` its sender's."""

    def __init__(
        self, profile: Profile, *, qid: int, epoch: int, port: int, dst: int, dst_port: int, tc: int, now_s: float
    ) -> None:
        # as its own attributes: compiled code finds those without a look-up by name, which a pydantic model needs
        self._by_grant = profile.by_grant
        self._age_s = profile.age_s
        self._gap_s = profile.gap_s
        self._limit_bytes = profile.limit_bytes
        self._quantum_bytes = profile.quantum_bytes
        self._request_retry_s = profile.request_retry_s
        self._watchdog_s = profile.watchdog_s
        self.qid, self.epoch, self.port = qid, epoch, port
        self.dst, self.dst_port, self.tc = dst, dst_port, tc
        self.former = Former(profile.container_bytes)
        self.path = 0
        self.psn = 0
        self.demand = self.sent = self.grant = 0
        self.head_bytes = 0  # bytes of the frame in front; 0 with nothing waiting, for there is no frame of none
        self.dropped_frames = self.alarms = self.closures = 0
        self._frames: deque[tuple[bytes, float]] = deque()
        self._told = 0  # the demand the destination has been told, by a request or a data header
        self._told_s = now_s
        self._heard_s = now_s  # when a grant last raised what may be sent, or nothing was wanted
        self._empty_since_s = now_s
        self._ahead_bytes = 0  # what the latest grant was beyond the demand that had been told
        self._turn_s = 0.0  # from one grant to the next, lately
        self._granted_s = now_s
        self._usual_s = 0.0  # from one grant to the next, while frames wait: where many take turns, long

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait."""
        return self.demand - self.sent

    @property
    def backlog_frames(self) -> int:
        """Frames that wait."""
        return len(self._frames)

    def offer(self, frame: bytes, now_s: float) -> bool:
        """Put a frame at the end; return whether there was room for it."""
        if self.demand - self.sent + len(frame) > self._limit_bytes:
            self.dropped_frames += 1
            return False
        if not self._frames:
            self._heard_s = now_s
            if now_s - self._empty_since_s > self._age_s / 2:
                self._ahead_bytes = 0  # the destination does not grant it ahead any more
                self._turn_s, self._granted_s = 0.0, now_s  # nothing was wanted: that was no wait for a turn
            self.head_bytes = len(frame)
        self._frames.append((frame, now_s))
        self.demand += len(frame)
        return True

    def sendable(self) -> bool:
        """Return whether the frame in front may be sent now."""
        head = self.head_bytes
        return head > 0 and (not self._by_grant or self.sent + head <= self.grant)

    def take(self, now_s: float) -> tuple[bytes, float]:
        """Remove the frame in front as sent; return it and the s it has waited. Its header tells ``demand``."""
        frame, since_s = self._frames.popleft()
        self.sent += len(frame)
        self.psn += 1
        self._told, self._told_s = self.demand, now_s
        if self._frames:
            self.head_bytes = len(self._frames[0][0])
        else:
            self.head_bytes = 0
            self._empty_since_s = now_s
        return frame, now_s - since_s

    def granted(self, grant: int, now_s: float) -> bool:
        """Take a grant (32 bits); return whether it allows more than before. Older and repeated ones change nothing."""
        total = unwrap(grant, self.grant)
        if total <= self.grant:
            return False
        if self.starved():
            took_s = now_s - self._heard_s
            self._usual_s = max(took_s, USUAL_KEPT * self._usual_s + (1 - USUAL_KEPT) * took_s)
        self.grant = total
        self._ahead_bytes = total - self._told
        self._turn_s += NEWEST * (now_s - self._granted_s - self._turn_s)
        self._granted_s = now_s
        self._heard_s = now_s
        self.alarms = 0
        return True

    # -- asking -----------------------------------------------------------------------------------------------

    def starved(self) -> bool:
        """Return whether frames wait for a grant."""
        return self.head_bytes > 0 and not self.sendable()

    def ask_due_s(self) -> float | None:
        """Return when the destination has to be asked (again); None: nothing to ask."""
        if not self.starved():
            return None
        wanted = self.sent + self.head_bytes
        news = self.demand - self._told
        quantum = self._quantum_bytes
        if news >= quantum and self._told < self.grant + quantum:
            return self._told_s  # at once: what it knows of does not make a whole grant
        if self._told < wanted and not self._one_of_many():
            return self._told_s
        patience_s = min(PATIENCE * self._usual_s, PATIENCE_GAPS * self._gap_s)
        return max(self._told_s, self._heard_s) + max(self._request_retry_s, patience_s)

    def _one_of_many(self) -> bool:
        """Return whether the destination will soon grant what the frame in front needs, unasked.

        A port that grants little more than a frame ahead, and seldom, has many queues. Told of frames that used up half
        of that, it will grant the same again, and not sooner if asked. One with few queues is asked for more.
        """
        head, ahead = self.head_bytes, self._ahead_bytes
        if not head <= ahead < 2 * head or self._turn_s <= self._request_retry_s / 2:
            return False
        return 2 * (self._told + ahead - self.grant) >= ahead  # else it has been told too little (``GrantScheduler``)

    def asked(self, now_s: float) -> None:
        """A request with the present demand leaves now."""
        self._told, self._told_s = self.demand, now_s

    def head_age_s(self, now_s: float) -> float:
        """Return how long the frame in front has waited; 0 with nothing waiting."""
        return now_s - self._frames[0][1] if self._frames else 0.0

    # -- ageing -----------------------------------------------------------------------------------------------

    def watchdog_due_s(self) -> float | None:
        """Return when silence of the destination becomes an alarm; None: it owes nothing."""
        if not self.starved():
            return None
        return self._heard_s + (self.alarms + 1) * self._watchdog_s

    def alarm(self) -> bool:
        """Count an alarm; return whether the queue is to be given up."""
        self.alarms += 1
        return self.alarms >= WATCHDOG_ROUNDS

    def drop_all(self, now_s: float) -> int:
        """Drop what waits; return how many frames."""
        count = len(self._frames)
        self.dropped_frames += count
        self._frames.clear()
        self.head_bytes = 0
        self.demand = self.sent
        self._empty_since_s = now_s
        self.former.close()
        return count

    def close(self) -> None:
        """The destination forgets the queue: credit that is left is void."""
        self.grant = self.sent
        self._usual_s, self._turn_s, self._ahead_bytes = 0.0, 0.0, 0
        self.former.close()
        self.alarms = 0
        self.closures += 1

    def age_due_s(self) -> float | None:
        """Return when the queue may be closed; None: not while frames wait."""
        return None if self._frames else self._empty_since_s + self._age_s
