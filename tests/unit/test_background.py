from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import loopback_hosts

from testbed.errors import ParseError, WorkloadError
from testbed.model.scenario import ElephantSpec
from testbed.model.topology import Host
from testbed.system.supervisor import Supervisor
from testbed.workload.background import (
    ESTABLISHED,
    LISTEN,
    Elephant,
    Elephants,
    client_argv,
    count_sockets,
    ended_by_signal,
    error_in,
    parse_report,
    plan_elephants,
    server_argv,
    summarize,
)

DATA = Path(__file__).resolve().parents[1] / "data" / "iperf3"
needs_iperf3 = pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")


def host(name: str, ip: str) -> Host:
    return Host(name=name, leaf=0, index=0, port=1, ip=ip, mac="")


ELEPHANT = Elephant(
    index=2, src=host("h1", "127.0.0.3"), dst=host("h2", "127.0.0.2"), rate_mbps=8, parallel=2, src_port=40000
)


def text(name: str) -> str:
    return (DATA / name).read_text()


def test_the_command_lines() -> None:
    assert server_argv(ELEPHANT) == ["iperf3", "-s", "-1", "-J", "-i", "0.2", "-B", "127.0.0.2", "-p", "5203"]
    # -b is per stream: 8 Mbit/s in two streams of 4
    expected = "iperf3 -c 127.0.0.2 -p 5203 -B 127.0.0.3 --cport 40000 -J -t 86400 -P 2 -b 4000000"
    assert " ".join(client_argv(ELEPHANT)) == expected
    assert [flow.key for flow in ELEPHANT.flows] == [
        ("127.0.0.3", "127.0.0.2", 6, 40000, 5203),
        ("127.0.0.3", "127.0.0.2", 6, 40001, 5203),
    ]


