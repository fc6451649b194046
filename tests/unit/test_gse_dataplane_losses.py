"""What is lost, late or restarted: tails, gaps, retransmission, new lives; and that no window leaks by it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from gse_fabric import RATE_BYTES_PER_S, Fabric, data_frame, host_frame, is_data

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.edge import SCAN_S, Edge
from testbed.gse.dataplane.profile import Profile

PROFILE = Profile()
H11, H12, H21, H31 = (1, 1), (1, 2), (2, 1), (3, 1)
L1, L2, L3 = wire.address(1), wire.address(2), wire.address(3)


# -- the end of a burst is lost -------------------------------------------------------------------------------


@pytest.mark.parametrize("reorder", [True, False])
def test_lost_end_of_a_burst_takes_no_window_from_its_queue_nor_from_others(reorder: bool) -> None:
    """Everything under way is lost while the source has more to send: it is full, and nothing comes to free it."""

    def fate(frame: bytes, _rng: Random) -> list[float]:
        return [] if is_data(frame) and lost_from_s <= fabric.now_s < lost_from_s + 0.3 else [0.0]

    lost_from_s = 100.3
    profile = Profile(reorder=reorder, port_window_bytes=144_224)  # one queue's window is all the port has
    fabric = Fabric(profile, leaves=3, hosts=2, path_delay_s=lambda _path: 0.01, fate=fate)
    for number in range(400):
        fabric.send(0.0, H11, H21, number, 9014)  # 2.9 s at the port's rate
    for number in range(200):
        fabric.send(1.0, H31, H21, 1000 + number, 9014)
    fabric.run(4.0)
    assert fabric.total("watchdog_alarms") <= 1  # 0.5 s without a grant, but never given up
    assert fabric.total("watchdog_drops") == 0
    # from when the loss is believed: a gap time, and an unanswered request
    from_s = lost_from_s + PROFILE.gap_s + PROFILE.request_retry_s + 0.2
    arrived = [t_s for t_s in fabric.delivered_s[H21] if from_s <= t_s < 104.0]
    rate = len(arrived) * 9014 / (104.0 - from_s)
    assert rate >= 0.95 * PROFILE.pacing * RATE_BYTES_PER_S
    fabric.run(30.0)
    assert fabric.numbers(H21, H31) == list(range(1000, 1200))
    missing = sorted(set(range(400)) - set(fabric.numbers(H21, H11)))
    assert missing == list(range(missing[0], missing[0] + len(missing)))  # one hole, no more
    assert len(missing) * 9014 <= profile.window_bytes
    assert fabric.edges[L2].sink.schedulers[1].outstanding_bytes == 0


@pytest.mark.parametrize("lost", [{2}, {0, 2}, {1, 2}, {0, 1, 2}])
def test_lost_end_is_sent_again_even_while_a_gap_before_it_is_being_repaired(lost: set[int]) -> None:
    """The source closes its queue while something waits for order at the destination: nothing later shows the end."""

    def fate(frame: bytes, _rng: Random) -> list[float]:
        header = wire.parse_data(frame) if is_data(frame) else None
        return [] if header and header.psn in lost and not header.flags & wire.FLAG_RETRANSMITTED else [0.0]

    fabric = Fabric(PROFILE.model_copy(update={"retransmit": True}), fate=fate)
    for number in range(3):
        fabric.send(0.0, H21, H11, number, 60)
    fabric.run(5)
    assert fabric.numbers(H11, H21) == [0, 1, 2]
    assert fabric.total("retransmitted") == len(lost)
    assert fabric.total("skipped") == 0


@pytest.mark.parametrize("reorder", [True, False])
@pytest.mark.parametrize("retransmit", [True, False])
def test_data_that_a_request_has_overtaken_is_not_taken_for_lost(reorder: bool, retransmit: bool) -> None:
    """After a pause longer than a gap time, requests (which go first in every queue) tell of frames under way."""

    def fate(frame: bytes, _rng: Random) -> list[float]:
        return [0.25 if is_data(frame) else 0.0]

    fabric = Fabric(PROFILE.model_copy(update={"retransmit": retransmit, "reorder": reorder}), paths=1, fate=fate)
    times_s = [0.0, *(0.7 + 0.004 * number for number in range(40))]
    for number, t_s in enumerate(times_s):
        fabric.send(t_s, H11, H21, number, 9014)
    fabric.run(5)
    assert fabric.total("requests") >= 2
    assert fabric.numbers(H21, H11) == list(range(len(times_s)))
    assert fabric.total("skipped") == 0
    assert fabric.total("late") == fabric.total("retransmitted")  # asked for too early, at most: it came twice
    if not retransmit:
        assert fabric.total("late") == 0


# -- a queue that has been idle -------------------------------------------------------------------------------


def test_credit_that_is_left_is_void_when_an_idle_queue_closes() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=1, path_delay_s=lambda _path: 0.010)
    times_s = (0.0, 0.05, 0.5, 1.0)  # the last two after more than ``age_s``
    for number, t_s in enumerate(times_s):
        fabric.send(t_s, H11, H21, number, 200)
    fabric.run(3)
    waits = [at_s - 100.0 - t_s for at_s, t_s in zip(fabric.delivered_s[H21], times_s, strict=True)]
    assert waits == [pytest.approx(wait_s, abs=0.001) for wait_s in (0.030, 0.010, 0.030, 0.030)]
    assert fabric.numbers(H21, H11) == [0, 1, 2, 3]


# -- gaps -----------------------------------------------------------------------------------------------------


class Arrivals:
    """The GSP of leaf 1 alone, and frames of the host (2, 1) that arrive when we say."""

    def __init__(self, profile: Profile = PROFILE) -> None:
        self.fabric = Fabric(profile, leaves=3, hosts=2, paths=4)
        self.fabric.run(20.0)  # long after its start

    def arrive(self, t_s: float, psn: int, *, qid: int = 0, epoch: int = 1, dst: tuple[int, int] = H11) -> None:
        frame = data_frame(H21, dst, psn, qid=qid, epoch=epoch, path=1 + psn % 4)
        self.fabric.at(120.0 + t_s, lambda: self.fabric.turn(L1, lambda edge: edge.from_fabric(frame, 120.0 + t_s)))

    def delivered(self, until_s: float, dst: tuple[int, int] = H11) -> list[tuple[float, int]]:
        """Return when which frame reached the host."""
        self.fabric.run(20.0 + until_s)
        times = [round(t_s - 120.0, 3) for t_s in self.fabric.delivered_s.get(dst, [])]
        return list(zip(times, self.fabric.numbers(dst, H21), strict=True))


def test_gap_is_given_up_at_its_age_however_much_arrives_behind_it() -> None:
    arrivals = Arrivals()
    for psn in range(1, 21):
        arrivals.arrive(0.025 * psn, psn)
    assert arrivals.delivered(0.025 + PROFILE.gap_s - 0.001) == []
    got = arrivals.delivered(2.0)
    assert [psn for _t, psn in got] == list(range(1, 21))
    first_s = got[0][0]
    assert 0.025 + PROFILE.gap_s <= first_s + 1e-9 <= 0.025 + PROFILE.gap_s + SCAN_S + 0.001
    late = [(t_s, psn) for t_s, psn in got if 0.025 * psn > first_s]
    assert all(t_s == pytest.approx(0.025 * psn, abs=0.001) for t_s, psn in late)  # order goes on: no more waiting
    assert arrivals.fabric.total("gap_timeouts") == 1
    assert arrivals.fabric.total("skipped") == 1


def test_next_gap_begins_to_age_when_the_one_before_it_is_over() -> None:
    arrivals = Arrivals()
    for t_s, psn in ((0.0, 1), (0.0, 3), (0.3, 0), (0.6, 2)):
        arrivals.arrive(t_s, psn)
    got = arrivals.delivered(2.0)
    assert got == [(0.3, 0), (0.3, 1), (0.6, 2), (0.6, 3)]  # 2 comes 0.6 s after what waits for it, and in time
    assert arrivals.fabric.total("gap_timeouts") == 0


@pytest.mark.parametrize(("retransmit", "gaps"), [(True, 2), (False, 1)])
def test_two_gaps_that_nothing_fills_are_given_up(retransmit: bool, gaps: int) -> None:
    """One after the other where the second one's packets may be on their way, together where nobody sends them."""
    arrivals = Arrivals(PROFILE.model_copy(update={"retransmit": retransmit}))
    for psn in (1, 3):
        arrivals.arrive(0.0, psn)
    (first_s, first), (second_s, second) = arrivals.delivered(2.0)
    assert (first, second) == (1, 3)
    assert first_s == pytest.approx(PROFILE.gap_s, abs=SCAN_S + 0.001)
    assert second_s == pytest.approx(gaps * PROFILE.gap_s, abs=2 * SCAN_S + 0.001)


