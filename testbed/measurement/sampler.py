"""Counters at regular times, by a process in the switches' namespace.

    python -m testbed.measurement.sampler --config FILE

Every ``interval_s`` it appends rows to links.csv and queues.csv of the run directory, whole samples at a time, and to
cpu.csv and threads.csv as often but no more than every ``USAGE_INTERVAL_S``; of the hosts' own interfaces only at the
start and at the end. Prints ``sampling`` when the first
sample is on disk, ``sampled`` after an extra one asked for by ``{"command": "sample"}``, and ``stopped`` after
``{"command": "stop"}`` or the end of stdin; a failure is an ``error`` event and exit status 1. Computes nothing:
rates and shares are made from the files.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.errors import WorkloadError
from testbed.evaluation.records import CpuRow, LinkRow, QueueRow, ThreadRow
from testbed.measurement.netlink import RouteSocket
from testbed.measurement.netlink_format import LinkCounters, Qdisc, egress_queues
from testbed.measurement.pacing import Schedule
from testbed.measurement.parsers import core_times
from testbed.measurement.sidecar import STOP, Commands, emit, main
from testbed.measurement.tablefile import TableFile
from testbed.measurement.threadtimes import Threads
from testbed.percentile import nearest_rank

LINK_END: Final = "veth"  # bridges' own ports and loopback are no ends of links
FIND_INTERVAL_S: Final = 1.0
USAGE_INTERVAL_S: Final = 0.2  # cores and threads: half of what a sample costs, for shares of whole iterations
PROC_STAT: Final = "/proc/stat"
SAMPLE: Final = "sample"


@dataclass(frozen=True, slots=True)
class Config:
    """What to sample. ``t0_s`` is a monotonic reading, ``roles`` PID -> role, ``host_pids`` host -> a PID in it."""

    run_dir: Path
    t0_s: float
    interval_s: float
    roles: Mapping[int, str]
    host_pids: Mapping[str, int]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Config:
        """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
        interval_s = float(value["interval_s"])
        if not interval_s > 0:
            raise ValueError(f"interval_s is {interval_s}, expected > 0")
        return cls(
            run_dir=Path(value["run_dir"]),
            t0_s=float(value["t0_s"]),
            interval_s=interval_s,
            roles={int(pid): str(role) for pid, role in value["roles"].items()},
            host_pids={str(host): int(pid) for host, pid in value["host_pids"].items()},
        )


class Interfaces:
    """The link ends of one network namespace: counters of each and of its egress queue, as rows."""

    def __init__(self, sock: RouteSocket, t0_s: float) -> None:
        self._socket = sock
        self._t0_s = t0_s
        self._names: dict[int, str] = {}
        self._seen: frozenset[int] = frozenset()

    def link_lines(self) -> list[str]:
        """Return one line of links.csv per link end."""
        counters, t_s = self._timed(self._socket.link_counters)
        seen = frozenset(one.ifindex for one in counters)
        if seen != self._seen:  # interfaces came or went
            self._names = {link.ifindex: link.intf for link in self._socket.links() if link.kind == LINK_END}
            self._seen = seen
        return [_link_line(t_s, self._names[one.ifindex], one) for one in counters if one.ifindex in self._names]

    def queue_lines(self) -> list[str]:
        """Return one line of queues.csv per link end that has a queue; to be called after ``link_lines``."""
        qdiscs, t_s = self._timed(self._socket.qdiscs)
        return [_queue_line(t_s, queue) for queue in egress_queues(qdiscs) if queue.ifindex in self._names]

    def _timed(self, read: Callable[[], list[Any]]) -> tuple[list[Any], float]:
        """Return what ``read`` returns and the middle of the time it took."""
        before_s = time.monotonic()
        value = read()
        return value, (before_s + time.monotonic()) / 2 - self._t0_s


def _link_line(t_s: float, intf: str, c: LinkCounters) -> str:
    return f"{t_s:.6f},{intf},{c.tx_bytes},{c.tx_packets},{c.rx_bytes},{c.rx_packets},{c.rx_dropped},{c.tx_dropped}\n"


def _queue_line(t_s: float, q: Qdisc) -> str:
    return (
        f"{t_s:.6f},{q.intf},{q.backlog_bytes},{q.backlog_packets},{q.sent_bytes},{q.sent_packets},"
        f"{q.dropped_packets},{q.overlimits}\n"
    )


