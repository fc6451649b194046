"""Agents' processes as the run asks them: what is asked of one that dies is asked of its successor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from testbed.errors import WorkloadError
from testbed.fabric.agents import AgentProcess, Agents
from testbed.system.supervisor import Supervisor

ANSWER = {"event": "stats", "cpu_s": 1.0, "timers_late": {"0": 5, "12": 1}, "agents": []}
READY = {"event": "ready", "core": "compiled"}


class FakeChild:
    def __init__(self, name: str, on_event: Callable[[dict[str, Any]], None], after_death: Callable[[], None]) -> None:
        self.name, self.say, self.die = name, on_event, after_death
        self.asked: list[dict[str, Any]] = []

    def send(self, command: dict[str, Any]) -> None:
        self.asked.append(command)


class FakeSupervisor:
    """Plays what processes do, one act a turn, instead of waiting."""

    def __init__(self) -> None:
        self.children: list[FakeChild] = []
        self.acts: list[Callable[[], None]] = []
        self.lives: list[str] = []

    def start(self, _role: str, argv: list[str], **told: Any) -> FakeChild:
        self.lives.append(argv[argv.index("--life") + 1])
        self.children.append(FakeChild(told["name"], told["on_event"], told["after_death"]))
        return self.children[-1]

    def call_at(self, _at_s: float, function: Callable[[], None]) -> None:
        self.acts.append(function)

    def run_until(self, done: Callable[[], bool], timeout_s: float, what: str, waiting_for: Any) -> None:
        while not done():
            if not self.acts:
                raise WorkloadError(f"waited {timeout_s:g} s in vain for {what} from {waiting_for()}")
            self.acts.pop(0)()


def started(folder: Path) -> tuple[FakeSupervisor, Agents]:
    fake = FakeSupervisor()
    agents = Agents(cast("Supervisor", fake), lambda _host: 1, folder)
    fake.acts = [lambda: fake.children[0].say(READY), lambda: fake.children[1].say(READY)]
    agents.start([AgentProcess(leaf, ()) for leaf in ("l1", "l2")])
    return fake, agents


def test_every_process_is_asked_once_and_waited_for(tmp_path: Path) -> None:
    fake, agents = started(tmp_path)
    fake.acts = [lambda child=child: child.say(ANSWER) for child in fake.children]  # type: ignore[misc]
    told = agents.stats(forget_waits=True)
    assert told["cpu_s"] == [1.0, 1.0]
    assert told["timers_late"] == [{0: 5, 12: 1}] * 2
    assert [child.asked for child in fake.children] == [[{"command": "stats", "forget_waits": True}]] * 2


def test_the_successor_of_one_that_dies_after_it_was_asked_is_asked_again(tmp_path: Path) -> None:
    fake, agents = started(tmp_path)
    first, second = fake.children
    fake.acts = [
        lambda: first.say(ANSWER),
        second.die,  # its successor is started
        lambda: fake.children[2].say(READY),
        lambda: fake.children[2].say({**ANSWER, "cpu_s": 0.1}),
    ]
    assert agents.stats()["cpu_s"] == [1.0, 0.1]
    assert [len(child.asked) for child in fake.children] == [1, 1, 1]
    assert fake.lives == ["1", "1", "2"]  # from which its epoch comes: newer than its predecessor's


def test_who_died_while_nobody_waited_has_a_successor(tmp_path: Path) -> None:
    """At the prompt nobody waits for events between commands."""
    fake, agents = started(tmp_path)
    fake.acts = [fake.children[1].die]
    with pytest.raises(WorkloadError, match="in vain for 'ready'"):
        agents.revive()
    fake.acts = [lambda: fake.children[2].say(READY)]
    agents.revive()
    assert fake.lives == ["1", "1", "2"]
    agents.revive()
    assert len(fake.children) == 3
    assert not any(child.asked for child in fake.children)


def test_an_old_answer_is_none(tmp_path: Path) -> None:
    fake, agents = started(tmp_path)
    fake.acts = [lambda child=child: child.say(ANSWER) for child in fake.children]  # type: ignore[misc]
    agents.stats()
    with pytest.raises(WorkloadError, match="in vain for 'stats'"):
        agents.stats()
