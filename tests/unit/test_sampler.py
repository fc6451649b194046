"""The sampler as a process, unprivileged: no links of a fabric to see here, but cores and threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from testbed.evaluation.records import CpuRow, LinkRow, QueueRow, Row, RowT, ThreadRow, columns
from testbed.measurement.netlink_format import LinkCounters, LinkInfo, Qdisc
from testbed.measurement.sampler import USAGE_INTERVAL_S, Config, Interfaces, Sampler
from testbed.results.table_files import load_rows

PROJECT = Path(__file__).resolve().parents[2]


@contextmanager
def sampler(run_dir: Path, /, **changes: Any) -> Iterator[subprocess.Popen[str]]:
    config = {"run_dir": str(run_dir), "t0_s": time.monotonic(), "interval_s": 0.02, "roles": {}, "host_pids": {}}
    path = run_dir / "sampler.json"
    path.write_text(json.dumps({**config, **changes}))
    argv = [sys.executable, "-m", "testbed.measurement.sampler", "--config", str(path)]
    with subprocess.Popen(argv, cwd=PROJECT, stdin=-1, stdout=-1, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def event(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    return dict(json.loads(process.stdout.readline()))


def stop(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin
    process.stdin.write('{"command": "stop"}\n')
    process.stdin.flush()
    return event(process)


def wait_until_longer(path: Path, size: int) -> None:
    deadline_s = time.monotonic() + 20
    while path.stat().st_size <= size:
        assert time.monotonic() < deadline_s, f"{path} does not grow beyond {size} bytes"
        os.sched_yield()


def rows(run_dir: Path, row_type: type[RowT]) -> tuple[RowT, ...]:
    return tuple(load_rows(run_dir, row_type))


def test_sampling_begins_with_a_sample_on_disk_and_ends_with_one(tmp_path: Path) -> None:
    with sampler(tmp_path, interval_s=0.25, roles={str(os.getpid()): "runner"}) as process:
        assert event(process)["event"] == "sampling"
        first = rows(tmp_path, ThreadRow)
        assert {row.role for row in first if row.pid == os.getpid()} == {"runner"}
        assert {row.role for row in first if row.pid == process.pid} == {"sampler"}
        wait_until_longer(tmp_path / "threads.csv", 3 * (tmp_path / "threads.csv").stat().st_size)
        stopped = stop(process)
        assert process.wait(10) == 0
    assert stopped["event"] == "stopped"
    times = {row.t_s for row in rows(tmp_path, ThreadRow)}
    assert stopped["samples"] == len(times) >= 4
    assert 0 <= stopped["lateness_p99_s"] <= stopped["lateness_max_s"]
    assert 0 < stopped["cpu_cores"] < 1
    cores = {row.core for row in rows(tmp_path, CpuRow)}
    assert cores == os.sched_getaffinity(0)
    own = [row.run_s for row in rows(tmp_path, ThreadRow) if row.pid == process.pid]
    assert own == sorted(own) and own[-1] > own[0] > 0


def test_cores_a_run_may_not_use_are_none_of_its_machine(tmp_path: Path) -> None:
    """In a container with a core of many, all of the machine's would never be busy, and others always use some."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usable)})
    try:
        with sampler(tmp_path) as process:
            event(process)
            stop(process)
    finally:
        os.sched_setaffinity(0, usable)
    assert {row.core for row in rows(tmp_path, CpuRow)} == {max(usable)}


def test_samples_are_taken_at_the_asked_times(tmp_path: Path) -> None:
    with sampler(tmp_path, interval_s=0.25) as process:
        event(process)
        wait_until_longer(tmp_path / "cpu.csv", 4 * (tmp_path / "cpu.csv").stat().st_size)
        stopped = stop(process)
    times = sorted({row.t_s for row in rows(tmp_path, CpuRow)})[:-1]  # the last is taken when told to stop
    late_s = stopped["lateness_max_s"]  # of any sample, the first included, from which the others are counted
    for number, t_s in enumerate(times):
        assert number * 0.25 - 0.005 - late_s <= t_s - times[0] <= number * 0.25 + late_s + 0.05


