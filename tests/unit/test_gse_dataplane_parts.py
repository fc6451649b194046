from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.dataplane.delays import PathDelays
from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.former import Former
from testbed.gse.dataplane.grant import BUCKET_QUANTA, LATE, NO_DEMAND, WINDOW, GrantScheduler
from testbed.gse.dataplane.inner import flow_key, mark_congestion, traffic_class
from testbed.gse.dataplane.paths import PATIENCE, PathMonitor
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.reorder import Missing, ReorderBuffer
from testbed.gse.dataplane.serial import is_newer_epoch
from testbed.gse.dataplane.spread import Spreader

PROFILE = Profile()
RATE = 1_250_000.0
LATE_IS_HARMLESS_S = 0.5 * PROFILE.quantum_bytes / RATE  # what the bucket holds beyond a quantum


# -- container ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(60, 9014), min_size=1, max_size=100))
def test_container_never_exceeds_its_size_nor_closes_while_the_next_packet_fits(sizes: list[int]) -> None:
    former = Former(36_056)
    filled: dict[int, list[int]] = {}
    for size in sizes:
        place = former.place(size)
        assert place.first == (place.csn not in filled)
        assert place.pidx == len(filled.setdefault(place.csn, []))
        filled[place.csn].append(size)
    for csn, packets in filled.items():
        assert sum(packets) <= 36_056
        if csn + 1 in filled:
            assert sum(packets) + filled[csn + 1][0] > 36_056
    assert former.short == 0


def test_container_closed_by_an_empty_queue_counts_as_short() -> None:
    former = Former(30_000)
    former.place(9000)
    former.close()
    assert (former.formed, former.short) == (1, 1)
    for _ in range(3):
        former.place(10_000)
    former.close()
    assert (former.formed, former.short) == (2, 1)


# -- order ----------------------------------------------------------------------------------------------------


def test_a_gap_is_reported_at_its_age_though_another_just_was() -> None:
    buffer = ReorderBuffer(gap_s=1.0, buffer_bytes=1 << 20)
    buffer.accept(1, b"b", 1, 0.0)
    buffer.accept(3, b"d", 3, 0.02)
    assert buffer.ask(0.065, 0.06) == [Missing(0, 1)]
    assert buffer.ask(0.085, 0.06) == [Missing(2, 1)]
    assert buffer.ask(0.13, 0.06) == [Missing(0, 1)]


@given(st.permutations(range(30)))
def test_any_order_of_arrival_is_delivered_in_order(order: list[int]) -> None:
    buffer = ReorderBuffer(gap_s=1.0, buffer_bytes=1 << 20)
    got = [frame for number in order for frame in buffer.accept(number, bytes([number]) * 10, number * 10, 0.0)]
    assert got == [bytes([number]) * 10 for number in range(30)]
    assert buffer.depth_bytes == 0
    assert buffer.due_s is None


@given(st.sets(st.integers(0, 29)), st.permutations(range(30)))
def test_what_is_lost_is_skipped_after_the_gap_and_counted(lost: set[int], order: list[int]) -> None:
    buffer = ReorderBuffer(gap_s=1.0, buffer_bytes=1 << 20)
    got = []
    now_s = 0.0
    for number in order:
        if number not in lost:
            got += buffer.accept(number, bytes([number]) * 10, number * 10, now_s)
    while buffer.due_s is not None:
        assert buffer.give_up(buffer.due_s - 0.01) == (None, [])
        now_s = buffer.due_s
        missing, ready = buffer.give_up(now_s)
        assert missing is not None
        assert {(missing.psn + i) for i in range(missing.packets)} <= lost
        got += ready
    assert [frame[0] for frame in got] == sorted(set(range(30)) - lost)
    arrived = sorted(set(range(30)) - lost)
    behind = [number for number in lost if arrived and number < arrived[-1]]
    assert buffer.skipped == len(behind)
    assert buffer.lost_bytes == 10 * len(behind)


def test_late_and_doubled_packets_are_not_delivered_again() -> None:
    buffer = ReorderBuffer(gap_s=0.1, buffer_bytes=1 << 20)
    assert buffer.accept(1, b"b", 1, 0.0) == []
    assert buffer.accept(1, b"b", 1, 0.0) == []
    assert buffer.give_up(0.2) == (Missing(0, 1), [b"b"])
    assert buffer.accept(0, b"a", 0, 0.3) == []
    assert buffer.late == 2


def test_gap_is_asked_for_by_how_long_its_packets_have_waited_whatever_else_comes() -> None:
    """A filled gap in front lets the next begin anew, and looking in vain is no asking: neither holds up a report."""
    buffer = ReorderBuffer(gap_s=1.0, buffer_bytes=1 << 20)
    buffer.accept(5, b"f", 5, 0.00)
    assert buffer.ask(0.05, 0.06) == []
    buffer.accept(2, b"c", 2, 0.03)
    buffer.accept(0, b"a", 0, 0.04)
    buffer.accept(1, b"b", 1, 0.045)  # delivers up to 2
    assert buffer.ask(0.065, 0.06) == [Missing(3, 2)]
    assert buffer.ask(0.10, 0.06) == []  # again only after as long
    assert buffer.ask(0.13, 0.06) == [Missing(3, 2)]


