"""How many control frames it takes: who waits for his turn is not asked after, and what is known is not said again."""

from __future__ import annotations

import pytest
from gse_fabric import Fabric, host_frame, is_data, mac_of
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.dgsq import PATIENCE, PATIENCE_GAPS, SourceQueue
from testbed.gse.dataplane.grant import GrantScheduler
from testbed.gse.dataplane.profile import Profile

PROFILE = Profile()
FRAME = PROFILE.frame_bytes
USEFUL = FRAME + PROFILE.standing_credit_bytes
RATE = 1_250_000.0
H11, H21 = (1, 1), (2, 1)
L1, L2 = wire.address(1), wire.address(2)


def queue(profile: Profile = PROFILE) -> SourceQueue:
    return SourceQueue(profile, qid=0, epoch=1, port=1, dst=L2, dst_port=1, tc=1, now_s=0.0)


def requests(fabric: Fabric, src: int) -> list[wire.Request]:
    messages = [wire.parse_control(frame) for _t_s, frame in fabric.sent_frames if not is_data(frame)]
    return [m for m in messages if isinstance(m, wire.Request) and m.src == src]


# -- when a queue asks again ----------------------------------------------------------------------------------


def granted_every(step_s: float, grants: int) -> SourceQueue:
    """Return a queue with more demand than it gets, a frame every ``step_s``, the last one just now."""
    waiting, now_s = queue(), 0.0
    for _ in range(grants + 20):
        waiting.offer(bytes(FRAME), now_s)
    waiting.asked(now_s)
    for number in range(grants):
        now_s += step_s
        assert waiting.granted((number + 1) * FRAME, now_s)
        waiting.take(now_s)
    return waiting


@pytest.mark.parametrize(
    ("step_s", "patience_s"), [(0.01, 0.1), (0.06, 0.1), (0.1, 0.15), (0.2, 0.3), (0.3, 0.45), (0.5, 0.6)]
)
def test_a_queue_asks_again_when_its_usual_turn_has_passed(step_s: float, patience_s: float) -> None:
    waiting = granted_every(step_s, 12)
    due_s = waiting.ask_due_s()
    assert due_s is not None
    least_s, most_s = PROFILE.request_retry_s, PATIENCE_GAPS * PROFILE.gap_s
    assert patience_s == pytest.approx(min(max(least_s, PATIENCE * step_s), most_s))
    assert due_s == pytest.approx(12 * step_s + patience_s)


def used_up(ahead: int, *, every_s: float, idle_s: float = 0.0) -> tuple[SourceQueue, float]:
    """Return a queue that is granted a frame and so much more ``every_s``, and got one more than that ``idle_s`` later.

    And when that was.
    """
    waiting, now_s = queue(), 0.0
    for _ in range(8):
        now_s += every_s
        waiting.offer(bytes(FRAME), now_s)
        waiting.asked(now_s)
        waiting.granted(waiting.demand + ahead, now_s)
        waiting.take(now_s)
    now_s += idle_s
    while waiting.sent + FRAME <= waiting.grant:
        waiting.offer(bytes(FRAME), now_s)
        waiting.take(now_s)
    waiting.offer(bytes(FRAME), now_s)
    return waiting, now_s


@pytest.mark.parametrize(
    ("ahead", "every_s", "idle_s", "asks_after_s"),
    [
        (1500, 0.1, 0.0, 0.0),  # it never has credit for a frame it has not asked for: it asks at once
        (USEFUL, 0.1, 0.0, PROFILE.request_retry_s),  # it has, as one of many: the same will come again
        (USEFUL, 0.01, 0.0, 0.0),  # it gets much: it asks for more
        (PROFILE.quantum_bytes, 0.1, 0.0, 0.0),  # it might get much
        (USEFUL, 0.1, 0.15, PROFILE.request_retry_s),
        (USEFUL, 0.1, 0.25, 0.0),  # idle for more than half of ``age_s``: nothing is granted ahead any more
    ],
)
def test_one_of_many_waits_for_what_is_granted_ahead(
    ahead: int, every_s: float, idle_s: float, asks_after_s: float
) -> None:
    waiting, now_s = used_up(ahead, every_s=every_s, idle_s=idle_s)
    due_s = waiting.ask_due_s()
    assert due_s is not None
    assert max(due_s - now_s, 0.0) == pytest.approx(asks_after_s)


