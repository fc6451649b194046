"""GSPs in a virtual fabric: what must hold whatever is lost, doubled or late."""

from __future__ import annotations

from random import Random

import pytest
from gse_fabric import RATE_BYTES_PER_S, Fabric, host_frame, mac_of
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.gse.dataplane import wire
from testbed.gse.dataplane.profile import Profile

PROFILE = Profile()
H11, H12, H21, H22, H31 = (1, 1), (1, 2), (2, 1), (2, 2), (3, 1)


def is_control(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xb6"


sizes = st.integers(min_value=60, max_value=9014)
hosts = st.sampled_from([(leaf, port) for leaf in (1, 2, 3) for port in (1, 2)])
bursts = st.lists(
    st.tuples(st.floats(0, 0.5), hosts, hosts, sizes).filter(lambda item: item[1] != item[2]), min_size=1, max_size=60
)


def load(fabric: Fabric, traffic: list[tuple[float, tuple[int, int], tuple[int, int], int]]) -> dict[object, list[int]]:
    """Let the hosts send; return the numbers each pair sends, in order."""
    expected: dict[object, list[int]] = {}
    for number, (t_s, src, dst, size) in enumerate(sorted(traffic, key=lambda item: item[0])):
        fabric.send(t_s, src, dst, number, size)
        expected.setdefault((dst, src), []).append(number)
    return expected


@settings(deadline=None, max_examples=60)
@given(bursts, st.booleans(), st.integers(0, 1000))
def test_every_frame_arrives_once_and_in_order_when_nothing_is_lost(traffic: list, e2e: bool, seed: int) -> None:
    fabric = Fabric(PROFILE, paths=3, seed=seed, e2e=e2e, path_delay_s=lambda path: 0.002 * (1 + 4 * path))
    expected = load(fabric, traffic)
    fabric.run(60)
    for (dst, src), numbers in expected.items():
        assert fabric.numbers(dst, src) == numbers
    assert sum(map(len, fabric.delivered.values())) == len(traffic)
    assert fabric.total("gap_timeouts") == 0


@settings(deadline=None, max_examples=60)
@given(bursts, st.integers(0, 1000), st.floats(0, 0.4), st.floats(0, 0.3))
def test_control_frames_lost_doubled_or_late_heal(traffic: list, seed: int, lost: float, doubled: float) -> None:
    def fate(frame: bytes, rng: Random) -> list[float]:
        if not is_control(frame):
            return [0.0]
        if rng.random() < lost:
            return []
        copies = 2 if rng.random() < doubled else 1
        return [rng.choice([0.0, 0.0, 0.05, 0.2]) for _ in range(copies)]

    fabric = Fabric(PROFILE.model_copy(update={"watchdog_s": 5.0}), seed=seed, fate=fate)
    expected = load(fabric, traffic)
    fabric.run(60)
    for (dst, src), numbers in expected.items():
        assert fabric.numbers(dst, src) == numbers


@settings(deadline=None, max_examples=60)
@given(bursts, st.integers(0, 1000), st.floats(0.01, 0.3))
def test_lost_data_never_stops_the_rest_and_never_disorders_it(traffic: list, seed: int, lost: float) -> None:
    def fate(_frame: bytes, rng: Random) -> list[float]:
        return [] if rng.random() < lost else [0.0]

    fabric = Fabric(PROFILE.model_copy(update={"watchdog_s": 5.0}), seed=seed, fate=fate)
    expected = load(fabric, traffic)
    fabric.run(60)
    gone = [frame for _t, frame in fabric.sent_frames if not is_control(frame)]
    assert len(gone) + fabric.total("local_frames") == len(traffic)  # everything left its source
    for (dst, src), numbers in expected.items():
        arrived = fabric.numbers(dst, src)
        assert arrived == sorted(arrived)
        assert set(arrived) <= set(numbers)
    # and at rest no window has leaked: a second burst goes through as the first would
    fabric.fate = lambda _frame, _rng: [0.0]
    for number in range(40):
        fabric.send(60 + 0.001 * number, H11, H21, 1000 + number, 9014)
    fabric.run(120)
    assert [n for n in fabric.numbers(H21, H11) if n >= 1000] == list(range(1000, 1040))


@settings(deadline=None, max_examples=40)
@given(bursts, st.integers(0, 1000), st.floats(0.01, 0.3))
def test_retransmission_repairs_what_is_lost(traffic: list, seed: int, lost: float) -> None:
    again: set[bytes] = set()

    def fate(frame: bytes, rng: Random) -> list[float]:
        # a retransmission and its reports get through: what is tested is that they happen
        first_time = not is_control(frame) and not frame[14] & wire.FLAG_RETRANSMITTED
        return [] if first_time and rng.random() < lost and not again.add(frame) else [0.0]

    profile = PROFILE.model_copy(update={"retransmit": True})
    fabric = Fabric(profile, seed=seed, fate=fate)
    expected = load(fabric, traffic)
    fabric.run(60)
    for (dst, src), numbers in expected.items():
        assert fabric.numbers(dst, src) == numbers
    assert fabric.total("skipped") == 0
    assert fabric.total("retransmitted") >= len(again)


@settings(deadline=None, max_examples=40)
@given(bursts, st.integers(0, 1000))
def test_never_more_sent_than_granted_nor_granted_than_the_port_can_drain(traffic: list, seed: int) -> None:
    fabric = Fabric(PROFILE, seed=seed)
    load(fabric, traffic)
    fabric.run(60)
    granted: dict[tuple[int, int], int] = {}  # (source, qid) -> cumulative grant told
    for _t_s, frame in fabric.sent_frames:
        if is_control(frame):
            message = wire.parse_control(frame)
            if isinstance(message, wire.Grant):
                for entry in message.entries:
                    key = (message.dst, entry.qid)
                    granted[key] = max(granted.get(key, 0), entry.grant)
        else:
            header = wire.parse_data(frame)
            assert header is not None
            assert header.sent + header.inner_bytes <= granted.get((header.src, header.qid), 0)
            if header.flags & wire.FLAG_GRANT:
                key = (header.dst, header.grant_qid)
                granted[key] = max(granted.get(key, 0), header.grant)
    # each port: frames delivered in any window fit the paced rate plus one quantum and the standing credits
    slack = PROFILE.quantum_bytes + PROFILE.port_window_bytes
    for port, frames in fabric.delivered.items():
        times = fabric.delivered_s[port]
        total, sums = 0, []
        for frame in frames:
            total += len(frame)
            sums.append(total)
        for i in range(len(frames)):
            before = sums[i] - len(frames[i])
            for j in range(i, len(frames)):
                allowed = (times[j] - times[i]) * RATE_BYTES_PER_S * PROFILE.pacing + slack
                assert sums[j] - before <= allowed + 1


def saturate(fabric: Fabric, src: tuple[int, int], dst: tuple[int, int], frames: int, first: int = 0) -> None:
    for number in range(frames):
        fabric.send(0.0001 * number, src, dst, first + number, 9014)


def test_incast_shares_the_port_fairly_and_at_the_paced_rate() -> None:
    fabric = Fabric(PROFILE, leaves=4, hosts=4, paths=4)
    sources = [(leaf, port) for leaf in range(1, 5) for port in range(1, 5)][1:]
    for source in sources:
        saturate(fabric, source, (1, 1), 200, 1000 * source[0] + 100_000 * source[1])
    fabric.run(15.0)
    got = [len(fabric.numbers((1, 1), source)) for source in sources]
    jain = sum(got) ** 2 / (len(got) * sum(n * n for n in got))
    assert jain >= 0.99
    rate = sum(got) * 9014 / 15.0
    assert 0.95 * RATE_BYTES_PER_S <= rate <= RATE_BYTES_PER_S
    scheduler_outstanding = fabric.edges[wire.address(1)].sink.schedulers[1].outstanding_bytes
    assert scheduler_outstanding <= PROFILE.port_window_bytes + 15 * PROFILE.standing_credit_bytes


def test_containers_of_a_flow_use_every_path_equally() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=4)
    saturate(fabric, (1, 1), (2, 1), 400)
    fabric.run(10)
    sent = fabric.edges[wire.address(1)].spread.path_bytes
    assert max(sent) <= min(sent) + PROFILE.container_bytes + 4 * wire.OVERHEAD_BYTES
    paths_of_container: dict[int, set[int]] = {}
    for _t, frame in fabric.sent_frames:
        if not is_control(frame):
            header = wire.parse_data(frame)
            paths_of_container.setdefault(header.csn, set()).add(header.path)
    assert all(len(paths) == 1 for paths in paths_of_container.values())
    assert len(paths_of_container) >= 100