def test_full_buffer_goes_on_without_the_missing() -> None:
    buffer = ReorderBuffer(gap_s=100.0, buffer_bytes=100)
    got = [frame for number in range(1, 20) for frame in buffer.accept(number, bytes(10), number * 10, 0.0)]
    assert len(got) == 19
    assert buffer.overflows == 1
    assert buffer.skipped == 1


@pytest.mark.parametrize("start", [0, 0xFFFF_FFF0])
def test_packet_numbers_wrap(start: int) -> None:
    buffer = ReorderBuffer(gap_s=1.0, buffer_bytes=1000, expected=start)
    for number in range(40):
        assert buffer.accept((start + number) & 0xFFFF_FFFF, b"x", 0, 0.0) == [b"x"]


# -- grants ---------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 0.02), st.integers(0, 5), st.integers(1, 60_000)), min_size=1, max_size=80),
)
def test_grants_stay_inside_rate_windows_and_demand(steps: list[tuple[float, int, int]]) -> None:
    now_s = 50.0
    scheduler = GrantScheduler(PROFILE, RATE, now_s)
    demand = dict.fromkeys(range(6), 0)
    granted = dict.fromkeys(range(6), 0)
    total = 0
    story = [(now_s, 0)]
    for wait_s, queue, more in steps:
        now_s += wait_s
        demand[queue] += more
        scheduler.hear((queue, 0), epoch=1, tc=1, demand=demand[queue], sent=0, now_s=now_s)
        for issued in scheduler.issue(now_s):
            number = issued.key[0]
            total += issued.grant - granted[number]
            granted[number] = issued.grant
            assert issued.grant <= demand[number] + PROFILE.quantum_bytes
            assert issued.grant <= PROFILE.window_bytes  # nothing has been received
        story.append((now_s, total))
        assert scheduler.outstanding_bytes == total <= PROFILE.port_window_bytes
    for index, (from_s, before) in enumerate(story):  # whatever the window
        for until_s, after in story[index + 1 :]:
            bucket = BUCKET_QUANTA * PROFILE.quantum_bytes
            assert after - before <= (until_s - from_s) * RATE * PROFILE.pacing + bucket + 1
    # and what was earned is granted, unused for a reason, or still there
    earned = PROFILE.quantum_bytes + (now_s - 50.0) * RATE * PROFILE.pacing
    assert total + sum(scheduler.unused_bytes.values()) <= earned + 1
    assert total + sum(scheduler.unused_bytes.values()) >= earned - BUCKET_QUANTA * PROFILE.quantum_bytes - 1
    assert scheduler.unused_bytes[LATE] == 0 or max(wait_s for wait_s, _queue, _more in steps) > LATE_IS_HARMLESS_S


def test_every_queue_with_demand_is_served_in_turn() -> None:
    now_s = 0.0
    scheduler = GrantScheduler(PROFILE, RATE, now_s)
    granted = dict.fromkeys(range(10), 0)
    for queue in granted:
        scheduler.hear((queue, 0), epoch=1, tc=1, demand=10_000_000, sent=0, now_s=now_s)
    while now_s < 20.0:
        for issued in scheduler.issue(now_s):
            scheduler.received(issued.key, issued.grant - granted[issued.key[0]])
            granted[issued.key[0]] = issued.grant
        now_s = max(scheduler.due_s() or now_s, now_s + 1e-4)
    assert max(granted.values()) - min(granted.values()) <= PROFILE.quantum_bytes
    assert sum(granted.values()) == pytest.approx(20 * RATE * PROFILE.pacing, rel=0.01)


@pytest.mark.parametrize(("late_s", "wasted"), [(0.0, False), (0.012, False), (0.04, True)])
def test_grant_that_goes_out_late_takes_nothing_from_the_next_within_reason(late_s: float, wasted: bool) -> None:
    """A busy machine asks the scheduler some ms after it was due; the port must not idle for it."""
    now_s = granted = 0
    scheduler = GrantScheduler(PROFILE, RATE, 0.0)
    scheduler.hear((1, 0), epoch=1, tc=1, demand=10_000_000, sent=0, now_s=0.0)
    while now_s < 5.0:
        for issued in scheduler.issue(now_s):
            scheduler.received(issued.key, issued.grant - granted)
            granted = issued.grant
        now_s = (scheduler.due_s() or now_s) + late_s
    could = 5.0 * RATE * PROFILE.pacing
    if wasted:
        assert scheduler.unused_bytes[LATE] > 0.1 * could
        assert granted + scheduler.unused_bytes[LATE] == pytest.approx(could, rel=0.03)
    else:
        assert granted == pytest.approx(could, rel=0.015)
        assert scheduler.unused_bytes[LATE] == 0
    assert scheduler.unused_bytes[WINDOW] == scheduler.unused_bytes[NO_DEMAND] == 0


