"""A run's ``summary.json``: its numbers, its verdict, and what to expect beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from statistics import median
from typing import Any, Final

from testbed.errors import Problem, ResultsError
from testbed.evaluation.crossflows import Replayed, offered_load
from testbed.evaluation.linkrates import LinkRate, shaped
from testbed.evaluation.lookups import lookups
from testbed.evaluation.metrics import Latency, Metrics, measured, windows
from testbed.evaluation.payload import worst_excess
from testbed.evaluation.probedelay import ProbeDelay
from testbed.evaluation.queues import largest_backlogs
from testbed.evaluation.recovery import recoveries
from testbed.evaluation.softnet import softnet
from testbed.evaluation.usage import AGENT_ROLE, Usage
from testbed.fidelity import Verdict, evidence_of, judge, speed_judged_by
from testbed.fidelity.links import off_most, stood_longest
from testbed.model.fault_spec import BREAKS
from testbed.model.oracle import Prediction
from testbed.results.endings import PARTIAL
from testbed.results.run import Run

THREADS: Final = ("switch_thread", "machine", "agent_thread", "rank_thread", "waiting_rank")  # of ``Usage``


def summarise(run: Run) -> dict[str, Any]:
    """Compute the summary of a run from its rows; null is "not measured".

    Raises ResultsError when the rows contradict the scenario (a rank or a path that cannot be).
    """
    return made_of_rows(run, _summary)


def made_of_rows(run: Run, make: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``make`` makes of a run. Raises ResultsError where it finds what cannot be."""
    try:
        return make(run)
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise ResultsError(
            Problem("rows do not fit the scenario", str(run.path), str(error), "rows and events of this scenario")
        ) from error


def summary_of(run: Run) -> Mapping[str, Any]:
    """Return the summary stored with a run; where there is none, what this version makes of it. Raises ResultsError."""
    return run.summary or _made_of(run)


def judged_anew(run: Run) -> Run:
    """Return a run with the summary this version makes of it; one of a user's program as it is. Raises ResultsError."""
    return run if run.program is not None else replace(run, summary=_made_of(run), judged_anew=True)


def _made_of(run: Run) -> dict[str, Any]:
    """Make a summary; tables are read for it and not kept with the run: those of a campaign may be gigabytes."""
    return summarise(replace(run))


def _summary(run: Run) -> dict[str, Any]:
    evidence = evidence_of(run.record)
    verdict, metrics = judge(evidence), evidence.metrics
    return {
        **verdict_fields(run, verdict),
        "speed_judged_by": speed_judged_by(evidence),
        "completion_s": metrics.completion_s,
        "ideal_s": metrics.ideal.ideal_s or None,  # 0 where no bulk is moved
        "efficiency": metrics.efficiency,
        "algbw_mbps": metrics.algbw_mbps,
        "busbw_mbps": metrics.busbw_mbps,
        "busbw_limit_mbps": metrics.ideal.busbw_limit_mbps,
        "uplink_utilization": metrics.uplinks.utilization if metrics.uplinks else None,
        "uplink_max_over_mean": metrics.uplinks.max_over_mean if metrics.uplinks else None,
        **_jobs(metrics, run),
        **_pairs(metrics, run),
        **cross_fields(metrics, run),
        **_training(metrics),
        "latency_ms": latency_fields(metrics.latency),
        "queue_max_bytes": largest_backlogs(run.record),
        "dropped_packets": metrics.dropped_packets,
        "retransmitted_segments": metrics.retransmitted_segments,
        "tcp_timeouts": metrics.timeouts,
        "out_of_order_packets": metrics.out_of_order_packets,
        "wrong_elements": metrics.wrong_elements,
        "host_bytes_off": _host_bytes_off(run, metrics),
        "outage_ms": _outage_ms(metrics),
        "predicted_efficiency": metrics.prediction.efficiency if metrics.prediction else None,
        "run_dir": str(run.path.with_name(run.path.name.removesuffix(PARTIAL))),
        **_recovery(run),
        **agent_fields(run),
        **agents_wait_field(evidence.usage),
        "details": {
            **_details(metrics, evidence.usage),
            **switching_details(run, evidence.link_rates),
            **probe_delay_field(evidence.probe_delay),
        },
    }


