"""What is beside a run's workload: instruments that watch it, other traffic, faults."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from random import Random
from typing import Any

from testbed.fabric.faults import schedule_faults
from testbed.fabric.readback import differences
from testbed.results.run_directory import RunDirectory
from testbed.runs.instruments import Instruments
from testbed.runs.plan import Plan
from testbed.runs.running_fabric import Fabric, Tell
from testbed.system.supervisor import Supervisor
from testbed.workload.background import Elephants, plan_elephants
from testbed.workload.replay_files import UNMAPPED_FILE


class Surroundings:
    """Starts and ends it all, in the order of its methods; ``tell`` hears what happens, and what each says at last."""

    def __init__(
        self, plan: Plan, fabric: Fabric, supervisor: Supervisor, directory: RunDirectory, t0_s: float, tell: Tell
    ) -> None:
        self._plan = plan
        self._fabric = fabric
        self._supervisor = supervisor
        self._raw_dir = directory.raw
        self._t0_s = t0_s
        self._tell = tell
        self._instruments = Instruments(
            plan.scenario,
            plan.topology,
            fabric.network,
            supervisor,
            directory,
            t0_s,
            plan.senders,
            vswitchd_pid=fabric.daemons.vswitchd_pid,
        )
        planned = plan_elephants(plan.scenario.background, plan.topology.hosts, Random(f"{plan.seed}/background"))
        self._elephants = Elephants(supervisor, fabric.network.enter_argv, planned, directory.raw)

    def start_instruments(self, roles: Mapping[int, str]) -> None:
        """Start what watches the run; ``roles``: of processes that are not the fabric's."""
        daemons, gsos_process = self._fabric.daemons, self._fabric.gsos_process
        own = {daemons.vswitchd_pid: "vswitchd", daemons.ovsdb_pid: "ovsdb", gsos_process.pid: "gsos"}
        own.update(dict.fromkeys(self._fabric.agents.pids, "gsp"))
        self._instruments.start({**own, **roles, os.getpid(): "runner"})

    def begin_measured(self) -> None:
        """Mark the start of the measured part: probes and what is sent beside the ranks go out from now on."""
        self._instruments.begin_measured()

    def start_background(self) -> None:
        """Start the elephants and return when all of them are established."""
        self._elephants.start()

    def schedule_faults(self) -> None:
        """Arrange for every fault to happen, counted from now."""
        schedule_faults(
            self._plan.scenario.faults,
            start_s=time.monotonic(),
            network=self._fabric.network,
            supervisor=self._supervisor,
            record=self._record_fault,
        )

    def note_beginning(self) -> None:
        """Have a sample taken soon, with the threads of what has just been started in it."""
        self._instruments.note_beginning()

    def end(self) -> None:
        """End it all, release senders that agents hold back, and read every setting back again."""
        for result in self._elephants.stop():
            self._tell("background", **asdict(result))
        self._end_senders()
        self._tell("sampler_stopped", **self._instruments.stop())
        self._fabric.agents.release_senders()
        after = self._raw_dir / "after"
        after.mkdir()
        self._tell("read_back", differences=differences(self._fabric.network, after))

    def _end_senders(self) -> None:
        """End what sends beside the ranks, and tell what each says; of a capture also how much of it was not sent."""
        for name, said in self._instruments.end_measured().items():
            self._tell(f"{name}_stopped", **said)
            if unmapped := said.get("unmapped"):
                number, why = said["unmapped_frames"][0]
                whole = f"raw/{UNMAPPED_FILE} has them all"
                self._tell("warning", message=f"{unmapped} frames are not sent, e.g. {number}: {why}; {whole}")
            if unsent := said.get("unsent"):
                when = f"the run was over before they were due ({unsent + said['sent']} were to be sent)"
                self._tell("warning", message=f"{unsent} frames of the capture were not sent: {when}")

    def _record_fault(self, done: dict[str, Any]) -> None:
        began_s, done_s = done.pop("began_s"), done.pop("done_s")
        self._tell(**{**done, "t_s": round(began_s - self._t0_s, 6), "done_s": round(done_s - self._t0_s, 6)})
