"""Background elephants: iperf3 transfers that run beside the measured traffic.

What iperf3 3.9 to 3.16 do and this module has to know:
- A client that cannot connect prints ``"error"`` and, with -J, may exit with status 0.
- Ended by a signal it still prints its JSON, with "error" saying so and status 1; the receiver's part of it is
  then 0, which means unknown. What it counts as sent includes what waits in the socket's buffer: on a
  10 Mbit/s link twice the truth after three seconds. So received bytes come from the server's own JSON.
- The server's last interval then appears twice, and its totals divide by the wrong time: intervals are added up here.
- Neither says in JSON mode when it is ready: the kernel's table of TCP sockets does.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from testbed.errors import ParseError, WorkloadError
from testbed.model.ranks import SOURCE_PORTS, TCP, Flow
from testbed.model.scenario import ElephantSpec
from testbed.model.topology import Host
from testbed.system.process import Child
from testbed.system.supervisor import Supervisor
from testbed.units import bytes_to_mbps

Spawn = Callable[[str, Sequence[str]], Sequence[str]]  # see testbed.workload.traffic

FIRST_SERVER_PORT = 5201
LONGER_THAN_ANY_RUN_S = 86_400  # iperf3 wants an end; it gets a signal earlier
REPORT_INTERVAL_S = 0.2
READY_TIMEOUT_S = 20.0
END_TIMEOUT_S = 5.0
GOODBYE_TIMEOUT_S = 2.0  # a server ends by itself when its client has said goodbye
READY_CHECK_INTERVAL_S = 0.02  # the kernel offers nothing to wait for
LISTEN, ESTABLISHED = "0A", "01"  # /proc/net/tcp, Documentation/networking/proc_net_tcp.rst


@dataclass(frozen=True, slots=True, kw_only=True)
class Elephant:
    """One background transfer: who sends to whom, its rate (Mbit/s, None: as fast as TCP goes) and its ports."""

    index: int
    src: Host
    dst: Host
    rate_mbps: float | None
    parallel: int
    src_port: int  # of the first stream; stream i uses src_port + i

    @property
    def port(self) -> int:
        """Port its server listens on."""
        return FIRST_SERVER_PORT + self.index

    @property
    def flows(self) -> tuple[Flow, ...]:
        """Return the 5-tuples of its streams."""
        return tuple(
            Flow(self.src.ip, self.dst.ip, TCP, self.src_port + stream, self.port) for stream in range(self.parallel)
        )

    def __str__(self) -> str:
        return f"elephant {self.index} ({self.src.name} -> {self.dst.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElephantResult:
    """What one transfer did. ``None`` is unknown: iperf3 did not say."""

    index: int
    src_host: str
    dst_host: str
    duration_s: float | None
    received_bytes: int | None
    throughput_mbps: float | None
    retransmitted_segments: int | None
    congestion_control: str | None


def plan_elephants(specs: Sequence[ElephantSpec], hosts: Sequence[Host], rng: Random) -> tuple[Elephant, ...]:
    """Return the transfers with source ports drawn from ``rng``, so that a seed fixes their 5-tuples."""
    by_name = {host.name: host for host in hosts}
    return tuple(
        Elephant(
            index=index,
            src=by_name[spec.src],
            dst=by_name[spec.dst],
            rate_mbps=spec.rate_mbps,
            parallel=spec.parallel,
            src_port=rng.randrange(SOURCE_PORTS.start, SOURCE_PORTS.stop - spec.parallel),
        )
        for index, spec in enumerate(specs)
    )


def server_argv(elephant: Elephant) -> list[str]:
    """Return the command of the receiving side: one test, then it ends."""
    interval = ["-i", str(REPORT_INTERVAL_S)]  # what arrives in an interval that does not end is not reported
    return ["iperf3", "-s", "-1", "-J", *interval, "-B", elephant.dst.ip, "-p", str(elephant.port)]


def client_argv(elephant: Elephant) -> list[str]:
    """Return the command of the sending side."""
    argv = ["iperf3", "-c", elephant.dst.ip, "-p", str(elephant.port), "-B", elephant.src.ip]
    argv += ["--cport", str(elephant.src_port), "-J", "-t", str(LONGER_THAN_ANY_RUN_S), "-P", str(elephant.parallel)]
    if elephant.rate_mbps is not None:  # iperf3's -b is for each stream
        argv += ["-b", str(round(elephant.rate_mbps * 1e6 / elephant.parallel))]
    return argv


class Elephants:
    """Starts, watches and ends the elephants of a run. ``raw_dir`` gets iperf3's output verbatim."""

    def __init__(self, supervisor: Supervisor, spawn: Spawn, elephants: Sequence[Elephant], raw_dir: Path) -> None:
        self._supervisor = supervisor
        self._spawn = spawn
        self._elephants = tuple(elephants)
        self._raw_dir = raw_dir
        self._servers: list[Child] = []
        self._clients: list[Child] = []
        self._stuck: list[str] = []

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of all iperf3 processes."""
        return tuple(child.pid for child in (*self._servers, *self._clients))

    def start(self) -> None:
        """Start all transfers and return when every stream is established. Raises WorkloadError with iperf3's words."""
        self._servers = [self._start(e, "server", e.dst, server_argv(e)) for e in self._elephants]
        self._await_sockets(self._servers, LISTEN, lambda _elephant: 1)
        self._clients = [self._start(e, "client", e.src, client_argv(e)) for e in self._elephants]
        self._await_sockets(self._clients, ESTABLISHED, lambda elephant: elephant.parallel + 1)  # one for control

    def stop(self) -> tuple[ElephantResult, ...]:
        """End all transfers and return what they did. Raises WorkloadError when one had failed."""
        for child in (*self._clients, *self._servers):
            child.stopping = True  # iperf3 calls a signal an error: the JSON tells real ones
        for child in self._clients:
            self._end(child)
        self._supervisor.wait_end(self._servers, GOODBYE_TIMEOUT_S)  # not if the goodbye was lost on the way
        for child in self._servers:
            self._end(child)
        if self._stuck:
            raise WorkloadError("; ".join(self._stuck))
        return tuple(self._result(elephant) for elephant in self._elephants)

    def _end(self, child: Child) -> None:
        status = self._supervisor.stop(child, with_signal=signal.SIGINT, timeout_s=END_TIMEOUT_S)
        if status == -signal.SIGKILL:
            self._stuck.append(f"{child} did not end within {END_TIMEOUT_S:g} s of SIGINT and was killed")

    def _path(self, elephant: Elephant, side: str) -> Path:
        return self._raw_dir / f"iperf3-{elephant.index}{'' if side == 'client' else '-server'}.json"

    def _start(self, elephant: Elephant, side: str, host: Host, argv: list[str]) -> Child:
        path = self._path(elephant, side)
        return self._supervisor.start(
            "background",
            self._spawn(host.name, argv),
            name=f"iperf3 {side} of {elephant}",
            host=host.name,
            log_path=path.with_suffix(".log"),
            stdout_path=path,
            account=lambda: error_in(path.read_text(errors="replace")),
        )

    def _await_sockets(self, children: Sequence[Child], state: str, expected: Callable[[Elephant], int]) -> None:
        pending: list[Child] = list(children)

        def look() -> None:
            pending[:] = [
                child
                for child, elephant in zip(children, self._elephants, strict=True)
                if count_sockets(_tcp_table(child.pid), elephant, state) < expected(elephant)
            ]
            if pending:
                self._supervisor.call_at(time.monotonic() + READY_CHECK_INTERVAL_S, look)

        look()
        self._supervisor.run_until(lambda: not pending, READY_TIMEOUT_S, "a connection", lambda: pending)

    def _result(self, elephant: Elephant) -> ElephantResult:
        client, server = (_load(self._path(elephant, side)) for side in ("client", "server"))
        for side, report in (("client", client), ("server", server)):
            if (error := report.get("error")) and not ended_by_signal(error):
                raise WorkloadError(f"iperf3 {side} of {elephant} failed: {error}")
        return summarize(elephant, client, server)