def test_what_a_port_could_have_granted_is_said_with_its_cause() -> None:
    scheduler = GrantScheduler(PROFILE, RATE, 0.0)
    scheduler.issue(10.0)
    assert sum(scheduler.unused_bytes.values()) == 0  # nobody is here
    scheduler.hear((1, 0), epoch=1, tc=1, demand=1000, sent=0, now_s=10.0)
    scheduler.issue(10.0)
    scheduler.issue(12.0)
    assert scheduler.unused_bytes[NO_DEMAND] == pytest.approx(2.0 * RATE * PROFILE.pacing, rel=0.05)
    scheduler.hear((1, 0), epoch=1, tc=1, demand=10_000_000, sent=1000, now_s=12.0)
    t_s = 12.0
    while t_s < 14.0:
        t_s += 0.005
        scheduler.issue(t_s)  # nothing arrives: the window is soon full
    filled = PROFILE.window_bytes / (RATE * PROFILE.pacing)
    assert scheduler.unused_bytes[WINDOW] == pytest.approx((2.0 - filled) * RATE * PROFILE.pacing, rel=0.05)


def test_higher_class_goes_first() -> None:
    scheduler = GrantScheduler(PROFILE, RATE, 0.0)
    for queue, tc in ((1, 1), (2, 1), (3, 0)):
        scheduler.hear((queue, 0), epoch=1, tc=tc, demand=100_000, sent=0, now_s=0.0)
    assert [issued.key[0] for issued in scheduler.issue(0.0)] == [3]


def test_restarted_queue_begins_anew_and_its_old_life_is_ignored() -> None:
    scheduler = GrantScheduler(PROFILE, RATE, 0.0)
    assert scheduler.hear((1, 0), epoch=7, tc=1, demand=50_000, sent=0, now_s=0.0) == 50_000
    assert scheduler.hear((1, 0), epoch=8, tc=1, demand=1000, sent=0, now_s=0.0) == 1000
    assert scheduler.hear((1, 0), epoch=7, tc=1, demand=60_000, sent=0, now_s=0.0) is None
    assert [issued.grant for issued in scheduler.issue(0.0)] == [1000 + PROFILE.standing_credit_bytes]


@pytest.mark.parametrize(("epoch", "than", "newer"), [(2, 1, True), (1, 2, False), (1, 1, False), (0, 0xFFFF, True)])
def test_epochs_wrap(epoch: int, than: int, newer: bool) -> None:
    assert is_newer_epoch(epoch, than) is newer


# -- source queue ---------------------------------------------------------------------------------------------


def queue() -> SourceQueue:
    return SourceQueue(PROFILE, qid=0, epoch=1, port=1, dst=512, dst_port=1, tc=1, now_s=0.0)


def test_queue_asks_at_once_then_again_after_a_while() -> None:
    q = queue()
    assert q.ask_due_s() is None
    q.offer(bytes(1000), 1.0)
    assert q.ask_due_s() <= 1.0
    q.asked(1.0)
    assert q.ask_due_s() == pytest.approx(1.0 + PROFILE.request_retry_s)
    assert q.granted(1000, 1.05)
    assert q.sendable()
    assert q.take(1.06) == (bytes(1000), pytest.approx(0.06))
    assert q.ask_due_s() is None
    assert not q.granted(1000, 2.0)
    assert not q.granted(500, 2.0)


