"""Frames of a capture sent from hosts to hosts: ``python -m testbed.workload.replay --config FILE``, one for all hosts.

Every frame leaves its host through a packet socket when it is due and is looked for by one at its receiver. A frame is
told by its source address, which no host has (``testbed.capture.remap``), and its identification. scapy reads the file
before anything is sent and is not in the path.

Commands: ``start``, ``stop``, ``stop`` again to leave. Events: ``ready``, ``stopped``; a failure is an ``error`` event
and exit status 1.
"""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.capture.pcap import recorded
from testbed.capture.remap import ETHERNET_BYTES, ORIGIN, Prepared, Remapped, remap
from testbed.errors import WorkloadError
from testbed.evaluation.records import ReplayRow, cells_from_row
from testbed.measurement.arrival import SO_TIMESTAMPNS, ClockOffset, arrival_ns
from testbed.measurement.besides import Beside, beside_from, check_known
from testbed.measurement.sidecar import STOP, Commands, emit, main
from testbed.measurement.tablefile import TableFile
from testbed.model.cross_spec import ReplaySpec
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology
from testbed.percentile import nearest_rank
from testbed.system import packetfilter
from testbed.system.namespaces import network_namespace_of
from testbed.workload.replay_files import UNMAPPED_FILE

START: Final = "start"
STORE_INTERVAL_S: Final = 1.0
COLLECT_INTERVAL_S: Final = 0.05
COLLECT_FRAMES: Final = 32  # sent between two looks at what has arrived, at most
MOST_TOLD: Final = 20  # frames that cannot be sent, in the event; the file has all
ETH_P_IP: Final = 0x0800
SIOCGIFADDR: Final = 0x8915
SO_RCVBUFFORCE: Final = 33
ROOM_BYTES: Final = 4 * 1024 * 1024  # of a receiving socket
HEAD_BYTES: Final = ETHERNET_BYTES + 20
NOT_TAKEN: Final = (errno.EAGAIN, errno.ENOBUFS)  # the host's own queue is full: lost like anywhere else


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Beside):
    """What to send: what the scenario's ``cross_traffic.replay`` says."""

    scenario: Scenario
    spec: ReplaySpec

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        scenario, common = Scenario.model_validate(value["scenario"]), beside_from(value)
        check_known("the fabric's hosts", (host.name for host in Topology(scenario.fabric).hosts), common["hosts"])
        if scenario.cross_traffic.replay is None:
            raise ValueError("cross_traffic has no replay")
        return cls(**common, scenario=scenario, spec=scenario.cross_traffic.replay)

    def prepare(self) -> Remapped:
        """Read the capture and map it to hosts. Raises OSError or ValueError."""
        hosts = {host.name: host for host in Topology(self.scenario.fabric).hosts}
        with Path(self.spec.file).open("rb") as file:
            return remap(
                recorded(file, self.spec.most_frames),
                hosts,
                self.spec.map,
                mtu_bytes=self.scenario.fabric.mtu_bytes,
                time_scale=self.spec.time_scale,
            )


def only_replayed(sock: socket.socket) -> None:
    """Let a packet socket see only the heads of IPv4 frames whose source address begins with ``ORIGIN``."""
    packetfilter.attach(
        sock,
        (
            (packetfilter.LOAD_HALF, 0, 0, packetfilter.ETHERTYPE_AT),
            (packetfilter.JUMP_IF_EQUAL, 0, 3, ETH_P_IP),
            (packetfilter.LOAD_BYTE, 0, 0, ETHERNET_BYTES + 12),  # first byte of the source address
            (packetfilter.JUMP_IF_EQUAL, 0, 1, ORIGIN),
            (packetfilter.RETURN, 0, 0, HEAD_BYTES),
            (packetfilter.RETURN, 0, 0, 0),
        ),
    )


