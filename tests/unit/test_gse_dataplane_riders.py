"""Grants that ride on data frames: each leaves once, in time, and nobody who stands still waits for a ride."""

from __future__ import annotations

from math import inf

import pytest
from gse_fabric import Fabric, is_data
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.riders import Riders

H11, H21 = (1, 1), (2, 1)
L2 = wire.address(2)

sources, qids = st.integers(0, 2), st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("hold"), sources, qids),
    st.tuples(st.just("drop"), sources, qids),
    st.tuples(st.just("take"), sources),
    st.tuples(st.just("take_all"), sources),
)


@given(st.lists(steps, max_size=60))
def test_each_queue_gets_its_latest_grant_once_unless_it_is_dropped(
    story: list[tuple[str, int] | tuple[str, int, int]],
) -> None:
    riders, expected = Riders(), {}
    for grant, (what, src, *rest) in enumerate(story):
        if what == "hold":
            entry = wire.GrantEntry(rest[0], 1, grant)
            riders.hold(src, entry, float(grant))
            expected[src, rest[0]] = entry
        elif what == "drop":
            riders.drop(src, rest[0])
            expected.pop((src, rest[0]), None)
        elif what == "take":
            entry = riders.take(src)
            assert (entry is None) == (not any(key[0] == src for key in expected))
            assert entry is None or expected.pop((src, entry.qid)) == entry
        else:
            found = {(src, entry.qid): entry for entry in riders.take_all(src)}
            assert found == {key: entry for key, entry in expected.items() if key[0] == src}
            expected = {key: entry for key, entry in expected.items() if key[0] != src}
        assert set(riders.overdue(inf)) == {key[0] for key in expected}
        assert (riders.due_s() == inf) == (not expected)


def test_the_first_that_waits_sets_the_time() -> None:
    riders = Riders()
    riders.hold(1, wire.GrantEntry(1, 1, 10), 5.0)
    riders.hold(1, wire.GrantEntry(2, 1, 20), 7.0)
    riders.hold(2, wire.GrantEntry(1, 1, 30), 6.0)
    assert (riders.due_s(), riders.overdue(4.9), riders.overdue(5.0), riders.overdue(6.0)) == (5.0, [], [1], [1, 2])
    assert riders.take(1) == wire.GrantEntry(1, 1, 10)
    assert riders.overdue(5.0) == [1]
    assert riders.take(1) == wire.GrantEntry(2, 1, 20)
    assert riders.take(1) is None
    assert riders.due_s() == 6.0


def busy(profile: Profile, *, answers: bool) -> Fabric:
    """Return a fabric after one host has sent more than it may for two seconds; ``answers``: small frames go back."""
    fabric = Fabric(profile, leaves=2, hosts=1)
    for number in range(280):
        fabric.send(0.005 * number, H11, H21, number, 9014)
        if answers and number % 2:
            fabric.send(0.0072 * number + 0.02, H21, H11, number, 66)
    fabric.run(4.0)
    assert fabric.numbers(H21, H11) == list(range(280))
    return fabric


def frames_of_leaf_2(fabric: Fabric) -> tuple[int, int]:
    """Return the grants leaf 2 sent in frames of their own to leaf 1, and on data."""
    alone = riding = 0
    for _t_s, frame in fabric.sent_frames:
        if is_data(frame):
            header = wire.parse_data(frame)
            assert header is not None
            riding += header.src == L2 and bool(header.flags & wire.FLAG_GRANT)
        else:
            message = wire.parse_control(frame)
            alone += isinstance(message, wire.Grant) and message.src == L2
    return alone, riding


def test_grants_of_a_steady_sender_ride_on_what_goes_back() -> None:
    alone, riding = frames_of_leaf_2(busy(Profile(), answers=True))
    assert riding > 3 * alone > 0  # the first ones do not wait for a ride
    alone, riding = frames_of_leaf_2(busy(Profile(grant_hold_s=0), answers=True))
    assert alone > 0
    assert riding == 0


def test_grants_that_find_nothing_to_ride_on_leave_in_time() -> None:
    held, at_once = (busy(Profile(grant_hold_s=hold_s), answers=False) for hold_s in (0.0144, 0.0))
    assert frames_of_leaf_2(held)[1] == 0
    assert held.delivered_s[H21][-1] == pytest.approx(at_once.delivered_s[H21][-1], abs=0.03)


def test_a_ride_that_is_lost_is_made_good() -> None:
    lost = [0]

    def fate(frame: bytes, _rng: object) -> list[float]:
        header = wire.parse_data(frame) if is_data(frame) else None
        if header is not None and header.flags & wire.FLAG_GRANT:
            lost[0] += 1
            return []
        return [0.0]

    fabric = Fabric(Profile(retransmit=True), leaves=2, hosts=1, fate=fate)
    for number in range(200):
        fabric.send(0.0072 * number, H11, H21, number, 9014)
        fabric.send(0.0072 * number, H21, H11, number, 66)
    fabric.run(30.0)
    assert lost[0] > 5
    assert fabric.numbers(H21, H11) == list(range(200))
    assert fabric.total("watchdog_drops") == 0


def test_ports_that_have_something_to_grant_grant_together_and_share_frames() -> None:
    fabric = Fabric(Profile(grant_hold_s=0), leaves=2, hosts=2)
    for number in range(200):
        fabric.send(0.004 * number, H11, H21, number, 9014)
        fabric.send(0.004 * number + 0.018, (1, 2), (2, 2), number, 9014)  # out of step, so that grants are, too
    fabric.run(6.0)
    schedulers = fabric.edges[L2].sink.schedulers.values()
    issued, frames = sum(one.grants for one in schedulers), frames_of_leaf_2(fabric)[0]
    assert issued > 100
    assert frames < 0.65 * issued  # nearly one each if every port granted when its own time came