def test_a_queue_that_pauses_is_known_as_long_as_it_lives() -> None:
    fabric = Fabric(Profile(gap_s=15.0, age_s=15.0), leaves=2, hosts=1)
    for number, t_s in enumerate((0.0, 0.0, 0.0, 11.5)):
        fabric.send(t_s, H11, H21, number, 1000)
    fabric.run(13.0)
    assert fabric.numbers(H21, H11) == [0, 1, 2, 3]


def test_a_queue_that_only_asks_is_not_forgotten() -> None:
    arrivals = Arrivals()
    for psn in range(3):
        arrivals.arrive(0.0, psn)
    frame = wire.control_frame(wire.Request(L2, L1, 1, 0, 1, 1, 20_000, 300, 3, 0), 1)
    for step in range(1, 41):
        arrivals.fabric.at(
            120.0 + 0.3 * step,
            lambda: arrivals.fabric.turn(L1, lambda edge: edge.from_fabric(frame, arrivals.fabric.now_s)),
        )
    arrivals.arrive(12.1, 3)
    assert arrivals.delivered(12.2)[-1] == (12.1, 3)


def test_credit_counts_as_long_as_its_source_may_use_it() -> None:
    fabric = Fabric(Profile(gap_s=0.02), leaves=2, hosts=1)
    fabric.send(0.0, H11, H21, 0, 1000)
    fabric.run(0.3)
    (queue,) = fabric.edges[L1].source.queues.values()
    assert fabric.edges[L2].sink.schedulers[1].outstanding_bytes == queue.grant - queue.sent > 0


