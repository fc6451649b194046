"""How long GSPs used a path after it broke. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from math import inf

from testbed.evaluation.records import RunRecord
from testbed.model.fault_spec import DEADLY, fault_targets
from testbed.model.topology import Topology

_Use = tuple[str, int, int]  # a GSP, and the leaf and the path it uses, both 1-based


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A fault and when the first and the last GSP had left all its paths, in s; None: not that anybody saw.

    ``local_s`` is the last of those GSPs that send over the broken links themselves: the links' own leaves' and, at the
    host, those of these leaves' hosts. All others have to be told, over links that are busy.
    """

    t_s: float
    action: str
    target: str
    first_s: float | None
    local_s: float | None
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
    links = dict.fromkeys(_links_of(run, target), inf)  # when each is mended
    for event in run.events_named("fault"):
        if event["action"] == "heal" and float(event["t_s"]) > fault_s:
            links |= {
                link: min(links[link], float(event["t_s"]))
                for link in _links_of(run, str(event["target"])) & links.keys()
            }
    left_s: dict[_Use, float] = {}
    before: set[_Use] = set()  # uses that had ended when the fault was made, after an earlier one
    for change in said["changes"]:
        key = (str(change["gsp"]), int(change["leaf"]), int(change["path"]))
        mended_s = links.get(key[1:])
        if mended_s is None:
            continue
        if change["up"] and change["t_s"] < mended_s:
            before.discard(key)  # in use again while it is broken
        elif not change["up"] and fault_s <= change["t_s"] <= mended_s:
            left_s.setdefault(key, float(change["t_s"]) - fault_s)
        elif not change["up"] and change["t_s"] < fault_s:
            before.add(key)
    wanted = {(str(gsp), *link) for gsp in said["gsps"] for link in links}
    known_s = {**dict.fromkeys(before, 0.0), **left_s}
    return Recovery(
        t_s=fault_s,
        action=action,
        target=target,
        first_s=min(left_s.values(), default=None),
        local_s=_last_s(known_s, {key for key in wanted if _leaf_of(run.topology, key[0]) == key[1]}),
        last_s=_last_s(known_s, wanted),
    )


def _links_of(run: RunRecord, target: str) -> set[tuple[int, int]]:
    """Return leaf and path, both 1-based, of every link of a fault's target. Raises KeyError for what is none."""
    links = fault_targets(run.scenario.fabric)[target]
    return {(leaf + 1, run.topology.path_id(spine, link) + 1) for leaf, spine, link in links}


def _last_s(left_s: Mapping[_Use, float], wanted: Set[_Use]) -> float | None:
    """Return when the last wanted use of a path had ended; None while one goes on, or for none."""
    return max(left_s[use] for use in wanted) if wanted and wanted <= left_s.keys() else None


def _leaf_of(topology: Topology, gsp: str) -> int:
    """Return the 1-based leaf a GSP, named after its leaf or its host, sends through."""
    own = {leaf.name: leaf.index for leaf in topology.leaves} | {host.name: host.leaf for host in topology.hosts}
    return own[gsp] + 1
