"""Break and mend links while traffic runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from testbed.fabric.network import Network
from testbed.model.fault_spec import FaultSpec, fault_targets
from testbed.system.supervisor import Supervisor

log = logging.getLogger(__name__)


def schedule_faults(
    faults: Sequence[FaultSpec],
    *,
    start_s: float,
    network: Network,
    supervisor: Supervisor,
    record: Callable[[dict[str, Any]], None],
) -> None:
    """Arrange for every fault to happen ``fault.t_s`` after ``start_s`` (monotonic).

    ``record`` receives what was done, with the monotonic times before and after the command.
    """
    for fault in faults:
        supervisor.call_at(start_s + fault.t_s, lambda fault=fault: record(apply_fault(network, fault)))  # type: ignore[misc]


def apply_fault(network: Network, fault: FaultSpec) -> dict[str, Any]:
    """Break or mend the target's links at once and return what was done, with monotonic times."""
    links = fault_targets(network.topology.fabric)[fault.target]
    began_s = time.monotonic()
    if fault.action == "fail":
        network.set_links(links, up=False)
    elif fault.action == "silence":
        network.set_forwarding(links, on=False)
    elif fault.action == "slow":
        network.set_rates(links, fraction=fault.fraction)
    elif fault.action == "heal":
        network.set_rates(links, fraction=1.0)
        network.set_forwarding(links, on=True)
        network.set_links(links, up=True)
    else:
        raise ValueError(f"nothing is known of the fault {fault.action!r}")
    log.info("%s %s", fault.action, fault.target)
    return {
        "event": "fault",
        "action": fault.action,
        "target": fault.target,
        "began_s": began_s,
        "done_s": time.monotonic(),
    }