def test_cores_and_threads_are_read_less_often_than_links_and_at_the_end(tmp_path: Path) -> None:
    with sampler(tmp_path, interval_s=0.01) as process:
        event(process)
        wait_until_longer(tmp_path / "cpu.csv", 4 * (tmp_path / "cpu.csv").stat().st_size)
        asked_s = time.monotonic()
        stopped = stop(process)
    for row_type in (CpuRow, ThreadRow):
        times = sorted({row.t_s for row in rows(tmp_path, row_type)})
        assert 5 <= len(times) < stopped["samples"]
        assert min(after - before for before, after in pairwise(times[:-1])) > USAGE_INTERVAL_S / 2
        assert times[-1] > asked_s - json.loads((tmp_path / "sampler.json").read_text())["t0_s"]


def test_a_sample_asked_for_is_on_disk_when_it_is_said_to_be(tmp_path: Path) -> None:
    with sampler(tmp_path, interval_s=60) as process:
        event(process)
        assert len({row.t_s for row in rows(tmp_path, CpuRow)}) == 1
        assert process.stdin
        process.stdin.write('{"command": "sample"}\n')
        process.stdin.flush()
        assert event(process) == {"event": "sampled"}
        assert len({row.t_s for row in rows(tmp_path, CpuRow)}) == 2
        stopped = stop(process)
    assert (stopped["samples"], stopped["lateness_p99_s"]) == (3, None)  # no regular one was due


def test_a_pause_is_seen_though_it_is_one_late_sample_among_many(tmp_path: Path) -> None:
    with sampler(tmp_path, interval_s=0.01) as process:
        event(process)
        table = tmp_path / "cpu.csv"
        wait_until_longer(table, 7 * table.stat().st_size)  # each 0.2 s: more than a hundred samples
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        process.send_signal(signal.SIGCONT)
        wait_until_longer(table, table.stat().st_size)
        stopped = stop(process)
    assert stopped["missed"] >= 40
    assert 0.3 < stopped["lateness_p99_s"] <= stopped["lateness_max_s"]


def test_end_of_stdin_stops_it_as_well(tmp_path: Path) -> None:
    with sampler(tmp_path) as process:
        event(process)
        assert process.stdin
        process.stdin.close()
        assert event(process)["event"] == "stopped"
        assert process.wait(10) == 0


def test_killed_sampler_leaves_whole_samples(tmp_path: Path) -> None:
    with sampler(tmp_path, interval_s=0.01) as process:
        event(process)
        wait_until_longer(tmp_path / "threads.csv", 2 * (tmp_path / "threads.csv").stat().st_size)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    samples: dict[float, int] = {}
    for row in rows(tmp_path, CpuRow):
        samples[row.t_s] = samples.get(row.t_s, 0) + 1
    assert len(set(samples.values())) == 1
    assert (tmp_path / "threads.csv").read_bytes().endswith(b"\n")


