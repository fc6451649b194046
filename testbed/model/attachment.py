"""Where GSP agents stand in the fabric, and the interfaces that takes. Pure.

``leaf`` (N2N): one agent per leaf holds the leaf's ends of its host links; one unshaped pair joins it to the leaf
switch. ``host`` (E2E): one agent per host stands between the host's TCP/IP and its link. ``none``: no agents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.model.topology import Host, Topology

Attachment = Literal["none", "leaf", "host"]
HEADROOM_BYTES = (OVERHEAD_BYTES + 63) // 64 * 64  # what the MTU of fabric links is raised by


@dataclass(frozen=True, slots=True)
class AgentPair:
    """The pair that joins a leaf's agent to its switch; ``port`` is its OpenFlow port on the leaf."""

    agent_intf: str
    switch_intf: str
    port: int


def leaf_pair(topology: Topology, leaf: int) -> AgentPair:
    """Return the pair of a leaf's own agent."""
    name = topology.leaves[leaf].name
    return AgentPair(f"{name}-gsp", f"{name}-fab", gsp_port(topology))


def gsp_port(topology: Topology) -> int:
    """Return the OpenFlow port of every leaf that leads to its own agent: the one after its last uplink."""
    return topology.fabric.hosts_per_leaf + topology.fabric.paths + 1


def stack_intf(host: Host) -> str:
    """Return the interface the host's TCP/IP uses when an agent stands between it and its link (E2E)."""
    return f"{host.name}-gse"


def nic_intf(host: Host) -> str:
    """Return the agent's end of the pair to the host's TCP/IP (E2E); both are in the host's namespace."""
    return f"{host.name}-nic"


def ip_intf(host: Host, attachment: Attachment) -> str:
    """Return the interface that has the host's address."""
    return stack_intf(host) if attachment == "host" else host.intf


def fabric_mtu_bytes(topology: Topology, attachment: Attachment) -> int:
    """Return the MTU of every link that carries GSE frames."""
    return topology.fabric.mtu_bytes + (0 if attachment == "none" else HEADROOM_BYTES)


def wire_mtu_bytes(topology: Topology, attachment: Attachment) -> int:
    """Return the MTU of host links: they carry GSE frames only where the agent is in the host."""
    return fabric_mtu_bytes(topology, attachment) if attachment == "host" else topology.fabric.mtu_bytes
