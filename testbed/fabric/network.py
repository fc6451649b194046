"""The emulated network: Mininet builds it, in batches; every setting is read back and compared.

The only file (with leafspine.py, mn.py and interactive.py) that imports mininet. Must run inside a capsule with
Open vSwitch running (``testbed.system.capsule``, ``testbed.fabric.ovs``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Controller, Host, OVSSwitch

from testbed.errors import NetworkError
from testbed.fabric import offloads
from testbed.fabric.batch import Ready, ip_batch, tc_batch
from testbed.fabric.leafspine import LeafSpineTopo
from testbed.fabric.linkstate import set_interfaces
from testbed.fabric.readback import differences
from testbed.fabric.settings import (
    CONGESTION_CONTROL,
    OPENFLOW_VERSION,
    SWITCH_SYSCTLS,
    host_sysctls,
)
from testbed.model.attachment import (
    AgentPair,
    Attachment,
    fabric_mtu_bytes,
    ip_intf,
    leaf_pair,
    nic_intf,
    stack_intf,
    wire_mtu_bytes,
)
from testbed.model.hostqueue import host_queues
from testbed.model.shaping import (
    VOID_INTFS,
    QueueSetting,
    queue_setting,
    tc_change_line,
    tc_heard_line,
    tc_lines,
    tc_silence_lines,
)
from testbed.model.topology import End, Topology
from testbed.model.topology import Host as TopologyHost
from testbed.model.topology import Link as TopologyLink
from testbed.system.command import run
from testbed.system.namespaces import network_namespace_of

log = logging.getLogger(__name__)

Datapath = Literal["kernel", "userspace"]
HOST_PREFIX_BITS = 8
OVS_TIMEOUT_S = 20  # a fabric of 64 switches takes a few seconds
BUFFER_OVERHEAD = 4  # kernel memory per byte of a frame; 2 for jumbo frames, more for small ones


class _BatchIntf(Intf):  # type: ignore[misc]
    """An interface that is configured later, together with all others."""

    def config(self, **_params: object) -> dict[str, object]:
        return {}


class _BatchLink(Link):  # type: ignore[misc]
    """A link that only registers itself; the veth pair is made later, together with all others."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "intf": _BatchIntf})

    @classmethod
    def makeIntfPair(cls, *_args: object, **_kwargs: object) -> None:
        return None


class _NetworkNode:
    """A Mininet node whose separate processes join its network namespace only (see ``enter_argv``)."""

    pid: int

    def popen(self, *args: Any, **kwargs: Any) -> Any:
        """Start a process in the node; Mininet's own way is ``mnexec -da``."""
        kwargs.setdefault("mncmd", ["setsid", *namespace_argv(self.pid)])
        return super().popen(*args, **kwargs)  # type: ignore[misc]


class FabricHost(_NetworkNode, Host):  # type: ignore[misc]
    """A host whose addresses are set later; Mininet's own IP() and MAC() answer all the same."""

    def configDefault(self, **_params: object) -> None:
        """Remember the addresses; they are set by ``Network``."""
        intf = self.defaultIntf()
        intf.ip, intf.prefixLen = str(self.params["ip"]).split("/")
        intf.mac = self.params["mac"]


class FabricSwitch(_NetworkNode, OVSSwitch):  # type: ignore[misc]
    """A leaf or spine; ``dpctl`` speaks the OpenFlow version the switch does."""

    def dpctl(self, *args: str) -> Any:
        """Run an ovs-ofctl command on this switch."""
        return self.cmd("ovs-ofctl", "-O", OPENFLOW_VERSION, args[0], self, *args[1:])


class Gsos(Controller):  # type: ignore[misc]
    """GSOS as Mininet sees it: started and stopped elsewhere, reached on loopback."""

    def start(self) -> None:
        """Do nothing: the experiment starts GSOS."""

    def stop(self, *_args: object, **_kwargs: object) -> None:
        """Do nothing: the experiment stops GSOS."""

    def checkListening(self) -> None:
        """Do nothing: OVS connects whenever GSOS is there."""