def test_queue_drops_only_at_its_limit() -> None:
    profile = Profile(limit_bytes=10_000)
    q = SourceQueue(profile, qid=0, epoch=1, port=1, dst=512, dst_port=1, tc=1, now_s=0.0)
    assert [q.offer(bytes(1000), 0.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert q.dropped_frames == 2


# -- spreading ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(60, 40_000), min_size=20, max_size=200), st.integers(0, 1000))
def test_paths_share_bytes_equally_whatever_the_sizes(sizes: list[int], seed: int) -> None:
    spreader = Spreader(4, RATE, Random(seed))
    for size in sizes:
        spreader.record(1, spreader.choose(1, 0.0), size, 0.0)
    assert max(spreader.path_bytes) - min(spreader.path_bytes) <= max(sizes)


def test_dead_path_gets_nothing_and_comes_back_without_a_flood() -> None:
    spreader = Spreader(3, RATE, Random(1))
    for _ in range(30):
        spreader.record(1, spreader.choose(1, 0.0), 1000, 0.0)
    spreader.set_weight(1, 0, 0.0)
    for _ in range(30):
        path = spreader.choose(1, 100.0)
        assert path != 0
        spreader.record(1, path, 1000, 100.0)
    spreader.set_weight(1, 0, 1.0)
    chosen = []
    for _ in range(30):
        path = spreader.choose(1, 200.0)
        spreader.record(1, path, 1000, 200.0)
        chosen.append(path)
    assert 8 <= chosen.count(0) <= 12


def test_sources_that_begin_alike_do_not_go_on_in_step() -> None:
    def met(slack_bytes: int) -> float:
        """Return how often four sources that send at the same time choose one and the same path."""
        sources = [Spreader(4, RATE, Random(seed), slack_bytes=slack_bytes) for seed in range(4)]
        for source in sources:  # all have sent the same so far: the next choice is the same for all
            for path, size in enumerate((0, 1, 2, 3)):
                source.record(1, path, 36_000 + size, 0.0)
        together = 0
        for turn in range(200):
            paths = set()
            for source in sources:
                path = source.choose(1, 1000.0 + turn)
                source.record(1, path, 36_000, 1000.0 + turn)
                paths.add(path)
            together += len(paths) == 1
        for source in sources:
            assert max(source.path_bytes) - min(source.path_bytes) <= 3 * 36_003
        return together / 200

    assert met(0) == 1.0
    assert met(36_000) < 0.1  # by chance 4 x (1/4)^4


def test_weight_is_the_share() -> None:
    spreader = Spreader(2, RATE, Random(1))
    spreader.set_weight(1, 1, 0.25)
    for number in range(1000):
        spreader.record(1, spreader.choose(1, number), 1000, number)
    assert spreader.path_bytes[1] / sum(spreader.path_bytes) == pytest.approx(0.2, abs=0.01)


def test_two_destinations_do_not_choose_the_same_uplink_at_once() -> None:
    spreader = Spreader(2, RATE, Random(1))
    first = spreader.choose(1, 0.0)
    spreader.record(1, first, 10_000, 0.0)
    assert spreader.choose(2, 0.0) != first


def test_slowed_path_gets_its_part_and_recovers() -> None:
    spreader = Spreader(2, RATE, Random(1))
    for _ in range(3):
        spreader.slow_down(1, 1, 0.5)
    for number in range(900):
        spreader.record(1, spreader.choose(1, number), 1000, number)
    assert spreader.path_bytes[1] / spreader.path_bytes[0] == pytest.approx(1 / 8, abs=0.01)
    for _ in range(30):
        spreader.recover(1.1)
    assert spreader.paces() == {}
    before = list(spreader.path_bytes)
    for number in range(900, 1100):
        spreader.record(1, spreader.choose(1, number), 1000, number)
    assert [now - then for now, then in zip(spreader.path_bytes, before, strict=True)] == [100_000, 100_000]


def test_delays_are_judged_against_the_fastest_path_of_the_same_source() -> None:
    delays = PathDelays(0.05)
    told = []
    for interval in range(5):
        for src, path, delay_s in ((1, 1, 0.01), (1, 2, 0.12), (2, 1, 0.5), (2, 2, 0.51), (1, 3, 9.0)):
            for number in range(5):
                now_s = 4290.0 + interval + number  # around where 32 bits of microseconds wrap
                delays.record(src, path, int((now_s - delay_s) * 1e6) & 0xFFFF_FFFF, now_s)
        told.append(delays.judge())
        assert delays.judge() == []  # nothing came meanwhile: that neither tells nor ends a streak
    assert told == [[], [], [(1, 3, 3)], [(1, 3, 3)], [(1, 3, 3)]]


def test_paths_that_are_slow_in_turn_are_not_called_slow() -> None:
    delays = PathDelays(0.05)
    for interval in range(9):
        now_s = 100.0 + interval
        for path in (1, 2, 3):
            delay_s = 0.9 if path == interval % 3 + 1 else 0.01
            delays.record(1, path, int((now_s - delay_s) * 1e6), now_s)
        assert delays.judge() == []


# -- paths ----------------------------------------------------------------------------------------------------


NO_HELLO = -1


class Hellos:
    """A monitor in virtual time: a hello over ``path`` comes back after ``back_s(path, now_s)``, None: never.

    ``arrivals``: when frames come by which path, in order.
    """

    def __init__(
        self,
        back_s: Callable[[int, float], float | None],
        paths: int = 2,
        arrivals: Iterable[tuple[float, int]] = (),
    ) -> None:
        self.monitor = PathMonitor(PROFILE, paths, 0.0)
        self.changes: list[tuple[int, bool, float]] = []
        self.asked = [0] * paths
        self._back_s = back_s
        self._events: list[tuple[float, int, int]] = []  # when, path, hello (NO_HELLO: a frame)
        for at_s, path in arrivals:
            heapq.heappush(self._events, (at_s, path, NO_HELLO))

    def run(self, from_s: float, until_s: float) -> None:
        """Serve what comes back and what is due; nothing before ``from_s`` (a process that stood still)."""
        for _ in range(200_000):
            due_s = self.monitor.due_s
            at_s = max(from_s, min(due_s, self._events[0][0] if self._events else due_s))
            if at_s > until_s:
                return
            while self._events and self._events[0][0] <= at_s:
                _back_s, path, hello = heapq.heappop(self._events)
                if hello == NO_HELLO:
                    self.monitor.arrived(path, at_s)
                else:
                    self.monitor.heard(path, hello, at_s)
            self.changes += [(path, up, at_s) for path, up in self.monitor.check(at_s)]
            if self.monitor.due_s <= at_s:  # what has just come may have made something due
                hello, asked = self.monitor.asks(at_s)
                for path in asked:
                    self.asked[path] += 1
                    if (back_s := self._back_s(path, at_s)) is not None:
                        heapq.heappush(self._events, (at_s + back_s, path, hello))
            assert self.monitor.due_s > at_s - 1e-9
        raise AssertionError("the monitor does not come to rest")


@given(
    st.floats(1.0, 1.1),
    st.integers(1, 8).flatmap(lambda paths: st.tuples(st.just(paths), st.integers(0, paths - 1))),
    st.floats(0.0005, 0.014),
)
def test_path_is_dead_after_three_missing_hellos_and_alive_after_clean_seconds(
    dies_s: float, paths_and_dead: tuple[int, int], rtt_s: float
) -> None:
    paths, dead = paths_and_dead
    hellos = Hellos(lambda path, now_s: None if path == dead and dies_s <= now_s < 3.0 else rtt_s, paths)
    hellos.run(0.0, 5.0)
    assert [change[:2] for change in hellos.changes] == [(dead, False), (dead, True)]
    (_, _, dead_s), (_, _, back_s) = hellos.changes
    if paths > 1:  # with one path only there is nothing to measure silence by but time
        longest_s = PROFILE.hello_s + 2.5 * PROFILE.hello_wait_s + 2 * PROFILE.hello_retry_s  # judged every retry_s
        assert 2 * PROFILE.hello_wait_s < dead_s - dies_s + PROFILE.hello_s <= longest_s + PROFILE.hello_s
    assert 3.0 + PROFILE.restore_s <= back_s <= 3.0 + PROFILE.restore_s + 0.1


def test_answers_that_go_on_coming_by_other_paths_put_no_verdict_off() -> None:
    """Those that take a little longer than is waited for are asked again, and again something comes back."""
    found_s = []
    for step in range(40):
        dies_s = 1.0 + step * PROFILE.hello_s / 40

        def back_s(path: int, now_s: float, dies_s: float = dies_s) -> float | None:
            if path == 1 and now_s >= dies_s:
                return None
            return 0.005 if now_s < dies_s - 0.03 else 1.1 * PROFILE.hello_wait_s

        hellos = Hellos(back_s, paths=3)
        hellos.run(0.0, 1.6)
        ((path, up, at_s),) = hellos.changes
        assert (path, up) == (1, False)
        found_s.append(at_s - dies_s)
    assert max(found_s) < PROFILE.hello_s + 2.5 * PROFILE.hello_wait_s + PROFILE.hello_retry_s / 2


@given(st.integers(0, 1000), st.floats(0.02, 0.08))
def test_answers_that_take_long_on_any_path_are_waited_for(seed: int, longest_s: float) -> None:
    """A busy machine: what an answer takes differs from path to path and hello to hello.

    Up to 0.08 s: patience fades, and of 0.09 and 0.1 s four seeds of 1001 have a path that is taken for dead (of 0.1 s
    461, 521, 704 and 829).
    """
    rng = Random(seed)
    hellos = Hellos(lambda _path, now_s: rng.uniform(0.002, longest_s if now_s >= 1.0 else 0.01), paths=4)
    hellos.run(0.0, 1.5)
    learnt = len(hellos.changes)
    hellos.run(1.5, 8.0)
    assert len([change for change in hellos.changes[learnt:] if not change[1]]) == 0


def test_answers_of_up_to_a_tenth_of_a_second_hardly_ever_cost_a_path() -> None:
    """What patience that fades costs: of 6000 path-seconds with answers of up to 0.1 s, three changes at most."""
    lost = 0
    for seed in range(230):
        rng = Random(seed)
        hellos = Hellos(lambda _path, now_s, rng=rng: rng.uniform(0.002, 0.1 if now_s >= 1.0 else 0.01), paths=4)
        hellos.run(0.0, 1.5)
        learnt = len(hellos.changes)
        hellos.run(1.5, 8.0)
        lost += len([change for change in hellos.changes[learnt:] if not change[1]])
    assert lost <= 3


def test_patience_learnt_on_a_busy_machine_fades() -> None:
    dead_from_s = 9.0

    def back_s(path: int, now_s: float) -> float | None:
        if now_s < 3.0:  # one path after the other is slow
            return 0.08 if int(now_s / 0.01) % 4 == path else 0.004
        return 0.004 if path or now_s < dead_from_s else None

    hellos = Hellos(back_s, paths=4)
    hellos.run(0.0, 2.9)
    assert hellos.changes == []
    assert hellos.monitor.wait_s(2.9) == pytest.approx(PATIENCE * 0.08, rel=0.1)
    hellos.run(2.9, 10.0)
    assert [change[:2] for change in hellos.changes] == [(0, False)]
    assert hellos.changes[0][2] - dead_from_s < 0.08


@pytest.mark.parametrize("slow_s", [0.06, 0.2])
def test_one_slow_answer_makes_nobody_wait_longer_two_do(slow_s: float) -> None:
    slow_from_s = [1.0]

    def back_s(path: int, now_s: float) -> float:
        if path == 2 and slow_from_s and now_s >= slow_from_s[0]:
            slow_from_s.pop()
            return slow_s
        return 0.004

    hellos = Hellos(back_s, paths=4)
    hellos.run(0.0, 1.4)
    assert hellos.monitor.wait_s(1.4) == PROFILE.hello_wait_s
    slow_from_s.append(1.41)
    hellos.run(1.4, 1.7)
    assert slow_s * 0.6 < hellos.monitor.wait_s(1.7) < 1.25 * slow_s
    assert hellos.changes == []


def test_pause_of_the_machine_makes_nobody_wait_much_longer() -> None:
    """All answers to several hellos are late together: nothing is there to compare with, so nothing is risked."""
    hellos = Hellos(lambda path, now_s: 0.004 + 0.001 * path + max(0.0, 1.5 - now_s) * (now_s > 1.0), paths=4)
    hellos.run(0.0, 1.6)
    assert hellos.changes == []
    assert hellos.monitor.wait_s(1.6) < 4 * PROFILE.hello_wait_s


def test_path_that_fails_again_soon_after_its_return_has_to_be_clean_for_longer() -> None:
    """A link that is slow, and not dead, answers while nobody uses it."""
    used_from_s = [0.0]

    def back_s(path: int, now_s: float) -> float | None:
        if path:
            return 0.004
        return 0.004 if not hellos.monitor.up(0) or now_s < used_from_s[0] else None

    hellos = Hellos(back_s, paths=3)
    used_from_s[0] = 1.0
    hellos.run(0.0, 60.0)
    returns_s = [at_s for path, up, at_s in hellos.changes if path == 0 and up]
    deaths_s = [at_s for path, up, at_s in hellos.changes if path == 0 and not up]
    out_s = [back - dead for dead, back in zip(deaths_s, returns_s, strict=False)]
    assert out_s[:5] == [pytest.approx(PROFILE.restore_s * factor, abs=0.1) for factor in (1, 2, 4, 8, 16)]
    assert all(later >= sooner - 0.1 for sooner, later in zip(out_s, out_s[1:], strict=False))


def test_path_that_answers_is_asked_once_a_period() -> None:
    hellos = Hellos(lambda _path, _now_s: 0.012, paths=4)
    hellos.run(0.0, 10.0)
    assert hellos.changes == []
    assert hellos.asked == [pytest.approx(10.0 / PROFILE.hello_s, abs=2)] * 4


def frames_every(interval_s: float, until_s: Sequence[float]) -> list[tuple[float, int]]:
    """Return a frame per ``interval_s`` over each path, as long as that path brings any."""
    return [
        (number * interval_s + path * 0.001, path)
        for path, end_s in enumerate(until_s)
        for number in range(round(end_s / interval_s))
    ]


def test_path_that_brings_frames_all_the_time_is_asked_seldom() -> None:
    hellos = Hellos(lambda _path, _now_s: 0.012, paths=4, arrivals=frames_every(0.01, [10.0, 10.0, 10.0, 0.0]))
    hellos.run(0.0, 9.9)
    assert hellos.changes == []
    assert hellos.asked[:3] == [pytest.approx(9.9 / PROFILE.hello_proven_s, rel=0.15)] * 3
    assert hellos.asked[3] == pytest.approx(9.9 / PROFILE.hello_s, abs=3)


@given(st.floats(2.0, 2.3), st.floats(0.001, 0.013), st.floats(0.003, 0.013))
def test_frames_that_stop_while_others_go_on_are_a_missing_hello(dies_s: float, rtt_s: float, every_s: float) -> None:
    hellos = Hellos(
        lambda path, now_s: None if path == 0 and now_s >= dies_s else rtt_s,
        paths=4,
        arrivals=frames_every(every_s, [dies_s, 4.0, 4.0, 4.0]),
    )
    hellos.run(0.0, 3.5)
    assert [change[:2] for change in hellos.changes] == [(0, False)]
    took_s = hellos.changes[0][2] - dies_s
    # The last frame may just have come; then two hellos, one after the other, are waited for; judged every retry_s.
    # Where others have just been asked, the next round is what they are compared by.
    assert took_s <= PROFILE.hello_wait_s * 3.0 + 2 * PROFILE.hello_retry_s + PROFILE.hello_s


@pytest.mark.parametrize("begin_s", [2.0, 2.004, 2.008, 2.012, 2.016])
def test_frames_that_have_only_begun_to_come_prove_nothing_by_stopping(begin_s: float) -> None:
    """Answers of 30 ms on one path come within three hellos' time, not within that of two and of frames that stop."""
    end_s = begin_s + 0.02
    arrivals = [(at_s, path) for at_s, path in frames_every(0.005, [2.4, end_s]) if at_s >= begin_s]
    hellos = Hellos(lambda path, now_s: 0.03 if path == 1 and now_s > end_s else 0.004, 2, arrivals)
    hellos.run(0.0, end_s + 0.06)
    assert hellos.changes == []


def test_path_returns_although_frames_come_by_it_all_the_time() -> None:
    """Who knows of no living path uses dead ones, too."""
    hellos = Hellos(
        lambda path, now_s: None if path == 0 and 1.0 <= now_s < 2.0 else 0.004,
        paths=4,
        arrivals=frames_every(0.005, [6.0] * 4),
    )
    hellos.run(0.0, 5.0)
    assert [change[:2] for change in hellos.changes] == [(0, False), (0, True)]
    assert hellos.changes[1][2] <= 2.0 + PROFILE.restore_s + 2 * PROFILE.hello_s + 0.1


def test_path_that_is_dead_only_outwards_is_found_by_the_seldom_hello() -> None:
    hellos = Hellos(
        lambda path, now_s: None if path == 0 and now_s >= 2.03 else 0.01,
        paths=4,
        arrivals=frames_every(0.005, [4.0] * 4),
    )
    hellos.run(0.0, 3.5)
    assert [change[:2] for change in hellos.changes] == [(0, False)]
    # asked as seldom as a path that brings frames is, and then believed to live for as long again
    most_s = 2 * PROFILE.hello_proven_s + 2.5 * PROFILE.hello_wait_s + 2 * PROFILE.hello_retry_s
    assert hellos.changes[0][2] - 2.03 <= most_s


@pytest.mark.parametrize("slow_s", [0.05, 0.1, 0.18])
def test_path_that_brings_frames_is_not_dead_because_its_answers_are_late(slow_s: float) -> None:
    """As an iteration begins: everybody sends at once, and one path's hellos come back late."""
    hellos = Hellos(
        lambda path, now_s: slow_s if path == 0 and now_s >= 2.0 else 0.01,
        paths=4,
        arrivals=[(at_s, path) for at_s, path in frames_every(0.005, [3.0] * 4) if at_s > 2.02],
    )
    hellos.run(0.0, 2.5)
    assert hellos.changes == []


def test_frames_that_only_drain_put_no_verdict_off() -> None:
    """What waits in a queue behind the link that has died comes after the last hello was sent."""
    found_s, drains_s = [], 0.03
    for step in range(40):
        dies_s = 2.0 + step * PROFILE.hello_proven_s / 40

        def back_s(path: int, now_s: float, dies_s: float = dies_s) -> float | None:
            return None if path == 0 and now_s >= dies_s else 0.01

        hellos = Hellos(back_s, 4, frames_every(0.005, [dies_s + drains_s, 4.0, 4.0, 4.0]))
        hellos.run(0.0, 2.6)
        ((path, up, at_s),) = hellos.changes
        assert (path, up) == (0, False)
        found_s.append(at_s - dies_s)
    # not soon, as one that brings frames is waited for, but as if the last of them had been the last before the fault
    assert max(found_s) < drains_s + 4 * PROFILE.hello_wait_s + PROFILE.hello_retry_s < PROFILE.hello_proven_s


def test_paths_that_answer_live_however_seldom_they_are_asked() -> None:
    monitor = PathMonitor(PROFILE.model_copy(update={"hello_s": 2.0, "hello_proven_s": 2.0}), 2, 0.0)
    for _ in range(20):
        now_s = monitor.due_s
        assert monitor.check(now_s) == []
        hello, asked = monitor.asks(now_s)
        for path in asked:
            monitor.heard(path, hello, now_s + 0.005)


def test_paths_that_are_late_together_are_waited_for_longer() -> None:
    """The first hello after which nothing comes back; alone a path is out sooner than with one or two others."""

    def found_s(dead: set[int]) -> list[float]:
        hellos = Hellos(lambda path, now_s: None if path in dead and now_s >= 2.0 else 0.01, paths=4)
        hellos.run(0.0, 2.9)
        assert {path for path, up, _ in hellos.changes if not up} == dead
        return [at_s - 2.0 for _, _, at_s in hellos.changes]

    alone_s, two_s, three_s = (max(found_s(set(range(count)))) for count in (1, 2, 3))
    assert two_s - alone_s == pytest.approx(PROFILE.hello_wait_s / 2, abs=PROFILE.hello_retry_s)
    assert three_s - alone_s == pytest.approx(PROFILE.hello_wait_s, abs=PROFILE.hello_retry_s)


@given(st.integers(0, 1000), st.floats(0.001, 0.06))
def test_frames_that_come_irregularly_or_stop_everywhere_prove_nothing(seed: int, mean_s: float) -> None:
    rng = Random(seed)
    arrivals = []
    for path in range(4):
        at_s = 0.0
        while (at_s := at_s + rng.expovariate(1 / mean_s)) < 3.0:
            arrivals.append((at_s, path))
    hellos = Hellos(lambda _path, _now_s: rng.uniform(0.001, 0.014), paths=4, arrivals=sorted(arrivals))
    hellos.run(0.0, 6.0)
    assert hellos.changes == []


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 10)), max_size=40))
def test_a_lost_hello_now_and_then_is_no_failure(losses: list[tuple[int, float]]) -> None:
    """Two losses in a row prove nothing; each here is at least three periods from the last of its path."""
    last: dict[int, float] = {}

    def back_s(path: int, now_s: float) -> float | None:
        due = [at_s for lost, at_s in losses if lost == path and at_s <= now_s]
        if due and max(due) > last.get(path, -1.0) and now_s - last.get(path, -1.0) > 3 * PROFILE.hello_s:
            last[path] = now_s
            return None
        return 0.004

    hellos = Hellos(back_s, paths=4)
    hellos.run(0.0, 11.0)
    assert hellos.changes == []


