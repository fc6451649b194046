"""The fabric of a run, from its switches to its agents: built, read back, calibrated, and gone when the run is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from testbed.fabric import ovs
from testbed.fabric.agents import Agents
from testbed.fabric.controller import start_gsos, wait_ready
from testbed.fabric.network import Network
from testbed.fabric.northbound import Northbound
from testbed.measurement.calibrate import calibrate
from testbed.results.run_directory import RunDirectory
from testbed.runs.plan import Plan
from testbed.system.process import Child
from testbed.system.supervisor import Supervisor
from testbed.system.vigil import raised_by_end_of

Tell = Callable[..., None]  # the name of an event, and its fields by name


@dataclass(frozen=True)
class Fabric:
    """A running fabric."""

    daemons: ovs.Daemons
    gsos_process: Child
    gsos: Northbound
    network: Network
    agents: Agents


@contextmanager
def running_fabric(plan: Plan, supervisor: Supervisor, directory: RunDirectory, tell: Tell) -> Iterator[Fabric]:
    """Have a fabric with everything that belongs to it: switches, GSOS, hosts, links of the right rate, agents."""
    raw = directory.raw
    tell("phase", phase="switches")
    daemons = ovs.start_daemons(raw, plan.wake_interval_s)
    supervisor.watch_pid("ovsdb", daemons.ovsdb_pid, name="ovsdb-server")
    supervisor.watch_pid("vswitchd", daemons.vswitchd_pid, name="ovs-vswitchd")
    tell("phase", phase="controller")
    gsos_process, gsos = start_gsos(
        supervisor,
        plan.topology,
        scheme=plan.scheme,
        seed=plan.seed,
        settings=plan.scenario.gsos,
        raw_dir=raw,
    )
    tell("phase", phase="network")
    with _network(plan, daemons, directory) as network:
        for host, pid in network.host_pids().items():
            supervisor.watch_pid("host", pid, name=f"the shell that keeps {host}")
        enlarge_buffers(plan, daemons, network)
        tell("network", settings={**network.settings, "switch_wake_interval_s": daemons.wake_interval_s})
        wait_ready(supervisor, gsos)
        if plan.scenario.measure.calibrate:
            tell("phase", phase="calibration")
            directory.append(calibrate(plan.topology, network.host_pids()))
        yield Fabric(daemons, gsos_process, gsos, network, _start_agents(plan, supervisor, network, directory, tell))


def enlarge_buffers(plan: Plan, daemons: ovs.Daemons, network: Network) -> None:
    """Give the switches' packet sockets room where they have any: those of the kernel have not."""
    if plan.datapath == "userspace":
        ovs.enlarge_packet_buffers(daemons.vswitchd_pid, network.queue_space_bytes)


@contextmanager
def _network(plan: Plan, daemons: ovs.Daemons, directory: RunDirectory) -> Iterator[Network]:
    """Build and verify the network. What it waits for are the daemons: one that dies meanwhile ends the wait."""
    with ExitStack() as stack:
        with raised_by_end_of({"ovsdb-server": daemons.ovsdb_pid, "ovs-vswitchd": daemons.vswitchd_pid}):
            network = stack.enter_context(
                Network(
                    plan.topology,
                    datapath=plan.datapath,
                    attachment=plan.settings.attachment,
                    marking=plan.settings.grants,
                )
            )
            network.verify(directory.raw)
            if any(fault.action == "silence" for fault in plan.scenario.faults):
                network.prepare_silence()
        yield network


def _start_agents(plan: Plan, supervisor: Supervisor, network: Network, directory: RunDirectory, tell: Tell) -> Agents:
    """Start the scheme's GSP agents, if it has any; hosts reach each other from here on."""
    agents = Agents(supervisor, network.pid_of, directory.raw)
    if plan.agent_processes:
        tell("phase", phase="agents")
        agents.start(plan.agent_processes)
        tell("agents_started", processes=len(agents.pids), core=agents.core)
    return agents
