"""One-way latency while a run lasts: ``python -m testbed.measurement.probes --config FILE``, one process for all hosts.

Every host sends a small UDP datagram every ``interval_s``, the hosts evenly staggered, to its partners in turn.
One process holds a socket in each host's network namespace, so that sending and arriving are told by one clock.

Commands: ``start``, ``stop``. Events: ``ready``, ``stopped``; a failure is an ``error`` event and exit status 1.

Departure is noted just before the datagram is handed over, arrival is stamped by the kernel (see
``testbed.measurement.arrival``): this process need not wake for each arrival, and waking late does not count as
latency. Just before departure the backlog of the host's own egress queue is read, where ``intfs`` names it.
"""

from __future__ import annotations

import errno
import heapq
import select
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from testbed.errors import WorkloadError
from testbed.evaluation.records import ProbeQueueRow, ProbeRow
from testbed.measurement.arrival import ClockOffset, arrival_ns, open_stamping_socket
from testbed.measurement.besides import Beside, beside_from, check_beat, check_known
from testbed.measurement.egressqueue import EgressQueue
from testbed.measurement.pacing import Schedule
from testbed.measurement.sidecar import STOP, Commands, emit, main
from testbed.measurement.tablefile import TableFile
from testbed.percentile import nearest_rank
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import PROBE_PORT

if TYPE_CHECKING:
    from testbed.model.topology import Topology

START: Final = "start"
LINGER_S: Final = 2.0  # at least; four full queues of 256 KiB at 10 Mbit/s take 0.84 s
COLLECT_INTERVAL_S: Final = 0.1
COLLECT_PROBES: Final = 64  # a socket's receive buffer holds 277 of them
STORE_INTERVAL_S: Final = 1.0
NOT_TAKEN: Final = (errno.EAGAIN, errno.ENOBUFS)  # the host's own queue is full: lost like anywhere else

_PAYLOAD: Final = struct.Struct("!4sQ")  # magic, sequence number; then padding
MAGIC: Final = b"GSEP"


def choose_pairs(topology: Topology, per_host: int, rng: Random) -> list[tuple[str, str]]:
    """Return ``per_host`` (source, destination) host names for every host, and as many towards every host.

    Destinations are on other leaves where there are any. With fewer than ``per_host`` possible destinations each
    host takes all of them.
    """
    pairs = []
    for distance in _distances(topology, per_host, rng):
        pairs += [(src.name, dst) for src, dst in zip(topology.hosts, _shifted(topology, distance), strict=True)]
    return pairs


def _distances(topology: Topology, per_host: int, rng: Random) -> list[tuple[int, int]]:
    """Draw (leaves ahead, hosts ahead) so that every host's partner is another host."""
    leaves, per_leaf = topology.fabric.leaves, topology.fabric.hosts_per_leaf
    across = [(leaf, index) for leaf in range(1, leaves) for index in range(per_leaf)]
    within = [(0, index) for index in range(1, per_leaf)]
    possible = across or within
    return rng.sample(possible, min(per_host, len(possible)))


def _shifted(topology: Topology, distance: tuple[int, int]) -> list[str]:
    leaves, per_leaf = topology.fabric.leaves, topology.fabric.hosts_per_leaf
    return [
        topology.hosts[(host.leaf + distance[0]) % leaves * per_leaf + (host.index + distance[1]) % per_leaf].name
        for host in topology.hosts
    ]


def linger_s(topology: Topology) -> float:
    """Return how long to wait for a probe: twice what a way of full queues takes, at least ``LINGER_S``."""
    fabric = topology.fabric
    delay_s = (fabric.delay_ms or 0.0) / 1e3
    uplinks, host_links = (
        2 * (fabric.queue_bytes / mbps_to_bytes_per_s(rate_mbps) + delay_s)
        for rate_mbps in (fabric.uplink_mbps, fabric.host_link_mbps)
    )
    return max(2 * (uplinks + host_links), LINGER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Beside):
    """What to send; a probe that is under way for ``linger_s`` counts as lost.

    ``intfs``: host -> its interface by which probes leave, whose queue is read; of a host that is not in it, none is.
    """

    interval_s: float
    probe_bytes: int
    pairs: Sequence[tuple[str, str]]
    linger_s: float = LINGER_S
    intfs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        common = beside_from(value, LINGER_S)
        pairs = [(str(src), str(dst)) for src, dst in value["pairs"]]
        check_known("pairs", (name for pair in pairs for name in pair), common["hosts"])
        interval_s, probe_bytes = float(value["interval_s"]), int(value["probe_bytes"])
        check_beat(interval_s, "probe_bytes", probe_bytes, _PAYLOAD.size)
        intfs = {str(host): str(intf) for host, intf in value.get("intfs", {}).items()}
        if intfs:
            check_known("intfs", intfs, common["hosts"])
        return cls(**common, interval_s=interval_s, probe_bytes=probe_bytes, pairs=pairs, intfs=intfs)


