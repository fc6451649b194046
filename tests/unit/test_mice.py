"""The program of the small messages, hosts played by loopback addresses in our own namespace."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from beside_program import Program, StampedSocket, needs_namespaces
from loopback import loopback_hosts

from testbed.evaluation.records import MessageRow, columns
from testbed.measurement.arrival import ClockOffset
from testbed.results.table_files import load_rows
from testbed.workload.mice import HEADER, Config, Connection, Mice, _Sent

PROJECT = Path(__file__).resolve().parents[2]
T0_S = 100.0


def config(run_dir: Path, **changes: Any) -> dict[str, Any]:
    hosts = loopback_hosts(3)
    return {
        "run_dir": str(run_dir),
        "t0_s": T0_S,
        "seed": 1,
        "interval_s": 0.01,
        "message_bytes": 2048,
        "dscp": 0,
        "hosts": {host.name: {"pid": os.getpid(), "ip": host.ip} for host in hosts},
        "mice": [["h1", "h2", 40_001], ["h2", "h3", 40_002], ["h3", "h1", 40_003]],
        "linger_s": 2.0,
        **changes,
    }


@needs_namespaces
@pytest.mark.parametrize("message_bytes", [8, 2048, 65_536])
def test_every_message_is_accounted_for_once_and_in_order(tmp_path: Path, message_bytes: int) -> None:
    with Program("testbed.workload.mice", tmp_path, config(tmp_path, message_bytes=message_bytes)) as program:
        assert program.hear() == {"event": "ready", "mice": 3}
        program.tell("start")
        time.sleep(0.6)
        program.tell("stop")
        stopped = program.hear()
        assert program.process.poll() is None, "it keeps its connections until told once more"
        program.tell("stop")
        assert program.process.wait(10) == 0
    rows = load_rows(tmp_path, MessageRow)
    assert stopped["sent"] == stopped["received"] == len(rows)
    assert stopped["missing"] == 0
    assert 60 < len(rows) < 500  # 180 expected of three hosts at 10 ms
    for host in ("h1", "h2", "h3"):
        own = [row for row in rows if row.src_host == host]
        assert sorted(row.seq for row in own) == list(range(len(own)))
        gaps = [b.sent_s - a.sent_s for a, b in zip(own, own[1:], strict=False)]
        assert len({round(gap, 4) for gap in gaps}) > len(gaps) / 4, "random times, not a beat"
    assert {row.size_bytes for row in rows} == {message_bytes}
    assert all(row.latency_s is not None and 0 <= row.latency_s < 1 for row in rows)


@needs_namespaces
@pytest.mark.parametrize("dscp", [0, 46])
def test_messages_and_their_acknowledgements_carry_the_dscp_asked_for(tmp_path: Path, dscp: int) -> None:
    with Mice(Config.from_json(config(tmp_path, dscp=dscp))) as mice:
        sockets = [sock for one in mice.connections for sock in (one.out, one.into)]
        assert [sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) for sock in sockets] == [dscp << 2] * 6


@needs_namespaces
def test_stopping_before_the_start_leaves_an_empty_table(tmp_path: Path) -> None:
    with Program("testbed.workload.mice", tmp_path, config(tmp_path)) as program:
        program.hear()
        program.tell("stop")
        assert program.hear()["sent"] == 0
        assert program.process.stdin
        program.process.stdin.close()  # the end of stdin is a stop
        assert program.process.wait(10) == 0
    assert load_rows(tmp_path, MessageRow) == ()


@needs_namespaces
def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    fields = config(tmp_path)
    fields["hosts"]["h2"]["ip"] = "192.0.2.1"  # nobody's here
    with Program("testbed.workload.mice", tmp_path, fields) as program:
        message = program.hear()["message"]
        assert "no connection from h1" in message and "to h2" in message
        assert program.process.wait(10) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mice": []}, "mice name no host"),
        ({"mice": [["h1", "h9", 1]]}, r"mice name \['h9'\], expected some of h1, h2, h3"),
        ({"interval_s": 0}, "interval_s is 0.0"),
        ({"message_bytes": 7}, "message_bytes 7, expected > 0, >= 8"),
        ({"dscp": 64}, "dscp is 64, expected 0..63"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config.from_json(config(tmp_path, **changes))


@pytest.mark.parametrize(("out_of_order", "latency_s"), [(0, 0.1), (3, 0.5)])
def test_a_message_has_arrived_when_what_was_lost_of_it_has(
    tmp_path: Path, out_of_order: int, latency_s: float
) -> None:
    """What is read at once has the stamp of its last segment, which came before the one that was sent again."""
    told = Config.from_json(config(tmp_path))
    into = StampedSocket(HEADER.pack(0) + bytes(2048 - HEADER.size), ago_s=0.4, out_of_order=out_of_order)
    one = Connection(told.mice[0], None, into, told)  # type: ignore[arg-type]
    one.under_way.append(_Sent(0, time.monotonic_ns() - 500_000_000, 0.0))
    (line,) = one.receive(ClockOffset())
    cells = dict(zip(columns(MessageRow), line.strip().split(","), strict=True))
    assert float(cells["latency_s"]) == pytest.approx(latency_s, abs=0.05)
