"""What a scenario's settings say of its duration before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.model.estimate import faults_in_doubt, ideal_measured_s
from testbed.model.scenario import Scenario
from testbed.units import MIB


def scenario_of(**settings: Any) -> Scenario:
    faults = [{"t_s": 2, "action": "fail", "target": "l1-s2"}, {"t_s": 8, "action": "heal", "target": "l1-s2"}]
    return Scenario.model_validate({"name": "x", "faults": faults, **settings})


@pytest.mark.parametrize(
    ("iterations", "doubtful"),
    [(1, ["fail l1-s2 at 2 s", "heal l1-s2 at 8 s"]), (2, ["heal l1-s2 at 8 s"]), (6, [])],
)
def test_a_fault_after_what_is_measured_ends_ideally_is_in_doubt(iterations: int, doubtful: list[str]) -> None:
    """One all-reduce of 1 MiB over 16 ranks takes 1.58 s at 10 Mbit/s."""
    scenario = scenario_of(workload={"size_bytes": MIB, "iterations": iterations})
    assert ideal_measured_s(scenario) == pytest.approx(iterations * 1.58, rel=0.01)
    said = list(faults_in_doubt(scenario))
    assert [words.partition(" may never")[0] for words in said] == doubtful
    assert all("--set faults." in words for words in said)


def test_without_faults_nothing_is_in_doubt() -> None:
    assert list(faults_in_doubt(scenario_of(faults=[], workload={"size_bytes": 4096, "iterations": 1}))) == []


def test_the_time_of_small_messages_alone_is_what_was_asked_for() -> None:
    work = {"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 5.0, "iterations": 2}
    assert ideal_measured_s(scenario_of(workload=work)) == 10.0
