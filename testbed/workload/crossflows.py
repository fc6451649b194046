"""Poisson flows and bursts beside the workload: ``python -m testbed.workload.crossflows --config FILE``.

One process for all hosts, so that one clock tells both ends. Every flow is a TCP connection of its own: begun when it
is due, whatever became of the others, closed by its sender after its last byte.

Commands: ``start``, ``stop``, ``stop`` again to leave. Events: ``ready``, ``stopped``; a failure is an ``error`` event
and exit status 1.

A flow's completion time counts from just before its connection is begun until its last byte was there for the
receiver, by the kernel's stamps of arriving frames (``testbed.measurement.arrival``): so the handshake is in it, and
this process waking up late is not. Where segments came out of order, as they do when one was lost, stamps are too early
and it counts until this process had the last byte.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from testbed.errors import WorkloadError
from testbed.evaluation.records import CrossFlowRow, cells_from_row
from testbed.measurement.arrival import SO_TIMESTAMPNS, ClockOffset, arrival_ns, segments_out_of_order
from testbed.measurement.besides import Beside, beside_from, check_known
from testbed.measurement.sidecar import STOP, Commands, emit, main
from testbed.measurement.tablefile import TableFile
from testbed.model.cross_flows import CrossFlow, seeded_flows
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology
from testbed.percentile import nearest_rank
from testbed.system.namespaces import network_namespace_of

CROSS_PORT: Final = 17_000  # below the small messages' port
SOURCE_PORTS: Final = range(25_000, 32_000)  # between the ranks' ports and those everybody else's flows leave from
START: Final = "start"
STORE_INTERVAL_S: Final = 1.0
CHUNK_BYTES: Final = 256 * 1024
WAKE_BYTES: Final = 32 * 1024  # a receiver is woken by so much, or by the end: cheaper than by every frame
BACKLOG: Final = 512
PORT_TRIES: Final = 20
PORT_TAKEN: Final = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Beside):
    """What to send: all flows of a scenario's ``cross_traffic`` with this seed; ``ranks`` are the ranks' hosts."""

    seed: int
    scenario: Scenario
    ranks: Sequence[str]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        scenario, ranks = Scenario.model_validate(value["scenario"]), [str(name) for name in value["ranks"]]
        common = beside_from(value)
        check_known("ranks", ranks, {host.name: (0, host.ip) for host in Topology(scenario.fabric).hosts})
        check_known("the fabric's hosts", (host.name for host in Topology(scenario.fabric).hosts), common["hosts"])
        if not scenario.cross_traffic.has_flows:
            raise ValueError("cross_traffic has no flows, expected poisson or bursts")
        return cls(**common, seed=int(value["seed"]), scenario=scenario, ranks=ranks)

    def flows(self) -> Iterator[CrossFlow]:
        """Return all flows by when they are due, without end."""
        hosts = Topology(self.scenario.fabric).hosts
        return seeded_flows(self.scenario, hosts, [host for host in hosts if host.name in self.ranks], self.seed)


class _Flow:
    """A flow under way: its sender's socket, its receiver's once that has accepted it, and how far each is."""

    def __init__(self, flow: CrossFlow, number: int, src_port: int, out: socket.socket, lateness_s: float) -> None:
        self.flow, self.number, self.src_port, self.out = flow, number, src_port, out
        self.lateness_s = lateness_s
        self.began_ns = 0
        self.unsent_bytes = self.missing_bytes = flow.size_bytes
        self.into: socket.socket | None = None
        self.stamp_ns = 0  # of the latest frame so far

    def __str__(self) -> str:
        return f"flow {self.number} from {self.flow.src} to {self.flow.dst}"

    def row(self, t0_s: float, completion_s: float | None) -> CrossFlowRow:
        flow = self.flow
        return CrossFlowRow(
            start_s=self.began_ns / 1e9 - t0_s,
            kind=flow.kind,
            burst=flow.burst,
            src_host=flow.src,
            dst_host=flow.dst,
            seq=self.number,
            src_port=self.src_port,
            size_bytes=flow.size_bytes,
            completion_s=completion_s,
            start_lateness_s=self.lateness_s,
        )


class CrossFlows:
    """A listener in every host, the flows under way, and the table of those that are done. Use as a context manager."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._rng = Random(f"{config.seed}/cross ports")
        self._listeners: dict[int, tuple[str, socket.socket]] = {}
        self._sending: dict[int, _Flow] = {}
        self._receiving: dict[int, _Flow] = {}
        self._begun: dict[tuple[str, str, int], _Flow] = {}  # not accepted yet, by receiver, address and port
        self._lines: list[str] = []
        self._zeros = memoryview(bytes(CHUNK_BYTES))
        self._scratch = bytearray(CHUNK_BYTES)
        self.offset = ClockOffset()
        self.begun = self.completed = self.sent_bytes = 0
        self.lateness_s: list[float] = []

    def __enter__(self) -> CrossFlows:
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            self._file = self._stack.enter_context(TableFile(self._config.run_dir, CrossFlowRow))
            self._epoll = self._stack.enter_context(select.epoll())
            for host, (pid, ip) in self._config.hosts.items():
                try:
                    with network_namespace_of(pid):
                        listener = self._stack.enter_context(socket.create_server((ip, CROSS_PORT), backlog=BACKLOG))
                    # accepted connections inherit it, so that what arrives before they are accepted is stamped, too
                    listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                    listener.setblocking(False)
                except OSError as error:
                    raise WorkloadError(f"crossflows: {host} (pid {pid}) cannot listen on {ip}: {error}") from None
                self._listeners[listener.fileno()] = (host, listener)
                self._epoll.register(listener, select.EPOLLIN)
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        for one in {*self._sending.values(), *self._receiving.values(), *self._begun.values()}:
            self._close(one)
        self._stack.close()

    @property
    def under_way(self) -> int:
        """How many flows have not arrived whole."""
        return self.begun - self.completed

    def watch(self, fd: int) -> None:
        """Let ``turn`` end when ``fd`` becomes readable, too."""
        self._epoll.register(fd, select.EPOLLIN)

    def begin(self, flow: CrossFlow, due_s: float) -> None:
        """Begin a flow that was due at ``due_s`` (monotonic)."""
        (pid, src_ip), (_pid, dst_ip) = self._config.hosts[flow.src], self._config.hosts[flow.dst]
        for _try in range(PORT_TRIES):
            with network_namespace_of(pid):
                out = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            port = self._rng.choice(SOURCE_PORTS)
            try:
                out.setblocking(False)
                out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                out.bind((src_ip, port))
                one = _Flow(flow, self.begun, port, out, max(time.monotonic() - due_s, 0.0))
                one.began_ns = time.monotonic_ns()
                status = out.connect_ex((dst_ip, CROSS_PORT))
            except OSError as error:
                status = error.errno or errno.EIO
            if status in (0, errno.EINPROGRESS):
                break
            out.close()
            if status not in PORT_TAKEN:
                said = f"no connection from {flow.src} (pid {pid}) to {flow.dst}: {errno.errorcode.get(status, status)}"
                raise WorkloadError(f"crossflows: {said}")
        else:
            raise WorkloadError(f"crossflows: {flow.src} has no free port for {flow.dst} after {PORT_TRIES} tries")
        self.begun += 1
        self.lateness_s.append(one.lateness_s)
        self._begun[flow.dst, src_ip, port] = one
        self._sending[out.fileno()] = one
        self._epoll.register(out, select.EPOLLOUT)

    def turn(self, timeout_s: float) -> None:
        """Wait up to ``timeout_s`` for something to arrive or to become possible, and do it."""
        ready = self._epoll.poll(max(timeout_s, 0.0))
        self.offset.update()
        for fd, _events in ready:
            if fd in self._listeners:
                self._accept(*self._listeners[fd])
            elif (one := self._receiving.get(fd)) is not None:
                self._receive(one)
            elif (one := self._sending.get(fd)) is not None:
                self._send(one)

    def _accept(self, host: str, listener: socket.socket) -> None:
        while True:
            try:
                into, (ip, port) = listener.accept()
            except BlockingIOError:
                return
            one = self._begun.pop((host, ip, port), None)
            if one is None:
                into.close()
                raise WorkloadError(f"crossflows: a connection nobody has begun arrived at {host} from {ip}:{port}")
            one.into = into
            into.setblocking(False)
            into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(one.flow.size_bytes, WAKE_BYTES))
            self._receiving[into.fileno()] = one
            self._epoll.register(into, select.EPOLLIN)

    def _send(self, one: _Flow) -> None:
        """Hand over what the kernel takes; after the last byte the sender closes its side."""
        try:
            while one.unsent_bytes:
                sent = one.out.send(self._zeros[: one.unsent_bytes])
                one.unsent_bytes -= sent
                self.sent_bytes += sent
            one.out.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError as error:
            raise WorkloadError(f"crossflows: {one} cannot be sent: {error}") from None
        self._epoll.unregister(one.out)

    def _receive(self, one: _Flow) -> None:
        assert one.into is not None
        try:
            size, control, _flags, _address = one.into.recvmsg_into([self._scratch], 64)
        except BlockingIOError:
            return
        except OSError as error:
            raise WorkloadError(f"crossflows: {one} cannot be received: {error}") from None
        if not size:
            raise WorkloadError(f"crossflows: {one} ended {one.missing_bytes} bytes early")
        one.stamp_ns = max(one.stamp_ns, arrival_ns(control) - self.offset.ns)
        one.missing_bytes -= size
        if 0 < one.missing_bytes < WAKE_BYTES:  # else the rest would be waited for until the sender's end has come, too
            one.into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, one.missing_bytes)
        if not one.missing_bytes:
            self.completed += 1
            self._note(one, max(_arrived_ns(one.into, one.stamp_ns) - one.began_ns, 0) / 1e9)
            self._close(one)

    def _close(self, one: _Flow) -> None:
        if one.into is not None:
            self._receiving.pop(one.into.fileno(), None)
            one.into.close()
        self._sending.pop(one.out.fileno(), None)
        one.out.close()

    def _note(self, one: _Flow, completion_s: float | None) -> None:
        self._lines.append(",".join(cells_from_row(one.row(self._config.t0_s, completion_s))) + "\n")

    def store(self) -> None:
        """Write what is known to the file."""
        self._file.append(self._lines)
        self._lines.clear()

    def await_stragglers(self) -> int:
        """Wait for what is under way, at most ``linger_s``, and store it; return how many did not arrive whole."""
        end_s = time.monotonic() + self._config.linger_s
        while self.under_way and (left_s := end_s - time.monotonic()) > 0:
            self.turn(left_s)
        late = sorted({*self._begun.values(), *self._receiving.values()}, key=lambda one: one.number)
        for one in late:
            self._note(one, None)
        self.store()
        return len(late)


