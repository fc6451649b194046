"""Did the run do what its scenario says? Pure."""

from __future__ import annotations

from math import inf
from typing import Literal

from testbed.evaluation.metrics import enclosing_window, measured
from testbed.evaluation.pairs import busiest_host_bytes, crossing_bytes
from testbed.evaluation.payload import gse_bytes, probe_frame_bytes, repeated_bytes, tcp_overhead_bytes, worst_excess
from testbed.evaluation.records import RunRecord
from testbed.fidelity.faults import broken_intfs
from testbed.fidelity.grants import shortfall
from testbed.fidelity.verdict import THRESHOLDS, Evidence, FabricEvidence, Finding, grade, percent_limits
from testbed.fidelity.waiting import START_UP_FRAMES, START_UP_S, waiting_share
from testbed.model.oracle import Prediction
from testbed.model.shaping import largest_burst_bytes
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes

HARMLESS_SHORTFALL = 0.03  # of what grants allow: runs without a doubt fall short by up to 2%
LEAST_BUSY_US = 200_000  # a share of less says little
# Cubic's sawtooth where flows share a link, by how many do at most. Measured at 4 and 8 MiB without a doubt: 0.931 to
# 0.994 of their share where two do (16 runs; one of two is often held up while the other recovers), 0.995 to 0.997
# where three do (8 runs). Not moved for what was measured since at 1 MiB on machines nothing was wrong with (103 runs
# of docs/validation.md): 0.816 at the least where two do, 0.923 where three do. What is lost there looks like pauses of
# up to 0.7 s.
TCP_SHARING = {1: 0.0, 2: 0.07}
TCP_SHARING_OF_MORE = 0.01
OUT_OF_STEP = 0.10  # measured, three operations of an iteration under ecmp: up to 9.0% faster than all in step
ACKNOWLEDGEMENT_BYTES = 66  # Ethernet, IPv4, TCP with time stamps; one goes back for every second full segment


def check_wrong_elements(evidence: Evidence) -> Finding | None:
    """The sums are right."""
    wrong = evidence.metrics.wrong_elements or 0
    return grade("wrong_elements", wrong, f"{wrong} elements of the reduced arrays are wrong")


def check_processes(evidence: FabricEvidence) -> Finding | None:
    """Nothing died."""
    died = evidence.run.events_named("process_died")
    shown = ", ".join(f"{event.get('role')} at {float(event.get('died_s', event['t_s'])):.1f} s" for event in died)
    return grade("process_died", len(died), f"died during the run: {shown}")


def check_stopped(evidence: FabricEvidence) -> Finding | None:
    """Nothing was stopped, not even shortly; what was for long has died, as far as a run is concerned.

    What was stopped again and again fell behind: the run is about that process, not about the fabric.
    """
    stopped = evidence.run.events_named("process_stopped")
    shown = ", ".join(str(event["name"]) for event in stopped[:3])
    looks = max((float(event.get("looks", 1)) for event in stopped), default=0)  # older runs do not say how many
    again = "again and again " if looks > (THRESHOLDS["process_stopped"].invalid or 0) else "for a time "
    return grade("process_stopped", looks, f"stopped {again}(SIGSTOP or a debugger): {shown}")


def check_jobs(evidence: FabricEvidence) -> Finding | None:
    """GSOS had exactly the jobs that were announced, from then to the end."""
    work = evidence.run.scenario.workload
    announced = set(work.job_names) if work.announce else set()
    changed = [
        job
        for event in evidence.run.events_named("gsos_jobs")
        for job in sorted(announced | event["before"].keys() | event["after"].keys())
        if (job in event["before"]) != (job in announced) or event["before"].get(job) != event["after"].get(job)
    ]
    shown = ", ".join(changed[:3])
    return grade("jobs", len(changed), f"jobs withdrawn, replaced or announced during the run: {shown}")


def check_iterations(evidence: Evidence) -> Finding | None:
    """Every iteration was measured."""
    wanted, got = evidence.run.scenario.workload.iterations, evidence.metrics.iterations
    return grade("iterations", wanted - got, f"{got} iterations measured, the scenario asks for {wanted}")


def check_settings(evidence: FabricEvidence) -> Finding | None:
    """Every setting was read back as specified."""
    said = evidence.run.network.get("read_back", "all equal")
    return grade("settings", 0 if said == "all equal" else 1, f"network settings differ from the scenario: {said}")


