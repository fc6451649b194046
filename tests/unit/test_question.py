"""When two scenarios ask the same question: what makes no difference to it, and that all else does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import healthy, store

from testbed.model.question import NOT_ASKED, question_of
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override, parse_scenario
from testbed.model.sweep import NOT_TO_VARY
from testbed.results.run import Run, load
from testbed.runs.scenario_files import builtin_names, load_builtin
from testbed.runs.validation import stored_runs
from testbed.views.comparison import compare
from testbed.views.report.settings import builtin_changes

# Fields and values that go together in any choice, of every part of a scenario that may be set by a field.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "name": ("asked", "asked_again"),
    "fabric.spines": (4, 2),
    "fabric.link_rate_mbps": (10.0, 9.5),
    "fabric.delay_ms": (None, 1.0),
    "workload.size_bytes": (1 << 20, 1 << 22),
    "workload.iterations": (3, 5),
    "measure.probe_interval_ms": (50.0, 0),
    "gsos.poll_interval_s": (0.5, 1),
    "gsos.repair": ("local", "controller"),
    "gsp.container_bytes": (None, 9216),
}
WORDS = ("question", "expectation")
ALL = {name: st.sampled_from(values) for name, values in VALUES.items()}

words = st.fixed_dictionaries({name: st.text(max_size=20) for name in WORDS})
schemes = st.lists(st.sampled_from(("ecmp", "gse1")), min_size=1, unique=True)
seeds = st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True)
settings_of = st.fixed_dictionaries({}, optional=ALL)


def scenario(settings: Mapping[str, Any] | None = None) -> Scenario:
    return override(Scenario(name="asked", schemes=("ecmp", "gse1")), settings or {})


def run_of(asked: Scenario, scheme: str = "ecmp", seed: int = 1) -> Run:
    """Return a run as it would be loaded, of which nothing but its manifest is there."""
    manifest = {"scenario": asked.model_dump(mode="json"), "scheme": scheme, "seed": seed}
    return Run(Path("nowhere"), manifest, None)


@given(settings_of, words, schemes, seeds)
def test_words_schemes_and_seeds_make_no_difference(
    settings: dict[str, Any], said: dict[str, str], compared: list[str], asked: list[int]
) -> None:
    mine = scenario(settings)
    other = mine.model_copy(update={**said, "schemes": tuple(compared), "seeds": tuple(asked)})
    assert question_of(other) == question_of(mine)
    assert run_of(other, compared[0], asked[0]).scenario_hash == run_of(mine).scenario_hash


@given(settings_of, settings_of)
def test_every_other_field_makes_a_difference(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    """Two scenarios with the same words, schemes and seeds ask the same exactly when they are the same."""
    mine, other = scenario(settings), scenario({**settings, **changes})
    alike = question_of(mine) == question_of(other)
    assert alike == (mine == other)
    assert alike == (run_of(mine).scenario_hash == run_of(other).scenario_hash)


@given(settings_of, st.sampled_from(sorted(VALUES)), st.data())
def test_what_may_differ_is_all_that_may(settings: dict[str, Any], field: str, data: st.DataObject) -> None:
    mine = scenario(settings)
    other = override(mine, {field: data.draw(ALL[field])})
    assert question_of(mine, but=[field]) == question_of(other, but=[field])
    third = data.draw(st.sampled_from([name for name in sorted(VALUES) if name != field]))
    others = override(mine, {third: data.draw(ALL[third])})
    assert (question_of(mine, but=[field]) == question_of(others, but=[field])) == (mine == others)


@pytest.mark.parametrize("but", ["fabric.nothing", "nothing", "nothing.at_all", "seeds"])
def test_what_may_differ_has_to_be_there(but: str) -> None:
    with pytest.raises(LookupError):
        question_of(scenario(), but=[but])


@pytest.mark.parametrize("name", builtin_names())
def test_a_question_is_the_same_after_it_was_stored_and_no_other_scenarios(name: str) -> None:
    asked = load_builtin(name)
    stored = parse_scenario(json.loads(json.dumps(asked.model_dump(mode="json"))), source=name)
    assert question_of(stored) == question_of(asked)
    assert [other for other in builtin_names() if question_of(load_builtin(other)) == question_of(asked)] == [name]


def test_asking_changes_nothing() -> None:
    mine = scenario()
    before = mine.model_dump()
    question_of(mine, but=["gsos.repair", "name"])
    assert mine.model_dump() == before


def test_what_is_not_asked_is_no_setting_of_a_sweep_either() -> None:
    whole = {name for name in NOT_TO_VARY if "." not in name}
    assert whole == NOT_ASKED | {"name"} <= set(Scenario.model_fields)


def test_the_hash_names_folders_of_figures_as_ever() -> None:
    mine = scenario()
    left = mine.model_dump(mode="json", exclude={"question", "expectation", "schemes", "seeds"})
    digest = hashlib.sha256(json.dumps(left, sort_keys=True).encode()).hexdigest()
    assert run_of(mine).scenario_hash == digest[:8]


# --- whoever asks it, asks the same --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"question": "Why?", "expectation": "Because."}, True),
        ({"seeds": [7, 8]}, True),
        ({"schemes": ["gse1"]}, True),
        ({"measure.probe_interval_ms": 10}, False),
        ({"workload.iterations": 4}, False),
    ],
)
def test_groups_of_runs_cases_of_the_model_and_commands_go_by_it(
    tmp_path: Path, change: dict[str, Any], alike: bool
) -> None:
    mine = load_builtin("allreduce_ring")
    mine = override(mine, {"workload.size_bytes": 1 << 20, "workload.iterations": 2})
    other = override(mine, change)
    runs = [
        load(store(tmp_path, healthy(one, scheme="gse1", seed=seed))) for seed, one in enumerate((mine, other), start=1)
    ]
    assert (len(compare(runs, allow_invalid=False)) == 1) == alike
    assert (len(stored_runs(tmp_path, mine)) == 2) == alike
    assert (builtin_changes(mine) == builtin_changes(other)) == alike
