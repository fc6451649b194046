"""How a sender is paused: orders of the core, the agent that carries them out, the shaper and the message to it."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from gse_fabric import Fabric
from gse_journals import journal_of, opened
from pydantic import ValidationError

from testbed.agent.agent import Agent
from testbed.agent.brake import shaper_change
from testbed.agent.config import BrakeConfig
from testbed.fabric.agents import agent_processes
from testbed.gse.dataplane.pressure import PAUSE_AT, RESUME_AT
from testbed.gse.dataplane.profile import Profile
from testbed.journal.replay import replay
from testbed.model.attachment import Attachment
from testbed.model.fabric_spec import FabricSpec
from testbed.model.hostqueue import host_queues, paused_bytes_per_s
from testbed.model.scenario import GspSpec
from testbed.model.schemes import SETTINGS, profile_of
from testbed.model.shaping import tbf_place, tc_lines
from testbed.model.topology import Topology

FRAME = 9014
LIMIT = 40 * FRAME
H11, H21 = (1, 1), (2, 1)
L1 = 256


def test_orders_are_in_the_journal_and_decided_again_in_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(limit_bytes=LIMIT)
    fabric = Fabric(profile, leaves=2, hosts=2, recorded=True)
    fabric.send_greedily(H11, H21, 120, FRAME, every_s=0.002, obeys_s=0.01)
    fabric.run(3.0)
    assert len(fabric.orders) >= 2
    data = journal_of(fabric, L1)
    assert replay(opened(data)).difference is None
    monkeypatch.setattr("testbed.gse.dataplane.pressure.PAUSE_AT", 0.8)  # code that pauses later
    difference = replay(opened(data)).difference
    assert difference is not None
    assert (difference.what, difference.got, difference.expected) == ("whom it pauses", "nobody", "port 1 to pause")


class FakeBrake:
    """Takes notes instead of changing a shaper."""

    def __init__(self, config: BrakeConfig) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def release(self) -> None:
        self.told.append("release")

    def close(self) -> None:
        self.told.append("close")


def test_an_agent_does_to_its_senders_what_the_core_says_until_the_run_is_over() -> None:
    topology = Topology(FabricSpec())
    profile = Profile(limit_bytes=LIMIT)
    (_host, config), *_ = agent_processes(topology, attachment="leaf", profile=profile, passthrough=False, seed=1)[
        0
    ].agents
    agent = Agent(config, 0.0)
    brakes = {port: FakeBrake(brake) for port, brake in config.brakes.items()}
    agent._brakes = brakes  # type: ignore[assignment]
    agent._fabric = SimpleNamespace(send=lambda _frame: None)  # type: ignore[assignment]
    far = next(mac for mac, where in config.place.hosts.items() if where.gsp != config.place.gsp)

    def fill(port: int) -> None:
        for _ in range(35):
            agent.edge.from_host(port, far.ljust(FRAME, b"x"), 0.0)
        agent.advance(0.0)

    fill(2)
    assert {port: brake.told for port, brake in brakes.items() if brake.told} == {2: ["pause"]}
    assert agent.edge.source.pressure.orders == []
    agent.release_senders()
    assert {port: brake.told[-1] for port, brake in brakes.items()} == dict.fromkeys(brakes, "release")
    fill(3)
    assert brakes[3].told == ["release"]


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
        burst_bytes=setting.burst_bytes,
        paused_bytes_per_s=12_345,
        paused_burst_bytes=FRAME,
        limit_bytes=setting.limit_bytes,
    )
    message = shaper_change(brake, 7, 3, paused=paused)
    length, kind, flags, number, _port = struct.unpack_from("=IHHII", message)
    assert (length, kind, flags, number) == (len(message), 36, 0x1 | 0x4, 3)  # RTM_NEWQDISC that creates nothing
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
    assert struct.unpack("=I", options[6]) == (FRAME if paused else setting.burst_bytes,)
    assert 4 not in options


def test_rates_beyond_32_bits_have_a_field_of_their_own() -> None:
    fabric = FabricSpec(link_rate_mbps=100_000)
    processes = agent_processes(Topology(fabric), attachment="leaf", profile=Profile(), passthrough=False, seed=1)
    brake = processes[0].agents[0][1].brakes[1]
    options = attributes(attributes(shaper_change(brake, 7, 1, paused=False)[36:])[2])
    assert struct.unpack("=Q", options[4]) == (12_500_000_000,)
    assert struct.unpack("=BBHhHI", options[1][:12])[5] == 0xFFFF_FFFF


@pytest.mark.parametrize("rate_mbps", [1.0, 10.0, 1000.0, 100_000.0])
@pytest.mark.parametrize("queue_bytes", [36 * 1024, 256 * 1024])
def test_what_comes_after_the_order_to_pause_fits_into_the_queue(rate_mbps: float, queue_bytes: int) -> None:
    fabric = FabricSpec(link_rate_mbps=rate_mbps, queue_bytes=queue_bytes)
    profile = profile_of("gse2-n2n", fabric, GspSpec())
    config = agent_processes(Topology(fabric), attachment="leaf", profile=profile, passthrough=False, seed=1)[0].agents[
        0
    ][1]
    assert config.brakes[1].paused_burst_bytes < 0.5 * (1 - PAUSE_AT) * profile.limit_bytes
