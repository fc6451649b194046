"""A capture's frames become frames between hosts: which can be sent, to whom, when, and with what in their headers."""

from __future__ import annotations

import gzip
from collections import deque
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, PcapWriter

from testbed.capture.pcap import Recorded, recorded
from testbed.capture.remap import Remapped, least_time_scale, remap
from testbed.errors import ScenarioError
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.model.topology import Topology
from testbed.runs.traffic_files import taken_in
from testbed.workload import replay
from testbed.workload.replay import Replay

TOPOLOGY = Topology(parse_scenario({"name": "x"}, source="test").fabric)
HOSTS = {host.name: host for host in TOPOLOGY.hosts}
ADDRESSES = ("192.168.7.1", "172.16.0.9", "8.8.8.8")


def frame(number: int, packet: Packet, t_s: float = 0.0) -> Recorded:
    data = bytes(packet)
    return Recorded(number, t_s, len(data), data)


def udp(src: str = ADDRESSES[0], dst: str = ADDRESSES[1], size: int = 100) -> Packet:
    return Ether() / IP(src=src, dst=dst) / UDP(sport=1234, dport=80) / Raw(b"x" * size)


def mapped(*frames: Recorded, given_map: dict[str, str] | None = None, **changes: Any) -> Remapped:
    options = {"mtu_bytes": 9000, "time_scale": 1.0, **changes}
    return remap(frames, HOSTS, given_map or {}, **options)


@settings(max_examples=60)
@given(
    st.sampled_from([TCP, UDP]),
    st.binary(max_size=300),
    st.integers(1, 65535),
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)).filter(lambda ends: ends[0] != ends[1]),
)
def test_what_is_sent_is_what_scapy_would_write(kind: Any, payload: bytes, port: int, ends: Any) -> None:
    src, dst = map(str, ends)
    packet = Ether() / IP(src=src, dst=dst, id=7, tos=3, ttl=9) / kind(sport=port, dport=4791) / Raw(payload)
    (found,) = mapped(frame(1, packet)).frames
    assert (found.src, found.dst) == ("h1", "h2")
    got = Ether(found.data)
    assert (got.src, got.dst) == (HOSTS["h1"].mac, HOSTS["h2"].mac)
    assert (got[IP].src, got[IP].dst) == ("11" + HOSTS["h1"].ip[2:], HOSTS["h2"].ip)
    assert (got[IP].tos, got[IP].ttl, got[kind].sport, got[kind].dport) == (3, 9, port, 4791)
    assert bytes(got[kind].payload) == payload
    again = got.copy()
    for layer in (IP, kind):
        del again[layer].chksum
    assert bytes(again) == found.data, "checksums"


def test_a_datagram_without_a_checksum_keeps_none() -> None:
    packet = udp()
    packet[UDP].chksum = 0
    (found,) = mapped(frame(1, packet)).frames
    assert Ether(found.data)[UDP].chksum == 0


def test_padding_of_short_frames_is_left_out() -> None:
    packet = Ether() / IP(src=ADDRESSES[0], dst=ADDRESSES[1]) / TCP() / b""
    (found,) = mapped(frame(1, Ether(bytes(packet) + bytes(6)))).frames
    assert len(found.data) == 14 + 40


def test_addresses_get_hosts_in_order_of_appearance() -> None:
    found = mapped(frame(1, udp()), frame(2, udp(ADDRESSES[2], ADDRESSES[0])), frame(3, udp()))
    assert dict(found.hosts) == {ADDRESSES[0]: "h1", ADDRESSES[1]: "h2", ADDRESSES[2]: "h3"}
    assert [(one.number, one.src, one.dst) for one in found.frames] == [
        (1, "h1", "h2"),
        (2, "h3", "h1"),
        (3, "h1", "h2"),
    ]
    assert len({Ether(one.data)[IP].id for one in found.frames}) == 3


def test_a_given_map_is_all_there_is() -> None:
    given_map = {ADDRESSES[0]: "h5", ADDRESSES[1]: "h9"}
    found = mapped(frame(1, udp()), frame(2, udp(ADDRESSES[2])), given_map=given_map)
    assert [(one.src, one.dst) for one in found.frames] == [("h5", "h9")]
    assert [(one.number, one.why) for one in found.unmapped] == [(2, f"no host for {ADDRESSES[2]}")]


def test_hosts_may_run_out() -> None:
    frames = [frame(n, udp(f"1.1.1.{n}", f"2.2.2.{n}")) for n in range(1, 10)]
    found = mapped(*frames)
    assert len(found.frames) == 8
    assert [(one.number, one.why) for one in found.unmapped] == [(9, "no host for 1.1.1.9, 2.2.2.9")]


def test_times_count_from_the_first_frame_that_is_sent_in_order() -> None:
    found = mapped(frame(1, Ether() / ARP(), 5.0), frame(2, udp(), 11.0), frame(3, udp(), 10.0), time_scale=3.0)
    assert [(one.number, one.due_s) for one in found.frames] == [(3, 0.0), (2, 3.0)]


