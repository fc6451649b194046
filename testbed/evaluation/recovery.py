"""How long GSPs used a path after it broke. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.evaluation.records import RunRecord
from testbed.model.scenario import DEADLY, fault_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A fault and when the first and the last GSP had left all its paths, in s; None: not that anybody saw."""

    t_s: float
    action: str
    target: str
    first_s: float | None
    last_s: float | None


def recoveries(run: RunRecord) -> tuple[Recovery, ...]:
    """Return one value per deadly fault; nothing for schemes whose GSPs, if any, look at no paths.

    From the moment the fault was begun to be made, so making it (some ms) is included.
    """
    said = run.events_named("path_changes")
    if not said:
        return ()
    return tuple(
        _recovery(run, float(event["t_s"]), str(event["action"]), str(event["target"]), said[-1])
        for event in run.events_named("fault")
        if event["action"] in DEADLY
    )


def _recovery(run: RunRecord, fault_s: float, action: str, target: str, said: object) -> Recovery:
    assert isinstance(said, dict)
    links = {
        (leaf + 1, run.topology.path_id(spine, link) + 1)
        for leaf, spine, link in fault_targets(run.scenario.fabric)[target]
    }
    left_s: dict[tuple[str, int, int], float] = {}
    for change in said["changes"]:
        key = (str(change["gsp"]), int(change["leaf"]), int(change["path"]))
        if key[1:] in links and not change["up"] and change["t_s"] >= fault_s:
            left_s.setdefault(key, float(change["t_s"]) - fault_s)
    wanted = {(str(gsp), *link) for gsp in said["gsps"] for link in links}
    return Recovery(
        t_s=fault_s,
        action=action,
        target=target,
        first_s=min(left_s.values(), default=None),
        last_s=max(left_s.values()) if wanted and wanted <= left_s.keys() else None,
    )
