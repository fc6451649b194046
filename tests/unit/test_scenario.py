"""Validation: every problem at once, each with what, where, got, expected."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from gse_command import A_SCHEME
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ScenarioError
from testbed.model.fabric_spec import FabricSpec
from testbed.model.fault_spec import fault_targets
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import json_schema, override, parse_scenario
from testbed.model.yaml_input import parse_settings
from testbed.runs.scenario_files import builtin_names, load_builtin


def problems_of(fields: dict[str, Any]) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario({"name": "x", **fields}, source="x.yml")
    assert caught.value.exit_status == 2
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fabric": {"spines": 0}}, "x.yml: fabric.spines: not valid; got 0, expected greater than or equal to 1"),
        (
            {"fabric": {"hosts_per_leaf": 300}},
            "x.yml: fabric.hosts_per_leaf: not valid; got 300, expected less than or equal to 254",
        ),
        (
            {"workload": {"size_bytes": "8Q"}},
            "x.yml: workload.size_bytes: '8Q' is not a size like 64K, 8MiB or 4194304",
        ),
        ({"workload": {"ranks": 1.5}}, "x.yml: workload.ranks: not a whole number; got 1.5"),
        (
            {"schemes": ["ecmpp"]},
            f"x.yml: schemes.0: not valid; got 'ecmpp', expected {A_SCHEME}",
        ),
        ({"fabric": "big"}, "x.yml: fabric: not valid; got 'big'"),
        ({"fabric": {"leaves": 1}}, "got workload.placement=cross_leaf, expected fabric.leaves >= 2"),
        ({"workload": {"ranks": 18}}, "got workload.ranks=18, expected at most one per host (16)"),
        ({"workload": {"ranks": 5}}, "expected a number of ranks other than 1 modulo leaves=4"),
        ({"background": [{"src": "h99", "dst": "h1"}]}, "got background.0.src=h99, expected a host h1..h16"),
        (
            {"faults": [{"t_s": 1, "action": "fail", "target": "l9-s1"}]},
            "got faults.0.target=l9-s1, expected a spine s1..s4",
        ),
        ({"background": [{"src": "h1\x1fh2", "dst": "h2"}]}, r"got background.0.src=h1\x1fh2, expected a host h1..h16"),
        ({"background": [{"src": "\x1b[2J", "dst": "h2"}]}, r"got background.0.src=\x1b[2J, expected a host"),
        ({"seeds": [2**31]}, "seeds.0: not valid; got 2147483648, expected less than or equal to 2147483647"),
        ({"seeds": [-1]}, "seeds.0: not valid; got -1, expected greater than or equal to 0"),
        ({"seeds": list(range(10_001))}, "seeds: "),
        (
            {"fabric": {"leaves": 255, "spines": 255, "hosts_per_leaf": 2, "links_per_pair": 16}},
            "got leaves x spines x links_per_pair=1040400, expected at most 16384",
        ),
        ({"schemes": ["ecmp", "ecmp"]}, "schemes names ecmp twice"),
        ({"fabric": {"queue_bytes": 9000}}, "expected >= 18028"),
        (
            {"gsos": {"repair": "controller"}, "schemes": ["ecmp", "uet", "gse1", "spray"]},
            "gsos.repair=controller cannot be honoured with schemes=uet, spray: agents leave dead paths by themselves, "
            "expected local, or only schemes ecmp, ecmp-agents, gse1",
        ),
        (
            {"gsos": {"repair": "controller"}, "fabric": {"links_per_pair": 2}},
            "gsos.repair=controller cannot be honoured with fabric.links_per_pair=2: spines choose among",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_was_expected(fields: dict[str, Any], said: str) -> None:
    (problem,) = problems_of(fields)
    assert said in problem


def test_every_mistake_is_reported_at_once() -> None:
    said = problems_of(
        {"fabric": {"spinez": 3, "leaves": 0, "mtu_bytes": "abc"}, "workload": {"iterations": 0}, "colour": 1}
    )
    assert len(said) == 5
    assert any("fabric.spinez: unknown field" in line and "spines" in line for line in said)


def test_an_override_of_an_unknown_field_lists_the_known_ones() -> None:
    with pytest.raises(
        ScenarioError, match=r"--set fabric.spine: unknown field in fabric; got spine, expected one of leaves, spines"
    ):
        override(Scenario(name="x"), {"fabric.spine": 8})


def test_overrides_reach_list_items_and_keep_the_rest() -> None:
    scenario = override(
        load_builtin("link_failure"), {"faults.0.t_s": 0.5, "fabric.spines": "8", "workload.size_bytes": "1M"}
    )
    assert scenario.faults[0].t_s == 0.5
    assert (scenario.fabric.spines, scenario.workload.size_bytes) == (8, 2**20)
    assert scenario.faults[1] == load_builtin("link_failure").faults[1]


def test_settings_are_yaml_values() -> None:
    assert parse_settings(["a.b=8", "c=true", "d=[1, 2]", "e=8MiB", "f=null"]) == {
        "a.b": 8,
        "c": True,
        "d": [1, 2],
        "e": "8MiB",
        "f": None,
    }
    with pytest.raises(ScenarioError, match="is not field=value"):
        parse_settings(["fabric.spines"])


@pytest.mark.parametrize("name", builtin_names())
def test_every_builtin_scenario_loads_under_its_own_name_and_says_what_it_asks(name: str) -> None:
    scenario = load_builtin(name)
    assert scenario.name == name
    assert scenario.question.endswith("?")
    assert scenario.expectation


@pytest.mark.parametrize("name", builtin_names())
def test_a_scenario_survives_json(name: str) -> None:
    scenario = load_builtin(name)
    assert parse_scenario(scenario.model_dump(mode="json"), source=name) == scenario


def test_the_schema_describes_every_field() -> None:
    schema = json_schema()
    for spec in ("FabricSpec", "WorkloadSpec", "GsosSpec", "MeasureSpec"):
        for name, field in schema["$defs"][spec]["properties"].items():
            assert field.get("description"), f"{spec}.{name} has no description"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Scenario.model_fields, "zzz"]), json_values, max_size=4))
def test_a_strangers_scenario_is_refused_or_valid_but_never_a_crash(fields: dict[str, Any]) -> None:
    try:
        parse_scenario({"name": "x", **fields}, source="x.yml")
    except ScenarioError as error:
        assert error.problems


def test_more_paths_than_frames_can_name_are_refused() -> None:
    many = {"leaves": 2, "spines": 64, "links_per_pair": 4, "hosts_per_leaf": 1}
    with pytest.raises(ScenarioError, match="256 paths between leaves with schemes=gse2-n2n, expected at most 255"):
        parse_scenario({"name": "many", "fabric": many, "schemes": ["ecmp", "gse2-n2n"]}, source="many")
    assert parse_scenario({"name": "many", "fabric": many, "schemes": ["ecmp"]}, source="many").fabric.paths == 256


def test_a_spine_fault_covers_all_its_links() -> None:
    targets = fault_targets(FabricSpec(leaves=3, spines=2, links_per_pair=2))
    assert targets["s2"] == tuple((leaf, 1, link) for leaf in range(3) for link in range(2))
    assert targets["l3-s1"] == ((2, 0, 0), (2, 0, 1))
    assert targets["l3-s1.2"] == ((2, 0, 1),)


def test_the_published_schema_is_the_current_one() -> None:
    published = Path(__file__).resolve().parents[2] / "docs" / "scenario.schema.json"
    assert json.loads(published.read_text()) == json_schema()


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"jobs": 3}, "got workload.jobs=3 of 16 ranks, expected jobs of equally many ranks, two or more"),
        ({"jobs": 16}, "got workload.jobs=16 of 16 ranks, expected jobs of equally many ranks, two or more"),
        ({"jobs": 2, "ranks": 10}, "ranks=5 of a job: the last and the first rank share a leaf"),
        ({"kind": "alltoall"}, "workload.kind: not valid; got 'alltoall', expected 'allreduce_ring', 'all_to_all'"),
        ({"kind": "all_to_all", "flows_per_hop": 27}, "flows_per_hop=27 with 15 peers per rank, expected at most 400"),
        (
            {"kind": "permutation", "placement": "leaf_local", "ranks": 6},
            "partners=other_leaf with up to 4 of 6 ranks of a job on one leaf, expected at most half",
        ),
        ({"mice_only_s": 5}, "got mice_only_s=5 with kind=allreduce_ring, mice_interval_ms=0"),
        ({"kind": "permutation", "mice_only_s": 5}, "expected kind=permutation and mice_interval_ms > 0"),
        ({"kind": "permutation", "ranks": 3, "placement": "leaf_local", "jobs": 1}, "with up to 3 of 3 ranks"),
    ],
)
def test_a_workload_that_cannot_be_is_refused_with_what_can(workload: dict[str, Any], said: str) -> None:
    (problem,) = problems_of({"workload": workload})
    assert said in problem


def test_a_queue_that_marks_has_one_band() -> None:
    said = problems_of({"fabric": {"ecn_threshold_bytes": 90_000, "priority_band": True}, "schemes": ["ecmp"]})
    assert len(said) == 1 and "priority_band with ecn_threshold_bytes=90000, expected one of them" in said[0]


def test_every_mistake_of_a_workload_is_named() -> None:
    said = problems_of({"workload": {"size_bytes": 1022, "slice_bytes": 6, "mice_only_s": 5}})
    assert len(said) == 3
    for problem, words in zip(said, ("size_bytes=1022", "slice_bytes=6", "mice_only_s=5"), strict=True):
        assert f"got {words}" in problem


def test_ranks_that_share_a_leaf_matter_to_rings_only() -> None:
    assert parse_scenario({"name": "x", "workload": {"kind": "all_to_all", "ranks": 5}}, source="x").ranks == 5


def test_every_mistake_of_a_workload_is_reported_at_once() -> None:
    said = problems_of({"workload": {"size_bytes": 66, "slice_bytes": 6, "mice_only_s": 1}})
    assert [problem.split(",")[0].rpartition("got ")[2] for problem in said] == [
        "size_bytes=66",
        "slice_bytes=6",
        "mice_only_s=1 with kind=allreduce_ring",
    ]
    together = problems_of({"workload": {"kind": "all_to_all", "flows_per_hop": 64, "ranks": 18, "jobs": 4}})
    assert [problem.rpartition("got ")[2].partition(",")[0] for problem in together] == [
        "workload.ranks=18",
        "workload.jobs=4 of 18 ranks",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"background": [{"src": "h1", "dst": "h5", "rate_mbps": math.inf}]},
        {"faults": [{"t_s": math.inf, "action": "fail", "target": "l1-s1"}]},
    ],
)
def test_numbers_without_end_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match="finite"):
        parse_scenario({"name": "x", **fields}, source="x.yml")