CUT = Recorded(1, 0.0, 142, bytes(udp())[:60])


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (CUT, "cut: 60 of 142 bytes"),
        (frame(1, Ether() / ARP()), "not IPv4 .*0x0806"),
        (frame(1, Ether() / IPv6()), "not IPv4 .*0x86dd"),
        (frame(1, Ether() / Dot1Q() / IP()), "VLAN tag"),
        (frame(1, Ether() / IP(src="1.1.1.1", dst="2.2.2.2") / ICMP()), "neither TCP nor UDP .*1"),
        (frame(1, Ether() / IP(src="1.1.1.1", dst="2.2.2.2", flags="MF") / UDP()), "a fragment"),
        (frame(1, Ether() / IP(src="1.1.1.1", dst="2.2.2.2", frag=9) / UDP()), "a fragment"),
        (frame(1, udp(size=9000)), "9028 bytes, more than the MTU of 9000"),
        (frame(1, udp(dst=ADDRESSES[0])), "both ends are h1"),
        (Recorded(1, 0.0, 20, bytes(12) + b"\x08\x00" + bytes(6)), "damaged IPv4 header"),
        (Recorded(1, 0.0, 0, b""), "not IPv4"),
        (frame(1, Ether() / IP(src="1.1.1.1", dst="2.2.2.2", len=500) / UDP()), "damaged: 500 bytes"),
    ],
)
def test_what_cannot_be_sent_is_listed_with_the_reason(one: Recorded, why: str) -> None:
    found = mapped(one)
    assert found.frames == ()
    (unmapped,) = found.unmapped
    assert unmapped.number == 1
    assert __import__("re").match(why, unmapped.why), unmapped.why


@given(st.binary(max_size=120))
def test_no_frame_is_too_strange_and_none_is_lost(data: bytes) -> None:
    found = mapped(Recorded(1, 0.0, len(data), data), frame(2, udp()))
    assert sorted(one.number for one in (*found.frames, *found.unmapped)) == [1, 2]


def test_the_rate_asked_of_a_link_is_known() -> None:
    frames = [frame(n, udp(size=958), n * 0.001) for n in range(1, 2001)]  # a thousand bytes each ms: 1 MB/s
    assert least_time_scale(mapped(*frames), 2e6, 1.0) == pytest.approx(0.5, rel=0.01)
    assert least_time_scale(mapped(*frames, time_scale=4.0), 0.5e6, 1.0) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("writer", [PcapWriter, PcapNgWriter])
def test_both_formats_are_read_with_their_times(tmp_path: Path, writer: Any) -> None:
    path = tmp_path / "x.pcap"
    with writer(str(path)) as out:
        for number in range(3):
            packet = udp()
            packet.time = 1_700_000_000.25 + number
            out.write(packet)
    with path.open("rb") as file:
        found = list(recorded(file, 2))
    assert [one.number for one in found] == [1, 2]
    assert [one.t_s for one in found] == pytest.approx([1_700_000_000.25, 1_700_000_001.25])
    assert found[0].data == bytes(udp())


def test_raw_ip_gets_a_header() -> None:
    out = BytesIO()
    writer = PcapWriter(out, linktype=101)
    writer.write(udp()[IP])
    found = list(recorded(BytesIO(out.getvalue()), 10))
    assert len(mapped(*found).frames) == 1


@pytest.mark.parametrize("content", [b"", b"abcd", b"hello, this is no capture at all" * 10])
def test_what_is_no_capture_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a pcap"):
        list(recorded(BytesIO(content), 10))


def three_frames(tmp_path: Path, writer: Any) -> bytes:
    path = tmp_path / "x.pcap"
    with writer(str(path)) as out:
        for _ in range(3):
            out.write(udp())
    return path.read_bytes()


@pytest.mark.parametrize("writer", [PcapWriter, PcapNgWriter])
@pytest.mark.parametrize("missing", [1, 5, 100])
def test_a_capture_that_was_cut_is_not_taken_for_a_shorter_one(tmp_path: Path, writer: Any, missing: int) -> None:
    whole = three_frames(tmp_path, writer)
    with pytest.raises(ValueError, match="damaged or cut after frame 2: expected a whole capture; most_frames=2 takes"):
        list(recorded(BytesIO(whole[:-missing]), 10))
    assert len(list(recorded(BytesIO(whole[:-missing]), 2))) == 2
    assert len(list(recorded(BytesIO(whole), 10))) == 3


@pytest.mark.parametrize("writer", [PcapWriter, PcapNgWriter])
def test_a_capture_that_is_damaged_in_the_middle_is_not_read_up_to_there(tmp_path: Path, writer: Any) -> None:
    whole = three_frames(tmp_path, writer)
    size = len(bytes(udp())).to_bytes(4, "little")
    length_at = whole.index(size + size)  # what was kept, and its length on the wire: of the first frame
    damaged = whole[:length_at] + b"\xff\xff\xff\x7f" + whole[length_at + 4 :]
    if writer is PcapNgWriter:  # a block says how long it is, too
        damaged = whole[: length_at - 16] + b"\xff\xff\xff\x7f" + whole[length_at - 12 :]
    with pytest.raises(ValueError, match="damaged or cut after frame 0"):
        list(recorded(BytesIO(damaged), 10))


