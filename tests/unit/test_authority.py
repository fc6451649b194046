"""Rates between GSOS and the ranks: told when they change, as payload, and kept when GSOS is gone."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import ControllerError
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import TCP, Flow
from testbed.runs.authority import Authority

FLOWS = [[Flow("10.0.1.1", "10.0.2.1", TCP, 1000 + flow, 20_001) for flow in range(2)], []]
FABRIC = FabricSpec(mtu_bytes=9000)


class Gsos:
    def __init__(self) -> None:
        self.answer: list[float | None] | None = [None, None]

    def call(self, method: str, job: str) -> list[float | None]:
        assert (method, job) == ("authorised", "job")
        if self.answer is None:
            raise ControllerError("gone")
        return self.answer


class Ranks:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def pace(self, rates: Any) -> None:
        self.told.append(rates)


class Clock:
    def __init__(self) -> None:
        self.due: list[Any] = []

    def call_at(self, _at_s: float, function: Any) -> None:
        self.due.append(function)


class World:
    def __init__(self) -> None:
        self.gsos, self.ranks, self.clock = Gsos(), Ranks(), Clock()
        self.events: list[dict[str, Any]] = []
        authority: Any = Authority
        self.authority: Authority = authority(
            self.gsos,
            self.ranks,
            self.clock,
            announcements={"job": FLOWS[0]},
            flows=FLOWS,
            fabric=FABRIC,
            record=self.events.append,
        )


def test_nothing_is_told_while_nothing_is_limited() -> None:
    world = World()
    world.authority.update()
    assert world.ranks.told == world.events == []


def test_rates_are_told_as_payload_and_only_when_they_change() -> None:
    world = World()
    world.gsos.answer = [8.0, None]
    world.authority.update()
    payload = 8948 / 9014  # of a full frame, without headers, as SO_MAX_PACING_RATE counts
    assert world.ranks.told == [[[pytest.approx(1e6 * payload), None], []]]
    world.gsos.answer = [8.05, None]
    world.authority.update()
    assert len(world.ranks.told) == 1  # less than a percent
    world.gsos.answer = [8.2, None]
    world.authority.update()
    world.gsos.answer = [None, None]
    world.authority.update()
    assert [pair[0] for pair in world.ranks.told[1:]] == [[pytest.approx(1.025e6 * payload), None], [None, None]]
    assert [(event["limited"], event["most_mbps"]) for event in world.events] == [(1, 8.0), (1, 8.2), (0, None)]


def test_it_asks_again_and_again_until_gsos_is_gone() -> None:
    world = World()
    world.gsos.answer = [8.0, 4.0]
    world.authority.follow(0.5)
    world.gsos.answer = [4.0, 4.0]
    world.clock.due.pop()()
    assert len(world.ranks.told) == 2
    world.gsos.answer = None
    world.clock.due.pop()()
    assert world.clock.due == []
    assert len(world.ranks.told) == 2
