"""How long a run waits for what sends beside it; that it does what it is told is tested with each of the programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import scenario_of

from testbed.errors import NetworkError
from testbed.evaluation.records import LookupRow, Row, SoftnetRow
from testbed.measurement.probes import linger_s
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology
from testbed.runs import instruments as module
from testbed.runs.instruments import READY_TIMEOUT_S, Instruments
from testbed.runs.plan import Plan

ANSWERS = {"sampler": "sampling", "probes": "ready", "crossflows": "ready", "replay": "ready"}


class Child:
    """A program that answers at once."""

    def __init__(self, hear: Callable[[dict[str, Any]], None]) -> None:
        self.hear = hear
        self.may_exit = False

    def send(self, command: Mapping[str, Any]) -> None:
        self.hear({"event": "sampled" if command["command"] == "sample" else "stopped"})


class Supervisor:
    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def start(self, name: str, _argv: list[str], *, on_event: Callable[[dict[str, Any]], None], **_more: Any) -> Child:
        on_event({"event": ANSWERS[name]})
        return Child(on_event)

    def run_until(self, done: Callable[[], bool], timeout_s: float, _what: str, _missing: Any) -> None:
        assert done()
        self.waits_s.append(timeout_s)


class Network:
    attachment = "none"

    def host_pids(self) -> dict[str, int]:
        return {}

    def pid_of(self, _name: str) -> int:
        return 1


class Directory:
    def __init__(self, path: Path) -> None:
        self.path = self.raw = path


def waits_s(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Return how long programs may take to be ready, and to end."""
    plan = Plan(scenario=scenario, scheme="ecmp", seed=1, run_dir=tmp_path, datapath="userspace")
    supervisor = Supervisor()
    make: Any = Instruments
    for reading in ("_packet_sockets", "_lookups", "_softnet"):
        monkeypatch.setattr(Instruments, reading, lambda _self: None)
    instruments = make(
        scenario, plan.topology, Network(), supervisor, Directory(tmp_path), 0.0, plan.senders, vswitchd_pid=1
    )
    instruments.start({})
    instruments.begin_measured()
    instruments.end_measured()
    first_s, *_between, last_s = supervisor.waits_s
    return first_s, last_s


@pytest.mark.parametrize("queue_bytes", ["256K", "64M"])
def test_the_end_waits_as_long_as_probes_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue_bytes: str) -> None:
    """A way of full queues of 64 MiB takes minutes: the run failed after 30 s for a probe that was lost."""
    scenario = scenario_of(fabric={"queue_bytes": queue_bytes})
    ready_s, end_s = waits_s(scenario, tmp_path, monkeypatch)
    assert ready_s == READY_TIMEOUT_S
    assert end_s == READY_TIMEOUT_S + linger_s(Topology(scenario.fabric))


def test_the_end_waits_for_flows_that_began_just_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = scenario_of(cross_traffic={"poisson": {"load": 0.01}})
    _ready_s, end_s = waits_s(scenario, tmp_path, monkeypatch)
    assert end_s == READY_TIMEOUT_S + json.loads((tmp_path / "crossflows.json").read_text())["linger_s"]


def test_a_large_capture_may_take_minutes_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for frames, least_s in ((1000, READY_TIMEOUT_S), (2_000_000, 180.0)):
        scenario = scenario_of(cross_traffic={"replay": {"file": "x.pcap", "most_frames": frames}})
        ready_s, _end_s = waits_s(scenario, tmp_path, monkeypatch)
        assert ready_s >= least_s


class Rows(Directory):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows: list[Row] = []

    def append(self, rows: Any) -> None:
        self.rows += rows


class Unixctl:
    """Switches that answer, or do not."""

    answer: str | None = None

    def __init__(self, vswitchd_pid: int, *, timeout_s: float) -> None:
        assert vswitchd_pid == 7
        assert timeout_s <= 0.5  # the supervisor looks as often for who is stopped

    def __enter__(self) -> Unixctl:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    def call(self, command: str) -> str:
        assert command == "dpctl/show"
        if self.answer is None:
            raise NetworkError("ovs-vswitchd did not answer")
        return self.answer


@pytest.mark.parametrize("lost", [2, None])
def test_what_switches_looked_up_is_stored_where_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int | None
) -> None:
    scenario, directory = scenario_of(), Rows(tmp_path)
    plan = Plan(scenario=scenario, scheme="ecmp", seed=1, run_dir=tmp_path, datapath="userspace")
    text = f"netdev@ovs-netdev:\n  lookups: hit:10 missed:4 lost:{lost}\n  flows: 3\n"
    monkeypatch.setattr(Unixctl, "answer", None if lost is None else text)
    monkeypatch.setattr(module, "Unixctl", Unixctl)
    monkeypatch.setattr(Instruments, "_packet_sockets", lambda _self: None)
    make: Any = Instruments
    instruments = make(scenario, plan.topology, Network(), Supervisor(), directory, 0.0, plan.senders, vswitchd_pid=7)
    instruments.start({})
    instruments.begin_measured()
    instruments.end_measured()
    cores = [row for row in directory.rows if isinstance(row, SoftnetRow)]
    assert len(cores) == 2 * len({row.core for row in cores}) > 0  # this machine's, at both ends
    found = [(row.datapath, row.hit, row.missed, row.lost) for row in directory.rows if isinstance(row, LookupRow)]
    assert found == ([] if lost is None else [("netdev@ovs-netdev", 10, 4, 2)] * 2)


@pytest.mark.parametrize("text", [None, "nothing that is known\n"])
def test_a_kernel_that_does_not_say_what_cores_dropped_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    there = tmp_path / "softnet_stat"
    if text is not None:
        there.write_text(text)
    monkeypatch.setattr(module, "SOFTNET", there)
    scenario, directory = scenario_of(), Rows(tmp_path)
    plan = Plan(scenario=scenario, scheme="ecmp", seed=1, run_dir=tmp_path, datapath="userspace")
    for reading in ("_packet_sockets", "_lookups"):
        monkeypatch.setattr(Instruments, reading, lambda _self: None)
    make: Any = Instruments
    instruments = make(scenario, plan.topology, Network(), Supervisor(), directory, 0.0, plan.senders, vswitchd_pid=7)
    instruments.start({})
    instruments.begin_measured()
    instruments.end_measured()
    assert not directory.rows
