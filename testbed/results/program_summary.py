"""The ``summary.json`` of a program's run: what the fabric carried, what the program said, and the verdict."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from testbed.evaluation.program import ProgramMetrics, measure_program
from testbed.evaluation.series import total
from testbed.evaluation.usage import Usage
from testbed.fidelity.program import evidence_of_program, judge_program
from testbed.results.endings import PARTIAL
from testbed.results.run import Run
from testbed.results.summary import (
    agent_fields,
    agents_wait_field,
    cpu_details,
    latency_fields,
    made_of_rows,
    probe_delay_field,
    switching_details,
    verdict_fields,
)


def summarise_program(run: Run) -> dict[str, Any]:
    """Compute the summary of a run of ``gse exec``; null is "not measured".

    Raises ResultsError when its events or rows contradict the scenario.
    """
    return made_of_rows(run, _summary)


def _summary(run: Run) -> dict[str, Any]:
    record, metrics = run.record, measure_program(run.record)
    evidence = evidence_of_program(record, metrics)
    verdict = judge_program(evidence, metrics, ranks_poll=bool((run.program or {}).get("mpi")))
    return {
        **verdict_fields(run, verdict),
        "program": _program(run, metrics),
        **_others(metrics),
        "reported": [{**e["values"], "rank": e["rank"]} for e in record.events_named("reported")],
        "uplink_utilization": metrics.uplinks.utilization if metrics.uplinks else None,
        "uplink_max_over_mean": metrics.uplinks.max_over_mean if metrics.uplinks else None,
        "latency_ms": latency_fields(metrics.latency),
        "dropped_packets": metrics.dropped_packets,
        "retransmitted_segments": _whole(total(host.retransmitted_segments for host in metrics.hosts)),
        "out_of_order_packets": _whole(total(host.out_of_order_packets for host in metrics.hosts)),
        "run_dir": str(run.path.with_name(run.path.name.removesuffix(PARTIAL))),
        **agent_fields(run),
        **agents_wait_field(evidence.usage),
        "details": {
            **_details(metrics, evidence.usage),
            **switching_details(run, evidence.link_rates),
            **probe_delay_field(evidence.probe_delay),
        },
    }


def _program(run: Run, metrics: ProgramMetrics) -> dict[str, Any]:
    failed = run.record.events_named("program_failed")
    return {
        "argv": (run.program or {}).get("argv"),
        "mpi": (run.program or {}).get("mpi"),
        "failed": str(failed[0]["message"]) if failed else None,
        "duration_s": metrics.span[1] - metrics.span[0] if metrics.span else None,
        "communicating_s": metrics.communicating_s,
        "ranks": [asdict(rank) for rank in metrics.ranks],
        "hosts": [asdict(host) for host in metrics.hosts],
    }


def _others(metrics: ProgramMetrics) -> dict[str, Any]:
    """Return what was sent beside the program; nothing where there was no such traffic."""
    if not metrics.others:
        return {}
    kinds = [asdict(one) for one in metrics.others]
    sent = {"sent_bytes": metrics.other_sent_bytes, "own_sent_bytes": metrics.own_sent_bytes}
    return {"other_traffic": {**sent, "kinds": kinds}}


def _details(metrics: ProgramMetrics, used: Usage) -> dict[str, Any]:
    return {
        "communicating": [list(window) for window in metrics.communicating],
        "loaded_uplinks": metrics.uplinks.loaded if metrics.uplinks else None,
        "cpu": cpu_details(used),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
