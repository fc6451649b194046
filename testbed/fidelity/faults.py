"""Which interfaces do a run's faults excuse? Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from testbed.evaluation.records import RunRecord
from testbed.model.fault_spec import fault_targets


def faulted_intfs(run: RunRecord) -> set[str]:
    """Return the interfaces of links the scenario's faults are about: their losses are part of the scenario."""
    return _ends(run, (fault.target for fault in run.scenario.faults))


def broken_intfs(run: RunRecord, t_s: float = inf) -> set[str]:
    """Return the interfaces of links that something was done to by ``t_s`` and that have not been healed since.

    Told from the faults that were made: what a scenario plans for later than its end has changed nothing.
    """
    broken: set[str] = set()
    for fault in sorted(run.events_named("fault"), key=lambda event: float(event["t_s"])):
        if float(fault["t_s"]) > t_s:
            break
        ends = _ends(run, [str(fault["target"])])
        broken = broken - ends if fault["action"] == "heal" else broken | ends
    return broken


def _ends(run: RunRecord, targets: Iterable[str]) -> set[str]:
    """Return the interfaces at both ends of every link of the targets; none for what is no target of this fabric."""
    known = fault_targets(run.scenario.fabric)
    links = {link for target in targets for link in known.get(target, ())}
    return {end.intf for link in links for end in run.topology.link_ends(*link)}
