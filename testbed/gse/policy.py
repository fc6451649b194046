"""What every scheme decides, as seen by GSOS: events in, decisions and wanted rules out.

A policy never sends anything. The app (``apps/gsos.py``) tells it what happened, then compares the
rules it wants on each switch with those installed and sends the difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from testbed.model.ranks import Flow
from testbed.model.rules import Rule

# Rules of one switch, higher first. Flows GSOS has placed win over the general rules below them.
PRIORITY_PINNED = 400
PRIORITY_FIRST_PACKET = 300
PRIORITY_HOST = 200
PRIORITY_SPREAD = 100

FlowKey = tuple[str, str, int, int, int]  # Flow.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Something GSOS decided, and why; ``t_s`` is monotonic."""

    t_s: float
    kind: str  # link down, link up, placed, moved, rerouted, restored, stranded, expired, withdrawn
    subject: str
    action: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for the northbound interface and the log."""
        return {
            "t_s": self.t_s,
            "event": self.kind,
            "subject": self.subject,
            "action": self.action,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCounter:
    """A switch port's transmit counter and the age of the port when it was read: rates need no other clock."""

    tx_bytes: int
    age_s: float


Decisions = tuple[Decision, ...]


class Policy(Protocol):
    """A scheme. ``now_s`` is monotonic; dpids and ports are those of ``Topology``."""

    @property
    def scheme(self) -> str:
        """Name of the scheme."""
        ...

    @property
    def wants_flow_counters(self) -> bool:
        """Whether ``counters`` needs the byte counts of pinned rules."""
        ...

    def revision(self, dpid: int) -> int:
        """Return a number that grows whenever the rules wanted on this switch change."""
        ...

    def rules(self, dpid: int) -> Mapping[Any, Rule]:
        """Return the rules wanted on this switch, by ``Rule.identity``."""
        ...

    def port_changed(self, dpid: int, port: int, up: bool, now_s: float) -> Decisions:
        """A port gained or lost carrier (or appeared, or vanished)."""
        ...

    def job_announced(self, job: str, flows: Sequence[Flow], now_s: float) -> Decisions:
        """A job says which flows it will use. Announcing again replaces. Raises InputError, changing nothing."""
        ...

    def job_withdrawn(self, job: str, now_s: float) -> Decisions:
        """A job ended. Raises InputError when it is not known."""
        ...

    def first_packet(self, dpid: int, in_port: int, flow: Flow, now_s: float) -> Decisions:
        """A switch saw the first packet of a flow nobody announced."""
        ...

    def flow_removed(self, dpid: int, flow: Flow, now_s: float) -> Decisions:
        """A pinned rule timed out because its flow was idle."""
        ...

    def counters(
        self, port_tx: Mapping[tuple[int, int], PortCounter], flow_bytes: Mapping[FlowKey, int], now_s: float
    ) -> Decisions:
        """One poll's counters, cumulative, as far as the switches answered."""
        ...

    def tick(self, now_s: float) -> Decisions:
        """Time passed; called once per poll interval."""
        ...

    def placement(self) -> list[dict[str, Any]]:
        """Return every flow GSOS has placed, with its path and the reason."""
        ...

    def job_placement(self, job: str) -> list[dict[str, Any]]:
        """Return the flows of one job with their paths, in the order announced."""
        ...

    def authorised(self, job: str) -> list[float | None]:
        """Return what each flow of a job may send, in Mbit/s on the wire, in the order announced; None: no limit."""
        ...

    def paths(self) -> dict[str, list[str]]:
        """Return the live paths of each ordered pair of leaves."""
        ...

    def utilization(self) -> dict[str, float]:
        """Return the last measured fraction of its rate for every uplink and downlink direction."""
        ...

    def failed_links(self) -> list[str]:
        """Return the leaf-spine links that are down, by name."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return what a restarted GSOS needs to go on, as JSON."""
        ...

    def restore(self, snapshot: Mapping[str, Any], now_s: float) -> None:
        """Take up what ``snapshot`` recorded."""
        ...


def hash_basis(seed: int, dpid: int) -> int:
    """Return the 16-bit hash basis of a switch: fixed by the seed, unrelated between switches."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{dpid}".encode()).digest()[:2], "big")


def flow_text(flow: Flow) -> str:
    """Return a flow as people read it: ``tcp 10.0.1.1:33000>10.0.2.1:20001``."""
    protocol = {6: "tcp", 17: "udp"}.get(flow.proto, str(flow.proto))
    return f"{protocol} {flow.src_ip}:{flow.src_port}>{flow.dst_ip}:{flow.dst_port}"