def test_carrier_is_believed_at_once() -> None:
    monitor = PathMonitor(PROFILE, 2, 0.0)
    monitor.carrier(1, up=False, now_s=0.001)
    assert monitor.check(0.001) == [(1, False)]
    assert monitor.down_paths() == [1]


@given(st.floats(0.01, 1.8), st.floats(0.0005, 0.012))
def test_pause_that_holds_up_every_path_is_not_taken_for_silence(pause_s: float, rtt_s: float) -> None:
    hellos = Hellos(lambda path, _now_s: rtt_s + 0.001 * path, paths=4)
    hellos.run(0.0, 1.0)
    hellos.run(1.0 + pause_s, 3.0)
    assert hellos.changes == []


@given(st.floats(0.05, 0.6), st.lists(st.floats(0, 0.006), min_size=4, max_size=4))
def test_switches_that_stand_still_are_not_taken_for_silence(pause_s: float, apart_s: list[float]) -> None:
    """What is sent meanwhile comes back when they go on, over every path within a few ms."""

    def back_s(path: int, now_s: float) -> float:
        return max(0.003, 1.0 + pause_s - now_s) + apart_s[path] if now_s >= 1.0 else 0.003

    hellos = Hellos(back_s, paths=4)
    hellos.run(0.0, 3.0)
    assert hellos.changes == []


