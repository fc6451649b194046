"""Scheme ``gse1``: GSOS places flows, moves them off hot links and around failures.

* A job's announced flows are placed together (``placement``), in both directions, before they start.
* A flow nobody announced goes by hash until GSOS has seen its first packet and pinned it on the path with the
  least load. Without GSOS it keeps going by hash.
* On a failure only the flows on dead paths move, to the least loaded live path; once their own path has been
  clean for ``restore_hold_s`` they go back.
* With ``repair`` ``controller`` leaves switch no flow by themselves: until GSOS has acted it stays on the dead path.
* Flows leave hot links (``balance``), with hysteresis.
* With ``authorise``, announced flows are told what they may send where several hosts share a full link (``authorise``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from testbed.gse.announced import check_announcement, check_known, expected_fractions, flow_owners
from testbed.gse.answers import failed_json, flow_json, link_decision, paths_json, pin_json
from testbed.gse.authorise import Routed, authorised_rates
from testbed.gse.balance import Balancer, HotLinks, Move
from testbed.gse.fractions import ExpectedLoad, WantedLoad
from testbed.gse.liveness import Liveness
from testbed.gse.load import LinkId, LoadMonitor, links_of_path
from testbed.gse.pins import Pin, PinTable, pin_from_json
from testbed.gse.placement import Request, place
from testbed.gse.policy import Decision, Decisions, FlowKey, PortCounter, flow_text
from testbed.gse.rulebook import Identity, RuleBook, host_rules, reverse_of
from testbed.gse.spread import leaf_first_packet_rules, leaf_spread_rules, spine_lane_rules
from testbed.model.ranks import TCP, Flow
from testbed.model.rules import Rule
from testbed.model.scheme_spec import GsosSpec
from testbed.model.topology import Topology

# Measured loads closer than this count as equal: what decides then is how many flows a path has.
LOAD_STEP = 0.05
ELEPHANT_FRACTION = 0.1  # as in Hedera
# A new flow may be an elephant or nothing (a program's control connection): less certain than an announced one.
NEW_FLOW_CHANCE = 0.5


class Gse1Policy:
    """Flow placement by job map first, measured load second."""

    scheme = "gse1"
    wants_flow_counters = True

    def __init__(self, topology: Topology, seed: int, settings: GsosSpec) -> None:
        self._topology = topology
        self._seed = seed
        self._settings = settings
        self._live = Liveness(topology)
        self._load = LoadMonitor(topology)
        self._hot = HotLinks(settings)
        self._jobs: dict[str, tuple[Flow, ...]] = {}
        self._book = RuleBook(switch.dpid for switch in topology.switches)
        self._pins = PinTable(topology, self._book, repair=settings.repair)
        # What flows pinned since the last poll may add to a link, before any counter shows it.
        self._unmeasured: dict[LinkId, float] = {}
        self._elephants: set[FlowKey] = set()  # unannounced flows that took a good part of a link when last measured
        for leaf in topology.leaves:
            for rule in host_rules(topology, leaf.index):
                self._book.put(leaf.dpid, rule)
        for spine in topology.spines:
            for rule in spine_lane_rules(topology, seed, spine.index):
                self._book.put(spine.dpid, rule)
        self._spread(now_s=0.0)

    # --- rules ----------------------------------------------------------------------------------

    def revision(self, dpid: int) -> int:
        """See Policy."""
        return self._book.revision(dpid)

    def rules(self, dpid: int) -> Mapping[Identity, Rule]:
        """See Policy."""
        return self._book.rules(dpid)

    def _spread(self, now_s: float) -> None:
        """Bring the hash rules for unplaced traffic, and for first packets, in step with the usable paths."""

        def usable(src: int, dst: int) -> tuple[int, ...]:
            return self._usable(src, dst, now_s)

        for leaf in self._topology.leaves:
            for rules in (leaf_spread_rules, leaf_first_packet_rules):
                for rule in rules(self._topology, self._seed, leaf.index, usable, self._settings.repair):
                    self._book.put(leaf.dpid, rule)

    # --- paths ----------------------------------------------------------------------------------

    def _living(self, src: int, dst: int) -> tuple[int, ...]:
        return tuple(path for path in range(self._topology.fabric.paths) if self._live.path_up(src, dst, path))

    def _usable(self, src: int, dst: int, now_s: float) -> tuple[int, ...]:
        """Return the paths to put flows on: those clean for ``restore_hold_s``, else the live ones, else all."""
        living = self._living(src, dst)
        hold_s = self._settings.restore_hold_s
        clean = tuple(path for path in living if self._live.path_clean_s(src, dst, path, now_s) >= hold_s)
        return clean or living or tuple(range(self._topology.fabric.paths))

    def port_changed(self, dpid: int, port: int, up: bool, now_s: float) -> Decisions:
        """Move the flows of a failed link; when one returns, rescue flows that had no path at all."""
        found = self._live.link_of(dpid, port)
        if found is None or not self._live.set_end(*found, up=up, now_s=now_s):
            return ()
        hold = f"used again when clean for {self._settings.restore_hold_s:g} s" if up else "flows on it move"
        decision = link_decision(self._live, found[0], up=up, action=hold, now_s=now_s)
        rerouted = self._reroute(decision.subject, now_s)
        self._spread(now_s)
        return (decision, *rerouted)

    def _reroute(self, link_name: str, now_s: float) -> list[Decision]:
        decisions = []
        for pin in self._pins:
            if self._live.path_up(pin.src_leaf, pin.dst_leaf, pin.path):
                continue
            if not self._living(pin.src_leaf, pin.dst_leaf):
                decisions.append(self._decision("stranded", pin, now_s, f"no path left after {link_name}"))
                continue
            path = self._least_loaded(pin, self._usable(pin.src_leaf, pin.dst_leaf, now_s))
            reason = f"{self._topology.path_name(pin.path)} is dead ({link_name})"
            decisions.append(self._put(replace(pin, path=path), "rerouted", reason, now_s))
        return decisions

    def tick(self, now_s: float) -> Decisions:
        """Send flows back to paths that have been clean long enough, and spread over those again."""
        decisions = []
        for pin in self._pins:
            if pin.path == pin.home or pin.home not in self._usable(pin.src_leaf, pin.dst_leaf, now_s):
                continue
            if not self._live.path_up(pin.src_leaf, pin.dst_leaf, pin.home):
                continue
            reason = f"{self._topology.path_name(pin.home)} clean for {self._settings.restore_hold_s:g} s"
            decisions.append(self._put(replace(pin, path=pin.home), "restored", reason, now_s))
        self._spread(now_s)
        return tuple(decisions)

    def _least_loaded(self, pin: Pin, paths: Sequence[int]) -> int:
        """Return the path with the least load for a flow; among equals, what the switch itself would try first."""
        order = {path: position for position, path in enumerate(self._pins.preference(pin))}

        def rank(path: int) -> tuple[int, int, int, int]:
            links = links_of_path(pin.src_leaf, pin.dst_leaf, path)
            loads = [max(self._load.utilization(link), self._pins.expected(link)) for link in links]
            loads = [load + self._unmeasured.get(link, 0.0) for load, link in zip(loads, links, strict=True)]
            flows = sum(len(self._pins.on_link(link)) for link in links)
            return (round(max(loads) / LOAD_STEP), round(sum(loads) / LOAD_STEP), flows, order[path])

        return min(paths, key=rank)

    # --- jobs -----------------------------------------------------------------------------------

    def job_announced(self, job: str, flows: Sequence[Flow], now_s: float) -> Decisions:
        """Place the job's flows between leaves together. A job announced again is placed anew."""
        check_announcement(self._topology, job, flows, flow_owners(self._jobs))
        self._forget_job(job)
        crossing = []
        for flow, weight in zip(flows, expected_fractions(self._topology, flows), strict=True):
            src, dst = self._leaf_of(flow.src_ip), self._leaf_of(flow.dst_ip)
            if src != dst:
                crossing.append((flow, Request(src, dst, weight)))
        placed = place(
            [request for _flow, request in crossing],
            lambda src, dst: self._usable(src, dst, now_s),
            self._present_loads(),
        )
        self._jobs[job] = tuple(flows)
        announced = {flow.key for known in self._jobs.values() for flow in known}
        decisions = []
        for turn, ((flow, request), path) in enumerate(zip(crossing, placed.paths, strict=True)):
            self._pins.remove(flow)
            self._release_reverse(flow)
            pin = Pin(
                flow=flow,
                src_leaf=request.src_leaf,
                dst_leaf=request.dst_leaf,
                path=path,
                home=path,
                weight=request.weight,
                job=job,
                both_ways=flow.proto == TCP and reverse_of(flow).key not in announced,
                turn=turn,
                placed_s=now_s,
                reason="",
            )
            if pin.both_ways:
                self._pins.remove(reverse_of(flow))
            decisions.append(self._put(pin, "placed", f"job {job}: {placed.method}", now_s))
        return tuple(decisions)

    def _present_loads(self) -> dict[LinkId, float]:
        """Return what other jobs' flows are expected to put, and unannounced ones measured to put, on each link."""
        loads: dict[LinkId, float] = {}
        for pin in self._pins:
            weight = pin.weight if pin.job is not None else self._load.flow_fraction(pin.flow.key) or 0.0
            for link in links_of_path(pin.src_leaf, pin.dst_leaf, pin.path):
                if weight >= LOAD_STEP:  # below: probes and the like, not worth giving up a conflict-free placement for
                    loads[link] = loads.get(link, 0.0) + weight
        return loads

    def _release_reverse(self, flow: Flow) -> None:
        """Let a flow that so far only followed another one's path go its own way."""
        leader = self._pins.get(reverse_of(flow))
        if leader is not None and leader.both_ways:
            self._pins.put(replace(leader, both_ways=False))

    def job_withdrawn(self, job: str, now_s: float) -> Decisions:
        """Forget a job and its rules."""
        check_known(job, self._jobs)
        count = self._forget_job(job)
        return (Decision(t_s=now_s, kind="withdrawn", subject=job, action=f"{count} rules dropped", reason="asked to"),)

    def _forget_job(self, job: str) -> int:
        gone = [flow for flow in self._jobs.pop(job, ()) if self._pins.remove(flow) is not None]
        for flow in gone:
            self._load.forget_flow(flow.key)
        return len(gone)

    def _leaf_of(self, address: str) -> int:
        host = self._topology.host_by_ip(address)
        if host is None:
            raise KeyError(address)
        return host.leaf

    # --- flows nobody announced -------------------------------------------------------------------

    def first_packet(self, dpid: int, in_port: int, flow: Flow, now_s: float) -> Decisions:
        """Pin a new flow, for TCP with its reverse, on the path with the least load."""
        src, dst = self._topology.host_by_ip(flow.src_ip), self._topology.host_by_ip(flow.dst_ip)
        if src is None or dst is None or src.leaf == dst.leaf or self._pins.covers(flow):
            return ()
        if self._topology.leaves[src.leaf].dpid != dpid or in_port != src.port:
            return ()
        pin = Pin(
            flow=flow,
            src_leaf=src.leaf,
            dst_leaf=dst.leaf,
            path=0,
            home=0,
            weight=ExpectedLoad(0.0),
            job=None,
            both_ways=flow.proto == TCP,
            turn=len(self._pins),
            placed_s=now_s,
            reason="",
        )
        path = self._least_loaded(pin, self._usable(src.leaf, dst.leaf, now_s))
        fabric = self._topology.fabric
        might_take = NEW_FLOW_CHANCE * min(1.0, fabric.host_link_mbps / fabric.uplink_mbps)
        for link in links_of_path(src.leaf, dst.leaf, path):
            self._unmeasured[link] = self._unmeasured.get(link, 0.0) + might_take
        reason = "first packet seen; least loaded path"
        return (self._put(replace(pin, path=path, home=path), "placed", reason, now_s),)

    def flow_removed(self, dpid: int, flow: Flow, now_s: float) -> Decisions:
        """Forget an unannounced flow that has been idle, whichever direction's rule expired."""
        for key in (flow, reverse_of(flow)):
            pin = self._pins.get(key)
            if pin is not None and pin.job is None and (key == flow or pin.both_ways):
                self._pins.remove(pin.flow)
                for gone in (pin.flow, reverse_of(pin.flow)):
                    self._load.forget_flow(gone.key)
                    self._elephants.discard(gone.key)
                return (self._decision("expired", pin, now_s, "idle: forgotten"),)
        return ()

    # --- measured load ----------------------------------------------------------------------------

    def counters(
        self, port_tx: Mapping[tuple[int, int], PortCounter], flow_bytes: Mapping[FlowKey, int], now_s: float
    ) -> Decisions:
        """Take in one poll and move flows off links that stay hot."""
        self._load.record(port_tx, flow_bytes, now_s)
        self._unmeasured.clear()
        self._hot.observe(self._load)
        hot = self._hot.hot()
        if not hot:
            return ()
        balancer = Balancer(
            self._load,
            self._settings,
            lambda src, dst: self._usable(src, dst, now_s),
            now_s,
            pins=self._pins,
            wants=self._wants(),
        )
        return tuple(self._apply_move(move, now_s) for move in balancer.moves(hot, self._pins.on_link))

    def _wants(self) -> dict[FlowKey, WantedLoad]:
        """Return the fraction of a link that each flow would take if nothing but its hosts held it back.

        Announced flows want what their job expects of them until the job is withdrawn; an unannounced flow that
        takes a good part of a link is an elephant and wants its share of its hosts' links. All others want what they
        take. A flow that was just moved has no measured rate yet and is still what it was.
        """
        wants: dict[FlowKey, WantedLoad] = {}
        elephants = []
        for pin in self._pins:
            for flow, _src_leaf, _dst_leaf in pin.directions():
                if pin.job is not None and flow == pin.flow:
                    wants[flow.key] = WantedLoad(max(pin.weight, self._load.flow_fraction(flow.key) or 0.0))
                elif pin.job is None and self._is_elephant(flow.key):
                    elephants.append(flow)
        for flow, share in zip(elephants, expected_fractions(self._topology, elephants), strict=True):
            wants[flow.key] = WantedLoad(max(share, self._load.flow_fraction(flow.key) or 0.0))
        return wants

    def _is_elephant(self, key: FlowKey) -> bool:
        rate = self._load.flow_fraction(key)
        if rate is None:
            return key in self._elephants
        if rate >= ELEPHANT_FRACTION:
            self._elephants.add(key)
        else:
            self._elephants.discard(key)
        return rate >= ELEPHANT_FRACTION

    def _apply_move(self, move: Move, now_s: float) -> Decision:
        for _flow, src, dst in move.pin.directions():
            self._hot.reset((*links_of_path(src, dst, move.pin.path), *links_of_path(src, dst, move.path)))
        reason = (
            f"{self._load.name(move.hot_link)} at {move.hot_load:.2f}; "
            f"worst link of its path {move.worst_before:.2f} -> {move.worst_after:.2f}"
        )
        return self._put(replace(move.pin, path=move.path, home=move.path), "moved", reason, now_s)

    # --- answers ----------------------------------------------------------------------------------

    def _put(self, pin: Pin, kind: str, reason: str, now_s: float) -> Decision:
        self._pins.put(replace(pin, placed_s=now_s, reason=reason))
        return self._decision(kind, pin, now_s, reason)

    def _decision(self, kind: str, pin: Pin, now_s: float, reason: str) -> Decision:
        action = f"on {self._topology.path_name(pin.path)}"
        return Decision(t_s=now_s, kind=kind, subject=flow_text(pin.flow), action=action, reason=reason)

    def placement(self) -> list[dict[str, Any]]:
        """See Policy."""
        return [self._pin_answer(pin) for pin in self._pins]

    def job_placement(self, job: str) -> list[dict[str, Any]]:
        """See Policy. Flows within a leaf have no path."""
        answer = []
        for flow in self._jobs.get(job, ()):
            pin = self._pins.get(flow)
            within = flow_json(flow) | {"path": None, "reason": "stays on its leaf"}
            answer.append(self._pin_answer(pin) if pin is not None else within)
        return answer

    def authorised(self, job: str) -> list[float | None]:
        """See Policy. Rates are shared between the flows of all jobs."""
        flows = self._jobs.get(job, ())
        if not self._settings.authorise or not flows:
            return [None] * len(flows)
        others: dict[LinkId, float] = {}
        for pin in self._pins:
            if pin.job is None:
                taken = self._load.flow_fraction(pin.flow.key) or 0.0
                for link in links_of_path(pin.src_leaf, pin.dst_leaf, pin.path):
                    others[link] = others.get(link, 0.0) + taken
        routed = []
        for flow in (flow for known in self._jobs.values() for flow in known):
            held = self._pins.get(flow)
            routed.append(Routed(flow, None if held is None else held.path))
        rates = dict(
            zip((item.flow.key for item in routed), authorised_rates(self._topology, routed, others), strict=True)
        )
        return [rates[flow.key] for flow in flows]

    def _pin_answer(self, pin: Pin) -> dict[str, Any]:
        return pin_json(self._topology, pin, self._load.flow_fraction(pin.flow.key))

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
        """Return the jobs and every placed flow."""
        jobs = {job: [flow_json(flow) for flow in flows] for job, flows in self._jobs.items()}
        return {"jobs": jobs, "pins": [pin.to_json() for pin in self._pins]}

    def restore(self, snapshot: Mapping[str, Any], now_s: float) -> None:
        """Put every flow back where it was; ports reported dead later move it as usual."""
        self._jobs = {job: tuple(Flow(**flow) for flow in flows) for job, flows in snapshot["jobs"].items()}
        for value in snapshot["pins"]:
            self._pins.put(pin_from_json(value))