# -- new lives ------------------------------------------------------------------------------------------------


def test_what_waits_is_delivered_before_anything_of_the_sources_next_life() -> None:
    arrivals = Arrivals()
    for psn in (2, 1, 4):  # 0 and 3 are missing
        arrivals.arrive(0.0, psn)
    arrivals.arrive(0.01, 1, qid=9, dst=H12)  # another queue of the same source
    arrivals.arrive(0.05, 0, epoch=2)  # the source has been restarted: one frame is enough
    arrivals.arrive(0.06, 3, epoch=1)  # too late
    assert arrivals.delivered(0.2) == [(0.05, 1), (0.05, 2), (0.05, 4), (0.05, 0)]
    assert arrivals.delivered(0.2, H12) == [(0.05, 1)]
    assert arrivals.fabric.total("epochs_ended") == 2
    edge = arrivals.fabric.edges[L1]
    assert edge.counters.stale == 1
    assert list(edge.sink.inbound) == [(L2, 0)]
    assert edge.sink.schedulers[2].outstanding_bytes == 0


def test_next_life_of_one_source_does_not_touch_another() -> None:
    arrivals = Arrivals()
    arrivals.arrive(0.0, 1)
    other = data_frame(H31, H11, 0, epoch=7)
    arrivals.fabric.at(
        120.01, lambda: arrivals.fabric.turn(L1, lambda edge: edge.from_fabric(other, arrivals.fabric.now_s))
    )
    arrivals.arrive(0.02, 0)
    arrivals.fabric.run(20.3)
    assert arrivals.fabric.numbers(H11, H31) == [0]
    assert arrivals.fabric.numbers(H11, H21) == [0, 1]
    assert arrivals.fabric.total("epochs_ended") == 0


