"""Senders that do not listen to ECN: they are paused, alone, and nothing is dropped."""

from __future__ import annotations

from itertools import pairwise

import pytest
from gse_fabric import Fabric
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.pressure import PAUSE_AT, RESUME_AT, BackPressure
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.status import status_json

FRAME = 9014
LIMIT = 40 * FRAME
H11, H12, H21, H22 = (1, 1), (1, 2), (2, 1), (2, 2)
L1 = 256


def overload(*, back_pressure: bool, e2e: bool, every_s: float = 0.002, obeys_s: float = 0.01) -> Fabric:
    """Return a fabric in which one host has sent another four times what the link takes, and a third something."""
    profile = Profile(limit_bytes=LIMIT, back_pressure=back_pressure, retransmit=True)
    fabric = Fabric(profile, leaves=2, hosts=2, e2e=e2e)
    fabric.send_greedily(H11, H21, 400, FRAME, every_s=every_s, obeys_s=obeys_s)
    for number in range(100):
        fabric.send(number * 0.01, H12, H22, number, FRAME)  # 0.7 of what its link takes
    fabric.run(8.0)
    return fabric


@pytest.mark.parametrize("e2e", [False, True])
def test_a_sender_that_never_slows_down_is_paused_alone_and_loses_nothing(e2e: bool) -> None:
    fabric = overload(back_pressure=True, e2e=e2e)
    assert fabric.total("queue_full_drops") == 0
    assert fabric.numbers(H21, H11) == list(range(400))
    assert fabric.numbers(H22, H12) == list(range(100))
    assert fabric.total("pauses") == sum(paused for _t_s, _host, paused in fabric.orders) > 1
    assert {host for _t_s, host, _paused in fabric.orders} == {H11}
    assert not fabric.paused
    assert all(first[2] != second[2] for first, second in pairwise(fabric.orders))  # never told twice
    # Its port never runs dry: what it delivers, it delivers at the rate of the port.
    delivered_s = fabric.delivered_s[H21]
    assert 399 * FRAME / (delivered_s[-1] - delivered_s[0]) > 0.95 * 0.985 * 1_250_000


@pytest.mark.parametrize("e2e", [False, True])
def test_without_back_pressure_the_same_sender_loses_what_its_queue_does_not_hold(e2e: bool) -> None:
    fabric = overload(back_pressure=False, e2e=e2e)
    assert fabric.total("queue_full_drops") > 50
    assert fabric.orders == []
    assert fabric.numbers(H22, H12) == list(range(100))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0005, 0.007), st.floats(0.0, 0.004))
def test_nothing_is_dropped_however_much_faster_it_sends_as_long_as_it_obeys_in_time(
    every_s: float, obeys_s: float
) -> None:
    assert overload(back_pressure=True, e2e=False, every_s=every_s, obeys_s=obeys_s).total("queue_full_drops") == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=400))
def test_a_port_is_paused_while_one_of_its_queues_is_full(
    steps: list[tuple[int, bool]],
) -> None:
    """Against the definition, over five queues of two ports that grow and shrink in any order."""
    profile = Profile(limit_bytes=LIMIT)
    pressure = BackPressure(profile)
    queues = [
        SourceQueue(profile, qid=qid, epoch=1, port=qid % 2, dst=512, dst_port=1, tc=1, now_s=0.0) for qid in range(5)
    ]
    full: set[int] = set()
    told: dict[int, bool] = {0: False, 1: False}
    for qid, grows in steps:
        queue = queues[qid]
        if grows:
            for _ in range(7):
                if queue.offer(b"x" * FRAME, 0.0):
                    pressure.grown(queue)
        else:
            for _ in range(min(5, queue.backlog_frames)):
                queue.take(0.0)
                pressure.shrunk(queue)
        if queue.backlog_bytes > PAUSE_AT * LIMIT:
            full.add(qid)
        elif queue.backlog_bytes <= RESUME_AT * LIMIT:
            full.discard(qid)
        for port, paused in pressure.orders:
            assert told[port] != paused
            told[port] = paused
        pressure.orders.clear()
        assert {port for port, paused in told.items() if paused} == {one % 2 for one in full}
        assert pressure.paused_ports == sorted({one % 2 for one in full})


def test_a_port_goes_on_when_its_queue_is_given_up() -> None:
    """Nobody grants: the watchdog drops what waits, and its sender must not stay paused for ever."""
    profile = Profile(limit_bytes=LIMIT, watchdog_s=0.3)
    fabric = Fabric(profile, leaves=2, hosts=2, fate=lambda _frame, _rng: [])
    for number in range(38):
        fabric.send(0.0, H11, H21, number, FRAME)
    fabric.run(0.5)
    assert status_json(fabric.edges[L1], fabric.now_s)["paused_ports"] == [1]
    fabric.run(3.0)
    assert fabric.total("watchdog_drops") == 38
    assert status_json(fabric.edges[L1], fabric.now_s)["paused_ports"] == []
    assert [paused for _t_s, _host, paused in fabric.orders] == [True, False]