class Sampler:
    """Everything that is read and where it goes. Use as a context manager."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._cores = os.sched_getaffinity(0)  # of a larger machine the others are nothing to the run
        self._stack = ExitStack()
        self._find_due_s = 0.0
        self._usage_due_s = 0.0

    def __enter__(self) -> Sampler:
        config, stack = self._config, self._stack
        with ExitStack() as undo:
            undo.enter_context(stack)
            row_types = (LinkRow, QueueRow, CpuRow, ThreadRow)
            self._links, self._queues, self._cpu, self._threads_file = (
                stack.enter_context(TableFile(config.run_dir, row_type)) for row_type in row_types
            )
            self._switches = Interfaces(stack.enter_context(RouteSocket()), config.t0_s)
            self._hosts = []
            for host, pid in config.host_pids.items():
                self._hosts.append(Interfaces(stack.enter_context(_socket_in(host, pid)), config.t0_s))
            self._threads = stack.enter_context(Threads(config.roles))
            self._stat_fd = os.open(PROC_STAT, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self._stat_fd)
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def look_for_threads(self) -> None:
        """Have the next sample read cores and threads and look for new ones, whenever it last did."""
        self._find_due_s = self._usage_due_s = 0.0

    def sample(self, usage_too: bool = False) -> None:
        """Read the switches' side and store it; the cores and the threads, too, where that is due or asked for."""
        self._store(self._switches)
        now_s = time.monotonic()
        if usage_too or now_s >= self._usage_due_s:
            self._usage_due_s = now_s + USAGE_INTERVAL_S - self._config.interval_s / 2
            self._cpu.append(self._cpu_lines(now_s - self._config.t0_s))
            self._threads_file.append(self._thread_lines(time.monotonic()))

    def sample_hosts(self) -> None:
        """Read the hosts' own ends of their links and store it."""
        for host in self._hosts:
            self._store(host)

    def _store(self, interfaces: Interfaces) -> None:
        self._links.append(interfaces.link_lines())
        self._queues.append(interfaces.queue_lines())

    def _thread_lines(self, now_s: float) -> list[str]:
        if now_s >= self._find_due_s:  # looking for new threads costs as much as all the rest
            self._threads.find()
            self._find_due_s = now_s + FIND_INTERVAL_S
        return self._threads.lines(now_s - self._config.t0_s)

    def _cpu_lines(self, t_s: float) -> list[str]:
        text = os.pread(self._stat_fd, 1 << 16, 0).decode()
        return [
            f"{t_s:.6f},{c.core},{c.user_s:.2f},{c.system_s:.2f},{c.idle_s:.2f},{c.iowait_s:.2f},{c.irq_s:.2f},"
            f"{c.softirq_s:.2f},{c.steal_s:.2f}\n"
            for c in core_times(text, self._ticks_per_s)
            if c.core in self._cores
        ]


def _socket_in(host: str, pid: int) -> RouteSocket:
    try:
        return RouteSocket.in_namespace_of(pid)
    except OSError as error:
        raise WorkloadError(f"{host} (pid {pid}) cannot be entered: {error}") from None


def run(config: Config, commands: Commands) -> None:
    """Sample until told to stop. Raises TestbedError or OSError."""
    with Sampler(config) as sampler:
        sampler.sample_hosts()
        schedule = Schedule(time.monotonic() + config.interval_s, config.interval_s)
        sampler.sample()
        samples = 2  # this one and the last
        emit("sampling", interval_s=config.interval_s)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        while (command := commands.wait(schedule.due_s)) != STOP:
            if command is None:
                schedule.met(time.monotonic())
            elif command != SAMPLE:
                raise WorkloadError(f"got command {command!r}, expected {SAMPLE!r} or {STOP!r}")
            else:
                sampler.look_for_threads()  # an extra sample is asked for when something has begun
            sampler.sample()
            samples += 1
            if command == SAMPLE:
                emit("sampled")
        cpu_s, duration_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
        sampler.sample(usage_too=True)
        sampler.sample_hosts()
    emit(
        "stopped",
        samples=samples,
        missed=schedule.missed,
        lateness_max_s=max(schedule.lateness_s, default=None),
        lateness_p99_s=nearest_rank(schedule.lateness_of_due_s, 99),
        cpu_cores=cpu_s / duration_s,
    )


if __name__ == "__main__":
    sys.exit(main("sampler", Config.from_json, run))
