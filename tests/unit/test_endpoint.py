"""A real rank process, with this test as everybody around it: its parent and the other rank."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import loopback_hosts

from testbed.errors import WorkloadError
from testbed.workload.endpoint import HELLO, MAGIC, CommandStream, Leave
from testbed.workload.endpoint_config import Config
from testbed.workload.payload import make_base, turned_values

PROJECT = Path(__file__).resolve().parents[2]
FLOAT = np.dtype(np.float32)


RING = {"operation": "allreduce", "algorithm": "ring"}


def prepare(size_bytes: object, slice_bytes: int, *, iteration: int = 1, collective: object = RING) -> dict[str, Any]:
    about = {"size_bytes": size_bytes, "slice_bytes": slice_bytes, "members": [0, 1], "collective": collective}
    return {"command": "prepare", "iteration": iteration, **about}


class Rank:
    """Rank 0 of two as a process, and sockets playing rank 1."""

    def __init__(self, flows: int = 1, **config: Any) -> None:
        self.host, self.peer = loopback_hosts(2)
        self.flows = flows
        self.listener = socket.create_server((self.peer.ip, 20_001))
        self.t0_s = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "testbed.workload.endpoint"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=PROJECT,
        )
        self.config = {
            "rank": 0,
            "host": "h1",
            "bind_ip": self.host.ip,
            "listen_port": 20_000,
            "receivers": [
                {
                    "rank": 1,
                    "ip": self.peer.ip,
                    "port": 20_001,
                    "source_ports": [40_000 + flow for flow in range(flows)],
                }
            ],
            "senders": [{"rank": 1, "flows": flows}],
            "t0_s": self.t0_s,
            **config,
        }
        self.send(self.config)
        self.sockets: list[socket.socket] = [self.listener]

    def send(self, command: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, event: str) -> dict[str, Any]:
        assert self.process.stdout
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert heard["event"] == event, heard
        return heard

    def greet(self, flow: int, *, rank: int = 1, magic: bytes = MAGIC) -> socket.socket:
        sock = socket.create_connection((self.host.ip, 20_000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(HELLO.pack(magic, flow, self.flows, rank))
        self.sockets.append(sock)
        return sock

    def connect(self) -> None:
        """Connect both ways; ``to_rank`` and ``from_rank`` are its flows in order."""
        self.hear("listening")
        self.send({"command": "connect"})
        # the last first: it is the hello that says which flow a connection is
        self.to_rank = [self.greet(flow) for flow in reversed(range(self.flows))][::-1]
        incoming: dict[int, socket.socket] = {}
        while len(incoming) < self.flows:
            sock, address = self.listener.accept()
            self.sockets.append(sock)
            magic, flow, flows, rank = HELLO.unpack(sock.recv(HELLO.size, socket.MSG_WAITALL))
            assert (magic, flows, rank) == (MAGIC, self.flows, 0)
            assert address == (self.host.ip, 40_000 + flow)
            incoming[flow] = sock
        self.from_rank = [incoming[flow] for flow in range(self.flows)]
        self.congestion_control = self.hear("connected")["congestion_control"]

    def start(self, size_bytes: int, slice_bytes: int, iteration: int = 1, collective: object = RING) -> float:
        self.send(prepare(size_bytes, slice_bytes, iteration=iteration, collective=collective))
        assert self.hear("prepared")["iteration"] == iteration
        at_s = time.monotonic() + 0.02
        self.send({"command": "start", "iteration": iteration, "at_s": at_s})
        return at_s

    def receive(self, flow: int, size_bytes: int) -> np.ndarray:
        return np.frombuffer(self.from_rank[flow].recv(size_bytes, socket.MSG_WAITALL), dtype=FLOAT)

    def error(self) -> str:
        """Return its account of a failure, having checked that it ends with status 1."""
        message: str = self.hear("error")["message"]
        assert self.process.wait(10) == 1
        return message

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()


@pytest.fixture
def rank() -> Iterator[Rank]:
    one = Rank()
    yield one
    one.close()


@pytest.fixture
def connected() -> Iterator[Rank]:
    one = Rank()
    one.connect()
    yield one
    one.close()


def arrays(size_bytes: int, iteration: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return what ranks 0 and 1 of two bring."""
    base = make_base(2, size_bytes, iteration)
    return turned_values(base, 0, 2), turned_values(base, 1, 2)


