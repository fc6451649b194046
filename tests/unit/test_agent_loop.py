"""The loop around the agents of one leaf: who is told what, without sockets."""

from __future__ import annotations

import errno
import select
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.agent.loop import Loop
from testbed.agent.sockets import CarrierWatch
from testbed.fabric.agents import agent_processes
from testbed.gse.dataplane.profile import Profile
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology

FD = 7


def test_what_comes_to_a_host_tells_the_gsp_of_its_leaf_by_which_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = agent_processes(Topology(FabricSpec()), attachment="host", profile=Profile(), passthrough=False, seed=1)
    commands: Any = SimpleNamespace()
    loop = Loop([config for _host, config in processes[0].agents], commands)
    for agent in loop.agents:
        agent._fabric = SimpleNamespace(send=lambda _frame: None)  # type: ignore[assignment]
    watcher, host, *others = loop.agents
    assert watcher.edge.place.watches_paths
    assert not any(agent.edge.place.watches_paths for agent in (host, *others))
    told: list[int] = []
    monkeypatch.setattr(watcher.edge, "seen", lambda paths, _now_s: told.append(paths))

    def frames_come(_now_s: float) -> None:
        host.edge.arrivals = 0b101
        loop._stopped = True

    loop._poll = SimpleNamespace(poll=lambda _timeout_s: [(FD, 1)])  # type: ignore[assignment]
    loop._handlers = {FD: (host, frames_come)}
    loop.run()
    assert told == [0b101]
    assert host.edge.arrivals == 0


def test_waits_that_are_forgotten_are_in_no_percentile() -> None:
    processes = agent_processes(Topology(FabricSpec()), attachment="leaf", profile=Profile(), passthrough=False, seed=1)
    loop = Loop([config for _host, config in processes[0].agents], SimpleNamespace())  # type: ignore[arg-type]
    (agent,) = loop.agents
    agent.edge.source.waits_s.append(0.5)
    agent.forget_waits()
    assert not agent.edge.source.waits_s


class _Overrun:
    """A netlink socket that has lost messages, once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._overrun = sock, True

    def recv(self, size: int) -> bytes:
        if self._overrun:
            self._overrun = False
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return self._sock.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_carriers_are_asked_for_anew_after_messages_were_lost() -> None:
    watch = CarrierWatch(["lo"])
    watch.sock = cast("socket.socket", _Overrun(watch.sock))
    try:
        heard = watch.changes()
        while not heard and select.select([watch.sock.fileno()], [], [], 5)[0]:
            heard = watch.changes()
        assert [number for number, _carrier in heard] == [0]
    finally:
        watch.close()
