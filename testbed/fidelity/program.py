"""Was the machine able to emulate the fabric a program ran on? Pure.

The checks of ``testbed.fidelity`` that need not know what was sent, and two about the program itself. docs/exec.md says
which do not apply and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from testbed.evaluation.probedelay import probe_delay
from testbed.evaluation.program import ProgramMetrics
from testbed.evaluation.records import RunRecord
from testbed.evaluation.usage import usage_during
from testbed.fidelity.alarms import check_agents
from testbed.fidelity.completeness import FAULTS, faults_words
from testbed.fidelity.delays import check_probe_delay
from testbed.fidelity.links import check_link_rate, check_link_stall, link_rates
from testbed.fidelity.losses import (
    check_interface_drops,
    check_socket_drops,
    check_softnet_drops,
    check_unaccounted,
    check_upcalls_lost,
)
from testbed.fidelity.outcome import (
    check_calibration,
    check_jobs,
    check_processes,
    check_settings,
    check_settings_after,
    check_stopped,
)
from testbed.fidelity.pace import (
    check_agent_core,
    check_agents_wait,
    check_busy_cores,
    check_clock_step,
    check_foreign_load,
    check_probe_lateness,
    check_sampler_lateness,
    check_sender_lateness,
    check_steal,
    check_switch_core,
    check_switch_wait,
)
from testbed.fidelity.verdict import FabricEvidence, Finding, Level, Verdict, grade, worst_of

FabricCheck = Callable[[FabricEvidence], Finding | None]
FABRIC_CHECKS: Final[tuple[FabricCheck, ...]] = (
    check_processes,
    check_stopped,
    check_jobs,
    check_settings,
    check_settings_after,
    check_calibration,
    check_link_rate,
    check_link_stall,
    check_agents,
    check_switch_core,
    check_switch_wait,
    check_agents_wait,
    check_agent_core,
    check_busy_cores,
    check_foreign_load,
    check_steal,
    check_clock_step,
    check_probe_lateness,
    check_probe_delay,
    check_sender_lateness,
    check_sampler_lateness,
    check_socket_drops,
    check_upcalls_lost,
    check_softnet_drops,
    check_interface_drops,
    check_unaccounted,
)
LEAST_BESIDE_OTHERS: Final = 0.1  # of other traffic's bytes: how well these are known, agents' frames included
# Open MPI polls while it waits, so no core is ever idle; its ranks run only when nothing else wants to.
NOT_WHERE_RANKS_POLL: Final = frozenset({check_busy_cores})


def evidence_of_program(run: RunRecord, metrics: ProgramMetrics) -> FabricEvidence:
    """Return what a program's run is judged by, each part of it computed once."""
    return FabricEvidence(
        run=run,
        usage=usage_during(run, metrics.judged),
        link_rates=link_rates(run),
        probe_delay=probe_delay(run, metrics.judged),
    )


def judge_program(evidence: FabricEvidence, metrics: ProgramMetrics, *, ranks_poll: bool) -> Verdict:
    """Apply every check that makes sense. ``ranks_poll``: ranks that wait take the processor time that is left."""
    checks = [check for check in FABRIC_CHECKS if not (ranks_poll and check in NOT_WHERE_RANKS_POLL)]
    return worst_of(
        (
            check_program(evidence),
            check_traffic(metrics),
            *(check(evidence) for check in checks),
            check_missing_of_program(evidence, metrics),
        )
    )


def check_program(evidence: FabricEvidence) -> Finding | None:
    """Every rank came to a good end: what the fabric carried is what the program sends then."""
    failed = evidence.run.events_named("program_failed")
    text = "; ".join(str(event["message"]) for event in failed)
    return Finding("program_failed", Level.INVALID, text) if failed else None


def check_traffic(metrics: ProgramMetrics) -> Finding | None:
    """The program sent something: a fabric that carried nothing, or others' traffic alone, was not tried by it."""
    if not metrics.communicating:
        return Finding("no_traffic", Level.SUSPECT, "the program sent next to nothing over the fabric")
    own, other = metrics.own_sent_bytes, metrics.other_sent_bytes
    if own is None or other is None or own > LEAST_BESIDE_OTHERS * other:
        return None
    text = (
        f"what the program sent cannot be told from other traffic: its hosts sent {own / 1e6:.3g} MB more than the "
        f"{other / 1e6:.3g} MB of that"
    )
    return Finding("no_traffic", Level.SUSPECT, text)


def check_missing_of_program(evidence: FabricEvidence, metrics: ProgramMetrics) -> Finding | None:
    """Everything that was to be measured was measured."""
    missing = list(_missing(evidence, metrics))
    shown = [faults_words(evidence.run) if name == FAULTS else name for name in missing]
    return grade("missing", len(missing), f"not measured: {', '.join(shown)}")


def _missing(evidence: FabricEvidence, metrics: ProgramMetrics) -> Iterator[str]:
    run = evidence.run
    tables, measure = run.tables, run.scenario.measure
    asked = {
        "read-back settings": "read_back" in run.network and bool(run.events_named("read_back")),
        "calibration": bool(tables.calibration) or not measure.calibrate,
        "bytes of hosts": all(None not in (host.sent_bytes, host.received_bytes) for host in metrics.hosts),
        "bytes of other traffic": metrics.other_sent_bytes is not None or not metrics.hosts,
        "TCP's counters": all(host.retransmitted_segments is not None for host in metrics.hosts),
        "queue drops": metrics.dropped_packets is not None,
        "counters of the agents": bool(run.events_named("agents")) or run.settings.attachment == "none",
        "latency": (metrics.latency is not None and metrics.latency.count > 0) or not measure.probe_interval_ms,
        "CPU of cores": evidence.usage.machine is not None,
        "CPU of the switches": evidence.usage.switch_thread is not None or run.switched_by_kernel,
        "packet-socket drops": bool(tables.sockets) or run.switched_by_kernel,
        "lateness of samples": bool(run.events_named("sampler_stopped")),
        FAULTS: len(run.events_named("fault")) == len(run.scenario.faults),
    }
    return (name for name, there in asked.items() if not there)
