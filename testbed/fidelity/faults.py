"""Which interfaces do a run's faults excuse, and when? Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Window
from testbed.model.fault_spec import BREAKS, fault_targets

HEALED_S: Final = 0.5  # after a link was mended, until what waited for it and its bucket are as without a fault


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


def fault_spans(run: RunRecord) -> dict[str, list[Window]]:
    """Return interface -> from when to when its link was not as specified: from a fault to a moment after its heal."""
    spans: dict[str, list[Window]] = {}
    for fault in sorted(run.events_named("fault"), key=lambda event: float(event["t_s"])):
        at_s = float(fault["t_s"])
        over_s = inf if fault["action"] in BREAKS else float(fault.get("done_s", at_s)) + HEALED_S
        for intf in _ends(run, [str(fault["target"])]):
            before = spans.setdefault(intf, [])
            began_s = before.pop()[0] if before and before[-1][1] == inf else at_s  # a second fault, or the heal
            before.append((began_s, over_s))
    return spans


def _ends(run: RunRecord, targets: Iterable[str]) -> set[str]:
    """Return the interfaces at both ends of every link of the targets; none for what is no target of this fabric."""
    known = fault_targets(run.scenario.fabric)
    links = {link for target in targets for link in known.get(target, ())}
    return {end.intf for link in links for end in run.topology.link_ends(*link)}
