"""Which points a sweep has, in what order it makes its runs, and what it refuses."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
from synthetic_runs import scenario_of
from synthetic_sweeps import CONTAINERS, sweep_over

from testbed.errors import Problem, ScenarioError
from testbed.model.scenario import Scenario
from testbed.model.sweep import merged_problems, sweep_of, value_text


def test_a_point_differs_from_the_others_in_the_field_only() -> None:
    sweep = sweep_over(values=("16K", "32K"))
    assert sweep.values == (16_384, 32_768)
    assert sweep.texts == ("16 KiB", "32 KiB")
    first, second = (point.model_dump() for point in sweep.points)
    assert (first["gsp"].pop("container_bytes"), second["gsp"].pop("container_bytes")) == sweep.values
    assert first == second


def test_every_value_runs_once_under_every_scheme_and_seed() -> None:
    sweep = sweep_over(seeds=(3, 1, 7))
    runs = [(run.point, run.scheme, run.seed) for run in sweep.order()]
    assert Counter(runs) == Counter(product(range(3), ("gse2-n2n", "gse2-e2e"), (3, 1, 7)))


def test_the_order_is_shuffled_within_a_seed_and_always_the_same() -> None:
    sweep = sweep_over(values=("10K", "20K", "30K", "40K"), seeds=(3, 1, 7))
    runs = sweep.order()
    assert runs == sweep_over(values=("10K", "20K", "30K", "40K"), seeds=(3, 1, 7)).order()
    blocks = [runs[begin : begin + 8] for begin in range(0, 24, 8)]
    assert [{run.seed for run in block} for block in blocks] == [{3}, {1}, {7}]  # a break leaves whole seeds
    orders = [[(run.point, run.scheme) for run in block] for block in blocks]
    assert all(order != sorted(order) for order in orders)
    assert len({tuple(order) for order in orders}) == 3  # no value always comes first


def test_drift_of_the_machine_is_not_an_effect_of_the_value() -> None:
    seeds = tuple(range(1, 41))
    runs = sweep_over(values=("10K", "20K"), schemes=("gse2-n2n",), seeds=seeds).order()
    mean_place = [sum(place for place, run in enumerate(runs) if run.point == point) / len(seeds) for point in (0, 1)]
    assert abs(mean_place[0] - mean_place[1]) < 1  # of 80 places; value by value it would be 40


def test_only_the_points_have_to_be_valid() -> None:
    """A base that would be refused is fine when the field mends it."""
    base = scenario_of(schemes=["gse2-n2n"])  # four frames of MTU 9000 a grant, more than the window
    sweep = sweep_of(base, "fabric.mtu_bytes", ["1500", "3000"], settings={"gsp.window_bytes": 20_480})
    assert [point.gsp.window_bytes for point in sweep.points] == [20_480, 20_480]


REFUSED: dict[str, tuple[str, list[Any], dict[str, Any], str]] = {
    "unknown field": ("fabric.spine", [2, 3], {}, "--over fabric.spine: unknown field in fabric; got spine"),
    "one value": ("fabric.spines", [2], {}, "--over fabric.spines: one value is no sweep; got 1 value"),
    "a value twice": ("fabric.spines", [2, 2.0], {}, "--over fabric.spines: a value twice; got '2.0'"),
    "a list": ("seeds", [[1], [2]], {}, "--over seeds: not a field to vary; got seeds, expected a setting; for seeds"),
    "a structure": ("background", [[], ()], {}, "--over background: not a single value; got a value of type list"),
    "the name": ("name", ["a", "b"], {}, "the name is the results folder"),
    "set too": ("fabric.spines", [2, 3], {"fabric.spines": 4}, "--set fabric.spines: set and varied at once"),
    "no agents": (
        "gsp.pacing",
        [0.5, 0.9],
        {"schemes": ["ecmp", "gse1"]},
        "--over gsp.pacing: no scheme has agents to set; got schemes ecmp, gse1, expected a scheme with agents",
    ),
    "too many runs": (
        "fabric.spines",
        [2, 3],
        {"seeds": list(range(6000)), "schemes": ["ecmp"]},
        "too many runs; got 12000 (2 values x 1 schemes x 6000 seeds), expected at most 10000",
    ),
    "a container larger than the window": (
        "gsp.container_bytes",
        [16_384, 65_536],
        {"gsp.window_bytes": 32_768},
        "gsp.container_bytes=65536: scenario synthetic: inconsistent; got gsp.window_bytes=32768 does not hold",
    ),
    "a window smaller than a grant nobody set": (
        "gsp.window_bytes",
        [20_000, 64_000],
        {},
        "gsp.window_bytes=20000: scenario synthetic: gsp.window_bytes: a window smaller than a grant and a frame may "
        "never be used; got 20000, expected at least 45070, the largest single grant (quantum) and a frame, "
        "under gse2-n2n",
    ),
    "a queue's window larger than its port's": (
        "gsp.window_bytes",
        [64_000, 128_000],
        {"gsp.port_window_bytes": 100_000},
        "gsp.window_bytes=128000: scenario synthetic: gsp.port_window_bytes: a port's window smaller than one queue's",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sweep_is_explained(name: str) -> None:
    field, values, settings, said = REFUSED[name]
    base = scenario_of(schemes=["gse2-n2n"])
    with pytest.raises(ScenarioError) as refused:
        sweep_of(base, field, values, settings=settings)
    assert said in str(refused.value)


def test_every_problem_of_every_point_is_said_at_once() -> None:
    with pytest.raises(ScenarioError) as refused:
        sweep_of(
            scenario_of(schemes=["gse2-n2n"]),
            CONTAINERS,
            ["8K", "16K", "64K"],
            settings={"gsp.window_bytes": "20K", "workload.iterations": 0},
            texts=["8K", "16K", "64K"],
        )
    lines = str(refused.value).splitlines()
    assert sum("workload.iterations" in line for line in lines) == 1  # it is wrong at every point: said once
    assert len(lines) == 1  # rules between fields come when each field is right by itself
    with pytest.raises(ScenarioError) as refused:
        sweep_of(
            scenario_of(schemes=["gse2-n2n"]),
            CONTAINERS,
            ["8K", "16K", "64K"],
            settings={"gsp.window_bytes": "20K"},
            texts=["8K", "16K", "64K"],
        )
    lines = str(refused.value).splitlines()
    names = [f"gsp.container_bytes={size}" for size in ("8K", "16K", "64K")]
    assert [line.partition(":")[0] for line in lines] == names
    assert "does not hold a frame" in lines[0]
    assert "smaller than a grant and a frame" in lines[1]
    assert "does not hold" in lines[2]


def test_what_all_points_have_in_common_is_said_once() -> None:
    common, own = Problem("x", "user", "1", "2"), Problem("y", "fabric", "1", "2")
    merged = merged_problems("f", ["a", "b"], [[common], [common, own]])
    assert [problem.where for problem in merged] == ["user", "f=b: fabric"]


def test_schemes_that_do_not_see_the_field_are_known() -> None:
    sweep = sweep_over(schemes=("ecmp", "gse2-n2n"))
    assert sweep.untouched() == ("ecmp",)
    assert sweep_over("fabric.spines", (2, 3), schemes=("ecmp", "gse1")).untouched() == ()


def test_settings_that_change_along_are_known() -> None:
    assert set(sweep_over(schemes=("gse2-n2n",)).derived()) == set()  # grants and windows are sized by themselves
    assert set(sweep_over(schemes=("gse2-e2e",)).derived()) == {"spread_slack_bytes"}
    of_windows = set(sweep_over("fabric.mtu_bytes", (1500, 9000), schemes=("gse2-n2n",)).derived())
    assert {"container_bytes", "quantum_bytes", "window_bytes", "port_window_bytes", "gap_s"} - of_windows == {"gap_s"}
    assert sweep_over("gsp.pacing", (0.9, 0.95)).derived() == ()
    assert sweep_over("gsp.gap_ms", (150, 200)).derived() == ("age_s",)  # gap_s is the same setting; queues age by it
    assert sweep_over("fabric.spines", (2, 3), schemes=("ecmp",)).derived() == ()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("gsp.container_bytes", 9216, "9 KiB"),
        ("gsp.container_bytes", None, "unset"),
        ("gsp.pacing", 0.985, "0.985"),
        ("gsp.retransmit", False, "false"),
        ("workload.kind", "incast", "incast"),
        ("fabric.spines", 4, "4"),
    ],
)
def test_values_read_as_people_write_them(field: str, value: Any, text: str) -> None:
    assert value_text(field, value) == text


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("gsp.pacing", [0.9, 0.95, None]),
        ("workload.kind", ["allreduce_ring", "incast"]),
        ("gsp.retransmit", [False, True]),
        ("fabric.delay_ms", [None, 1, 10]),
        ("faults.0.t_s", [0.5, 1.0]),
    ],
)
def test_whatever_can_be_set_can_be_varied(field: str, values: list[Any]) -> None:
    base: Scenario = scenario_of(
        schemes=["gse2-n2n"], faults=[{"t_s": 1, "action": "fail", "target": "l1-s1"}], workload={"placement": "random"}
    )
    assert sweep_of(base, field, values).values == tuple(values)
