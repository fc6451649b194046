"""Frames that come when their queue is long over: they must not make it live again, nor take credit from others."""

from __future__ import annotations

from random import Random

from gse_fabric import Fabric, is_data

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile

H11, H21, H31 = (1, 1), (2, 1), (3, 1)
L1, L2 = wire.address(1), wire.address(2)
AGAIN = Profile(retransmit=True)


def stragglers(frame: bytes, _rng: Random) -> list[float]:
    """What leaf 1 sends by its second path takes a second and more: it is sent again and comes by the first before."""
    if not is_data(frame):
        return [0.0]
    header = wire.parse_data(frame)
    assert header is not None
    slow = header.src == L1 and header.path == 2 and not header.flags & wire.FLAG_RETRANSMITTED
    return [1.2 + 0.02 * (header.psn % 50)] if slow else [0.0]


def test_stragglers_of_a_closed_queue_take_no_credit_from_others() -> None:
    fabric = Fabric(AGAIN, leaves=3, hosts=1, fate=stragglers)
    for number in range(30):
        fabric.send(0.0072 * number, H11, H21, number, 9014)
    for number in range(400):
        fabric.send(0.8 + 0.0075 * number, H31, H21, number, 9014)
    fabric.run(1.0)
    scheduler = fabric.edges[L2].sink.schedulers[1]
    granted = []
    for step in range(150):
        fabric.run(1.0 + 0.01 * step)
        told = scheduler.current((L1, 0))
        granted.append(0 if told is None else told.grant)
    assert fabric.edges[L2].totals().late > 5  # they came
    assert set(granted) == {0}  # and nobody took them for a queue that wants something
    fabric.run(8.0)
    assert fabric.numbers(H21, H11) == list(range(30))
    assert fabric.numbers(H21, H31) == list(range(400))
    assert fabric.total("stale") == fabric.total("watchdog_alarms") == 0


def test_frames_are_sent_again_by_another_path_than_the_one_that_kept_them() -> None:
    fabric = Fabric(AGAIN, leaves=3, hosts=1, fate=stragglers)
    for number in range(30):
        fabric.send(0.0072 * number, H11, H21, number, 9014)
    fabric.run(3.0)
    by_path: dict[int, set[int]] = {}
    for _t_s, header in fabric.data():
        by_path.setdefault(header.psn, set()).add(header.path)
    again = {header.psn for _t_s, header in fabric.data() if header.flags & wire.FLAG_RETRANSMITTED}
    assert len(again) > 5
    assert all(by_path[psn] == {1, 2} for psn in again)
    assert fabric.numbers(H21, H11) == list(range(30))
