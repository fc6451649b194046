"""What must never stand still: ports with many queues, few paths, queues dropped or forgotten, words doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gse_fabric import Fabric
from pydantic import ValidationError

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.inbound import Inbound
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.reorder import MAX_AHEAD
from testbed.gse.dataplane.source import QIDS
from testbed.model.fabric_spec import FabricSpec
from testbed.model.scenario import GspSpec
from testbed.model.schemes import profile_of

Fate = Callable[[bytes, Any], list[float]]
RECEIVER = (2, 1)


def profile(scheme: str = "gse2-n2n", **fabric: Any) -> Profile:
    return profile_of(scheme, FabricSpec(**fabric), GspSpec())


@pytest.mark.parametrize("scheme", ["gse2-n2n", "uet"])
@pytest.mark.parametrize("queues", [30, 60, 120])
def test_many_queues_of_full_frames_keep_a_port_busy(scheme: str, queues: int) -> None:
    """What is left of credit, too little for a frame, is more than the port's window for all of them together."""
    one = profile(scheme, mtu_bytes=1500, leaves=16, hosts_per_leaf=8, spines=8)
    fabric = Fabric(one, leaves=2, hosts=queues, paths=8)
    for host in range(1, queues + 1):
        for number in range(4800 // queues):
            fabric.send(0.001 * host + 0.01 * number, (1, host), RECEIVER, number, 1514)
    fabric.run(3.0)
    carried = len(fabric.delivered[RECEIVER]) * 1514
    assert carried > 0.8 * 2.7 * one.pacing * 1_250_000
    shares = [len(fabric.numbers(RECEIVER, (1, host))) for host in range(1, queues + 1)]
    assert min(shares) > 0.5 * sum(shares) / queues
    assert fabric.total("watchdog_alarms") == 0


@pytest.mark.parametrize(("mtu_bytes", "paths", "dead"), [(1500, 4, 3), (9000, 8, 7), (9000, 4, 3)])
def test_one_path_of_many_is_enough(mtu_bytes: int, paths: int, dead: int) -> None:
    """Windows shrink with the paths that live, but a grant always fits beside a rest that is no frame."""
    one = profile(mtu_bytes=mtu_bytes, spines=paths)
    fabric = Fabric(one, leaves=2, hosts=1, paths=paths, watches_paths=True)
    for path in range(dead):
        fabric.dead.add((2, path))
        fabric.at(
            100.3, lambda path=path: fabric.turn(0x200, lambda edge: edge.carrier(path, up=False, now_s=fabric.now_s))
        )  # type: ignore[misc]
    fabric.send(1.0, (1, 1), RECEIVER, 0, 200)
    for number in range(1, 61):
        fabric.send(1.001 + 0.00005 * number, (1, 1), RECEIVER, number, one.frame_bytes)
    fabric.run(3.0)
    assert fabric.numbers(RECEIVER, (1, 1)) == list(range(61))


def test_windows_in_which_no_grant_would_fit_are_refused() -> None:
    least = 36_056 + 9_014
    assert Profile(window_bytes=least, port_window_bytes=least)
    for name in ("window_bytes", "port_window_bytes"):
        with pytest.raises(ValidationError, match=f"{name}={least - 1}; expected >= quantum_bytes"):
            Profile(**{"window_bytes": least, "port_window_bytes": least, name: least - 1})


def test_demand_that_was_dropped_is_believed_no_more() -> None:
    """Two hosts hear no grants until they drop what waits, then send a little now and then: others get their share."""
    deaf = False

    def fate(frame: bytes, _rng: object) -> list[float]:
        return [] if deaf and frame[4] == 1 and frame[10] == 2 else [0.0]

    def turn_deaf(on: bool) -> None:
        nonlocal deaf
        deaf = on

    fabric = Fabric(profile(), leaves=3, hosts=2, paths=4, fate=fate)
    fabric.at(100.9, lambda: turn_deaf(True))
    fabric.at(106.0, lambda: turn_deaf(False))
    for host in (1, 2):
        for number in range(120):
            fabric.send(1.0, (1, host), RECEIVER, number, 9014)
        for number in range(20):
            fabric.send(5.0 + 0.15 * number, (1, host), RECEIVER, 1000 + number, 200)
    for number in range(160):
        fabric.send(6.5 + 0.0001 * number, (3, 1), RECEIVER, number, 9014)
    fabric.run(8.0)
    assert fabric.total("watchdog_drops") > 200
    assert fabric.numbers(RECEIVER, (3, 1)) == list(range(160))


@pytest.mark.parametrize(
    "fabric_spec",
    [
        {},
        {"mtu_bytes": 1500},
        {"mtu_bytes": 1500, "delay_ms": 20},
        {"mtu_bytes": 1500, "link_rate_mbps": 100, "delay_ms": 5},
    ],
)
def test_a_gap_is_given_up_only_after_it_could_be_reported_and_mended(fabric_spec: dict[str, Any]) -> None:
    for scheme in ("gse2-n2n", "gse2-e2e", "uet"):
        one = profile(scheme, **fabric_spec)
        assert one.gap_s > one.loss_report_s + one.request_retry_s / 2  # half of that is a round trip
        assert one.age_s <= 2 * one.gap_s  # what makes a destination forget who is silent


@pytest.mark.parametrize("scheme", ["gse2-n2n", "gse2-e2e"])
@pytest.mark.parametrize("rate", [2.5, 10.0, 100.0])
@pytest.mark.parametrize("mtu", [1500, 9000])
def test_a_gap_is_no_loss_while_containers_may_wait_for_each_other(scheme: str, rate: float, mtu: int) -> None:
    """What is under way is not reported, or it is sent again for nothing; full frames: as two round trips say."""
    one = profile(scheme, mtu_bytes=mtu, link_rate_mbps=rate)
    container_s = one.container_bytes / (rate * 125_000)
    assert one.loss_report_s >= 8 * container_s
    if mtu == 9000:
        assert one.loss_report_s == one.request_retry_s


def test_where_single_packets_are_spread_containers_do_not_count() -> None:
    one = profile("uet", mtu_bytes=1500, link_rate_mbps=2.5)
    assert one.loss_report_s == one.request_retry_s < 8 * one.container_bytes / (2.5 * 125_000)


def test_a_living_queue_that_was_forgotten_keeps_its_window() -> None:
    """It was cut off for longer than a destination remembers. Then nothing arrives: a window is granted, no more."""
    cut = lost = False

    def fate(frame: bytes, _rng: object) -> list[float]:
        between = {frame[4], frame[10]} == {1, 2}
        return [] if (cut and between) or (lost and frame[4] == 2) else [0.0]

    def set_cut(on: bool) -> None:
        nonlocal cut
        cut = on

    def set_lost() -> None:
        nonlocal lost
        lost = True

    one = profile()
    fabric = Fabric(one, leaves=2, hosts=1, paths=4, fate=fate)
    for number in range(2600):
        fabric.send(0.0075 * number, (1, 1), RECEIVER, number, 9014)
    fabric.at(101.0, lambda: set_cut(True))
    fabric.at(112.5, lambda: set_cut(False))
    fabric.run(14.0)
    scheduler = fabric.edges[0x200].sink.schedulers[1]
    assert len(fabric.numbers(RECEIVER, (1, 1))) > 150
    set_lost()
    before = scheduler.granted_bytes
    fabric.run(14.5)
    assert scheduler.granted_bytes - before <= one.window_bytes + one.quantum_bytes


def test_what_is_reported_lost_twice_is_sent_again_once() -> None:
    one = profile()
    fabric = Fabric(one, leaves=2, hosts=1, paths=4)
    for number in range(40):
        fabric.send(0.001, (1, 1), RECEIVER, number, 9014)
    fabric.run(0.2)
    source = fabric.edges[0x100].source
    (queue,) = source.queues.values()
    loss = wire.Loss(0x200, 0x100, queue.epoch, queue.qid, 0, 5, False)
    for _again in range(20):
        source.hear_loss(loss, fabric.now_s)
    assert fabric.total("retransmitted") == 5
    source.hear_loss(loss, fabric.now_s + one.loss_report_s / 2)  # as soon as a destination may repeat itself
    assert fabric.total("retransmitted") == 10


def test_a_claim_nobody_can_fulfil_is_not_waited_for() -> None:
    inbound = Inbound(profile(), epoch=1, dst_port=1, first_psn=0, sent=0, now_s=0.0)
    assert inbound.claim(MAX_AHEAD + 1, 9014, 1.0) == 0.0
    assert inbound.claim(1, 9014, 5.0) == 0.0  # the first to wait for
    assert inbound.claim(1, 9014, 7.0) == 2.0


def test_frames_beyond_all_numbers_of_queues_are_dropped_and_counted() -> None:
    fabric = Fabric(profile(), leaves=2, hosts=1, paths=4)
    source = fabric.edges[0x100].source
    source._used_qids.update(range(QIDS))
    fabric.send(0.001, (1, 1), RECEIVER, 0, 200)
    fabric.run(0.1)
    assert fabric.total("too_many_queues") == 1
    assert not source.queues


@pytest.mark.parametrize("spec", [{}, {"link_rate_mbps": 100, "delay_ms": 5}, {"link_rate_mbps": 1000}])
def test_what_arrives_while_a_gap_is_mended_has_room(spec: dict[str, Any]) -> None:
    one, rate = profile(**spec), spec.get("link_rate_mbps", 10) * 125_000
    assert one.reorder_buffer_bytes >= rate * (one.loss_report_s + one.request_retry_s)


@pytest.mark.parametrize(("rate", "mtu"), [(10, 9000), (10, 1500), (100, 1500)])
def test_what_may_leave_at_once_covers_a_late_timer(rate: int, mtu: int) -> None:
    """Timers count in whole milliseconds."""
    one = profile(link_rate_mbps=rate, mtu_bytes=mtu)
    assert one.release_bytes >= max(2 * one.frame_bytes, rate * 125_000 * 0.002)
