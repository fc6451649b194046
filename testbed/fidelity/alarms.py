"""Did the GSP agents see what nobody planned? Pure."""

from __future__ import annotations

from typing import Final

from testbed.evaluation.program import measured_part
from testbed.evaluation.records import RunRecord
from testbed.fidelity.verdict import FabricEvidence, Finding, grade
from testbed.model.fault_spec import fault_targets
from testbed.model.schemes import profile_of

# what an agent counts -> what that means in a run that breaks nothing
ALARMS: Final = {
    "path_changes": "paths taken for dead or back",
    "watchdog_alarms": "queues that waited for grants in vain",
    "watchdog_drops": "frames dropped after waiting for grants in vain",
    "retransmitted": "frames sent again",
    "late": "frames that came twice, or after they were given up",
}
STRANGERS: Final = {"malformed": "malformed frames", "misdirected": "frames nobody of the run sends"}


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

    From so long before the first measured iteration (of a program: its first rank) that the path was not back when it
    began (counters of the measured time alone would miss that) to the end of the last one.
    """
    said = run.events_named("path_changes")
    during = measured_part(run)
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
