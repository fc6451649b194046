"""What policies share that place and move no flow: rules known from the start, jobs remembered, questions answered.

A subclass puts rules into ``_book`` and says what a failed link means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.gse.announced import check_announcement, check_known, flow_owners
from testbed.gse.answers import failed_json, flow_json, paths_json
from testbed.gse.liveness import Liveness
from testbed.gse.load import LoadMonitor
from testbed.gse.policy import Decision, Decisions, FlowKey, PortCounter
from testbed.gse.rulebook import Identity, RuleBook
from testbed.gse.spread import living_hashed_paths
from testbed.model.ranks import Flow
from testbed.model.rules import Rule
from testbed.model.topology import Topology


class StaticPolicy:
    """See the module, and Policy for the methods. ``path_of_flows`` says in words where a flow goes."""

    wants_flow_counters = False
    path_of_flows = ""

    def __init__(self, topology: Topology, scheme: str) -> None:
        self.scheme = scheme
        self._topology = topology
        self._live = Liveness(topology)
        self._load = LoadMonitor(topology)
        self._jobs: dict[str, tuple[Flow, ...]] = {}
        self._book = RuleBook(switch.dpid for switch in topology.switches)

    def revision(self, dpid: int) -> int:
        """See Policy."""
        return self._book.revision(dpid)

    def rules(self, dpid: int) -> Mapping[Identity, Rule]:
        """See Policy."""
        return self._book.rules(dpid)

    def job_announced(self, job: str, flows: Sequence[Flow], now_s: float) -> Decisions:
        """Remember the job; its flows are not placed."""
        check_announcement(self._topology, job, flows, flow_owners(self._jobs))
        self._jobs[job] = tuple(flows)
        reason = f"{self.scheme} places nothing: {self.path_of_flows}"
        return (Decision(t_s=now_s, kind="announced", subject=job, action=f"{len(flows)} flows", reason=reason),)

    def job_withdrawn(self, job: str, now_s: float) -> Decisions:
        """Forget the job."""
        check_known(job, self._jobs)
        del self._jobs[job]
        return (Decision(t_s=now_s, kind="withdrawn", subject=job, action="forgotten", reason="asked to"),)

    def first_packet(self, dpid: int, in_port: int, flow: Flow, now_s: float) -> Decisions:
        """Do nothing: no rule sends packets to GSOS."""
        return ()

    def flow_removed(self, dpid: int, flow: Flow, now_s: float) -> Decisions:
        """Do nothing: no rule times out."""
        return ()

    def counters(
        self, port_tx: Mapping[tuple[int, int], PortCounter], flow_bytes: Mapping[FlowKey, int], now_s: float
    ) -> Decisions:
        """Take in utilisation, for ``utilization`` only."""
        self._load.record(port_tx, flow_bytes, now_s)
        return ()

    def tick(self, now_s: float) -> Decisions:
        """Do nothing: there are no timers."""
        return ()

    def placement(self) -> list[dict[str, Any]]:
        """Return nothing: no flow is placed."""
        return []

    def job_placement(self, job: str) -> list[dict[str, Any]]:
        """Return the job's flows, each without a path."""
        return [flow_json(flow) | {"path": None, "reason": self.path_of_flows} for flow in self._jobs.get(job, ())]

    def authorised(self, job: str) -> list[float | None]:
        """Return no limits: nobody is told what to send."""
        return [None] * len(self._jobs.get(job, ()))

    def paths(self) -> dict[str, list[str]]:
        """See Policy."""
        return paths_json(self._topology, self._living)

    def utilization(self) -> dict[str, float]:
        """See Policy."""
        return self._load.named()

    def failed_links(self) -> list[str]:
        """See Policy."""
        return failed_json(self._live)

    def snapshot(self) -> dict[str, Any]:
        """Return nothing to remember: rules follow from what the policy was made with, and from port states."""
        return {}

    def restore(self, snapshot: Mapping[str, Any], now_s: float) -> None:
        """Do nothing: see ``snapshot``."""

    def _living(self, src: int, dst: int) -> tuple[int, ...]:
        return living_hashed_paths(self._topology, self._live, src, dst)
