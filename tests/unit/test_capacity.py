from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model import capacity
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override

DEFAULT = Scenario(name="x")


def with_settings(**settings: object) -> Scenario:
    return override(DEFAULT, {key.replace("__", "."): value for key, value in settings.items()})


def test_default_fabric_counts_three_switches_and_half_an_acknowledgement_per_frame() -> None:
    # 10 Mbit/s / 8 / 9014 B = 138.67 frames/s; x 16 ranks x 1.5 x 3 = 9984.5; probes 16 x 20/s x 3 = 960
    assert capacity.crossings_per_s(DEFAULT) == pytest.approx(9984.5 + 960, abs=0.1)


def test_hops_within_a_leaf_cross_one_switch() -> None:
    # leaf_local, 4 leaves of 4: 12 hops stay, 4 leave; 138.67 x 1.5 x (12 x 1 + 4 x 3) = 4992.2
    scenario = with_settings(workload__placement="leaf_local", measure__probe_interval_ms=0)
    assert capacity.crossings_per_s(scenario) == pytest.approx(4992.2, abs=0.1)


def test_oversubscribed_uplinks_slow_the_whole_ring() -> None:
    # 4 flows leave each leaf over 4 x 5 Mbit/s: 5 Mbit/s each instead of 10
    half = with_settings(fabric__uplink_rate_mbps=5, measure__probe_interval_ms=0)
    full = with_settings(measure__probe_interval_ms=0)
    assert capacity.crossings_per_s(half) == pytest.approx(capacity.crossings_per_s(full) / 2)


def test_background_adds_its_own_crossings() -> None:
    # 4 Mbit/s / 8 / 9014 x 1.5 x 3 switches = 249.6
    elephants = override(DEFAULT, {}).model_copy(update={"background": ()})
    loaded = Scenario.model_validate(
        {**DEFAULT.model_dump(), "background": [{"src": "h1", "dst": "h5", "rate_mbps": 4.0}]}
    )
    assert capacity.crossings_per_s(loaded) - capacity.crossings_per_s(elephants) == pytest.approx(249.6, abs=0.1)


def test_measured_limits_of_the_userspace_datapath_are_respected() -> None:
    # docs/design.md: 16 hosts at 60 Mbit/s reach the limit, at 100 Mbit/s they do not
    ceiling = capacity.ceiling_crossings_per_s("userspace", 2)
    assert capacity.crossings_per_s(with_settings(fabric__link_rate_mbps=60)) < ceiling
    assert capacity.crossings_per_s(with_settings(fabric__link_rate_mbps=100)) > ceiling


def test_more_cores_help_the_kernel_datapath_but_not_one_daemon() -> None:
    assert capacity.ceiling_crossings_per_s("userspace", 64) == capacity.ceiling_crossings_per_s("userspace", 2)
    assert capacity.ceiling_crossings_per_s("userspace", 1) < capacity.ceiling_crossings_per_s("userspace", 2)
    assert capacity.ceiling_crossings_per_s("kernel", 4) == 2 * capacity.ceiling_crossings_per_s("kernel", 2)


@given(hosts=st.integers(2, 200), mtu=st.sampled_from([1500, 4200, 9000]), ceiling=st.floats(1e3, 1e6))
def test_rate_limit_is_where_the_ring_meets_the_ceiling(hosts: int, mtu: int, ceiling: float) -> None:
    rate_mbps = capacity.host_rate_limit_mbps(ceiling, hosts, mtu)
    frames_per_s = rate_mbps * 1e6 / 8 / (mtu + 14)
    assert frames_per_s * hosts * 1.5 * 3 == pytest.approx(ceiling)


@given(size_mib=st.integers(1, 1000))
def test_memory_grows_with_the_arrays(size_mib: int) -> None:
    small = capacity.need(DEFAULT)
    large = capacity.need(with_settings(workload__size_bytes=f"{size_mib + 8}MiB"))
    assert large.memory_bytes - small.memory_bytes == 16 * capacity.ARRAYS_PER_RANK * size_mib * 2**20
    assert large.processes == small.processes


def test_slower_burst_lowers_what_to_expect_and_a_faster_one_does_not_raise_it() -> None:
    ceiling = capacity.ceiling_crossings_per_s("userspace", 2)
    reference = capacity.BURST_REFERENCE_CROSSINGS_PER_S
    assert capacity.expected_crossings_per_s("userspace", 2, reference / 4) == pytest.approx(ceiling / 4)
    assert capacity.expected_crossings_per_s("userspace", 2, reference * 4) == ceiling
    assert capacity.expected_crossings_per_s("kernel", 4, 10_000) == 20_000
    assert capacity.expected_crossings_per_s("kernel", 4, 1e9) == capacity.ceiling_crossings_per_s("kernel", 4)


def test_a_rank_with_many_connections_needs_as_many_open_files() -> None:
    ring = capacity.need(DEFAULT)
    many = capacity.need(with_settings(workload__kind="all_to_all", workload__flows_per_hop=26))
    assert many.files == capacity.FILES_BASE + 2 * 15 * 26 > ring.files
    assert capacity.need(with_settings(workload__kind="all_to_all")).files == ring.files


def crossing(**sections: object) -> float:
    return capacity.crossings_per_s(Scenario.model_validate({**DEFAULT.model_dump(mode="json"), **sections}))


def test_cross_traffic_counts_the_hosts_that_send() -> None:
    half = {"workload": {"ranks": 8}}
    alone, per_host = crossing(**half), 1.25e6 / 9014 * 1.5 * 3
    poisson = {"load": 0.5, "partners": "any"}
    for hosts, senders in (("all", 16), ("ranks", 8), ("others", 8)):
        loaded = crossing(**half, cross_traffic={"poisson": {**poisson, "hosts": hosts}})
        assert loaded - alone == pytest.approx(senders * 0.5 * per_host)
    bursts = {"size_bytes": 1_250_000, "period_s": 4.0, "storage": ["h1", "h2"]}
    for chosen, writers in (("all", 14), (["h1", "h3", "h4"], 2)):
        loaded = crossing(**half, cross_traffic={"bursts": {**bursts, "senders": chosen}})
        assert loaded - alone == pytest.approx(writers * per_host / 4)


def test_small_messages_count() -> None:
    # 4 kB is a frame: 16 hosts x 50/s x 1.5 x 3
    loaded = crossing(workload={"mice_interval_ms": 20.0, "mice_bytes": 4000})
    assert loaded - crossing() == pytest.approx(16 * 50 * 4.5)


@pytest.mark.parametrize(
    ("changes", "programs"),
    [
        ({"schemes": ["ecmp", "gse2-e2e"]}, 4),  # agents: one program a leaf, wherever they stand
        ({"schemes": ["gse2-n2n"]}, 4),
        ({"workload": {"mice_interval_ms": 20.0}}, 1),
        ({"cross_traffic": {"poisson": {"load": 0.1}, "bursts": {"storage": ["h1"]}}}, 1),
        ({"cross_traffic": {"replay": {"file": "x.pcap"}}}, 1),
    ],
)
def test_agents_and_senders_are_programs_like_ranks(changes: dict[str, object], programs: int) -> None:
    plain = capacity.need(DEFAULT)
    more = capacity.need(Scenario.model_validate({**DEFAULT.model_dump(mode="json"), **changes}))
    assert more.processes - plain.processes == programs
    assert more.memory_bytes - plain.memory_bytes == programs * capacity.MEMORY_PER_RANK_BYTES
    assert more.files - plain.files == programs * capacity.FILES_PER_NODE
