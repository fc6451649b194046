"""Small messages beside the bulk: ``python -m testbed.workload.mice --config FILE``, one process for all hosts.

Every host sends messages of ``message_bytes`` to one other host over a TCP connection that stays open, at random
times (a Poisson process, so that messages do not keep step with anything periodic). A message that is due is sent
whatever became of the one before. One process holds the sockets of all hosts, so that one clock tells both ends.

Commands: ``start``, ``stop``, ``stop`` again to leave. Events: ``ready``, ``stopped``; a failure is an ``error`` event
and exit status 1.

Latency counts from just before the message is handed to the kernel until its last byte was there for the receiver,
by the kernel's stamps of arriving frames (``testbed.measurement.arrival``): this process waking up late does not
count. TCP hands bytes over in order, so a message is never there before the one sent ahead of it. Where segments came
out of order, as they do when one was lost, stamps are too early and it counts until this process had the last byte.
"""

from __future__ import annotations

import errno
import heapq
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from testbed.errors import WorkloadError
from testbed.evaluation.records import MessageRow
from testbed.measurement.arrival import SO_TIMESTAMPNS, ClockOffset, arrival_ns, segments_out_of_order
from testbed.measurement.besides import Beside, beside_from, check_beat, check_known
from testbed.measurement.sidecar import STOP, Commands, emit, main
from testbed.measurement.tablefile import TableFile
from testbed.percentile import nearest_rank
from testbed.system.namespaces import network_namespace_of

MICE_PORT: Final = 18_000  # below the probes' port
START: Final = "start"
CONNECT_TIMEOUT_S: Final = 20.0
STORE_INTERVAL_S: Final = 1.0

HEADER: Final = struct.Struct("!Q")  # number of the message on its connection; then padding


