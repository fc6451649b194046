"""What the GSP agents did in the measured iterations: counters at the end of each minus those at its start. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypedDict

Stats = Mapping[str, Any]  # of one agent


class AgentStats(TypedDict):
    """One round of ``stats``: of each process its processor time, and how many timers were so many whole ms late; then
    every agent.
    """

    cpu_s: list[float]
    timers_late: list[dict[int, int]]
    agents: list[dict[str, Any]]


Rounds = Sequence[tuple[AgentStats, AgentStats]]  # before and after each of the times that are measured

# agents' counters that are summed over all agents, under the same name
SUMMED = (
    "host_in_frames",
    "containers",
    "short_containers",
    "hellos",
    "requests",
    "grant_frames",
    "grants_on_data",
    "gap_timeouts",
    "skipped",
    "late",
    "swapped",
    "retransmitted",
    "marked_frames",
    "queue_full_drops",
    "pauses",
    "watchdog_alarms",
    "watchdog_drops",
    "malformed",
    "misdirected",
    "stale",
    "foreign",
    "path_changes",
    "faults_heard",
    "congestion_told",
    "congestion_heard",
    "data_out",
    "control_out",
    "local_frames",
    "overflows",
    "unknown_destination",
    "too_many_queues",
)
NOT_SUMMED = frozenset({"unused_grant_bytes", "reorder_depth_max_bytes", "dgsq_wait_ms", "timers_late"})
FIRST_EPOCH = 1  # of an agent that was not started again
DROPPED = ("queue_full_drops", "watchdog_drops", "too_many_queues")  # frames of hosts that no queue of a switch misses


def agent_totals(rounds: Rounds) -> dict[str, Any]:
    """Return the sums over all agents of what happened between the two rounds of ``stats`` of every pair.

    What happened between one pair and the next is not in them, but that agents were started again. Raises
    ValueError when there are no rounds, or when they are not of the same agents, KeyError when a counter is missing.
    """
    asked = [stats for both in rounds for stats in both]
    if not asked:
        raise ValueError("agents were never asked")
    names = [[one["name"] for one in stats["agents"]] for stats in asked]
    for others in names:
        if others != names[0]:
            raise ValueError(f"agents were {names[0]}, are {others}")
    parts = [_between(before, after) for before, after in rounds]
    totals = {name: sum(part[name] for part in parts) for name in parts[0] if name not in NOT_SUMMED}
    totals["unused_grant_bytes"] = {
        cause: sum(part["unused_grant_bytes"][cause] for part in parts) for cause in parts[0]["unused_grant_bytes"]
    }
    totals["timers_late_ms"] = _percentiles(sum((part["timers_late"] for part in parts), Counter()))
    for name in ("reorder_depth_max_bytes", "dgsq_wait_ms"):  # over all agents have done, or the last they remember
        totals[name] = parts[-1][name]
    steps = zip(asked, asked[1:], strict=False)
    totals["restarts"] = sum(
        early["epoch"] != late["epoch"]
        for before, after in steps
        for early, late in zip(before["agents"], after["agents"], strict=True)
    )
    return totals


def lost_in_fabric(end: AgentStats) -> int | None:
    """Return how many frames left an agent and reached none since the agents began, whoever lost them.

    Of the whole run, warm-up included, asked when its data have been moved: between two rounds in mid-traffic what was
    under way would weigh more than what was lost. Agents are asked one after the other, so some probes still do;
    what these add or take is not told as less than nothing. None where an agent was started again, and counts anew.
    """
    if any(one["epoch"] != FIRST_EPOCH for one in end["agents"]):
        return None
    counters = [one["counters"] for one in end["agents"]]
    return max(0, sum(int(one["data_out"] + one["local_frames"] - one["data_in"]) for one in counters))


def _between(before: AgentStats, after: AgentStats) -> dict[str, Any]:
    """Return the sums over all agents of what happened between two rounds of ``stats``."""
    both = list(zip(before["agents"], after["agents"], strict=True))
    # an agent that was started again counts from 0, and its name is all it shares with the one before
    both = [(early if early["epoch"] == late["epoch"] else _nothing(late), late) for early, late in both]
    totals: dict[str, Any] = {
        name: sum(late["counters"][name] - early["counters"][name] for early, late in both) for name in SUMMED
    }
    for name in ("grants", "socket_drops"):
        totals[name] = sum(late[name] - early[name] for early, late in both)
    totals["unused_grant_bytes"] = {
        cause: sum(late["unused_grant_bytes"][cause] - early["unused_grant_bytes"][cause] for early, late in both)
        for cause in both[0][1]["unused_grant_bytes"]
    }
    # a process that was started again has used less time than the one before it
    totals["cpu_s"] = sum(max(0.0, late - early) for early, late in zip(before["cpu_s"], after["cpu_s"], strict=True))
    totals["timers_late"] = sum(map(_later, before["timers_late"], after["timers_late"]), Counter())
    totals["queue_full_frames"] = sum(_refused(late) - _refused(early) for early, late in both)
    totals["reorder_depth_max_bytes"] = max(late["counters"]["reorder_depth_max_bytes"] for _early, late in both)
    totals["dgsq_wait_ms"] = {
        name: _greatest(late["dgsq_wait_ms"][name] for _early, late in both) for name in ("p50", "p99")
    }
    totals["dropped"] = sum(totals[name] for name in DROPPED)
    return totals


def _later(before: Mapping[int, int], after: Mapping[int, int]) -> Counter[int]:
    """Return which timers of a process were how late in between; one that was started again counts anew."""
    again = any(times > after.get(ms, 0) for ms, times in before.items())
    return Counter(after) if again else Counter(after) - Counter(before)


def _percentiles(timers_late: Counter[int]) -> dict[str, int | None]:
    """Return how late timers were, in ms; half and 99 of 100 were not later."""
    late_ms, total = sorted(timers_late), timers_late.total()
    found: dict[str, int | None] = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        counts = accumulate(timers_late[ms] for ms in late_ms)
        found[name] = next((ms + 1 for ms, count in zip(late_ms, counts, strict=True) if count >= share * total), None)
    return {"timers": total, **found}


def path_changes(stats: AgentStats, t0_s: float) -> list[dict[str, Any]]:
    """Return when each agent began or ceased to use a path, as far as it remembers; times count from ``t0_s``."""
    return [
        {"gsp": one["name"], "t_s": round(t_s - t0_s, 6), "leaf": leaf, "path": path, "up": up}
        for one in stats["agents"]
        for t_s, leaf, path, up in one["path_changes"]
    ]


def journals_stopped(stats: AgentStats) -> list[dict[str, Any]]:
    """Return the journals of agents that record no longer what they do, each with why."""
    kept = [(one["name"], one["journal"]) for one in stats["agents"] if "journal" in one]
    return [{"gsp": name, **journal} for name, journal in kept if journal["stopped"] is not None]


def _nothing(stats: Stats) -> dict[str, Any]:
    """Return the stats of an agent that has just begun."""
    counters = dict.fromkeys(stats["counters"], 0)
    unused = dict.fromkeys(stats["unused_grant_bytes"], 0)
    return {
        **stats,
        "counters": counters,
        "grants": 0,
        "socket_drops": 0,
        "queue_full": {},
        "unused_grant_bytes": unused,
    }


def _refused(stats: Stats) -> int:
    return sum(stats["queue_full"].values())


def _greatest(values: Iterable[float | None]) -> float | None:
    """Return the greatest of the values that were measured: the agent with the longest waits."""
    return max((value for value in values if value is not None), default=None)
