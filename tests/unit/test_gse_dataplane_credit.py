"""What a queue may send ahead of its demand, what a long queue marks, and what a GSP says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gse_fabric import RATE_BYTES_PER_S, Fabric, checksum, ipv4_frame

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.source import QueueName
from testbed.gse.dataplane.status import status_json

PROFILE = Profile()
H11, H12, H21, H22 = (1, 1), (1, 2), (2, 1), (2, 2)
L1, L2 = wire.address(1), wire.address(2)
DELAY_S = 0.010


def bursts(fabric: Fabric, count: int, frames: int, *, every_s: float, from_s: float = 0.0) -> list[float]:
    """Let (1, 1) send bursts of frames to (2, 1); return when each frame is sent, after the start."""
    times = [from_s + every_s * number for number in range(count) for _ in range(frames)]
    for number, t_s in enumerate(times):
        fabric.send(t_s, H11, H21, number, 9014)
    return times


def waits_s(fabric: Fabric, sent_s: list[float]) -> list[float]:
    """Return how long each frame took beyond the way itself."""
    return [at_s - 100.0 - t_s - DELAY_S for at_s, t_s in zip(fabric.delivered_s[H21], sent_s, strict=True)]


def one_path(leaves: int = 2, hosts: int = 1, profile: Profile = PROFILE) -> Fabric:
    return Fabric(profile, leaves=leaves, hosts=hosts, paths=1, path_delay_s=lambda _path: DELAY_S)


def status(fabric: Fabric, gsp: int = L1) -> dict[str, Any]:
    told = status_json(fabric.edges[gsp], fabric.now_s)
    assert json.loads(json.dumps(told)) == told
    return told


def credit_over_time(fabric: Fabric, from_s: float, until_s: float) -> list[int]:
    """Run, and return every ms what the queue of (1, 1) may send beyond its demand."""
    found = []
    for ms in range(round(from_s * 1000), round(until_s * 1000)):
        fabric.run(ms / 1000)
        queue = fabric.edges[L1].source.queues[QueueName(1, L2, 1, 1)]
        found.append(queue.grant - queue.demand)
    return found


# -- ahead of demand ------------------------------------------------------------------------------------------


def test_sender_of_bursts_soon_does_not_wait_nor_ask() -> None:
    fabric = one_path()
    sent_s = bursts(fabric, 30, 3, every_s=0.040)
    fabric.run(0.4)
    asked = fabric.total("requests")
    fabric.run(3.0)
    waits = waits_s(fabric, sent_s)
    assert waits[0] == pytest.approx(2 * DELAY_S, abs=0.001)  # at first it asks
    assert max(waits[30:]) < 0.001
    assert fabric.total("requests") == asked


def test_queue_is_ahead_of_its_demand_by_a_quantum_and_no_more() -> None:
    fabric = one_path()
    bursts(fabric, 40, 5, every_s=0.040)  # more than a quantum each
    credit = credit_over_time(fabric, 0.8, 1.5)
    assert 0.9 * PROFILE.quantum_bytes < max(credit) <= PROFILE.quantum_bytes


def test_queues_of_a_port_are_ahead_by_half_its_window_all_together() -> None:
    fabric = one_path(hosts=8)
    for number in range(60):
        for port in range(2, 9):
            fabric.send(0.030 * number, (1, port), H21, number, 100)  # not much, but the port knows of them
    bursts(fabric, 40, 4, every_s=0.040, from_s=0.010)
    credit = credit_over_time(fabric, 0.8, 1.5)
    assert PROFILE.standing_credit_bytes < max(credit) <= PROFILE.port_window_bytes / (2 * 8)


def test_queue_that_pauses_is_not_ahead_of_its_demand_any_more() -> None:
    fabric = one_path(profile=Profile(age_s=0.1))
    sent_s = bursts(fabric, 20, 4, every_s=0.040)
    assert max(credit_over_time(fabric, 0.7, 0.8)) > 0.5 * PROFILE.quantum_bytes
    sent_s += bursts(fabric, 20, 1, every_s=0.090, from_s=0.85)  # each silence is between half of ``age_s`` and all
    credit = credit_over_time(fabric, 1.4, 2.56)  # what it had left is used up by now
    assert max(credit) <= 2 * PROFILE.standing_credit_bytes
    fabric.run(4.0)
    assert fabric.edges[L1].counters.queues_made == 1
    assert waits_s(fabric, sent_s)[-10:] == [pytest.approx(2 * DELAY_S, abs=0.001)] * 10  # it asks, as at its start


# -- ECN ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ecn", "marked"), [(0, False), (1, True), (2, True), (3, True)])
def test_frames_that_waited_long_arrive_marked_if_their_transport_does_ecn(ecn: int, marked: bool) -> None:
    size, dscp = 1514, 10
    profile = Profile(mark_s=0.05)
    fabric = Fabric(profile, leaves=2, hosts=2)
    sent = [ipv4_frame(H11, H21, size, tos=dscp << 2 | ecn, number=number) for number in range(60)]
    for frame in sent:
        fabric.send_frame(0.0, H11, frame)  # all at once: the last one waits until the port has drained the others
    fabric.send_frame(0.0, H12, ipv4_frame(H12, H22, size, tos=dscp << 2 | ecn))  # a short queue of the same GSP
    fabric.run(3.0)
    arrived = fabric.delivered[H21]
    left_s = [t_s - 100.0 for t_s, f in fabric.sent_frames if (h := wire.parse_data(f)) and h.dst_port == H21[1]]
    assert sum(t_s > profile.mark_s for t_s in left_s) in range(10, 50)
    assert [frame[18:20] for frame in arrived] == [frame[18:20] for frame in sent]
    for frame, original, t_s in zip(arrived, sent, left_s, strict=True):
        assert checksum(frame[14:34]) == 0
        assert frame[15] == dscp << 2 | (3 if marked and t_s > profile.mark_s else ecn)
        assert frame[:15] + frame[16:24] + frame[26:] == original[:15] + original[16:24] + original[26:]
    assert fabric.delivered[H22] == [ipv4_frame(H12, H22, size, tos=dscp << 2 | ecn)]
    assert fabric.edges[L1].counters.marked_frames == (sum(t_s > profile.mark_s for t_s in left_s) if marked else 0)
    assert fabric.total("queue_full_drops") == 0


def test_frames_that_meet_a_full_queue_are_dropped_and_counted_and_the_rest_arrives() -> None:
    fabric = Fabric(Profile(limit_bytes=45_070), leaves=2, hosts=2)
    for number in range(9):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.send(0.001, H12, H21, 0, 9014)  # full is one host's queue, not the other's
    fabric.run(2.0)
    assert fabric.numbers(H21, H11) == [0, 1, 2, 3, 4]
    assert fabric.numbers(H21, H12) == [0]
    assert fabric.total("queue_full_drops") == 4


# -- what a GSP says of itself --------------------------------------------------------------------------------


def test_status_of_a_gsp_tells_what_waits_what_was_sent_and_what_is_wrong() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=2, paths=2, watches_paths=True)
    told = status(fabric)
    assert told["gsp"] == L1
    assert told["epoch"] == 1
    assert told["queues"] == told["paths_down"] == []
    assert told["path_bytes"] == [0, 0]
    assert told["dgsq_wait_ms"] == {"p50": None, "p99": None}

    for number in range(50):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.send(0.0, H12, H22, 0, 1000)
    fabric.run(0.2)
    told = status(fabric)
    (queue,) = [one for one in told["queues"] if one["backlog_bytes"]]
    (idle,) = [one for one in told["queues"] if not one["backlog_bytes"]] or [None]
    gone = len([header for _t_s, header in fabric.data() if header.inner_bytes == 9014])
    assert 0 < gone < 50
    assert (queue["dst"], queue["dst_port"], queue["tc"]) == (L2, 1, 1)
    assert queue["backlog_bytes"] == (50 - gone) * 9014
    assert 0 <= queue["credit_bytes"] < 9014  # else it would have sent
    assert queue["head_age_ms"] == pytest.approx(200, abs=1)
    assert idle is None or idle["head_age_ms"] == 0.0
    assert sum(told["path_bytes"]) == gone * (9014 + wire.OVERHEAD_BYTES) + 1000 + wire.OVERHEAD_BYTES
    counters = told["counters"]
    assert counters["host_in_frames"] == 51
    assert counters["data_out"] == gone + 1
    assert counters["containers"] == len({(h.qid, h.csn) for _t_s, h in fabric.data()}) - 1  # one is open
    assert told["dgsq_wait_ms"]["p99"] is None  # too few
    assert 0 < told["dgsq_wait_ms"]["p50"] < 200
    assert status(fabric, L2)["grants"] > 0
    assert status(fabric, L2)["counters"]["delivered_in_order"] == len(fabric.delivered_s[H21]) + 1

    fabric.turn(L1, lambda edge: edge.carrier(1, up=False, now_s=fabric.now_s))
    slow = wire.control_frame(wire.Congestion(L2, L1, 1, 3), 1)
    fabric.turn(L1, lambda edge: edge.from_fabric(slow, fabric.now_s))
    told = status(fabric)
    assert told["paths_down"] == [1]
    assert told["paces"] == {"2": [0.5, 1.0]}


def test_waits_are_told_as_percentiles() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=1, path_delay_s=lambda _path: DELAY_S)
    for number in range(120):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.run(3.0)
    waits = status(fabric)["dgsq_wait_ms"]
    frame_ms = 9014e3 / (RATE_BYTES_PER_S * PROFILE.pacing)
    assert waits["p50"] == pytest.approx(60 * frame_ms, rel=0.1)
    assert waits["p99"] == pytest.approx(119 * frame_ms, rel=0.1)