@dataclass(frozen=True, slots=True)
class Mouse:
    """One connection: who sends to whom, from which port."""

    src: str
    dst: str
    src_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Beside):
    """What to send."""

    seed: int
    interval_s: float
    message_bytes: int
    dscp: int
    mice: Sequence[Mouse]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        common = beside_from(value)
        mice = [Mouse(str(src), str(dst), int(port)) for src, dst, port in value["mice"]]
        check_known("mice", (name for mouse in mice for name in (mouse.src, mouse.dst)), common["hosts"])
        interval_s, message_bytes, dscp = float(value["interval_s"]), int(value["message_bytes"]), int(value["dscp"])
        check_beat(interval_s, "message_bytes", message_bytes, HEADER.size)
        if not 0 <= dscp < 64:
            raise ValueError(f"dscp is {dscp}, expected 0..63")
        return cls(
            **common,
            seed=int(value["seed"]),
            interval_s=interval_s,
            message_bytes=message_bytes,
            dscp=dscp,
            mice=mice,
        )


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message under way."""

    number: int
    sent_ns: int
    lateness_s: float


class Connection:
    """Both ends of one mouse's connection, what is under way on it, and when its next message is due."""

    def __init__(self, mouse: Mouse, out: socket.socket, into: socket.socket, config: Config) -> None:
        self.mouse, self.out, self.into = mouse, out, into
        self._config = config
        self._rng = Random(f"{config.seed}/mice/{mouse.src}")
        self._padding = bytes(config.message_bytes - HEADER.size)
        self._unsent = bytearray()  # what the kernel has not taken yet
        self.under_way: deque[_Sent] = deque()
        self._received = bytearray()  # of the message now arriving
        self._stamp_ns = 0  # of the latest frame any message so far needed
        self._out_of_order = (0, 0)  # segments so far, at the last two readings
        self.sent = 0
        self.due_s = 0.0
        self.lateness_s: list[float] = []

    def begin(self, now_s: float) -> None:
        """Draw when the first message is due."""
        self.due_s = now_s + self._rng.expovariate(1 / self._config.interval_s)

    def send(self) -> bool:
        """Send the message that is due and draw the next; return whether the kernel took all of it."""
        lateness_s = max(time.monotonic() - self.due_s, 0.0)
        self.lateness_s.append(lateness_s)
        self.due_s += self._rng.expovariate(1 / self._config.interval_s)
        self._unsent += HEADER.pack(self.sent) + self._padding
        self.under_way.append(_Sent(self.sent, time.monotonic_ns(), lateness_s))
        self.sent += 1
        return self.flush()

    def flush(self) -> bool:
        """Hand over what is left to send; return whether nothing is."""
        try:
            while self._unsent:
                del self._unsent[: self.out.send(self._unsent)]
        except BlockingIOError:
            return False
        except OSError as error:
            raise WorkloadError(f"mice: {self.mouse.src} cannot send to {self.mouse.dst}: {error}") from None
        return True

    def receive(self, offset: ClockOffset) -> list[str]:
        """Take what has arrived; return the lines of the messages that are complete."""
        too_early = self._stamps_are_too_early()
        lines: list[str] = []
        while True:
            left = self._config.message_bytes - len(self._received)
            try:
                data, control, _flags, _address = self.into.recvmsg(left, 64)
            except BlockingIOError:
                return lines
            except OSError as error:
                raise WorkloadError(f"mice: {self.mouse.dst} cannot hear {self.mouse.src}: {error}") from None
            if not data:
                raise WorkloadError(f"mice: the connection from {self.mouse.src} to {self.mouse.dst} was closed")
            stamp_ns = time.monotonic_ns() if too_early else arrival_ns(control) - offset.ns
            self._stamp_ns = max(self._stamp_ns, stamp_ns)
            self._received += data
            if len(self._received) == self._config.message_bytes:
                lines.append(self._complete())

    def _stamps_are_too_early(self) -> bool:
        """Return whether what is read now may have been there later than its stamps say (``arrival``).

        That is so when segments have come out of order since the reading before, and at the next one: what had come
        may still have waited for what was missing.
        """
        count, (before, last) = segments_out_of_order(self.into), self._out_of_order
        self._out_of_order = (last, count)
        return count != before

    def _complete(self) -> str:
        (number,) = HEADER.unpack_from(self._received)
        self._received.clear()
        sent = self.under_way.popleft() if self.under_way else None
        if sent is None or sent.number != number:
            raise WorkloadError(f"mice: message {number} from {self.mouse.src} to {self.mouse.dst} is out of turn")
        return self._line(sent, f"{max(self._stamp_ns - sent.sent_ns, 0) / 1e9:.9f}")

    def give_up(self) -> list[str]:
        """Return the lines of the messages that did not arrive."""
        lines = [self._line(sent, "") for sent in self.under_way]
        self.under_way.clear()
        return lines

    def _line(self, sent: _Sent, latency: str) -> str:
        sent_s = sent.sent_ns / 1e9 - self._config.t0_s
        ends = f"{self.mouse.src},{self.mouse.dst},{sent.number},{self._config.message_bytes}"
        return f"{sent_s:.9f},{ends},{latency},{sent.lateness_s:.9f}\n"


