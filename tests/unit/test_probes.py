from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import NetworkError, WorkloadError
from testbed.evaluation.records import ProbeQueueRow, ProbeRow
from testbed.measurement import arrival, netlink, probes
from testbed.measurement.probes import Config, Probes, choose_pairs, linger_s, run, senders
from testbed.measurement.sidecar import Commands
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology
from testbed.results.table_files import load_rows
from testbed.wire import PROBE_PORT

OWN = f"127.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # ports are fixed: a process at a time has an address
HOSTS = {f"h{number}": (os.getpid(), f"{OWN}.{number}") for number in (1, 2, 3)}
RING = [("h1", "h2"), ("h2", "h3"), ("h3", "h1"), ("h1", "h3")]


@pytest.fixture(autouse=True)
def stay_in_this_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "network_namespace_of", lambda _pid: nullcontext())  # entering one needs root


def config(run_dir: Path, **changes: Any) -> Config:
    fields = {"run_dir": run_dir, "t0_s": time.monotonic(), "interval_s": 0.02, "probe_bytes": 64}
    return Config(**{**fields, "hosts": HOSTS, "pairs": RING, "linger_s": 2.0, **changes})  # type: ignore[arg-type]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers())
def test_every_host_sends_to_and_hears_from_as_many_others(leaves: int, hosts: int, per_host: int, seed: int) -> None:
    topology = Topology(FabricSpec(leaves=leaves, hosts_per_leaf=hosts))
    pairs = choose_pairs(topology, per_host, Random(seed))
    leaf = {host.name: host.leaf for host in topology.hosts}
    possible = (leaves - 1) * hosts if leaves > 1 else hosts - 1
    wanted = min(per_host, possible)
    assert len(set(pairs)) == len(pairs) == wanted * len(topology.hosts)
    assert all(src != dst for src, dst in pairs)
    if leaves > 1:
        assert all(leaf[src] != leaf[dst] for src, dst in pairs)
    if pairs:
        assert set(Counter(src for src, _ in pairs).values()) == {wanted}
        assert set(Counter(dst for _, dst in pairs).values()) == {wanted}


def test_pairs_follow_from_the_seed() -> None:
    topology = Topology(FabricSpec())
    assert choose_pairs(topology, 2, Random(3)) == choose_pairs(topology, 2, Random(3))
    assert choose_pairs(topology, 2, Random(3)) != choose_pairs(topology, 2, Random(4))


def test_lost_is_what_takes_twice_as_long_as_four_full_queues() -> None:
    assert linger_s(Topology(FabricSpec())) == 2.0  # 2 x 4 x 262144 / 1.25e6 = 1.68
    assert linger_s(Topology(FabricSpec(link_rate_mbps=1.0))) == pytest.approx(2 * 4 * 262144 / 125_000)
    # host links 2 x 0.1 s, uplinks 2 x (0.2 s), and 0.5 s delay on each of four
    fabric = FabricSpec(host_rate_mbps=8.0, uplink_rate_mbps=4.0, queue_bytes=100_000, delay_ms=500.0)
    assert linger_s(Topology(fabric)) == pytest.approx(2 * (2 * 0.1 + 2 * 0.2 + 4 * 0.5))


def test_hosts_are_staggered_evenly_over_one_interval(tmp_path: Path) -> None:
    found = senders(config(tmp_path, interval_s=0.3), 100.0)
    assert [sender.host for sender in found] == ["h1", "h2", "h3"]
    assert [sender.schedule.due_s for sender in found] == pytest.approx([100.0, 100.1, 100.2])
    assert found[0].partners == ["h2", "h3"]


