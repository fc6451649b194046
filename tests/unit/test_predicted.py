"""What the fluid model has, beside what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.fluid.case import Case
from testbed.fluid.predict import outcomes
from testbed.model.scenario import SCHEMES
from testbed.units import MIB
from testbed.views import predicted
from testbed.views.comparison import compare
from testbed.views.predicted import MOST_ENTRIES, MOST_SLICES, fluid_efficiency, modelled, modelled_together
from testbed.views.tables import run_grid, scheme_grid
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.synthetic_sweeps import with_agents
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


def test_single_runs_have_that_of_their_own_seed_beside_them(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    (comparison,) = compare(runs, allow_invalid=True)
    grid = run_grid(comparison)
    column = grid.headers.index("model\nhas")
    found = {(row[0], int(row[1])): row[column] for row in grid.rows}
    asked = [Case(runs[0].scenario, scheme, seed) for scheme, seed in found]
    assert list(found.values()) == [f"{one.efficiency:.3f}" for case in asked for one in outcomes([case])]
    assert len(set(found.values())) > 1
    assert any(note.startswith("model has: ") for note in grid.notes)


def test_where_80_columns_are_full_the_table_of_schemes_has_it_alone(tmp_path: Path) -> None:
    """With what waits at its source there is room for the model, or for what paths allow."""
    made, placed = stored(tmp_path, with_agents(healthy(scenario_of(), scheme="gse2-n2n")), healthy(scenario_of()))
    sprayed = replace(made, summary={**(made.summary or {}), "predicted_efficiency": None})  # no flow has one path
    alone, both = [sprayed], [sprayed, placed]
    (one,), (two,) = (compare(runs, allow_invalid=True) for runs in (alone, both))
    assert {"model\nhas", "paths\nallow"} & set(run_grid(one).headers) == {"model\nhas"}
    assert {"model\nhas", "paths\nallow"} & set(run_grid(two).headers) == {"paths\nallow"}
    assert len(two.fluid_efficiency) == 2


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
    assert "model\nhas" not in run_grid(comparison).headers
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


def test_of_schemes_that_hash_mean_and_median_are_over_seeds_of_others_there_is_one() -> None:
    seeds = range(1, 6)
    found, placed = (modelled(scenario_of(), scheme, seeds) for scheme in ("ecmp", "gse1"))
    assert found is not None and placed is not None
    every = [one.efficiency for one in outcomes([Case(scenario_of(), "ecmp", seed) for seed in seeds])]
    assert (found.efficiency, found.median_efficiency) == (pytest.approx(sum(every) / 5), sorted(every)[2])
    assert [one.seed for one in placed.outcomes] == [1] and placed.efficiency == placed.median_efficiency
    (alone,) = placed.outcomes
    assert (placed.completion_s, placed.busbw_mbps) == (alone.time_s, alone.busbw_mbps)


def test_slices_whose_order_takes_long_to_walk_through_are_left_to_gse_predict() -> None:
    def of_slices(slice_bytes: int, **more: Any) -> float | None:
        work = {"size_bytes": 8 * MIB, "slice_bytes": slice_bytes, **more}
        return fluid_efficiency(scenario_of(workload=work), "gse1", (1,))

    sent = 4 * 2 * 3 // 4 * 8 * MIB  # in a ring of four
    few, many = 4 * (sent // MOST_SLICES // 2), 4 * (sent // MOST_SLICES // 5)
    assert of_slices(few) is not None and of_slices(many) is None
    assert of_slices(many, kind="all_to_all") is not None  # nobody waits for anybody


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many cases each call of the model was given."""
    calls: list[int] = []

    def counting(cases: list[Case]) -> Any:
        calls.append(len(cases))
        return outcomes(cases)

    monkeypatch.setattr(predicted, "outcomes", counting)
    predicted._answer.cache_clear()
    return calls


def test_what_comes_to_the_same_is_solved_once(solved: list[int]) -> None:
    containers = [scenario_of(gsp={"container_bytes": size}) for size in (16_384, 32_768, 65_536)]
    asked = [(one, scheme, (1, 2)) for one in containers for scheme in ("ecmp", "gse1", "gse2-n2n", "spray")]
    found = modelled_together(asked)
    assert None not in found and len({one.efficiency for one in found if one}) == 4
    assert sorted(solved) == [1, 1, 1, 2]
    assert found == [modelled(*one) for one in asked] and len(solved) == 4
    slower, faster = (modelled(scenario_of(gsp={"pacing": pacing}), "gse2-n2n", (1,)) for pacing in (0.5, 0.9))
    assert slower is not None and faster is not None and slower.efficiency < 0.6 * faster.efficiency
    assert len(solved) == 6


def test_of_too_much_at_once_what_costs_least_is_solved(monkeypatch: pytest.MonkeyPatch, solved: list[int]) -> None:
    asked = [(scenario_of(workload={"flows_per_hop": flows}), "gse1", (1,)) for flows in (4, 1, 2)]
    costs = [question.entries for one in asked if (question := predicted._question(*one)) is not None]
    assert costs[1] < costs[2] < costs[0]
    monkeypatch.setattr(predicted, "MOST_TOGETHER", costs[1] + costs[2])
    assert [one is not None for one in modelled_together(asked)] == [False, True, True]
    assert len(solved) == 2


def test_of_agents_settings_the_model_sees_the_pace() -> None:
    window = scenario_of(gsp={"window_bytes": 65_536, "pacing": 0.9})
    bare = scenario_of(gsp={"pacing": 0.9})
    assert fluid_efficiency(window, "gse2-n2n", (1,)) == fluid_efficiency(bare, "gse2-n2n", (1,))
