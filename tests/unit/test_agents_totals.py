from __future__ import annotations

from typing import Any

import pytest

from testbed.evaluation.agents import AgentStats, agent_totals, journals_stopped, lost_in_fabric
from testbed.gse.dataplane.counters import Counters


def stats(name: str, epoch: int = 1, **counters: int) -> dict[str, Any]:
    return {
        "name": name,
        "epoch": epoch,
        "counters": {**Counters().to_json(), **counters},
        "grants": counters.get("grants_", 5),
        "socket_drops": 0,
        "queue_full": {"l1-eth1": 2},
        "unused_grant_bytes": {"no_demand": counters.get("unused_", 10), "window": 0, "late": 1},
        "dgsq_wait_ms": {"p50": 1.0, "p99": None},
    }


def rounds(*agents: dict[str, Any], cpu_s: float = 1.5, late: dict[int, int] | None = None) -> AgentStats:
    return {"cpu_s": [cpu_s], "timers_late": [late or {}], "agents": list(agents)}


def test_how_late_timers_were_is_of_the_measured_times_and_of_all_processes() -> None:
    """Whole ms: of 100 timers 50 were less than 1 ms late, 99 less than 4; what was late in between is nobody's."""
    one = stats("l1")
    asked = [rounds(one, late=late) for late in ({0: 5}, {0: 55, 1: 46, 3: 2}, {0: 900, 1: 46, 3: 2, 90: 9})]
    again = rounds(one, late={0: 900, 1: 46, 3: 3, 7: 1, 90: 9})
    totals = agent_totals([(asked[0], asked[1]), (asked[2], again)])
    assert totals["timers_late_ms"] == {"timers": 100, "p50": 1, "p99": 4}
    assert "timers_late" not in totals
    both: AgentStats = {"cpu_s": [1.0, 1.0], "timers_late": [{0: 1}, {4: 3}], "agents": [one]}
    none: AgentStats = {"cpu_s": [1.0, 1.0], "timers_late": [{}, {}], "agents": [one]}
    assert agent_totals([(none, both)])["timers_late_ms"] == {"timers": 4, "p50": 5, "p99": 5}
    assert agent_totals([(none, none)])["timers_late_ms"] == {"timers": 0, "p50": None, "p99": None}


def test_timers_of_a_process_that_was_started_again_count_from_nothing() -> None:
    before, after = rounds(stats("l1"), late={0: 50, 2: 1}), rounds(stats("l1", epoch=2), late={0: 7})
    assert agent_totals([(before, after)])["timers_late_ms"] == {"timers": 7, "p50": 1, "p99": 1}


def test_totals_are_sums_of_differences() -> None:
    before = rounds(stats("l1", containers=10), stats("l2", containers=1))
    after = rounds(stats("l1", containers=15), stats("l2", containers=3, reorder_depth_max_bytes=700), cpu_s=2.0)
    after["agents"][1]["dgsq_wait_ms"] = {"p50": 3.0, "p99": 9.0}
    totals = agent_totals([(before, after)])
    assert totals["containers"] == 5 + 2
    assert totals["cpu_s"] == 0.5
    assert totals["reorder_depth_max_bytes"] == 700
    assert totals["dgsq_wait_ms"] == {"p50": 3.0, "p99": 9.0}  # of the agent with the longest waits
    assert totals["restarts"] == totals["queue_full_frames"] == 0
    assert totals["unused_grant_bytes"] == {"no_demand": 0, "window": 0, "late": 0}


def test_what_left_an_agent_and_reached_none_was_lost_whoever_lost_it() -> None:
    """Queues' drops do not have what a dead link takes along, nor what a switch has no port for."""
    one = stats("l1", data_out=50, data_in=22, local_frames=2)
    assert lost_in_fabric(rounds(one, stats("l2", data_out=20, data_in=45))) == 5
    assert lost_in_fabric(rounds(one, stats("l2", data_out=20, data_in=52))) == 0  # asked later than the first
    assert lost_in_fabric(rounds(one, stats("l2", epoch=2, data_out=20, data_in=45))) is None


def test_agent_that_was_started_again_counts_from_nothing() -> None:
    totals = agent_totals([(rounds(stats("l1", epoch=1, containers=100)), rounds(stats("l1", epoch=2, containers=7)))])
    assert totals["containers"] == 7
    assert totals["restarts"] == 1
    assert totals["queue_full_frames"] == 2
    assert totals["unused_grant_bytes"] == {"no_demand": 10, "window": 0, "late": 1}


def test_other_agents_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="l2"):
        agent_totals([(rounds(stats("l1")), rounds(stats("l2")))])
    one, other = rounds(stats("l1")), rounds(stats("l2"))
    with pytest.raises(ValueError, match="l2"):
        agent_totals([(one, one), (other, other)])
    with pytest.raises(ValueError, match="never asked"):
        agent_totals([])


def test_what_agents_do_between_measured_times_is_nobodys() -> None:
    """Two iterations of 10 frames and 0.25 s each; the second of idle time between them sent 90 control frames."""
    asked = [
        rounds(stats("l1", data_out=data, control_out=control, reorder_depth_max_bytes=depth), cpu_s=cpu_s)
        for data, control, depth, cpu_s in ((5, 3, 0, 1.0), (15, 4, 900, 1.25), (15, 94, 900, 1.5), (25, 96, 900, 1.75))
    ]
    asked[3]["agents"][0]["dgsq_wait_ms"] = {"p50": 4.0, "p99": None}
    totals = agent_totals([(asked[0], asked[1]), (asked[2], asked[3])])
    assert (totals["data_out"], totals["control_out"], totals["cpu_s"]) == (20, 1 + 2, 0.5)
    assert (totals["reorder_depth_max_bytes"], totals["dgsq_wait_ms"]) == (900, {"p50": 4.0, "p99": None})
    assert totals["restarts"] == 0


def test_agent_started_again_between_measured_times_is_told_and_counts_from_there() -> None:
    first = (rounds(stats("l1", epoch=1, containers=10)), rounds(stats("l1", epoch=1, containers=30)))
    second = (rounds(stats("l1", epoch=2, containers=2)), rounds(stats("l1", epoch=2, containers=5)))
    totals = agent_totals([first, second])
    assert (totals["containers"], totals["restarts"]) == (20 + 3, 1)


def test_journals_that_are_not_whole_are_told() -> None:
    going_on = {"file": "gsp-l2.journal", "bytes": 7, "stopped": None}
    full = {"file": "gsp-l3.journal", "bytes": 9, "stopped": "reached its 1 GiB"}
    said = rounds(stats("l1"), {**stats("l2"), "journal": going_on}, {**stats("l3"), "journal": full})
    assert journals_stopped(said) == [{"gsp": "l3", **full}]