def verdict_fields(run: Run, verdict: Verdict) -> dict[str, Any]:
    """Return which run a summary is of, and what the run is worth."""
    return {
        "format_version": run.format_version,
        "scenario": run.scenario.name,
        "scheme": run.scheme,
        "seed": run.seed,
        "verdict": verdict.level.value,
        "reasons": list(verdict.reasons),
        "checks": [finding.check for finding in verdict.findings],
    }


def _training(metrics: Metrics) -> dict[str, Any]:
    """Return what training iterations consist of; nothing for other workloads."""
    found = metrics.training
    if found is None:
        return {}
    return {
        "training": {
            "compute_s": found.compute_s,
            "exposed_share": found.exposed_share,
            "ideal_exposed_share": found.ideal_exposed_share,
            "operations": {kind.name: asdict(kind) for kind in found.kinds},
            "scaled": found.job.to_json(),
        }
    }


def _host_bytes_off(run: Run, metrics: Metrics) -> float | None:
    """Return how far the counters of a host's link are from the workload's formula, as a fraction, at worst."""
    found = worst_excess(run.record, metrics)
    return None if found is None else found[1]


def _recovery(run: Run) -> dict[str, Any]:
    """Return how long the slowest GSP used a path that had broken; nothing without agents or without such faults."""
    found = recoveries(run.record)
    if not found:
        return {}
    return {
        "recovery_ms": _worst_ms([one.last_s for one in found]),
        "local_recovery_ms": _worst_ms([one.local_s for one in found]),
        "recoveries": [asdict(one) for one in found],
    }


def _worst_ms(times_s: list[float | None]) -> float | None:
    known = [t_s for t_s in times_s if t_s is not None]
    return max(known) * 1000 if len(known) == len(times_s) else None


def agent_fields(run: Run) -> dict[str, Any]:
    """Return what the GSP agents counted; nothing for a scheme without agents."""
    said = run.record.events_named("agents")
    if not said:
        return {}
    totals = {name: value for name, value in said[-1].items() if name not in ("event", "t_s")}
    first = ("containers", "short_containers", "reorder_depth_max_bytes", "grants", "dgsq_wait_ms", "gap_timeouts")
    return {
        **{name: totals[name] for name in first},
        "agent_cpu_s": totals["cpu_s"],
        "agent_cpu_us_per_frame": _ratio(totals["cpu_s"] * 1e6, totals.get("host_in_frames")),  # not in older runs
        "control_fraction": _ratio(totals["control_out"], totals["data_out"] + totals["control_out"]),
        "scheduling_fraction": _ratio(
            totals["control_out"] - totals["hellos"], totals["data_out"] + totals["control_out"] - totals["hellos"]
        ),
        "agents": {name: value for name, value in totals.items() if name not in (*first, "cpu_s")},
    }


def agents_wait_field(used: Usage) -> dict[str, Any]:
    """Return which share of their ready time agents waited for a core; nothing for a scheme without agents."""
    return {"agents_wait_fraction": used.roles[AGENT_ROLE].wait_share} if AGENT_ROLE in used.roles else {}


def probe_delay_field(found: ProbeDelay | None) -> dict[str, Any]:
    """Return what probes took and what queues explain of it; null where that is not judged."""
    return {"probe_delay": asdict(found) if found else None}