class Session:
    """Runs the program's main loop in a thread; events arrive in ``events``."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[dict[str, Any]] = []
        self.said = threading.Condition()
        monkeypatch.setattr(probes, "emit", self._emit)
        self._read_fd, self._write_fd = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(config,))
        self._thread.start()

    def _run(self, config: Config) -> None:
        with os.fdopen(self._read_fd, "rb") as stdin:
            run(config, Commands(stdin))

    def _emit(self, event: str, **fields: Any) -> None:
        with self.said:
            self.events.append({"event": event, **fields})
            self.said.notify_all()

    def command(self, name: str) -> None:
        os.write(self._write_fd, json.dumps({"command": name}).encode() + b"\n")

    def await_event(self, name: str) -> dict[str, Any]:
        with self.said:
            assert self.said.wait_for(lambda: any(event["event"] == name for event in self.events), 20), name
            return next(event for event in self.events if event["event"] == name)

    def close(self) -> None:
        os.close(self._write_fd)
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    session = Session(config(tmp_path), monkeypatch)
    yield session
    session.close()


def test_probes_cross_between_start_and_stop_only(session: Session, tmp_path: Path) -> None:
    session.await_event("ready")
    began_s = time.monotonic()
    session.command("start")
    deadline_s = began_s + 20
    while (tmp_path / "probes.csv").stat().st_size < 500:  # stored once a second
        assert time.monotonic() < deadline_s
        os.sched_yield()
    session.command("stop")
    stopped = session.await_event("stopped")
    rows = load_rows(tmp_path, ProbeRow)
    assert stopped["sent"] == stopped["received"] == len(rows) > 100
    assert stopped["lost"] == stopped["late"] == 0
    assert {(row.src_host, row.dst_host) for row in rows} == set(RING)
    assert sorted(row.seq for row in rows) == list(range(len(rows)))
    assert all(row.latency_s is not None and 0 < row.latency_s < 0.5 for row in rows)
    assert stopped["send_lateness_max_s"] == pytest.approx(max(row.send_lateness_s or 0 for row in rows), abs=1e-8)
    turns = [row.dst_host for row in sorted(rows, key=lambda row: row.seq) if row.src_host == "h1"]
    assert turns[:4] == ["h2", "h3", "h2", "h3"]
    assert 0 <= stopped["receive_error_estimate_s"] < 0.01


def test_stop_without_start_sends_nothing(session: Session, tmp_path: Path) -> None:
    session.command("stop")
    assert session.await_event("stopped")["sent"] == 0
    assert load_rows(tmp_path, ProbeRow) == ()


def test_probe_that_does_not_arrive_has_an_empty_latency(tmp_path: Path) -> None:
    with Probes(config(tmp_path, linger_s=0.05)) as running:
        running.send("h1", "h2", 0.001)
        running.send("h1", "h3", 0.002)
        swallowed, _address = running._sockets["h2"].recvfrom(2048)
        assert len(swallowed) == 64
        running.await_stragglers()
        assert (running.sent, running.received, running.lost) == (2, 1, 1)
        running._sockets["h1"].sendto(swallowed, HOSTS["h2"][1:] + (PROBE_PORT,))  # and here it is after all
        running.collect(1.0)
        assert (running.received, running.lost, running.late) == (1, 1, 1)
    lost, arrived = sorted(load_rows(tmp_path, ProbeRow), key=lambda row: row.seq)
    assert (lost.dst_host, lost.latency_s, lost.send_lateness_s) == ("h2", None, 0.001)
    assert arrived.dst_host == "h3" and arrived.latency_s is not None and arrived.latency_s > 0


class Queue:
    """A host's own queue, of which the kernel says one backlog after the other."""

    def __init__(self, intf: str) -> None:
        self.intf = intf
        self.backlogs = iter((0, 9014, 27_042))
        self.closed = False

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.closed = True

    def backlog_bytes(self) -> int:
        return next(self.backlogs)


def test_what_waits_before_a_probe_is_stored_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Queue] = []

    def of_host(_pid: int, intf: str) -> Queue:
        opened.append(Queue(intf))
        return opened[-1]

    monkeypatch.setattr(probes.EgressQueue, "of_host", of_host)
    names = {"h1": "h1-eth0", "h2": "h2-eth0"}
    with Probes(config(tmp_path, pairs=[("h1", "h2"), ("h3", "h2")], intfs=names)) as running:
        running.send("h1", "h2", 0.0)
        running.send("h1", "h2", 0.0)
        running.send("h3", "h2", 0.0)  # nobody says by which interface
        running.await_stragglers()
    assert [queue.intf for queue in opened] == ["h1-eth0"]  # h2 sends none
    assert all(queue.closed for queue in opened)
    sent = {row.seq: row for row in load_rows(tmp_path, ProbeRow)}
    rows = load_rows(tmp_path, ProbeQueueRow)
    assert [(row.seq, row.backlog_bytes) for row in rows] == [(0, 0), (1, 9014)]
    assert all((row.sent_s, row.src_host, row.dst_host) == (sent[row.seq].sent_s, "h1", "h2") for row in rows)


def test_without_interfaces_there_is_no_table_of_queues(tmp_path: Path) -> None:
    with Probes(config(tmp_path)) as running:
        running.send("h1", "h2", 0.0)
        running.await_stragglers()
    assert not (tmp_path / ProbeQueueRow.FILE).exists()


