"""One all-reduce from the interactive prompt: same ranks, same flows rules, no recording."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace

from testbed.errors import MachineError, Problem
from testbed.fabric.flowpath import PathTracer
from testbed.fabric.network import Network
from testbed.fabric.northbound import Northbound
from testbed.model.capacity import need
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.runs.plan import Plan
from testbed.system.limits import available_memory_bytes, cgroup_limits
from testbed.system.supervisor import Supervisor
from testbed.units import KIB, bytes_to_mbps, bytes_to_text
from testbed.workload.traffic import Job

JOB = "prompt"
WARMUP_BYTES = 256 * KIB  # opens the congestion windows
# whatever the scenario asks for, the prompt's all-reduce is one ring over every rank
RING = {
    "workload.kind": "allreduce_ring",
    "workload.jobs": 1,
    **dict.fromkeys(("workload.mice_only_s", "workload.collective", "workload.group_ranks", "workload.root")),
    "workload.training": None,
}


def allreduce_once(
    plan: Plan, network: Network, gsos: Northbound, tracer: PathTracer, size_bytes: int
) -> Iterator[str]:
    """Run one ring all-reduce over every rank of the plan and yield lines about it.

    Raises ScenarioError or MachineError when the size cannot be, WorkloadError or ControllerError when it cannot
    be finished; however it ends, its ranks end with it.
    """
    plan = replace(plan, scenario=_checked(override(plan.scenario, {**RING, "workload.size_bytes": size_bytes})))
    with Supervisor(t0_s=time.monotonic()) as supervisor:
        yield from _run(plan, network, gsos, tracer, supervisor)


def _checked(scenario: Scenario) -> Scenario:
    """Return the scenario if this machine has the memory for it."""
    needed, available = need(scenario).memory_bytes, available_memory_bytes(cgroup_limits())
    if needed > available:
        got, expected = f"about {needed / 1e6:,.0f} MB", f"at most {available / 1e6:,.0f} MB available"
        raise MachineError(Problem("more memory than this machine has", "size and ranks", got, expected))
    return scenario


def _run(plan: Plan, network: Network, gsos: Northbound, tracer: PathTracer, supervisor: Supervisor) -> Iterator[str]:
    ranks, size_bytes = plan.scenario.ranks, plan.scenario.workload.size_bytes
    job = Job(
        supervisor,
        network.enter_argv,
        hosts=plan.rank_hosts,
        pattern=plan.pattern,
        flows=plan.flows,
        t0_s=time.monotonic(),
        python=sys.executable,
        log_dir=plan.run_dir,
        pid_of=network.pid_of,
    )
    job.start_ranks()
    flows = [flow for pair in plan.flows for flow in pair]
    gsos.call("announce", job=JOB, flows=[asdict(flow) for flow in flows])
    try:
        job.connect()
        job.run_iteration(0, WARMUP_BYTES, plan.slice_bytes(WARMUP_BYTES), plan.iteration_timeout_s(WARMUP_BYTES))
        limit = plan.limit(size_bytes)
        yield f"all-reduce of {bytes_to_text(size_bytes)} over {ranks} ranks, ideal {limit.ideal_s:.2f} s ..."
        result = job.run_iteration(1, size_bytes, plan.slice_bytes(size_bytes), plan.iteration_timeout_s(size_bytes))
        busbw = bytes_to_mbps(plan.pattern.bus_factor * size_bytes, result.row.completion_s)
        yield (
            f"{result.row.completion_s:.3f} s, busbw {busbw:.2f} Mbit/s, {busbw / limit.busbw_limit_mbps:.1%} of the "
            f"limit ({limit.busbw_limit_mbps:.2f} Mbit/s), {result.row.wrong_elements} wrong elements"
        )
        yield from _conflicts(plan, tracer)
        job.stop()
    finally:
        gsos.call("withdraw", job=JOB)


def _conflicts(plan: Plan, tracer: PathTracer) -> Iterator[str]:
    """Say how the flows were spread, as the switches forward them."""
    uplinks: Counter[str] = Counter()
    for pair in plan.flows:
        for flow in pair:
            path = tracer.path_of(flow)
            source = plan.topology.host_by_ip(flow.src_ip)
            if path is not None and source is not None:
                uplinks[f"{plan.topology.leaves[source.leaf].name}>{plan.topology.path_name(path.up)}"] += 1
    crowded = {name: count for name, count in uplinks.items() if count > 1}
    if crowded:
        yield "uplinks with several flows: " + ", ".join(f"{name} {count}" for name, count in sorted(crowded.items()))
    elif uplinks:
        yield f"{len(uplinks)} uplinks carry one flow each"
