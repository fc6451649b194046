"""One run, inside its capsule: build, verify, calibrate, move traffic, record. Reads like prose.

    python -m testbed.runs.experiment PLAN.json

Prints one JSON line per step on stdout for ``testbed.runs.campaign``; ends when its stdin closes. Turning raw
records into a summary and a verdict happens outside, when the capsule is gone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from testbed.errors import ControllerError, WorkloadError
from testbed.evaluation.agents import AgentStats, agent_totals, journals_stopped, lost_in_fabric, path_changes
from testbed.evaluation.records import FlowRow
from testbed.fabric.agents import Agents
from testbed.fabric.flowpath import PathTracer
from testbed.fabric.network import Network
from testbed.fabric.northbound import Northbound
from testbed.fabric.settings import CONGESTION_CONTROL
from testbed.fabric.unixctl import Unixctl
from testbed.model.oracle import path_name
from testbed.results.json_files import write_json
from testbed.results.run_directory import RunDirectory
from testbed.runs.authority import Authority
from testbed.runs.first_process import Emit, run_capsule, told_at_once
from testbed.runs.plan import Plan
from testbed.runs.running_fabric import Fabric, enlarge_buffers, running_fabric
from testbed.runs.surroundings import Surroundings
from testbed.system.process import Child, Process
from testbed.system.supervisor import Supervisor
from testbed.wire import tcp_payload_bytes
from testbed.workload.traffic import ANSWER_TIMEOUT_S, IterationResult, Job, flows_between


class Experiment:
    """One run in progress. ``execute`` is the story; the other methods are its steps."""

    told_elsewhere: frozenset[str] = frozenset()  # roles whose deaths have events of their own

    def __init__(self, plan: Plan, emit: Emit) -> None:
        self.plan = plan
        self.t0_s = time.monotonic()
        self.directory = RunDirectory(plan.run_dir)
        self.supervisor = Supervisor(t0_s=self.t0_s)
        self.supervisor.on_behind = self._tell_of_one_behind
        self._emit = emit
        self._jobs: dict[str, int] = {}  # of GSOS once all of ours are announced
        self._agent_rounds: list[tuple[AgentStats, AgentStats]] = []  # before and after each time that is measured

    def emit(self, event: str, **fields: Any) -> None:
        """Report something that happened, now unless ``t_s`` says when."""
        self._emit({"event": event, "t_s": round(time.monotonic() - self.t0_s, 6), **fields})

    def execute(self) -> None:
        """Do the whole run. Raises TestbedError with the reason when it cannot be finished."""
        with self.supervisor:
            with (
                running_fabric(self.plan, self.supervisor, self.directory, self.emit) as fabric,
                told_at_once(self.emit),
            ):
                job = self._start_ranks(fabric.network, fabric.gsos)
                # again: the switches' sending socket exists only now
                enlarge_buffers(self.plan, fabric.daemons, fabric.network)
                fabric.gsos_process.on_death = "record"  # from here on the fabric forwards without it
                surroundings = self._start_instruments(fabric, dict.fromkeys(job.pids.values(), "rank"))
                self._warm_up(job)
                self._measure(job, fabric, surroundings)
                silence = self._keep_gsos_story(fabric.gsos)
                self.supervisor.look_for_stops()
                self.phase("stop")
                job.stop()
            self._tell_of_stops_and_deaths(fabric.gsos_process, silence)

    def _start_instruments(self, fabric: Fabric, roles: Mapping[int, str]) -> Surroundings:
        """Start what watches the run and return all that is beside it; ``roles``: of the workload's processes."""
        found = Surroundings(self.plan, fabric, self.supervisor, self.directory, self.t0_s, self.emit)
        found.start_instruments(roles)
        return found

    def _tell_of_stops_and_deaths(self, gsos_process: Child, silence: dict[str, Any] | None) -> None:
        """Report what the run went on without; ``silence``: how GSOS fell silent, None if it did not."""
        for process, noticed_s in self.supervisor.stops.items():
            looks = self.supervisor.stop_counts[process]
            self.emit(
                "process_stopped", role=process.role, name=str(process), noticed_s=round(noticed_s, 6), looks=looks
            )
        for death in self.supervisor.deaths:
            if death.role not in self.told_elsewhere:
                self.emit(
                    "process_died", role=death.role, name=death.name, pid=death.pid, how=death.how, died_s=death.t_s
                )
        if silence is not None and not self._gsos_died():
            self.emit("process_died", role="gsos", name="gsos", pid=gsos_process.pid, **silence)

    def _tell_of_one_behind(self, process: Process, t_s: float) -> None:
        message = f"{process} is stopped again and again (SIGSTOP or a debugger): it falls behind"
        self.emit("process_behind", role=process.role, name=str(process), noticed_s=round(t_s, 6), message=message)

    def phase(self, name: str) -> None:
        """Tell the user what happens now."""
        self.emit("phase", phase=name)

    def _start_ranks(self, network: Network, gsos: Northbound) -> Job:
        self.phase("ranks")
        plan = self.plan
        job = Job(
            self.supervisor,
            network.enter_argv,
            hosts=plan.rank_hosts,
            pattern=plan.pattern,
            flows=plan.flows,
            t0_s=self.t0_s,
            python=sys.executable,
            log_dir=self.directory.raw,
            pid_of=network.pid_of,
            patience=plan.patience,
            # frame by frame where pauses are to be measured, else slice by slice: cheaper
            wake_bytes=tcp_payload_bytes(plan.scenario.fabric.mtu_bytes) if plan.scenario.faults else None,
        )
        job.start_ranks()
        if plan.scenario.workload.announce:
            for number, (name, flows) in enumerate(plan.announcements.items(), start=1):
                answer = gsos.call("announce", job=name, flows=[asdict(flow) for flow in flows])
                file = f"announced{'' if number == 1 else f'-{number}'}.json"
                write_json(self.directory.raw / file, {"job": name, "answer": answer})
            self._jobs = gsos.call("status")["jobs"]
        job.connect()
        if job.congestion_control != {CONGESTION_CONTROL}:
            raise WorkloadError(
                f"ranks use congestion control {sorted(job.congestion_control)}, expected {CONGESTION_CONTROL}"
            )
        if plan.scheme == "gse1" and plan.scenario.gsos.authorise and plan.scenario.workload.announce:
            authority = Authority(
                gsos,
                job,
                self.supervisor,
                announcements=plan.announcements,
                flows=plan.flows,
                fabric=plan.scenario.fabric,
                record=lambda told: self.emit(**told),
            )
            authority.follow(plan.scenario.gsos.poll_interval_s)
        return job

    def _warm_up(self, job: Job) -> None:
        self.phase("warm-up")
        for iteration in range(self.plan.scenario.workload.warmup_iterations):
            self._iterate(job, iteration, self.plan.warmup_size_bytes)

    def _measure(self, job: Job, fabric: Fabric, surroundings: Surroundings) -> None:
        self.phase("measurement")
        work = self.plan.scenario.workload
        before = job.tcp_info()
        surroundings.begin_measured()
        surroundings.start_background()
        surroundings.schedule_faults()
        first = work.warmup_iterations
        for iteration in range(first, first + work.iterations):
            self._iterate(job, iteration, work.bulk_bytes, measured_of=fabric.agents)
        self.phase("evaluation")
        with Unixctl(fabric.daemons.vswitchd_pid) as unixctl:
            self._store_flows(flows_between(before, job.tcp_info()), PathTracer(self.plan.topology, unixctl))
        self._store_agents(fabric.agents.stats())
        surroundings.end()

    def _iterate(self, job: Job, iteration: int, size_bytes: int, *, measured_of: Agents | None = None) -> None:
        """Run an iteration; one that is measured says whose agents' counters are to be of it, others are warm-up."""
        warmup = measured_of is None
        counted: AbstractContextManager[None] = nullcontext() if measured_of is None else self._counted(measured_of)
        alone_s = None if warmup else self.plan.scenario.workload.mice_only_s
        with nullcontext() if alone_s is None else counted:
            result = job.run_iteration(
                iteration,
                size_bytes,
                self.plan.slice_bytes(size_bytes),
                timeout_s=self.plan.iteration_timeout_s(size_bytes),
                warmup=warmup,
                while_moving=counted if alone_s is None else None,
            )
            if alone_s is not None:
                result = self._prolonged(result, alone_s)
        self.directory.append(result.rows)
        self.emit("iteration", iteration=iteration, warmup=warmup, completion_s=result.row.completion_s)

    def _prolonged(self, result: IterationResult, duration_s: float) -> IterationResult:
        """Let an iteration in which no bulk is moved last ``duration_s``, while small messages go on."""
        end_s, over = result.row.start_s + duration_s, threading.Event()
        self.supervisor.call_at(self.t0_s + end_s, over.set)
        self.supervisor.run_until(over.is_set, duration_s + ANSWER_TIMEOUT_S, "the time to pass", lambda: ["clock"])
        return replace(result, row=replace(result.row, end_s=end_s, completion_s=duration_s))

    def _store_flows(self, rows: Sequence[FlowRow], tracer: PathTracer) -> None:
        """Store the flows with the path each takes at the end, as the switches say."""
        flows = [flow for pair in self.plan.flows for flow in pair]
        stored = []
        for row, flow in zip(rows, flows, strict=True):
            # what agents carry takes every path, so no flow has one of its own
            traced = self.plan.settings.attachment == "none"
            path = tracer.path_of(flow) if traced else None
            stored.append(replace(row, path=None if path is None else path_name(self.plan.topology, path)))
        self.directory.append(stored)

    @contextmanager
    def _counted(self, agents: Agents) -> Iterator[None]:
        """Have what the GSP agents do meanwhile, and only that, in what is told of them."""
        before = agents.stats(forget_waits=not self._agent_rounds)  # those of the warm-up
        yield
        self._agent_rounds.append((before, agents.stats()))

    def _store_agents(self, after: AgentStats) -> None:
        """Store what the GSP agents counted while it was measured, tell the differences, and what they say now."""
        if after["agents"]:
            rounds = [{"before": early, "after": late} for early, late in self._agent_rounds]
            write_json(self.directory.raw / "gsp-stats.json", {"measured": rounds, "end": after})
            self.emit("agents", **agent_totals(self._agent_rounds), lost_in_fabric=lost_in_fabric(after))
            changes = path_changes(after, self.t0_s)
            if changes:
                self.emit("path_changes", gsps=[one["name"] for one in after["agents"]], changes=changes)
            for stopped in journals_stopped(after):
                self.emit("journal_stopped", **stopped)

    def _gsos_died(self) -> bool:
        return any(death.role == "gsos" for death in self.supervisor.deaths)

    def _keep_gsos_story(self, gsos: Northbound) -> dict[str, Any] | None:
        """Store what GSOS decided and when; return how and since when a living GSOS is silent."""
        if self._gsos_died():
            return None
        try:
            answers = {method: gsos.call(method) for method in ("placement", "events", "status")}
            for method, answer in answers.items():
                write_json(self.directory.raw / f"gsos-{method}.json", {"answer": answer})
            self.emit("gsos_jobs", before=self._jobs, after=answers["status"]["jobs"])
        except ControllerError as error:
            return {"how": str(error), "died_s": round(time.monotonic() - self.t0_s, 6)}
        finally:
            gsos.close()
        return None


def main(plan_path: str) -> int:
    """Run the plan and return the exit status."""
    return run_capsule(lambda emit: Experiment(Plan.read(Path(plan_path)), emit).execute())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
