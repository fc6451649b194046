import pytest

from testbed.gse.dataplane import wire
from testbed.model.fabric_spec import FabricSpec
from testbed.model.shaping import largest_burst_bytes, queue_setting, tc_lines, tc_mismatches

TBF = {"kind": "tbf", "handle": "1:", "root": True, "options": {"rate": 1250000, "burst": 11514, "lat": 200504}}


def test_the_default_link_is_a_token_bucket_of_little_more_than_a_frame() -> None:
    setting = queue_setting(FabricSpec(), 10)
    # one frame (9014) plus what 2 ms at 10 Mbit/s are worth (2500)
    assert (setting.rate_bytes_per_s, setting.burst_bytes, setting.limit_bytes) == (1_250_000, 11_514, 262_144)
    assert tc_lines("l1-eth1", setting, 9000) == [
        "qdisc add dev l1-eth1 root handle 1: tbf rate 10000000bit burst 11514 limit 262144"
    ]
    assert tc_mismatches("l1-eth1", setting, [TBF]) == []


def test_the_largest_burst_is_that_of_the_fastest_link() -> None:
    assert largest_burst_bytes(FabricSpec()) == 11_514
    # 2 ms at 100 Mbit/s are 25000 bytes
    assert largest_burst_bytes(FabricSpec(host_rate_mbps=100)) == largest_burst_bytes(FabricSpec(uplink_rate_mbps=100))
    assert largest_burst_bytes(FabricSpec(host_rate_mbps=100)) == 9014 + 25_000


def test_delay_and_ecn_wrap_the_token_bucket() -> None:
    lines = tc_lines(
        "x", queue_setting(FabricSpec(delay_ms=5, loss_fraction=0.01, ecn_threshold_bytes=90_140), 10), 9000
    )
    assert lines[0] == "qdisc add dev x root handle 1: netem delay 5ms loss 1% limit 100000"
    assert lines[1].startswith("qdisc add dev x parent 1:1 handle 10: tbf rate 10000000bit")
    assert lines[2].startswith("qdisc add dev x parent 10:1 handle 20: red limit 262144 min 90140")
    assert lines[2].endswith(" ecn nodrop")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 1_200_000}, "rate (bytes/s) is 1200000, expected 1.25e+06"),
        ({"burst": 18_028}, "burst (bytes) is 18028, expected 11514"),
        ({"lat": 50_000}, "limit (us to drain) is 50000, expected 200504"),
    ],
)
def test_a_setting_the_kernel_did_not_take_is_named(options: dict[str, int], said: str) -> None:
    changed = {**TBF, "options": {**TBF["options"], **options}}  # type: ignore[dict-item]
    assert tc_mismatches("l1-eth1", queue_setting(FabricSpec(), 10), [changed]) == [f"l1-eth1: {said}"]


RED = {"kind": "red", "handle": "20:", "parent": "1:1", "options": {"min": 90140, "ecn": True, "nodrop": True}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, []),
        ({"min": 80_000}, ["x: ECN threshold (bytes) is 80000, expected 90140"]),
        ({"ecn": False}, ["x: red has ecn False, expected True"]),
        ({"nodrop": False}, ["x: red has nodrop False, expected True"]),
    ],
)
def test_a_queue_must_mark_and_at_the_threshold(options: dict[str, int], said: list[str]) -> None:
    setting = queue_setting(FabricSpec(ecn_threshold_bytes=90_140), 10)
    red = {**RED, "options": {**RED["options"], **options}}  # type: ignore[dict-item]
    assert tc_mismatches("x", setting, [TBF, red]) == said


def test_a_missing_queue_is_named() -> None:
    assert tc_mismatches("l1-eth1", queue_setting(FabricSpec(delay_ms=1), 10), [TBF]) == [
        "l1-eth1: no netem queue",
    ]


def test_a_hosts_own_queue_holds_a_thousand_frames_and_a_larger_one_that_is_asked_for() -> None:
    assert queue_setting(FabricSpec(), 10, in_host=True).limit_bytes == 1000 * 9014
    assert queue_setting(FabricSpec(queue_bytes=20_000_000), 10, in_host=True).limit_bytes == 20_000_000
    assert queue_setting(FabricSpec(mtu_bytes=1500), 10).limit_bytes == 262_144


def test_marked_frames_have_a_band_of_their_own_behind_control_and_before_the_rest() -> None:
    setting = queue_setting(FabricSpec(priority_band=True), 10, control_first=True)
    bands = [line for line in tc_lines("x", setting, 9000) if line.startswith("class")]
    assert [(line.split("classid ")[1][:4], line.split("prio ")[1][0]) for line in bands] == [
        ("30:1", "1"),
        ("30:2", "2"),
        ("30:3", "3"),
    ]
    filters = [line.split(" u32 ")[1] for line in tc_lines("x", setting, 9000) if line.startswith("filter")]
    assert filters == [
        "match u16 0x88b6 0xffff at -2 flowid 30:1",  # GSE's control frames
        "match u16 0x800 0xffff at -2 match u8 0x80 0x80 at 1 flowid 30:2",  # IPv4's TOS byte, DSCP 32 and more
        "match u16 0x88b5 0xffff at -2 match u8 0 0xff at 1 flowid 30:2",  # the class in GSE's data header
    ]
    assert tc_mismatches("x", setting, [TBF]) == ["x: no bfifo queue", "x: no htb queue"]


@pytest.mark.parametrize(("control", "priority", "bands"), [(False, True, "23"), (True, False, "13")])
def test_bands_nobody_asked_for_are_not_made(control: bool, priority: bool, bands: str) -> None:
    setting = queue_setting(FabricSpec(priority_band=priority), 10, control_first=control)
    lines = tc_lines("x", setting, 9000)
    assert "".join(line.split("30:")[1][0] for line in lines if line.startswith("qdisc add dev x parent 30:")) == bands
    assert lines[1] == "qdisc add dev x parent 1:1 handle 30: htb default 3"


def test_data_of_the_first_class_is_told_by_its_header() -> None:
    header = wire.DataHeader(0, 0, 1, 257, 513, 1, 1, 0, 0, 0, 0, 100, 0, 100, 0)
    first, second = (wire.data_prefix(header._replace(tc=tc)) for tc in (0, 1))
    network = wire.ETHERNET.size  # where the filter counts from
    assert (first[network - 2 : network], first[network + 1]) == (b"\x88\xb5", 0)
    assert second[network + 1] == 1