def check_calibration(evidence: FabricEvidence) -> Finding | None:
    """Link rates are as configured."""
    rows = evidence.run.tables.calibration
    if not rows:
        return None
    worst = max(rows, key=lambda row: abs(row.error_fraction))
    return grade(
        "calibration",
        abs(worst.error_fraction),
        f"link rate off by {abs(worst.error_fraction):.1%} on {worst.direction}: measured {worst.measured_mbps:.2f} of "
        f"{worst.configured_mbps:g} Mbit/s ({percent_limits('calibration')})",
    )


def check_receive_window(evidence: Evidence) -> Finding | None:
    """No sender waited for its receiver's window: hosts would set the pace, unseen by any queue.

    After a fault or a loss the window may well fill, for what came later waits behind what is missing; a receiver
    that many send to at once may be what is asked about. Under schemes with grants a window's worth that waits in the
    source queue is how it should be, for nothing else holds TCP back there; it does harm where that queue runs empty,
    and then the ring falls short of what grants allow.
    """
    run = evidence.run
    behind = shortfall(evidence)
    if behind is not None and behind.unexplained <= HARMLESS_SHORTFALL:
        return None
    if run.scenario.faults or run.scenario.fabric.loss_fraction is not None or not run.scenario.workload.in_step:
        return None
    shares = [
        (row.rwnd_limited_us / row.busy_us, row.src_host)
        for row in run.tables.flows
        if row.busy_us is not None and row.busy_us >= LEAST_BUSY_US and row.rwnd_limited_us is not None
    ]
    if not shares:
        return None
    share, worst = max(shares)  # of all flows: slices are dealt in turn, so that one that waits holds up the others
    return grade(
        "receive_window",
        share,
        f"{worst} waited {share:.0%} of its time for its receiver's window ({percent_limits('receive_window')})",
    )


def check_impossible(evidence: Evidence) -> Finding | None:
    """Not faster than physics. A full token bucket lets the first bytes pass for free: allowed for."""
    if evidence.metrics.efficiency is None:
        return None
    return grade(
        "impossible",
        evidence.metrics.efficiency * _metered_share(evidence),
        f"efficiency {evidence.metrics.efficiency:.3f} is above the physical limit",
    )


def check_beyond_placement(evidence: Evidence) -> Finding | None:
    """Not faster than the recorded paths allow; paths that changed during the run cannot be judged so.

    Several operations of a training iteration may be a little faster: where TCP treats flows of a shared link
    unequally, ranks that are done early compute early, and the next operation begins before the last has left the link.
    """
    metrics, scenario = evidence.metrics, evidence.run.scenario
    if metrics.efficiency is None or metrics.prediction is None or scenario.faults or scenario.is_disturbed:
        return None
    if check_impossible(evidence) is not None:
        return None
    several = metrics.training is not None and metrics.training.job.n_operations > 1
    return grade(
        "beyond_placement",
        metrics.efficiency * _metered_share(evidence) / metrics.prediction.efficiency - several * OUT_OF_STEP,
        f"efficiency {metrics.efficiency:.3f}, but the recorded paths allow {metrics.prediction.efficiency:.3f}",
    )


def speed_judged_by(evidence: Evidence) -> Literal["paths", "grants"] | None:
    """Return what a run's speed was held against; None where no check would notice that it is slow.

    A VALID run is then one whose emulator kept up, not one that was as fast as it should have been.
    """
    if shortfall(evidence) is not None:
        return "grants"
    return "paths" if _judged_by_paths(evidence) else None


def _judged_by_paths(evidence: Evidence) -> bool:
    metrics, scenario = evidence.metrics, evidence.run.scenario
    prediction, fabric = metrics.prediction, scenario.fabric
    impaired = (fabric.delay_ms, fabric.loss_fraction, fabric.ecn_threshold_bytes) != (None, None, None)
    if metrics.efficiency is None or prediction is None or not metrics.completion_s:
        return False
    if scenario.faults or scenario.is_disturbed or impaired or not scenario.workload.in_step:
        return False
    shared = max(prediction.max_uplink_flows, prediction.max_downlink_flows) > 1
    return not (shared and scenario.workload.flows_per_hop > 1)


