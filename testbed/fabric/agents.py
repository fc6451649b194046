"""GSP agents of a run: what each is told, started and asked."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testbed.agent.config import BrakeConfig, Config
from testbed.evaluation.agents import AgentStats
from testbed.gse.dataplane import wire
from testbed.gse.dataplane.place import Place, Where
from testbed.gse.dataplane.profile import Profile
from testbed.model.attachment import HEADROOM_BYTES, Attachment, leaf_pair, nic_intf
from testbed.model.hostqueue import host_queues, paused_bytes_per_s
from testbed.model.shaping import tbf_place
from testbed.model.topology import End, Topology
from testbed.model.topology import Host as TopologyHost
from testbed.system.process import Child
from testbed.system.supervisor import Supervisor
from testbed.units import GIB, mbps_to_bytes_per_s
from testbed.wire import frame_bytes

ANSWER_TIMEOUT_S = 20.0
MOST_RESTARTS = 3  # of one agent; what dies more often is not worth restarting
JOURNALS_MOST_BYTES = 4 * GIB  # of all agents of a run together
BUFFER_OVERHEAD = 4  # kernel memory per byte of a frame, as in testbed.fabric.network


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """One process: the agents of one leaf, each with the host whose namespace it belongs to (None: the switches')."""

    leaf: str
    agents: tuple[tuple[str | None, Config], ...]


def agent_processes(
    topology: Topology, *, attachment: Attachment, profile: Profile, passthrough: bool, seed: int, journal: bool = False
) -> list[AgentProcess]:
    """Return the processes a scheme needs. With agents in the hosts every leaf has one more that only watches.

    ``journal``: each is to keep one (``GspSpec.journal``); one that forwards untouched decides nothing to be kept.
    """
    if attachment == "none":
        return []
    maker = _Maker(topology, attachment, profile, passthrough, seed)
    found = []
    for leaf in topology.leaves:
        agents: list[tuple[str | None, Config]] = [(None, maker.leaf(leaf.index))]
        if attachment == "host":
            numbered = enumerate(topology.hosts)
            agents += [(host.name, maker.host(number)) for number, host in numbered if host.leaf == leaf.index]
        found.append(AgentProcess(leaf.name, tuple(agents)))
    return _with_journals(found) if journal and not passthrough else found


def _with_journals(processes: Sequence[AgentProcess]) -> list[AgentProcess]:
    most_bytes = JOURNALS_MOST_BYTES // sum(len(process.agents) for process in processes)
    return [
        replace(
            process,
            agents=tuple(
                (host, replace(config, journal=f"gsp-{config.name}.journal", journal_most_bytes=most_bytes))
                for host, config in process.agents
            ),
        )
        for process in processes
    ]


class _Maker:
    def __init__(
        self, topology: Topology, attachment: Attachment, profile: Profile, passthrough: bool, seed: int
    ) -> None:
        self._topology, self._attachment = topology, attachment
        self._profile, self._passthrough, self._seed = profile, passthrough, seed
        in_host = attachment == "host"
        self._hosts = {
            bytes.fromhex(host.mac.replace(":", "")): Where(
                wire.address(host.leaf + 1, host.port if in_host else 0), host.port
            )
            for host in topology.hosts
        }
        leaf_gsps = [wire.address(leaf + 1) for leaf in range(topology.fabric.leaves)]
        self._gsps = sorted({*leaf_gsps, *(where.gsp for where in self._hosts.values())})

    def leaf(self, leaf: int) -> Config:
        name = self._topology.leaves[leaf].name
        own = [host for host in self._topology.hosts if host.leaf == leaf and self._attachment == "leaf"]
        return self._config(
            name,
            wire.address(leaf + 1),
            leaf_pair(self._topology, leaf).agent_intf,
            {host.port: (End(name, host.port).intf, host) for host in own},
            watches_paths=not self._passthrough,
            uplinks=[End(name, self._topology.uplink_port(path)).intf for path in range(self._topology.fabric.paths)],
        )

    def host(self, number: int) -> Config:
        host = self._topology.hosts[number]
        gsp = wire.address(host.leaf + 1, host.port)
        return self._config(
            host.name, gsp, host.intf, {host.port: (nic_intf(host), host)}, watches_paths=False, uplinks=[]
        )

    def _config(
        self,
        name: str,
        gsp: int,
        fabric_intf: str,
        hosts: dict[int, tuple[str, TopologyHost]],
        *,
        watches_paths: bool,
        uplinks: Sequence[str],
    ) -> Config:
        fabric = self._topology.fabric
        rate = mbps_to_bytes_per_s(fabric.host_link_mbps)
        return Config(
            name=name,
            place=Place(
                gsp=gsp,
                ports=dict.fromkeys(hosts, rate),
                paths=fabric.paths,
                uplink_bytes_per_s=mbps_to_bytes_per_s(fabric.uplink_mbps),
                hosts=self._hosts,
                peers=[other for other in self._gsps if other != gsp],
                watches_paths=watches_paths,
            ),
            profile=self._profile,
            passthrough=self._passthrough,
            seed=self._seed,
            fabric_intf=fabric_intf,
            host_intfs={port: intf for port, (intf, _host) in hosts.items()},
            brakes={port: self._brake(host) for port, (_intf, host) in hosts.items()} if self._pauses else {},
            uplink_intfs=tuple(uplinks) if watches_paths else (),
            frame_bytes=frame_bytes(fabric.mtu_bytes) + HEADROOM_BYTES,
            buffer_bytes=min(BUFFER_OVERHEAD * fabric.queue_bytes * 2, 2**30 - 1),
        )

    @property
    def _pauses(self) -> bool:
        return not self._passthrough and self._profile.pauses_senders

    def _brake(self, host: TopologyHost) -> BrakeConfig:
        fabric = self._topology.fabric
        intf, setting = list(host_queues(fabric, host, self._attachment).items())[-1]
        parent, handle = tbf_place(setting)
        return BrakeConfig(
            host=host.name,
            intf=intf,
            parent=parent,
            handle=handle,
            rate_bytes_per_s=setting.rate_bytes_per_s,
            burst_bytes=setting.burst_bytes,
            paused_bytes_per_s=paused_bytes_per_s(setting, fabric, self._profile.limit_bytes),
            paused_burst_bytes=frame_bytes(fabric.mtu_bytes),
            limit_bytes=setting.limit_bytes,
        )


class Agents:
    """The running agents of one run."""

    def __init__(self, supervisor: Supervisor, pid_of: Callable[[str], int], raw_dir: Path) -> None:
        self._supervisor = supervisor
        self._pid_of = pid_of
        self._raw_dir = raw_dir
        self._said: dict[str, dict[str, Any]] = {}
        self._children: dict[str, Child] = {}
        self.names: list[str] = []  # the nodes the agents are named after: l1, h3

    @property
    def pids(self) -> list[int]:
        """Process ids of all agents' processes."""
        return [child.pid for child in self._children.values()]

    @property
    def core(self) -> str:
        """How their data plane is executed: ``compiled``, ``interpreted``; both when it is not the same everywhere."""
        return " and ".join(sorted({said["ready"]["core"] for said in self._said.values()}))

    def start(self, processes: Sequence[AgentProcess]) -> None:
        """Start every agent and return when each forwards; none is fine.

        Raises WorkloadError naming the one that does not.
        """
        for process in processes:
            configs = [self._placed(host, config) for host, config in process.agents]
            path = self._raw_dir / f"gsp-{process.leaf}.json"
            path.write_text(json.dumps({"agents": [config.to_json() for config in configs]}))
            self.names += [config.name for config in configs]
            self._start(process.leaf, restarts=0)
        self._await("ready")

    def _placed(self, host: str | None, config: Config) -> Config:
        """Return a configuration with what is known only here: the host's process, where journals go."""
        return replace(
            config,
            pid=None if host is None else self._pid_of(host),
            brakes={port: replace(brake, pid=self._pid_of(brake.host)) for port, brake in config.brakes.items()},
            journal=None if config.journal is None else str(self._raw_dir / config.journal),
        )

    def _start(self, leaf: str, restarts: int) -> None:
        """Start one process; if it dies it is started again, with a new epoch, and the run goes on."""
        argv = [sys.executable, "-m", "testbed.agent.gsp", "--config", str(self._raw_dir / f"gsp-{leaf}.json")]
        argv += ["--life", str(restarts + 1)]
        said = self._said[leaf] = {}
        self._children[leaf] = self._supervisor.start(
            "gsp",
            argv,
            name=f"gsp {leaf}",
            log_path=self._raw_dir / f"gsp-{leaf}.log",
            on_event=lambda event: said.__setitem__(event["event"], event),
            on_death="record" if restarts < MOST_RESTARTS else "fatal",
            after_death=lambda: self._start(leaf, restarts + 1),
        )

    def release_senders(self) -> None:
        """Let every paused sender go on, for good: what was to be measured is over, and settings are read back."""
        self._ask("release", "released")

    def revive(self) -> None:
        """Have a successor ready for each that has died while nobody waited for events. Raises as ``start`` does."""
        looked: list[bool] = []
        self._supervisor.call_at(time.monotonic(), lambda: looked.append(True))
        self._supervisor.run_until(lambda: bool(looked), ANSWER_TIMEOUT_S, "a look at the agents", list)
        self._await("ready")

    def stats(self, *, forget_waits: bool = False) -> AgentStats:
        """Return what the agents say of themselves now; ``forget_waits``: next time, waits are of later frames only."""
        self._ask("stats", "stats", forget_waits=forget_waits)
        answers = [self._said[leaf]["stats"] for leaf in self._children]
        return {
            "cpu_s": [one["cpu_s"] for one in answers],
            "timers_late": [{int(ms): times for ms, times in one["timers_late"].items()} for one in answers],
            "agents": [agent for one in answers for agent in one["agents"]],
        }

    def _ask(self, command: str, answer: str, **fields: object) -> None:
        """Have every agent's process answer; one that dies meanwhile does not, and its successor is asked."""
        asked: dict[str, Child] = {}

        def missing() -> list[Child]:
            for leaf, child in self._children.items():
                if asked.get(leaf) is not child and "ready" in self._said[leaf]:
                    self._said[leaf].pop(answer, None)
                    child.send({"command": command, **fields})
                    asked[leaf] = child
            return [
                child
                for leaf, child in self._children.items()
                if asked.get(leaf) is not child or answer not in self._said[leaf]
            ]

        self._supervisor.run_until(lambda: not missing(), ANSWER_TIMEOUT_S, f"{answer!r}", missing)

    def _await(self, event: str) -> None:
        def missing() -> list[Child]:
            return [child for leaf, child in self._children.items() if event not in self._said[leaf]]

        self._supervisor.run_until(lambda: not missing(), ANSWER_TIMEOUT_S, f"{event!r}", missing)
