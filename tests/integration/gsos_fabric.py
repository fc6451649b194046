"""A small fabric of real Open vSwitch bridges with a real GSOS process, for tests inside a run capsule.

Host ends are bare interfaces in the same namespace: enough to inject and catch frames, and to lose carrier.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from testbed.errors import ControllerError
from testbed.fabric.northbound import Northbound
from testbed.fabric.ovs import start_daemons
from testbed.fabric.unixctl import Unixctl
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import TCP, Flow
from testbed.model.scheme_spec import GsosSpec
from testbed.model.topology import Topology
from testbed.system import capsule

PROJECT = Path(__file__).resolve().parents[2]
WORK = Path("/run/gse")
SOCKET = WORK / "gsos.sock"
PORT = 6653


def sh(command: str, *, stdin: str = "") -> str:
    """Run a shell command and return what it printed; a failure fails the test with the tool's own words."""
    done = subprocess.run(command, shell=True, input=stdin, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def eventually(condition: Callable[[], bool], what: str, *, timeout_s: float = 10.0) -> float:
    """Wait until something outside our control is so; return how long it took. Fails when it never is."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < timeout_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.002)
    return time.monotonic() - began_s


class Fabric:
    """Bridges, links and (once started) GSOS."""

    def __init__(self, topology: Topology, runtime: str, unixctl: Unixctl) -> None:
        self.topology = topology
        self.unixctl = unixctl
        self.gsos: subprocess.Popen[bytes] | None = None
        self._runtime = runtime
        self._starts = 0

    # --- GSOS -------------------------------------------------------------------------------------

    def start_gsos(self, scheme: str, seed: int = 1, **settings: Any) -> Northbound:
        """Start GSOS and return a client that is connected; readiness is the caller's to await."""
        plan = WORK / "plan.json"
        plan.write_text(
            json.dumps(
                {
                    "topology": self.topology.to_json(),
                    "scheme": scheme,
                    "seed": seed,
                    "gsos": GsosSpec(**settings).model_dump(mode="json"),
                    "openflow_port": PORT,
                    "openflow_listen": "127.0.0.1",
                    "northbound": str(SOCKET),
                }
            )
        )
        env = {**os.environ, "PYTHONPATH": str(PROJECT), "GSE_GSOS_PLAN": str(plan)}
        if self._runtime == "os-ken":
            argv = [sys.executable, "-m", "apps", "gsos", "--plan", str(plan)]
        else:
            ryu = os.environ["GSE_RYU_PYTHON"]
            argv = [ryu, "-m", "apps.ryu_manager", "apps/gsos.py"]
            argv += ["--ofp-tcp-listen-port", str(PORT), "--ofp-listen-host", "127.0.0.1"]
        self._starts += 1
        with open(WORK / f"gsos-{self._starts}.log", "wb") as log:
            self.gsos = subprocess.Popen(argv, env=env, stdout=log, stderr=log, cwd="/")
        client = Northbound(SOCKET)
        eventually(lambda: self._answers(client), "GSOS answers", timeout_s=20)
        if self._starts == 1:  # only now: a switch that finds no controller waits 1, 2, 4, 8 s between attempts
            self.connect(*(switch.name for switch in self.topology.switches))
        return client

    @staticmethod
    def connect(*bridges: str) -> None:
        """Point switches to GSOS."""
        sh("ovs-vsctl --no-wait " + " -- ".join(f"set-controller {bridge} tcp:127.0.0.1:{PORT}" for bridge in bridges))

    @staticmethod
    def disconnect(*bridges: str) -> None:
        """Take the controller away from switches; they drop every rule, too."""
        sh("ovs-vsctl --no-wait " + " -- ".join(f"del-controller {bridge}" for bridge in bridges))

    def _answers(self, client: Northbound) -> bool:
        assert self.gsos is not None
        assert self.gsos.poll() is None, "GSOS died at its start"
        with contextlib.suppress(ControllerError):
            return bool(client.call("status")["runtime"] == self._runtime)
        return False

    def ready(self, scheme: str, seed: int = 1, **settings: Any) -> Northbound:
        """Start GSOS and wait until it controls every switch."""
        client = self.start_gsos(scheme, seed, **settings)
        status = client.call("wait_ready", timeout_s=20.0, answer_within_s=25)
        assert status["ready"], status
        assert status["switch_errors"] == []
        return client

    def end_gsos(self, number: int) -> None:
        """Send a signal and wait for the end."""
        assert self.gsos is not None
        self.gsos.send_signal(number)
        self.gsos.wait(timeout=10)

    @contextlib.contextmanager
    def gsos_stopped(self) -> Iterator[None]:
        """Hold GSOS still: what happens meanwhile the switches do alone."""
        assert self.gsos is not None
        self.gsos.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.gsos.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """Return everything GSOS has logged."""
        return "".join(path.read_text() for path in sorted(WORK.glob("gsos-*.log")))

    # --- switches ---------------------------------------------------------------------------------

    def rules(self, bridge: str, *, without: str = r"cookie|duration|n_packets|n_bytes|idle_age|hard_age") -> list[str]:
        """Return the rules of a switch as ovs-ofctl words them, without what changes by itself."""
        lines = sh(f"ovs-ofctl -O OpenFlow13 dump-flows {bridge} --no-names").splitlines()[1:]
        return sorted(re.sub(rf"\s*({without})=[^, ]+,?", "", line).strip() for line in lines)

    def cookies(self, bridge: str) -> set[str]:
        """Return the cookies of a switch's rules."""
        return set(re.findall(r"cookie=(0x[0-9a-f]+)", sh(f"ovs-ofctl -O OpenFlow13 dump-flows {bridge}")))

    def set_link(self, leaf: int, path: int, *, up: bool) -> None:
        """Take a leaf-spine link down or up at both ends."""
        spine, link = self.topology.path_spine_link(path)
        state = "up" if up else "down"
        ends = self.topology.link_ends(leaf, spine, link)
        sh("ip -batch -", stdin="".join(f"link set dev {end.intf} {state}\n" for end in ends))

    def has_lost_carrier(self, leaf: int, path: int) -> bool:
        """Return whether a leaf itself says that its uplink is dead."""
        name, port = self.topology.leaves[leaf].name, self.topology.uplink_port(path)
        shown = sh(f"ovs-ofctl -O OpenFlow13 dump-ports-desc {name} {port}")
        return "LINK_DOWN" in shown

    def paths_of(self, flows: list[Flow]) -> list[int | None]:
        """Return the path each flow would take now, according to the switches."""
        ports = self.unixctl.call("dpif/show")  # which of the datapath is which of a switch does not change
        return [self._path_of(flow, ports) for flow in flows]

    def _path_of(self, flow: Flow, datapath_ports: str) -> int | None:
        src, dst = self.topology.host_by_ip(flow.src_ip), self.topology.host_by_ip(flow.dst_ip)
        assert src and dst
        leaf, name = self.topology.leaves[src.leaf].name, "tcp" if flow.proto == TCP else "udp"
        text = self.unixctl.call(
            "ofproto/trace",
            leaf,
            f"in_port={src.port},{name},dl_src={src.mac},dl_dst={dst.mac},nw_src={flow.src_ip},nw_dst={flow.dst_ip},"
            f"nw_ttl=64,{name}_src={flow.src_port},{name}_dst={flow.dst_port}",
        )
        actions = text.rsplit("Datapath actions: ", 1)[1].split("\n")[0]
        ports = [action for action in actions.split(",") if action.isdigit()]
        if not ports:
            return None
        shown = re.search(rf"{leaf}-eth(\d+) \d+/{ports[-1]}:", datapath_ports)
        assert shown, actions
        return int(shown[1]) - self.topology.uplink_port(0)

    def flows(self, count: int, seed: int, src: str = "h1", dst: str | None = None) -> list[Flow]:
        """Return random TCP flows between two hosts."""
        rng = Random(seed)
        a = self.topology.host(src).ip
        b = (self.topology.host(dst) if dst else self.topology.hosts[-1]).ip
        return [Flow(a, b, TCP, rng.randrange(32768, 61000), rng.randrange(1024, 61000)) for _ in range(count)]

    # --- frames -----------------------------------------------------------------------------------

    def send(self, flow: Flow, *, flags: int = 0x10, payload_bytes: int = 0) -> None:
        """Inject one frame of a flow at its source host's port."""
        src, dst = self.topology.host_by_ip(flow.src_ip), self.topology.host_by_ip(flow.dst_ip)
        assert src and dst
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((src.intf, 0))
            raw.send(frame_of(flow, src.mac, dst.mac, flags, payload_bytes))


def frame_of(flow: Flow, src_mac: str, dst_mac: str, flags: int, payload_bytes: int) -> bytes:
    """Return an Ethernet frame with a valid IPv4 header; the transport checksum is left 0 (switches do not look)."""
    ports = struct.pack("!HH", flow.src_port, flow.dst_port)
    if flow.proto == TCP:
        transport = ports + struct.pack("!IIBBHHH", 1, 1, 0x50, flags, 8192, 0, 0)
    else:
        transport = ports + struct.pack("!HH", 8 + payload_bytes, 0)
    length = 20 + len(transport) + payload_bytes
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0x4000, 64, flow.proto, 0)
    header += socket.inet_aton(flow.src_ip) + socket.inet_aton(flow.dst_ip)
    total = sum(struct.unpack("!10H", header))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    macs = bytes.fromhex((dst_mac + src_mac).replace(":", ""))
    return macs + b"\x08\x00" + header + transport + bytes(payload_bytes)


