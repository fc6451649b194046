"""What the fluid model has, beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.fluid.case import Case
from testbed.fluid.predict import outcomes
from testbed.model.scenario import SCHEMES
from testbed.views.comparison import compare
from testbed.views.predicted import MOST_ENTRIES, fluid_efficiency
from testbed.views.tables import scheme_grid
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.test_tables import cells, stored, three_seeds, with_rate_error

LABEL = "the fluid model has"


def test_every_scheme_has_its_prediction_for_its_own_seeds(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    scenario = runs[0].scenario
    hashed = [one.efficiency for one in outcomes([Case(scenario, "ecmp", seed) for seed in (1, 2, 3)])]
    (placed,) = outcomes([Case(scenario, "gse1", 1)])
    assert cells(runs, LABEL) == [f"{sum(hashed) / 3:.3f}", f"{placed.efficiency:.3f}"]
    (comparison,) = compare(runs, allow_invalid=False)
    assert any(note.startswith(f"{LABEL}: ") for note in scheme_grid(comparison).notes)


def test_schemes_with_agents_have_one_too_and_those_without_runs_none(tmp_path: Path) -> None:
    for scheme in SCHEMES:
        found = fluid_efficiency(scenario_of(), scheme, [1, 2])
        assert (found is None) == (scheme == "flowlet")
        assert found is None or 0.4 < found < 1
    good, bad = (healthy(scenario_of(), scheme=scheme) for scheme in ("gse1", "ecmp"))
    assert cells(stored(tmp_path, good, with_rate_error(bad, 0.2)), LABEL)[0] == "-"  # ecmp, INVALID and left out


@pytest.mark.parametrize(
    "changes",
    [
        {"faults": [{"t_s": 0.1, "action": "fail", "target": "l1-s1"}]},
        {"background": [{"src": "h1", "dst": "h3"}]},
        {"workload": {"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 5.0}},
        {"workload": {"kind": "collective", "collective": "allreduce/double_tree"}},  # slice by slice: seconds
        {"fabric": {"loss_fraction": 0.01}},
    ],
    ids=["fault", "elephant", "small messages", "slices", "loss"],
)
def test_where_the_model_has_nothing_to_say_or_takes_long_there_is_no_line(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    scenario = scenario_of(**changes)
    assert fluid_efficiency(scenario, "gse1", [1]) is None
    (comparison,) = compare(stored(tmp_path, healthy(scenario)), allow_invalid=False)
    grid = scheme_grid(comparison)
    assert LABEL not in [row[0].strip() for row in grid.rows]
    assert not [note for note in grid.notes if LABEL in note]


def test_many_seeds_of_many_flows_are_left_to_gse_predict() -> None:
    scenario = scenario_of(workload={"flows_per_hop": 16})
    per_seed = 4 * 16 * (8 + 4 * 2)
    assert fluid_efficiency(scenario, "ecmp", [1]) is not None
    assert fluid_efficiency(scenario, "ecmp", range(1, MOST_ENTRIES // per_seed + 2)) is None
    assert fluid_efficiency(scenario, "gse2-n2n", range(1, MOST_ENTRIES // per_seed + 2)) is not None  # all alike


def test_a_strangers_settings_stop_no_table() -> None:
    scenario = scenario_of(gsp={"window_bytes": 9100})  # below a grant: no agent can be set to it
    assert fluid_efficiency(scenario, "gse2-n2n", [1]) is None
