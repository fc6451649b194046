import pytest

from testbed.gse.load import FLOW_WINDOW_S, LinkId, LoadMonitor, links_of_path
from testbed.gse.policy import PortCounter
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology

L1, L2, S1, S2 = 0x101, 0x102, 0x201, 0x202
UP = LinkId("up", 0, 1)  # leaf 1 by spine 2: port 4 of l1 (two hosts), port 1 of s2
DOWN = LinkId("down", 0, 1)
KEY = ("10.0.1.1", "10.0.2.1", 6, 1, 2)
RATE = 1_250_000  # bytes/s of 10 Mbit/s


@pytest.fixture
def monitor():
    return LoadMonitor(Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=2)))


def test_path_crosses_its_uplink_at_the_source_and_its_downlink_at_the_destination():
    assert links_of_path(0, 1, 3) == (LinkId("up", 0, 3), LinkId("down", 1, 3))


def test_ports_of_both_tiers_are_the_links_they_feed(monitor):
    for age_s, up, down in ((1.0, 0, 0), (2.0, RATE, RATE // 4)):
        ports = {(L1, 4): PortCounter(tx_bytes=up, age_s=age_s), (S2, 1): PortCounter(tx_bytes=down, age_s=age_s)}
        monitor.record(ports, {}, now_s=100 + age_s)
    assert monitor.measured() == {UP: 1.0, DOWN: 0.25}
    assert monitor.named() == {"l1-eth4>s2-eth1": 1.0, "s2-eth1>l1-eth4": 0.25}


def test_a_late_answer_is_no_burst(monitor):
    # Asked every 0.5 s, but the second answer describes the port 0.8 s later: its age says so.
    monitor.record({(L1, 4): PortCounter(tx_bytes=0, age_s=10.0)}, {}, now_s=1.0)
    monitor.record({(L1, 4): PortCounter(tx_bytes=RATE * 4 // 5, age_s=10.8)}, {}, now_s=1.5)
    assert monitor.utilization(UP) == pytest.approx(1.0)


def test_host_ports_are_no_fabric_links(monitor):
    monitor.record({(L1, 1): PortCounter(tx_bytes=0, age_s=1.0)}, {}, now_s=1)
    monitor.record({(L1, 1): PortCounter(tx_bytes=500, age_s=2.0)}, {}, now_s=2)
    assert monitor.measured() == {}


def test_counter_that_goes_backwards_starts_anew(monitor):
    for age_s, size in ((5.0, 1000), (6.0, RATE), (0.5, 10)):
        monitor.record({(L1, 4): PortCounter(tx_bytes=size, age_s=age_s)}, {}, now_s=age_s)
    assert monitor.utilization(UP) == 0.0
    monitor.record({(L1, 4): PortCounter(tx_bytes=10 + RATE // 2, age_s=1.5)}, {}, now_s=8)
    assert monitor.utilization(UP) == pytest.approx(0.5)


def test_flow_rate_is_taken_over_the_window_because_switches_update_it_in_steps(monitor):
    # A steady flow at half rate, whose counter the switch brings up to date only every second poll.
    seen = 0
    for poll in range(8):
        now_s = poll * 0.5
        if poll % 2 == 0:
            seen = int(now_s * RATE / 2)
        monitor.record({}, {KEY: seen}, now_s)
    assert monitor.flow_fraction(KEY) == pytest.approx(0.5, rel=0.4)


def test_flow_rate_needs_a_window_of_samples(monitor):
    monitor.record({}, {KEY: 0}, 0.0)
    monitor.record({}, {KEY: RATE}, 1.0)
    assert monitor.flow_fraction(KEY) is None
    monitor.record({}, {KEY: 2 * RATE}, FLOW_WINDOW_S + 0.5)
    assert monitor.flow_fraction(KEY) == pytest.approx(1.0)


def test_only_the_window_counts(monitor):
    for now_s in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        monitor.record({}, {KEY: RATE if now_s >= 1 else 0}, now_s)  # one burst long ago
    assert monitor.flow_fraction(KEY) == 0.0


def test_forgotten_flow_is_unknown(monitor):
    monitor.record({}, {KEY: 0}, 0.0)
    monitor.record({}, {KEY: 5}, 5.0)
    monitor.forget_flow(KEY)
    assert monitor.flow_fraction(KEY) is None


def test_port_counter_that_goes_backwards_is_not_a_negative_load(monitor):
    monitor.record({(L1, 4): PortCounter(tx_bytes=1000, age_s=5.0)}, {}, now_s=1)
    monitor.record({(L1, 4): PortCounter(tx_bytes=10, age_s=6.0)}, {}, now_s=2)
    assert monitor.measured() == {}


def test_flow_counter_that_goes_backwards_starts_anew(monitor):
    for now_s, size in ((0.0, RATE), (1.0, 2 * RATE), (2.0, 0)):
        monitor.record({}, {KEY: size}, now_s)
    assert monitor.flow_fraction(KEY) is None
    monitor.record({}, {KEY: RATE}, 4.0)
    assert monitor.flow_fraction(KEY) == pytest.approx(0.5)
