"""What takes one path: containers that meet a dead path, flows, flowlets; and paths that die under E2E."""

from __future__ import annotations

import pytest
from gse_fabric import Fabric, ipv4_frame

from testbed.gse.dataplane import unit, wire
from testbed.gse.dataplane.profile import Profile

H11, H12, H21, H22, H31 = (1, 1), (1, 2), (2, 1), (2, 2), (3, 1)
BLIND = {"admission": "none", "reorder": False}  # frames leave at once


def test_open_container_leaves_a_path_that_dies() -> None:
    fabric = Fabric(Profile(container_bytes=900_000), leaves=2, hosts=1)
    for number in range(60):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.run(0.2)
    path = fabric.data()[-1][1].path  # one container for everything: all on one path
    assert {header.path for _t_s, header in fabric.data()} == {path}
    fabric.turn(wire.address(1), lambda edge: edge.carrier(path - 1, up=False, now_s=fabric.now_s))
    fabric.run(5.0)
    after = [header for t_s, header in fabric.data() if t_s > 0.2]
    assert after
    assert path not in {header.path for header in after}
    assert fabric.numbers(H21, H11) == list(range(60))
    containers: dict[int, set[int]] = {}
    for _t_s, header in fabric.data():
        containers.setdefault(header.csn, set()).add(header.path)
    assert all(len(paths) == 1 for paths in containers.values())  # still: one container, one path


def paths_of_flow(fabric: Fabric, pauses_s: list[float]) -> list[int]:
    """Let one flow send with these pauses; return the path each frame took."""
    t_s = 0.0
    for pause_s in [0.0, *pauses_s]:
        t_s += pause_s
        fabric.send_frame(t_s, H11, ipv4_frame(H11, H21, 1000))
    fabric.run(t_s + 1)
    return [header.path for _t_s, header in fabric.data()]


def test_flow_silent_for_longer_than_the_gap_may_change_path_and_within_it_never() -> None:
    profile = Profile(unit="flowlet", flowlet_gap_s=0.05, **BLIND)
    within = paths_of_flow(Fabric(profile, leaves=2, paths=4), [0.049] * 40)
    assert len(within) == 41
    assert len(set(within)) == 1
    beyond = paths_of_flow(Fabric(profile, leaves=2, paths=4), [0.051] * 40)
    assert all(9 <= beyond.count(path) <= 12 for path in (1, 2, 3, 4))  # each time the path furthest behind
    mixed = paths_of_flow(Fabric(profile, leaves=2, paths=4), [0.03, 0.03, 0.06, 0.03, 0.03])
    assert len(set(mixed[:3])) == len(set(mixed[3:])) == 1
    assert mixed[2] != mixed[3]


def test_flowlet_leaves_a_path_that_dies_at_once() -> None:
    fabric = Fabric(Profile(unit="flowlet", flowlet_gap_s=10.0, **BLIND), leaves=2, paths=2)
    before = paths_of_flow(fabric, [0.1])
    assert before[0] == before[1]
    fabric.turn(wire.address(1), lambda edge: edge.carrier(before[0] - 1, up=False, now_s=fabric.now_s))
    fabric.send_frame(fabric.now_s - 100.0, H11, ipv4_frame(H11, H21, 1000))
    fabric.run(2)
    assert fabric.data()[-1][1].path != before[0]


def test_flowlet_table_forgets_the_oldest_flow_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "MAX_FLOWLETS", 8)

    def path_of_the_first_again(flows_between: int) -> tuple[int, int]:
        fabric = Fabric(Profile(unit="flowlet", flowlet_gap_s=10.0, **BLIND), leaves=2, paths=2)
        fabric.send_frame(0.0, H11, ipv4_frame(H11, H21, 9000, src_port=1))  # its path is ahead from now on
        for flow in range(flows_between):
            fabric.send_frame(0.001 + 0.001 * flow, H11, ipv4_frame(H11, H21, 60, src_port=2 + flow))
        fabric.send_frame(1.0, H11, ipv4_frame(H11, H21, 60, src_port=1))
        fabric.run(2.0)
        paths = [header.path for _t_s, header in fabric.data()]
        return paths[0], paths[-1]

    first, again = path_of_the_first_again(7)
    assert first == again  # 8 flows fit
    first, again = path_of_the_first_again(8)
    assert first != again  # a new flow: it takes the path that is behind


