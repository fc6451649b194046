"""The program that sends Poisson flows and bursts, hosts played by loopback addresses in our own namespace."""

from __future__ import annotations

import os
import socket
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from beside_program import Program, StampedSocket, needs_namespaces
from loopback import loopback_hosts

from testbed.evaluation.records import CrossFlowRow, columns
from testbed.model.cross_flows import CrossFlow
from testbed.model.scenario_input import parse_scenario
from testbed.results.table_files import load_rows
from testbed.workload.crossflows import Config, CrossFlows, _Flow

PROJECT = Path(__file__).resolve().parents[2]
FABRIC = {"leaves": 2, "spines": 1, "hosts_per_leaf": 2}
POISSON = {"load": 0.5, "sizes": [[100, 0.5], [200_000, 1]], "partners": "other_leaf"}
BURSTS = {"storage": ["h4"], "period_s": 0.2, "first_s": 0.1, "size_bytes": 50_000}


def config(run_dir: Path, cross: dict[str, Any], **changes: Any) -> dict[str, Any]:
    scenario = parse_scenario({"name": "x", "fabric": FABRIC, "cross_traffic": cross}, source="test")
    return {
        "run_dir": str(run_dir),
        "t0_s": time.monotonic(),
        "seed": 1,
        "scenario": scenario.model_dump(mode="json"),
        "ranks": ["h1", "h2", "h3", "h4"],
        "hosts": {host.name: {"pid": os.getpid(), "ip": host.ip} for host in loopback_hosts(4)},
        "linger_s": 5.0,
        **changes,
    }


@needs_namespaces
def test_every_flow_is_accounted_for_once_with_its_bytes(tmp_path: Path) -> None:
    fields = config(tmp_path, {"poisson": POISSON, "bursts": BURSTS})
    with Program("testbed.workload.crossflows", tmp_path, fields) as program:
        assert program.hear() == {"event": "ready", "hosts": 4}
        program.tell("start")
        time.sleep(1.0)
        program.tell("stop")
        stopped = program.hear()
        assert program.process.poll() is None, "it stays until told once more"
        program.tell("stop")
        assert program.process.wait(10) == 0
    rows = load_rows(tmp_path, CrossFlowRow)
    assert stopped["begun"] == stopped["completed"] == len(rows) > 20
    assert stopped["missing"] == 0
    assert stopped["sent_bytes"] == sum(row.size_bytes for row in rows)
    assert sorted(row.seq for row in rows) == list(range(len(rows)))
    wanted = islice(Config.from_json(fields).flows(), len(rows))  # they have no end
    for row, flow in zip(sorted(rows, key=lambda row: row.seq), wanted, strict=True):
        assert (row.src_host, row.dst_host, row.size_bytes, row.kind, row.burst) == (
            *(flow.src, flow.dst, flow.size_bytes, flow.kind, flow.burst),
        )
    assert all(row.completion_s is not None and 0 < row.completion_s < 1 for row in rows)
    assert len({row.src_port for row in rows}) > len(rows) / 2
    bursts = [row for row in rows if row.kind == "burst"]
    assert {row.dst_host for row in bursts} == {"h4"}
    assert {row.burst for row in bursts} >= {0, 1, 2}


@needs_namespaces
def test_what_has_not_arrived_at_the_end_has_no_time(tmp_path: Path) -> None:
    """A receiver that takes nothing: its host has no listener's room, for the flow is larger than all buffers."""
    huge = {"storage": ["h4"], "senders": ["h1"], "period_s": 60, "first_s": 0, "size_bytes": 900_000_000}
    with Program("testbed.workload.crossflows", tmp_path, config(tmp_path, {"bursts": huge}, linger_s=0.0)) as program:
        program.hear()
        program.tell("start")
        time.sleep(0.05)
        program.tell("stop")
        stopped = program.hear()
        program.tell("stop")
        assert program.process.wait(10) == 0
    (row,) = load_rows(tmp_path, CrossFlowRow)
    assert (stopped["begun"], stopped["completed"], stopped["missing"]) == (1, 0, 1)
    assert row.completion_s is None


@needs_namespaces
def test_stopping_before_the_start_leaves_an_empty_table(tmp_path: Path) -> None:
    with Program("testbed.workload.crossflows", tmp_path, config(tmp_path, {"poisson": POISSON})) as program:
        program.hear()
        program.tell("stop")
        assert program.hear()["begun"] == 0
        assert program.process.stdin
        program.process.stdin.close()  # the end of stdin is a stop
        assert program.process.wait(10) == 0
    assert load_rows(tmp_path, CrossFlowRow) == ()


@needs_namespaces
def test_a_host_that_cannot_listen_is_named(tmp_path: Path) -> None:
    fields = config(tmp_path, {"poisson": POISSON})
    fields["hosts"]["h2"]["ip"] = "192.0.2.1"  # nobody's here
    with Program("testbed.workload.crossflows", tmp_path, fields) as program:
        message = program.hear()["message"]
        assert "h2" in message and "cannot listen on 192.0.2.1" in message
        assert program.process.wait(10) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ranks": []}, "ranks name no host"),
        ({"ranks": ["h9"]}, r"ranks name \['h9'\]"),
        ({"hosts": {"h1": {"pid": 1, "ip": "127.0.0.1"}}}, "fabric's hosts name"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config.from_json(config(tmp_path, {"poisson": POISSON}, **changes))


def test_a_scenario_without_flows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no flows"):
        Config.from_json(config(tmp_path, {}))


@pytest.mark.parametrize(("out_of_order", "completion_s"), [(0, 0.1), (3, 0.5)])
def test_a_flow_is_over_when_what_was_lost_has_come(tmp_path: Path, out_of_order: int, completion_s: float) -> None:
    """What is read at once has the stamp of its last segment, which came before the one that was sent again."""
    cross = CrossFlows(Config.from_json(config(tmp_path, {"poisson": POISSON})))
    one = _Flow(CrossFlow(0.0, "poisson", None, "h1", "h3", 1000), 0, 25_000, socket.socket(), 0.0)
    one.began_ns = time.monotonic_ns() - 500_000_000
    one.into = StampedSocket(bytes(1000), ago_s=0.4, out_of_order=out_of_order)  # type: ignore[assignment]
    cross._receive(one)
    assert cross.completed == 1
    (line,) = cross._lines
    cells = dict(zip(columns(CrossFlowRow), line.strip().split(","), strict=True))
    assert float(cells["completion_s"]) == pytest.approx(completion_s, abs=0.05)
