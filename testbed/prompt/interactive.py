"""The ``mininet>`` prompt on a fabric controlled by GSOS: Mininet's own commands and this project's.

Runs inside a capsule (``python -m testbed.prompt.interactive FD``, a descriptor with the plan as JSON); with the prompt
ends the capsule, and everything written meanwhile, which is in the capsule's private /run.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from mininet.cli import CLI
from mininet.log import lg, setLogLevel

from testbed.cli.bars import bar
from testbed.errors import TestbedError
from testbed.fabric import ovs
from testbed.fabric.agents import Agents
from testbed.fabric.controller import start_gsos, wait_ready
from testbed.fabric.faults import apply_fault
from testbed.fabric.flowpath import PathTracer
from testbed.fabric.network import Network
from testbed.fabric.northbound import Northbound
from testbed.fabric.pathprobe import ProbeResult, probe_path
from testbed.fabric.unixctl import Unixctl
from testbed.measurement.netlink import RouteSocket
from testbed.model.fault_spec import FaultAction, FaultSpec, fault_targets
from testbed.model.ranks import SOURCE_PORTS, TCP, UDP, Flow
from testbed.model.topology import Direction
from testbed.prompt.gsos_view import gsos_lines
from testbed.prompt.gsp_view import gsp_lines
from testbed.prompt.quickrun import allreduce_once
from testbed.runs.plan import Plan
from testbed.system import capsule
from testbed.system.command import run
from testbed.system.supervisor import Supervisor
from testbed.units import bytes_to_mbps, bytes_to_text, text_to_bytes

log = logging.getLogger(__name__)
IPERF_PORT = 5201
IPERF_RATE = re.compile(r"[1-9][0-9]*[KMG]?")
GSOS_NOTICES_WITHIN_S = 1.0
GSOS_ASK_AGAIN_S = 0.01
DONE: dict[FaultAction, str] = {"fail": "down", "silence": "silent", "slow": "slowed to a tenth", "heal": "up"}
COMMANDS = (
    *("gsos", "gsp", "util", "queues", "path", "allreduce", "iperf", "iperfudp"),
    *("fail", "silence", "slow", "heal"),
)
GSOS_METHODS = ("status", "paths", "placement", "counters", "events")


class FabricCLI(CLI):  # type: ignore[misc]
    """Mininet's prompt with commands about the fabric. Every command has help and completion."""

    def __init__(self, network: Network, gsos: Northbound, agents: Agents, plan: Plan, vswitchd_pid: int) -> None:
        self.network = network
        self.agents = agents
        self.gsos = gsos
        self.plan = plan
        self.topology = network.topology
        self._vswitchd_pid = vswitchd_pid
        if sys.stdin.isatty():
            super().__init__(network.mininet)
        else:
            self._run_script(network)

    def _run_script(self, network: Network) -> None:
        """Run commands from a pipe. Mininet would feed the rest of it to the first command that runs in a node."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.plan.run_dir) as script:
            script.write(sys.stdin.buffer.read().decode(errors="replace").rstrip("\n") + "\n")
            script.flush()
            never_readable, keep_open = os.pipe()
            with os.fdopen(never_readable) as stdin:
                super().__init__(network.mininet, stdin=stdin, script=script.name)
            os.close(keep_open)

    def onecmd(self, line: str) -> Any:
        """Run one command; what goes wrong is said, and the prompt stays."""
        if not sys.stdin.isatty():
            print(f"{self.prompt}{line.rstrip()}", flush=True)
        self._revive_agents()
        try:
            return super().onecmd(line)
        except (TestbedError, OSError) as error:
            print(f"*** {error}")
        except Exception as error:  # Mininet's own commands let through what wrong arguments lead to
            log.debug("%s", line, exc_info=True)
            print(f"*** {line.strip()}: {type(error).__name__}: {error}")
        return False

    def _revive_agents(self) -> None:
        """Do between commands what a run does all the time: agents that died are started again, up to three times."""
        if not self.agents.pids:
            return
        try:
            self.agents.revive()
        except TestbedError as error:
            print(f"*** {error}")

    def do_source(self, line: str) -> bool:
        """source FILE - run the commands in a file; what follows an exit in it is not run."""
        lines = Path(line.strip()).read_text(encoding="utf-8", errors="replace").splitlines()
        return any(self.onecmd(text) for text in lines)

    # --- GSOS ---------------------------------------------------------------------------------

    def do_gsos(self, line: str) -> None:
        """gsos status|paths|placement|counters|events - ask the controller.

        status     scheme, connected switches, failed ports
        paths      live paths between leaves
        placement  flows GSOS has placed and why
        counters   utilisation of uplinks and downlinks as last polled
        events     decisions taken
        """
        method = line.strip() or "status"
        if method not in GSOS_METHODS:
            print(f"*** gsos {method}: expected one of {', '.join(GSOS_METHODS)}")
            return
        for text in gsos_lines(method, self.gsos.call(method), time.monotonic()):
            print(text)

    def complete_gsos(self, text: str, *_args: object) -> list[str]:
        """Complete the method."""
        return [method for method in GSOS_METHODS if method.startswith(text)]

    def do_gsp(self, line: str) -> None:
        """gsp [NAME] - ask the GSP agents: queues, grants, bytes by path, order. NAME: a leaf, or a host under E2E.

        One line per agent; with NAME everything it counts and its live queues.
        """
        if not self.agents.pids:
            print(f"*** gsp: scheme {self.plan.scheme} has no agents; start with --scheme gse2-n2n, for one")
            return
        for text in gsp_lines(self.agents.stats()["agents"], line.strip(), self.topology):
            print(text)

    def complete_gsp(self, text: str, *_args: object) -> list[str]:
        """Complete the agents' names."""
        return [name for name in self.agents.names if name.startswith(text)]

    # --- looking at links -----------------------------------------------------------------------

    def do_util(self, line: str) -> None:
        """util [SECONDS] - utilisation of every leaf-spine link, refreshed each second until Enter or Ctrl-C.

        With SECONDS, stops after that long. Percent of the configured rate, Ethernet framing included.
        """
        rounds = _positive(line, default=None if sys.stdin.isatty() else 1)
        if rounds == 0:
            print("*** util: expected a number of seconds")
            return
        directions = [d for d in self.topology.directions if d.kind in ("uplink", "downlink")]
        with RouteSocket() as sock:
            before, before_s = self._sent_bytes(sock), time.monotonic()
            shown = 0
            while rounds is None or shown < rounds:
                if self._key_within(before_s + 1.0 - time.monotonic()):
                    break
                after, after_s = self._sent_bytes(sock), time.monotonic()
                if shown and sys.stdout.isatty():
                    print(f"\x1b[{len(directions) + 1}A", end="")
                self._show_utilisation(directions, before, after, after_s - before_s)
                before, before_s, shown = after, after_s, shown + 1

    def _sent_bytes(self, sock: RouteSocket) -> dict[str, int]:
        return {qdisc.intf: qdisc.sent_bytes for qdisc in sock.qdiscs()}

    def _show_utilisation(
        self, directions: Iterable[Direction], before: dict[str, int], after: dict[str, int], duration_s: float
    ) -> None:
        print(f"{'link':<24}{'Mbit/s':>9}  of rate")
        for direction in directions:
            rate = bytes_to_mbps(after[direction.src.intf] - before[direction.src.intf], duration_s)
            fraction = rate / direction.rate_mbps
            print(f"{direction.name:<24}{rate:>9.2f}  {bar(fraction)} {fraction:>4.0%}")

    def _key_within(self, duration_s: float) -> bool:
        """Wait; return True at once when the user presses Enter at a terminal."""
        watched = [sys.stdin] if sys.stdin.isatty() else []
        ready, _w, _x = select.select(watched, [], [], max(duration_s, 0))
        if ready:
            sys.stdin.readline()
        return bool(ready)

    def do_queues(self, _line: str) -> None:
        """queues - backlog and drops of every queue of the switches that holds or lost something."""
        limit = self.topology.fabric.queue_bytes
        with RouteSocket() as sock:
            busy = [q for q in sock.qdiscs() if q.kind == "tbf" and (q.backlog_bytes or q.dropped_packets)]
        print(f"{'interface':<14}{'backlog':>12}{'packets':>9}{'dropped':>9}  of {bytes_to_text(limit)}")
        for queue in busy:
            print(
                f"{queue.intf:<14}{queue.backlog_bytes:>10} B{queue.backlog_packets:>9}{queue.dropped_packets:>9}"
                f"  {bar(queue.backlog_bytes / limit, 20)}"
            )
        if not busy:
            print("every queue is empty and has lost nothing")

    # --- paths and traffic ------------------------------------------------------------------------

    def do_path(self, line: str) -> None:
        """path SRC DST [tcp|udp [SPORT DPORT]] - which spine a flow takes, shown by a real packet.

        Under schemes whose agents spread packets or containers it is the way of this one packet.
        Sends one packet (scapy) and lists the interfaces it was seen leaving. Without ports it is the same flow each
        time, so that what a failure changes can be seen; other ports are another flow.
        """
        words = line.split()
        hosts = {host.name: host for host in self.topology.hosts}
        if unknown := [word for word in words[:2] if word not in hosts]:
            print(f"*** path: no host {', '.join(unknown)}; expected two of h1..h{len(hosts)}: path h1 h5")
            return
        protocol = words[2] if len(words) > 2 else "tcp"
        ports = words[3:] or [str(Random(f"{self.plan.seed}/{words}").choice(SOURCE_PORTS)), "9000"]
        valid_ports = len(ports) == 2 and all(port.isdigit() and 0 < int(port) < 65536 for port in ports)
        if len(words) < 2 or words[0] == words[1] or protocol not in ("tcp", "udp") or not valid_ports:
            print("*** path: expected two hosts, then optionally tcp|udp and two ports: path h1 h5 tcp 40000 9000")
            return
        flow = Flow(
            hosts[words[0]].ip, hosts[words[1]].ip, TCP if protocol == "tcp" else UDP, int(ports[0]), int(ports[1])
        )
        result = probe_path(self.topology, self.network.host_pids(), flow, self.network.attachment)
        print(f"{words[0]} > {words[1]} {protocol} {flow.src_port} > {flow.dst_port}: ", end="")
        print(self._way(result, same_leaf=hosts[words[0]].leaf == hosts[words[1]].leaf))
        for intf, t_s in result.seen:
            print(f"  {t_s * 1e3:8.3f} ms  {intf}")
        if not result.delivered:
            print("  not seen leaving for the target host")

    def _way(self, result: ProbeResult, *, same_leaf: bool) -> str:
        """Say which path a probe took, and whether the next frame of its flow takes it, too."""
        if not result.delivered:
            return "lost"
        if result.path is None:
            return "stays on its leaf" if same_leaf else "arrived, but was seen on no uplink"
        settings = self.plan.settings
        sprayed = settings.attachment != "none" and not settings.passthrough
        return f"path {result.path}" + (", this frame: the next may take another" if sprayed else "")

    def complete_path(self, text: str, *_args: object) -> list[str]:
        """Complete host names."""
        return [host.name for host in self.topology.hosts if host.name.startswith(text)] + [
            name for name in ("tcp", "udp") if text and name.startswith(text)
        ]

    def do_allreduce(self, line: str) -> None:
        """allreduce [SIZE] - one ring all-reduce over every host, e.g. allreduce 4M (default 1M)."""
        try:
            size_bytes = text_to_bytes(line.strip() or "1M")
        except ValueError as error:
            print(f"*** allreduce: {error}")
            return
        with Unixctl(self._vswitchd_pid) as unixctl:
            tracer = PathTracer(self.topology, unixctl)
            for text in allreduce_once(self.plan, self.network, self.gsos, tracer, size_bytes):
                print(text)

    def do_iperf(self, line: str) -> None:
        """iperf [SRC DST] - TCP throughput between two hosts with iperf3 for 3 s (default: first and last host)."""
        self._iperf("iperf", line.split(), [])

    def do_iperfudp(self, line: str) -> None:
        """iperfudp RATE [SRC DST] - the same with UDP packets of 1400 bytes at a rate in bit/s: iperfudp 5M h1 h5."""
        rate, *hosts = line.split() or [""]
        if not IPERF_RATE.fullmatch(rate):
            print(f"*** iperfudp: expected a rate in bit/s like 500K or 5M, then two hosts or none, got {line!r}")
            return
        self._iperf("iperfudp", hosts, ["-u", "-b", rate, "-l", "1400"])

    def _iperf(self, name: str, words: list[str], options: list[str]) -> None:
        """Run iperf3 between two hosts and print what arrived."""
        words = words or [self.topology.hosts[0].name, self.topology.hosts[-1].name]
        if len(words) != 2 or words[0] == words[1] or not set(words) <= {host.name for host in self.topology.hosts}:
            print(f"*** {name}: expected two different hosts, e.g. h1 h5, got {' '.join(words)!r}")
            return
        src, dst = words
        address = self.topology.host(dst).ip
        run(self.network.enter_argv(dst, ["iperf3", "-s", "-1", "-D", "-B", address, "-p", str(IPERF_PORT)]))
        argv = ["iperf3", "-c", address, "-p", str(IPERF_PORT), "-t", "3", "-J", *options]
        end = json.loads(run(self.network.enter_argv(src, argv), timeout_s=30).stdout)["end"]
        if "-u" in options:
            received, lost = end["sum"]["bits_per_second"], f"{end['sum']['lost_percent']:.1f}% of the packets lost"
            received *= 1 - end["sum"]["lost_percent"] / 100
        else:
            received, lost = (
                end["sum_received"]["bits_per_second"],
                f"{end['sum_sent']['retransmits']} retransmitted segments",
            )
        print(f"{src} > {dst}: {received / 1e6:.2f} Mbit/s received, {lost}")

    # --- faults -------------------------------------------------------------------------------------

    def do_fail(self, line: str) -> None:
        """fail LEAF SPINE | fail SPINE - take a link (or all links of a spine) down, e.g. fail l1 s2."""
        self._fault(line, "fail")

    def do_silence(self, line: str) -> None:
        """silence LEAF SPINE | silence SPINE - lose every frame there, with the carrier up, e.g. silence l1 s2."""
        self._fault(line, "silence")

    def do_slow(self, line: str) -> None:
        """slow LEAF SPINE | slow SPINE - leave a tenth of the rate, e.g. slow l1 s2."""
        self._fault(line, "slow")

    def do_heal(self, line: str) -> None:
        """heal LEAF SPINE | heal SPINE - undo fail, silence and slow, e.g. heal l1 s2."""
        self._fault(line, "heal")

    def _fault(self, line: str, action: FaultAction) -> None:
        target = "-".join(line.split())
        if target not in fault_targets(self.topology.fabric):
            print(f"*** {action}: expected a link like 'l1 s2' or a spine like 's2', got {line!r}")
            return
        done = apply_fault(self.network, FaultSpec(t_s=0, action=action, target=target))
        print(f"{target} {DONE[action]} in {(done['done_s'] - done['began_s']) * 1e3:.1f} ms")
        if action in ("fail", "heal"):  # GSOS sees carriers only
            print(self._what_gsos_did(done["began_s"]))

    def _what_gsos_did(self, since_s: float) -> str:
        """Wait until GSOS has noticed a change of links and say how long that took."""
        deadline_s = time.monotonic() + GSOS_NOTICES_WITHIN_S
        pause = threading.Event()
        while time.monotonic() < deadline_s:
            events = [event for event in self.gsos.call("events", since=since_s) if event["event"].startswith("link")]
            if events:
                return f"GSOS noticed after {(events[0]['t_s'] - since_s) * 1e3:.1f} ms: {events[0]['action']}"
            pause.wait(GSOS_ASK_AGAIN_S)
        return f"GSOS has noticed nothing within {GSOS_NOTICES_WITHIN_S:g} s (was it so already?)"

    def complete_fail(self, text: str, *_args: object) -> list[str]:
        """Complete switch names."""
        return [switch.name for switch in self.topology.switches if switch.name.startswith(text)]

    complete_heal = complete_silence = complete_slow = complete_fail

    def do_help(self, line: str) -> None:
        """help [COMMAND] - list the commands, or explain one."""
        method: Callable[..., Any] | None = getattr(self, f"do_{line.strip()}", None) if line.strip() else None
        if method is not None and method.__doc__ and type(self).__dict__.get(method.__name__):
            print("\n".join(text.strip() for text in method.__doc__.strip().splitlines()))
            return
        super().do_help(line)
        if not line.strip():
            print(f"Of this project: {' '.join(COMMANDS)} (help COMMAND explains each)")


