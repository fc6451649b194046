"""What a run does follows from scenario, scheme and seed: pairs, flows, announcements, small messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.model.scenario_input import parse_scenario
from testbed.results.run import load
from testbed.runs.plan import Plan
from testbed.units import KIB, MIB

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference" / "allreduce_ring"


def plan(seed: int = 1, scheme: str = "gse1", **workload: Any) -> Plan:
    scenario = parse_scenario({"name": "x", "workload": workload}, source="test")
    return Plan(scenario=scenario, scheme=scheme, seed=seed, run_dir=Path("unused"), datapath="userspace")


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*-ecmp-*")), ids=lambda path: path.name)
def test_a_seed_gives_a_ring_the_flows_it_always_gave(path: Path) -> None:
    """Runs of other commits stay comparable: what ECMP does depends on these numbers."""
    run = load(path)
    made = Plan(scenario=run.scenario, scheme="gse1", seed=run.seed, run_dir=path, datapath="userspace")
    expected = [(row.src_ip, row.dst_ip, 6, row.src_port, row.dst_port) for row in run.tables.flows]
    assert [flow.key for pair in made.flows for flow in pair] == expected
    assert sum(flow.demand_bytes for pair in made.flows for flow in pair) == sum(
        row.bytes_received or 0 for row in run.tables.flows
    )


def test_a_plan_is_read_as_it_was_written_whatever_is_beside_it(tmp_path: Path) -> None:
    made, path = plan(seed=7, kind="permutation", mice_interval_ms=100.0), tmp_path / "plan.json"
    made.write(path, {"program": {"argv": ["true"]}})
    assert Plan.read(path) == made
    assert json.loads(path.read_text()) == {**made.to_json(), "program": {"argv": ["true"]}}


@pytest.mark.parametrize("kind", ["all_to_all", "incast", "permutation"])
@pytest.mark.parametrize("flows", [1, 4])
def test_flows_are_those_of_the_pairs_whatever_the_scheme(kind: str, flows: int) -> None:
    made = plan(kind=kind, flows_per_hop=flows)
    assert made.flows == plan(kind=kind, flows_per_hop=flows, scheme="ecmp").flows
    assert made.flows != plan(kind=kind, flows_per_hop=flows, seed=2).flows
    for (src, dst), own in zip(made.pattern.pairs, made.flows, strict=True):
        assert len(own) == flows
        ends = {(flow.src_ip, flow.dst_ip, flow.dst_port) for flow in own}
        assert ends == {(made.rank_hosts[src].ip, made.rank_hosts[dst].ip, 20_000 + dst)}
    everything = [flow for own in made.flows for flow in own]
    assert len({(flow.src_ip, flow.src_port) for flow in everything}) == len(everything), "a port of a host once"


@pytest.mark.parametrize(
    ("workload", "names"),
    [
        ({}, ["allreduce"]),
        ({"jobs": 2}, ["allreduce-1", "allreduce-2"]),
        ({"kind": "collective", "collective": "broadcast/tree"}, ["broadcast"]),
        ({"kind": "collective", "collective": "all_gather/doubling", "jobs": 2}, ["all_gather-1", "all_gather-2"]),
        ({"kind": "incast", "jobs": 4}, ["incast-1", "incast-2", "incast-3", "incast-4"]),
    ],
)
def test_every_job_announces_its_own_flows(workload: dict[str, Any], names: list[str]) -> None:
    made = plan(**workload)
    assert list(made.announcements) == names
    assert [flow for own in made.announcements.values() for flow in own] == [flow for own in made.flows for flow in own]
    for own, members in zip(made.announcements.values(), made.pattern.jobs, strict=True):
        inside = {made.rank_hosts[rank].ip for rank in members}
        assert {flow.src_ip for flow in own} | {flow.dst_ip for flow in own} <= inside


@pytest.mark.parametrize("name", ["allreduce/halving_doubling", "allreduce/double_tree", "broadcast/tree"])
def test_flows_are_announced_with_the_bytes_they_will_carry(name: str) -> None:
    """Pairs of a collective are unequal; a placement by demand needs to know."""
    made = plan(kind="collective", collective=name, flows_per_hop=2, iterations=3, size_bytes=MIB)
    announced = {(flow.src_ip, flow.dst_ip): flow.demand_bytes for own in made.announcements.values() for flow in own}
    sizes = made.pattern.pair_bytes(MIB)
    assert name == "broadcast/tree" or len(set(sizes)) > 1
    for (src, dst), size in zip(made.pattern.pairs, sizes, strict=True):
        assert announced[made.rank_hosts[src].ip, made.rank_hosts[dst].ip] == 3 * size // 2


def test_jobs_are_dealt_out_over_all_leaves() -> None:
    made = plan(jobs=2)
    for members in made.pattern.jobs:
        assert sorted(made.rank_hosts[rank].leaf for rank in members) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("jobs", "quarter_kib"), [(1, 16), (2, 32), (4, 64)])
def test_a_slice_is_a_quarter_of_a_chunk_of_the_ring_it_goes_round(jobs: int, quarter_kib: int) -> None:
    """A ring's chunk is the array over the ranks of its own job; 1 MiB over 16, 8 and 4 of them here."""
    assert plan(jobs=jobs).slice_bytes(MIB) == quarter_kib * KIB
    assert plan(jobs=jobs, slice_bytes=8 * KIB).slice_bytes(MIB) == 8 * KIB


def test_small_messages_go_from_every_host_to_another_leaf_the_same_for_every_scheme() -> None:
    made = plan(kind="permutation", mice_interval_ms=100.0)
    assert made.mice is not None
    assert made.mice == plan(kind="permutation", mice_interval_ms=100.0, scheme="gse2-n2n").mice
    leaf = {host.name: host.leaf for host in made.rank_hosts}
    mice = made.mice["mice"]
    assert {src for src, _dst, _port in mice} == {dst for _src, dst, _port in mice} == set(leaf)
    assert all(leaf[src] != leaf[dst] for src, dst, _port in mice)
    elephants = {(made.rank_hosts[src].name, made.rank_hosts[dst].name) for src, dst in made.pattern.pairs}
    assert {(src, dst) for src, dst, _port in mice} != elephants
    assert plan(kind="permutation").mice is None
    assert made.mice["dscp"] == 0
    marked = plan(kind="permutation", mice_interval_ms=100.0, mice_dscp=40).mice
    assert marked == {**made.mice, "dscp": 40}
