"""What runs beside a run: sampler, probes, other senders. Start them, tell them what to do, collect what they say."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from testbed.errors import NetworkError, ParseError
from testbed.evaluation.records import LookupRow, SocketRow, SoftnetRow
from testbed.fabric.network import Network
from testbed.fabric.unixctl import Unixctl
from testbed.measurement.parsers import datapath_lookups, packet_socket_drops, softnet_counts
from testbed.measurement.probes import choose_pairs, linger_s
from testbed.model.attachment import ip_intf
from testbed.model.scenario import Scenario
from testbed.model.topology import Topology
from testbed.results.run_directory import RunDirectory
from testbed.system.command import run
from testbed.system.process import Child
from testbed.system.supervisor import Supervisor

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 30.0
SWITCHES_TIMEOUT_S = 0.5  # they answer within milliseconds; who does not is stopped or dead, and others will say so
PROBE_PARTNERS = 2
SOFTNET = Path("/proc/net/softnet_stat")


class Instruments:
    """Measuring processes of one run.

    ``senders``: name of a program in ``testbed.workload`` -> what it is told. Of that two are heeded here:
    ``linger_s``, how long it waits at its end for what is under way, and ``prepare_s``, if any, how long it may take to
    get ready.
    """

    def __init__(
        self,
        scenario: Scenario,
        topology: Topology,
        network: Network,
        supervisor: Supervisor,
        directory: RunDirectory,
        t0_s: float,
        senders: Mapping[str, Mapping[str, Any]],
        *,
        vswitchd_pid: int,
    ) -> None:
        self._scenario = scenario
        self._topology = topology
        self._network = network
        self._supervisor = supervisor
        self._directory = directory
        self._t0_s = t0_s
        self._workload_senders = senders
        self._vswitchd_pid = vswitchd_pid
        self._said: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in ("sampler", "probes", *senders)}
        self._children: dict[str, Child] = {}

    def start(self, roles: Mapping[int, str]) -> None:
        """Start them; returns when the sampler's first sample is on disk and the others are ready."""
        config = {
            "run_dir": str(self._directory.path),
            "t0_s": self._t0_s,
            "interval_s": self._scenario.measure.sample_interval_s,
            "roles": {str(pid): role for pid, role in roles.items()},
            "host_pids": self._network.host_pids(),
        }
        self._start("sampler", config)
        awaited = [("sampler", "sampling")]
        if self._scenario.measure.probe_interval_ms > 0:
            pairs = choose_pairs(self._topology, per_host=PROBE_PARTNERS, rng=Random("probes"))
            self._start(
                "probes",
                {
                    "run_dir": str(self._directory.path),
                    "t0_s": self._t0_s,
                    "interval_s": self._scenario.measure.probe_interval_ms / 1e3,
                    "probe_bytes": self._scenario.measure.probe_bytes,
                    "hosts": self._hosts(),
                    "pairs": pairs,
                    "intfs": {host.name: ip_intf(host, self._network.attachment) for host in self._topology.hosts},
                    "linger_s": linger_s(self._topology),
                },
            )
            awaited.append(("probes", "ready"))
        for name, told in self._workload_senders.items():
            common = {"run_dir": str(self._directory.path), "t0_s": self._t0_s, "hosts": self._hosts()}
            self._start(name, {**common, **told}, room="workload")
            awaited.append((name, "ready"))
        preparing_s = max((told.get("prepare_s", 0.0) for told in self._workload_senders.values()), default=0.0)
        self._await(awaited, READY_TIMEOUT_S + preparing_s)

    def begin_measured(self) -> None:
        """Mark the start of the measured part: a sample parts it from the warm-up, and probes go out from now on."""
        self._packet_sockets()
        self._lookups()
        self._softnet()
        self._children["sampler"].send({"command": "sample"})
        self._await([("sampler", "sampled")])
        for name in self._senders:
            self._children[name].send({"command": "start"})

    def end_measured(self) -> dict[str, dict[str, Any]]:
        """Mark its end: the last probes and messages are collected. Return what each sender says about itself."""
        for name in self._senders:
            self._children[name].may_exit = True
            self._children[name].send({"command": "stop"})
        lingering_s = max([linger_s(self._topology), *(told["linger_s"] for told in self._workload_senders.values())])
        self._await([(name, "stopped") for name in self._senders], READY_TIMEOUT_S + lingering_s)
        self._packet_sockets()
        self._lookups()
        self._softnet()
        return {
            name: {key: value for key, value in self._said[name]["stopped"].items() if key != "event"}
            for name in self._senders
        }

    def note_beginning(self) -> None:
        """Have a sample taken soon, with the threads of what has just been started in it."""
        self._children["sampler"].send({"command": "sample"})

    @property
    def _senders(self) -> list[str]:
        return [name for name in ("probes", *self._workload_senders) if name in self._children]

    def _hosts(self) -> dict[str, dict[str, Any]]:
        return {host.name: {"pid": self._network.pid_of(host.name), "ip": host.ip} for host in self._topology.hosts}

    def stop(self) -> dict[str, Any]:
        """Stop the sampler and return what it says about its own lateness."""
        self._children["sampler"].may_exit = True
        self._children["sampler"].send({"command": "stop"})
        self._await([("sampler", "stopped")])
        for name in self._workload_senders:
            self._children[name].send({"command": "stop"})
        return {name: value for name, value in self._said["sampler"]["stopped"].items() if name != "event"}

    def _packet_sockets(self) -> None:
        """Record the drops of every packet socket of the switches: losses of the emulator, not of the fabric."""
        text = run(["ss", "-0", "-m", "-n", "-p", "-H"]).stdout
        t_s = time.monotonic() - self._t0_s
        self._directory.append(
            SocketRow(t_s=t_s, process=drops.process, inode_or_port=drops.port, drops=drops.drops)
            for drops in packet_socket_drops(text)
        )

    def _lookups(self) -> None:
        """Record what the switches have looked up and lost by now; nothing when they do not answer at once.

        Whoever waits here does not see that they have been stopped, which is for the supervisor to say.
        """
        try:
            with Unixctl(self._vswitchd_pid, timeout_s=SWITCHES_TIMEOUT_S) as unixctl:
                text = unixctl.call("dpctl/show")
        except NetworkError as error:
            log.warning("lookups are not measured: %s", error)
            return
        t_s = time.monotonic() - self._t0_s
        self._directory.append(
            LookupRow(t_s=t_s, datapath=one.datapath, hit=one.hit, missed=one.missed, lost=one.lost)
            for one in datapath_lookups(text)
        )

    def _softnet(self) -> None:
        """Record what cores have dropped of what they received; nothing where the kernel does not say."""
        try:
            counts = softnet_counts(SOFTNET.read_text())
        except (OSError, ParseError) as error:
            log.warning("packets dropped by cores are not measured: %s", error)
            return
        t_s = time.monotonic() - self._t0_s
        self._directory.append(
            SoftnetRow(t_s=t_s, core=one.core, dropped=one.dropped, squeezed=one.squeezed) for one in counts
        )

    def _start(self, name: str, config: Mapping[str, Any], *, room: str = "measurement") -> None:
        path = Path(self._directory.raw, f"{name}.json")
        path.write_text(json.dumps(config))
        said = self._said[name]
        self._children[name] = self._supervisor.start(
            name,
            [sys.executable, "-m", f"testbed.{room}.{name}", "--config", str(path)],
            log_path=self._directory.raw / f"{name}.log",
            on_event=lambda event: said.__setitem__(event["event"], event),
        )

    def _await(self, awaited: list[tuple[str, str]], timeout_s: float = READY_TIMEOUT_S) -> None:
        def missing() -> list[str]:
            return [name for name, event in awaited if event not in self._said[name]]

        what = ", ".join(f"{name} to say {event!r}" for name, event in awaited)
        self._supervisor.run_until(lambda: not missing(), timeout_s, what, missing)
