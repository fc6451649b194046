"""The loop around the agents of one leaf: who is told what, without sockets."""

from __future__ import annotations

import errno
import select
import socket
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from testbed.agent import loop as module
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


def test_timers_that_fire_are_counted_by_how_late_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was due before somebody waited for it, and who is woken up before his time, tell nothing of timers."""
    now_s = 10.0
    wakes_s = [10.0125, 10.013, 10.020, 10.0339, 10.050]  # 2 ms late, due before, too early, 3 ms, nothing was due

    class Timed:
        due_s: float | None = None
        dues_s: ClassVar = [10.010, 10.011, 10.030, None]

        def advance(self, _now_s: float) -> None:
            self.due_s = self.dues_s.pop(0)

    def poll(_timeout_s: float | None) -> list[tuple[int, int]]:
        nonlocal now_s
        now_s = wakes_s.pop(0)
        loop._stopped = not wakes_s
        return []

    loop = Loop([], SimpleNamespace())  # type: ignore[arg-type]
    loop.agents = [cast("Any", Timed())]
    loop._poll, loop._handlers = cast("Any", SimpleNamespace(poll=poll)), {}
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s, process_time=lambda: 0.0))
    loop.run()
    loop.agents = []
    assert loop.stats()["timers_late"] == {2: 1, 3: 1}


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
