import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.gse.balance import Balancer, HotLinks
from testbed.gse.load import LinkId, LoadMonitor
from testbed.gse.pins import Pin, PinTable
from testbed.gse.policy import PortCounter
from testbed.gse.rulebook import RuleBook, reverse_of
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import Flow
from testbed.model.scenario import GsosSpec
from testbed.model.topology import Topology

TOPOLOGY = Topology(FabricSpec(leaves=2, spines=3, hosts_per_leaf=4))
RATE = 1_250_000
SETTINGS = GsosSpec(hot_utilization=0.9, hot_polls=2, min_gain_fraction=0.1, hold_s=2.0)
NOW = 100.0


class Bench:
    """Flows from leaf 1 to leaf 2 with rates given as fractions of a link, and what the ports add up to."""

    def __init__(self, flows, other=None, placed_s=0.0):
        self.loads = LoadMonitor(TOPOLOGY)
        self.pins = PinTable(TOPOLOGY, RuleBook(switch.dpid for switch in TOPOLOGY.switches))
        total = dict(other or {})
        rates = {}
        for number, (path, fraction, reverse_fraction) in enumerate(flows):
            flow = Flow("10.0.1.1", "10.0.2.1", 6, 40_000 + number, 20_000)
            pin = Pin(
                flow=flow, src_leaf=0, dst_leaf=1, path=path, home=path, weight=0, job=None,
                both_ways=True, turn=number, placed_s=placed_s, reason="",
            )  # fmt: skip
            self.pins.put(pin)
            rates[flow.key], rates[reverse_of(flow).key] = fraction, reverse_fraction
            for link, load in (
                (LinkId("up", 0, path), fraction), (LinkId("down", 1, path), fraction),
                (LinkId("up", 1, path), reverse_fraction), (LinkId("down", 0, path), reverse_fraction),
            ):  # fmt: skip
                total[link] = total.get(link, 0) + load
        for path in range(3):
            for leaf in range(2):
                for direction in ("up", "down"):
                    total.setdefault(LinkId(direction, leaf, path), 0.0)
        for age_s in (0, 2):
            ports = {
                self.port(link): PortCounter(tx_bytes=int(load * RATE * age_s), age_s=age_s)
                for link, load in total.items()
            }
            self.loads.record(
                ports, {key: int(fraction * RATE * age_s) for key, fraction in rates.items()}, NOW + age_s
            )

    @staticmethod
    def port(link):
        if link.direction == "up":
            return (TOPOLOGY.leaves[link.leaf].dpid, TOPOLOGY.uplink_port(link.path))
        return (TOPOLOGY.spines[link.path].dpid, link.leaf + 1)

    def moves(self, live=(0, 1, 2), settings=SETTINGS, now_s=NOW, want=None):
        wants = {pin.flow.key: want for pin in self.pins} if want is not None else {}
        hot = [link for link, load in self.loads.measured().items() if load >= settings.hot_utilization - 1e-6]
        balancer = Balancer(self.loads, settings, lambda _src, _dst: live, now_s, pins=self.pins, wants=wants)
        return balancer.moves(hot, self.pins.on_link)


def test_one_of_two_flows_on_a_hot_link_moves_to_an_idle_path():
    moves = Bench([(0, 0.5, 0.01), (0, 0.45, 0.01)]).moves()
    assert [(move.pin.path, move.path) for move in moves] == [(0, 1)]
    assert moves[0].worst_before == pytest.approx(0.95, abs=1e-4)
    assert moves[0].worst_after == pytest.approx(0.45, abs=1e-4), "the smaller flow leaves more room behind"


def test_a_flow_alone_on_its_link_stays():
    assert Bench([(0, 0.95, 0.01)]).moves() == []


def test_equally_full_paths_cause_no_moves():
    assert Bench([(path, 0.48, 0.01) for path in (0, 0, 1, 1, 2, 2)]).moves() == []


def test_a_gain_below_the_threshold_is_not_worth_a_move():
    # Moving 0.4 to a path with 0.5 leaves that one at 0.9; the gain of 0.05 is less than 0.1.
    bench = Bench([(0, 0.4, 0), (0, 0.55, 0), (1, 0.5, 0), (2, 0.9, 0)])
    assert bench.moves() == []
    assert len(bench.moves(settings=GsosSpec(min_gain_fraction=0.04))) == 1