@dataclass(slots=True)
class _Sender:
    """A host that sends: its schedule and its partners, the next one first."""

    host: str
    schedule: Schedule
    partners: list[str]


@dataclass(frozen=True, slots=True)
class _Sent:
    """A probe under way."""

    sent_ns: int
    src: str
    dst: str
    lateness_s: float


class Probes:
    """Sockets in every host, probes under way and what became of the others. Use as a context manager."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._sockets: dict[str, socket.socket] = {}
        self._host_of_fd: dict[int, str] = {}
        self._under_way: dict[int, _Sent] = {}
        self._lines: list[str] = []
        self._queues: dict[str, EgressQueue] = {}
        self._queue_lines: list[str] = []
        self._padding = bytes(config.probe_bytes - _PAYLOAD.size)
        self.offset = ClockOffset()
        self.sent = self.received = self.lost = self.late = 0

    def __enter__(self) -> Probes:
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            self._file = self._stack.enter_context(TableFile(self._config.run_dir, ProbeRow))
            if self._config.intfs:  # a table that is not there says that nobody looked
                self._queue_file = self._stack.enter_context(TableFile(self._config.run_dir, ProbeQueueRow))
            self._poll = self._stack.enter_context(select.epoll())
            for host, (pid, ip) in self._config.hosts.items():
                try:
                    sock = self._stack.enter_context(open_stamping_socket(pid, ip, PROBE_PORT))
                except OSError as error:
                    raise WorkloadError(f"{host} (pid {pid}) gets no socket: {error}") from None
                self._sockets[host] = sock
                self._host_of_fd[sock.fileno()] = host
                self._poll.register(sock, select.EPOLLIN)
            for host in {src for src, _dst in self._config.pairs} & self._config.intfs.keys():
                self._queues[host] = self._stack.enter_context(self._egress_queue(host))
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _egress_queue(self, host: str) -> EgressQueue:
        pid, _ip = self._config.hosts[host]
        try:
            return EgressQueue.of_host(pid, self._config.intfs[host])
        except OSError as error:
            raise WorkloadError(f"{host} (pid {pid}) cannot be entered: {error}") from None

    def send(self, src: str, dst: str, lateness_s: float) -> None:
        """Send one probe, having read what waits before it. One that its host's queue does not take is lost."""
        sequence = self.sent
        self.sent += 1
        target = (self._config.hosts[dst][1], PROBE_PORT)
        payload = _PAYLOAD.pack(MAGIC, sequence) + self._padding
        sock, queue = self._sockets[src], self._queues.get(src)
        backlog_bytes = None if queue is None else queue.backlog_bytes()
        sent_ns = time.monotonic_ns()
        self._under_way[sequence] = _Sent(sent_ns, src, dst, lateness_s)
        try:
            sock.sendto(payload, target)
        except OSError as error:
            if error.errno not in NOT_TAKEN:
                raise WorkloadError(f"cannot send a probe from {src} to {dst}: {error}") from None
        if backlog_bytes is not None:
            self._queue_lines.append(f"{self._sent_s(sent_ns):.9f},{src},{dst},{sequence},{backlog_bytes}\n")

    def _sent_s(self, sent_ns: int) -> float:
        return sent_ns / 1e9 - self._config.t0_s

    def collect(self, timeout_s: float = 0.0) -> None:
        """Receive what has arrived, waiting up to ``timeout_s`` for something to arrive."""
        ready = self._poll.poll(timeout_s)
        self.offset.update()
        for fd, _events in ready:
            host = self._host_of_fd[fd]
            while True:
                try:
                    data, control, _flags, _address = self._sockets[host].recvmsg(2048, 64)
                except BlockingIOError:
                    break
                self._note(host, data, control)

    def _note(self, host: str, data: bytes, control: Sequence[tuple[int, int, bytes]]) -> None:
        """Account for one received datagram; what is no probe of ours or arrives twice is ignored."""
        if len(data) < _PAYLOAD.size:
            return
        magic, sequence = _PAYLOAD.unpack_from(data)
        if magic != MAGIC:
            return
        probe = self._under_way.get(sequence)
        if probe is None:
            self.late += 1
            return
        stamp_ns = arrival_ns(control)
        if probe.dst != host:
            raise WorkloadError(f"the probe from {probe.src} to {probe.dst} arrived at {host}")
        del self._under_way[sequence]
        self.received += 1
        # less than nothing where the clock was set forward meanwhile: ``offset`` tells the verdict
        latency_ns = max(stamp_ns - self.offset.ns - probe.sent_ns, 0)
        self._lines.append(self._line(sequence, probe, f"{latency_ns / 1e9:.9f}"))

    def _line(self, sequence: int, probe: _Sent, latency: str) -> str:
        sent_s = self._sent_s(probe.sent_ns)
        return f"{sent_s:.9f},{probe.src},{probe.dst},{sequence},{latency},{probe.lateness_s:.9f}\n"

    def store(self) -> None:
        """Write what is known to the file; a probe under way for longer than ``linger_s`` is lost."""
        oldest_ns = time.monotonic_ns() - round(self._config.linger_s * 1e9)
        for sequence in [key for key, probe in self._under_way.items() if probe.sent_ns < oldest_ns]:
            self._lines.append(self._line(sequence, self._under_way.pop(sequence), ""))
            self.lost += 1
        self._file.append(self._lines)
        self._lines.clear()
        if self._queue_lines:
            self._queue_file.append(self._queue_lines)
            self._queue_lines.clear()

    def await_stragglers(self) -> None:
        """Collect until every probe has arrived or is lost, then store."""
        while self._under_way:
            last_ns = max(probe.sent_ns for probe in self._under_way.values())
            left_s = last_ns / 1e9 + self._config.linger_s - time.monotonic()
            if left_s < 0:
                break
            self.collect(left_s)
        self.store()


