"""``gse predict``: tables and JSON, and bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from gse_command import Gse, assert_refused

import testbed.cli.predict_cluster

# One of YAML's numbers, not all of which are written with a point, for each field that is a divisor.
NEAR_NOTHING = (
    "nic_gbps=5.0e-324",
    "link_gbps=1.0e+308",
    "oversubscription=1.0e-9",
    "core_oversubscription=1.0e-300",
    "nvlink_gbytes_per_s=1.0e-320",
)
SMALL = ("--set", "fabric.leaves=2", "--set", "fabric.spines=2", "--set", "workload.size_bytes=256K")


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


def test_a_scenario_as_a_table_and_as_json(gse: Gse) -> None:
    command = ("predict", "scenario", "allreduce_ring", *SMALL, "--schemes", "ecmp,gse1,spray")
    command = (*command, "--seeds", "2", "--all-seeds", "20")
    shown = gse(*command)
    assert shown.status == 0 and "left out" in shown.out and re.search(r"spray .* all ", shown.out)
    found = json.loads(gse(*command, "--json").out)
    ecmp = found["schemes"]["ecmp"]
    assert [one["seed"] for one in ecmp["seeds"]] == [1, 2] and ecmp["seeds_of_distribution"] == 20
    assert ecmp["efficiency"]["mean_95"][0] <= ecmp["efficiency"]["mean"] <= ecmp["efficiency"]["mean_95"][1]
    assert found["schemes"]["gse1"]["seeds"][0]["efficiency"] > ecmp["efficiency"]["mean"]


@pytest.mark.parametrize("name", ["all_to_all", "incast", "permutation", "two_jobs"])
def test_other_scenarios_are_predicted_as_they_are(gse: Gse, name: str) -> None:
    answer = gse("predict", "scenario", name, *SMALL, "--seeds", "1", "--all-seeds", "3", "--json")
    found = json.loads(answer.out)["schemes"]
    assert set(found) == {"ecmp", "gse1", "gse2-n2n", "gse2-e2e"}
    assert all(0 < one["seeds"][0]["efficiency"] <= 1 for one in found.values())


def test_a_cluster_by_name_and_by_file(gse: Gse, tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("nodes: 128\nlink_gbps: 200\n")
    for name in ("rails_2k", str(path)):
        answer = gse("predict", "cluster", name, "--ranks", "256,512", "--seeds", "2", "--size", "64M", "--json")
        found = json.loads(answer.out)
        assert [(one["ranks"], one["scheme"]) for one in found["results"][:3]] == [
            (256, "ecmp"),
            (256, "gse1"),
            (256, "gse2"),
        ]
        assert len(found["results"]) == 12
    assert "flows on" in gse("predict", "cluster", "rails_2k", "--ranks", "64", "--seeds", "2").out


def test_more_memory_than_there_is_is_said_before_it_is_taken(gse: Gse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.cli.predict_cluster, "available_memory_bytes", lambda _limits: 10_000_000)
    monkeypatch.setattr(testbed.cli.predict_cluster, "address_space_limit", lambda: None)
    command = ("predict", "cluster", "harbin_sized", "--ranks", "18000,1024", "--seeds", "1", "--size", "64M")
    with monkeypatch.context() as patch:
        patch.setattr(testbed.cli.predict_cluster, "expect_native", lambda *_what, **_how: pytest.fail("it was begun"))
        answer = gse(*command, "--flows", "4", "--schemes", "gse2,gse1")
        assert_refused(answer, "cluster harbin_sized: more memory than this machine has; got about ")
        assert " MB for 72,000 connections under gse1, expected at most 10 MB available: fewer --ranks" in answer.err
        assert_refused(gse(*command, "--flows", "8", "--schemes", "gse2"), "144,000 connections under gse2")
    assert gse(*command[:3], "--ranks", "1024", *command[5:]).status == 0
    monkeypatch.setattr(testbed.cli.predict_cluster, "available_memory_bytes", lambda _limits: 10**12)
    monkeypatch.setattr(testbed.cli.predict_cluster, "address_space_limit", lambda: 5_000_000)  # ulimit -v
    assert_refused(gse(*command), "expected at most 5 MB available")


def test_training_is_a_table(gse: Gse) -> None:
    answer = gse("predict", "training", "--gpus", "64", "--seeds", "2")
    assert answer.status == 0 and answer.out.count("ZeRO-3") >= 6 and "exposed" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scenario", "link_failure"), ("faults",)),
        (("scenario", "llama2_13b"), ("training iteration", "gse predict training")),
        (("scenario", "mixed_traffic"), ("other traffic",)),
        (("scenario", "nothing"), ("no such scenario",)),
        (("scenario", "allreduce_ring", "--all-seeds", "many"), ("--all-seeds",)),
        (("cluster", "nothing"), ("no such cluster", "harbin_sized")),
        (("cluster", "rails_2k", "--ranks", "7"), ("whole nodes",)),
        (("cluster", "rails_2k", "--set", "oversubscription=7"), ("oversubscription",)),
        (("cluster", "rails_2k", "--set", "nodes=-1", "--set", "tiers=9"), ("nodes", "tiers")),
        (("cluster", "rails_2k", "--flows", "0", "--size", "x", "--schemes", "a"), ("--flows", "--size", "--schemes")),
        (("cluster", "/nowhere/x.yml"), ("cannot be read",)),
        (("cluster", "rails_2k", "--set", "nodes=["), ("--set nodes", "value is not YAML")),
        (("cluster", "rails_2k", "--set", "nodes"), ("is not field=value",)),
        (("training", "--gpus", "12", "--ask-us", "x"), ("whole nodes", "--ask-us")),
        (("cluster", "rails_2k", "--step-us", "-1"), ("--step-us",)),
        (("validate", "--only", "nothing"), ("no such case",)),
        (
            ("cluster", "harbin_sized", *(word for setting in NEAR_NOTHING for word in ("--set", setting))),
            (
                "cluster harbin_sized: nic_gbps: not valid; got 5e-324, expected greater than or equal to 0.001",
                "link_gbps: not valid; got 1e+308, expected less than or equal to 10000",
                "oversubscription: not valid; got 1e-09, expected greater than or equal to 0.0156",
                "core_oversubscription: not valid; got 1e-300",
                "nvlink_gbytes_per_s: not valid; got 1e-320",
            ),
        ),
    ],
)
def test_bad_input_is_explained(gse: Gse, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    answer = gse("predict", *arguments)
    assert_refused(answer, *words)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a cluster; got an empty file"),
        (b"- 1", "is not a cluster; got list"),
        (b"1: 2", "Keys should be strings"),
        (b"? [a]\n: 2", "is not YAML"),
        (b"[" * 20_000, "too many levels"),
        (b"nodes: 2020-13-45", "is not YAML"),
        (b"nodes: &n [*n]", "nodes"),
    ],
)
def test_a_bad_file_of_a_cluster_is_explained(gse: Gse, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "c.yml").write_bytes(content)
    assert_refused(gse("predict", "cluster", str(tmp_path / "c.yml")), said)
