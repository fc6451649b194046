"""The program of one rank: ``python -m testbed.workload.endpoint`` in a host, spoken to in JSON lines.

The first line on stdin is the configuration (see ``Config``); then come commands, each answered by an event:

    connect                                   connected {congestion_control}
    prepare {iteration, size_bytes, slice_bytes, members, collective, tasks}   prepared   (see ``Work``)
    start {iteration, at_s}                   moved {start_s, end_s, start_lateness_s, max_gap_s, max_gap_at_s,
                                                     arrived_s: [[peer, s], ...]}, with tasks also
                                                    {operations: [[issued_s, start_s, end_s], ...],
                                                     computing: {compute_s, excess_s, latest_s}}
    verify {iteration}                        done {the same, wrong_elements}
    progress                                  progress {received_bytes, expected_bytes, silent_s, awaited, computing}
                                              also while moving
    pace {rates: [[peer, flow, bytes/s or null], ...]}   no answer; also while moving
    tcp_info                                  tcp_info {sent: [[peer, flow, counters], ...], received: [the same]}
    exit, or the end of stdin                 the process ends with status 0

Preparing and verifying are commands of their own so that no rank computes while another still moves data. What has
come beyond what the peers should have sent is an error of ``verify``: by then all ranks have moved everything.
Any failure is an ``error`` event with a message and exit status 1. Times in events are seconds since ``t0_s``.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import selectors
import socket
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, NoReturn

from testbed.collectives import holdings
from testbed.collectives.collective import Collective
from testbed.collectives.schedule import Schedule
from testbed.collectives.slices import Stream
from testbed.errors import TestbedError, WorkloadError
from testbed.measurement.tcpinfo import TCP_INFO_BYTES, received_counters, sent_counters
from testbed.model.messages import Direct
from testbed.training.tasks import Message, Tasks, Together
from testbed.workload.cargo import CollectiveArray, Messages
from testbed.workload.endpoint_config import Config, Receiver, Work
from testbed.workload.exchange import Exchange, ReceiveFlow, SendFlow
from testbed.workload.performer import Part, Performer

HELLO = struct.Struct("!4sHHI")  # magic, flow, flows, rank: the only bytes on a connection that are not data
MAGIC = b"GSE1"
MAX_COMMAND_BYTES = 1 << 20
SO_MAX_PACING_RATE = 47
NO_LIMIT = (1 << 8 * struct.calcsize("@L")) - 1
CONTENTS = 1 << 20  # of the operations of an iteration
MESSAGE_CONTENTS = 4  # of those whose data are made again and again
NICE_LAST = 19
COARSE_TIMER_S = 0.003  # a selector's timeout is whole milliseconds; the rest is slept precisely

Command = dict[str, Any]
Connections = dict[tuple[int, int], socket.socket]  # (peer, flow)
ScheduleKey = tuple[Collective, int, int, int]  # of so many ranks, bytes, bytes of a slice


class Leave(Exception):
    """The parent said goodbye or is gone."""


class CommandStream:
    """Complete lines from a descriptor that is never waited for."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""
        os.set_blocking(fd, False)

    def read(self) -> list[Command]:
        """Return the commands that have arrived. Raises Leave at the end of the stream."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        if not data:
            raise Leave
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_COMMAND_BYTES:
            raise WorkloadError(f"a command is longer than {MAX_COMMAND_BYTES} bytes")
        return [_parse(line) for line in lines if line.strip()]


def _parse(line: bytes) -> Command:
    try:
        command = json.loads(line)
    except ValueError:
        command = None
    if not isinstance(command, dict):
        raise WorkloadError(f"got {line[:100]!r} on stdin, expected a JSON object")
    return command


def emit(event: str, **fields: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Endpoint:
    """A rank: owns the selector, the sockets and the array."""

    def __init__(self, stdin_fd: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._stream = CommandStream(stdin_fd)
        self._commands: deque[Command] = deque()
        self._exchange: Exchange | None = None
        self._work: Work | None = None
        self._performer: Performer | None = None
        self._schedules: dict[ScheduleKey, Schedule] = {}  # of the last iteration: those of one size have the same
        self._old_schedules: dict[ScheduleKey, Schedule] = {}
        self._selector.register(stdin_fd, selectors.EVENT_READ, self._read_commands)

    def serve(self) -> NoReturn:
        """Obey commands until there are no more: leaves by raising Leave."""
        self._config = Config.from_json(self._next_command())
        self._listen()
        handlers: dict[str, Callable[[Command], None]] = {
            "connect": self._connect,
            "prepare": self._prepare,
            "start": self._start,
            "verify": self._verify,
            "tcp_info": self._tcp_info,
        }
        while True:
            command = self._next_command()
            handler = handlers.get(str(command.get("command")))
            if handler is None:
                raise WorkloadError(f"unknown command {command!r}, expected one of {', '.join(handlers)}")
            handler(command)

    # -- commands ---------------------------------------------------------------------------------------------

    def _next_command(self) -> Command:
        while not self._commands:
            self._turn(None)
        return self._commands.popleft()

    def _turn(self, timeout_s: float | None) -> None:
        for key, mask in self._selector.select(timeout_s):
            key.data(mask)

    def _read_commands(self, _mask: int) -> None:
        for command in self._stream.read():
            if command.get("command") == "exit":
                raise Leave
            if command.get("command") == "progress":
                self._progress()
            elif command.get("command") == "pace":
                self._pace(command)
            else:
                self._commands.append(command)

    def _progress(self) -> None:
        exchange = self._exchange
        iteration = None if self._work is None else self._work.iteration
        if self._performer is not None:
            emit("progress", iteration=iteration, **self._performer.progress)
            return
        if exchange is None or exchange.finished:
            emit("progress", iteration=None)
            return
        emit(
            "progress",
            iteration=iteration,
            received_bytes=exchange.received_bytes,
            expected_bytes=exchange.expected_bytes,
            silent_s=max(0.0, time.monotonic() - exchange.last_byte_s),
            awaited=exchange.awaited,
            computing=False,
        )

    def _pace(self, command: Command) -> None:
        for peer, flow, bytes_per_s in command["rates"]:
            rate = NO_LIMIT if bytes_per_s is None else max(1, round(bytes_per_s))
            # an unsigned long: the kernel would take 32 bits for a rate of at most 4 GB/s
            self._outgoing[peer, flow].setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, struct.pack("@L", rate))

    # -- connections ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        config = self._config
        self._listener = _bound_socket(config.bind_ip, config.listen_port)
        self._listener.listen(sum(sender.flows for sender in config.senders) + 8)
        emit("listening", rank=config.rank, pid=os.getpid())

    def _connect(self, _command: Command) -> None:
        config = self._config
        self._outgoing: Connections = {}
        self._incoming: Connections = {}
        self._ungreeted: set[socket.socket] = set()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for receiver in config.receivers:
            for flow in range(len(receiver.source_ports)):
                self._connect_to(receiver, flow)
        wanted_out = sum(len(receiver.source_ports) for receiver in config.receivers)
        wanted_in = sum(sender.flows for sender in config.senders)
        while len(self._outgoing) < wanted_out or len(self._incoming) < wanted_in:
            self._turn(None)
        self._selector.unregister(self._listener)
        self._listener.close()
        for stranger in self._ungreeted:
            self._selector.unregister(stranger)
            stranger.close()
        # in the order of the configuration: which peer a rank begins with is the pattern's business
        to, of = config.receivers, config.senders
        sends = [SendFlow(self._outgoing[r.rank, flow], r.rank) for r in to for flow in range(len(r.source_ports))]
        receives = [ReceiveFlow(self._incoming[s.rank, flow], s.rank) for s in of for flow in range(s.flows)]
        self._exchange = Exchange(self._selector, sends, receives, config.rank)
        emit("connected", congestion_control=sorted({_congestion_control(flow.sock) for flow in sends}))

    def _connect_to(self, receiver: Receiver, flow: int) -> None:
        sock = _bound_socket(self._config.bind_ip, receiver.source_ports[flow])
        self._check_connected(receiver, flow, sock.connect_ex((receiver.ip, receiver.port)))
        self._selector.register(sock, selectors.EVENT_WRITE, lambda _mask: self._greet(receiver, flow, sock))

    def _greet(self, receiver: Receiver, flow: int, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self._check_connected(receiver, flow, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        # the first bytes of a stream fit
        sock.send(HELLO.pack(MAGIC, flow, len(receiver.source_ports), self._config.rank))
        self._outgoing[receiver.rank, flow] = sock

    def _check_connected(self, receiver: Receiver, flow: int, error: int) -> None:
        if error in (0, errno.EINPROGRESS):
            return
        config = self._config
        raise WorkloadError(
            f"rank {config.rank}: cannot connect {config.bind_ip}:{receiver.source_ports[flow]} to rank "
            f"{receiver.rank} at {receiver.ip}:{receiver.port}: {os.strerror(error)}"
        )

    def _accept(self, _mask: int) -> None:
        sock, address = self._listener.accept()
        _prepare_socket(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HELLO.size)  # readable: a whole hello, or the end
        self._ungreeted.add(sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda _mask: self._welcome(sock, address))

    def _welcome(self, sock: socket.socket, address: tuple[str, int]) -> None:
        hello = sock.recv(HELLO.size)
        magic, flow, its_flows, rank = HELLO.unpack(hello) if len(hello) == HELLO.size else (b"", 0, 0, 0)
        expected = {sender.rank: sender.flows for sender in self._config.senders}
        known = magic == MAGIC and its_flows == expected.get(rank) and flow < its_flows
        if not known or (rank, flow) in self._incoming:
            senders = ", ".join(str(sender) for sender in expected) or "nobody"
            flows = max(expected.values(), default=0)
            raise WorkloadError(
                f"rank {self._config.rank}: {address[0]}:{address[1]} greeted with {hello!r}, "
                f"expected rank {senders} with one of {flows} flows, each once"
            )
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._ungreeted.remove(sock)
        self._selector.unregister(sock)
        self._incoming[rank, flow] = sock

    # -- an iteration -----------------------------------------------------------------------------------------

    def _prepare(self, command: Command) -> None:
        if self._exchange is None:
            raise WorkloadError("prepare before connect")
        self._work = None
        work = Work.from_json(command)
        with _modestly():
            self._make_part(work)
        self._work = work
        emit("prepared", iteration=work.iteration)

    def _make_part(self, work: Work) -> None:
        """Make what this rank will send, and what it expects."""
        self._old_schedules, self._schedules = self._schedules, {}
        self._performer = None
        if work.tasks is not None:
            self._performer = self._prepared(work, work.tasks)
        elif work.collective is None:
            self._part = self._messages(
                work,
                dict.fromkeys((peer.rank for peer in self._config.receivers), work.size_bytes),
                dict.fromkeys((peer.rank for peer in self._config.senders), work.size_bytes),
            )
        else:
            self._part = self._collective(work, work.collective)
        self._old_schedules = {}
        gc.collect()

    def _prepared(self, work: Work, tasks: Tasks) -> Performer:
        """Make this rank's part in everything it does in a training iteration."""
        assert self._exchange is not None
        parts = [
            self._message(work.iteration, one) if isinstance(one, Message) else self._together(work.iteration, one)
            for one in tasks.communications
        ]
        return Performer(self._exchange, tasks, parts, turn=self._turn, wake_bytes=self._config.wake_bytes)

    def _message(self, iteration: int, one: Message) -> Part:
        work = Work(iteration * CONTENTS, one.size_bytes, one.slice_bytes)
        out, into = ({one.peer: one.size_bytes} if there else {} for there in (one.out, one.into))
        self._check_connected_to(
            out.keys() - {peer.rank for peer in self._config.receivers},
            into.keys() - {peer.rank for peer in self._config.senders},
        )
        return self._messages(work, out, into)

    def _together(self, iteration: int, one: Together) -> Part:
        collective = Collective(one.operation, one.algorithm)
        number = one.number % MESSAGE_CONTENTS if collective.independent else one.number
        work = Work(iteration * CONTENTS + number, one.size_bytes, one.slice_bytes, one.members)
        return self._collective(work, collective)

    def _messages(self, work: Work, out: Mapping[int, int], into: Mapping[int, int]) -> Part:
        """Make messages of so many bytes, by peer; who is not named has nothing."""
        return self._part_of_messages(
            work,
            {peer.rank: Direct(out.get(peer.rank, 0), work.slice_bytes) for peer in self._config.receivers},
            {peer.rank: Direct(into.get(peer.rank, 0), work.slice_bytes) for peer in self._config.senders},
        )

    def _part_of_messages(self, work: Work, out: Mapping[int, Stream], into: Mapping[int, Stream]) -> Part:
        expected_bytes = sum(stream.size_bytes for stream in into.values())
        cargo = Messages(self._config.rank, expected_bytes, work.slice_bytes, work.iteration)
        return Part(out, into, cargo, work.members, work.slice_bytes)

    def _collective(self, work: Work, collective: Collective) -> Part:
        """Make the streams and the array of this rank's part in a collective; a peer without a part has nothing."""
        place = {rank: index for index, rank in enumerate(work.members)}
        if self._config.rank not in place:
            raise WorkloadError(f"rank {self._config.rank} is not in the group {list(work.members)}")
        schedule, own = self._schedule(work, collective), place[self._config.rank]
        nothing = Direct(0, work.slice_bytes)
        out: dict[int, Stream] = {
            peer.rank: schedule.stream(own, place[peer.rank]) if peer.rank in place else nothing
            for peer in self._config.receivers
        }
        into: dict[int, Stream] = {
            peer.rank: schedule.incoming(place[peer.rank], own) if peer.rank in place else nothing
            for peer in self._config.senders
        }
        self._check_connected_to(
            {work.members[dst] for dst in schedule.sent_by(own)} - out.keys(),
            {work.members[src] for src in schedule.received_by(own)} - into.keys(),
        )
        program = schedule.program
        if not program.in_place:
            return self._part_of_messages(work, out, into)
        promised = holdings.after(program, own)
        cargo = CollectiveArray(program.n_ranks, own, program.size_bytes, work.iteration, promised=promised)
        return Part(out, into, cargo, work.members, work.slice_bytes)

    def _schedule(self, work: Work, collective: Collective) -> Schedule:
        """Return what all members do, as it was made before if that was alike."""
        key = (collective, len(work.members), work.size_bytes, work.slice_bytes)
        if key not in self._schedules:
            made = self._old_schedules.get(key)
            self._schedules[key] = made or Schedule(collective.program(len(work.members), work.size_bytes), key[3])
        return self._schedules[key]

    def _check_connected_to(self, receivers: AbstractSet[int], senders: AbstractSet[int]) -> None:
        if receivers or senders:
            raise WorkloadError(
                f"rank {self._config.rank}: not connected to {sorted(receivers)}, nor from {sorted(senders)}, "
                "which have a part in this collective"
            )

    def _start(self, command: Command) -> None:
        exchange = self._exchange
        work = self._work
        if exchange is None or work is None or command["iteration"] != work.iteration:
            prepared = None if work is None else work.iteration
            raise WorkloadError(f"start of iteration {command['iteration']}, but {prepared} is prepared")
        t0_s, at_s = self._config.t0_s, float(command["at_s"])
        performer = self._performer
        if performer is None:
            part = self._part
            exchange.begin(
                part.cargo,
                part.out,
                part.into,
                members=part.members,
                slice_bytes=part.slice_bytes,
                wake_bytes=self._config.wake_bytes,
            )
        gc.disable()  # a collection in the middle would stall everybody
        lateness_s = self._sleep_until(at_s)
        if performer is not None:
            performer.perform(at_s)
        else:
            exchange.start(at_s)
            while not exchange.finished:
                self._turn(None)
        end_s = time.monotonic()
        gc.enable()
        if performer is None:
            exchange.end()
        about = {"iteration": work.iteration, "start_s": at_s - t0_s, "end_s": end_s - t0_s}
        moved = _moved(exchange, t0_s) if performer is None else performer.result(t0_s)
        self._times = {**about, "start_lateness_s": lateness_s, **moved}
        emit("moved", **self._times)

    def _sleep_until(self, at_s: float) -> float:
        """Sleep until the monotonic clock says ``at_s``; return how late that became, in seconds."""
        while (left_s := at_s - time.monotonic()) > 0:
            if left_s > COARSE_TIMER_S:
                self._turn(left_s - COARSE_TIMER_S)
            else:
                time.sleep(left_s)
        return -left_s

    def _verify(self, command: Command) -> None:
        moved = None if self._work is None else self._work.iteration
        if self._exchange is None or command["iteration"] != moved:
            raise WorkloadError(f"verify of iteration {command['iteration']}, but {moved} was moved")
        self._exchange.check_nothing_more()
        with _modestly():
            wrong = self._part.cargo.count_wrong() if self._performer is None else self._performer.count_wrong()
        emit("done", **self._times, wrong_elements=wrong)

    def _tcp_info(self, _command: Command) -> None:
        emit(
            "tcp_info",
            sent=[[*key, sent_counters(_tcp_info(sock))] for key, sock in sorted(self._outgoing.items())],
            received=[[*key, received_counters(_tcp_info(sock))] for key, sock in sorted(self._incoming.items())],
        )