def test_asking_costs_a_round_trip_on_an_idle_fabric_and_standing_credit_saves_it() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=1, path_delay_s=lambda _path: 0.010)
    fabric.send(0.0, H11, H21, 0, 200)
    fabric.send(0.05, H11, H21, 1, 200)
    fabric.run(1)
    first_s, second_s = fabric.delivered_s[H21]
    assert first_s - 100.0 == pytest.approx(0.030, abs=0.001)  # request there, grant back, frame there
    assert second_s - 100.05 == pytest.approx(0.010, abs=0.001)  # credit was left


def test_dead_path_is_left_within_the_silence_and_everybody_hears() -> None:
    profile = PROFILE.model_copy(update={"gap_s": 0.1})
    fabric = Fabric(profile, leaves=3, hosts=1, paths=3, watches_paths=True)
    for number in range(300):
        fabric.send(0.005 * number, H11, H21, number, 1500)
        fabric.send(0.005 * number, H31, H21, number, 1500)
    fabric.at(100.5, lambda: fabric.dead.add((2, 1)))
    fabric.run(3)
    late = [
        frame
        for t_s, frame in fabric.sent_frames
        if not is_control(frame) and t_s > 100.5 + 0.05 and frame[3] == 2 and frame[4] == 2
    ]
    assert not late
    assert fabric.edges[wire.address(2)].failures.monitor.failures() == 1
    assert len(fabric.numbers(H21, H11)) > 280  # what was under way is lost, the rest goes on
    fabric.dead.clear()
    for number in range(100):
        fabric.send(5 + 0.005 * number, H11, H21, 1000 + number, 1500)
    fabric.run(8)
    back = [f for t_s, f in fabric.sent_frames if not is_control(f) and t_s > 105 and f[3] == 2]
    assert back


