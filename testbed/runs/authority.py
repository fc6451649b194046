"""Hosts do what GSOS authorises: its rates asked for now and then, and told to the ranks when they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from testbed.errors import ControllerError
from testbed.fabric.northbound import Northbound
from testbed.gse.policy import FlowKey
from testbed.model.fabric_spec import FabricSpec
from testbed.model.ranks import Flow
from testbed.system.supervisor import Supervisor
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes, tcp_payload_bytes
from testbed.workload.traffic import Job

log = logging.getLogger(__name__)

TOLD_CHANGE = 0.01  # of a rate, and more: smaller changes are not worth telling


class Authority:
    """Between GSOS and a job. ``announcements``: job name -> its flows; ``flows``: those of each pair, as the job's.

    ``record`` hears what the hosts were told: how many flows are limited, and the least and greatest rate.
    """

    def __init__(
        self,
        gsos: Northbound,
        job: Job,
        supervisor: Supervisor,
        *,
        announcements: Mapping[str, Sequence[Flow]],
        flows: Sequence[Sequence[Flow]],
        fabric: FabricSpec,
        record: Callable[[dict[str, Any]], None],
    ) -> None:
        self._gsos, self._job, self._supervisor = gsos, job, supervisor
        self._announcements, self._flows = announcements, flows
        self._record = record
        self._payload_share = tcp_payload_bytes(fabric.mtu_bytes) / frame_bytes(fabric.mtu_bytes)
        self._told: dict[FlowKey, float | None] = {}

    def follow(self, interval_s: float) -> None:
        """Ask and tell now, and again every ``interval_s`` while the supervisor runs and GSOS answers."""
        try:
            self.update()
        except ControllerError as error:  # hosts keep to what they were told; the verdict hears of GSOS elsewhere
            log.warning("rates stay as they are: %s", error)
            return
        self._supervisor.call_at(time.monotonic() + interval_s, lambda: self.follow(interval_s))

    def update(self) -> None:
        """Ask GSOS once; tell the ranks when a rate has changed. Raises ControllerError when GSOS is gone."""
        rates: dict[FlowKey, float | None] = {}
        for name, flows in self._announcements.items():
            answer = self._gsos.call("authorised", job=name)
            rates.update(zip((flow.key for flow in flows), answer, strict=True))
        if not any(self._differs(key, rate) for key, rate in rates.items()):
            return
        self._told = rates
        share = self._payload_share
        self._job.pace(
            [
                [None if (rate := rates[flow.key]) is None else mbps_to_bytes_per_s(rate) * share for flow in pair]
                for pair in self._flows
            ]
        )
        limits = [rate for rate in rates.values() if rate is not None]
        self._record(
            {
                "event": "authorised",
                "flows": len(list(chain.from_iterable(self._flows))),
                "limited": len(limits),
                "least_mbps": min(limits, default=None),
                "most_mbps": max(limits, default=None),
            }
        )

    def _differs(self, key: FlowKey, rate: float | None) -> bool:
        before = self._told.get(key)
        if rate is None or before is None:
            return rate is not before
        return abs(rate - before) > TOLD_CHANGE * before