def play_rank_1(rank: Rank, values: np.ndarray, pause_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Do rank 1's part for 8 floats (two chunks of four); return what rank 0 sent in steps 0 and 1."""
    rank.to_rank[0].sendall(values[4:6].tobytes())  # step 0: our own chunk, the second half
    time.sleep(pause_s)
    rank.to_rank[0].sendall(values[6:].tobytes())
    own = rank.receive(0, 16)  # its own chunk, the first half
    summed = values[:4] + own
    forwarded = rank.receive(0, 16)  # the second half, with ours added
    rank.to_rank[0].sendall(summed.tobytes())
    return own, forwarded


def test_two_ranks_add_their_arrays(connected: Rank) -> None:
    his, ours = arrays(32)
    at_s = connected.start(32, 8)
    own, forwarded = play_rank_1(connected, ours)
    assert own.tolist() == his[:4].tolist()
    assert forwarded.tolist() == (his + ours)[4:].tolist()
    moved = connected.hear("moved")
    connected.send({"command": "verify", "iteration": 1})
    done = connected.hear("done")
    assert done["wrong_elements"] == 0
    assert {key: value for key, value in done.items() if key != "wrong_elements"} == {**moved, "event": "done"}
    assert done["start_s"] == pytest.approx(at_s - connected.t0_s)
    assert 0 < done["end_s"] - done["start_s"] < 5
    assert 0 <= done["start_lateness_s"] < 1


def test_a_wrong_element_is_counted(connected: Rank) -> None:
    _his, ours = arrays(32)
    connected.start(32, 8)
    ours[5] += 1  # rank 1 has another idea of one element in the half that rank 0 adds up
    play_rank_1(connected, ours)
    connected.hear("moved")
    connected.send({"command": "verify", "iteration": 1})
    assert connected.hear("done")["wrong_elements"] == 1


def test_the_longest_pause_and_its_beginning_are_measured(connected: Rank) -> None:
    connected.start(32, 8)
    play_rank_1(connected, arrays(32)[1], pause_s=0.3)
    moved = connected.hear("moved")
    assert 0.25 < moved["max_gap_s"] < 1
    # it began with the first slice, shortly after the start
    assert moved["max_gap_at_s"] + moved["max_gap_s"] <= moved["end_s"]
    assert moved["max_gap_at_s"] - moved["start_s"] < 0.25


def test_a_summed_slice_is_sent_on_before_the_next_arrives(connected: Rank) -> None:
    his, ours = arrays(32)
    connected.start(32, 8)
    connected.receive(0, 16)
    connected.to_rank[0].sendall(ours[4:6].tobytes())  # one slice of two, and no more
    assert connected.receive(0, 8).tolist() == (his + ours)[4:6].tolist()


def test_data_that_comes_before_the_start_is_not_lost(connected: Rank) -> None:
    his, ours = arrays(32)
    connected.to_rank[0].sendall(ours[4:].tobytes())
    connected.start(32, 8)
    own, forwarded = connected.receive(0, 16), connected.receive(0, 16)
    assert forwarded.tolist() == (his + ours)[4:].tolist()
    connected.to_rank[0].sendall((ours[:4] + own).astype(FLOAT).tobytes())
    connected.hear("moved")


def test_slices_take_turns_on_the_flows_and_sizes_may_change() -> None:
    rank = Rank(flows=3)
    try:
        rank.connect()
        for iteration, size_bytes in ((1, 80), (2, 32)):  # 20 floats: chunks of 10 = slices of 4, 4, 2
            his, ours = arrays(size_bytes, iteration)
            rank.start(size_bytes, 16, iteration)
            half = len(his) // 2
            pieces = [his[:half][i : i + 4] for i in range(0, half, 4)]  # step 0 on flows 0, 1, 2, ...
            sums = [(his + ours)[half:][i : i + 4] for i in range(0, half, 4)]  # then step 1 goes on counting
            for number, piece in enumerate(pieces):
                assert rank.receive(number % 3, piece.nbytes).tolist() == piece.tolist()
            own = [ours[half:][i : i + 4] for i in range(0, half, 4)]
            back = [(his + ours)[:half][i : i + 4] for i in range(0, half, 4)]
            for number, piece in enumerate([*own, *back]):
                rank.to_rank[number % 3].sendall(piece.astype(FLOAT).tobytes())
            for number, piece in enumerate(sums, start=len(pieces)):
                assert rank.receive(number % 3, piece.nbytes).tolist() == piece.tolist()
            rank.hear("moved")
            rank.send({"command": "verify", "iteration": iteration})
            assert rank.hear("done")["wrong_elements"] == 0
    finally:
        rank.close()


def test_progress_is_told_while_data_is_awaited(connected: Rank) -> None:
    connected.send({"command": "progress"})
    assert connected.hear("progress")["iteration"] is None
    connected.start(32, 8)
    connected.receive(0, 16)
    connected.to_rank[0].sendall(arrays(32)[1][4:6].tobytes())
    connected.receive(0, 8)
    connected.send({"command": "progress"})
    progress = connected.hear("progress")
    assert (progress["iteration"], progress["received_bytes"], progress["expected_bytes"]) == (1, 8, 32)
    assert 0 <= progress["silent_s"] < 5


def test_progress_is_told_while_the_start_is_awaited(connected: Rank) -> None:
    connected.send(prepare(32, 8))
    connected.hear("prepared")
    connected.send({"command": "start", "iteration": 1, "at_s": time.monotonic() + 1000})
    progress: dict[str, Any] = {"iteration": None}
    while progress["iteration"] is None:  # it answers before it has come to the start, too
        connected.send({"command": "progress"})
        progress = connected.hear("progress")
    assert (progress["iteration"], progress["received_bytes"], progress["expected_bytes"]) == (1, 0, 32)


def test_tcp_info_counts_the_bytes_of_each_flow(connected: Rank) -> None:
    connected.start(32, 8)
    play_rank_1(connected, arrays(32)[1])
    connected.hear("moved")
    connected.send({"command": "tcp_info"})
    info = connected.hear("tcp_info")
    assert [counters["bytes_sent"] for _peer, _flow, counters in info["sent"]] == [HELLO.size + 32]
    assert [counters["bytes_received"] for _peer, _flow, counters in info["received"]] == [HELLO.size + 32]
    assert info["sent"][0][2]["retransmitted_segments"] == 0


def pacing_rate(rank: Rank) -> int:
    """Return the pacing rate limit of its one connection, as ss tells it."""
    rank.send({"command": "tcp_info"})  # answered after what was said before
    rank.hear("tcp_info")
    text = subprocess.run(["ss", "-tinH", "sport", "= :40000"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"pacing_rate \d+bps/(\d+)bps", text)
    return int(found[1]) if found else 0


def test_a_flow_is_held_to_a_rate_and_let_go_again(connected: Rank) -> None:
    connected.send({"command": "pace", "rates": [[1, 0, 125_000.4]]})
    assert pacing_rate(connected) == 1_000_000
    connected.send({"command": "pace", "rates": [[1, 0, None]]})
    assert pacing_rate(connected) == 0
    connected.start(32, 8)  # and it says nothing that anybody waits for


def test_the_congestion_control_is_read_back(connected: Rank) -> None:
    assert connected.congestion_control == [Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()]


def test_each_iteration_may_be_of_another_collective(connected: Rank) -> None:
    his, ours = arrays(32)
    connected.start(32, 8, 1, {"operation": "all_gather", "algorithm": "doubling"})
    assert connected.receive(0, 16).tolist() == his[:4].tolist()
    connected.to_rank[0].sendall(ours[4:].tobytes())
    connected.hear("moved")
    connected.send({"command": "verify", "iteration": 1})
    assert connected.hear("done")["wrong_elements"] == 0
    connected.start(32, 8, 2, {"operation": "broadcast", "algorithm": "tree", "root": 1})
    connected.to_rank[0].sendall(arrays(32, 2)[1].tobytes())
    connected.hear("moved")
    connected.send({"command": "verify", "iteration": 2})
    assert connected.hear("done")["wrong_elements"] == 0
    connected.start(32, 8, 3, None)  # a message each
    assert len(connected.receive(0, 32)) == 8
    connected.to_rank[0].sendall(bytes(32))
    connected.hear("moved")
    connected.send({"command": "verify", "iteration": 3})
    assert connected.hear("done")["wrong_elements"] == 8


# -- what goes wrong ------------------------------------------------------------------------------------------


def test_a_peer_that_sends_more_than_its_slices_is_named(connected: Rank) -> None:
    connected.start(32, 8)
    play_rank_1(connected, arrays(32)[1])
    connected.hear("moved")
    connected.to_rank[0].sendall(b"more")
    connected.send({"command": "verify", "iteration": 1})
    assert connected.error() == "rank 0: rank 1 has sent more than its part of the 32 bytes of the iteration"


def test_a_peer_that_closes_is_named_with_the_progress(connected: Rank) -> None:
    connected.start(32, 8)
    connected.receive(0, 16)
    connected.to_rank[0].close()
    message = connected.error()
    assert message.startswith("rank 0: receiving from rank 1 failed with 0 of 32 bytes received")
    assert "closed" in message


def test_a_peer_that_resets_is_named(connected: Rank) -> None:
    connected.start(32, 8)
    connected.receive(0, 16)
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: close sends a reset
    connected.to_rank[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connected.to_rank[0].close()
    assert "receiving from rank 1" in connected.error()


def test_a_next_rank_that_resets_is_named(connected: Rank) -> None:
    connected.start(32 << 20, 65536)  # more than socket buffers hold: it is still sending
    connected.from_rank[0].close()  # with unread data: a reset
    assert connected.error().startswith("rank 0: sending to rank 1 failed")


def test_a_next_rank_that_does_not_listen_is_named(rank: Rank) -> None:
    rank.hear("listening")
    rank.listener.close()
    rank.send({"command": "connect"})
    message = rank.error()
    assert f"cannot connect {rank.host.ip}:40000 to rank 1 at {rank.peer.ip}:20001" in message
    assert "refused" in message


@pytest.mark.parametrize("wrong", [{"flow": 1}, {"flow": 0, "rank": 0}, {"flow": 0, "magic": b"HTTP"}])
def test_a_stranger_is_refused(rank: Rank, wrong: dict[str, Any]) -> None:
    rank.hear("listening")
    rank.greet(**wrong)
    rank.send({"command": "connect"})
    assert "expected rank 1 with one of 1 flows" in rank.error()


def test_a_stranger_that_hangs_up_is_refused(rank: Rank) -> None:
    rank.hear("listening")
    socket.create_connection((rank.host.ip, 20_000)).close()
    rank.send({"command": "connect"})
    assert "greeted with b''" in rank.error()


def test_a_stranger_that_hangs_up_in_the_middle_of_its_hello_is_refused(rank: Rank) -> None:
    rank.hear("listening")
    with socket.create_connection((rank.host.ip, 20_000)) as stranger:
        stranger.sendall(MAGIC)
    rank.send({"command": "connect"})
    assert f"greeted with {MAGIC!r}" in rank.error()


def test_a_hello_may_come_in_pieces_and_silent_strangers_are_sent_away(rank: Rank) -> None:
    rank.hear("listening")
    strangers = [socket.create_connection((rank.host.ip, 20_000)) for _ in range(5)]
    rank.sockets += strangers
    strangers[0].sendall(MAGIC[:3])
    rank.send({"command": "connect"})
    slow = socket.create_connection((rank.host.ip, 20_000))
    rank.sockets.append(slow)
    hello = HELLO.pack(MAGIC, 0, 1, 1)
    slow.sendall(hello[:5])
    before_s = cpu_s(rank.process.pid)
    time.sleep(0.3)  # the time in which a rank that polls would be busy
    assert cpu_s(rank.process.pid) - before_s < 0.1
    slow.sendall(hello[5:])
    rank.hear("connected")
    for stranger in strangers:
        stranger.settimeout(5)
        with contextlib.suppress(ConnectionResetError):  # where it has left a word unread
            assert stranger.recv(1) == b""


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_address_in_use_is_named(rank: Rank) -> None:
    rank.hear("listening")
    with socket.create_server((rank.host.ip, 40_000)):
        rank.send({"command": "connect"})
        assert f"cannot bind {rank.host.ip}:40000" in rank.error()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"command": "dance"}, "unknown command"),
        ({"command": "start", "iteration": 1, "at_s": 0}, "None is prepared"),
        ({"command": "verify", "iteration": 1}, "None was moved"),
        (prepare(30, 8), "size_bytes=30"),
        ({"command": "prepare", "iteration": 1}, "size_bytes"),
        (prepare("32", 8), "TypeError"),
        (prepare(-32, 8), "size_bytes=-32"),
        (prepare(32, 0), "slice_bytes=0"),
        (prepare(1 << 60, 1 << 20), "emory"),
        (prepare(-32, 8, collective=None), "size_bytes=-32"),
        (prepare(32, 8, collective={"operation": "allreduce"}), "algorithm"),
        (prepare(32, 8, collective={**RING, "colour": "red"}), "colour"),
        (prepare(32, 8, collective={**RING, "algorithm": "square"}), "algorithm=square"),
        ({**prepare(32, 8), "members": [1, 2]}, "0 is not in"),
        ({**prepare(32, 8), "members": [0, 1, 2]}, "not connected to [], nor from [2]"),
        ([1], "expected a JSON object"),
    ],
)
def test_a_command_that_cannot_be_is_answered_by_an_error(connected: Rank, command: object, words: str) -> None:
    connected.send(command)
    assert words in connected.error()