def test_slow_path_is_weighted_away_and_comes_back() -> None:
    slow_until = [0.0]

    def delay(path: int) -> float:
        return 0.3 if path == 1 and 101.0 <= fabric.now_s < slow_until[0] else 0.005

    fabric = Fabric(PROFILE, leaves=2, hosts=1, paths=4, path_delay_s=delay)
    slow_until[0] = 106.0
    for number in range(3000):
        fabric.send(0.0075 * number, H11, H21, number, 9014)
    fabric.run(26)

    def share(from_s: float, to_s: float) -> float:
        paths = [f[3] for t_s, f in fabric.sent_frames if not is_control(f) and from_s <= t_s < to_s]
        return paths.count(2) / len(paths)

    assert share(100.0, 101.0) == pytest.approx(0.25, abs=0.05)
    assert share(104.0, 106.0) < 0.06
    assert share(119.0, 122.0) > 0.2  # on its way back
    assert fabric.numbers(H21, H11) == list(range(3000))


def test_restarted_source_is_taken_up_by_its_new_epoch() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1)
    saturate(fabric, H11, H21, 100)
    fabric.at(100.3, lambda: fabric.start(wire.address(1), epoch=2))
    for number in range(50):
        fabric.send(0.35 + 0.001 * number, H11, H21, 5000 + number, 3000)
    fabric.run(10)
    arrived = fabric.numbers(H21, H11)
    assert [n for n in arrived if n >= 5000] == list(range(5000, 5050))
    assert arrived == sorted(arrived)


