"""What the GSP agents did in the measured part: their counters at its end minus those at its start. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Stats = Mapping[str, Any]
# agents' counters that are summed over all agents, under the same name
SUMMED = (
    "containers",
    "short_containers",
    "requests",
    "grant_frames",
    "gap_timeouts",
    "skipped",
    "late",
    "swapped",
    "retransmitted",
    "marked_frames",
    "queue_full_drops",
    "watchdog_alarms",
    "watchdog_drops",
    "malformed",
    "misdirected",
    "stale",
    "path_changes",
    "congestion_told",
    "data_out",
    "control_out",
    "local_frames",
)


def agent_totals(before: Sequence[Stats], after: Sequence[Stats]) -> dict[str, Any]:
    """Return the sums over all agents of what happened between two rounds of their ``stats``.

    Raises ValueError when the rounds are not of the same agents, KeyError when a counter is missing.
    """
    if [one["name"] for one in before] != [one["name"] for one in after]:
        raise ValueError(f"agents were {[one['name'] for one in before]}, are {[one['name'] for one in after]}")
    restarts = sum(early["epoch"] != late["epoch"] for early, late in zip(before, after, strict=True))
    # an agent that was started again counts from 0, and its name is all it shares with the one before
    before = [
        early if early["epoch"] == late["epoch"] else _nothing(late) for early, late in zip(before, after, strict=True)
    ]
    totals: dict[str, Any] = {
        name: sum(late["counters"][name] - early["counters"][name] for early, late in zip(before, after, strict=True))
        for name in SUMMED
    }
    for name in ("grants", "cpu_s", "socket_drops"):
        totals[name] = sum(late[name] - early[name] for early, late in zip(before, after, strict=True))
    totals["queue_full_frames"] = sum(
        _refused(late) - _refused(early) for early, late in zip(before, after, strict=True)
    )
    totals["reorder_depth_max_bytes"] = max(one["counters"]["reorder_depth_max_bytes"] for one in after)
    totals["dgsq_wait_ms"] = {name: _greatest(one["dgsq_wait_ms"][name] for one in after) for name in ("p50", "p99")}
    totals["restarts"] = restarts
    return totals


def _nothing(stats: Stats) -> Stats:
    """Return the stats of an agent that has just begun."""
    counters = dict.fromkeys(stats["counters"], 0)
    return {**stats, "counters": counters, "grants": 0, "cpu_s": 0.0, "socket_drops": 0, "queue_full": {}}


def _refused(stats: Stats) -> int:
    return sum(stats["queue_full"].values())


def _greatest(values: Iterable[float | None]) -> float | None:
    """Return the greatest of the values that were measured: the agent with the longest waits."""
    return max((value for value in values if value is not None), default=None)
