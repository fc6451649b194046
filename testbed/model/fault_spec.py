"""What may break in a scenario, what that does to links, and which links a target names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from testbed.fields import Spec
from testbed.model.fabric_spec import FabricSpec

FaultAction = Literal["fail", "silence", "slow", "heal"]
# What an action does to a link: nothing passes any more, it is worse than before, or as it was at first.
EFFECTS: Mapping[FaultAction, Literal["dead", "worse", "mended"]] = {
    "fail": "dead",
    "silence": "dead",
    "slow": "worse",
    "heal": "mended",
}
BREAKS: frozenset[FaultAction] = frozenset(action for action, effect in EFFECTS.items() if effect != "mended")
DEADLY: frozenset[FaultAction] = frozenset(action for action, effect in EFFECTS.items() if effect == "dead")


class FaultSpec(Spec):
    """Something that breaks or is mended while the measured iterations run."""

    t_s: float = Field(ge=0, description="seconds after the first measured iteration starts")
    action: FaultAction = Field(
        description="fail: take down (carrier lost); silence: lose every frame with the carrier up; "
        "slow: leave `fraction` of the rate; heal: undo all of these"
    )
    target: str = Field(description="a link like l1-s2 (all parallel links), l1-s2.2 (the second) or a spine like s2")
    fraction: float = Field(0.1, gt=0, lt=1, description="what slow leaves of the rate")


def fault_targets(fabric: FabricSpec) -> dict[str, tuple[tuple[int, int, int], ...]]:
    """Return every valid fault target with the (leaf, spine, parallel link) indices, 0-based, it covers."""
    targets: dict[str, tuple[tuple[int, int, int], ...]] = {}
    links = range(fabric.links_per_pair)
    for spine in range(fabric.spines):
        targets[f"s{spine + 1}"] = tuple((leaf, spine, k) for leaf in range(fabric.leaves) for k in links)
        for leaf in range(fabric.leaves):
            name = f"l{leaf + 1}-s{spine + 1}"
            targets[name] = tuple((leaf, spine, k) for k in links)
            for k in links:
                targets[f"{name}.{k + 1}"] = ((leaf, spine, k),)
    return targets
