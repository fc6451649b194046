"""The GSP agents of one leaf in one loop.

N2N: one agent that stands for the leaf. E2E: one that only watches the leaf's uplinks, and one for each host, in the
host's namespace; they share nothing but the process, which costs far fewer wake-ups than one each. A bad frame is
counted, never an error.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from math import inf
from typing import Any

from testbed.agent.agent import Agent
from testbed.agent.config import Config
from testbed.measurement.sidecar import emit
from testbed.system.pipes import LineReader


class Loop:
    """Agents, their sockets and the commands in one epoll loop. Use as a context manager."""

    def __init__(self, configs: Sequence[Config], commands: LineReader, life: int = 1) -> None:
        self._commands = commands
        self._stack = ExitStack()
        self._stopped = False
        self.agents = [Agent(config, time.monotonic(), life) for config in configs]
        self._timers_late: dict[int, int] = {}  # whole ms a timer was late -> how often
        self._watchers = [agent for agent in self.agents if agent.edge.place.watches_paths]

    def __enter__(self) -> Loop:
        with ExitStack() as undo:
            undo.enter_context(self._stack)
            self._poll = self._stack.enter_context(select.epoll())
            self._handlers: dict[int, tuple[Agent | None, Callable[[float], None]]] = {}
            for agent in self.agents:
                self._stack.enter_context(agent)
                for fd, handler in agent.handlers().items():
                    self._watch(fd, agent, handler)
            self._watch(self._commands.fd, None, self._command)
            undo.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _watch(self, fd: int, agent: Agent | None, handler: Callable[[float], None]) -> None:
        self._handlers[fd] = (agent, handler)
        self._poll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Move frames until told to stop."""
        poll, handlers, agents = self._poll.poll, self._handlers, self.agents
        for agent in agents:
            agent.advance(time.monotonic())
        while not self._stopped:
            due_s = inf
            for agent in agents:
                if agent.due_s is not None:
                    due_s = min(due_s, agent.due_s)
            before_s = time.monotonic()
            events = poll(None if due_s == inf else max(0.0, due_s - before_s))
            now_s = time.monotonic()
            if before_s < due_s <= now_s:  # what was due before has been late for other reasons than a timer's
                late_ms = int((now_s - due_s) * 1000)
                self._timers_late[late_ms] = self._timers_late.get(late_ms, 0) + 1
            touched = set()
            for fd, _mask in events:
                agent_of_fd, handler = handlers[fd]
                handler(now_s)
                if agent_of_fd is not None:
                    touched.add(agent_of_fd)
            self._tell_watchers(touched, now_s)
            for agent in agents:
                if agent in touched or (agent.due_s is not None and agent.due_s <= now_s):
                    agent.advance(now_s)

    def _tell_watchers(self, touched: Set[Agent], now_s: float) -> None:
        """What arrives at a host has come by an uplink of its leaf: as its switch sees every frame."""
        paths = 0
        for agent in touched:
            paths |= agent.edge.arrivals
            agent.edge.arrivals = 0
        if paths:
            for watcher in self._watchers:
                watcher.edge.seen(paths, now_s)

    def _command(self, _now_s: float) -> None:
        for line in self._commands.read():
            told = json.loads(line)
            name = told["command"]
            if name == "stats":
                emit("stats", **self.stats())
                if told.get("forget_waits"):
                    for agent in self.agents:
                        agent.forget_waits()
            elif name == "release":
                for agent in self.agents:
                    agent.release_senders()
                emit("released")
            elif name == "stop":
                self._stopped = True
            else:
                raise ValueError(f"got command {name!r}, expected stats, release or stop")
        if not self._commands.open:
            self._stopped = True

    def stats(self) -> dict[str, Any]:
        """Return what every agent counts (docs/gse.md); of all together processor time and how late timers were."""
        now_s = time.monotonic()
        return {
            "cpu_s": time.process_time(),
            "timers_late": self._timers_late,
            "agents": [agent.stats(now_s) for agent in self.agents],
        }


def configs_of(value: Mapping[str, Any]) -> list[Config]:
    """Read a decoded configuration file. Raises KeyError, TypeError or ValueError."""
    return [Config.from_json(one) for one in value["agents"]]
