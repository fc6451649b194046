"""GSOS, the controller: a Ryu app (OpenFlow 1.3). Runs under os-ken (``python -m apps gsos``) and under Ryu 4.34.

This file only receives: OpenFlow events go to ``apps.core`` as plain values. Decisions are taken in
``testbed.gse``, messages are made in ``apps.openflow``. The plan is named by the environment variable GSE_GSOS_PLAN.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from apps.compat import DEAD_DISPATCHER, MAIN_DISPATCHER, App, hub, ofp_event, ofproto_v1_3, set_ev_cls
from apps.core import Core
from apps.methods import Methods
from apps.northbound import NorthboundServer
from apps.openflow import GENERATIONS, Switch, flow_of_match, is_last_part, port_counters, port_is_up
from apps.packets import flow_of_frame
from apps.plan import PLAN_VARIABLE, read_plan
from apps.store import Store
from testbed.errors import ControllerError

log = logging.getLogger(__name__)


class Gsos(App):  # type: ignore[misc]
    """Event handlers and the poll loop."""

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        path = os.environ.get(PLAN_VARIABLE)
        if not path:
            raise ControllerError(
                f"GSOS: environment variable {PLAN_VARIABLE} is not set, expected the path of its plan"
            )
        plan = read_plan(Path(path))
        store = Store(plan.northbound.with_name(plan.northbound.name + ".state"), plan.identity)
        # Rules of an earlier process must be told apart from ours, hence a random beginning.
        first_generation = int.from_bytes(os.urandom(4), "big") % GENERATIONS
        self._core = Core(plan, store, first_generation=first_generation)
        self._server = NorthboundServer(plan.northbound, Methods(self._core).call)
        self._poll_interval_s = plan.settings.poll_interval_s
        switches = len(plan.topology.switches)
        log.info("GSOS: scheme %s, seed %d, waiting for %d switches", plan.scheme, plan.seed, switches)

    def start(self) -> Any:
        """Begin to serve; called once by the framework, in the main thread."""
        super().start()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._server.start()
        return hub.spawn(self._poll_for_ever)

    def _stop(self, number: int, _frame: object) -> None:
        """End at once: switches keep their rules, and framework threads cannot be asked to stop."""
        log.info("GSOS: signal %d, stopping", number)
        self._server.close()
        logging.shutdown()
        os._exit(0)

    def _poll_for_ever(self) -> None:
        next_s = time.monotonic()
        while True:
            next_s = max(next_s + self._poll_interval_s, time.monotonic())
            hub.sleep(next_s - time.monotonic() if next_s > time.monotonic() else 0)
            try:
                self._core.poll()
            except Exception:  # the next poll may do better, a dead poll loop never will
                log.exception("poll failed")

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])  # type: ignore[untyped-decorator]
    def connection_changed(self, event: Any) -> None:
        """A switch finished its handshake, or its connection ended."""
        if event.state == DEAD_DISPATCHER:
            self._core.switch_gone(event.datapath)
        else:
            switch = Switch(event.datapath)
            self._core.switch_connected(switch, switch.ports_up())

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def port_status(self, event: Any) -> None:
        """A port appeared, changed or vanished."""
        message = event.msg
        up = message.reason != ofproto_v1_3.OFPPR_DELETE and port_is_up(message.desc)
        self._core.port_changed(message.datapath, message.desc.port_no, up=up)

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def barrier_reply(self, event: Any) -> None:
        """A switch has carried out what was sent before."""
        self._core.barrier_reply(event.msg.datapath, event.msg.xid)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def packet_in(self, event: Any) -> None:
        """A switch shows the first packet of a flow."""
        flow = flow_of_frame(bytes(event.msg.data))
        if flow is not None:
            self._core.first_packet(event.msg.datapath, event.msg.match["in_port"], flow)

    @set_ev_cls(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def flow_removed(self, event: Any) -> None:
        """A rule is gone; only those that timed out are news."""
        flow = flow_of_match(event.msg.match)
        if flow is not None and event.msg.reason == ofproto_v1_3.OFPRR_IDLE_TIMEOUT:
            self._core.rule_idle(event.msg.datapath, flow)

    @set_ev_cls(ofp_event.EventOFPPortStatsReply, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def port_stats(self, event: Any) -> None:
        """Port counters of a switch."""
        message = event.msg
        self._core.port_counters(message.datapath, message.xid, port_counters(message.body), last=is_last_part(message))

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def flow_stats(self, event: Any) -> None:
        """Rules of a switch with their counters."""
        message = event.msg
        rules = [(stat.cookie, flow_of_match(stat.match), stat.byte_count) for stat in message.body]
        self._core.rule_list(message.datapath, message.xid, rules, last=is_last_part(message))

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def error_message(self, event: Any) -> None:
        """A switch refused a message."""
        message = event.msg
        self._core.switch_error(message.datapath, f"type {message.type} code {message.code}, xid {message.xid:#x}")
