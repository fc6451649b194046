"""GSOS between framework and policy: one lock, the switches' sessions, polls and waiting callers.

Events arrive from several threads (os-ken) or green threads (Ryu). Every public method takes the one lock,
tells the policy, and sends each switch the difference. Nothing here blocks on a switch's answer except the
northbound methods that promise to, and those wait without the lock.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from apps.compat import RUNTIME, hub
from apps.plan import Plan
from apps.session import Channel, Session
from apps.store import Store
from testbed.errors import ControllerError
from testbed.gse.policy import PRIORITY_PINNED, Decision, FlowKey, Policy, PortCounter
from testbed.gse.rulebook import flow_match
from testbed.gse.schemes import make_policy
from testbed.model.ranks import Flow

log = logging.getLogger(__name__)

EVENTS_KEPT = 5000
ERRORS_KEPT = 20


class Core:
    """State of one GSOS process."""

    def __init__(self, plan: Plan, store: Store, *, first_generation: int) -> None:
        self.plan = plan
        self._store = store
        self._lock = hub.Semaphore(1)
        self._generation = first_generation
        self._sessions: dict[int, Session] = {}
        self._ports_down: set[tuple[int, int]] = set()
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._errors: deque[str] = deque(maxlen=ERRORS_KEPT)
        self._waiters: list[tuple[Callable[[], bool], Any]] = []
        self._awaited: set[tuple[int, int]] = set()
        self._round_ports: dict[tuple[int, int], PortCounter] = {}
        self._round_flows: dict[FlowKey, int] = {}
        self._names = {switch.dpid: switch.name for switch in plan.topology.switches}
        self._jobs: dict[str, int] = {}  # announced to this process; one announced again has another number
        self._job_numbers = count(1)
        self._policy = self._recovered_policy()

    def _recovered_policy(self) -> Policy:
        policy = self._new_policy()
        snapshot = self._store.load()
        if snapshot:
            try:
                policy.restore(snapshot, time.monotonic())
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                log.warning("state of an earlier GSOS is of no use (%r): starting without it", error)
                return self._new_policy()
            log.info("took up the state of an earlier GSOS: %d placed flows", len(policy.placement()))
        return policy

    def _new_policy(self) -> Policy:
        plan = self.plan
        return make_policy(plan.scheme, plan.topology, seed=plan.seed, settings=plan.settings)

    # --- switches ---------------------------------------------------------------------------------

    def switch_connected(self, channel: Channel, ports_up: Mapping[int, bool]) -> None:
        """A switch is ready to be told what to do. A connection it had before is given up."""
        with self._lock:
            name = self._names.get(channel.dpid)
            if name is None:
                log.warning("switch with dpid %#x is not part of this fabric: ignored", channel.dpid)
                return
            before = self._sessions.pop(channel.dpid, None)
            if before is not None:
                before.channel.close()
            self._generation = (self._generation + 1) & 0xFFFF_FFFF
            session = Session(channel, self._generation)
            self._sessions[channel.dpid] = session
            now_s = time.monotonic()
            for port in self._expected_ports(channel.dpid):
                self._set_port(channel.dpid, port, ports_up.get(port, False), now_s)
            log.info("%s connected (generation %#x)", name, session.generation)
            session.begin(self._policy)
            self._settle()

    def switch_gone(self, datapath: object) -> None:
        """A connection ended; the switch keeps forwarding by the rules it has."""
        with self._lock:
            for dpid, session in list(self._sessions.items()):
                if session.channel.owns(datapath):
                    del self._sessions[dpid]
                    log.warning("%s disconnected", self._names[dpid])
            self._settle()

    def port_changed(self, datapath: object, port: int, *, up: bool) -> None:
        """A switch reports a port."""
        with self._lock:
            session = self._session_of(datapath)
            if session is not None:
                self._set_port(session.channel.dpid, port, up, time.monotonic())
                self._settle()

    def _set_port(self, dpid: int, port: int, up: bool, now_s: float) -> None:
        if up:
            self._ports_down.discard((dpid, port))
        elif port in self._expected_ports(dpid):
            self._ports_down.add((dpid, port))
        self._note(self._policy.port_changed(dpid, port, up, now_s))

    def _expected_ports(self, dpid: int) -> range:
        fabric = self.plan.topology.fabric
        leaf = any(switch.dpid == dpid for switch in self.plan.topology.leaves)
        count = fabric.hosts_per_leaf + fabric.paths if leaf else fabric.leaves * fabric.links_per_pair
        return range(1, count + 1)

    def barrier_reply(self, datapath: object, xid: int) -> None:
        """A switch has done everything sent before this barrier."""
        with self._lock:
            session = self._session_of(datapath)
            if session is not None:
                session.confirmed(xid)
                self._wake()

    def first_packet(self, datapath: object, in_port: int, flow: Flow) -> None:
        """A switch shows the first packet of a flow."""
        with self._lock:
            session = self._session_of(datapath)
            if session is not None:
                self._note(self._policy.first_packet(session.channel.dpid, in_port, flow, time.monotonic()))
                self._settle()

    def rule_idle(self, datapath: object, flow: Flow) -> None:
        """A switch has removed a pinned rule because its flow was idle."""
        with self._lock:
            session = self._session_of(datapath)
            if session is not None:
                session.rule_expired((PRIORITY_PINNED, flow_match(flow)))
                self._note(self._policy.flow_removed(session.channel.dpid, flow, time.monotonic()))
                self._settle()

    def switch_error(self, datapath: object, text: str) -> None:
        """A switch refused a message."""
        with self._lock:
            session = self._session_of(datapath)
            name = self._names[session.channel.dpid] if session is not None else "unknown switch"
            self._errors.append(f"{name}: {text}")
            log.error("%s refused a message: %s", name, text)
            self._wake()

    def _session_of(self, datapath: object) -> Session | None:
        return next((s for s in self._sessions.values() if s.channel.owns(datapath)), None)

    # --- polling ----------------------------------------------------------------------------------

    def poll(self) -> None:
        """Let timers run and ask every switch for its counters."""
        with self._lock:
            self._end_round()
            self._note(self._policy.tick(time.monotonic()))
            self._settle()
            self._store.save(self._policy.snapshot())
            for dpid, session in self._sessions.items():
                xids = session.channel.request_counters(pinned_rules=self._policy.wants_flow_counters)
                self._awaited.update((dpid, xid) for xid in xids)

    def port_counters(self, datapath: object, xid: int, ports: Mapping[int, PortCounter], *, last: bool) -> None:
        """Take in a part of a switch's port counters."""
        with self._lock:
            session = self._session_of(datapath)
            if session is not None:
                dpid = session.channel.dpid
                self._round_ports.update({(dpid, port): counter for port, counter in ports.items()})
                self._part_received(dpid, xid, last=last)

    def rule_list(
        self, datapath: object, xid: int, rules: Sequence[tuple[int, Flow | None, int]], *, last: bool
    ) -> None:
        """Take in a part of a switch's rules: (cookie, flow it pins if any, bytes)."""
        with self._lock:
            session = self._session_of(datapath)
            if session is None:
                return
            if session.census_part(xid, [cookie for cookie, _flow, _bytes in rules], last=last):
                self._wake()
                return
            self._round_flows.update({flow.key: size for _cookie, flow, size in rules if flow is not None})
            self._part_received(session.channel.dpid, xid, last=last)

    def _part_received(self, dpid: int, xid: int, *, last: bool) -> None:
        if last and (dpid, xid) in self._awaited:
            self._awaited.discard((dpid, xid))
            if not self._awaited:
                self._end_round()

    def _end_round(self) -> None:
        """Hand what has come in to the policy, complete or not."""
        self._awaited.clear()
        if self._round_ports or self._round_flows:
            ports, flows = self._round_ports, self._round_flows
            self._round_ports, self._round_flows = {}, {}
            self._note(self._policy.counters(ports, flows, time.monotonic()))
            self._settle()

    # --- northbound -------------------------------------------------------------------------------

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """Return the status once every switch is connected and has confirmed its rules.

        Also when a switch has refused a message, or when time is up: ``ready`` says.
        """
        self._wait(lambda: self._is_ready() or bool(self._errors), timeout_s)
        return self.status()

    def announce(self, job: str, flows: Sequence[Flow], timeout_s: float) -> list[dict[str, Any]]:
        """Place a job's flows; return where, once the switches have confirmed. Raises InputError, ControllerError."""
        with self._lock:
            self._note(self._policy.job_announced(job, flows, time.monotonic()))
            self._jobs[job] = next(self._job_numbers)
            self._settle()
            self._store.save(self._policy.snapshot())
            sent = self._unconfirmed()
        self._wait_confirmed(sent, f"job {job} is placed", timeout_s)
        with self._lock:
            return self._policy.job_placement(job)

    def withdraw(self, job: str, timeout_s: float) -> None:
        """Forget a job; return once the switches have confirmed. Raises InputError, ControllerError."""
        with self._lock:
            self._note(self._policy.job_withdrawn(job, time.monotonic()))
            self._jobs.pop(job, None)
            self._settle()
            self._store.save(self._policy.snapshot())
            sent = self._unconfirmed()
        self._wait_confirmed(sent, f"job {job} is withdrawn", timeout_s)

    def _unconfirmed(self) -> dict[int, frozenset[int]]:
        return {dpid: session.unconfirmed() for dpid, session in self._sessions.items()}

    def _wait_confirmed(self, sent: Mapping[int, frozenset[int]], what: str, timeout_s: float) -> None:
        def waiting_for() -> list[str]:
            late = []
            for dpid, name in self._names.items():
                session = self._sessions.get(dpid)
                if session is None or not session.resynced or session.unconfirmed() & sent.get(dpid, frozenset()):
                    late.append(name)
            return late

        if not self._wait(lambda: not waiting_for(), timeout_s):
            with self._lock:
                late = ", ".join(waiting_for())
            raise ControllerError(f"{what}, but after {timeout_s:g} s these switches have not confirmed it: {late}")

    def status(self) -> dict[str, Any]:
        """Return how GSOS is doing."""
        with self._lock:
            waiting = [name for dpid, name in self._names.items() if not self._switch_ready(dpid)]
            return {
                "scheme": self._policy.scheme,
                "seed": self.plan.seed,
                "runtime": RUNTIME,
                "ready": not waiting and not self._errors,
                "expected": list(self._names.values()),
                "connected": [name for dpid, name in self._names.items() if dpid in self._sessions],
                "not_ready": waiting,
                "failed_links": self._policy.failed_links(),
                "failed_ports": [f"{self._names[dpid]}-eth{port}" for dpid, port in sorted(self._ports_down)],
                "jobs": dict(self._jobs),
                "placed_flows": len(self._policy.placement()),
                "rules": {self._names[dpid]: len(self._policy.rules(dpid)) for dpid in self._names},
                "switch_errors": list(self._errors),
                "last_events": list(self._events)[-10:],
            }

    def ask(self, question: Callable[[Policy], Any]) -> Any:
        """Return the policy's answer to a question that changes nothing."""
        with self._lock:
            return question(self._policy)

    def events(self, since_s: float) -> list[dict[str, Any]]:
        """Return the decisions taken after a monotonic time."""
        with self._lock:
            return [event for event in self._events if event["t_s"] > since_s]

    def _switch_ready(self, dpid: int) -> bool:
        session = self._sessions.get(dpid)
        return session is not None and session.resynced and not session.unconfirmed()

    def _is_ready(self) -> bool:
        return all(self._switch_ready(dpid) for dpid in self._names)

    # --- with the lock held -----------------------------------------------------------------------

    def _settle(self) -> None:
        for session in self._sessions.values():
            session.sync(self._policy)
        self._wake()

    def _note(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self._events.append(decision.to_json())
            level = logging.DEBUG if decision.kind in ("placed", "expired") else logging.INFO
            log.log(level, "%s %s: %s (%s)", decision.kind, decision.subject, decision.action, decision.reason)

    def _wake(self) -> None:
        still_waiting = []
        for condition, mailbox in self._waiters:
            if condition():
                mailbox.put(True)
            else:
                still_waiting.append((condition, mailbox))
        self._waiters = still_waiting

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait, without the lock, until ``condition`` (called with the lock held) is true; False when time is up."""
        mailbox = hub.Queue()
        with self._lock:
            if condition():
                return True
            self._waiters.append((condition, mailbox))
        try:
            return bool(mailbox.get(timeout=timeout_s))
        except hub.QueueEmpty:
            with self._lock:
                self._waiters = [waiter for waiter in self._waiters if waiter[1] is not mailbox]
                return condition()  # it may have become true while the lock was waited for