def test_a_full_downlink_at_the_other_end_counts():
    bench = Bench([(0, 0.5, 0), (0, 0.45, 0)], other={LinkId("down", 1, 1): 0.9})
    assert [move.path for move in bench.moves()] == [2]


def test_flows_held_back_by_each_other_are_judged_by_what_they_want():
    # A ring runs at its slowest hop: two flows share path 0, so the ones on paths 1 and 2 get only half a link too.
    ring = [(0, 0.5, 0.01), (0, 0.5, 0.01), (1, 0.5, 0.01), (2, 0.5, 0.01)]
    assert Bench(ring).moves(want=1.0) == [], "every path is wanted fully: moving only moves the conflict"
    assert [move.path for move in Bench(ring[:3]).moves(want=1.0)] == [2], "but an idle path resolves it"


def test_a_dead_path_is_no_target():
    assert [move.path for move in Bench([(0, 0.5, 0), (0, 0.45, 0)]).moves(live=(0, 2))] == [2]


def test_a_flow_placed_just_now_is_held():
    assert Bench([(0, 0.5, 0), (0, 0.45, 0)], placed_s=NOW - 1.9).moves() == []
    assert len(Bench([(0, 0.5, 0), (0, 0.45, 0)], placed_s=NOW - 2.1).moves()) == 1


def test_one_flow_per_hot_link_and_poll():
    assert len(Bench([(0, 0.32, 0), (0, 0.32, 0), (0, 0.32, 0)]).moves()) == 1


def test_data_that_flows_against_the_connection_can_be_moved_too():
    moves = Bench([(0, 0.01, 0.5), (0, 0.01, 0.45)]).moves()
    assert [(move.hot_link.direction, move.hot_link.leaf, move.path) for move in moves] in (
        [("down", 0, 1)], [("up", 1, 1)]
    )  # fmt: skip


def test_flows_without_a_measured_rate_stay():
    bench = Bench([(0, 0.5, 0), (0, 0.45, 0)])
    for pin in bench.pins:
        bench.loads.forget_flow(pin.flow.key)
    assert bench.moves() == []


flows = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0, 0.5), st.floats(0, 0.05)), min_size=0, max_size=8
)  # fmt: skip


@given(flows)
def test_every_move_lowers_the_worst_link_of_its_flow_by_the_threshold(flow_list):
    for move in Bench(flow_list).moves():
        assert move.worst_before - move.worst_after >= SETTINGS.min_gain_fraction - 1e-6
        assert move.path != move.pin.path


@given(flows, st.sets(st.integers(0, 2), min_size=1))
def test_moves_only_ever_go_to_live_paths(flow_list, live):
    assert all(move.path in live for move in Bench(flow_list).moves(live=tuple(live)))


def test_a_link_is_hot_only_after_the_polls_in_a_row():
    hot = HotLinks(SETTINGS)
    busy, idle = Bench([(0, 0.95, 0)]).loads, Bench([(0, 0.5, 0)]).loads
    hot.observe(busy)
    assert hot.hot() == []
    hot.observe(busy)
    assert hot.hot() == [LinkId("down", 1, 0), LinkId("up", 0, 0)]
    hot.observe(idle)
    hot.observe(busy)
    assert hot.hot() == []
    hot.observe(busy)
    hot.reset([LinkId("up", 0, 0)])
    assert hot.hot() == [LinkId("down", 1, 0)]


def test_acknowledgements_on_a_hot_link_do_not_move_their_flow():
    # Path 0 is crowded from leaf 2 to leaf 1; the flow on it from leaf 1 to leaf 2 only acknowledges there.
    bench = Bench([(0, 0.9, 0.02)], other={LinkId("up", 1, 0): 0.98, LinkId("down", 0, 0): 0.98})
    assert bench.moves() == []


def test_a_move_must_not_crowd_the_other_direction():
    # Both directions carry data; leaving path 0 relieves one and would crowd the other on every other path.
    bench = Bench([(0, 0.5, 0.5), (0, 0.5, 0.0)], other={LinkId("up", 1, 1): 0.9, LinkId("up", 1, 2): 0.9})
    assert bench.moves() == [] or bench.moves()[0].pin.flow.src_port == 40_001
