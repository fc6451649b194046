"""What a report says of settings, code and machine, and the commands it gives to make its runs again."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.cli.main import build_parser
from testbed.cli.options import scenario_from
from testbed.cli.sweep import sweep_from
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.runs.scenario_files import load_builtin, load_file
from testbed.views.comparison import Comparison, Entry, compare
from testbed.views.report.settings import (
    builtin_changes,
    provenance_grids,
    reproduction,
    scenario_json,
    settings_grids,
    sweep_reproduction,
)
from testbed.views.sweep import sweep_results
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over
from tests.unit.test_tables import stored

CHANGES: list[dict[str, Any]] = [
    {},
    {"fabric.spines": 8, "workload.size_bytes": "4MiB"},
    {"gsp.container_bytes": None, "workload.placement": "leaf_local"},
    {"faults": [{"t_s": 0.5, "action": "fail", "target": "l1-s1"}]},
    {"gsos.authorise": True, "measure.calibrate": False, "fabric.delay_ms": 0.5},
]


def with_versions(entries: tuple[Entry, ...], *versions: object) -> list[Entry]:
    return [
        replace(entry, run=replace(entry.run, manifest={**entry.run.manifest, "versions": one}))
        for entry, one in zip(entries, versions, strict=True)
    ]


def one_question(tmp_path: Path, scenario: Scenario, seeds: tuple[int, ...] = (1, 2, 3)) -> Comparison:
    runs = stored(
        tmp_path, *(healthy(scenario, scheme=scheme, seed=seed) for seed in seeds for scheme in ("ecmp", "gse1"))
    )
    (comparison,) = compare(runs, allow_invalid=True)
    return comparison


def test_settings_that_differ_come_with_their_default_and_the_rest_is_apart() -> None:
    scenario = override(Scenario(name="mine"), {"fabric.spines": 8, "gsp.container_bytes": "9K"})
    changed, same = settings_grids(scenario)
    assert changed.rows == (("fabric.spines", "8", "4"), ("gsp.container_bytes", "9216", "unset"))
    names = {row[0] for row in same.rows}
    assert "fabric.leaves" in names and not names & {"fabric.spines", "name", "question", "seeds"}
    assert settings_grids(Scenario(name="mine"))[0].notes == ("every setting is at its default",)


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: ",".join(changes) or "none")
def test_the_command_makes_the_very_scenario_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    builtin = load_builtin("allreduce_ring")
    scenario = override(builtin, {**changes, "schemes": ["ecmp", "gse1"]})
    arguments = builtin_changes(scenario)
    assert arguments is not None
    args = build_parser().parse_args(["run", "allreduce_ring", *arguments, "--schemes", "ecmp,gse1"])
    assert scenario_from(args) == scenario


def test_the_commands_name_commit_schemes_and_seeds(tmp_path: Path) -> None:
    comparison = one_question(tmp_path, scenario_of(), seeds=(2, 5))
    entries = with_versions(comparison.entries, *[{"commit": "0123456789abcdef-dirty"}] * 4)
    commands, notes = reproduction(comparison, entries)
    lines = commands.splitlines()
    assert lines[0] == "git checkout 0123456789abcdef"
    assert "--schemes ecmp,gse1 --seeds 2,5" in lines[1]
    assert lines[1].startswith("sudo ./gse run synthetic.json ")
    assert "not committed" in notes[0] and "synthetic.json" in notes[1]


def test_runs_of_several_or_unknown_commits_are_said_to_be(tmp_path: Path) -> None:
    comparison = one_question(tmp_path, scenario_of(), seeds=(1,))
    commands, notes = reproduction(
        comparison, with_versions(comparison.entries, {"commit": "a" * 40}, {"commit": "b" * 40})
    )
    assert "git checkout" not in commands
    assert "2 commits: aaaaaaaaaa, bbbbbbbbbb" in notes[0]
    assert commands.splitlines()[0].endswith("--seeds 1")
    unknown = with_versions(comparison.entries, {"commit": "$(reboot)"}, "nothing")
    commands, notes = reproduction(comparison, unknown)
    assert "reboot" not in commands and "commit of 2 run(s) is not known" in notes[0]


def test_the_scenario_of_a_stranger_can_be_run_from_its_file(tmp_path: Path) -> None:
    scenario = scenario_of(fabric={"spines": 3})
    path = tmp_path / "synthetic.json"
    path.write_text(scenario_json(scenario))
    assert load_file(path) == scenario


def test_a_sweeps_command_makes_the_same_sweep(tmp_path: Path) -> None:
    made = stored_sweep(tmp_path, sweep_over())
    base = override(load_builtin("allreduce_ring"), {"schemes": made.sweep.schemes, "seeds": made.sweep.seeds})
    points = [override(base, {made.sweep.field: value}) for value in made.sweep.values]
    own = replace(made, sweep=replace(made.sweep, points=tuple(points)))
    commands, _notes = sweep_reproduction(own, [])
    argv = shlex.split(commands.splitlines()[-1])
    assert argv[:3] == ["sudo", "./gse", "sweep"]
    again = sweep_from(build_parser().parse_args(argv[2:]))
    assert (again.field, again.values, again.points) == (own.sweep.field, own.sweep.values, own.sweep.points)


def test_provenance_says_each_value_once_and_names_every_run(tmp_path: Path) -> None:
    comparison = one_question(tmp_path, scenario_of(), seeds=(1,))
    entries = with_versions(
        comparison.entries,
        {"commit": "a" * 40, "python": "3.11", "packages": {"numpy": "2"}},
        {"commit": "a" * 40, "python": "3.12", "packages": ["odd"]},
    )
    code, runs = provenance_grids(entries, "0badcafe")
    rows = dict(code.rows)
    assert rows["scenario hash"] == "0badcafe"
    assert rows["commit"] == "a" * 40
    assert rows["Python"] == "3.11; 3.12"
    assert rows["Python packages"].startswith("numpy 2; ")
    assert [row[-1] for row in runs.rows] == sorted(entry.run.path.name for entry in entries)
    assert {row[4] for row in runs.rows} == {"a" * 10}


def test_what_a_stranger_says_of_his_packages_does_not_fill_the_page(tmp_path: Path) -> None:
    comparison = one_question(tmp_path, scenario_of(), seeds=(1,))
    many = {f"package{number}": "1.0" for number in range(100_000)}
    entries = with_versions(comparison.entries, {"packages": many}, {"packages": {"one": "x" * 10**6}})
    code, _runs = provenance_grids(entries, "x")
    assert 2000 < len(dict(code.rows)["Python packages"]) < 5000


def test_a_manifest_without_a_machine_stops_nothing(tmp_path: Path) -> None:
    comparison = one_question(tmp_path, scenario_of(), seeds=(1,))
    bare = [replace(e, run=replace(e.run, manifest={**e.run.manifest, "machine": 7})) for e in comparison.entries]
    code, _runs = provenance_grids(bare, "x")
    assert "processor" not in dict(code.rows)
    assert json.dumps(code.rows)


def test_every_value_of_a_sweep_gets_its_runs(tmp_path: Path) -> None:
    results = sweep_results(stored_sweep(tmp_path, sweep_over()))
    entries = [member.entry for member in results.members if member.entry is not None]
    assert len(provenance_grids(entries, "x")[1].rows) == 12