def test_a_compressed_capture_whose_end_nobody_can_tell_is_refused(tmp_path: Path) -> None:
    """scapy would read one that is cut up to there, and call that its end."""
    compressed = gzip.compress(three_frames(tmp_path, PcapWriter))
    for content in (compressed, compressed[:-20]):
        with pytest.raises(ValueError, match="not a pcap or pcapng file: it is compressed, unpack it first"):
            list(recorded(BytesIO(content), 10))


@pytest.mark.parametrize("frames", [3, 10])
def test_a_section_that_is_cut_is_damage_like_any_other(tmp_path: Path, frames: int) -> None:
    section = b"\x0a\x0d\x0d\x0a" + (1000).to_bytes(4, "little") + b"\x4d\x3c\x2b\x1a\x01\0\0\0" + b"\xff" * 8
    content = three_frames(tmp_path, PcapNgWriter) + section
    if frames == 3:
        assert len(list(recorded(BytesIO(content), frames))) == 3
        return
    with pytest.raises(ValueError, match="damaged or cut after frame 3"):
        list(recorded(BytesIO(content), frames))


def test_what_scapy_finds_damaged_where_lengths_are_right_is_said(tmp_path: Path) -> None:
    """A frame of an interface nobody has described is none for scapy, which then goes on to the damaged section."""
    whole = three_frames(tmp_path, PcapNgWriter)
    stranger = whole.index((6).to_bytes(4, "little"), 28) + 8  # of the first frame: its interface
    section = b"\x0a\x0d\x0d\x0a" + (1000).to_bytes(4, "little") + b"\x4d\x3c\x2b\x1a\x01\0\0\0" + b"\xff" * 8
    content = whole[:stranger] + (7).to_bytes(4, "little") + whole[stranger + 4 :] + section
    with pytest.raises(ValueError, match="damaged"):
        list(recorded(BytesIO(content), 10))


def test_a_mark_that_comes_again_is_not_taken_for_a_frame_lost_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks are of 16 bits: frame 65,537 has that of frame 1, which was lost."""
    monkeypatch.setattr(replay.time, "monotonic_ns", lambda: 100_000_000_000)
    config = SimpleNamespace(linger_s=2.0, t0_s=0.0)
    one = Replay(config, SimpleNamespace(frames=()))  # type: ignore[arg-type]
    (sent,) = mapped(frame(1, udp())).frames
    waiting = deque(replay._Sent(sent, at_ns, 0.0) for at_ns in (90_000_000_000, 99_000_000_000, 99_900_000_000))
    one._give_up(waiting)
    assert [frame_sent.sent_ns for frame_sent in waiting] == [99_000_000_000, 99_900_000_000]
    assert len(one._lines) == 1
    one._give_up(last := deque([replay._Sent(sent, 0, 0.0)]))
    assert last  # the only one that may have arrived


# -- before a run ---------------------------------------------------------------------------------------------


def scenario(cross: dict[str, Any]) -> Scenario:
    return parse_scenario({"name": "x", "cross_traffic": cross}, source="test")


def captured(tmp_path: Path, *packets: tuple[float, Packet]) -> Path:
    path = tmp_path / "x.pcap"
    with PcapWriter(str(path)) as out:
        for t_s, packet in packets:
            packet.time = t_s
            out.write(packet)
    return path


def test_sizes_are_read_into_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("1000 0.5\n2000 1\n")
    asked = scenario({"poisson": {"load": 0.2, "sizes_file": str(tmp_path / "sizes.txt")}})
    with pytest.raises(ValueError, match="has not been read"):
        _ = asked.cross_traffic.poisson.points  # type: ignore[union-attr]
    found = taken_in(asked).cross_traffic.poisson
    assert found is not None
    assert found.points == ((1000, 0.5), (2000, 1))


def test_all_files_problems_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("1000 0.5\n900 0.9\n")
    poisson = {"load": 0.2, "sizes_file": str(tmp_path / "sizes.txt")}
    with pytest.raises(ScenarioError) as caught:
        taken_in(scenario({"poisson": poisson, "replay": {"file": str(tmp_path / "none.pcap")}}))
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 3
    assert "line 2" in told[0] and "No such file" in told[2]


def test_a_capture_too_fast_for_the_links_is_refused_with_what_would_do(tmp_path: Path) -> None:
    path = captured(tmp_path, *((n * 0.001, udp(size=4000)) for n in range(1000)))  # 32 Mbit/s
    with pytest.raises(ScenarioError, match=r"time_scale >= 3\.\d"):
        taken_in(scenario({"replay": {"file": str(path)}}))
    assert taken_in(scenario({"replay": {"file": str(path), "time_scale": 4.0}})).cross_traffic.replay is not None


def test_a_capture_of_nothing_to_send_is_refused(tmp_path: Path) -> None:
    path = captured(tmp_path, (0.0, Ether() / ARP()))
    with pytest.raises(ScenarioError, match=r"frame 1: not IPv4"):
        taken_in(scenario({"replay": {"file": str(path)}}))