def test_restarted_destination_goes_on_at_once_with_queues_in_mid_life() -> None:
    """It cannot know what came before: it neither waits a gap time for it nor calls it lost."""
    fabric = Fabric(Profile(watchdog_s=5.0), leaves=2, hosts=1)
    for number in range(200):
        fabric.send(0.0001 * number, H11, H21, number, 9014)
    fabric.at(100.5, lambda: fabric.start(L2, epoch=2))  # 600 kB into the queue
    fabric.run(20)
    after = [t_s for t_s in fabric.delivered_s[H21] if t_s > 100.5]
    assert len(after) > 100
    assert after[0] < 100.5 + 0.2 < 100.5 + PROFILE.gap_s
    rate = len(after) * 9014 / (after[-1] - after[0])
    assert rate == pytest.approx(PROFILE.pacing * RATE_BYTES_PER_S, rel=0.1)
    restarted = fabric.edges[L2].totals()
    assert restarted.gap_timeouts == 0
    assert restarted.skipped == 0


def test_destination_that_has_run_for_long_goes_on_with_a_queue_it_has_forgotten() -> None:
    arrivals = Arrivals()
    for psn in (5000, 5001):  # 500 kB: more than a window, so it is not new
        arrivals.arrive(0.0, psn)
    assert arrivals.delivered(2.0) == [(0.0, 5000), (0.0, 5001)]


# -- retransmission -------------------------------------------------------------------------------------------

AGAIN = Profile(retransmit=True)


def test_what_a_dead_path_lost_is_sent_again_by_one_that_lives() -> None:
    def fate(frame: bytes, _rng: Random) -> list[float]:
        return [] if is_data(frame) and frame[3] == 1 and 100.30 <= fabric.now_s < 100.34 else [0.0]

    fabric = Fabric(AGAIN, leaves=2, hosts=1, paths=2, fate=fate)
    for number in range(100):
        fabric.send(0.010 * number, H11, H21, number, 3000)
    fabric.at(100.34, lambda: fabric.dead.add((1, 0)))  # then it has lost its carrier as well
    fabric.at(100.34, lambda: fabric.turn(L1, lambda edge: edge.carrier(0, up=False, now_s=fabric.now_s)))
    fabric.run(10)
    again = [header for _t_s, header in fabric.data() if header.flags & wire.FLAG_RETRANSMITTED]
    assert again
    assert {header.path for header in again} == {2}
    assert fabric.numbers(H21, H11) == list(range(100))
    assert fabric.total("skipped") == 0


def report_after_s(*, a_path_has_died: bool) -> float:
    """Return how long after a frame was lost its destination has reported it, in s."""
    lost_s: list[float] = []

    def fate(frame: bytes, _rng: Random) -> list[float]:
        if is_data(frame) and fabric.now_s >= 100.3 and not lost_s:
            lost_s.append(fabric.now_s)
            return []
        return [0.0]

    fabric = Fabric(AGAIN, leaves=2, hosts=1, paths=2, fate=fate)
    for number in range(150):
        fabric.send(0.004 * number, H11, H21, number, 3000)
    if a_path_has_died:
        fabric.at(100.29, lambda: fabric.turn(L2, lambda edge: edge.carrier(0, up=False, now_s=fabric.now_s)))
    fabric.run(2)
    reports = [t_s for t_s, frame in fabric.sent_frames if isinstance(wire.parse_control(frame), wire.Loss)]
    return reports[0] - lost_s[0]


def test_gaps_are_reported_sooner_after_a_path_has_died() -> None:
    usual_s, hurried_s = report_after_s(a_path_has_died=False), report_after_s(a_path_has_died=True)
    assert usual_s >= AGAIN.loss_report_s
    assert AGAIN.loss_report_s / 2 <= hurried_s < 0.75 * usual_s