def interface_with(ip: str) -> str:
    """Return the interface of this namespace that has an address. Raises OSError where none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _index, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(sock, SIOCGIFADDR, request)
            except OSError:
                continue  # it has no address
            if socket.inet_ntoa(answer[20:24]) == ip:
                return name
    raise OSError(errno.EADDRNOTAVAIL, f"no interface has {ip}")


@dataclass(slots=True)
class _Sent:
    """A frame under way."""

    frame: Prepared
    sent_ns: int
    lateness_s: float


class Replay:
    """Packet sockets in every host that sends or receives, and what became of the frames. Use as a context manager."""

    def __init__(self, config: Config, remapped: Remapped) -> None:
        self._config, self._remapped = config, remapped
        self._stack = ExitStack()
        self._senders: dict[str, socket.socket] = {}
        self._receivers: dict[int, tuple[str, socket.socket]] = {}
        self._under_way: dict[tuple[str, bytes], deque[_Sent]] = {}  # by receiver, and what is in its IP header
        self._lines: list[str] = []
        self.offset = ClockOffset()
        self.sent = self.received = self.refused = 0
        self.lateness_s: list[float] = []

    def __enter__(self) -> Replay:
        frames = self._remapped.frames
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            self._file = self._stack.enter_context(TableFile(self._config.run_dir, ReplayRow))
            self._epoll = self._stack.enter_context(select.epoll())
            for name in dict.fromkeys(frame.src for frame in frames):
                self._senders[name] = self._open(name, protocol=0)
            for name in dict.fromkeys(frame.dst for frame in frames):
                sock = self._open(name, protocol=ETH_P_IP)
                self._receivers[sock.fileno()] = (name, sock)
                self._epoll.register(sock, select.EPOLLIN)
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _open(self, name: str, protocol: int) -> socket.socket:
        """Open a packet socket on the interface a host's TCP/IP uses; with ``protocol`` 0 it receives nothing."""
        pid, ip = self._config.hosts[name]
        try:
            with network_namespace_of(pid):
                sock = self._stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                if protocol:
                    only_replayed(sock)
                    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM_BYTES)
                    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                sock.bind((interface_with(ip), protocol))
        except OSError as error:
            raise WorkloadError(f"replay: {name} (pid {pid}) gets no packet socket: {error}") from None
        sock.setblocking(False)
        return sock

    def watch(self, fd: int) -> None:
        """Let ``collect`` end when ``fd`` becomes readable, too."""
        self._epoll.register(fd, select.EPOLLIN)

    def send(self, frame: Prepared, due_s: float) -> None:
        """Send a frame that was due at ``due_s`` (monotonic). One that the host's own queue does not take is lost."""
        sent = _Sent(frame, time.monotonic_ns(), max(time.monotonic() - due_s, 0.0))
        self.sent += 1
        self.lateness_s.append(sent.lateness_s)
        self._under_way.setdefault((frame.dst, _mark(frame.data)), deque()).append(sent)
        try:
            self._senders[frame.src].send(frame.data)
        except OSError as error:
            if error.errno not in NOT_TAKEN:
                said = f"frame {frame.number} cannot be sent from {frame.src} to {frame.dst}: {error}"
                raise WorkloadError(f"replay: {said}") from None
            self.refused += 1

    def collect(self, timeout_s: float) -> None:
        """Receive what has arrived, waiting up to ``timeout_s`` for something to arrive."""
        ready = self._epoll.poll(max(timeout_s, 0.0))
        self.offset.update()
        for fd, _events in ready:
            if fd not in self._receivers:
                continue
            name, sock = self._receivers[fd]
            while True:
                try:
                    data, control, _flags, _address = sock.recvmsg(HEAD_BYTES, 64)
                except BlockingIOError:
                    break
                waiting = self._under_way.get((name, _mark(data)))
                if waiting:
                    self._give_up(waiting)
                    sent = waiting.popleft()
                    self.received += 1
                    self._note(sent, max(arrival_ns(control) - self.offset.ns - sent.sent_ns, 0) / 1e9)

    def _give_up(self, waiting: deque[_Sent]) -> None:
        """Note as lost what has the mark of a later frame and is older than any frame may be (marks come again)."""
        while len(waiting) > 1 and time.monotonic_ns() - waiting[0].sent_ns > self._config.linger_s * 1e9:
            self._note(waiting.popleft(), None)

    def _note(self, sent: _Sent, latency_s: float | None) -> None:
        row = ReplayRow(
            sent_s=sent.sent_ns / 1e9 - self._config.t0_s,
            frame=sent.frame.number,
            src_host=sent.frame.src,
            dst_host=sent.frame.dst,
            size_bytes=len(sent.frame.data),
            latency_s=latency_s,
            send_lateness_s=sent.lateness_s,
        )
        self._lines.append(",".join(cells_from_row(row)) + "\n")

    def store(self) -> None:
        """Write what is known to the file."""
        self._file.append(self._lines)
        self._lines.clear()

    def await_stragglers(self) -> None:
        """Wait for what is under way, at most ``linger_s``; what has not come then is lost. Store it."""
        end_s = time.monotonic() + self._config.linger_s
        while self.received < self.sent - self.refused and (left_s := end_s - time.monotonic()) > 0:
            self.collect(min(left_s, COLLECT_INTERVAL_S))
        for waiting in self._under_way.values():
            for sent in waiting:
                self._note(sent, None)
        self._under_way.clear()
        self.store()


