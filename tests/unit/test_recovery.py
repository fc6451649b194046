"""When GSPs have left a path that broke."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic_runs import healthy, scenario_of

from testbed.evaluation.agents import path_changes
from testbed.evaluation.records import RunRecord
from testbed.evaluation.recovery import recoveries
from testbed.model.topology import Topology


def run_with(action: str, target: str, changes: list[tuple[str, float, int, int, bool]]) -> RunRecord:
    run = healthy(scenario_of(faults=[{"t_s": 0.1, "action": action, "target": target}]))
    said = [{"gsp": gsp, "t_s": t_s, "leaf": leaf, "path": path, "up": up} for gsp, t_s, leaf, path, up in changes]
    events: tuple[dict[str, Any], ...] = (
        {"event": "fault", "t_s": 2.0, "done_s": 2.01, "action": action, "target": target},
        {"event": "path_changes", "t_s": 9.0, "gsps": ["l1", "l2"], "changes": said},
    )
    return replace(run, scheme="gse2-n2n", events=(*run.events, *events))


def test_recovery_is_when_the_last_gsp_has_left_the_path() -> None:
    changes = [
        ("l2", 0.5, 1, 2, False),  # before the fault: another story
        ("l1", 2.04, 1, 2, False),
        ("l1", 2.05, 1, 1, False),  # another path
        ("l2", 2.06, 1, 2, False),
        ("l2", 2.9, 1, 2, False),  # once more, later
        ("l1", 3.5, 1, 2, True),
    ]
    (one,) = recoveries(run_with("silence", "l1-s2", changes))
    assert (one.first_s, one.last_s) == (pytest.approx(0.04), pytest.approx(0.06))
    assert (one.action, one.target, one.t_s) == ("silence", "l1-s2", 2.0)


def test_local_recovery_is_that_of_the_broken_links_own_leaf_and_its_hosts() -> None:
    changes = [("l1", 2.01, 1, 2, False), ("h1", 2.03, 1, 2, False), ("h2", 2.02, 1, 2, False)]
    run = run_with("fail", "l1-s2", changes)
    gsps = {"event": "path_changes", "t_s": 9.0, "gsps": ["l1", "h1", "h2", "l2", "h3"]}
    others = [{"gsp": gsp, "t_s": 2.2, "leaf": 1, "path": 2, "up": False} for gsp in ("l2", "h3")]
    (fault, said) = run.events[-2:]
    (one,) = recoveries(replace(run, events=(*run.events[:-2], fault, {**said, **gsps})))
    assert (one.local_s, one.last_s) == (pytest.approx(0.03), None)
    told = {**said, **gsps, "changes": [*said["changes"], *others]}
    (one,) = recoveries(replace(run, events=(*run.events[:-2], fault, told)))
    assert (one.local_s, one.last_s) == (pytest.approx(0.03), pytest.approx(0.2))
    told["changes"] = told["changes"][:1] + told["changes"][2:]  # h1 uses it on
    (one,) = recoveries(replace(run, events=(*run.events[:-2], fault, told)))
    assert (one.local_s, one.last_s) == (None, None)


def test_recovery_is_missing_while_somebody_uses_the_path() -> None:
    (one,) = recoveries(run_with("fail", "l1-s2", [("l1", 2.04, 1, 2, False), ("l2", 2.1, 1, 2, True)]))
    assert one.first_s == pytest.approx(0.04)
    assert one.last_s is None


def test_spine_has_recovered_when_everybody_has_left_all_its_links() -> None:
    changes = [(gsp, 2.0 + leaf / 100, leaf, 1, False) for gsp in ("l1", "l2") for leaf in (1, 2)]
    (one,) = recoveries(run_with("fail", "s1", changes))
    assert one.last_s == pytest.approx(0.02)
    (one,) = recoveries(run_with("fail", "s1", changes[:-1]))
    assert one.last_s is None


def test_a_path_that_had_been_left_before_is_no_longer_used_when_it_breaks_once_more() -> None:
    earlier = [("l1", 1.5, 1, 2, False), ("l2", 1.6, 1, 2, False)]  # l1-s2 alone; then all of s2
    changes = [*earlier, ("l2", 2.03, 2, 2, False), ("l1", 2.04, 2, 2, False)]
    (one,) = recoveries(run_with("fail", "s2", changes))
    assert (one.first_s, one.last_s) == (pytest.approx(0.03), pytest.approx(0.04))
    assert one.local_s == pytest.approx(0.03)  # of l1 by its own link: 0
    for back_s in (1.9, 2.5):
        (one,) = recoveries(run_with("fail", "s2", [*changes, ("l2", back_s, 1, 2, True)]))
        assert one.last_s is None


def healed(run: RunRecord, target: str, t_s: float) -> RunRecord:
    return replace(run, events=(*run.events, {"event": "fault", "t_s": t_s, "action": "heal", "target": target}))


def test_a_path_that_is_left_after_it_was_mended_is_left_for_another_reason() -> None:
    changes = [("l1", 2.04, 1, 2, False), ("l2", 5.0, 1, 2, False)]
    run = run_with("silence", "l1-s2", changes)
    (one,) = recoveries(healed(run, "l1-s2", 3.0))
    assert (one.local_s, one.last_s) == (pytest.approx(0.04), None)
    (one,) = recoveries(healed(run, "s2", 3.0))
    assert one.last_s is None
    for other, t_s in (("l2-s2", 3.0), ("s1", 3.0), ("l1-s2", 1.0)):
        (one,) = recoveries(healed(run, other, t_s))
        assert one.last_s == pytest.approx(3.0), other


def test_a_link_that_is_mended_elsewhere_does_not_excuse_who_uses_a_broken_one_again() -> None:
    changes = [("l1", 1.5, 1, 2, False), ("l2", 1.6, 1, 2, False), ("l2", 2.5, 1, 2, True)]
    run = run_with("fail", "l1-s2", changes)
    assert [one.last_s for one in recoveries(healed(run, "l2-s1", 2.2))] == [None]
    assert [one.last_s for one in recoveries(healed(run, "l1-s2", 2.2))] == [0.0]


def test_slow_links_and_runs_without_agents_have_no_recovery() -> None:
    assert recoveries(run_with("slow", "l1-s2", [("l1", 2.04, 1, 2, False)])) == ()
    assert recoveries(healthy(scenario_of(faults=[{"t_s": 0.1, "action": "fail", "target": "l1-s2"}]))) == ()


def test_changes_are_told_in_the_runs_time() -> None:
    stats: Any = {"cpu_s": [], "timers_late": [], "agents": [{"name": "l1", "path_changes": [[105.5, 2, 3, False]]}]}
    assert path_changes(stats, 100.0) == [{"gsp": "l1", "t_s": 5.5, "leaf": 2, "path": 3, "up": False}]
    assert Topology(scenario_of().fabric).path_id(1, 0) == 1  # path 2 of the wire is s2
