"""Texts in tests/data are verbatim: a 2x1x1 fabric, userspace datapath, after a flood into small socket buffers.

Those of dpctl/show (tests/data/ovs) are written by hand, after what Open vSwitch 3.1 prints.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import ParseError
from testbed.measurement.parsers import (
    CoreSoftnet,
    DatapathLookups,
    SocketDrops,
    core_times,
    datapath_lookups,
    packet_socket_drops,
    qdiscs,
    schedstat,
    softnet_counts,
)

DATA = Path(__file__).parents[1] / "data"
SOCKETS = [
    SocketDrops("ovs-vswitchd", "l1-eth1", 68580),
    SocketDrops("ovs-vswitchd", "l1-eth2", 0),
    SocketDrops("ovs-vswitchd", "s1-eth2", 0),
    SocketDrops("ovs-vswitchd", "s1-eth1", 0),
    SocketDrops("ovs-vswitchd", "l2-eth2", 0),
    SocketDrops("ovs-vswitchd", "l2-eth1", 0),
    SocketDrops("tcpdump", "*", 0),
    SocketDrops("ovs-vswitchd", "*", 0),
]


@pytest.mark.parametrize("name", ["packet-sockets.txt", "packet-sockets-no-header.txt"])
def test_drops_of_every_packet_socket_are_read(name: str) -> None:
    assert packet_socket_drops((DATA / "ss" / name).read_text()) == SOCKETS


def test_socket_whose_owner_is_not_shown_still_counts() -> None:
    found = packet_socket_drops((DATA / "ss" / "packet-sockets-no-owner.txt").read_text())
    assert found[0] == SocketDrops("unknown", "l1-eth1", 68580)
    assert {one.process for one in found} == {"unknown"}


def test_sockets_of_one_process_on_one_interface_add_up() -> None:
    line = 'p_raw 0 0 *:l1-eth1 * users:(("ovs-vswitchd",pid=10,fd={})) skmem:(r0,rb1,t0,tb1,f0,w0,o0,bl0,d{})\n'
    assert packet_socket_drops(line.format(3, 5) + line.format(4, 7)) == [SocketDrops("ovs-vswitchd", "l1-eth1", 12)]


def test_no_packet_socket_is_an_empty_list() -> None:
    assert packet_socket_drops("") == []


@pytest.mark.parametrize(
    "line",
    [
        'p_raw 0 0 *:l1-eth1 * users:(("ovs-vswitchd",pid=10,fd=36))',  # no skmem: ss without -m
        "p_raw 0 0 *:l1-eth1 * skmem:(r0,rb212992,t0,tb212992,f0,w0,o176,bl0)",  # an ss that shows no drops
        "tcp LISTEN 0 128 *:22 *:*",
        'p_raw 0 0 *:l1-eth1 * users:(garbled) skmem:(r0,d7)',
        "Cannot open netlink socket",
    ],
)  # fmt: skip
def test_line_of_ss_that_is_not_understood_is_an_error(line: str) -> None:
    with pytest.raises(ParseError, match="ss -0 -m -n -p"):
        packet_socket_drops(line + "\n")


NETDEV = DatapathLookups(datapath="netdev@ovs-netdev", hit=184213, missed=412, lost=3)
SYSTEM = DatapathLookups(datapath="system@ovs-system", hit=90417, missed=208, lost=0)


def dpctl_show(name: str) -> str:
    return (DATA / "ovs" / f"dpctl-show-{name}.txt").read_text()


def test_lookups_of_every_datapath_are_read() -> None:
    netdev, system = dpctl_show("netdev"), dpctl_show("system")
    assert datapath_lookups(netdev) == [NETDEV]
    assert datapath_lookups(system) == [SYSTEM]
    assert datapath_lookups(system + netdev) == [SYSTEM, NETDEV]
    assert datapath_lookups(netdev.replace("  ", "\t").rstrip("\n")) == [NETDEV]  # older versions have a tab


@pytest.mark.parametrize(
    "text",
    [
        "",
        "netdev@ovs-netdev:\n  port 1: l1 (tap)\n",  # it did not say
        dpctl_show("netdev").replace("lost:3", "lost:"),
        dpctl_show("netdev").replace("lost:3", "lost:-3"),
        dpctl_show("netdev").replace("missed", "asked"),
        dpctl_show("netdev").replace("netdev@ovs-netdev:\n", ""),
        dpctl_show("system") + "netdev@ovs-netdev:\n  flows: 0\n",  # one of two did not
    ],
)
def test_lookups_that_are_not_understood_are_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="dpctl/show"):
        datapath_lookups(text)


SOFTNET = (
    "04f6f5c7 00000000 00000004" + 10 * " 00000000" + "\n0000001f 0000000a 00000003" + 9 * " 00000000" + " 00000002\n"
)


def test_what_cores_dropped_is_read_in_hexadecimal() -> None:
    assert softnet_counts(SOFTNET) == [
        CoreSoftnet(core=0, dropped=0, squeezed=4),
        CoreSoftnet(core=2, dropped=10, squeezed=3),  # core 1 is offline
    ]
    older = "0000001f 0000000a 00000003 00000000\n" * 2  # they did not say which
    assert [one.core for one in softnet_counts(older)] == [0, 1]


@pytest.mark.parametrize("text", ["", "\n", "0000001f 0000000a\n", SOFTNET.replace("0000000a", "-1"), "a b 0x3\n"])
def test_what_cores_dropped_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="softnet_stat"):
        softnet_counts(text)


def test_core_times_are_seconds_and_nice_counts_as_user() -> None:
    text = "cpu  1 2 3 4 5 6 7 8 9 0\ncpu0 100 50 200 4000 30 2 10 7 0 0\ncpu1 1 0 0 0 0 0 0 0 0 0\nintr 5 6\nctxt 7\n"
    first, second = core_times(text, ticks_per_s=100)
    assert (first.core, first.user_s, first.system_s, first.idle_s) == (0, 1.5, 2.0, 40.0)
    assert (first.iowait_s, first.irq_s, first.softirq_s, first.steal_s) == (0.3, 0.02, 0.1, 0.07)
    assert (second.core, second.user_s) == (1, 0.01)


def test_real_stat_has_two_cores_that_were_mostly_idle() -> None:
    cores = core_times((DATA / "proc" / "stat.txt").read_text(), ticks_per_s=100)
    assert [core.core for core in cores] == [0, 1]
    assert all(core.idle_s > core.user_s + core.system_s > 0 for core in cores)


@pytest.mark.parametrize(
    "text", ["", "cpu 1 2 3\n", "cpu0 1 2 3\n", "cpu0 1 2 3 4 5 6 7 x\n", "cpux 1 2 3 4 5 6 7 8\n"]
)
def test_stat_without_all_states_of_a_core_is_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="/proc/stat"):
        core_times(text, ticks_per_s=100)


def test_schedstat_is_run_time_and_waiting_in_seconds() -> None:
    assert schedstat(b"1500000000 250000 17\n") == (1.5, 0.00025)
    assert schedstat("0 0 0") == (0.0, 0.0)


@pytest.mark.parametrize("text", [b"", b"1 2\n", b"1 2 x\n", "1 2 3 4"])
def test_schedstat_of_another_shape_is_an_error(text: bytes | str) -> None:
    with pytest.raises(ParseError, match="three integers"):
        schedstat(text)


def test_queues_are_read_with_their_counters_and_options() -> None:
    by_intf = {one.intf: one for one in qdiscs((DATA / "tc" / "qdiscs.json").read_text())}
    uplink = by_intf["l1-eth2"]
    assert (uplink.kind, uplink.sent_bytes, uplink.sent_packets) == ("tbf", 36816508, 36310)
    assert (uplink.backlog_bytes, uplink.dropped_packets) == (0, 0)
    assert uplink.options == {"rate": 125_000_000, "burst": 259_000, "lat": 25}
    assert by_intf["lo"].kind == "noqueue"


@pytest.mark.parametrize("text", ["", "nonsense", '{"kind": "tbf"}', "[1]", '[{"kind": "tbf"}]', "7"])
def test_queues_of_another_shape_are_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="tc -s -j qdisc"):
        qdiscs(text)