def test_full_disk_is_an_error_event_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "threads.csv").symlink_to("/dev/full")
    with sampler(tmp_path) as process:
        said = event(process)
        assert said["event"] == "error"
        assert "threads.csv: No space left on device" in said["message"]
        assert process.wait(10) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval_s": 0}, "interval_s is 0.0, expected > 0"),
        ({"interval_s": "often"}, "could not convert"),
        ({"roles": {"first": "runner"}}, "invalid literal"),
        ({"host_pids": {"h1": 2**22 + 1}}, "h1 (pid 4194305) cannot be entered: "),
        ({"run_dir": "/nowhere/at/all"}, "No such file or directory"),
    ],
)
def test_bad_configuration_is_an_error_event(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with sampler(tmp_path, **changes) as process:
        said = event(process)
        assert said["event"] == "error"
        assert message in said["message"]
        assert process.wait(10) == 1


def test_unknown_command_is_an_error_event(tmp_path: Path) -> None:
    with sampler(tmp_path) as process:
        event(process)
        assert process.stdin
        process.stdin.write('{"command": "dance"}\n')
        process.stdin.flush()
        said = event(process)
    assert said == {"event": "error", "message": "sampler: got command 'dance', expected 'sample' or 'stop'"}


def test_missing_field_is_named() -> None:
    with pytest.raises(KeyError, match="t0_s"):
        Config.from_json({"run_dir": ".", "interval_s": 1, "roles": {}, "host_pids": {}})


class RouteDouble:
    """A namespace with a link end, a bridge's own port and loopback; ``extra`` appears later."""

    def __init__(self) -> None:
        self.extra: list[LinkInfo] = []
        self.listed = 0

    def links(self) -> list[LinkInfo]:
        self.listed += 1
        return [LinkInfo(1, "lo", ""), LinkInfo(2, "l1-eth1", "veth"), LinkInfo(3, "l1", "tun"), *self.extra]

    def link_counters(self) -> list[LinkCounters]:
        indices = [1, 2, 3, *(link.ifindex for link in self.extra)]
        return [LinkCounters(index, 10 * index, 20 * index, 30, 40 * index, 50 * index, 60) for index in indices]

    def qdiscs(self) -> list[Qdisc]:
        return [
            Qdisc("l1-eth1", 2, "tbf", 0x10000, 0xFFFFFFFF, 1, 2, 3, 4, 5, 6),
            Qdisc("l1", 3, "pfifo_fast", 0, 0xFFFFFFFF, 1, 2, 3, 4, 5, 6),
        ]


def parsed(lines: list[str], row_type: type[Row]) -> list[dict[str, str]]:
    return [dict(zip(columns(row_type), line.strip().split(","), strict=True)) for line in lines]


def test_only_link_ends_are_recorded_each_counter_in_its_column() -> None:
    interfaces = Interfaces(RouteDouble(), time.monotonic())  # type: ignore[arg-type]
    (link,) = parsed(interfaces.link_lines(), LinkRow)
    assert 0 <= float(link.pop("t_s")) < 60
    assert link == {
        "intf": "l1-eth1",
        "tx_bytes": "80",
        "tx_packets": "100",
        "rx_bytes": "20",
        "rx_packets": "40",
        "rx_dropped": "30",
        "tx_dropped": "60",
    }
    (queue,) = parsed(interfaces.queue_lines(), QueueRow)
    queue.pop("t_s")
    assert queue == {
        "intf": "l1-eth1",
        "backlog_bytes": "3",
        "backlog_packets": "4",
        "sent_bytes": "1",
        "sent_packets": "2",
        "dropped_packets": "5",
        "overlimits": "6",
    }


def test_interfaces_are_read_before_their_queues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """How wrong the time of a queue's reading may be is told by it (``testbed.evaluation.linkrates``)."""
    read: list[str] = []
    for what in ("link", "queue"):
        monkeypatch.setattr(Interfaces, f"{what}_lines", lambda _self, what=what: read.append(what) or [])
    config = Config(tmp_path, t0_s=0.0, interval_s=1.0, roles={}, host_pids={})
    with Sampler(config) as one:
        one.sample()
        one.sample()
    assert read == ["link", "queue"] * 2


def test_names_are_read_again_only_when_interfaces_come_or_go() -> None:
    route = RouteDouble()
    interfaces = Interfaces(route, 0.0)  # type: ignore[arg-type]
    for _ in range(3):
        assert len(interfaces.link_lines()) == 1
    assert route.listed == 1
    route.extra = [LinkInfo(9, "l1-eth2", "veth")]
    assert [row["intf"] for row in parsed(interfaces.link_lines(), LinkRow)] == ["l1-eth1", "l1-eth2"]
    assert route.listed == 2
