"""Fair turns: equal shares although demands become known bit by bit, nobody starved, nothing saved up."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.dataplane.grant import GrantScheduler
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.turns import Turns

PROFILE = Profile()
QUANTUM, FRAME = PROFILE.quantum_bytes, PROFILE.frame_bytes
RATE = 1_250_000.0


@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(0, 100_000))
def test_those_who_always_want_get_the_same_whatever_each_takes(seed: int, queues: int, memory_bytes: int) -> None:
    rng, turns, given_bytes = Random(seed), Turns(memory_bytes), Counter[int]()
    for number in range(queues):
        turns.enlist((number, 0), 0)
    for _ in range(40 * queues):
        key = turns.first()
        assert key is not None
        size_bytes = rng.randint(1, QUANTUM)
        ended = turns.give(size_bytes)
        given_bytes[key[0]] += size_bytes
        assert ended == given_bytes[key[0]]
        turns.enlist(key, ended)
    assert max(given_bytes.values()) - min(given_bytes.values()) <= QUANTUM


@given(st.lists(st.tuples(st.sampled_from(["enlist", "give", "leave"]), st.integers(0, 4)), max_size=80))
def test_who_waits_is_served_and_who_left_is_not(steps: list[tuple[str, int]]) -> None:
    turns, waiting, ended = Turns(1000), set[int](), Counter[int]()
    for step, number in steps:
        if step == "enlist" and number not in waiting:
            turns.enlist((number, 0), ended[number])
            waiting.add(number)
        elif step == "leave" and number in waiting:
            turns.leave((number, 0))
            waiting.discard(number)
        elif step == "give" and (key := turns.first()) is not None:
            ended[key[0]] = turns.give(500)
            waiting.remove(key[0])
        first = turns.first()
        assert (first is None) == (not waiting)
        assert first is None or first[0] in waiting
    while (key := turns.first()) is not None:
        turns.give(1)
        waiting.remove(key[0])
    assert not waiting


def test_nobody_saves_up_turns_while_wanting_nothing() -> None:
    turns, memory_bytes = Turns(3000), 3000
    turns.enlist((1, 0), 0)
    for _ in range(100):
        assert turns.first() == (1, 0)
        turns.enlist((1, 0), turns.give(1000))
    turns.enlist((2, 0), 0)  # 99,000 bytes behind
    order, ended = [], 0
    while len(order) < 12:
        key = turns.first()
        assert key is not None
        ended = turns.give(1000)
        order.append(key[0])
        turns.enlist(key, ended)
    ahead = order.index(1)
    assert ahead == memory_bytes // 1000 + 1  # its memory, and the turn that was going on
    assert order[ahead:] == [1, 2] * ((12 - ahead) // 2)


def shares(known_bytes: int, *, seconds: float = 60.0) -> dict[int, int]:
    """Let 15 queues want more than the port has; of queue 0 never more than ``known_bytes`` is known."""
    scheduler, granted, now_s = GrantScheduler(PROFILE, RATE, 0.0), dict.fromkeys(range(15), 0), 0.0
    for number in granted:
        demand = known_bytes if number == 0 else 1_000_000_000
        scheduler.hear((number, 0), epoch=1, tc=1, demand=demand, sent=0, now_s=0.0)
    while now_s < seconds:
        for issued in scheduler.issue(now_s):
            number = issued.key[0]
            scheduler.received(issued.key, issued.grant - granted[number])
            granted[number] = issued.grant
            if number == 0:  # what it sends says what came after it
                demand = granted[0] + known_bytes
                scheduler.hear(issued.key, epoch=1, tc=1, demand=demand, sent=granted[0], now_s=now_s)
        now_s = max(scheduler.due_s() or now_s, now_s + 1e-4)
    return granted


@pytest.mark.parametrize("known_bytes", [FRAME, 2 * FRAME, QUANTUM])
def test_queue_whose_demand_becomes_known_frame_by_frame_gets_its_share(known_bytes: int) -> None:
    granted = shares(known_bytes)
    assert granted[0] == pytest.approx(sum(granted.values()) / 15, abs=2 * QUANTUM)


def test_small_message_goes_before_those_that_always_want() -> None:
    scheduler = GrantScheduler(PROFILE, RATE, 0.0)
    for number in range(1, 15):
        scheduler.hear((number, 0), epoch=1, tc=1, demand=1_000_000_000, sent=0, now_s=0.0)
    now_s = granted = 0
    while now_s < 1.0:
        for issued in scheduler.issue(now_s):
            scheduler.received(issued.key, PROFILE.quantum_bytes)
            granted += 1
        now_s = (scheduler.due_s() or now_s) + 1e-4
    scheduler.hear((0, 0), epoch=1, tc=1, demand=200, sent=0, now_s=now_s)
    assert [issued.key[0] for issued in scheduler.issue(now_s)] == [0]
