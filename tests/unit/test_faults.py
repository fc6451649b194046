"""Each action of a fault does what it says, and nothing else does; every place that must know an action does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from testbed.errors import NetworkError
from testbed.fabric.batch import Ready
from testbed.fabric.faults import apply_fault
from testbed.fabric.linkstate import set_interfaces
from testbed.model.fabric_spec import FabricSpec
from testbed.model.fault_spec import BREAKS, DEADLY, EFFECTS, FaultAction, FaultSpec
from testbed.model.topology import Topology
from testbed.prompt import interactive


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


def test_every_action_has_an_effect_and_is_at_the_prompt() -> None:
    actions = set(get_args(FaultAction))
    assert set(EFFECTS) == set(interactive.DONE) == actions
    assert {action for action in actions if hasattr(interactive.FabricCLI, f"do_{action}")} == actions


def test_a_link_that_is_slow_is_broken_but_not_dead() -> None:
    assert set(get_args(FaultAction)) - BREAKS == {"heal"}
    assert {"slow"} == BREAKS - DEADLY


def test_what_is_done_to_a_link_is_undone_by_heal() -> None:
    broken = {what for action in BREAKS for what, _how in DONE[action]}
    assert broken == {what for what, _how in DONE["heal"]}


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(NetworkError, match="cannot set gse-nobody down: .*No such device"):
        set_interfaces(["gse-nobody"], up=False)


def test_a_program_that_waits_does_what_it_is_told_when_it_is_told(tmp_path: Path) -> None:
    written = tmp_path / "written"
    ready = Ready(["tee", str(written)])
    ready.finish(["one", "two"])
    assert written.read_text() == "one\ntwo\n"
    with pytest.raises(NetworkError, match="sh refused a setting: no such thing"):
        Ready(["sh", "-c", "cat >/dev/null; echo no such thing >&2; exit 1"]).finish(["one"])
    with pytest.raises(NetworkError, match="cannot start gse-no-such-program"):
        Ready(["gse-no-such-program"])