def test_a_plan_is_fixed_by_its_seed_and_ports_do_not_meet() -> None:
    hosts = (host("h1", "10.0.1.1"), host("h2", "10.0.2.1"))
    specs = [ElephantSpec(src="h1", dst="h2", parallel=64), ElephantSpec(src="h2", dst="h1")]
    plans = [plan_elephants(specs, hosts, random.Random(seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    assert [elephant.port for elephant in plans[0]] == [5201, 5202]
    assert max(flow.src_port for flow in plans[0][0].flows) <= 60_999


def test_received_bytes_are_added_up_from_the_servers_intervals() -> None:
    # three seconds through a 10 Mbit/s shaper, the third interval printed twice:
    # 1304523 + 947253 + 1164235 = 3416011 bytes in 1.000102 + 1.000076 + 0.999914 = 3.000092 s
    result = summarize(
        ELEPHANT,
        parse_report(text("client-ended-by-signal.json")),
        parse_report(text("server-client-terminated.json")),
    )
    assert result.received_bytes == 3_416_011
    assert result.duration_s == pytest.approx(3.000092, abs=1e-5)
    assert result.throughput_mbps == pytest.approx(3_416_011 * 8 / 3.000092 / 1e6)
    assert result.retransmitted_segments == 10
    assert result.congestion_control == "bbr"


def test_a_transfer_too_short_for_an_interval_has_no_throughput() -> None:
    report = parse_report(text("client-refused.json"))
    result = summarize(ELEPHANT, report, report)
    assert (result.received_bytes, result.duration_s, result.throughput_mbps) == (None, None, None)
    assert (result.retransmitted_segments, result.congestion_control) == (None, None)


@pytest.mark.parametrize(
    ("name", "asked_to"),
    [
        ("client-ended-by-signal.json", True),
        ("server-client-terminated.json", True),
        ("server-ended-by-signal.json", True),
        ("client-server-killed.json", False),
        ("client-refused.json", False),
    ],
)
def test_an_end_by_signal_is_told_from_a_failure(name: str, asked_to: bool) -> None:
    error = error_in(text(name))
    assert error is not None
    assert ended_by_signal(error) is asked_to


def test_a_server_that_looks_at_a_stream_it_has_just_closed_has_not_failed() -> None:
    assert ended_by_signal("getsockopt - Bad file descriptor")
    assert not ended_by_signal("getsockopt - Connection refused")


@pytest.mark.parametrize("garbage", ["", "iperf3: error", "[]", '{"start": {}}', text("client-refused.json")[:100]])
def test_what_is_no_report_is_refused(garbage: str) -> None:
    with pytest.raises(ParseError, match="iperf3"):
        parse_report(garbage)
    assert error_in(garbage) is None


def test_an_interval_without_bytes_is_refused() -> None:
    report = parse_report(text("server-client-terminated.json"))
    del report["intervals"][1]["sum"]["bytes"]
    with pytest.raises(ParseError, match="seconds, bytes"):
        summarize(ELEPHANT, report, report)


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0200007F:1453 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 39541 1 00000000fdc6fb32 100 0 0 10 0                     
   1: 0200007F:1453 0300007F:AC4D 01 00000000:00000000 00:00000000 00000000     0        0 38855 1 00000000e7ac6065 20 4 29 14 -1                    
   4: 0300007F:9C40 0200007F:1453 01 002B8C35:00000000 01:00000035 00000000     0        0 38856 2 0000000028374903 58 0 0 8 8                       
   5: 0300007F:9C41 0200007F:1453 02 0034D435:00000000 01:00000046 00000000     0        0 38857 2 000000008206e038 80 0 0 2 8                       
   6: 0400007F:AC4D 0200007F:1453 01 00000000:00000000 00:00000000 00000000     0        0 38854 1 0000000041eb27e0 20 4 29 13 -1                    
"""  # noqa: E501, W291 - verbatim, but for the last two: another state, another client


def test_sockets_are_counted_in_the_kernels_table() -> None:
    assert count_sockets(TABLE, ELEPHANT, LISTEN) == 1
    assert count_sockets(TABLE, ELEPHANT, ESTABLISHED) == 1
    assert count_sockets("", ELEPHANT, LISTEN) == 0


# -- real transfers -------------------------------------------------------------------------------------------


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(time.monotonic()) as one:
        yield one


def background(supervisor: Supervisor, raw_dir: Path, **spec: object) -> Elephants:
    hosts = loopback_hosts(3)
    specs = [ElephantSpec(src="h1", dst="h2", rate_mbps=16, **spec), ElephantSpec(src="h3", dst="h2", rate_mbps=8)]
    return Elephants(supervisor, lambda _host, argv: argv, plan_elephants(specs, hosts, random.Random(1)), raw_dir)


def run_for(supervisor: Supervisor, duration_s: float) -> None:
    over: list[bool] = []
    supervisor.call_at(time.monotonic() + duration_s, lambda: over.append(True))
    supervisor.run_until(lambda: bool(over), duration_s + 5, "the time to pass")


@needs_iperf3
def test_elephants_run_until_they_are_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    one = background(supervisor, tmp_path, parallel=2)
    one.start()
    run_for(supervisor, 2.2)
    results = one.stop()
    assert [(result.src_host, result.dst_host) for result in results] == [("h1", "h2"), ("h3", "h2")]
    for result, offered_mbps in zip(results, (16, 8), strict=True):
        assert 0.5 * offered_mbps < result.throughput_mbps < 1.2 * offered_mbps  # a busy machine sends less
        assert result.retransmitted_segments is not None  # busy cores retransmit even on loopback
        assert result.duration_s and result.duration_s >= 1.9
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "iperf3-0-server.json",
        "iperf3-0.json",
        "iperf3-1-server.json",
        "iperf3-1.json",
    ]
    report = json.loads((tmp_path / "iperf3-0.json").read_text())
    assert [stream["local_port"] for stream in report["start"]["connected"]] == [
        flow.src_port for flow in one._elephants[0].flows
    ]
    assert not any(Path(f"/proc/{pid}").exists() for pid in one.pids)
    run_for(supervisor, 0.02)
    assert supervisor.deaths == []


@needs_iperf3
def test_a_server_killed_meanwhile_is_the_cause_that_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    one = background(supervisor, tmp_path)
    one.start()
    os.kill(one.pids[1], signal.SIGKILL)
    with pytest.raises(WorkloadError) as caught:
        run_for(supervisor, 5)
    first, second = str(caught.value).splitlines()[:2]
    assert first.startswith("iperf3 server of elephant 1 (h3 -> h2) on h2") and "SIGKILL" in first
    assert "iperf3 client of elephant 1" in second and "control socket has closed unexpectedly" in second


@needs_iperf3
def test_a_server_that_cannot_bind_says_why(supervisor: Supervisor, tmp_path: Path) -> None:
    elephant = Elephant(
        index=0, src=host("h1", "127.0.0.3"), dst=host("h2", "192.0.2.1"), rate_mbps=8, parallel=1, src_port=40000
    )
    one = Elephants(supervisor, lambda _host, argv: argv, [elephant], tmp_path)
    with pytest.raises(WorkloadError, match=r"server of elephant 0 .* unable to start listener .*Cannot assign"):
        one.start()


@needs_iperf3
def test_a_client_that_stopped_answering_is_ended_all_the_same(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.workload.background.END_TIMEOUT_S", 0.2)
    monkeypatch.setattr("testbed.workload.background.GOODBYE_TIMEOUT_S", 0.2)
    one = background(supervisor, tmp_path)
    one.start()
    run_for(supervisor, 1.2)
    os.kill(one.pids[2], signal.SIGSTOP)
    with pytest.raises(WorkloadError, match=r"iperf3 client of elephant 0 .* did not end within 0\.2 s"):
        one.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in one.pids)
