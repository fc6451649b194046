"""Is a run as fast as its grants allow? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.fidelity.verdict import Evidence, Finding, grade, percent_limits
from testbed.fidelity.waiting import START_UP_FRAMES, START_UP_S, waiting_share
from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.model.rounds import STEP_S
from testbed.model.schemes import profile_of
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes

# A rank that waits has an empty queue, so what it sends then has to ask first. Measured at 10 Mbit/s: a slice takes 4
# to 6 ms from rank to rank under both schemes where bytes take none, 1 ms without agents.
ASK_S: Final = 0.006


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How far a run is below what grants allow, and how much of that its start explains; fractions."""

    allowed: float
    short: float
    start_up: float

    @property
    def unexplained(self) -> float:
        """What the start does not explain."""
        return self.short - self.start_up


def shortfall(evidence: Evidence) -> Shortfall | None:
    """Return how far below what grants allow; None where they do not allow every host its link's whole rate."""
    run, metrics = evidence.run, evidence.metrics
    scenario, fabric, settings = run.scenario, run.scenario.fabric, run.settings
    profile = profile_of(run.scheme, fabric, scenario.gsp)
    if not settings.grants:
        return None
    if scenario.faults or scenario.is_disturbed or not scenario.workload.in_step:
        return None
    if (fabric.delay_ms, fabric.loss_fraction) != (None, None):
        return None
    if fabric.hosts_per_leaf * fabric.host_link_mbps > fabric.paths * fabric.uplink_mbps:
        return None  # grants are for hosts' links, not for uplinks that are shared
    if metrics.efficiency is None or not metrics.completion_s:
        return None
    frame = frame_bytes(fabric.mtu_bytes)
    rate = mbps_to_bytes_per_s(min(fabric.host_link_mbps, fabric.uplink_mbps))
    start_up = (START_UP_S + START_UP_FRAMES * frame / rate + ASK_S) / metrics.completion_s
    start_up += waiting_share(evidence, step_s=STEP_S + ASK_S)
    allowed = profile.pacing * frame / (frame + OVERHEAD_BYTES)
    return Shortfall(allowed, 1 - metrics.efficiency / allowed, start_up)


def check_short_of_grants(evidence: Evidence) -> Finding | None:
    """Not far below what grants allow. A scheme may be the reason as well as the machine: never more than a doubt."""
    found = shortfall(evidence)
    if found is None:
        return None
    return grade(
        "short_of_grants",
        found.unexplained,
        f"{found.short:.1%} slower than grants allow ({found.allowed:.3f}); start-up explains {found.start_up:.1%} "
        f"(beyond that {percent_limits('short_of_grants')})",
    )
