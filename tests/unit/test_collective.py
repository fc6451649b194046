"""Collectives as workloads: what they are called, what they move without any transfer being made, what is refused."""

from __future__ import annotations

import pytest
from collective_wires import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.collectives.algorithms import ALGORITHMS
from testbed.collectives.collective import (
    ALL_TO_ALL,
    NAMES,
    RING,
    Collective,
    most_peers,
    pairs_of,
    parse_name,
    volumes,
)
from testbed.collectives.program import pair_bytes
from testbed.errors import ScenarioError
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario


@given(st.sampled_from([RING, ALL_TO_ALL]), st.integers(2, 20), st.integers(1, 200))
def test_bytes_without_transfers_are_those_of_the_transfers(collective: Collective, n: int, floats: int) -> None:
    found = volumes(collective, n, 4 * floats)
    program = collective.program(n, 4 * floats)
    assert found == pair_bytes(program)
    assert list(found) == list(pair_bytes(program)) or collective == RING  # the order a rank begins with its peers


@settings(max_examples=200)
@given(cases(max_ranks=17, max_floats=80))
def test_no_size_has_pairs_that_a_float_for_every_rank_does_not_have(case: Case) -> None:
    made = case.program
    for operation, algorithms in ALGORITHMS.items():
        for name, algorithm in algorithms.items():
            if operation != made.operation or (algorithm.powers_of_two and made.n_ranks & (made.n_ranks - 1)):
                continue
            groups = [g for g in range(1, made.n_ranks + 1) if made.n_ranks % g == 0] if algorithm.grouped else [None]
            for group in groups:
                collective = Collective(operation, name, group, made.root)
                pairs = pairs_of(collective, made.n_ranks)
                assert set(volumes(collective, made.n_ranks, made.size_bytes)) <= set(pairs)
                assert len(set(pairs)) == len(pairs)
                sent = [sum(src == rank for src, _dst in pairs) for rank in range(made.n_ranks)]
                received = [sum(dst == rank for _src, dst in pairs) for rank in range(made.n_ranks)]
                assert most_peers(collective, made.n_ranks) == max(*sent, *received)


def test_thousands_of_ranks_are_no_matter_for_a_ring() -> None:
    assert len(pairs_of(RING, 4096)) == 4096
    assert set(volumes(RING, 4096, 4 << 20).values()) == {2 * 4095 * 1024}


def test_a_name_is_an_operation_and_maybe_an_algorithm() -> None:
    assert parse_name("allreduce") == ("allreduce", "ring")
    assert parse_name("broadcast/tree") == ("broadcast", "tree")
    assert all(Collective(*parse_name(name)).name.startswith(name) for name in NAMES)
    with pytest.raises(ValueError, match="no such collective; expected one of allreduce, allreduce/ring, "):
        parse_name("allreduce/square")


def test_factors_are_those_of_nccl_tests_whatever_the_algorithm() -> None:
    expected = {
        "allreduce": 2 * 7 / 8,
        "reduce_scatter": 7 / 8,
        "all_gather": 7 / 8,
        "all_to_all": 7 / 8,
        "broadcast": 1,
        "sendrecv": 1,
    }
    for name in NAMES:
        operation, algorithm = parse_name(name)
        assert Collective(operation, algorithm).bus_factor(8) == expected[operation]


# -- in scenarios ---------------------------------------------------------------------------------------------


def scenario(workload: dict[str, object], **fabric: object) -> Scenario:
    return parse_scenario({"name": "x", "workload": {"kind": "collective", **workload}, "fabric": fabric}, source="x")


def problems_of(workload: dict[str, object], **fabric: object) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        scenario(workload, **fabric)
    return [str(problem) for problem in caught.value.problems]


def test_what_is_unset_is_what_most_would_ask_for() -> None:
    assert scenario({}).collective == RING
    assert scenario({"collective": "allreduce/hierarchical"}).collective == Collective("allreduce", "hierarchical", 4)
    assert scenario({"collective": "broadcast", "root": 3}).collective == Collective("broadcast", "ring", None, 3)
    assert scenario({"collective": "all_gather/doubling", "jobs": 2}).workload.job_names == (
        "all_gather-1",
        "all_gather-2",
    )
    assert parse_scenario({"name": "x"}, source="x").collective == RING
    assert parse_scenario({"name": "x", "workload": {"kind": "incast"}}, source="x").collective is None


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        ({"collective": "gather"}, "got 'gather', expected one of allreduce, allreduce/ring"),
        ({"collective": "reduce_scatter/halving", "ranks": 12}, "n_ranks=12, expected a power of two"),
        ({"collective": "allreduce/hierarchical", "group_ranks": 3}, "group_ranks=3, expected a divisor of n_ranks=16"),
        ({"collective": "allreduce/ring", "group_ranks": 4}, "group_ranks=4, expected none: it has no groups"),
        ({"collective": "broadcast/tree", "root": 16}, "root=16, expected one of the ranks 0..15"),
        ({"collective": "broadcast/tree", "root": 8, "jobs": 2}, "root=8, expected one of the ranks 0..7"),
        ({"collective": "all_gather", "root": 0}, "root=0, expected none: it has no root"),
        (
            {"kind": "incast", "collective": "allreduce"},
            "collective=allreduce with kind=incast, expected kind=collective",
        ),
        ({"kind": "allreduce_ring", "root": 0}, "root=0 with kind=allreduce_ring, expected kind=collective"),
        ({"collective": "all_to_all", "flows_per_hop": 27}, "flows_per_hop=27 with 15 peers per rank"),
    ],
)
def test_what_cannot_be_is_refused(workload: dict[str, object], expected: str) -> None:
    (problem,) = problems_of(workload)
    assert expected in problem


def test_every_problem_is_told_at_once() -> None:
    found = problems_of({"collective": "reduce_scatter/halving", "ranks": 12, "root": 3, "group_ranks": 2})
    assert len(found) == 3, found
    assert "power of two" in found[0] and "no groups" in found[1] and "no root" in found[2]


def test_more_ranks_than_a_program_serves_are_refused() -> None:
    (problem,) = problems_of({}, leaves=20, hosts_per_leaf=20)
    assert "workload.kind=collective with 400 ranks, expected at most 256" in problem
