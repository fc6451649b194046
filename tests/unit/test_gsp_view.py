"""What ``gsp`` at the prompt shows of what GSPs say of themselves (the real thing, from a virtual fabric)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from gse_fabric import Fabric

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.status import status_json
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology
from testbed.prompt.gsp_view import gsp_lines

TOPOLOGY = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=2))
H11, H21 = (1, 1), (2, 1)


@pytest.fixture(scope="module")
def stats() -> list[dict[str, Any]]:
    """Return what two leaves' agents say in the middle of a burst, with a path of leaf 2 dead."""
    fabric = Fabric(Profile(), leaves=2, hosts=2, paths=2, watches_paths=True)
    for number in range(60):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.run(0.2)
    fabric.turn(wire.address(2), lambda edge: edge.carrier(1, up=False, now_s=fabric.now_s))
    return [
        {"name": f"l{leaf}", "socket_drops": 0, **status_json(fabric.edges[wire.address(leaf)], fabric.now_s)}
        for leaf in (1, 2)
    ]


def test_one_line_per_agent_under_a_heading(stats: list[dict[str, Any]]) -> None:
    heading, *rows = gsp_lines(stats, "", TOPOLOGY)
    assert [row.split()[0] for row in rows] == ["l1", "l2"]
    (queue,) = stats[0]["queues"]
    numbers = [int(word) for word in rows[0].split()[1:10]]
    counters = stats[0]["counters"]
    assert queue["backlog_bytes"] > 0
    assert numbers == [
        1,
        queue["backlog_bytes"],
        queue["credit_bytes"],
        stats[0]["grants"],
        counters["containers"],
        counters["requests"],
        counters["gap_timeouts"],
        counters["late"],
        counters["reorder_depth_max_bytes"],
    ]
    assert rows[0].endswith("  " + " ".join(f"{size / 1e6:.2f}M" for size in stats[0]["path_bytes"]))
    assert int(rows[1].split()[4]) == stats[1]["grants"] > 0
    assert "dead" not in rows[0]
    assert rows[1].endswith("  dead: s2")
    ends = [match.end() for match in re.finditer(r"\S+(?: max)?", heading)][:10]
    assert [match.end() for match in re.finditer(r"\S+", rows[0])][1:10] == ends[1:]  # under their headings


def test_everything_about_one_agent(stats: list[dict[str, Any]]) -> None:
    lines = list(gsp_lines(stats, "l1", TOPOLOGY))
    shown = {line[:26].strip(): line[26:].strip() for line in lines}
    counters = stats[0]["counters"]
    assert {name: int(shown[name]) for name in counters if counters[name]} == {
        name: value for name, value in counters.items() if value
    }
    assert not any(name in shown for name, value in counters.items() if not value)
    assert [int(shown[f"bytes by path s{spine}"]) for spine in (1, 2)] == stats[0]["path_bytes"]
    assert re.search(r"^wait in source queues +p50 \d+\.\d ms$", "\n".join(lines), re.MULTILINE)  # too few for p99
    (queue,) = stats[0]["queues"]
    assert lines[-1] == (
        f"queue to leaf 2 port 1 class 1: {queue['backlog_bytes']} bytes wait, credit {queue['credit_bytes']}, "
        "oldest 200.0 ms"
    )


def test_agent_through_which_nothing_has_come(stats: list[dict[str, Any]]) -> None:
    assert "wait in source queues     nothing waited yet" in list(gsp_lines(stats, "l2", TOPOLOGY))


def test_wait_of_no_time_is_a_wait(stats: list[dict[str, Any]]) -> None:
    at_once = {**stats[0], "dgsq_wait_ms": {"p50": 0.0, "p99": None}}
    assert "wait in source queues     p50 0.0 ms" in list(gsp_lines([at_once], "l1", TOPOLOGY))


def test_name_of_no_agent_is_a_mistake(stats: list[dict[str, Any]]) -> None:
    assert list(gsp_lines(stats, "l9", TOPOLOGY)) == ["*** gsp l9: expected one of l1, l2"]