def test_what_was_told_is_too_little_to_be_granted_the_same_again() -> None:
    """A destination grants ahead once half of what it had granted so is used up: of less it has to be asked."""
    assert used_up_by(bytes(USEFUL // 2 - 100)).ask_due_s() == 1.1
    due_s = used_up_by(bytes(USEFUL // 2 + 100)).ask_due_s()
    assert due_s is not None and due_s >= 1.1 + PROFILE.request_retry_s


def used_up_by(frame: bytes) -> SourceQueue:
    """Return a queue of many that has sent ``frame`` of what it was granted ahead, and has a full frame to send."""
    waiting, _now_s = used_up(USEFUL, every_s=0.1)
    waiting.asked(1.0)
    waiting.granted(waiting.demand + USEFUL, 1.0)
    waiting.take(1.0)
    waiting.offer(frame, 1.1)
    waiting.take(1.1)
    waiting.offer(bytes(FRAME), 1.1)
    return waiting


def test_a_pause_is_no_wait_for_a_turn() -> None:
    """Messages of two segments, one after the other, a pause before each ten: no frame waits for a request's retry."""
    fabric, number = Fabric(PROFILE, leaves=2, hosts=1, paths=1), 0
    for burst in range(8):
        for message in range(10):
            for size in (4162, 2638):
                fabric.send(1.1 * burst + 0.03 * message, H11, H21, number, size)
                number += 1
    fabric.run(10.0)
    assert fabric.numbers(H21, H11) == list(range(number))
    assert max(fabric.edges[L1].source.waits_s) < 0.05


def test_a_queue_that_is_closed_forgets_what_was_usual() -> None:
    waiting = granted_every(0.2, 3)
    waiting.drop_all(1.0)
    waiting.close()
    waiting.offer(bytes(FRAME), 5.0)
    waiting.asked(5.0)
    assert waiting.ask_due_s() == pytest.approx(5.0 + PROFILE.request_retry_s)


def many_to_one(sources: int, frames: int, profile: Profile = PROFILE) -> Fabric:
    fabric = Fabric(profile, leaves=sources + 1, hosts=1, paths=1)
    for leaf in range(2, sources + 2):
        for number in range(frames):
            fabric.send(0.0001 * number, (leaf, 1), H11, number, FRAME)
    return fabric


def test_queues_that_wait_for_their_turn_seldom_ask() -> None:
    """Fifteen queues get a quantum each every 15 x 29 ms: asking every 100 ms would be four requests to a grant."""
    fabric = many_to_one(15, 40)
    fabric.run(2.0)
    before, granted = len(requests(fabric, L2)), fabric.total("grant_frames")
    fabric.run(5.0)
    assert len(requests(fabric, L2)) - before <= 8  # 3 s are seven turns
    assert fabric.total("grant_frames") - granted > 90
    fabric.run(10.0)
    for leaf in range(2, 17):
        assert fabric.numbers(H11, (leaf, 1)) == list(range(40))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.05, 0.4), st.integers(2, 6))
def test_lost_control_frames_heal_however_many_take_turns(seed: int, lost: float, sources: int) -> None:
    fabric = many_to_one(sources, 12, Profile(retransmit=True, watchdog_s=20.0))
    fabric.rng.seed(seed)
    fabric.fate = lambda frame, rng: [] if not is_data(frame) and rng.random() < lost else [0.0]
    fabric.run(60.0)
    for leaf in range(2, sources + 2):
        assert fabric.numbers(H11, (leaf, 1)) == list(range(12))
    assert fabric.total("watchdog_drops") == 0


# -- when a destination answers -------------------------------------------------------------------------------


def answered(granted: int) -> int:
    """Return how many grants a destination answers a repeated request with, of a queue that has heard ``granted``."""
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=1)
    edge = fabric.edges[L1]
    demand = 40 * FRAME  # more than the window
    edge.from_fabric(wire.control_frame(wire.Request(L2, L1, 1, 5, 1, 1, demand, 0, 0, 0), 1), 100.0)
    edge.advance(100.0)
    (first,) = [wire.parse_control(head) for head, _inner in edge.outlet.to_fabric]
    assert isinstance(first, wire.Grant) and first.entries[0].grant == PROFILE.quantum_bytes
    edge.outlet.to_fabric.clear()
    edge.from_fabric(wire.control_frame(wire.Request(L2, L1, 1, 5, 1, 1, demand, 0, 0, 0, granted), 1), 100.001)
    edge.advance(100.001)
    return len(edge.outlet.to_fabric)


@pytest.mark.parametrize(
    ("granted", "answers"), [(0, 1), (PROFILE.quantum_bytes - 1, 1), (PROFILE.quantum_bytes, 0), (1 << 20, 0)]
)
def test_only_who_has_not_heard_of_his_grant_is_told_again(granted: int, answers: int) -> None:
    assert answered(granted) == answers


def test_who_brings_news_is_told_of_a_lost_grant_that_fills_its_window() -> None:
    """Nothing more will be granted to it, so nothing else would say what it may send."""
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=1)
    edge, demand, now_s = fabric.edges[L1], 40 * FRAME, 100.0
    edge.from_fabric(wire.control_frame(wire.Request(L2, L1, 1, 5, 1, 1, demand, 0, 0, 0), 1), now_s)
    for _ in range(60):
        edge.advance(now_s)  # all its grants are lost
        now_s += 0.01
    edge.outlet.to_fabric.clear()
    news = wire.Request(L2, L1, 1, 5, 1, 1, demand + FRAME, 0, 0, 0)
    edge.from_fabric(wire.control_frame(news, 1), now_s)
    edge.advance(now_s)
    grants = [m for head, _inner in edge.outlet.to_fabric if isinstance(m := wire.parse_control(head), wire.Grant)]
    assert [one.entries[0].grant for one in grants] == [edge.sink.schedulers[1].outstanding_bytes]
    assert PROFILE.window_bytes - PROFILE.quantum_bytes < grants[0].entries[0].grant <= PROFILE.window_bytes