def _mark(frame: bytes) -> bytes:
    """Return what tells a frame from others at its receiver: identification and source address."""
    ip = frame[ETHERNET_BYTES : ETHERNET_BYTES + 20]
    return ip[4:6] + ip[12:16]


def replay_until_stopped(config: Config, replay: Replay, frames: deque[Prepared], commands: Commands) -> None:
    """Send what is due until ``stop``; when all is sent, go on listening."""
    start_s = time.monotonic() + config.spec.first_s
    replay.watch(commands.fd)
    store_due_s = start_s + STORE_INTERVAL_S
    while (command := commands.wait(0.0)) is None:
        for _number in range(COLLECT_FRAMES):
            if not frames or time.monotonic() < start_s + frames[0].due_s:
                break
            frame = frames.popleft()
            replay.send(frame, start_s + frame.due_s)
        due_s = start_s + frames[0].due_s if frames else store_due_s
        replay.collect(min(due_s, store_due_s) - time.monotonic())
        if time.monotonic() >= store_due_s:
            replay.store()
            store_due_s += STORE_INTERVAL_S
    if command != STOP:
        raise WorkloadError(f"got command {command!r}, expected {STOP!r}")


def run(config: Config, commands: Commands) -> None:
    """Prepare, wait for ``start``, send until ``stop``, wait for stragglers, leave at the next ``stop``.

    Raises TestbedError or OSError.
    """
    began_s = time.monotonic()
    try:
        remapped = config.prepare()
    except (OSError, ValueError) as error:
        raise WorkloadError(f"{config.spec.file}: {error}") from None
    unmapped = "".join(f"{one.number},{one.why}\n" for one in remapped.unmapped)
    (config.run_dir / "raw" / UNMAPPED_FILE).write_text(f"frame,why\n{unmapped}")
    with Replay(config, remapped) as replay:
        emit("ready", frames=len(remapped.frames), prepared_s=time.monotonic() - began_s)
        command = commands.wait()
        if command not in (START, STOP):
            raise WorkloadError(f"got command {command!r}, expected {START!r}")
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        frames = deque(remapped.frames)
        if command == START:
            replay_until_stopped(config, replay, frames, commands)
        cpu_cores = (time.process_time() - began_cpu_s) / max(time.monotonic() - began_s, 1e-9)
        replay.await_stragglers()
        emit(
            "stopped",
            sent=replay.sent,
            received=replay.received,
            refused=replay.refused,
            unsent=len(frames),
            unmapped=len(remapped.unmapped),
            unmapped_frames=[[one.number, one.why] for one in remapped.unmapped[:MOST_TOLD]],
            hosts=dict(remapped.hosts),
            send_lateness_p99_s=nearest_rank(replay.lateness_s, 99),
            receive_error_estimate_s=replay.offset.error_ns / 1e9,
            cpu_cores=cpu_cores,
        )
        commands.wait()


if __name__ == "__main__":
    sys.exit(main("replay", Config.from_json, run))
