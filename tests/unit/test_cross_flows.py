"""Poisson flows and bursts: who sends how much to whom and when, by arithmetic and by a seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import ScenarioError
from testbed.model.cross_flows import CrossFlow, burst_flows, chosen, flow_rate_per_s, ideal_s, seeded_flows
from testbed.model.cross_spec import BurstSpec
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.model.topology import Topology


def scenario(cross: dict[str, Any], **changes: Any) -> Scenario:
    return parse_scenario({"name": "x", "cross_traffic": cross, **changes}, source="test")


def flows(of: Scenario, seed: int, until_s: float) -> list[CrossFlow]:
    topology = Topology(of.fabric)
    ranks = place_ranks(topology, of.ranks, "cross_leaf", None)  # type: ignore[arg-type]
    return list(takewhile(lambda flow: flow.due_s < until_s, seeded_flows(of, topology.hosts, ranks, seed)))


@pytest.mark.parametrize("load", [0.1, 0.5])
def test_frames_are_the_load_that_was_asked_for(load: float) -> None:
    of = scenario({"poisson": {"load": load, "size_scale": 0.01}})
    found = flows(of, 1, 400.0)
    payload = sum(flow.size_bytes for flow in found)
    asked = load * 16 * 10e6 / 8 * 400 * 8948 / 9014
    assert payload == pytest.approx(asked, rel=0.05)
    assert len(found) == pytest.approx(flow_rate_per_s(of.cross_traffic.poisson, of.fabric) * 16 * 400, rel=0.03)  # type: ignore[arg-type]


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from(["all", "ranks", "others"]), st.sampled_from(["any", "other_leaf"]))
def test_hosts_are_those_asked_for(seed: int, hosts: str, partners: str) -> None:
    poisson = {"load": 0.3, "size_scale": 0.02, "hosts": hosts, "partners": partners}
    of = scenario({"poisson": poisson}, workload={"ranks": 8})
    topology = Topology(of.fabric)
    with_rank = {host.name for host in place_ranks(topology, 8, "cross_leaf", None)}  # type: ignore[arg-type]
    found = flows(of, seed, 5.0)
    assert found == flows(of, seed, 5.0)
    assert [flow.due_s for flow in found] == sorted(flow.due_s for flow in found)
    for flow in found:
        assert flow.src != flow.dst and flow.size_bytes > 0 and flow.burst is None
        if hosts != "all":
            assert (flow.src in with_rank) == (flow.dst in with_rank) == (hosts == "ranks")
        if partners == "other_leaf":
            assert topology.host(flow.src).leaf != topology.host(flow.dst).leaf


def test_seeds_differ() -> None:
    of = scenario({"poisson": {"load": 0.3, "size_scale": 0.02}})
    assert flows(of, 1, 3.0) != flows(of, 2, 3.0)


@given(st.integers(1, 10**6), st.integers(1, 5), st.booleans())
def test_a_burst_is_what_every_sender_writes(size_bytes: int, targets: int, stripe: bool) -> None:
    storage = tuple(f"h{10 + index}" for index in range(targets))
    spec = BurstSpec(storage=storage, size_bytes=size_bytes, stripe=stripe, period_s=3, first_s=1)
    senders = ["h1", "h2", "h3"]
    found = list(takewhile(lambda flow: flow.due_s < 10, burst_flows(spec, senders)))
    assert {flow.due_s for flow in found} == {1, 4, 7}
    written = Counter[tuple[int | None, str]]()
    for flow in found:
        assert flow.dst in storage
        written[flow.burst, flow.src] += flow.size_bytes
    assert written == {(burst, src): size_bytes for burst in range(3) for src in senders}
    if stripe and size_bytes >= targets:
        assert {flow.dst for flow in found} == set(storage)


def test_poisson_flows_and_bursts_come_by_time_and_storage_does_not_write() -> None:
    of = scenario(
        {"poisson": {"load": 0.2, "size_scale": 0.02}, "bursts": {"storage": ["h16", "h1"], "period_s": 1.0}},
    )
    found = flows(of, 1, 5.0)
    assert [flow.due_s for flow in found] == sorted(flow.due_s for flow in found)
    bursts = [flow for flow in found if flow.kind == "burst"]
    assert {flow.src for flow in bursts} == {f"h{i}" for i in range(2, 16)}
    assert {flow.burst for flow in bursts} == {0, 1, 2, 3, 4}


def test_named_hosts_are_taken_in_the_fabrics_order() -> None:
    hosts = Topology(scenario({}).fabric).hosts
    assert [host.name for host in chosen(("h3", "h2"), hosts, ())] == ["h2", "h3"]


def test_the_ideal_is_the_rate_of_the_slowest_link_and_the_way() -> None:
    fabric = scenario({}, fabric={"uplink_rate_mbps": 5.0}).fabric
    hosts = Topology(fabric).hosts
    near, far = (hosts[0], hosts[1]), (hosts[0], hosts[4])
    one = 100 + 66  # bytes of a frame with 100 of payload
    assert ideal_s(fabric, *near, 100) == pytest.approx(2 * one / 1.25e6)
    assert ideal_s(fabric, *far, 100) == pytest.approx(2 * one / 1.25e6 + 2 * one / 0.625e6)
    million = ideal_s(fabric, *far, 10**6)
    assert million == pytest.approx(10**6 / 0.625e6 * 9014 / 8948, rel=0.02)
    assert ideal_s(fabric, *far, 10**6 + 1) > million


@pytest.mark.parametrize(
    ("cross", "changes", "said"),
    [
        ({"poisson": {"load": 0}}, {}, "greater than 0"),
        ({"poisson": {"load": 0.2, "hosts": "others"}}, {}, "hosts=others are 0 of 16 hosts"),
        ({"poisson": {"load": 0.2, "sizes": [[5, 0.2], [4, 1]]}}, {}, "size 4 after 5"),
        ({"poisson": {"load": 0.2, "sizes": "web"}}, {}, "web_search"),
        (
            {"poisson": {"load": 0.2, "partners": "other_leaf"}},
            {"fabric": {"leaves": 1}, "workload": {"placement": "leaf_local"}},
            "leaves >= 2",
        ),
        (
            {"poisson": {"load": 0.2, "hosts": "ranks", "partners": "other_leaf"}},
            {"workload": {"placement": "leaf_local", "ranks": 4}},
            "the 4 ranks are all on one leaf",
        ),
        (
            {"poisson": {"load": 0.2, "hosts": "others", "partners": "other_leaf"}},
            {"workload": {"placement": "leaf_local", "ranks": 13}},
            "the 3 others are all on one leaf",
        ),
        ({"bursts": {"storage": []}}, {}, "storage"),
        ({"bursts": {"storage": ["h17"]}}, {}, "expected a host h1..h16"),
        ({"bursts": {"storage": ["h1", "h1"]}}, {}, "a host twice"),
        ({"bursts": {"storage": ["h1"], "senders": ["h1"]}}, {}, "somebody who writes"),
        ({"bursts": {"storage": ["h1"], "senders": "others"}}, {}, "every host has a rank"),
        ({"replay": {"file": "x.pcap", "map": {"10.1.1.1": "h99"}}}, {}, "expected a host h1..h16"),
    ],
)
def test_what_cannot_be_sent_is_refused(cross: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        scenario(cross, **changes)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario({"poisson": {"load": 0.2, "hosts": "others"}, "bursts": {"storage": ["h17", "h18"]}})
    assert len(caught.value.problems) == 3


def test_other_traffic_is_said_to_be_there() -> None:
    assert not scenario({}).is_disturbed
    assert not scenario({}).has_other_traffic
    for cross in ({"poisson": {"load": 0.01}}, {"bursts": {"storage": ["h16"]}}, {"replay": {"file": "x"}}):
        assert scenario(cross).is_disturbed
        assert scenario(cross).has_other_traffic


def test_flows_have_no_end() -> None:
    of = scenario({"bursts": {"storage": ["h16"], "period_s": 0.001}})
    topology = Topology(of.fabric)
    assert len(list(islice(seeded_flows(of, topology.hosts, topology.hosts, 1), 10_000))) == 10_000


@pytest.mark.parametrize(("hosts", "ranks"), [("ranks", 5), ("others", 11), ("all", 4)])
def test_hosts_of_two_leaves_have_partners_on_another(hosts: str, ranks: int) -> None:
    poisson = {"load": 0.2, "hosts": hosts, "partners": "other_leaf"}
    of = scenario({"poisson": poisson}, workload={"placement": "leaf_local", "ranks": ranks})
    topology = Topology(of.fabric)
    placed = place_ranks(topology, ranks, "leaf_local", None)  # type: ignore[arg-type]
    assert len(list(islice(seeded_flows(of, topology.hosts, placed, 1), 10))) == 10
