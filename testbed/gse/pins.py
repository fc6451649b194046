"""Flows GSOS has placed, and the rules that hold them on their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from testbed.gse.fractions import ExpectedLoad
from testbed.gse.load import LinkId, links_of_path
from testbed.gse.policy import PRIORITY_PINNED, FlowKey
from testbed.gse.rulebook import RuleBook, flow_match, reverse_of
from testbed.model.ranks import Flow
from testbed.model.rules import FirstLive, Output, Rule
from testbed.model.scheme_spec import Repair
from testbed.model.topology import Topology

# An unannounced flow that is silent for this long is forgotten; if it resumes, it goes by hash.
IDLE_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A placed flow. With ``both_ways`` the reverse direction (TCP's acknowledgements) takes the same path."""

    flow: Flow
    src_leaf: int
    dst_leaf: int
    path: int  # where it is
    home: int  # where it belongs while every link is well
    weight: ExpectedLoad
    job: str | None  # None: nobody announced it
    both_ways: bool
    turn: int  # where its list of alternative paths begins, so that a failure spreads flows
    placed_s: float  # when it was last put on a path
    reason: str

    def directions(self) -> tuple[tuple[Flow, int, int], ...]:
        """Return (flow, source leaf, destination leaf) of the flow and, with ``both_ways``, of its reverse."""
        forward = (self.flow, self.src_leaf, self.dst_leaf)
        return (forward, (reverse_of(self.flow), self.dst_leaf, self.src_leaf)) if self.both_ways else (forward,)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value that ``pin_from_json`` reads."""
        return asdict(self)


def pin_from_json(value: Mapping[str, Any]) -> Pin:
    """Rebuild a pin; KeyError or TypeError when the value is something else."""
    return Pin(**{**value, "flow": Flow(**value["flow"])})


class PinTable:
    """All pins by flow, kept in step with the rules in a ``RuleBook``; ``repair``: who leaves a dead uplink."""

    def __init__(self, topology: Topology, book: RuleBook, *, repair: Repair = "local") -> None:
        self._topology = topology
        self._repair = repair
        self._book = book
        self._pins: dict[FlowKey, Pin] = {}
        self._on_link: dict[LinkId, dict[FlowKey, Pin]] = {}

    def __iter__(self) -> Iterator[Pin]:
        return iter(tuple(self._pins.values()))

    def __len__(self) -> int:
        return len(self._pins)

    def get(self, flow: Flow) -> Pin | None:
        """Return the pin of exactly this flow."""
        return self._pins.get(flow.key)

    def covers(self, flow: Flow) -> bool:
        """Return whether a rule holds this flow, as a pin of its own or as the reverse of one."""
        reverse = self._pins.get(reverse_of(flow).key)
        return flow.key in self._pins or (reverse is not None and reverse.both_ways)

    def on_link(self, link: LinkId) -> tuple[Pin, ...]:
        """Return the pins one of whose directions crosses a link direction."""
        return tuple(self._on_link.get(link, {}).values())

    def expected(self, link: LinkId) -> ExpectedLoad:
        """Return the sum of the weights on a link direction (reverse directions are not expected to weigh)."""
        weights = (pin.weight for key, pin in self._on_link.get(link, {}).items() if key == pin.flow.key)
        return ExpectedLoad(sum(weights))

    def put(self, pin: Pin) -> None:
        """Add a pin, or replace the one of the same flow."""
        before = self._pins.get(pin.flow.key)
        if before is not None:
            self._unlink(before)
            if before.both_ways and not pin.both_ways:
                self._drop_reverse(before)
        self._pins[pin.flow.key] = pin
        for flow, src_leaf, dst_leaf in pin.directions():
            for link in links_of_path(src_leaf, dst_leaf, pin.path):
                self._on_link.setdefault(link, {})[flow.key] = pin
        leaves = self._topology.leaves
        self._book.put(leaves[pin.src_leaf].dpid, self._rule(pin, pin.flow))
        if pin.both_ways:
            self._book.put(leaves[pin.dst_leaf].dpid, self._rule(pin, reverse_of(pin.flow)))

    def remove(self, flow: Flow) -> Pin | None:
        """Drop the pin of this flow and its rules; None when there is none."""
        pin = self._pins.pop(flow.key, None)
        if pin is not None:
            self._unlink(pin)
            self._book.drop(self._topology.leaves[pin.src_leaf].dpid, (PRIORITY_PINNED, flow_match(pin.flow)))
            if pin.both_ways:
                self._drop_reverse(pin)
        return pin

    def preference(self, pin: Pin) -> list[int]:
        """Return the pin's path, then every other, in the order the switch tries them when ports are dead."""
        others = [path for path in range(self._topology.fabric.paths) if path != pin.path]
        first = pin.turn % len(others) if others else 0
        return [pin.path, *others[first:], *others[:first]]

    def _unlink(self, pin: Pin) -> None:
        for flow, src_leaf, dst_leaf in pin.directions():
            for link in links_of_path(src_leaf, dst_leaf, pin.path):
                del self._on_link[link][flow.key]

    def _drop_reverse(self, pin: Pin) -> None:
        identity = (PRIORITY_PINNED, flow_match(reverse_of(pin.flow)))
        self._book.drop(self._topology.leaves[pin.dst_leaf].dpid, identity)

    def _rule(self, pin: Pin, flow: Flow) -> Rule:
        ports = tuple(self._topology.uplink_port(path) for path in self.preference(pin))
        action = FirstLive(ports) if self._repair == "local" else Output(ports[0])
        timeout_s = IDLE_TIMEOUT_S if pin.job is None else 0
        return Rule(PRIORITY_PINNED, flow_match(flow), (action,), idle_timeout_s=timeout_s)
