"""Whether the ranks of a running iteration still get on: who hangs, who waits for whom, how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.errors import WorkloadError
from testbed.model.topology import Host
from testbed.system.process import Child, Event

MOST_NAMED = 3  # peers a message names


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to put up with silence, in seconds."""

    hang_s: float = 3.5  # a rank that has not answered for so long hangs: told within 5 s, as ranks are asked each 1.2
    stall_s: float = 60.0  # while faults are repaired TCP may back off to many seconds between attempts


@dataclass(slots=True)
class RankState:
    """What is known of one rank while the job runs."""

    rank: int
    host: Host
    child: Child
    last: dict[str, Event] = field(default_factory=dict)  # the latest event of each kind
    heard_s: float = 0.0  # monotonic, when it last said anything

    def said(self, event: str, iteration: int | None) -> bool:
        """Return whether it has said so (of this iteration)."""
        return event in self.last and self.last[event].get("iteration") == iteration


class StallWatch:
    """Judges, by what the ranks of a running iteration answer, whether one hangs or all wait for nothing."""

    def __init__(self, iteration: int, ranks: Sequence[RankState], patience: Patience, start_s: float) -> None:
        self._iteration = iteration
        self._ranks = ranks
        self._patience = patience
        self._progress = (0, 0)
        self._progress_s = start_s
        self._checked_s = start_s
        self._grace_s = start_s  # nobody is blamed for what was before

    def check(self, now_s: float) -> float:
        """Return the fraction of the iteration's bytes that has arrived, as far as the ranks have told.

        Raises WorkloadError naming the ranks that have not answered for ``patience.hang_s``, or those that have
        waited longest when nothing has arrived anywhere for ``patience.stall_s``.
        """
        if now_s - self._checked_s > self._patience.hang_s:  # the machine stood still, or who asks: all get time again
            self._grace_s = now_s
        self._checked_s = now_s
        moving = [rank for rank in self._ranks if not rank.said("moved", self._iteration)]
        hung = [rank for rank in moving if now_s - max(rank.heard_s, self._grace_s) > self._patience.hang_s]
        if hung:
            raise WorkloadError(
                f"iteration {self._iteration}: no answer for {self._patience.hang_s:g} s from "
                + ", ".join(f"{rank.child}, {_process_state(rank.child.pid)}" for rank in hung)
            )
        reports = {rank.rank: rank.last["progress"] for rank in moving if rank.said("progress", self._iteration)}
        received = sum(report["received_bytes"] for report in reports.values())
        arrived = len(self._ranks) - len(moving)
        if (received, arrived) != self._progress or any(report.get("computing") for report in reports.values()):
            self._progress, self._progress_s = (received, arrived), now_s
        elif now_s - self._progress_s > self._patience.stall_s:
            raise WorkloadError(self._stalled(reports))
        fractions = [_fraction(report) for report in reports.values()]
        return (sum(fractions) + arrived) / len(self._ranks)

    def _stalled(self, reports: dict[int, Event]) -> str:
        waiting = [rank for rank in reports if reports[rank]["awaited"]]
        longest = sorted(waiting, key=lambda rank: -reports[rank]["silent_s"])[:3]
        waits = "; ".join(
            f"{self._ranks[rank].child} has heard nothing from {self._named(reports[rank]['awaited'])} for "
            f"{reports[rank]['silent_s']:.1f} s ({reports[rank]['received_bytes']} of "
            f"{reports[rank]['expected_bytes']} bytes received)"
            for rank in longest
        )
        said = waits or "every rank that answers has received all"
        return f"iteration {self._iteration}: nothing has arrived anywhere for {self._patience.stall_s:g} s: {said}"

    def _named(self, peers: Sequence[int]) -> str:
        named = ", ".join(str(self._ranks[peer].child) for peer in peers[:MOST_NAMED])
        return named + (f" and {len(peers) - MOST_NAMED} more" if len(peers) > MOST_NAMED else "")


def _fraction(report: Event) -> float:
    """Return how much of what a rank expects has arrived; one that expects nothing has all of it."""
    expected_bytes = report["expected_bytes"]
    return float(report["received_bytes"] / expected_bytes) if expected_bytes else 1.0


def _process_state(pid: int) -> str:
    """Return what the kernel says a process is doing: ``state: T (stopped)``."""
    try:
        with open(f"/proc/{pid}/status") as file:
            states = [line.split(maxsplit=1)[1].strip() for line in file if line.startswith("State:")]
    except OSError as error:
        return f"state unknown: {error.strerror}"
    return f"state: {states[0]}" if states else "state unknown"