def chi_squared(counts: collections.Counter[Any], categories: int) -> float:
    """Return Pearson's statistic against the uniform distribution."""
    expected = sum(counts.values()) / categories
    return sum((count - expected) ** 2 / expected for count in counts.values()) + expected * (categories - len(counts))


@contextlib.contextmanager
def fabric(runtime: str, **spec: Any) -> Iterator[Fabric]:
    """Furnish this capsule with switches and links; GSOS is not started."""
    capsule.enter()
    topology = Topology(FabricSpec(**spec))
    daemons = start_daemons(WORK)
    lines, commands = [], []
    for link in topology.links:
        lines.append(f"link add name {link.upper.intf} type veth peer name {link.lower.intf}")
        for end in (link.upper, link.lower):
            lines += [f"link set dev {end.intf} up"]
            if end.port:
                commands.append(f"add-port {end.node} {end.intf} -- set interface {end.intf} ofport_request={end.port}")
    sh("ip -batch -", stdin="\n".join(lines) + "\n")
    bridges = [
        f"add-br {s.name} -- set bridge {s.name} datapath_type=netdev fail_mode=secure protocols=OpenFlow13"
        f" other-config:datapath-id={s.dpid:016x} other-config:disable-in-band=true"
        for s in topology.switches
    ]
    sh("ovs-vsctl -- " + " -- ".join(bridges + commands))
    with Unixctl(daemons.vswitchd_pid) as unixctl:
        here = Fabric(topology, runtime, unixctl)
        try:
            yield here
        finally:
            if here.gsos is not None and here.gsos.poll() is None:
                here.gsos.send_signal(signal.SIGKILL)
                here.gsos.wait(timeout=10)
