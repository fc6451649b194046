"""Did the GSP agents see what nobody planned? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.records import RunRecord
from testbed.fidelity.verdict import Evidence, FabricEvidence, Finding, grade, percent_limits
from testbed.fidelity.waiting import START_UP_FRAMES, START_UP_S, STEP_S, waiting_share
from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.model.fault_spec import fault_targets
from testbed.model.schemes import profile_of
from testbed.model.wire import frame_bytes
from testbed.units import mbps_to_bytes_per_s

# what an agent counts -> what that means in a run that breaks nothing
ALARMS: Final = {
    "path_changes": "paths taken for dead or back",
    "watchdog_alarms": "queues that waited for grants in vain",
    "watchdog_drops": "frames dropped after waiting for grants in vain",
    "retransmitted": "frames sent again",
    "late": "frames that came twice, or after they were given up",
}
STRANGERS: Final = {"malformed": "malformed frames", "misdirected": "frames nobody of the run sends"}
# A rank that waits has an empty queue, so what it sends then has to ask first. Measured at 10 Mbit/s: a slice takes 4
# to 6 ms from rank to rank under both schemes where bytes take none, 1 ms without agents.
ASK_S: Final = 0.006


def check_agents(evidence: FabricEvidence) -> Finding | None:
    """Agents met no frame of a stranger, and, in a scenario without faults, no failure."""
    said = evidence.run.events_named("agents")
    if not said or evidence.run.settings.passthrough:
        return None
    wanted = STRANGERS if evidence.run.scenario.faults else {**ALARMS, **STRANGERS}
    seen = {name: int(said[-1][name]) for name in wanted if said[-1][name]}
    shown = ", ".join(f"{count} {wanted[name]}" for name, count in seen.items())
    if "path_changes" not in seen and (healthy := healthy_left(evidence.run)):
        seen["healthy"] = len(healthy)
        shown = ", ".join(filter(None, [shown, f"{len(healthy)} healthy paths taken for dead ({', '.join(healthy)})"]))
    return grade("agents", sum(seen.values()), f"the agents met what the scenario does not have: {shown}")


def healthy_left(run: RunRecord) -> list[str]:
    """Return which GSPs left paths that no fault of the run was about, as ``l3: path 2 of l1``.

    From so long before the first measured iteration that the path was not back when it began (counters of the measured
    time alone would miss that) to the end of the last one.
    """
    said = run.events_named("path_changes")
    during = windows(measured(run.tables.iterations))
    if not said or not during:
        return []
    broken = {
        (leaf + 1, run.topology.path_id(spine, link) + 1)
        for fault in run.scenario.faults
        for leaf, spine, link in fault_targets(run.scenario.fabric)[fault.target]
    }
    restore_s = profile_of(run.scheme, run.scenario.fabric, run.scenario.gsp).restore_s
    first_s, last_s = min(start for start, _end in during) - restore_s, max(end for _start, end in during)
    return [
        f"{change['gsp']}: path {change['path']} of l{change['leaf']}"
        for change in said[-1]["changes"]
        if not change["up"] and first_s <= change["t_s"] <= last_s and (change["leaf"], change["path"]) not in broken
    ]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How far a run is below what grants allow, and how much of that its start explains; fractions."""

    allowed: float
    short: float
    start_up: float

    @property
    def unexplained(self) -> float:
        """What the start does not explain."""
        return self.short - self.start_up


def shortfall(evidence: Evidence) -> Shortfall | None:
    """Return how far below what grants allow; None where they do not allow every host its link's whole rate."""
    run, metrics = evidence.run, evidence.metrics
    scenario, fabric, settings = run.scenario, run.scenario.fabric, run.settings
    profile = profile_of(run.scheme, fabric, scenario.gsp)
    if not settings.grants:
        return None
    if scenario.faults or scenario.is_disturbed or not scenario.workload.in_step:
        return None
    if (fabric.delay_ms, fabric.loss_fraction) != (None, None):
        return None
    if fabric.hosts_per_leaf * fabric.host_link_mbps > fabric.paths * fabric.uplink_mbps:
        return None  # grants are for hosts' links, not for uplinks that are shared
    if metrics.efficiency is None or not metrics.completion_s:
        return None
    frame = frame_bytes(fabric.mtu_bytes)
    rate = mbps_to_bytes_per_s(min(fabric.host_link_mbps, fabric.uplink_mbps))
    start_up = (START_UP_S + START_UP_FRAMES * frame / rate + ASK_S) / metrics.completion_s
    start_up += waiting_share(evidence, step_s=STEP_S + ASK_S)
    allowed = profile.pacing * frame / (frame + OVERHEAD_BYTES)
    return Shortfall(allowed, 1 - metrics.efficiency / allowed, start_up)


def check_short_of_grants(evidence: Evidence) -> Finding | None:
    """Not far below what grants allow. A scheme may be the reason as well as the machine: never more than a doubt."""
    found = shortfall(evidence)
    if found is None:
        return None
    return grade(
        "short_of_grants",
        found.unexplained,
        f"{found.short:.1%} slower than grants allow ({found.allowed:.3f}); start-up explains {found.start_up:.1%} "
        f"(beyond that {percent_limits('short_of_grants')})",
    )