def test_a_host_without_a_queue_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "network_namespace_of", lambda _pid: nullcontext())
    with pytest.raises(NetworkError, match="nowhere0 has no queue"):
        Probes(config(tmp_path, intfs={"h1": "nowhere0"})).__enter__()


def test_a_host_that_is_gone_is_an_error_naming_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_pid: int) -> None:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(netlink, "network_namespace_of", gone)
    with pytest.raises(WorkloadError, match=r"h1 \(pid \d+\) cannot be entered: .*No such process"):
        Probes(config(tmp_path, intfs={"h1": "h1-eth0"})).__enter__()


def test_a_clock_that_is_set_forward_is_for_the_verdict_and_leaves_rows_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrived before the step and is read after it seems to have arrived before it was sent."""
    with Probes(config(tmp_path)) as running:
        monkeypatch.setattr(running.offset, "update", lambda: None)
        running.send("h1", "h2", 0.0)
        running.offset.ns += 3_600_000_000_000
        running.await_stragglers()
    (row,) = load_rows(tmp_path, ProbeRow)
    assert row.latency_s == 0.0


def test_waiting_for_stragglers_ends_with_the_last_one(tmp_path: Path) -> None:
    with Probes(config(tmp_path, linger_s=30.0)) as running:
        running.send("h1", "h2", 0.0)
        before_s = time.monotonic()
        running.await_stragglers()
        assert time.monotonic() - before_s < 10
        assert running.received == 1


def test_probe_at_the_wrong_host_is_an_error(tmp_path: Path) -> None:
    with Probes(config(tmp_path)) as running:
        running.send("h1", "h2", 0.0)
        data, _address = running._sockets["h2"].recvfrom(2048)
        running._sockets["h1"].sendto(data, HOSTS["h3"][1:] + (PROBE_PORT,))
        with pytest.raises(WorkloadError, match="the probe from h1 to h2 arrived at h3"):
            running.collect(1.0)


@pytest.mark.parametrize("stray", [b"", b"short", b"x" * 64])
def test_stray_datagram_is_ignored(tmp_path: Path, stray: bytes) -> None:
    with Probes(config(tmp_path)) as running:
        running._sockets["h1"].sendto(stray, HOSTS["h2"][1:] + (PROBE_PORT,))
        running.collect(1.0)
        assert (running.received, running.late) == (0, 0)


def test_send_that_cannot_work_is_an_error_naming_both_hosts(tmp_path: Path) -> None:
    with (
        Probes(config(tmp_path, probe_bytes=70_000)) as running,
        pytest.raises(WorkloadError, match="cannot send a probe from h1 to h2: .*Message too long"),
    ):
        running.send("h1", "h2", 0.0)


def test_address_a_host_does_not_have_is_an_error_naming_the_host(tmp_path: Path) -> None:
    hosts = {**HOSTS, "h2": (4711, "192.0.2.1")}
    with pytest.raises(WorkloadError, match=r"h2 \(pid 4711\) gets no socket: .*192\.0\.2\.1:19000: Cannot assign"):
        Probes(config(tmp_path, hosts=hosts)).__enter__()


def complete(**changes: Any) -> dict[str, Any]:
    fields = {"run_dir": ".", "t0_s": 1.0, "interval_s": 0.05, "probe_bytes": 64}
    hosts = {"h1": {"pid": 1, "ip": "10.0.1.1"}, "h2": {"pid": 2, "ip": "10.0.2.1"}}
    return {**fields, "hosts": hosts, "pairs": [["h1", "h2"]], **changes}


def test_configuration_is_read_with_its_defaults() -> None:
    read = Config.from_json(complete())
    assert read.pairs == [("h1", "h2")]
    assert read.hosts["h2"] == (2, "10.0.2.1")
    assert read.linger_s == 2.0
    assert Config.from_json(complete(linger_s=7)).linger_s == 7.0
    assert read.intfs == {}
    assert Config.from_json(complete(intfs={"h1": "h1-eth0"})).intfs == {"h1": "h1-eth0"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": []}, "pairs name no host"),
        ({"pairs": [["h1", "h9"]]}, "'h9'"),
        ({"interval_s": 0}, "interval_s is 0.0"),
        ({"intfs": {"h9": "h9-eth0"}}, "intfs name .'h9'"),
        ({"probe_bytes": 4}, "probe_bytes 4, expected > 0, >= 12"),
    ],
)
def test_configuration_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.from_json(complete(**changes))
