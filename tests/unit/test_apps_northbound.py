import json
import os
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from apps import northbound
from apps.methods import Methods
from apps.northbound import NorthboundServer
from testbed.errors import ControllerError, InputError, Problem
from testbed.fabric.northbound import Northbound


def answer(method, params):
    if method == "echo":
        return params
    if method == "big":
        return "x" * params["size"]
    if method == "slow":
        time.sleep(params["seconds"])
        return "late"
    if method == "broken":
        raise RuntimeError("bug")
    raise InputError(Problem("unknown method", "test", method, "echo"))


@pytest.fixture
def server(tmp_path):
    served = NorthboundServer(tmp_path / "gsos.sock", answer)
    served.start()
    yield tmp_path / "gsos.sock"
    served._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which a bare close would leave waiting
    served.close()


def raw(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(str(path))
    return connection


def test_request_is_answered(server):
    client = Northbound(server)
    assert client.call("echo", a=1) == {"a": 1}
    assert client.call("echo", b=[2]) == {"b": [2]}
    client.close()


def test_refusals_say_why_and_the_connection_lives_on(server):
    client = Northbound(server)
    with pytest.raises(ControllerError, match="unknown method; got nonsense"):
        client.call("nonsense")
    with pytest.raises(ControllerError, match="broken failed inside GSOS"):
        client.call("broken")
    assert client.call("echo") == {}
    client.close()


def test_an_answer_nobody_waited_for_is_not_taken_for_the_next(server):
    """Ctrl-C at the prompt while GSOS is asked: what it says later is no answer to the question after that."""

    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    client = Northbound(server)
    assert client.call("echo") == {}
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            client.call("slow", seconds=0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert client.call("echo", b=2) == {"b": 2}
    client.close()


@pytest.mark.parametrize("written", [b"", b'{"ok": true, "result": [1, 2'])
def test_an_answer_that_is_cut_is_the_end_of_gsos(tmp_path, written):
    """Killed while it answers, GSOS leaves a part of a line."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "gsos.sock"))
        listener.listen()

        def die_answering():
            served = listener.accept()[0]
            with served:
                served.recv(65536)
                served.sendall(written)

        dying = threading.Thread(target=die_answering)
        dying.start()
        client = Northbound(tmp_path / "gsos.sock")
        with pytest.raises(ControllerError, match="closed the connection instead of answering 'status'"):
            client.call("status")
        dying.join(timeout=10)


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"3",
    b"null",
    b'{"params": {}}',
    b'{"method": 3}',
    b'{"method": "echo", "params": []}',
    b"\xff\xfe",
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", MALFORMED, ids=lambda line: repr(line[:20]))
def test_malformed_request_gets_an_error_and_the_next_one_is_served(server, line):
    with raw(server) as connection, connection.makefile("rb") as reader:
        connection.sendall(line + b'\n{"method": "echo", "params": {"x": 1}}\n')
        refused, served = json.loads(reader.readline()), json.loads(reader.readline())
    assert refused["ok"] is False
    assert 'expected {"method"' in refused["error"]
    assert served == {"ok": True, "result": {"x": 1}}


def test_silent_and_slow_clients_delay_nobody(server):
    with raw(server), raw(server) as slow:
        slow.sendall(b'{"method": "ec')
        client = Northbound(server)
        assert client.call("echo", answer_within_s=5, a=1) == {"a": 1}
        client.close()
        slow.sendall(b'ho"}\n')
        assert json.loads(slow.makefile("rb").readline())["ok"]


def test_client_that_does_not_take_its_answer_delays_nobody(server):
    with raw(server) as deaf:
        deaf.sendall(b'{"method": "big", "params": {"size": 8000000}}\n')
        client = Northbound(server)
        assert client.call("echo", answer_within_s=5) == {}
        client.close()


def test_many_clients_at_once(server):
    results = []

    def work(number):
        client = Northbound(server)
        results.append(client.call("echo", number=number)["number"])
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(results) == list(range(20))


def test_client_in_the_middle_of_a_request_is_dropped_in_the_end(server, monkeypatch):
    monkeypatch.setattr(northbound, "STALLED_S", 0.05)
    with raw(server) as stalled:
        stalled.sendall(b'{"meth')
        assert stalled.recv(1) == b""


def test_endless_request_is_dropped(server, monkeypatch):
    monkeypatch.setattr(northbound, "MAX_REQUEST_BYTES", 100_000)
    with raw(server) as greedy:
        try:
            greedy.sendall(b"x" * 400_000)
            assert greedy.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # dropped while we were still sending


def test_only_the_owner_can_open_the_socket(server):
    assert stat.S_IMODE(os.stat(server).st_mode) == 0o600


def test_socket_is_there_when_it_listens_and_not_before(tmp_path, monkeypatch):
    path, there = tmp_path / "gsos.sock", []
    listen = socket.socket.listen

    def look_and_listen(self, backlog):
        there.append(path.exists())
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", look_and_listen)
    listener = northbound._listen(path)
    listener.close()
    assert there == [False]
    assert [entry.name for entry in tmp_path.iterdir()] == ["gsos.sock"]


def test_socket_that_cannot_be_put_in_place_leaves_nothing(tmp_path, monkeypatch):
    def refuse(_src, _dst):
        raise FileExistsError("somebody was faster")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ControllerError, match="somebody was faster"):
        northbound._listen(tmp_path / "gsos.sock")
    assert list(tmp_path.iterdir()) == []


def test_socket_left_by_a_dead_gsos_is_replaced(tmp_path):
    path = tmp_path / "gsos.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = NorthboundServer(path, answer)
    assert path.exists()
    server.close()
    assert not path.exists()


def test_second_gsos_at_the_same_socket_is_refused(server):
    with pytest.raises(ControllerError, match="another GSOS listens"):
        NorthboundServer(server, answer)


def test_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "gsos.sock"
    path.write_text("precious")
    with pytest.raises(ControllerError, match="not a socket"):
        NorthboundServer(path, answer)
    assert path.read_text() == "precious"


class RecordingCore:
    """Stands for the core: says what it was asked."""

    def announce(self, job, flows, timeout_s):
        return [job, [flow.key for flow in flows], timeout_s]

    def withdraw(self, job, timeout_s):
        raise InputError(Problem("unknown job", "withdraw", job, "none"))

    def events(self, since_s):
        return [since_s]


FLOW = {"src_ip": "10.0.1.1", "dst_ip": "10.0.2.1", "proto": 6, "src_port": 1, "dst_port": 2, "demand_bytes": 3}


def test_parameters_become_values():
    methods = Methods(RecordingCore())
    assert methods.call("announce", {"job": "j", "flows": [FLOW]}) == ["j", [("10.0.1.1", "10.0.2.1", 6, 1, 2)], 5.0]
    assert methods.call("events", {"since": 4}) == [4.0]


@pytest.mark.parametrize(
    ("method", "params", "what"),
    [
        ("nothing", {}, "unknown method; got nothing, expected one of status"),
        ("status", {"x": 1}, "Extra inputs are not permitted"),
        ("announce", {"flows": []}, "announce: job: wrong parameter"),
        ("announce", {"job": "j", "flows": [{**FLOW, "src_port": 70000}]}, r"flows.0.src_port: .* got 70000"),
        ("announce", {"job": "j", "flows": [{**FLOW, "src_port": "1"}]}, r"flows.0.src_port"),
        ("announce", {"job": "j", "flows": [{**FLOW, "src_ip": "h1"}]}, r"flows.0.src_ip"),
        ("announce", {"job": "j", "flows": [{**FLOW, "proto": 1}]}, r"flows.0.proto"),
        ("announce", {"job": "j", "flows": [{**FLOW, "demand_bytes": -1}]}, r"flows.0.demand_bytes"),
        ("announce", {"job": "j", "flows": [{**FLOW, "demand_bytes": 10**400}]}, r"flows.0.demand_bytes"),
        ("announce", {"job": "j", "flows": [{**FLOW, "demand_bytes": 2**53 + 1}]}, r"flows.0.demand_bytes"),
        ("wait_ready", {"timeout_s": 0}, "wait_ready: timeout_s"),
        ("withdraw", {"job": "gone"}, "unknown job; got gone"),
    ],
)
def test_wrong_parameters_are_named(method, params, what):
    with pytest.raises(InputError, match=what):
        Methods(RecordingCore()).call(method, params)


def test_socket_path_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises((ControllerError, OSError)):
        NorthboundServer(Path(tmp_path / ("x" * 200)) / "gsos.sock", answer)