def test_a_command_before_connecting_is_answered_by_an_error(rank: Rank) -> None:
    rank.hear("listening")
    rank.send(prepare(32, 8))
    assert "before connect" in rank.error()


def test_an_unknown_or_missing_field_of_the_configuration_is_named() -> None:
    with pytest.raises(WorkloadError, match="colour"):
        Config.from_json({"colour": "red"})
    with pytest.raises(WorkloadError, match="bind_ip"):
        Config.from_json({"rank": 0})


@pytest.mark.parametrize("moment", ["configured", "connecting", "connected", "waiting", "moving"])
def test_the_end_of_stdin_ends_it_at_any_moment(rank: Rank, moment: str) -> None:
    if moment == "configured":
        rank.hear("listening")
    elif moment == "connecting":
        rank.hear("listening")
        rank.send({"command": "connect"})
        rank.listener.accept()[0].close()
    else:
        rank.connect()
    if moment == "waiting":
        rank.send(prepare(32, 8))
        rank.hear("prepared")
        rank.send({"command": "start", "iteration": 1, "at_s": time.monotonic() + 1000})
    elif moment == "moving":
        rank.start(32, 8)
        rank.receive(0, 16)
    assert rank.process.stdin
    rank.process.stdin.close()
    assert rank.process.wait(10) == 0
    assert rank.process.stderr and rank.process.stderr.read() == b""