class Mice:
    """All connections and the table of what arrived. Use as a context manager."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._lines: list[str] = []
        self.offset = ClockOffset()
        self.received = 0

    def __enter__(self) -> Mice:
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            self._file = self._stack.enter_context(TableFile(self._config.run_dir, MessageRow))
            self._epoll = self._stack.enter_context(select.epoll())
            self.connections = [self._connect(mouse) for mouse in self._config.mice]
            self._by_fd = {one.out.fileno(): one for one in self.connections}
            self._by_fd |= {one.into.fileno(): one for one in self.connections}
            undo.pop_all()
        for one in self.connections:
            self._epoll.register(one.into, select.EPOLLIN)
            self._epoll.register(one.out, 0)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def watch(self, fd: int) -> None:
        """Let ``turn`` end when ``fd`` becomes readable, too."""
        self._epoll.register(fd, select.EPOLLIN)

    def send(self, one: Connection) -> None:
        """Send the message that is due."""
        if not one.send():
            self._epoll.modify(one.out, select.EPOLLOUT)

    def turn(self, timeout_s: float) -> None:
        """Wait up to ``timeout_s`` for something to arrive or to become possible, and do it."""
        ready = self._epoll.poll(max(timeout_s, 0.0))
        self.offset.update()
        for fd, _events in ready:
            one = self._by_fd.get(fd)
            if one is None:
                continue
            if fd == one.into.fileno():
                lines = one.receive(self.offset)
                self.received += len(lines)
                self._lines += lines
            elif one.flush():
                self._epoll.modify(fd, 0)

    def store(self) -> None:
        """Write what is known to the file."""
        self._file.append(self._lines)
        self._lines.clear()

    def await_stragglers(self) -> int:
        """Wait for what is under way, at most ``linger_s``, and store it; return how many did not arrive."""
        end_s = time.monotonic() + self._config.linger_s
        while any(one.under_way for one in self.connections) and (left_s := end_s - time.monotonic()) > 0:
            self.turn(left_s)
        missing = [line for one in self.connections for line in one.give_up()]
        self._lines += missing
        self.store()
        return len(missing)

    def _connect(self, mouse: Mouse) -> Connection:
        (src_pid, src_ip), (dst_pid, dst_ip) = self._config.hosts[mouse.src], self._config.hosts[mouse.dst]
        try:
            with network_namespace_of(dst_pid):
                listener = socket.create_server((dst_ip, MICE_PORT))
            with listener:
                self._mark(listener)
                listener.settimeout(CONNECT_TIMEOUT_S)
                with network_namespace_of(src_pid):
                    out = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._mark(out)
                out.settimeout(CONNECT_TIMEOUT_S)
                out.bind((src_ip, mouse.src_port))
                out.connect((dst_ip, MICE_PORT))
                into = self._stack.enter_context(listener.accept()[0])
            self._mark(into)
            for sock in (out, into):
                sock.setblocking(False)
            out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            into.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError as error:
            where = f"{mouse.src} (pid {src_pid}) to {mouse.dst} (pid {dst_pid})"
            said = error.strerror or errno.errorcode.get(error.errno or 0) or str(error)
            raise WorkloadError(f"mice: no connection from {where}: {said}") from None
        return Connection(mouse, out, into, self._config)

    def _mark(self, sock: socket.socket) -> None:
        """Give what a socket sends, acknowledgements too, the DSCP that is asked for."""
        if self._config.dscp:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self._config.dscp << 2)


def send_until_stopped(mice: Mice, commands: Commands) -> None:
    """Send what is due until ``stop``."""
    now_s = time.monotonic()
    for one in mice.connections:
        one.begin(now_s)
    queue = [(one.due_s, number, one) for number, one in enumerate(mice.connections)]
    heapq.heapify(queue)
    mice.watch(commands.fd)
    store_due_s = now_s + STORE_INTERVAL_S
    while (command := commands.wait(0.0)) is None:
        due_s, number, one = queue[0]
        if time.monotonic() >= due_s:
            mice.send(one)
            heapq.heapreplace(queue, (one.due_s, number, one))
        mice.turn(min(queue[0][0], store_due_s) - time.monotonic())
        if time.monotonic() >= store_due_s:
            mice.store()
            store_due_s += STORE_INTERVAL_S
    if command != STOP:
        raise WorkloadError(f"got command {command!r}, expected {STOP!r}")


def run(config: Config, commands: Commands) -> None:
    """Wait for ``start``, send until ``stop``, wait for stragglers, leave at the next ``stop``.

    Connections stay open until then: closing them makes frames, which whoever counts frames would find under way.
    Raises TestbedError or OSError.
    """
    with Mice(config) as mice:
        emit("ready", mice=len(config.mice))
        command = commands.wait()
        if command not in (START, STOP):
            raise WorkloadError(f"got command {command!r}, expected {START!r}")
        if command == START:
            send_until_stopped(mice, commands)
        missing = mice.await_stragglers()
        lateness_s = [late_s for one in mice.connections for late_s in one.lateness_s]
        emit(
            "stopped",
            sent=sum(one.sent for one in mice.connections),
            received=mice.received,
            missing=missing,
            send_lateness_p99_s=nearest_rank(lateness_s, 99),
            receive_error_estimate_s=mice.offset.error_ns / 1e9,
        )
        commands.wait()


if __name__ == "__main__":
    sys.exit(main("mice", Config.from_json, run))