def check_short_of_paths(evidence: Evidence) -> Finding | None:
    """Not slower than the recorded paths allow, but for start-up, answers, and what TCP loses where flows share a link.

    Judged only where what paths allow is what to expect, no mere bound (``WorkloadSpec.in_step``), and nothing else
    explains a difference: no faults, no other traffic, no delay or loss on links, and not several flows per pair on
    shared links (slices dealt in turn wait for the flow TCP treats worst).
    """
    metrics, fabric = evidence.metrics, evidence.run.scenario.fabric
    prediction = metrics.prediction
    if not _judged_by_paths(evidence) or metrics.efficiency is None or prediction is None or not metrics.completion_s:
        return None
    frame_s = frame_bytes(fabric.mtu_bytes) / mbps_to_bytes_per_s(fabric.uplink_mbps)
    start_up = (START_UP_S + START_UP_FRAMES * frame_s) / metrics.completion_s
    waiting, sharing = waiting_share(evidence), _tcp_sharing(prediction)
    answers = ACKNOWLEDGEMENT_BYTES / (2 * frame_bytes(fabric.mtu_bytes))
    short = 1 - metrics.efficiency / prediction.efficiency
    beyond = percent_limits("short_of_paths")
    explained = f"start-up explains {start_up:.1%}, acknowledgements {answers:.1%}"
    explained += f", slices that wait for others {waiting:.1%}" if waiting else ""
    explained += f", TCP on shared links {sharing:.0%}" if sharing else ""
    return grade(
        "short_of_paths",
        short - start_up - answers - waiting - sharing,
        f"{short:.1%} slower than the recorded paths allow; {explained} (beyond that {beyond})",
    )


def _tcp_sharing(prediction: Prediction) -> float:
    most = max(prediction.max_uplink_flows, prediction.max_downlink_flows, 1)
    return TCP_SHARING.get(most, TCP_SHARING_OF_MORE)


def check_settings_after(evidence: FabricEvidence) -> Finding | None:
    """Every queue and rate was at the end what it was at the start, but on links with a fault that nothing healed."""
    said = []
    for event in evidence.run.events_named("read_back"):
        broken = broken_intfs(evidence.run, float(event.get("t_s", inf)))
        texts = map(str, event.get("differences", ()))
        said += [text for text in texts if text.partition(":")[0] not in broken]  # each begins with what it is about
    return grade("settings_after", len(said), f"settings changed during the run: {'; '.join(said[:3])}")


def _metered_share(evidence: Evidence) -> float:
    """Return how much of what the busiest host receives has to wait for tokens: all but what a full bucket holds."""
    run, training = evidence.run, evidence.metrics.training
    bursts = 1 if training is None else training.job.n_operations  # a bucket fills while a link idles
    return max(0.0, 1 - bursts * largest_burst_bytes(run.scenario.fabric) / busiest_host_bytes(run))


def check_uplink_bytes(evidence: Evidence) -> Finding | None:
    """The uplinks carried what the workload moves: payload = bytes - packets x headers, acknowledgements cancel out.

    Segments that TCP and frames that agents sent again may cross again; with other traffic only too little is wrong.
    """
    run, load = evidence.run, evidence.metrics.uplinks
    expected = crossing_bytes(run) * len(measured(run.tables.iterations))
    if load is None or not expected:
        return None
    overhead = tcp_overhead_bytes(run)
    got = load.wire_bytes - load.packets * overhead - gse_bytes(run, load.packets)
    got -= _probe_surplus_bytes(run, overhead)
    repeated = repeated_bytes(run, evidence.metrics, by_agents=True)
    others = run.scenario.has_other_traffic
    too_much = 0.0 if others else max(got - expected - repeated, 0.0)
    off = max(expected - got, too_much) / expected
    return grade(
        "uplink_bytes",
        off,
        f"uplinks carried {got / 1e6:.3f} MB of payload, the workload moves {expected / 1e6:.3f} MB "
        f"({off:.1%} off, {percent_limits('uplink_bytes')})",
    )


def check_host_bytes(evidence: Evidence) -> Finding | None:
    """Every host's link brought what the formula of the workload says, within leaves too."""
    found = worst_excess(evidence.run, evidence.metrics)
    if found is None:
        return None
    worst, off = found
    return grade(
        "host_bytes",
        off,
        f"{worst.host} was brought {worst.counted_bytes / 1e6:.3f} MB of payload, by its formula the workload "
        f"brings it {worst.expected_bytes / 1e6:.3f} MB ({off:.1%} off, {percent_limits('host_bytes')})",
    )


def _probe_surplus_bytes(run: RunRecord, overhead: int) -> float:
    """Return what probes add to bytes - packets x TCP overhead on the uplinks."""
    frame = probe_frame_bytes(run)
    leaf = {host.name: host.leaf for host in run.topology.hosts}
    period = enclosing_window(run)
    crossing = sum(
        leaf[row.src_host] != leaf[row.dst_host] and any(start <= row.sent_s <= end for start, end in period)
        for row in run.tables.probes
    )
    return float(crossing * (frame - overhead))