def told_of_a_loss(fabric: Fabric, *, psn: int, count: int = 1, epoch: int = 1, src: int = L2) -> list[int]:
    """Tell the GSP of leaf 1 of a loss in its first queue; return the numbers it sends again."""
    before = len(fabric.sent_frames)
    loss = wire.control_frame(wire.Loss(src, L1, epoch, 0, psn, count, False), 1)
    fabric.turn(L1, lambda edge: edge.from_fabric(loss, fabric.now_s))
    frames = [frame for _t_s, frame in fabric.sent_frames[before:] if is_data(frame)]
    assert all(frame[14] & wire.FLAG_RETRANSMITTED for frame in frames)
    at = wire.DATA_OFFSET + 14
    return [int.from_bytes(frame[at : at + 4], "big") for frame in frames]


def test_what_is_sent_again_takes_another_path_than_at_first() -> None:
    fabric = Fabric(AGAIN, leaves=2, hosts=1, paths=2)
    for number in range(20):
        fabric.send(0.004 * number, H11, H21, number, 3000)
    fabric.run(0.5)
    first = {header.psn: header.path for _t_s, header in fabric.data()}
    assert set(first.values()) == {1, 2}
    for psn in first:
        assert told_of_a_loss(fabric, psn=psn) == [psn]
    again = {header.psn: header.path for _t_s, header in fabric.data(0.5)}
    assert again == {psn: 3 - path for psn, path in first.items()}


@pytest.mark.parametrize("every_s,size", [(0.0001, 9014), (0.004, 3000), (0.02, 3000)])
@pytest.mark.parametrize("lose_reports", [False, True])
def test_several_losses_are_all_repaired_in_time(every_s: float, size: int, lose_reports: bool) -> None:
    """Frames 40, 43 and 46 are lost once each; with ``lose_reports`` every second notice of each loss as well."""
    lost: set[int] = set()
    reports: Counter[int] = Counter()

    def fate(frame: bytes, _rng: Random) -> list[float]:
        if not is_data(frame):
            message = wire.parse_control(frame)
            if not lose_reports or not isinstance(message, wire.Loss):
                return [0.0]
            reports[message.psn] += 1
            return [] if reports[message.psn] % 2 else [0.0]
        at = wire.DATA_OFFSET + 14
        number = int.from_bytes(frame[at : at + 4], "big")
        if number in {40, 43, 46} - lost:
            lost.add(number)
            return []
        return [0.0]

    fabric = Fabric(AGAIN, leaves=2, hosts=1, paths=2, fate=fate)
    for number in range(400):
        fabric.send(every_s * number, H11, H21, number, size)
    fabric.run(20)
    assert lost == {40, 43, 46}
    assert fabric.numbers(H21, H11) == list(range(400))
    assert fabric.total("skipped") == 0
    assert 3 <= fabric.total("retransmitted") <= 6  # and little is sent twice


def test_frames_are_kept_for_retransmission_while_they_are_waited_for_and_no_longer() -> None:
    fabric = Fabric(AGAIN, leaves=3, hosts=1)
    for number in range(400):
        fabric.send(0.0001 * number, H11, H21, number, 9014)
    fabric.run(3.2)
    assert fabric.numbers(H21, H11) == list(range(400))
    kept = told_of_a_loss(fabric, psn=0, count=1000)
    assert kept == list(range(400 - len(kept), 400))
    waited_for = AGAIN.gap_s * RATE_BYTES_PER_S
    assert waited_for <= len(kept) * 9014 <= min(AGAIN.reorder_buffer_bytes, 2 * waited_for) + AGAIN.quantum_bytes


def test_loss_in_another_life_or_told_by_another_gsp_changes_nothing() -> None:
    fabric = Fabric(AGAIN, leaves=3, hosts=1)
    for number in range(3):
        fabric.send(0.0, H11, H21, number, 1000)
    fabric.run(0.09)
    assert told_of_a_loss(fabric, psn=0, count=3, epoch=2) == []
    assert told_of_a_loss(fabric, psn=0, count=3, src=L3) == []
    assert told_of_a_loss(fabric, psn=3, count=100) == []
    assert told_of_a_loss(fabric, psn=1) == [1]
    assert fabric.edges[L1].counters.retransmitted == 1


