from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ScenarioError
from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.model.fabric_spec import FabricSpec
from testbed.model.scenario import SCHEMES, WITHOUT_AGENTS, GspSpec
from testbed.model.scenario_input import parse_scenario
from testbed.model.schemes import SETTINGS, profile_of


def test_every_scheme_has_settings_and_those_without_agents_are_named() -> None:
    assert set(SETTINGS) == set(SCHEMES)
    assert {name for name, one in SETTINGS.items() if one.attachment == "none"} == set(WITHOUT_AGENTS)


@given(
    st.sampled_from(sorted(set(SCHEMES) - WITHOUT_AGENTS)),
    st.floats(1, 1000),
    st.integers(576, 9216),
    st.sampled_from([None, 0.0, 5.0, 50.0]),
)
def test_every_fabric_has_a_profile_that_can_work(scheme: str, rate: float, mtu: int, delay: float | None) -> None:
    fabric = FabricSpec(link_rate_mbps=rate, mtu_bytes=mtu, delay_ms=delay)
    profile = profile_of(scheme, fabric, GspSpec())
    frame = mtu + 14
    assert profile.container_bytes >= frame
    assert profile.window_bytes >= profile.quantum_bytes >= frame
    assert profile.port_window_bytes >= profile.window_bytes
    # a window covers what a link carries in a round trip over four links and back
    round_trip_s = 8 * (frame * 8 / (rate * 1e6) + (delay or 0) / 1e3)
    assert profile.window_bytes >= rate * 1e6 / 8 * round_trip_s
    assert profile.watchdog_s > profile.request_retry_s


def test_default_profile_on_the_default_fabric() -> None:
    profile = profile_of("gse2-n2n", FabricSpec(), GspSpec())
    assert (profile.unit, profile.admission, profile.reorder) == ("container", "dgsq", True)
    assert (profile.container_bytes, profile.quantum_bytes) == (2 * 9014, 4 * 9014)
    assert profile.grant_hold_s == 2 * 9014 / 1.25e6
    # 1.25 MB/s x (1.5 x 2 x (4 x 7.2112 ms + 2 ms) + 3 x 14.4224 ms) + 36056
    round_trip_s = 2 * (4 * 9014 / 1.25e6 + 0.002)
    assert profile.window_bytes == round(1.25e6 * (1.5 * round_trip_s + 3 * 0.0144224)) + 36_056 == 205_808


@pytest.mark.parametrize("mtu_bytes", [576, 1500, 4000, 9000])
def test_grants_leave_room_for_headers_on_full_frames(mtu_bytes: int) -> None:
    profile = profile_of("gse2-e2e", FabricSpec(mtu_bytes=mtu_bytes), GspSpec())
    on_the_wire = profile.pacing * (profile.frame_bytes + OVERHEAD_BYTES) / profile.frame_bytes
    assert 0.98 < on_the_wire <= 0.9951
    assert profile.pacing == 0.985 or mtu_bytes < 9000
    assert profile_of("gse2-e2e", FabricSpec(mtu_bytes=mtu_bytes), GspSpec(pacing=1.0)).pacing == 1.0  # as was asked


@pytest.mark.parametrize("queue_kib", [64, 128, 256, 1024])
def test_what_is_under_way_to_a_port_fits_its_queue(queue_kib: int) -> None:
    fabric = FabricSpec(queue_bytes=queue_kib * 1024)
    profile = profile_of("gse2-e2e", fabric, GspSpec())
    assert profile.window_bytes <= profile.port_window_bytes <= fabric.queue_bytes - profile.frame_bytes
    assert profile_of("gse2-e2e", fabric, GspSpec(port_window_bytes=300_000)).port_window_bytes == 300_000
    asked = profile_of("gse2-e2e", fabric, GspSpec(window_bytes=2_000_000))
    assert (asked.window_bytes, asked.port_window_bytes >= 2_000_000) == (2_000_000, True)


def test_schemes_differ_in_what_they_are_about() -> None:
    profiles = {name: profile_of(name, FabricSpec(), GspSpec()) for name in SCHEMES if name not in WITHOUT_AGENTS}
    assert profiles["spray"].unit == profiles["uet"].unit == "packet"
    assert profiles["flowlet"].unit == "flowlet"
    assert {name for name, one in profiles.items() if one.admission == "none"} == {"spray", "flowlet"}
    assert {name for name, one in profiles.items() if not one.reorder} == {"spray", "flowlet"}
    # hosts share uplinks without knowing of each other: that is all that sets them apart
    n2n, e2e = profiles["gse2-n2n"].to_json(), profiles["gse2-e2e"].to_json()
    assert {name for name in n2n if n2n[name] != e2e[name]} == {"container_bytes", "spread_slack_bytes"}
    assert e2e["frame_bytes"] <= e2e["container_bytes"] < 2 * e2e["frame_bytes"] <= n2n["container_bytes"]
    assert profiles["gse2-e2e"].spread_slack_bytes == profiles["gse2-e2e"].container_bytes


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gsp": {"container_bytes": 4000}}, "gsp.container_bytes=4000 does not hold a frame"),
        (
            {"gsp": {"container_bytes": "64K", "window_bytes": "32K"}},
            "gsp.window_bytes=32768 does not hold a container",
        ),
        (
            {"schemes": ["ecmp", "gse2-n2n"], "fabric": {"ecn_threshold_bytes": 90_000}},
            "switches cannot mark what is inside a GSE frame",
        ),
        ({"gsp": {"pacing": 1.5}}, "gsp.pacing"),
    ],
)
def test_setting_that_could_not_be_honoured_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario({"name": "x", **fields}, source="x.yml")
    assert said in str(caught.value)


def test_settings_reach_the_agents() -> None:
    spec = GspSpec(
        container_bytes=20_000, pacing=0.9, standing_credit_bytes=0, reorder=False, gap_ms=50, retransmit=False
    )
    profile = profile_of("gse2-e2e", FabricSpec(), spec)
    assert (profile.container_bytes, profile.pacing, profile.standing_credit_bytes) == (20_000, 0.9, 0)
    assert (profile.reorder, profile.gap_s, profile.retransmit) == (False, 0.05, False)
