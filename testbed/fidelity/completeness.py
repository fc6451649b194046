"""Do we know enough about the run to trust it? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from testbed.evaluation.metrics import span
from testbed.evaluation.pairs import crossing_bytes
from testbed.evaluation.records import RunRecord
from testbed.fidelity.verdict import Evidence, Finding, grade
from testbed.model.fault_spec import BREAKS

FAULTS: Final = "faults"


def check_missing(evidence: Evidence) -> Finding | None:
    """Everything that was to be measured was measured."""
    missing = list(missing_measurements(evidence))
    shown = [faults_words(evidence.run) if name == FAULTS else name for name in missing]
    return grade("missing", len(missing), f"not measured: {', '.join(shown)}")


def faults_words(run: RunRecord) -> str:
    """Say which faults of a run were never made, and since when it was too late."""
    made = Counter((event["action"], event["target"]) for event in run.events_named("fault"))
    planned = Counter((fault.action, fault.target) for fault in run.scenario.faults)
    never = [
        f"{action} {target} (planned for {', '.join(f'{s:g}' for s in _times_s(run, action, target)[-count:])} s)"
        for (action, target), count in (planned - made).items()
    ]
    if not never:
        return FAULTS
    whole = span(run.tables.iterations)
    over = f": the workload was over after {whole[1] - whole[0]:.3g} s" if whole else ""
    return f"{FAULTS}: {', '.join(never)} never made{over}"


def _times_s(run: RunRecord, action: str, target: str) -> list[float]:
    return sorted(fault.t_s for fault in run.scenario.faults if (fault.action, fault.target) == (action, target))


def _cross(evidence: Evidence) -> dict[str, bool]:
    """Return of what the cross traffic should leave: is it there?"""
    metrics, cross = evidence.metrics, evidence.run.scenario.cross_traffic
    return {
        "completion times of flows": any(one.count for one in metrics.flow_times.values()) or cross.poisson is None,
        "completion times of bursts": bool(metrics.bursts) or cross.bursts is None,
        "replayed frames": metrics.replayed is not None or cross.replay is None,
    }


def missing_measurements(evidence: Evidence) -> Iterator[str]:
    """Yield what the scenario asks for and the run does not have."""
    run, metrics = evidence.run, evidence.metrics
    tables, measure = run.tables, run.scenario.measure
    crosses, bulk = crossing_bytes(run) > 0, run.scenario.workload.bulk_bytes > 0
    faults = [outage for outage in metrics.outages if outage.action in BREAKS]
    asked = {
        "completion times": metrics.completion_s is not None or not bulk,
        "wrong elements": metrics.wrong_elements is not None,
        "read-back settings": "read_back" in run.network,
        "calibration": bool(tables.calibration) or not measure.calibrate,
        "uplink counters": metrics.uplinks is not None or not crosses,
        "transfers of pairs": metrics.fairness is not None or not run.scenario.workload.independent or not bulk,
        "latency of small messages": (metrics.mice is not None and metrics.mice.count > 0)
        or not run.scenario.workload.mice_interval_ms,
        **_cross(evidence),
        "load of the receiver's link": metrics.receiver_utilization is not None
        or run.scenario.workload.kind != "incast",
        "queue drops": metrics.dropped_packets is not None,
        "retransmitted segments": metrics.retransmitted_segments is not None,
        "out-of-order packets": metrics.out_of_order_packets is not None,
        "paths of flows": metrics.prediction is not None or run.settings.attachment != "none" or not bulk,
        "counters of the agents": bool(run.events_named("agents")) or run.settings.attachment == "none",
        "latency": (metrics.latency is not None and metrics.latency.count > 0) or not measure.probe_interval_ms,
        "CPU of cores": evidence.usage.machine is not None,
        "CPU of the switches": evidence.usage.switch_thread is not None or run.switched_by_kernel,
        "packet-socket drops": bool(tables.sockets) or run.switched_by_kernel,
        "lateness of samples": bool(run.events_named("sampler_stopped")),
        "lateness of ranks": any(row.start_lateness_s is not None for row in tables.ranks),
        "computing of ranks": metrics.training is None or bool(tables.computing),
        "operations of training": metrics.training is None or bool(tables.operations),
        FAULTS: len(metrics.outages) == len(run.scenario.faults),
        "outage": all(outage.at_most_s is not None for outage in faults),
    }
    return (name for name, there in asked.items() if not there)