@contextmanager
def _modestly() -> Iterator[None]:
    """Let everybody else go first: all ranks compute at once, and GSPs' hellos are not to wait for that."""
    if os.geteuid():  # there would be no way back
        yield
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, NICE_LAST)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _moved(exchange: Exchange, t0_s: float) -> dict[str, Any]:
    """Return what an exchange that is over has seen, as events say it."""
    return {
        "max_gap_s": exchange.max_gap_s,
        "max_gap_at_s": None if exchange.max_gap_s is None else exchange.max_gap_at_s - t0_s,
        "arrived_s": [[peer, arrived_s - t0_s] for peer, arrived_s in sorted(exchange.arrived_s.items())],
    }


def _prepare_socket(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _bound_socket(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    _prepare_socket(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((ip, port))
    except OSError as error:
        raise WorkloadError(f"cannot bind {ip}:{port}: {error}") from None
    return sock


def _congestion_control(sock: socket.socket) -> str:
    name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return name.split(b"\0")[0].decode()


def _tcp_info(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)


def main() -> int:
    """Serve until told to leave; return the exit status."""
    try:
        Endpoint(sys.stdin.fileno()).serve()
    except Leave:
        return 0
    except TestbedError as error:
        emit("error", message=str(error))
    except Exception as error:  # whatever it is, whoever started us must hear of it
        traceback.print_exc()
        emit("error", message=repr(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
