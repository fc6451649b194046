"""Predictions of scenarios: as runs are, as the oracle says, in closed form, as stored runs were."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import testbed.fluid.predict
from testbed.fluid.case import Case, problems
from testbed.fluid.fairness import max_min
from testbed.fluid.overhead import overhead_of
from testbed.fluid.predict import band_of_means, expect, outcomes
from testbed.fluid.slices import play, script_of
from testbed.fluid.traffic import traffic_of
from testbed.fluid.validation import BANDS, BOUNDS, CASES
from testbed.gse.hashing import hashed_path
from testbed.model.oracle import expected_ecmp, predict
from testbed.model.ranks import TCP, Flow
from testbed.model.rounds import schedule_of
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.topology import Topology
from testbed.results.run import load
from testbed.runs.plan import Plan

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference" / "allreduce_ring"
RUNS = sorted(path for path in REFERENCE.iterdir() if not path.name.endswith(".disturbed"))
SMALL: dict[str, Any] = {"fabric.leaves": 2, "fabric.spines": 2, "fabric.hosts_per_leaf": 2}
ALGORITHMS = ("allreduce/halving_doubling", "allreduce/double_tree", "allreduce/hierarchical", "broadcast/tree")


def scenario(**changes: Any) -> Scenario:
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    return override(Scenario(name="predicted"), {"workload.size_bytes": 1 << 20, "workload.iterations": 1, **fields})


# --- runs that are stored ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RUNS, ids=lambda path: "-".join(path.name.split("-")[1:-1]))
def test_stored_reference_runs_are_predicted_within_five_percent(path: Path) -> None:
    run = load(path)
    assert run.summary is not None
    (predicted,) = outcomes([Case(run.scenario, run.scheme, run.seed)])
    assert predicted.time_s == pytest.approx(run.summary["completion_s"], rel=0.05)
    assert predicted.efficiency == pytest.approx(run.summary["efficiency"], rel=0.05)


@pytest.mark.parametrize(
    "path", [path for path in RUNS if "-ecmp-" in path.name], ids=lambda path: path.name.split("-")[2]
)
def test_the_hash_is_open_vswitchs(path: Path) -> None:
    run = load(path)
    topology = Topology(run.scenario.fabric)
    rows = list(csv.DictReader((path / "flows.csv").read_text().splitlines()))
    assert len(rows) == 16
    for row in rows:
        flow = Flow(row["src_ip"], row["dst_ip"], TCP, int(row["src_port"]), int(row["dst_port"]))
        way = hashed_path(topology, flow, topology.host(row["src_host"]), topology.host(row["dst_host"]), run.seed)
        assert way is not None and topology.path_name(way.up) == row["path"]


@pytest.mark.parametrize("path", [path for path in RUNS if "-gse1-" in path.name], ids=lambda path: path.name[:16])
def test_gse1_puts_flows_where_gsos_put_them(path: Path) -> None:
    run = load(path)
    case = Case(run.scenario, "gse1", run.seed)
    rows = {row["src_host"]: row["path"] for row in csv.DictReader((path / "flows.csv").read_text().splitlines())}
    there, back = case.paths
    assert there == back
    for (src, _dst), (way,) in zip(case.pattern.host_pairs(case.hosts), there, strict=True):
        assert way is not None and case.topology.path_name(way.up) == rows[src.name]


# --- cases are runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["cross_leaf", "random"])
@pytest.mark.parametrize("kind", ["allreduce_ring", "all_to_all", "incast", "permutation"])
def test_a_case_has_the_flows_of_the_run_of_its_seed(kind: str, placement: str) -> None:
    asked = scenario(workload__kind=kind, workload__placement=placement, workload__flows_per_hop=2)
    for seed in (1, 9):
        case, plan = Case(asked, "ecmp", seed), Plan(asked, "ecmp", seed, Path(), "userspace")
        assert (case.hosts, case.pattern, case.flows) == (plan.rank_hosts, plan.pattern, plan.flows)
        assert case.slice_bytes == plan.slice_bytes(asked.workload.size_bytes)


# --- where one link rules, and in closed form ------------------------------------------------------------------


@settings(max_examples=20)
@given(
    st.integers(2, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 2),
    st.integers(1, 99),
)
def test_a_ring_without_overhead_is_the_oracles(
    leaves: int, spines: int, hosts: int, flows: int, links: int, seed: int
) -> None:
    asked = scenario(
        fabric__leaves=leaves,
        fabric__spines=spines,
        fabric__hosts_per_leaf=hosts,
        fabric__links_per_pair=links,
        workload__flows_per_hop=flows,
    )
    case = Case(asked, "ecmp", seed)
    (found,) = outcomes([case])
    pairs = case.pattern.host_pairs(case.hosts)
    limit = predict(case.topology, pairs, case.paths[0], case.sizes)
    acks = overhead_of("ecmp", asked.fabric, asked.gsp).fabric
    least = acks.data / (acks.data + flows * len(pairs) * acks.acks)  # if all acknowledgements were on one link
    assert limit.efficiency * least <= found.efficiency * (1 + 1e-9) <= limit.efficiency * (1 + 1e-6)
    assert found.most_flows == max(limit.max_uplink_flows, limit.max_downlink_flows)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("gse1", 9014 / (9014 + 33)),  # a host's link carries its data and acknowledgements of what it gets
        ("gse2-n2n", 0.985 * 9014 / (9014 + 33)),
        ("spray", 9014 / (9014 + 57 + 33 + 28.5)),  # uplinks carry headers, of acknowledgements too
    ],
)
def test_a_ring_without_conflicts_in_closed_form(scheme: str, expected: float) -> None:
    (found,) = outcomes([Case(scenario(schemes=[scheme]), scheme, 1)])
    assert found.efficiency == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("scheme", ["ecmp", "gse1", "gse2-n2n", "gse2-e2e", "spray", "uet"])
def test_incast_is_the_receivers_link_whatever_the_paths(scheme: str) -> None:
    asked = scenario(workload__kind="incast", workload__size_bytes=256 << 10, schemes=[scheme])
    (found,) = outcomes([Case(asked, scheme, 3)])
    costs = overhead_of(scheme, asked.fabric, asked.gsp)
    wanted = min(9014 / 8948 / costs.host.data, costs.pacing)
    assert found.efficiency == pytest.approx(wanted, rel=2e-3)  # a step of some milliseconds


def test_uplinks_of_half_the_rate_give_half() -> None:
    full = scenario(schemes=["gse2-n2n"])
    half = override(full, {"fabric.uplink_rate_mbps": 5.0})
    one, other = (next(outcomes([Case(asked, "gse2-n2n", 1)])) for asked in (full, half))
    assert other.time_s / one.time_s == pytest.approx(2, rel=0.02)
    assert ">" in other.bottleneck and one.bottleneck.startswith("grants")


def test_all_pairs_alike_end_together() -> None:
    case = Case(scenario(workload__kind="all_to_all", schemes=["spray"]), "spray", 1)
    traffic = traffic_of(case, "pair")
    rates = max_min(traffic.network)
    assert rates.min() == pytest.approx(rates.max())


def test_hashing_over_many_seeds_is_what_random_paths_give() -> None:
    asked = scenario(schemes=["ecmp"], seeds=[1])
    case = Case(asked, "ecmp", 1)
    drawn = expected_ecmp(
        case.topology, case.pattern.host_pairs(case.hosts), flows_per_hop=1, runs=100, rng=Random(5), trials=1000
    )
    found = expect(asked, "ecmp", seeds=100)
    assert drawn.efficiency.low * 0.99 <= found.band.mean <= drawn.efficiency.high
    assert found.band.low <= found.band.mean <= found.band.high


def test_a_scheme_no_seed_matters_to_is_predicted_once() -> None:
    found = expect(scenario(schemes=["gse2-n2n"], seeds=[4, 5, 6]), "gse2-n2n")
    assert [one.seed for one in found.own] == [4, 5, 6] and len(found.others) == 1
    assert len({one.time_s for one in found.own}) == 1


# --- slices that wait ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collective", ALGORITHMS)
@pytest.mark.parametrize("scheme", ["gse1", "gse2-n2n"])
def test_waiting_collectives_are_no_faster_than_links_and_no_slower_than_turns(collective: str, scheme: str) -> None:
    asked = scenario(
        workload__kind="collective",
        workload__collective=collective,
        schemes=[scheme],
        **{name.replace(".", "__"): value for name, value in SMALL.items()},
    )
    case = Case(asked, scheme, 1)
    (found,) = outcomes([case])
    traffic = traffic_of(case, "flow")
    loads = np.bincount(
        traffic.network.link,
        traffic.network.cost * traffic.sizes[traffic.network.stream],
        len(traffic.network.capacity),
    )
    bytes_s = float((loads / traffic.network.capacity).max())
    alone_s = float((traffic.sizes / max_min(traffic.network)).sum())
    slices = sum(-(-size // case.slice_bytes) for size in case.sizes)
    step_s = overhead_of(scheme, asked.fabric, asked.gsp).step_s
    assert bytes_s * (1 - 1e-6) <= found.time_s <= alone_s + slices * step_s


def test_a_ring_slice_by_slice_takes_what_it_takes_as_a_stream() -> None:
    asked = scenario(schemes=["gse1"], **{name.replace(".", "__"): value for name, value in SMALL.items()})
    case = Case(asked, "gse1", 1)
    (stream,) = outcomes([case])
    schedule = schedule_of(case.pattern, asked.workload.size_bytes, case.slice_bytes)
    script = script_of(schedule, case.pattern.jobs, case.pattern.pairs, 1)
    assert play(script, traffic_of(case, "flow").network, 0.001) == pytest.approx(stream.time_s, rel=0.03)


def test_two_ranks_hand_on_in_closed_form() -> None:
    # broadcast down a chain of two hosts on one leaf: one connection, nothing to wait for
    asked = scenario(
        workload__kind="collective",
        workload__collective="broadcast/tree",
        workload__ranks=2,
        workload__placement="leaf_local",
        schemes=["gse1"],
    )
    (found,) = outcomes([Case(asked, "gse1", 1)])
    assert found.time_s == pytest.approx((1 << 20) / (1.25e6 * 8948 / 9014), rel=1e-6)


# --- what the model does not know -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"faults": [{"t_s": 1, "action": "fail", "target": "s1"}]}, "faults"),
        ({"background": [{"src": "h1", "dst": "h5"}]}, "traffic"),
        ({"schemes": ["flowlet"]}, "gaps"),
        ({"fabric__loss_fraction": 0.01}, "loss"),
        ({"workload__announce": False}, "first"),
    ],
)
def test_what_the_model_does_not_know_is_said(changes: dict[str, Any], word: str) -> None:
    found = problems(scenario(**changes))
    assert [one for one in found if word in one.what] and all(one.expected for one in found)


def test_cases_of_the_validation_are_predictable_and_have_names_of_their_own() -> None:
    scenarios = [case.scenario for case in (*CASES, *BOUNDS, *BANDS)]
    assert len(CASES) == 12 and len(BANDS) == 18
    assert len({one.name for one in scenarios}) == len(scenarios)
    assert not [problem for one in scenarios for problem in problems(one)]


def test_the_band_of_many_seeds_is_found_in_parts_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """All means of 10,000 seeds at once took most of a gigabyte."""
    values = [0.4 + number / 100 for number in range(37)]
    whole = {runs: band_of_means(values, runs) for runs in (1, 3, 20, 500)}
    monkeypatch.setattr(testbed.fluid.predict, "MOST_DRAWN", 700)
    assert {runs: band_of_means(values, runs) for runs in whole} == whole