class Network:
    """A running fabric. Use as a context manager; ``settings`` holds what was read back.

    ``marking``: the agents mark ECN, so hosts' TCP does it.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        datapath: Datapath,
        attachment: Attachment = "none",
        marking: bool = False,
        openflow_port: int = 6653,
    ) -> None:
        self.topology = topology
        self.datapath = datapath
        self.attachment = attachment
        self.settings: dict[str, Any] = {}
        self._marking = marking
        self._openflow_port = openflow_port
        self._net: Any = None
        self._silent: set[str] = set()  # interfaces that lose what they send
        self._void_made = False
        self._ready_tc: Ready | None = None

    def __enter__(self) -> Network:
        # Mininet.init() would change machine-wide sysctls; the capsule needs none of them.
        Mininet.inited = True
        os.environ["OVS_CTL_TIMEOUT"] = str(OVS_TIMEOUT_S)  # Mininet's ovs-vsctl would wait for a dead daemon for ever
        _write_sysctls(SWITCH_SYSCTLS)
        self._net = Mininet(
            topo=LeafSpineTopo(**self.topology.fabric.model_dump()),
            switch=partial(
                FabricSwitch,
                datapath="user" if self.datapath == "userspace" else "kernel",
                protocols=OPENFLOW_VERSION,
                failMode="secure",
                batch=True,
            ),
            host=FabricHost,
            link=_BatchLink,
            controller=partial(Gsos, ip="127.0.0.1", port=self._openflow_port),
            build=False,
        )
        try:
            self._net.build()
            self._make_links()
            for host in self.topology.hosts:
                self._configure_host(host.name)
            self._net.start()
            self._attach_agents()
        except SystemExit:  # how Mininet says that Open vSwitch does not answer
            raise NetworkError("Mininet gave up: Open vSwitch does not answer") from None
        self._shape_switches()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Leave everything as it is: the capsule takes it along when it ends."""

    @property
    def mininet(self) -> Any:
        """The ``mininet.net.Mininet`` object, for the interactive CLI."""
        return self._net

    def pid_of(self, node: str) -> int:
        """Return the PID of a node's shell, which holds its network namespace."""
        return int(self._net[node].pid)

    def host_pids(self) -> dict[str, int]:
        """Return host name -> PID."""
        return {host.name: self.pid_of(host.name) for host in self.topology.hosts}

    def enter_argv(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs ``argv`` in a host's network namespace."""
        return [*namespace_argv(self.pid_of(host)), *argv]

    @property
    def queue_space_bytes(self) -> int:
        """Kernel memory in bytes that all queues of the switches can hold together, buffers' overhead included."""
        return BUFFER_OVERHEAD * sum(setting.limit_bytes for _end, setting in self.switch_queues())

    def set_links(self, links: Iterable[tuple[int, int, int]], *, up: bool) -> None:
        """Take (leaf, spine, parallel link) links, 0-based, down or up at both ends in one go."""
        ends = [end for link in links for end in self.topology.link_ends(*link)]
        set_interfaces([end.intf for end in ends], up=up)

    def set_forwarding(self, links: Iterable[tuple[int, int, int]], *, on: bool) -> None:
        """Let both ends of links send into them, or lose what they would send: a silent loss, which no switch notices.

        All ends in one go: one after the other, a link would be dead in one direction first.
        """
        ends = {end.intf for link in links for end in self.topology.link_ends(*link)}
        if on:
            tc_batch(tc_heard_line(intf) for intf in sorted(ends & self._silent))
            self._silent -= ends
        else:
            self.prepare_silence()
            lines = [line for intf in sorted(ends - self._silent) for line in tc_silence_lines(intf)]
            if self._ready_tc is None:
                tc_batch(lines)
            else:
                ready, self._ready_tc = self._ready_tc, None
                ready.finish(lines)
            self._silent |= ends

    def prepare_silence(self) -> None:
        """Make the interface that what is lost goes to, and see that this kernel can send it there. Once is enough.

        The first silence is then made by a program that waits for it.
        """
        if self._void_made:
            return
        into, end = VOID_INTFS
        ip_batch([f"link add name {into} type veth peer name {end}", *(f"link set dev {x} up" for x in VOID_INTFS)])
        tc_batch([*tc_silence_lines(end), tc_heard_line(end)])
        self._ready_tc = Ready(["tc", "-batch", "-"])
        self._void_made = True

    def set_rates(self, links: Iterable[tuple[int, int, int]], *, fraction: float) -> None:
        """Give both ends of links this fraction of their rate; 1 is what they had at first."""
        settings = {end.intf: setting for end, setting in self.switch_queues()}
        lines = []
        for link in links:
            for end in self.topology.link_ends(*link):
                setting = settings[end.intf]
                slower = replace(setting, rate_bytes_per_s=max(1, round(setting.rate_bytes_per_s * fraction)))
                lines.append(tc_change_line(end.intf, slower, self.topology.fabric.mtu_bytes))
        tc_batch(lines)

    def _make_links(self) -> None:
        pids = {host.name: self.pid_of(host.name) for host in self.topology.hosts}
        macs = {host.name: host.mac for host in self.topology.hosts}
        lines = []
        for link in self.topology.links:
            upper, lower = link.upper, link.lower
            mtu = self._mtu_of(link)
            peer = f"peer name {lower.intf} mtu {mtu} gso_max_segs 1"
            if lower.node in pids:
                # behind an agent in the host the address belongs to the interface the host's TCP/IP uses
                mac = "" if self.attachment == "host" else f" address {macs[lower.node]}"
                peer += f"{mac} netns {pids[lower.node]}"
            lines.append(f"link add name {upper.intf} mtu {mtu} gso_max_segs 1 type veth {peer}")
        for pair in self._agent_pairs():
            mtu = fabric_mtu_bytes(self.topology, self.attachment)
            lines.append(
                f"link add name {pair.switch_intf} mtu {mtu} gso_max_segs 1 type veth "
                f"peer name {pair.agent_intf} mtu {mtu} gso_max_segs 1"
            )
        ip_batch(lines)
        ip_batch(f"link set dev {intf} up" for intf in self.switch_intfs())
        offloads.disable_offloads(self.switch_intfs())

    def _mtu_of(self, link: TopologyLink) -> int:
        by_kind = {"host": wire_mtu_bytes, "uplink": fabric_mtu_bytes}
        return by_kind[link.kind](self.topology, self.attachment)

    def _agent_pairs(self) -> list[AgentPair]:
        """Return the pairs that join leaves to their agents; also hosts' agents need one that watches the uplinks."""
        if self.attachment == "none":
            return []
        return [leaf_pair(self.topology, leaf.index) for leaf in self.topology.leaves]

    def _attach_agents(self) -> None:
        """Give every leaf its port to its agent; an agent of a leaf also takes over the ends of the host links."""
        argv = ["ovs-vsctl"]
        for leaf, pair in zip(self.topology.leaves, self._agent_pairs(), strict=False):
            argv += ["--", "add-port", leaf.name, pair.switch_intf]
            argv += ["--", "set", "Interface", pair.switch_intf, f"ofport_request={pair.port}"]
        if self.attachment == "leaf":
            for host in self.topology.hosts:
                leaf_name = self.topology.leaves[host.leaf].name
                argv += ["--", "del-port", leaf_name, End(leaf_name, host.port).intf]
        if len(argv) > 1:
            run(argv)

    def switch_intfs(self) -> list[str]:
        """Return every interface in the switches' namespace that belongs to the fabric."""
        hosts = {host.name for host in self.topology.hosts}
        ends = [end.intf for link in self.topology.links for end in (link.lower, link.upper) if end.node not in hosts]
        return ends + [intf for pair in self._agent_pairs() for intf in (pair.switch_intf, pair.agent_intf)]

    def switch_mtus(self) -> dict[str, int]:
        """Return the MTU each of ``switch_intfs`` is to have."""
        mtus = {end.intf: self._mtu_of(link) for link in self.topology.links for end in (link.lower, link.upper)}
        return {intf: mtus.get(intf, fabric_mtu_bytes(self.topology, self.attachment)) for intf in self.switch_intfs()}

    @property
    def host_sysctls(self) -> dict[str, str]:
        """What a host's TCP is set to."""
        return host_sysctls(self.topology.fabric, marking=self._marking)

    def _configure_host(self, name: str) -> None:
        host = self.topology.host(name)
        intf = ip_intf(host, self.attachment)
        mtu = self.topology.fabric.mtu_bytes
        inside = []
        if self.attachment == "host":
            nic = f"peer name {nic_intf(host)} mtu {mtu} gso_max_segs 1"
            inside = [
                f"link add name {intf} mtu {mtu} gso_max_segs 1 address {host.mac} type veth {nic}",
                f"link set dev {nic_intf(host)} up",
                f"link set dev {host.intf} up",
            ]
        neighbours = (
            f"neigh add {other.ip} lladdr {other.mac} dev {intf} nud permanent"
            for other in self.topology.hosts
            if other.name != name
        )
        with network_namespace_of(self.pid_of(name)):
            _write_sysctls(self.host_sysctls)
            ip_batch(
                [
                    "link set dev lo up",
                    *inside,
                    f"addr add {host.ip}/{HOST_PREFIX_BITS} dev {intf} noprefixroute",
                    f"link set dev {intf} up",
                    f"route add 10.0.0.0/{HOST_PREFIX_BITS} dev {intf} src {host.ip} congctl {CONGESTION_CONTROL}",
                    *neighbours,
                ]
            )
            offloads.disable_offloads(self.host_intfs(host))
            queues = self.host_queues(host).items()
            tc_batch(line for queued, setting in queues for line in tc_lines(queued, setting, mtu))

    def host_intfs(self, host: TopologyHost) -> list[str]:
        """Return the interfaces in a host's namespace."""
        inside = [stack_intf(host), nic_intf(host)] if self.attachment == "host" else []
        return [host.intf, *inside]

    def _shape_switches(self) -> None:
        lines = []
        for end, setting in self.switch_queues():
            lines += tc_lines(end.intf, setting, self.topology.fabric.mtu_bytes)
        tc_batch(lines)

    def _carries_control(self, kind: str) -> bool:
        """Return whether GSE control frames use directions of this kind: then they go first there."""
        if kind in ("host_tx", "host_rx"):
            return self.attachment == "host"
        return self.attachment != "none"

    def host_queues(self, host: TopologyHost) -> dict[str, QueueSetting]:
        """Return the queue of each of a host's interfaces that has one."""
        return host_queues(self.topology.fabric, host, self.attachment)

    def switch_queues(self) -> list[tuple[End, QueueSetting]]:
        """Return every switch's link end with its queue."""
        hosts = {host.name for host in self.topology.hosts}
        return [
            (
                direction.src,
                queue_setting(
                    self.topology.fabric, direction.rate_mbps, control_first=self._carries_control(direction.kind)
                ),
            )
            for direction in self.topology.directions
            if direction.src.node not in hosts
        ]

    def verify(self, raw_dir: Path) -> None:
        """Read back every setting and remember them. Raises NetworkError on a difference."""
        wrong = differences(self, raw_dir)
        if wrong:
            shown = "\n".join(wrong[:20]) + (f"\n... and {len(wrong) - 20} more" if len(wrong) > 20 else "")
            raise NetworkError(f"the network is not as specified ({len(wrong)} differences):\n{shown}")
        setting = queue_setting(self.topology.fabric, self.topology.fabric.uplink_mbps)
        self.settings = {
            "datapath": self.datapath,
            "links": len(self.topology.links),
            "mtu_bytes": self.topology.fabric.mtu_bytes,
            "fabric_mtu_bytes": fabric_mtu_bytes(self.topology, self.attachment),
            "agents": self.attachment,
            "uplink_burst_bytes": setting.burst_bytes,
            "queue_bytes": setting.limit_bytes,
            "offloads_off": list(offloads.TURNED_OFF),
            "host_sysctls": self.host_sysctls,
            "congestion_control": CONGESTION_CONTROL,
            "read_back": "all equal",
        }

    def host_mtus(self, host: TopologyHost) -> dict[str, int]:
        """Return the MTU each of ``host_intfs`` is to have."""
        inner = self.topology.fabric.mtu_bytes
        mtus = dict.fromkeys(self.host_intfs(host), inner)
        return {**mtus, host.intf: wire_mtu_bytes(self.topology, self.attachment)}

    def bridge_ports(self) -> dict[str, int]:
        """Return interface -> OpenFlow port of every port a switch has."""
        held = self.attachment == "leaf"  # the agents have the host links
        ports = {
            end.intf: end.port
            for link in self.topology.links
            for end in (link.lower, link.upper)
            if end.port and not (held and link.kind == "host")
        }
        return ports | {pair.switch_intf: pair.port for pair in self._agent_pairs()}


def namespace_argv(pid: int) -> list[str]:
    """Return the prefix of a command that is to run in the network namespace of ``pid``.

    Not ``mnexec -a``: it also joins the mount namespace and so leaves the file system where the testbed itself
    runs in a chroot (a build root, some containers).
    """
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]


def _write_sysctls(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        path = Path("/proc/sys", name)
        try:
            path.write_text(value)
        except OSError as error:
            raise NetworkError(f"cannot set {name.replace('/', '.')}={value}: {error}") from None
