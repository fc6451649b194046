"""Is every link as fast as configured? Saturate each queue with raw frames and time how it drains.

The frames carry an ethertype of their own and go to an address nobody has, so the other end of the link drops them:
a host because they are for another one, a switch because no rule matches. Must run in the switches' network
namespace, after the switches have their rules and before anything else sends. Judges nothing: that is for fidelity.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from testbed.errors import NetworkError
from testbed.evaluation.drainfit import DrainFit
from testbed.evaluation.records import CalibrationRow
from testbed.measurement.netlink import RouteSocket
from testbed.measurement.netlink_format import SHAPER, TC_H_ROOT, Qdisc
from testbed.model.topology import Direction, Topology
from testbed.system.namespaces import network_namespace_of
from testbed.units import bytes_to_mbps, mbps_to_bytes_per_s
from testbed.wire import ETHERNET_HEADER_BYTES, frame_bytes

log = logging.getLogger(__name__)

ETHERTYPE: Final = 0x88B7  # OUI-extended; nothing else here uses it
HEADER: Final = bytes.fromhex("026773650001026773650002") + ETHERTYPE.to_bytes(2, "big")
FRAMES_PER_S: Final = 30_000.0  # the userspace datapath takes this from all links together without loss
MOST_AT_ONCE: Final = 128  # a round over as many takes 2 ms
ERROR_FRACTION: Final = 0.002  # wanted standard error
WORST_ERROR_FRACTION: Final = 0.01  # accepted when time is up
COVERED_S: Final = 0.1  # at least, so that single late timers do not decide
REPEAT_FRACTION: Final = 0.02  # an error worth a second look; the verdict's limit is 3%
HOLD_S: Final = 0.05  # a queue is kept filled for this long: as long a stall does no harm
READ_INTERVAL_S: Final = (0.0005, 0.01)  # three readings per frame within these bounds
FILL_GRACE_S: Final = 1.0
DRAIN_GRACE_S: Final = 2.0
SO_SNDBUFFORCE: Final = 32


@dataclass(slots=True)
class _Queue:
    """The egress queue of a direction, and what fills and reads it."""

    direction: Direction
    frame: bytes
    target_bytes: int  # kept waiting, in the shaper or on the way to it
    node: _Node
    shaper: Qdisc
    root: Qdisc
    fit: DrainFit = field(init=False)

    def __post_init__(self) -> None:
        self.fit = DrainFit(len(self.frame))

    def step(self) -> None:
        """Read the counters, top up the queue, take the reading."""
        before_s = time.monotonic()
        now = self.node.reader.qdisc(self.shaper.ifindex, self.shaper.handle)
        t_s = (before_s + time.monotonic()) / 2
        stacked = self.root.handle != self.shaper.handle
        waiting = (
            self.node.reader.qdisc(self.root.ifindex, self.root.handle).backlog_bytes if stacked else now.backlog_bytes
        )
        taken = self._send(-(-(self.target_bytes - waiting) // len(self.frame)))
        # behind a delay line what was just sent has yet to arrive
        ready = now.backlog_bytes + (0 if stacked else taken)
        self.fit.add(t_s, now.sent_bytes, now.backlog_bytes, ready)

    def _send(self, frames: int) -> int:
        """Send up to ``frames`` frames; return the bytes the queue took."""
        address = (self.direction.src.intf, ETHERTYPE)
        for number in range(frames):
            try:
                self.node.sender.sendto(self.frame, address)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS):  # the queue is full
                    raise NetworkError(f"calibration of {self.direction.name}: cannot send: {error}") from None
                return number * len(self.frame)
        return max(frames, 0) * len(self.frame)

    def backlog_bytes(self) -> int:
        """Return what waits, including what is in a delay line."""
        return self.node.reader.qdisc(self.root.ifindex, self.root.handle).backlog_bytes

    @property
    def measured(self) -> bool:
        """Whether the rate is known as well as wanted."""
        return self.fit.covered_s >= COVERED_S and self.fit.error_fraction <= ERROR_FRACTION

    @property
    def known(self) -> bool:
        """Whether the rate is known well enough to be told."""
        return self.fit.error_fraction <= WORST_ERROR_FRACTION

    @property
    def frame_s(self) -> float:
        """Time one frame takes on the link."""
        return len(self.frame) / mbps_to_bytes_per_s(self.direction.rate_mbps)

    def row(self) -> CalibrationRow:
        """Return the result. Raises NetworkError when there is none to be trusted."""
        rate = self.fit.rate_bytes_per_s
        if rate is None or not self.known:
            raise NetworkError(
                f"calibration of {self.direction.name}: could not keep its queue filled at "
                f"{self.direction.rate_mbps:g} Mbit/s; got {self.fit.covered_s:.3f} s of it, expected enough to know "
                f"the rate within {WORST_ERROR_FRACTION:.0%}. Either the rate is not enforced or the machine is too "
                "slow or too busy to send as much: try a lower rate"
            )
        measured_mbps = bytes_to_mbps(rate, 1.0)
        return CalibrationRow(
            direction=self.direction.name,
            configured_mbps=self.direction.rate_mbps,
            measured_mbps=measured_mbps,
            error_fraction=measured_mbps / self.direction.rate_mbps - 1,
        )


def calibrate(
    topology: Topology, host_pids: Mapping[str, int], *, frames_per_s: float = FRAMES_PER_S
) -> list[CalibrationRow]:
    """Measure the rate of every direction and return a row for each, in the order of ``topology.directions``.

    ``host_pids`` is host name -> PID of a process in it. As many directions as together send ``frames_per_s`` are
    measured at a time. Leaves every queue empty. Raises NetworkError when a queue cannot be measured or emptied.
    """
    began_s = time.monotonic()
    rows: list[CalibrationRow] = []
    with ExitStack() as stack:
        nodes = _Nodes(stack, host_pids)
        for batch in batches(topology.directions, frame_bytes(topology.fabric.mtu_bytes), frames_per_s):
            rows += _measure(topology, batch, nodes)
    log.info("calibrated %d directions in %.2f s", len(rows), time.monotonic() - began_s)
    return rows


def _measure(topology: Topology, batch: Sequence[Direction], nodes: _Nodes) -> list[CalibrationRow]:
    """Measure some directions at the same time: once, or three times where one is off, and then the median.

    A machine that stands still for 30 ms lets links look 5% slow once; a wrong rate is wrong every time.
    A machine that cannot keep so many queues filled gets half of them at a time.
    """
    passes: list[list[CalibrationRow]] = []
    wanted = 1
    while len(passes) < wanted:
        queues = [_queue(topology, direction, nodes) for direction in batch]
        _saturate(queues)
        _await_empty(queues)
        if len(batch) > 1 and not all(queue.known for queue in queues):
            middle = len(batch) // 2
            return [*_measure(topology, batch[:middle], nodes), *_measure(topology, batch[middle:], nodes)]
        passes.append([queue.row() for queue in queues])
        if max(abs(row.error_fraction) for row in passes[0]) > REPEAT_FRACTION:
            wanted = 3
    return [sorted(rows, key=lambda row: row.error_fraction)[len(rows) // 2] for rows in zip(*passes, strict=True)]


def batches(directions: Sequence[Direction], frame_bytes: int, frames_per_s: float) -> list[list[Direction]]:
    """Cut the directions, in order, into batches that together send at most ``frames_per_s``.

    One that alone sends more is a batch of its own; none has more than ``MOST_AT_ONCE``.
    """
    cut: list[list[Direction]] = []
    room = 0.0
    for direction in directions:
        needed = mbps_to_bytes_per_s(direction.rate_mbps) / frame_bytes
        if not cut or needed > room or len(cut[-1]) == MOST_AT_ONCE:
            cut.append([])
            room = frames_per_s
        cut[-1].append(direction)
        room -= needed
    return cut


class _Node:
    """What reads and what sends in one network namespace, and the queues there by interface."""

    def __init__(self, stack: ExitStack) -> None:
        self.reader = stack.enter_context(RouteSocket())
        # Protocol 0: it only sends. One for all interfaces, because closing one takes the kernel 10 ms.
        self.sender = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        self.sender.setblocking(False)
        self.queues: dict[str, list[Qdisc]] = {}
        for qdisc in self.reader.qdiscs():
            self.queues.setdefault(qdisc.intf, []).append(qdisc)
        self._buffer_bytes = 1 << 20

    def make_room(self, size_bytes: int) -> None:
        """Let the sender have this many bytes more under way: a frame counts with its bookkeeping, up to twice."""
        self._buffer_bytes += 2 * size_bytes
        self.sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, self._buffer_bytes // 2)  # the kernel doubles it


class _Nodes:
    """The switches' namespace and each host's, opened when first needed."""

    def __init__(self, stack: ExitStack, host_pids: Mapping[str, int]) -> None:
        self._stack = stack
        self._host_pids = host_pids
        self._switches = _Node(stack)
        self._hosts: dict[str, _Node] = {}

    def of(self, name: str) -> _Node:
        """Return what to use for a switch or host. Raises NetworkError when it cannot be entered."""
        if name not in self._host_pids:
            return self._switches
        if name not in self._hosts:
            try:
                with network_namespace_of(self._host_pids[name]):
                    self._hosts[name] = _Node(self._stack)
            except OSError as error:
                raise NetworkError(f"calibration: cannot enter {name}: {error}") from None
        return self._hosts[name]


def _queue(topology: Topology, direction: Direction, nodes: _Nodes) -> _Queue:
    """Find the queue of a direction. Raises NetworkError when it is not shaped."""
    node, intf = nodes.of(direction.src.node), direction.src.intf
    qdiscs = node.queues.get(intf, [])
    shaper = next((qdisc for qdisc in qdiscs if qdisc.kind == SHAPER), None)
    root = next((qdisc for qdisc in qdiscs if qdisc.parent == TC_H_ROOT), None)
    if shaper is None or root is None:
        kinds = ", ".join(qdisc.kind for qdisc in qdiscs) or "none"
        raise NetworkError(f"calibration of {direction.name}: queues of {intf} are: {kinds}; expected {SHAPER}")
    frame = HEADER + bytes(frame_bytes(topology.fabric.mtu_bytes) - ETHERNET_HEADER_BYTES)
    target_bytes = _target_bytes(topology, direction, len(frame))
    node.make_room(target_bytes)
    return _Queue(direction, frame, target_bytes, node, shaper, root)


def _target_bytes(topology: Topology, direction: Direction, frame: int) -> int:
    """Return how many bytes to keep waiting: enough for ``HOLD_S``, no more than the queue takes without loss."""
    fabric = topology.fabric
    rate = mbps_to_bytes_per_s(direction.rate_mbps)
    limit = min(fabric.queue_bytes, fabric.ecn_threshold_bytes or fabric.queue_bytes)
    filled = min(max(round(rate * HOLD_S), 3 * frame), max(limit - frame, frame))
    return filled + round(rate * (fabric.delay_ms or 0.0) / 1e3)


def _saturate(queues: Sequence[_Queue]) -> None:
    """Keep the queues filled and read them until every rate is known, or time is up."""
    slowest_s = max(queue.frame_s for queue in queues)
    low_s, high_s = READ_INTERVAL_S
    interval_s = min(max(min(queue.frame_s for queue in queues) / 3, low_s), high_s)
    # a line through n readings of a staircase with steps of frame_s has the standard error frame_s / (T sqrt(n))
    expected_s = max((slowest_s * interval_s**0.5 / ERROR_FRACTION) ** (2 / 3), COVERED_S)
    deadline_s = time.monotonic() + 3 * expected_s + FILL_GRACE_S
    while not all(queue.measured for queue in queues):
        next_s = time.monotonic() + interval_s
        for queue in queues:
            queue.step()
        now_s = time.monotonic()
        if now_s > deadline_s:
            break
        time.sleep(max(next_s - now_s, 0.0))


def _await_empty(queues: Sequence[_Queue]) -> None:
    """Return when nothing waits any more. Raises NetworkError when a queue does not drain."""
    left = list(queues)
    longest_s = max(queue.target_bytes / mbps_to_bytes_per_s(queue.direction.rate_mbps) for queue in queues)
    deadline_s = time.monotonic() + 2 * longest_s + DRAIN_GRACE_S
    while True:
        waiting = [(queue, backlog) for queue in left if (backlog := queue.backlog_bytes())]
        if not waiting:
            return
        if time.monotonic() > deadline_s:
            queue, backlog = waiting[0]
            raise NetworkError(f"calibration of {queue.direction.name}: {backlog} bytes still wait, expected 0")
        left = [queue for queue, _backlog in waiting]
        time.sleep(min(backlog / mbps_to_bytes_per_s(queue.direction.rate_mbps) for queue, backlog in waiting))