def _positive(text: str, default: int | None) -> int | None:
    """Read a number of rounds; 0 when the text is none."""
    text = text.strip()
    if not text:
        return default
    return int(text) if text.isdigit() else 0


def main(plan_fd: int) -> int:
    """Build the fabric of the plan, which a descriptor has, start GSOS, and hand over to the prompt."""
    with open(plan_fd, encoding="utf-8") as file:
        value = json.load(file)
    plan = Plan.from_json(value)
    capsule.enter()
    with suppress(OSError):  # a folder below /run is not there any more
        os.chdir(value["cwd"])  # where the user is: for source and sh
    signal.signal(signal.SIGINT, signal.default_int_handler)  # our starter ignores it, and we have inherited that
    setLogLevel("output")
    for handler in lg.handlers:
        handler.setStream(sys.stdout)  # Mininet prints what its commands find out as log messages
    with Supervisor(t0_s=time.monotonic()) as supervisor:
        daemons = ovs.start_daemons(plan.run_dir, plan.wake_interval_s)
        fabric_network = Network(
            plan.topology,
            datapath=plan.datapath,
            attachment=plan.settings.attachment,
            marking=plan.settings.grants,
        )
        gsos_process, gsos = start_gsos(
            supervisor,
            plan.topology,
            scheme=plan.scheme,
            seed=plan.seed,
            settings=plan.scenario.gsos,
            raw_dir=plan.run_dir,
        )
        with fabric_network as network:
            network.verify(plan.run_dir)
            if plan.datapath == "userspace":
                ovs.enlarge_packet_buffers(daemons.vswitchd_pid, network.queue_space_bytes)
            wait_ready(supervisor, gsos)
            gsos_process.on_death = "record"  # from here on the fabric forwards without it
            agents = Agents(supervisor, network.pid_of, plan.run_dir)
            agents.start(plan.agent_processes)
            fabric = plan.scenario.fabric
            print(
                f"*** {fabric.leaves} leaves, {fabric.spines} spines, {fabric.hosts} hosts, "
                f"{fabric.uplink_mbps:g} Mbit/s uplinks, scheme {plan.scheme}, {plan.datapath} datapath\n"
                "*** help lists the commands; exit leaves, and everything goes with it"
            )
            FabricCLI(network, gsos, agents, plan, daemons.vswitchd_pid)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1])))
    except TestbedError as failure:
        print(f"gse: {failure}", file=sys.stderr)
        sys.exit(failure.exit_status)
    except KeyboardInterrupt:  # before there was a prompt
        print("gse: interrupted", file=sys.stderr)
        sys.exit(130)
