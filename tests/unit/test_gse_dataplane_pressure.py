"""Senders that do not listen to ECN: they are paused, alone, and nothing is dropped."""

from __future__ import annotations

import socket
import struct
from itertools import pairwise
from typing import Any

import pytest
from gse_fabric import Fabric
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from testbed.agent.brake import shaper_change
from testbed.agent.config import BrakeConfig
from testbed.fabric.agents import agent_processes
from testbed.gse.dataplane.dgsq import SourceQueue
from testbed.gse.dataplane.pressure import PAUSE_AT, RESUME_AT, BackPressure
from testbed.gse.dataplane.profile import Profile
from testbed.model.attachment import Attachment
from testbed.model.hostqueue import host_queues, paused_bytes_per_s
from testbed.model.scenario import FabricSpec, GspSpec
from testbed.model.schemes import SETTINGS, profile_of
from testbed.model.shaping import tbf_place, tc_lines
from testbed.model.topology import Topology

FRAME = 9014
LIMIT = 40 * FRAME
H11, H12, H21, H22 = (1, 1), (1, 2), (2, 1), (2, 2)
L1 = 256


def overload(*, back_pressure: bool, e2e: bool, every_s: float = 0.002, obeys_s: float = 0.01) -> Fabric:
    """Return a fabric in which one host has sent another four times what the link takes, and a third something."""
    profile = Profile(limit_bytes=LIMIT, back_pressure=back_pressure, retransmit=True)
    fabric = Fabric(profile, leaves=2, hosts=2, e2e=e2e)
    fabric.send_greedily(H11, H21, 400, FRAME, every_s=every_s, obeys_s=obeys_s)
    for number in range(100):
        fabric.send(number * 0.01, H12, H22, number, FRAME)  # 0.7 of what its link takes
    fabric.run(8.0)
    return fabric


@pytest.mark.parametrize("e2e", [False, True])
def test_a_sender_that_never_slows_down_is_paused_alone_and_loses_nothing(e2e: bool) -> None:
    fabric = overload(back_pressure=True, e2e=e2e)
    assert fabric.total("queue_full_drops") == 0
    assert fabric.numbers(H21, H11) == list(range(400))
    assert fabric.numbers(H22, H12) == list(range(100))
    assert fabric.total("pauses") == sum(paused for _t_s, _host, paused in fabric.orders) > 1
    assert {host for _t_s, host, _paused in fabric.orders} == {H11}
    assert not fabric.paused
    assert all(first[2] != second[2] for first, second in pairwise(fabric.orders))  # never told twice
    # Its port never runs dry: what it delivers, it delivers at the rate of the port.
    delivered_s = fabric.delivered_s[H21]
    assert 399 * FRAME / (delivered_s[-1] - delivered_s[0]) > 0.95 * 0.985 * 1_250_000


@pytest.mark.parametrize("e2e", [False, True])
def test_without_back_pressure_the_same_sender_loses_what_its_queue_does_not_hold(e2e: bool) -> None:
    fabric = overload(back_pressure=False, e2e=e2e)
    assert fabric.total("queue_full_drops") > 50
    assert fabric.orders == []
    assert fabric.numbers(H22, H12) == list(range(100))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0005, 0.007), st.floats(0.0, 0.004))
def test_nothing_is_dropped_however_much_faster_it_sends_as_long_as_it_obeys_in_time(
    every_s: float, obeys_s: float
) -> None:
    assert overload(back_pressure=True, e2e=False, every_s=every_s, obeys_s=obeys_s).total("queue_full_drops") == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=400))
def test_a_port_is_paused_while_one_of_its_queues_is_full(
    steps: list[tuple[int, bool]],
) -> None:
    """Against the definition, over five queues of two ports that grow and shrink in any order."""
    profile = Profile(limit_bytes=LIMIT)
    pressure = BackPressure(profile)
    queues = [
        SourceQueue(profile, qid=qid, epoch=1, port=qid % 2, dst=512, dst_port=1, tc=1, now_s=0.0) for qid in range(5)
    ]
    full: set[int] = set()
    told: dict[int, bool] = {0: False, 1: False}
    for qid, grows in steps:
        queue = queues[qid]
        if grows:
            for _ in range(7):
                if queue.offer(b"x" * FRAME, 0.0):
                    pressure.grown(queue)
        else:
            for _ in range(min(5, queue.backlog_frames)):
                queue.take(0.0)
                pressure.shrunk(queue)
        if queue.backlog_bytes > PAUSE_AT * LIMIT:
            full.add(qid)
        elif queue.backlog_bytes <= RESUME_AT * LIMIT:
            full.discard(qid)
        for port, paused in pressure.orders:
            assert told[port] != paused
            told[port] = paused
        pressure.orders.clear()
        assert {port for port, paused in told.items() if paused} == {one % 2 for one in full}
        assert pressure.paused_ports == sorted({one % 2 for one in full})


