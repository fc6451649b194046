"""GSE2.0 and its competitors over real switches: what each scheme promises, on one small all-reduce each."""

from __future__ import annotations

from typing import Any

import pytest
from gse_runs import gse_run

pytestmark = pytest.mark.root

SMALL = {"workload.size_bytes": "512K", "workload.iterations": 2, "measure.calibrate": False}
GSE2 = ("gse2-n2n", "gse2-e2e", "uet")
BLIND = ("spray", "flowlet", "ecmp-agents")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gse2")
    done = gse_run(folder, settings=SMALL, schemes=",".join(("ecmp", *GSE2, *BLIND)), seeds="2", timeout_s=280).runs
    return {run["scheme"]: run for run in done if run["seed"] == 2}


@pytest.mark.parametrize("scheme", [*GSE2, *BLIND])
def test_sums_are_right_under_every_scheme(runs: dict[str, dict[str, Any]], scheme: str) -> None:
    assert runs[scheme]["wrong_elements"] == 0
    agents = runs[scheme]["agents"]
    assert agents["malformed"] == agents["misdirected"] == agents["socket_drops"] == agents["restarts"] == 0


@pytest.mark.parametrize("scheme", GSE2)
def test_hosts_get_everything_in_order_and_nothing_is_dropped(runs: dict[str, dict[str, Any]], scheme: str) -> None:
    run = runs[scheme]
    assert run["out_of_order_packets"] == 0
    assert run["dropped_packets"] == 0
    assert run["gap_timeouts"] == 0
    assert run["agents"]["late"] == 0
    assert run["reorder_depth_max_bytes"] > 0  # there was something to put in order
    assert run["grants"] > 0


@pytest.mark.parametrize("scheme", [*GSE2, "spray"])
def test_every_uplink_carries_its_share(runs: dict[str, dict[str, Any]], scheme: str) -> None:
    assert runs[scheme]["uplink_max_over_mean"] <= 1.1


def test_spraying_without_order_disorders(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["spray"]["agents"]["swapped"] > 0
    assert runs["spray"]["grants"] == 0


def test_containers_hold_several_packets(runs: dict[str, dict[str, Any]]) -> None:
    run = runs["gse2-n2n"]
    assert 0 < run["containers"] < run["agents"]["data_out"]


def test_scheduled_fabric_is_faster_than_a_hashed_one_with_the_same_agents(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["gse2-n2n"]["completion_s"] < 0.8 * runs["ecmp-agents"]["completion_s"]
