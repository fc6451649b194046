"""Was the machine able to emulate this run? Findings with numbers, and the verdict they lead to. Pure.

Every check looks at one thing and yields at most one finding; the verdict is the worst of them.
INVALID: do not use the numbers. SUSPECT: usable with the stated doubt. VALID: nothing was found.
Thresholds, each with its reason, are in ``verdict.THRESHOLDS``.
"""

from __future__ import annotations

from testbed.evaluation.metrics import measure, measured, windows
from testbed.evaluation.probedelay import probe_delay
from testbed.evaluation.records import RunRecord
from testbed.evaluation.usage import usage
from testbed.fidelity.alarms import check_agents
from testbed.fidelity.completeness import check_missing
from testbed.fidelity.delays import check_probe_delay
from testbed.fidelity.grants import check_short_of_grants
from testbed.fidelity.links import check_link_rate, check_link_stall, link_rates
from testbed.fidelity.losses import (
    check_interface_drops,
    check_lost_in_switch,
    check_resent,
    check_socket_drops,
    check_softnet_drops,
    check_unaccounted,
    check_upcalls_lost,
)
from testbed.fidelity.outcome import (
    check_beyond_placement,
    check_calibration,
    check_host_bytes,
    check_impossible,
    check_iterations,
    check_jobs,
    check_processes,
    check_receive_window,
    check_settings,
    check_settings_after,
    check_short_of_paths,
    check_stopped,
    check_uplink_bytes,
    check_wrong_elements,
    speed_judged_by,
)
from testbed.fidelity.pace import (
    check_agent_core,
    check_agents_wait,
    check_busy_cores,
    check_clock_step,
    check_compute_lateness,
    check_foreign_load,
    check_probe_lateness,
    check_rank_core,
    check_rank_lateness,
    check_rank_wait,
    check_sampler_lateness,
    check_sender_lateness,
    check_steal,
    check_switch_bound,
    check_switch_core,
    check_switch_wait,
)
from testbed.fidelity.verdict import (
    OUTSIDE,
    SLOW,
    THRESHOLDS,
    WRONG,
    Check,
    Evidence,
    FabricEvidence,
    Finding,
    Level,
    Threshold,
    Verdict,
    worst_of,
)

__all__ = [
    "CHECKS",
    "OUTSIDE",
    "SLOW",
    "THRESHOLDS",
    "WRONG",
    "Evidence",
    "FabricEvidence",
    "Finding",
    "Level",
    "Threshold",
    "Verdict",
    "evidence_of",
    "judge",
    "speed_judged_by",
]

CHECKS: tuple[Check, ...] = (
    check_wrong_elements,
    check_processes,
    check_stopped,
    check_iterations,
    check_jobs,
    check_settings,
    check_settings_after,
    check_calibration,
    check_link_rate,
    check_link_stall,
    check_impossible,
    check_beyond_placement,
    check_short_of_paths,
    check_receive_window,
    check_agents,
    check_short_of_grants,
    check_uplink_bytes,
    check_host_bytes,
    check_switch_core,
    check_switch_bound,
    check_switch_wait,
    check_agents_wait,
    check_agent_core,
    check_rank_core,
    check_rank_wait,
    check_busy_cores,
    check_foreign_load,
    check_steal,
    check_sender_lateness,
    check_rank_lateness,
    check_compute_lateness,
    check_clock_step,
    check_probe_lateness,
    check_probe_delay,
    check_sampler_lateness,
    check_socket_drops,
    check_upcalls_lost,
    check_softnet_drops,
    check_interface_drops,
    check_unaccounted,
    check_lost_in_switch,
    check_resent,
    check_missing,
)


def evidence_of(run: RunRecord) -> Evidence:
    """Return what a workload's run is judged by, each part of it computed once."""
    return Evidence(
        run=run,
        metrics=measure(run),
        usage=usage(run),
        link_rates=link_rates(run),
        probe_delay=probe_delay(run, windows(measured(run.tables.iterations))),
    )


def judge(evidence: Evidence) -> Verdict:
    """Apply every check."""
    return worst_of(check(evidence) for check in CHECKS)
