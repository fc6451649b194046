"""One GSP as a process: ``python -m testbed.agent.gsp --config FILE``.

Frames from hosts and fabric go through a ``testbed.gse.dataplane.edge.Edge``; with ``passthrough`` they go straight on,
which shows what the agent itself costs. Says ``ready``; answers ``stats`` with its counters; ``stop`` or the end of
stdin ends it with a last ``stats``. A bad frame is counted, never an error.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from testbed.agent.config import Config
from testbed.agent.sockets import CarrierWatch, FrameSocket
from testbed.errors import TestbedError
from testbed.gse.dataplane.edge import Edge
from testbed.gse.dataplane.status import status_json
from testbed.measurement.sidecar import emit, read_config
from testbed.system.pipes import LineReader

EPOCHS_PER_S = 10  # a new life within 100 ms of the last would not be told from it; starting takes longer


class Agent:
    """Sockets, core and loop. Use as a context manager."""

    def __init__(self, config: Config, commands: LineReader) -> None:
        self._config = config
        self._commands = commands
        self._stack = ExitStack()
        now_s = time.monotonic()
        self.edge = Edge(
            config.profile,
            config.place,
            epoch=int(now_s * EPOCHS_PER_S),
            rng=Random(f"{config.seed}/{config.name}"),
            now_s=now_s,
        )
        self._stopped = False

    def __enter__(self) -> Agent:
        config = self._config
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            self._poll = self._stack.enter_context(select.epoll())
            self._handlers: dict[int, Callable[[float], None]] = {}
            self._fabric = self._open(config.fabric_intf)
            self._hosts = {port: self._open(intf) for port, intf in config.host_intfs.items()}
            self._watch(self._fabric.sock.fileno(), self._from_fabric)
            for port, sock in self._hosts.items():
                self._watch(sock.sock.fileno(), self._host_handler(port, sock))
            if config.uplink_intfs:
                carrier = CarrierWatch(config.uplink_intfs)
                self._stack.callback(carrier.close)
                self._watch(carrier.sock.fileno(), lambda now_s: self._carrier(carrier, now_s))
            self._watch(self._commands.fd, self._command)
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _open(self, intf: str) -> FrameSocket:
        sock = FrameSocket(intf, frame_bytes=self._config.frame_bytes, buffer_bytes=self._config.buffer_bytes)
        self._stack.callback(sock.close)
        return sock

    def _watch(self, fd: int, handler: Callable[[float], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Move frames until told to stop."""
        edge, poll, handlers = self.edge, self._poll.poll, self._handlers
        while not self._stopped:
            due_s = None if self._config.passthrough else edge.due_s()
            timeout_s = None if due_s is None else max(0.0, due_s - time.monotonic())
            events = poll(timeout_s)
            now_s = time.monotonic()
            for fd, _mask in events:
                handlers[fd](now_s)
            if not self._config.passthrough:
                edge.advance(now_s)
                self._flush()

    def _flush(self) -> None:
        outlet = self.edge.outlet
        if outlet.to_fabric:
            send = self._fabric.send
            for frame in outlet.to_fabric:
                send(frame)
            outlet.to_fabric.clear()
        if outlet.to_hosts:
            hosts = self._hosts
            for port, inner in outlet.to_hosts:
                hosts[port].send((inner,))
            outlet.to_hosts.clear()

    def _from_fabric(self, now_s: float) -> None:
        if self._config.passthrough:
            self._fabric.receive(self._pass_to_host)
        else:
            self._fabric.receive(lambda frame: self.edge.from_fabric(frame, now_s))

    def _host_handler(self, port: int, sock: FrameSocket) -> Callable[[float], None]:
        if self._config.passthrough:
            return lambda _now_s: sock.receive(self._pass_on)
        return lambda now_s: sock.receive(lambda frame: self.edge.from_host(port, frame, now_s))

    def _pass_on(self, frame: bytes) -> None:
        where = self._config.place.hosts.get(frame[:6])
        if where is not None and where.gsp == self._config.place.gsp:
            self._hosts[where.port].send((frame,))
        else:
            self._fabric.send((frame,))

    def _pass_to_host(self, frame: bytes) -> None:
        where = self._config.place.hosts.get(frame[:6])
        if where is not None and where.gsp == self._config.place.gsp:
            self._hosts[where.port].send((frame,))
        else:
            self.edge.counters.misdirected += 1

    def _carrier(self, watch: CarrierWatch, now_s: float) -> None:
        for path, up in watch.changes():
            self.edge.carrier(path, up=up, now_s=now_s)

    def _command(self, _now_s: float) -> None:
        for line in self._commands.read():
            name = json.loads(line)["command"]
            if name == "stats":
                emit("stats", **self.stats())
            elif name == "stop":
                self._stopped = True
            else:
                raise ValueError(f"got command {name!r}, expected stats or stop")
        if not self._commands.open:
            self._stopped = True

    def stats(self) -> dict[str, Any]:
        """Return everything countable: see docs/gse.md."""
        sockets = [self._fabric, *self._hosts.values()]
        return {
            "name": self._config.name,
            "cpu_s": time.process_time(),
            "socket_drops": sum(sock.dropped() for sock in sockets),
            "queue_full": {sock.intf: sock.queue_full for sock in sockets if sock.queue_full},
            **status_json(self.edge, time.monotonic()),
        }


def run(config: Config, reader: LineReader) -> None:
    """Be the agent until told to stop."""
    with Agent(config, reader) as agent:
        emit("ready", name=config.name, epoch=agent.edge.epoch)
        agent.run()
        emit("stopped", **agent.stats())


def main() -> int:
    """Run as a program; a failure is an event, too."""
    parser = argparse.ArgumentParser(prog="testbed.agent.gsp")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see Config")
    path = parser.parse_args().config
    try:
        run(read_config(path, Config.from_json), LineReader(sys.stdin.buffer))
    except (TestbedError, OSError, ValueError) as error:
        emit("error", message=f"gsp: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
