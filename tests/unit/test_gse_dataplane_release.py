"""What is granted leaves no faster than a GSP's own links carry, queue by queue."""

from __future__ import annotations

from random import Random

import pytest
from gse_fabric import RATE_BYTES_PER_S, Fabric
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.release import Release
from testbed.gse.dataplane.spread import Spreader

PROFILE = Profile()
RATE, BURST = 1_000_000.0, 18_000


def queue(qid: int, tc: int = 1) -> SourceQueue:
    return SourceQueue(PROFILE, qid=qid, epoch=1, port=1, dst=512, dst_port=1, tc=tc, now_s=0.0)


@given(st.lists(st.tuples(st.floats(0, 0.05), st.integers(0, 4), st.integers(60, 9014)), min_size=1, max_size=100))
def test_no_window_holds_more_than_rate_and_burst(wishes: list[tuple[float, int, int]]) -> None:
    """Frames of five queues; each leaves as soon as it is let."""
    release = Release(RATE, BURST, 0.0)
    queues = [queue(qid) for qid in range(5)]
    waiting: dict[int, list[int]] = {qid: [] for qid in range(5)}
    left: list[tuple[float, int]] = []

    def run(now_s: float) -> None:
        while (chosen := release.next(now_s)) is not None:
            size = waiting[chosen.qid].pop(0)
            release.spend(size)
            left.append((now_s, size))
            if waiting[chosen.qid]:
                release.enlist(chosen)

    now_s = 0.0
    for wait_s, qid, size in wishes:
        until_s = now_s + wait_s
        while (due_s := release.due_s()) is not None and due_s <= until_s:
            now_s = max(now_s, due_s)
            run(now_s)
        now_s = until_s
        waiting[qid].append(size)
        release.enlist(queues[qid])
        run(now_s)
    while (due_s := release.due_s()) is not None:
        now_s = max(now_s, due_s) + 1e-9
        run(now_s)
    assert sum(size for _t, size in left) == sum(size for _w, _q, size in wishes)  # nobody is forgotten
    for index, (from_s, _size) in enumerate(left):
        total = 0
        for until_s, size in left[index:]:
            total += size
            assert total <= (until_s - from_s) * RATE + BURST + 9014 + 1


def test_queues_take_turns_and_higher_classes_go_first() -> None:
    release = Release(RATE, BURST, 0.0)
    first, second, urgent = queue(1), queue(2), queue(3, tc=0)
    assert release.lets(first, 0.0)
    for one in (first, second, first, urgent):
        release.enlist(one)
    assert not release.lets(first, 0.0)  # others were first
    assert release.next(0.0) is urgent
    assert release.next(0.0) is first  # enlisted twice is enlisted once
    release.enlist(first)
    assert release.next(0.0) is second
    assert release.next(0.0) is first
    assert release.next(0.0) is None
    assert release.due_s() is None


def test_who_has_spent_too_much_waits_for_it() -> None:
    release = Release(RATE, BURST, 0.0)
    release.spend(BURST + 5000)
    release.enlist(queue(1))
    assert release.next(0.004) is None
    due_s = release.due_s()
    assert due_s == pytest.approx(0.005, abs=0.0001)
    assert release.next(due_s + 1e-9) is not None


@pytest.mark.parametrize("e2e", [True, False])
def test_a_gsp_granted_by_many_at_once_sends_what_its_links_carry(e2e: bool) -> None:
    """Every other host has a free port and grants; one host's link, or two uplinks, are what there is."""
    fabric = Fabric(PROFILE, leaves=6, hosts=2, paths=2, e2e=e2e)
    senders = [(1, 1)] if e2e else [(1, 1), (1, 2)]
    for sender in senders:
        for number in range(60):
            fabric.send(0.0, sender, (2 + number % 5, 1 + number // 5 % 2), number, 9014)
    fabric.run(30)
    src = fabric.where[bytes((2, 0, 0, 0, 1, 1))].gsp
    sent = [(t_s, h.inner_bytes + wire.OVERHEAD_BYTES) for t_s, h in fabric.data() if h.src == src]
    assert len(sent) == 60 * len(senders)
    links = 1 if e2e else 2
    most = links * PROFILE.release_bytes + 9014 + wire.OVERHEAD_BYTES
    for index, (from_s, _size) in enumerate(sent):
        total = 0
        for until_s, size in sent[index:]:
            total += size
            assert total <= (until_s - from_s) * links * RATE_BYTES_PER_S + most + 1
    busy_s = sent[-1][0] - sent[0][0]
    assert sum(size for _t, size in sent) >= 0.9 * busy_s * links * RATE_BYTES_PER_S  # and no link idles for it
    for leaf in range(2, 7):
        for port in (1, 2):
            for sender in senders:
                numbers = fabric.numbers((leaf, port), sender)
                assert numbers == sorted(numbers)
                assert len(numbers) == 6


def test_uplinks_are_reckoned_at_a_little_less_than_their_rate_while_one_is_dead() -> None:
    spread = Spreader(4, 1000.0, Random(1), room_bytes=100, pacing=0.9)
    assert spread.egress_bytes_per_s == 4000
    spread.set_local(0, up=False)
    assert spread.egress_bytes_per_s == pytest.approx(3 * 900)
    spread.set_local(0, up=True)
    spread.set_weight(2, 1, 0.0)  # far from here
    assert spread.egress_bytes_per_s == pytest.approx(4 * 900)
    spread.set_weight(2, 1, 1.0)
    assert spread.egress_bytes_per_s == 4000


def test_what_is_held_back_for_a_port_takes_room_in_its_window() -> None:
    edge = Fabric(PROFILE, leaves=2, hosts=1).edges[wire.address(1)]
    frames = [bytes(9014)] * (2 + PROFILE.deliver_bytes // 9014)
    edge.outlet.host(1, frames, 100.0)
    held_bytes = edge.outlet.held_bytes(1)
    assert held_bytes > 0
    edge.sink.handed_over({1})  # asks the scheduler of the port
    edge.sink.grant(100.0)
    assert edge.sink.schedulers[1].held_bytes == held_bytes