def test_restarted_destination_takes_up_queues_where_they_are() -> None:
    fabric = Fabric(PROFILE.model_copy(update={"watchdog_s": 5.0}), leaves=2, hosts=1)
    saturate(fabric, H11, H21, 200)
    fabric.at(100.3, lambda: fabric.start(wire.address(2), epoch=2))
    fabric.run(20)
    arrived = fabric.numbers(H21, H11)
    assert arrived == sorted(arrived)
    assert arrived[-1] == 199
    assert len(arrived) >= 200 - PROFILE.window_bytes // 9014 - 2


def test_queue_of_a_silent_destination_is_given_up_and_counted() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1, fate=lambda _f, _r: [])
    saturate(fabric, H11, H21, 10)
    fabric.run(30)
    edge = fabric.edges[wire.address(1)]
    assert edge.counters.watchdog_drops == 10
    assert edge.counters.watchdog_alarms == 3
    assert not edge.source.queues


def test_state_of_ended_traffic_is_forgotten() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=2)
    for src, dst in ((H11, H21), (H12, H22), (H21, H12)):
        saturate(fabric, src, dst, 20)
    fabric.run(60)
    for edge in fabric.edges.values():
        assert edge.source.at_rest
        assert not edge.sink.inbound
        assert edge.due_s() is None
        assert all(s.outstanding_bytes == 0 for s in edge.sink.schedulers.values())


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"\x88\xb5", b"\x88\xb6", b"\x08\x00"]))
def test_no_garbage_reaches_a_host(garbage: bytes, ethertype: bytes) -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1)
    frame = wire.mac(wire.address(1), 1) + wire.mac(wire.address(2), 1) + ethertype + garbage
    fabric.turn(wire.address(1), lambda edge: edge.from_fabric(frame, fabric.now_s))
    assert not fabric.delivered


def test_data_frame_for_another_host_is_not_delivered() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=2)
    inner = host_frame(H21, H12, 1, 100)
    for dst_port, path, src in ((1, 1, 2), (2, 3, 2), (2, 1, 3)):
        header = wire.DataHeader(
            1, 1, 1, wire.address(src), wire.address(1), dst_port, path, 0, 0, 0, 0, 100, 0, 100, 0
        )
        frame = wire.data_prefix(header) + inner
        fabric.turn(wire.address(1), lambda edge, frame=frame: edge.from_fabric(frame, fabric.now_s))
    assert not fabric.delivered
    assert fabric.edges[wire.address(1)].counters.misdirected == 3


def test_frame_to_nobody_is_counted() -> None:
    fabric = Fabric(PROFILE, leaves=2, hosts=1)
    frame = b"\xff" * 6 + mac_of(1, 1) + b"\x08\x06" + bytes(46)
    fabric.turn(wire.address(1), lambda edge: edge.from_host(1, frame, fabric.now_s))
    assert fabric.edges[wire.address(1)].counters.unknown_destination == 1


@pytest.mark.parametrize("unit", ["packet", "flowlet", "flow"])
def test_without_admission_frames_leave_at_once(unit: str) -> None:
    profile = PROFILE.model_copy(update={"unit": unit, "admission": "none", "reorder": False})
    fabric = Fabric(profile, leaves=2, hosts=1, paths=3, path_delay_s=lambda path: 0.001 * (1 + 5 * path))
    for number in range(30):
        fabric.send(0.001 * number, H11, H21, number, 1000)
    fabric.run(2)
    arrived = fabric.numbers(H21, H11)
    assert sorted(arrived) == list(range(30))
    used = {frame[3] for _t, frame in fabric.sent_frames if not is_control(frame)}
    if unit == "packet":
        assert used == {1, 2, 3}
        assert arrived != sorted(arrived)  # why order has to be restored
        assert sum(
            e.sink.inbound and next(iter(e.sink.inbound.values())).swapped or 0 for e in fabric.edges.values()
        ) or (fabric.total("swapped"))
    else:
        assert len(used) == 1
        assert arrived == sorted(arrived)
    assert fabric.total("requests") == 0