def ended_by_signal(error: str) -> bool:
    """Return whether iperf3's "error" only says that it or its peer was asked to end.

    A server that has closed its streams on the client's goodbye may still look at one of them for its last interval.
    """
    return error.endswith(("the client has terminated", "the server has terminated", "Bad file descriptor"))


def error_in(text: str) -> str | None:
    """Return what iperf3 says went wrong in its JSON output, None when it says nothing (or has printed none)."""
    try:
        report = json.loads(text)
    except ValueError:
        return None
    error = report.get("error") if isinstance(report, dict) else None
    return None if error is None else str(error)


def parse_report(text: str) -> dict[str, Any]:
    """Return iperf3's JSON output as a dict with "start", "intervals" and "end". Raises ParseError."""
    try:
        report = json.loads(text)
    except ValueError:
        raise ParseError("iperf3", text, "one JSON document") from None
    if not isinstance(report, dict) or not {"start", "intervals", "end"} <= report.keys():
        raise ParseError("iperf3", text, "an object with start, intervals and end")
    return report


def summarize(elephant: Elephant, client: dict[str, Any], server: dict[str, Any]) -> ElephantResult:
    """Join both sides' reports. Raises ParseError for an interval without bytes or duration."""
    try:
        sums = {interval["sum"]["start"]: interval["sum"] for interval in server["intervals"]}
        duration_s = float(sum(interval["seconds"] for interval in sums.values()))
        received_bytes = int(sum(interval["bytes"] for interval in sums.values()))
    except (KeyError, TypeError):
        raise ParseError(
            "iperf3", json.dumps(server["intervals"]), "intervals with a sum of start, seconds, bytes"
        ) from None
    return ElephantResult(
        index=elephant.index,
        src_host=elephant.src.name,
        dst_host=elephant.dst.name,
        duration_s=duration_s if sums else None,
        received_bytes=received_bytes if sums else None,
        throughput_mbps=bytes_to_mbps(received_bytes, duration_s) if duration_s > 0 else None,
        retransmitted_segments=client["end"].get("sum_sent", {}).get("retransmits"),
        congestion_control=client["end"].get("sender_tcp_congestion"),
    )


def count_sockets(table: str, elephant: Elephant, state: str) -> int:
    """Return how many sockets in a ``/proc/net/tcp`` listing are in ``state`` and belong to the elephant."""
    server, client = f"{_hex_ip(elephant.dst.ip)}:{elephant.port:04X}", _hex_ip(elephant.src.ip)
    count = 0
    for line in table.splitlines()[1:]:
        _number, local, remote, its_state, *_rest = line.split()
        listening = state == LISTEN and local == server
        connected = state == ESTABLISHED and remote == server and local.startswith(client)
        count += its_state == state and (listening or connected)
    return count


def _hex_ip(ip: str) -> str:
    """Return an IPv4 address as /proc/net/tcp prints it: the 32-bit word in the machine's byte order."""
    return f"{int.from_bytes(socket.inet_aton(ip), sys.byteorder):08X}"


def _tcp_table(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/net/tcp").read_text()
    except OSError:  # it has just died, which the supervisor reports
        return ""


def _load(path: Path) -> dict[str, Any]:
    return parse_report(path.read_text(errors="replace"))