def senders(config: Config, start_s: float) -> list[_Sender]:
    """Return the hosts that send, evenly staggered over one interval from ``start_s`` (monotonic) on."""
    partners: dict[str, list[str]] = {}
    for src, dst in config.pairs:
        partners.setdefault(src, []).append(dst)
    step_s = config.interval_s / len(partners)
    return [
        _Sender(host, Schedule(start_s + number * step_s, config.interval_s), list(partners[host]))
        for number, host in enumerate(partners)
    ]


def probe_until_stopped(config: Config, probes: Probes, commands: Commands) -> list[Schedule]:
    """Send on schedule until ``stop``; return the hosts' schedules, which know how late each probe was sent."""
    now_s = time.monotonic()
    queue = [(sender.schedule.due_s, number, sender) for number, sender in enumerate(senders(config, now_s))]
    collect_due_s, store_due_s, collect_at = now_s, now_s + STORE_INTERVAL_S, COLLECT_PROBES
    while (command := commands.wait(queue[0][0])) is None:
        _due_s, number, sender = queue[0]
        late_s = sender.schedule.met(time.monotonic())
        probes.send(sender.host, sender.partners[0], late_s)
        sender.partners.append(sender.partners.pop(0))
        heapq.heapreplace(queue, (sender.schedule.due_s, number, sender))
        now_s = time.monotonic()
        if now_s >= collect_due_s or probes.sent >= collect_at:
            probes.collect()
            collect_due_s, collect_at = now_s + COLLECT_INTERVAL_S, probes.sent + COLLECT_PROBES
        if now_s >= store_due_s:
            probes.store()
            store_due_s = now_s + STORE_INTERVAL_S
    if command != STOP:
        raise WorkloadError(f"got command {command!r}, expected {STOP!r}")
    return [sender.schedule for _due_s, _number, sender in queue]


def run(config: Config, commands: Commands) -> None:
    """Wait for ``start``, probe until ``stop``, wait for stragglers. Raises TestbedError or OSError."""
    with Probes(config) as probes:
        emit("ready", hosts=len(config.hosts), pairs=len(config.pairs))
        command = commands.wait()
        if command not in (START, STOP):
            raise WorkloadError(f"got command {command!r}, expected {START!r}")
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        schedules = probe_until_stopped(config, probes, commands) if command == START else []
        cpu_cores = (time.process_time() - began_cpu_s) / max(time.monotonic() - began_s, 1e-9)
        probes.await_stragglers()
    lateness_s = [late_s for schedule in schedules for late_s in schedule.lateness_of_due_s]
    emit(
        "stopped",
        sent=probes.sent,
        received=probes.received,
        lost=probes.lost,
        late=probes.late,
        missed=sum(schedule.missed for schedule in schedules),
        send_lateness_p99_s=nearest_rank(lateness_s, 99),
        send_lateness_max_s=max(lateness_s, default=None),
        receive_error_estimate_s=probes.offset.error_ns / 1e9,
        cpu_cores=cpu_cores,
    )


if __name__ == "__main__":
    sys.exit(main("probes", Config.from_json, run))
