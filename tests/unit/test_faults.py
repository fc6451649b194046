"""Each action of a fault does what it says, and nothing else does."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from testbed.fabric.faults import apply_fault
from testbed.model.scenario import FabricSpec, FaultAction, FaultSpec
from testbed.model.topology import Topology


class FakeNetwork:
    """Remembers what was done to its links."""

    topology = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=1))

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []

    def set_links(self, links: object, *, up: bool) -> None:
        self.done.append(("links", up))

    def set_forwarding(self, links: object, *, on: bool) -> None:
        self.done.append(("forwarding", on))

    def set_rates(self, links: object, *, fraction: float) -> None:
        self.done.append(("rates", fraction))


DONE: dict[str, list[tuple[str, Any]]] = {
    "fail": [("links", False)],
    "silence": [("forwarding", False)],
    "slow": [("rates", 0.5)],
    "heal": [("rates", 1.0), ("forwarding", True), ("links", True)],
}


@pytest.mark.parametrize("action", get_args(FaultAction))
def test_an_action_does_what_it_says(action: FaultAction) -> None:
    network = FakeNetwork()
    apply_fault(network, FaultSpec(t_s=0, action=action, target="l1-s2", fraction=0.5))  # type: ignore[arg-type]
    assert network.done == DONE[action]


def test_an_action_nobody_wrote_heals_nothing() -> None:
    network = FakeNetwork()
    fault = FaultSpec.model_construct(t_s=0.0, action="flap", target="l1-s2", fraction=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing is known of the fault 'flap'"):
        apply_fault(network, fault)  # type: ignore[arg-type]
    assert network.done == []