# -- credit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queues", "ahead"),
    [
        (1, PROFILE.quantum_bytes),
        (4, PROFILE.port_window_bytes // 8),
        (8, PROFILE.port_window_bytes // 16),
        (9, USEFUL),  # half the window by nine is less than that
        (13, USEFUL),  # 13 of them and a quantum, 172,738 bytes, fit into the window of 180,280
        (14, PROFILE.port_window_bytes // 28),
    ],
)
def test_queues_of_a_port_are_ahead_by_a_frame_at_least_while_there_is_room(queues: int, ahead: int) -> None:
    scheduler = GrantScheduler(PROFILE, RATE, 0.0)
    for source in range(queues):
        scheduler.hear((source, 0), epoch=1, tc=1, demand=FRAME, sent=0, now_s=0.0)
    assert scheduler._most_ahead() == ahead
    assert queues * ahead <= max(PROFILE.port_window_bytes / 2, PROFILE.port_window_bytes - PROFILE.quantum_bytes)


def test_steady_queues_of_a_port_need_not_ask_for_every_frame() -> None:
    """Twelve hosts send one another a frame in their turn: each has credit for the next one when it comes."""
    fabric = Fabric(PROFILE, leaves=13, hosts=1, paths=1)
    for leaf in range(2, 14):
        for number in range(60):
            fabric.send(0.1 * number + 0.008 * leaf, (leaf, 1), H11, number, FRAME)
    fabric.run(3.0)
    asked = fabric.total("requests")
    fabric.run(10.0)
    assert fabric.total("requests") == asked
    for leaf in range(2, 14):
        assert fabric.numbers(H11, (leaf, 1)) == list(range(60))


# -- all of it ----------------------------------------------------------------------------------------------


def test_every_pair_in_both_directions_takes_few_control_frames() -> None:
    """All to all among eight hosts, each with its own GSP; small frames go back for every other frame that comes."""
    fabric = Fabric(PROFILE, leaves=8, hosts=1, paths=2, e2e=True)
    hosts = [(leaf, 1) for leaf in range(1, 9)]
    pairs = [(src, dst) for src in hosts for dst in hosts if src != dst]
    for index, (src, dst) in enumerate(pairs):
        gsp = fabric.where[mac_of(*src)].gsp
        for number in range(60):
            at_s = number * 7 * 0.0075 + index * 0.0009
            size = FRAME if number % 2 else 66
            frame = host_frame(src, dst, number, size)
            fabric.at(100.0 + at_s, lambda g=gsp, f=frame: fabric.turn(g, lambda e: e.from_host(1, f, fabric.now_s)))
    fabric.run(10.0)
    for src, dst in pairs:
        assert fabric.numbers(dst, src) == list(range(60))
    control = sum(not is_data(frame) for _t_s, frame in fabric.sent_frames)
    assert control / len(fabric.sent_frames) < 0.3, {  # half, when every frame was asked for
        name: fabric.total(name) for name in ("requests", "grant_frames", "grants_on_data")
    }