def test_when_every_path_is_silent_for_long_all_are_dead() -> None:
    hellos = Hellos(lambda _path, _now_s: None)
    hellos.run(0.0, 0.95)
    assert hellos.changes == []
    hellos.run(0.95, 1.2)
    assert [change[:2] for change in hellos.changes] == [(0, False), (1, False)]


# -- inner frames ---------------------------------------------------------------------------------------------


def ipv4(tos: int) -> bytes:
    header = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, tos, 60, 1, 0, 64, 6, 0, b"\n\0\1\1", b"\n\0\2\1"))
    struct.pack_into("!H", header, 10, checksum(bytes(header)))
    return bytes(12) + b"\x08\x00" + bytes(header) + struct.pack("!HH", 1000, 2000) + bytes(36)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.integers(0, 63), st.sampled_from([1, 2]))
def test_marked_frame_has_a_right_checksum(dscp: int, ect: int) -> None:
    marked = mark_congestion(ipv4(dscp << 2 | ect))
    assert marked is not None
    assert marked[15] == dscp << 2 | 3
    assert checksum(marked[14:34]) == 0


def test_only_transports_that_do_ecn_are_marked() -> None:
    assert mark_congestion(ipv4(0)) is None
    assert mark_congestion(bytes(12) + b"\x08\x06" + bytes(46)) is None


def test_flows_and_classes_are_told_apart() -> None:
    assert flow_key(ipv4(0)) == flow_key(ipv4(46 << 2))
    assert traffic_class(ipv4(46 << 2)) == 0
    assert traffic_class(ipv4(0)) == 1
