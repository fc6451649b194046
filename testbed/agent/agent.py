"""One GSP agent: the pure core between its sockets. With ``passthrough`` frames go straight on instead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from random import Random
from typing import Any

from testbed.agent.brake import Brake
from testbed.agent.config import BrakeConfig, Config
from testbed.agent.journal import JournalFile
from testbed.agent.sockets import CarrierWatch, FrameSocket
from testbed.gse.dataplane.edge import Edge
from testbed.gse.dataplane.status import status_json
from testbed.journal.format import Birth
from testbed.journal.recorder import RecordedEdge
from testbed.system.namespaces import network_namespace_of


class Agent:
    """Sockets and core. ``due_s`` is when ``advance`` has to be called if no frame comes (None: not before one).

    ``life``: 1 for the first agent of its name in a network, one more for each that takes a dead one's place.
    """

    def __init__(self, config: Config, now_s: float, life: int = 1) -> None:
        self._life = life
        self._config, self._passthrough = config, config.passthrough
        self._stack = ExitStack()
        self.name = config.name
        self.due_s: float | None = now_s
        self._over = False  # the run needs nobody paused any more
        self._journal: JournalFile | None = None
        self.edge = self._core(now_s)

    def _core(self, now_s: float) -> Edge:
        config = self._config
        # a life's number and not its time: 16 bits of that would say after an hour or a day that the new one is older
        epoch, seed = self._life, f"{config.seed}/{config.name}"
        if config.journal is None:
            return Edge(config.profile, config.place, epoch=epoch, rng=Random(seed), now_s=now_s)
        self._journal = JournalFile(Path(config.journal), config.journal_most_bytes)
        self._stack.callback(self._journal.close)
        birth = Birth(name=config.name, profile=config.profile, place=config.place, epoch=epoch, seed=seed, now_s=now_s)
        edge = RecordedEdge(birth, self._journal.write)
        self._stack.callback(edge.close)
        return edge

    def __enter__(self) -> Agent:
        config = self._config
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            with nullcontext() if config.pid is None else network_namespace_of(config.pid):
                self._fabric = self._open(config.fabric_intf)
                self._hosts = {port: self._open(intf) for port, intf in config.host_intfs.items()}
                self._brakes = {port: self._brake(brake) for port, brake in config.brakes.items()}
                self._carrier = CarrierWatch(config.uplink_intfs) if config.uplink_intfs else None
            if self._carrier is not None:
                self._stack.callback(self._carrier.close)
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _open(self, intf: str) -> FrameSocket:
        sock = FrameSocket(intf, frame_bytes=self._config.frame_bytes, buffer_bytes=self._config.buffer_bytes)
        self._stack.callback(sock.close)
        return sock

    def _brake(self, config: BrakeConfig) -> Brake:
        brake = Brake(config)
        self._stack.callback(brake.close)
        return brake

    def handlers(self) -> dict[int, Callable[[float], None]]:
        """Return file descriptor -> what to call, with the time, when it is readable."""
        found = {sock.sock.fileno(): self._host_handler(port, sock) for port, sock in self._hosts.items()}
        found[self._fabric.sock.fileno()] = self._from_fabric
        if self._carrier is not None:
            found[self._carrier.sock.fileno()] = self._carrier_changed
        return found

    def advance(self, now_s: float) -> None:
        """Let the core do what is due and send what it has to send."""
        if self._passthrough:
            self.due_s = None
            return
        self.edge.advance(now_s)
        outlet = self.edge.outlet
        if outlet.to_fabric:
            fabric = self._fabric
            for frame in outlet.to_fabric:
                fabric.send(frame)
            outlet.to_fabric.clear()
        if outlet.to_hosts:
            hosts = self._hosts
            for port, inner in outlet.to_hosts:
                hosts[port].send((inner,))
            outlet.to_hosts.clear()
        orders = self.edge.source.pressure.orders
        if orders:
            for port, paused in orders:
                self._tell_sender(port, paused)
            orders.clear()
        self.due_s = self.edge.due_s()

    def _tell_sender(self, port: int, paused: bool) -> None:
        if self._over:
            return
        if paused:
            self._brakes[port].pause()
        else:
            self._brakes[port].release()

    def release_senders(self) -> None:
        """Let every sender go on, and pause none from now on."""
        self._over = True
        for brake in self._brakes.values():
            brake.release()

    def forget_waits(self) -> None:
        """Let the percentiles of what frames wait be of those that come from now on."""
        self.edge.source.waits_s.clear()

    def stats(self, now_s: float) -> dict[str, Any]:
        """Return everything countable: see docs/gse.md."""
        sockets = [self._fabric, *self._hosts.values()]
        return {
            "name": self.name,
            "socket_drops": sum(sock.dropped() for sock in sockets),
            "queue_full": {sock.intf: sock.queue_full for sock in sockets if sock.queue_full},
            **({} if self._journal is None else {"journal": self._journal.to_json()}),
            **status_json(self.edge, now_s),
        }

    def _from_fabric(self, now_s: float) -> None:
        passthrough, edge = self._passthrough, self.edge
        for frame in self._fabric.received():
            if passthrough:
                self._pass_to_host(frame)
            else:
                edge.from_fabric(frame, now_s)

    def _host_handler(self, port: int, sock: FrameSocket) -> Callable[[float], None]:
        return lambda now_s: self._from_host(port, sock, now_s)

    def _from_host(self, port: int, sock: FrameSocket, now_s: float) -> None:
        passthrough, edge = self._passthrough, self.edge
        for frame in sock.received():
            if passthrough:
                self._pass_on(frame)
            else:
                edge.from_host(port, frame, now_s)

    def _pass_on(self, frame: bytes) -> None:
        self.edge.counters.host_in_frames += 1
        self.edge.counters.host_in_bytes += len(frame)
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

    def _carrier_changed(self, now_s: float) -> None:
        assert self._carrier is not None
        for path, up in self._carrier.changes():
            self.edge.carrier(path, up=up, now_s=now_s)
