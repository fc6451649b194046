"""What GSPs believe of each other's paths, when notices are lost and agents start again, and of queues nobody has."""

from __future__ import annotations

from random import Random

import pytest

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile
from tests.unit.gse_fabric import Fabric

PROFILE = Profile(gap_s=0.1)
L1, L2 = wire.address(1), wire.address(2)
H11, H21, H31 = (1, 1), (2, 1), (3, 1)
FAULT = 5


def is_fault(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xb6" and frame[15] == FAULT


def talk(fabric: Fabric, until_s: float) -> None:
    """Keep a little traffic going from leaf 2 to leaf 1, so that timers run."""
    for number in range(int(until_s / 0.02)):
        fabric.send(0.02 * number, H21, H11, number, 200)


def lives(fabric: Fabric, gsp: int, leaf: int, path: int) -> bool:
    return fabric.edges[gsp].spread.lives(leaf, path)


def mended(fabric: Fabric, at_s: float) -> None:
    fabric.at(100.0 + at_s, fabric.dead.clear)


def broken(fabric: Fabric, at_s: float, leaf: int, path: int) -> None:
    fabric.at(100.0 + at_s, lambda: fabric.dead.add((leaf, path)))


def test_everybody_hears_of_a_failure_and_of_its_end() -> None:
    fabric = Fabric(PROFILE, leaves=3, hosts=1, paths=3, watches_paths=True)
    talk(fabric, 10)
    broken(fabric, 1, leaf=1, path=1)
    mended(fabric, 5)
    fabric.run(4.9)
    assert not any(lives(fabric, gsp, 1, 1) for gsp in (L2, wire.address(3)))
    assert lives(fabric, L2, 1, 0)
    fabric.run(9)
    assert lives(fabric, L2, 1, 1)
    for gsp in (L1, L2):  # and everybody remembers, once each
        story = [(change.leaf, change.path, change.up) for change in fabric.edges[gsp].failures.story]
        assert story == [(1, 2, False), (1, 2, True)]
    died_s, back_s = (change.t_s for change in fabric.edges[L2].failures.story)
    assert 101.0 < died_s < 101.08
    assert 105.9 < back_s < 106.3


def test_path_is_used_again_although_every_notice_of_its_return_is_lost() -> None:
    lost = [False]
    fabric = Fabric(
        PROFILE,
        leaves=2,
        hosts=1,
        paths=3,
        watches_paths=True,
        fate=lambda f, _r: [] if lost[0] and is_fault(f) else [0.0],
    )
    talk(fabric, 20)
    broken(fabric, 1, leaf=1, path=1)
    fabric.at(105.0, lambda: lost.__setitem__(0, True))
    mended(fabric, 5)
    fabric.run(4.9)
    assert not lives(fabric, L2, 1, 1)
    fabric.run(10)
    assert lives(fabric, L2, 1, 1)


def test_failure_stays_known_while_its_notices_come_only_now_and_then() -> None:
    dice = Random(5)
    fabric = Fabric(
        PROFILE,
        leaves=2,
        hosts=1,
        paths=3,
        watches_paths=True,
        fate=lambda f, _r: [] if is_fault(f) and dice.random() < 0.5 else [0.0],
    )
    talk(fabric, 12)
    broken(fabric, 1, leaf=1, path=1)
    unknown = []
    for step in range(100):
        fabric.at(102.0 + 0.1 * step, lambda: unknown.append(lives(fabric, L2, 1, 1)))
    fabric.run(12)
    assert sum(unknown) <= 10  # four notices in a row have to be lost before it is tried again


def test_agent_that_starts_again_is_believed_although_it_counts_anew() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=3, watches_paths=True)
    talk(fabric, 30)
    broken(fabric, 1, leaf=1, path=1)  # leaf 1 tells of it some forty times
    mended(fabric, 10)
    fabric.at(110.1, lambda: fabric.start(L1, epoch=2))
    fabric.at(110.1, lambda: fabric.turn(L1, lambda _edge: None))
    fabric.run(14)
    assert lives(fabric, L2, 1, 1)  # its former life's failure is over
    broken(fabric, 15, leaf=1, path=2)
    fabric.run(16)
    assert not lives(fabric, L2, 1, 2)


def test_old_life_is_not_believed_any_more() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=3)
    failures = fabric.edges[L2].failures
    failures.hear_fault(wire.Fault(L1, L2, 8, 1, 2, False, 3), 100.0)
    assert not lives(fabric, L2, 1, 1)
    failures.hear_fault(wire.Fault(L1, L2, 9, 1, 2, True, 1), 100.1)
    assert lives(fabric, L2, 1, 1)
    failures.hear_fault(wire.Fault(L1, L2, 8, 1, 2, False, 4), 100.2)
    failures.hear_fault(wire.Fault(L1, L2, 9, 1, 2, False, 1), 100.2)  # a copy
    assert lives(fabric, L2, 1, 1)


@pytest.mark.parametrize("demand", [20_000, 0x3FFF_FFFF])
def test_queue_that_nobody_has_does_not_keep_others_from_the_port(demand: int) -> None:
    """Requests for queues whose source sends nothing: a source that died, or a stranger."""
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=2)

    def stranger() -> None:
        for qid in (60_001, 60_002):
            request = wire.Request(L2, L1, 1, qid, 1, 1, demand, 0, 0, 0)
            frame = wire.control_frame(request, 1)
            fabric.turn(L1, lambda edge, frame=frame: edge.from_fabric(frame, fabric.now_s))

    for number in range(10):
        fabric.at(100.0 + 0.005 * number, stranger)
    for number in range(200):
        fabric.send(0.1 + 0.0075 * number, H21, H11, number, 9014)
    fabric.run(8)
    assert fabric.numbers(H11, H21) == list(range(200))
    ideal_s = 200 * 9014 / 1_250_000
    assert fabric.delivered_s[H11][-1] - 100.1 < ideal_s + 3 * PROFILE.gap_s + 0.5