def _arrived_ns(into: socket.socket, stamp_ns: int) -> int:
    """Return when all of a flow was there (monotonic), of which the last byte has just been read; see ``arrival``."""
    return time.monotonic_ns() if segments_out_of_order(into) else stamp_ns


def send_until_stopped(config: Config, cross: CrossFlows, commands: Commands) -> None:
    """Begin what is due until ``stop``."""
    flows, start_s = config.flows(), time.monotonic()
    following = next(flows)
    cross.watch(commands.fd)
    store_due_s = start_s + STORE_INTERVAL_S
    while (command := commands.wait(0.0)) is None:
        if time.monotonic() >= start_s + following.due_s:
            cross.begin(following, start_s + following.due_s)
            following = next(flows)
        cross.turn(min(start_s + following.due_s, store_due_s) - time.monotonic())
        if time.monotonic() >= store_due_s:
            cross.store()
            store_due_s += STORE_INTERVAL_S
    if command != STOP:
        raise WorkloadError(f"got command {command!r}, expected {STOP!r}")


def run(config: Config, commands: Commands) -> None:
    """Wait for ``start``, send until ``stop``, wait for stragglers, leave at the next ``stop``.

    Raises TestbedError or OSError.
    """
    with CrossFlows(config) as cross:
        emit("ready", hosts=len(config.hosts))
        command = commands.wait()
        if command not in (START, STOP):
            raise WorkloadError(f"got command {command!r}, expected {START!r}")
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        if command == START:
            send_until_stopped(config, cross, commands)
        cpu_cores = (time.process_time() - began_cpu_s) / max(time.monotonic() - began_s, 1e-9)
        missing = cross.await_stragglers()
        emit(
            "stopped",
            begun=cross.begun,
            completed=cross.completed,
            missing=missing,
            sent_bytes=cross.sent_bytes,
            start_lateness_p99_s=nearest_rank(cross.lateness_s, 99),
            receive_error_estimate_s=cross.offset.error_ns / 1e9,
            cpu_cores=cpu_cores,
        )
        commands.wait()


if __name__ == "__main__":
    sys.exit(main("crossflows", Config.from_json, run))