def test_frames_of_a_queue_that_has_ended_are_not_kept() -> None:
    fabric = Fabric(AGAIN, leaves=2, hosts=1)
    for number in range(3):
        fabric.send(0.0, H11, H21, number, 1000)
    fabric.run(0.5)
    assert told_of_a_loss(fabric, psn=0, count=3) == [0, 1, 2]  # closed, but its numbers rest
    fabric.run(3.0)
    assert fabric.edges[L1].source.at_rest
    assert told_of_a_loss(fabric, psn=0, count=3) == []


# -- what is not ours -----------------------------------------------------------------------------------------


def refused(edge: Edge, now_s: float, frame: bytes) -> None:
    before = edge.counters.misdirected
    edge.from_fabric(frame, now_s)
    assert edge.counters.misdirected == before + 1
    assert not edge.outlet.to_hosts
    assert not edge.sink.inbound


def test_data_frame_whose_outer_addresses_are_not_those_of_its_header_is_refused() -> None:
    fabric = Fabric(PROFILE, leaves=3, hosts=1, paths=2)
    edge, frame = fabric.edges[L1], data_frame(H21, H11, 0)
    good_dst, good_src = frame[:6], frame[6:12]
    assert (good_dst, good_src) == (wire.mac(L1, 1), wire.mac(L2, 1))
    for dst, src in (
        (wire.mac(L3, 1), good_src),
        (wire.mac(L1, 2), good_src),
        (good_dst, wire.mac(L3, 1)),
        (good_dst, wire.mac(L2, 2)),
        (b"\xff" * 6, good_src),
        (good_src, good_dst),
    ):
        refused(edge, fabric.now_s, dst + src + frame[12:])
    edge.from_fabric(frame, fabric.now_s)
    assert edge.outlet.to_hosts == [(1, host_frame(H21, H11, 0, 100))]


def test_grant_of_another_than_the_queues_destination_changes_nothing() -> None:
    def fate(frame: bytes, _rng: Random) -> list[float]:
        return [0.0] if is_data(frame) or frame[15] == wire.Kind.REQUEST else [0.5]  # grants are long in coming

    fabric = Fabric(PROFILE, leaves=3, hosts=1, fate=fate)
    for number in range(10):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.run(0.05)
    (queue,) = fabric.edges[L1].source.queues.values()
    stale = fabric.total("stale")
    for src, epoch, qid in ((L3, 1, queue.qid), (L2, 2, queue.qid), (L2, 1, queue.qid + 1)):
        grant = wire.control_frame(wire.Grant(src, L1, (wire.GrantEntry(qid, epoch, 1_000_000),)), 1)
        fabric.turn(L1, lambda edge, grant=grant: edge.from_fabric(grant, fabric.now_s))
        stale += 1
        assert fabric.total("stale") == stale
        assert fabric.data() == []
    fabric.run(5.0)
    assert fabric.numbers(H21, H11) == list(range(10))


def test_queues_beyond_the_bound_are_refused_and_counted_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.gse.dataplane.sink.MOST_QUEUES", 4)
    arrivals = Arrivals()
    for qid in range(7):
        arrivals.arrive(0.001 * qid, 0, qid=qid)
    request = wire.control_frame(wire.Request(L2, L1, 1, 50, 1, 1, 5000, 0, 0, 0), 1)
    arrivals.fabric.at(
        120.01, lambda: arrivals.fabric.turn(L1, lambda edge: edge.from_fabric(request, arrivals.fabric.now_s))
    )
    for qid in range(7):
        arrivals.arrive(0.02, 1, qid=qid)
    assert len(arrivals.delivered(0.1)) == 8
    assert arrivals.fabric.total("too_many_queues") == 3 + 1 + 3
    edge = arrivals.fabric.edges[L1]
    assert len(edge.sink.inbound) == 4
    arrivals.fabric.run(40.0)  # all forgotten: there is room again
    arrivals.arrive(21.0, 0, qid=60)
    assert len(arrivals.delivered(22.0)) == 9