def _ratio(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None


def _jobs(metrics: Metrics, run: Run) -> dict[str, Any]:
    """Return when each job was done; nothing where there is one only."""
    if run.scenario.workload.jobs == 1:
        return {}
    done_s = list(metrics.job_completions_s)
    return {"jobs": {"completion_s": done_s, "first_s": min(done_s, default=None), "last_s": max(done_s, default=None)}}


def _pairs(metrics: Metrics, run: Run) -> dict[str, Any]:
    """Return what is asked where every pair is on its own, or small messages are sent; else nothing."""
    found: dict[str, Any] = {}
    if run.scenario.workload.independent:
        found["fairness"] = metrics.fairness
    if run.scenario.workload.kind == "incast":
        found["receiver_utilization"] = metrics.receiver_utilization
    if run.scenario.workload.mice_interval_ms:
        found["mice_latency_ms"] = latency_fields(metrics.mice)
    return found


def cross_fields(metrics: Metrics, run: Run) -> dict[str, Any]:
    """Return what became of the cross traffic; nothing of what there is none of."""
    cross, found = run.scenario.cross_traffic, dict[str, Any]()
    if cross.poisson is not None:
        found["flow_times"] = {name: asdict(times) for name, times in metrics.flow_times.items()}
        found["poisson_load"] = offered_load(run.record, windows(measured(run.record.tables.iterations)))
    if cross.bursts is not None:
        times_s = [one.completion_s for one in metrics.bursts if one.completion_s is not None]
        found["bursts"] = {
            "count": len(metrics.bursts),
            "missing": len(metrics.bursts) - len(times_s),
            "median_s": median(times_s) if len(times_s) == len(metrics.bursts) and times_s else None,
            "worst_s": max(times_s) if len(times_s) == len(metrics.bursts) and times_s else None,
            "ideal_s": metrics.bursts[0].ideal_s if metrics.bursts else None,
            "each": [asdict(one) for one in metrics.bursts],
        }
    if cross.replay is not None:
        sent = metrics.replayed
        found["replay"] = {
            **(asdict(sent) if sent else dict.fromkeys(field.name for field in fields(Replayed))),
            "lost": sent.sent - sent.received if sent else None,
            **_left_out(run),
        }
    return found


def _left_out(run: Run) -> dict[str, int | None]:
    """Return how many frames of a capture were not sent: the run was over before, or nobody can send them."""
    said = run.record.events_named("replay_stopped")
    return {name: said[-1].get(name) if said else None for name in ("unsent", "unmapped")}


def latency_fields(latency: Latency | None) -> dict[str, float | int | None]:
    """Return a latency as summaries have it; nothing was sent where it is None."""
    if latency is None:
        return {"p50": None, "p99": None, "max": None, "count": 0, "lost": 0}
    return {
        "p50": latency.p50_ms,
        "p99": latency.p99_ms,
        "max": latency.max_ms,
        "count": latency.count,
        "lost": latency.lost,
    }


def _outage_ms(metrics: Metrics) -> float | None:
    pauses = [outage.pause_s for outage in metrics.outages if outage.action in BREAKS and outage.pause_s is not None]
    return max(pauses) * 1000 if pauses else None


def _details(metrics: Metrics, used: Usage) -> dict[str, Any]:
    return {
        "iterations": metrics.iterations,
        "completions_s": list(metrics.completions_s),
        "bottleneck": metrics.ideal.bottleneck,
        "hop_rate_mbps": metrics.ideal.hop_rate_mbps,
        "rounds_s": metrics.rounds.least_s if metrics.rounds else None,
        "rounds_depth": metrics.rounds.depth if metrics.rounds else None,
        "payload_fraction": metrics.ideal.payload_fraction,
        "placement": _placement(metrics.prediction),
        "loaded_uplinks": metrics.uplinks.loaded if metrics.uplinks else None,
        "outages": [asdict(outage) for outage in metrics.outages],
        "usual_pause_ms": None if metrics.usual_pause_s is None else metrics.usual_pause_s * 1000,
        "cpu": cpu_details(used),
    }


def cpu_details(used: Usage) -> dict[str, Any]:
    """Return what the run cost the machine, role by role, and the threads and cores that checks look at."""
    parts = {name: getattr(used, name) for name in THREADS}
    return {
        "roles": {role: asdict(cost) for role, cost in used.roles.items()},
        **{name: None if part is None else asdict(part) for name, part in parts.items()},
    }


def switching_details(run: Run, rates: tuple[LinkRate, ...]) -> dict[str, Any]:
    """Return how links sent while frames waited, what switches looked up and cores dropped; null where nobody knows."""
    found, cores = lookups(run.record), softnet(run.record)
    worst, longest = off_most(rates), stood_longest(rates)
    return {
        "link_rates": {
            "links": len(shaped(run.record)),
            "told": sum(one.ratio is not None for one in rates),
            "worst": None if worst is None else asdict(worst),
            "longest_stall": None if longest is None else asdict(longest),
        }
        if rates
        else None,
        "lookups": None if found is None else asdict(found),
        "softnet": None if cores is None else asdict(cores),
    }


def _placement(prediction: Prediction | None) -> dict[str, Any] | None:
    if prediction is None:
        return None
    return {
        "max_uplink_flows": prediction.max_uplink_flows,
        "max_downlink_flows": prediction.max_downlink_flows,
        "busiest": prediction.busiest,
    }