def test_exit_ends_it(connected: Rank) -> None:
    connected.send({"command": "exit"})
    assert connected.process.wait(10) == 0


def test_commands_may_arrive_in_pieces() -> None:
    read_fd, write_fd = os.pipe()
    stream = CommandStream(read_fd)
    assert stream.read() == []
    os.write(write_fd, b'{"command": "a"}\n{"comm')
    assert stream.read() == [{"command": "a"}]
    os.write(write_fd, b'and": "b"}\n\n')
    assert stream.read() == [{"command": "b"}]
    os.write(write_fd, b"x" * 65536)
    with pytest.raises(WorkloadError, match="longer than"):
        for _ in range(20):
            stream.read()
            os.write(write_fd, b"x" * 65536)
    os.close(write_fd)
    os.close(read_fd)


def test_the_end_of_commands_is_told() -> None:
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    with pytest.raises(Leave):
        CommandStream(read_fd).read()
    os.close(read_fd)


def test_a_stopped_rank_starts_late_and_says_so(connected: Rank) -> None:
    connected.send(prepare(32, 8))
    connected.hear("prepared")
    connected.send({"command": "start", "iteration": 1, "at_s": time.monotonic() + 0.1})
    os.kill(connected.process.pid, signal.SIGSTOP)
    time.sleep(0.4)
    os.kill(connected.process.pid, signal.SIGCONT)
    play_rank_1(connected, arrays(32)[1])
    assert 0.2 < connected.hear("moved")["start_lateness_s"] < 5


def test_a_rank_starts_without_what_only_scenarios_need() -> None:
    """Sixteen ranks on two cores start as soon as their imports are done; pydantic takes as long as all the rest."""
    said = "import sys, testbed.workload.endpoint; print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