def paths_by_flow(seed: int) -> dict[int, set[int]]:
    """Let 60 flows send now and again; return the paths each took."""
    fabric = Fabric(Profile(unit="flow", **BLIND), leaves=2, paths=4, seed=seed)
    order = [(0.4 * round_ + 0.001 * flow, flow) for round_ in range(4) for flow in range(60)]
    for t_s, flow in order:
        fabric.send_frame(t_s, H11, ipv4_frame(H11, H21, 9000 if flow % 3 else 60, src_port=5000 + flow))
    fabric.run(4.0)
    taken: dict[int, set[int]] = {}
    for (_t, flow), (_t_s, header) in zip(order, fabric.data(), strict=True):
        taken.setdefault(flow, set()).add(header.path)
    return taken


def test_flow_stays_on_the_path_of_its_hash_whatever_it_sends_and_flows_differ() -> None:
    one, other = paths_by_flow(1), paths_by_flow(2)
    assert all(len(paths) == 1 for paths in one.values())
    used = [next(iter(paths)) for paths in one.values()]
    assert all(used.count(path) >= 5 for path in (1, 2, 3, 4))
    assert one == paths_by_flow(1)
    assert one != other  # the seed is part of the hash


# -- paths that die without a sign, hosts that do not watch ---------------------------------------------------


def test_path_that_dies_silently_is_left_by_every_host_under_e2e_and_comes_back() -> None:
    fabric = Fabric(Profile(), leaves=3, hosts=2, paths=3, e2e=True, watches_paths=True)
    pairs = [(H11, H21), (H31, H22), (H21, H31), (H22, H12)]  # to leaf 2 from elsewhere, and from it
    for number in range(600):
        for src, dst in pairs:
            fabric.send(0.005 * number, src, dst, number, 1500)
    fabric.at(100.5, lambda: fabric.dead.add((2, 1)))
    fabric.at(101.2, fabric.dead.clear)
    fabric.run(6.0)

    def paths_used(from_s: float, until_s: float, src: tuple[int, int], dst: tuple[int, int]) -> set[int]:
        source, destination = wire.address(*src), wire.address(*dst)
        return {
            header.path
            for t_s, header in fabric.data(from_s)
            if t_s < until_s and (header.src, header.dst) == (source, destination)
        }

    for src, dst in pairs:
        assert paths_used(0.0, 0.5, src, dst) == {1, 2, 3}
        assert paths_used(0.6, 1.2, src, dst) == {1, 3}
        assert paths_used(2.5, 3.0, src, dst) == {1, 2, 3}
    for gsp, edge in fabric.edges.items():  # hosts hear; they send no hellos of their own
        watches = gsp & 0xFF == 0
        assert (edge.counters.hellos > 0) == watches
        assert edge.counters.faults_heard > 0 or gsp == wire.address(2)
        assert edge.failures.monitor.failures() == (gsp == wire.address(2))
    for src, dst in pairs:  # what was under way is lost, the rest arrives
        arrived = fabric.numbers(dst, src)
        assert arrived == sorted(arrived)
        assert len(arrived) > 570


def test_path_of_another_leaf_that_is_dead_is_still_used_between_leaves_it_works_for_under_e2e() -> None:
    fabric = Fabric(Profile(), leaves=3, hosts=1, paths=2, e2e=True, watches_paths=True)
    fabric.dead.add((2, 0))
    for number in range(200):
        fabric.send(0.3 + 0.005 * number, H11, H31, number, 1500)
    fabric.run(3.0)
    assert {header.path for _t_s, header in fabric.data()} == {1, 2}
    assert fabric.numbers(H31, H11) == list(range(200))


# -- sprayed without order, containers -------------------------------------------------------------------------


def test_where_order_is_not_restored_nothing_is_sent_again() -> None:
    """A switch that sprays keeps nothing to send again."""
    fabric = Fabric(Profile(unit="packet", retransmit=True, **BLIND), leaves=2, hosts=1, paths=2)
    for number in range(40):
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.run(0.001)
    fabric.turn(wire.address(1), lambda edge: edge.carrier(0, up=False, now_s=fabric.now_s))
    assert fabric.total("path_changes") == 1
    assert fabric.total("retransmitted") == 0


def test_packet_that_empties_its_queue_goes_with_its_container() -> None:
    fabric = Fabric(Profile(), leaves=2, hosts=1, paths=4)
    for number in range(4):  # just a container
        fabric.send(0.0, H11, H21, number, 9014)
    fabric.run(0.3)
    headers = [header for _t_s, header in fabric.data()]
    assert [(header.csn, header.pidx) for header in headers] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert len({header.path for header in headers}) == 1
    assert (fabric.total("containers"), fabric.total("short_containers")) == (1, 0)