# -- the shaper ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu_bytes", [1500, 9000])
@pytest.mark.parametrize("rate_mbps", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("queue_bytes", [36 * 1024, 256 * 1024])
def test_a_paused_sender_goes_on_before_its_source_queue_runs_dry(
    mtu_bytes: int, rate_mbps: float, queue_bytes: int
) -> None:
    fabric = FabricSpec(mtu_bytes=mtu_bytes, link_rate_mbps=rate_mbps, queue_bytes=queue_bytes)
    host = Topology(fabric).hosts[0]
    for scheme, attachment in (("gse2-n2n", "leaf"), ("gse2-e2e", "host")):
        limit = profile_of(scheme, fabric, GspSpec()).limit_bytes
        setting = list(host_queues(fabric, host, attachment).values())[-1]  # type: ignore[arg-type]
        paused = paused_bytes_per_s(setting, fabric, limit)
        assert paused <= 0.1 * setting.rate_bytes_per_s
        a_frame_s = (mtu_bytes + 14) / paused
        assert a_frame_s <= RESUME_AT * limit / setting.rate_bytes_per_s


@pytest.mark.parametrize("attachment", ["leaf", "host"])
def test_every_host_has_a_brake_on_the_interface_its_tcp_feels(attachment: Attachment) -> None:
    topology = Topology(FabricSpec())
    processes = agent_processes(topology, attachment=attachment, profile=Profile(), passthrough=False, seed=1)
    brakes = [brake for process in processes for _host, config in process.agents for brake in config.brakes.values()]
    assert sorted(brake.host for brake in brakes) == sorted(host.name for host in topology.hosts)
    for brake in brakes:
        queues = host_queues(topology.fabric, topology.host(brake.host), attachment)
        assert list(queues)[-1] == brake.intf
        assert brake.rate_bytes_per_s == queues[brake.intf].rate_bytes_per_s
        assert brake.paused_bytes_per_s < 0.05 * brake.rate_bytes_per_s
    for process in processes:
        for _host, config in process.agents:
            assert type(config).from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("profile", "passthrough"),
    [
        (Profile(back_pressure=False), False),
        (Profile(), True),
        (Profile(admission="none", reorder=False), False),
    ],
)
def test_nobody_has_a_brake_where_nothing_waits_or_it_is_not_wanted(profile: Profile, passthrough: bool) -> None:
    processes = agent_processes(
        Topology(FabricSpec()), attachment="leaf", profile=profile, passthrough=passthrough, seed=1
    )
    assert not any(config.brakes for process in processes for _host, config in process.agents)


def test_the_setting_reaches_the_profile() -> None:
    for scheme in SETTINGS:
        assert not profile_of(scheme, FabricSpec(), GspSpec(back_pressure=False)).back_pressure
    with pytest.raises(ValidationError):
        GspSpec(back_pressure="perhaps")  # type: ignore[arg-type]


def attributes(data: bytes) -> dict[int, bytes]:
    """Return netlink attributes by type (linux/netlink.h)."""
    found, at = {}, 0
    while at < len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found[kind] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("fields", [{}, {"delay_ms": 1.0}])
def test_message_to_the_kernel_changes_the_rate_of_the_bucket_and_nothing_else(
    paused: bool, fields: dict[str, Any]
) -> None:
    fabric = FabricSpec(**fields)
    host = Topology(fabric).hosts[0]
    setting = host_queues(fabric, host, "leaf")[host.intf]
    parent, handle = tbf_place(setting)
    tbf_line = next(line for line in tc_lines(host.intf, setting, fabric.mtu_bytes) if " tbf " in line)
    assert f"handle {handle >> 16:x}: tbf" in tbf_line
    assert ("root" if parent == 0xFFFFFFFF else f"parent {parent >> 16:x}:{parent & 0xFFFF:x}") in tbf_line
    brake = BrakeConfig(
        host=host.name,
        intf=host.intf,
        parent=parent,
        handle=handle,
        rate_bytes_per_s=setting.rate_bytes_per_s,
        paused_bytes_per_s=12_345,
        burst_bytes=setting.burst_bytes,
        limit_bytes=setting.limit_bytes,
    )
    message = shaper_change(brake, 7, paused=paused)
    length, kind, flags, _number, _port = struct.unpack_from("=IHHII", message)
    assert (length, kind, flags) == (len(message), 36, 0x1 | 0x4)  # RTM_NEWQDISC that creates nothing
    family, index, own_handle, own_parent, _info = struct.unpack_from("=BxxxiIII", message, 16)
    assert (family, index, own_handle, own_parent) == (socket.AF_UNSPEC, 7, handle, parent)
    outer = attributes(message[36:])
    assert outer[1] == b"tbf\0"
    options = attributes(outer[2])
    rate = struct.unpack("=BBHhHI", options[1][:12])
    assert rate[1] == 1  # Ethernet: else the kernel wants a table
    assert rate[5] == (12_345 if paused else setting.rate_bytes_per_s)
    assert options[1][12:24] == bytes(12)
    assert struct.unpack("=III", options[1][24:])[0] == setting.limit_bytes
    assert struct.unpack("=I", options[6]) == (setting.burst_bytes,)
