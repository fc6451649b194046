"""Was the machine fast enough to emulate the run? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from testbed.evaluation.training import latest_rank
from testbed.evaluation.usage import AGENT_ROLE
from testbed.fidelity.verdict import THRESHOLDS, Evidence, FabricEvidence, Finding, grade, limits, percent_limits
from testbed.fidelity.waiting import waiting_share
from testbed.percentile import nearest_rank
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes


def check_switch_core(evidence: FabricEvidence) -> Finding | None:
    """The switching thread had time to spare."""
    thread = evidence.usage.switch_thread
    if thread is None:
        return None
    return grade(
        "switch_core",
        thread.run_fraction,
        f"the switching thread fills its core: {thread.run_fraction:.1%} busy ({percent_limits('switch_core')})",
    )


def check_switch_bound(evidence: Evidence) -> Finding | None:
    """If what the switches run on was full, it was not what limited the collective."""
    metrics, scenario, full = evidence.metrics, evidence.run.scenario, _full(evidence)
    if full is None or metrics.efficiency is None or metrics.prediction is None:
        return None
    if scenario.faults or scenario.is_disturbed or not scenario.workload.in_step:
        return None
    short = 1 - metrics.efficiency / metrics.prediction.efficiency - waiting_share(evidence)
    return grade(
        "switch_bound",
        short,
        f"{full} full and the collective {short:.0%} slower than its placement allows "
        f"({percent_limits('switch_bound')})",
    )


def _full(evidence: Evidence) -> str | None:
    """Say what of the switches' had no time to spare: their thread's core, or all cores where the kernel switches."""
    thread, machine = evidence.usage.switch_thread, evidence.usage.machine
    if evidence.run.switched_by_kernel:
        check, what = "busy_cores", "all cores were"
        busy = None if machine is None else 1 - machine.idle_fraction
    else:
        check, what = "switch_core", "the switches' core was"
        busy = None if thread is None else thread.run_fraction
    limit = THRESHOLDS[check].suspect
    return what if busy is not None and limit is not None and busy > limit else None


def check_switch_wait(evidence: FabricEvidence) -> Finding | None:
    """The switching thread got a core when it was ready.

    As a share of all time, in which every frame at a switch waited with it: how much of the time it was ready depends
    on how often it is woken.
    """
    thread = evidence.usage.switch_thread
    if thread is None:
        return None
    return grade(
        "switch_wait",
        thread.wait_fraction,
        f"the switching thread waited for a core {thread.wait_fraction:.0%} of the time "
        f"({percent_limits('switch_wait')})",
    )


def check_agents_wait(evidence: FabricEvidence) -> Finding | None:
    """The GSP agents got a core when they were ready: a grant that goes out late is time a link idles."""
    agents = evidence.usage.roles.get(AGENT_ROLE)
    share = None if agents is None else agents.wait_share
    if share is None:
        return None
    return grade(
        "agents_wait",
        share,
        f"agents waited {share:.0%} of their ready time for a core ({percent_limits('agents_wait')})",
    )


def check_agent_core(evidence: FabricEvidence) -> Finding | None:
    """No agent's thread filled its core, however many cores were idle beside it."""
    thread = evidence.usage.agent_thread
    if thread is None:
        return None
    return grade(
        "agent_core",
        thread.run_fraction,
        f"an agent's thread fills its core: {thread.run_fraction:.1%} busy ({percent_limits('agent_core')})",
    )


def check_rank_core(evidence: FabricEvidence) -> Finding | None:
    """No rank's thread filled its core while data moved: what ranks compute is waited for, not computed."""
    thread = evidence.usage.rank_thread
    if thread is None:
        return None
    return grade(
        "rank_core",
        thread.run_fraction,
        f"a rank's thread fills its core: {thread.run_fraction:.1%} busy ({percent_limits('rank_core')})",
    )


def check_rank_wait(evidence: FabricEvidence) -> Finding | None:
    """No rank waited long for a core while data moved: what it had to send and to pass on waited with it."""
    thread = evidence.usage.waiting_rank
    if thread is None:
        return None
    return grade(
        "rank_wait",
        thread.wait_fraction,
        f"a rank's thread waited for a core {thread.wait_fraction:.1%} of the time ({percent_limits('rank_wait')})",
    )


def check_busy_cores(evidence: FabricEvidence) -> Finding | None:
    """The machine had idle time."""
    machine = evidence.usage.machine
    if machine is None:
        return None
    busy = 1 - machine.idle_fraction
    return grade(
        "busy_cores", busy, f"all {len(machine.busy_fractions)} cores {busy:.1%} busy ({percent_limits('busy_cores')})"
    )


def check_foreign_load(evidence: FabricEvidence) -> Finding | None:
    """Nobody else used the machine (tick-based minus schedstat: good for tenths of a core).

    The kernel's datapath switches in interrupts, which belong to no thread of the run and yet to the run.
    """
    machine, roles = evidence.usage.machine, evidence.usage.roles
    if machine is None or not roles:
        return None
    foreign = foreign_cores(
        machine.busy_fractions,
        machine.interrupt_fractions if evidence.run.switched_by_kernel else (),
        [role.run_cores for role in roles.values()],
    )
    return grade(
        "foreign_load", foreign, f"programs outside the run used {foreign:.2f} cores ({limits('foreign_load')})"
    )


def foreign_cores(busy: Iterable[float], switching: Iterable[float], running: Iterable[float]) -> float:
    """Return the cores used by others than the run: what of their busy shares no role of the run had.

    ``switching``: interrupts that are the run's own. A little below 0 where nobody else was there: ticks are coarse.
    """
    return sum(busy) - sum(running) - sum(switching)


def check_steal(evidence: FabricEvidence) -> Finding | None:
    """The hypervisor, if any, let us run."""
    machine = evidence.usage.machine
    if machine is None:
        return None
    return grade(
        "steal",
        machine.steal_fraction,
        f"the hypervisor took {machine.steal_fraction:.1%} of the CPU ({percent_limits('steal')})",
    )


def check_rank_lateness(evidence: Evidence) -> Finding | None:
    """Ranks started together."""
    rows = [row for row in evidence.run.tables.ranks if not row.warmup and row.start_lateness_s is not None]
    if not rows or not evidence.metrics.completion_s:
        return None
    worst = max(rows, key=lambda row: row.start_lateness_s or 0.0)
    lateness_s = worst.start_lateness_s or 0.0
    return grade(
        "rank_lateness",
        lateness_s / evidence.metrics.completion_s,
        f"rank {worst.rank} began {lateness_s * 1000:.1f} ms late ({percent_limits('rank_lateness')} of completion)",
    )


def check_compute_lateness(evidence: Evidence) -> Finding | None:
    """In training iterations no rank computed longer than it was asked to."""
    worst = latest_rank(evidence.run)
    if worst is None or not evidence.metrics.completion_s:
        return None
    return grade(
        "compute_lateness",
        worst.excess_s / evidence.metrics.completion_s,
        f"rank {worst.rank} on {worst.host} computed {worst.excess_s * 1000:.1f} ms longer than the "
        f"{worst.compute_s:.3f} s asked for, its latest timer {worst.latest_s * 1000:.1f} ms "
        f"late ({percent_limits('compute_lateness')} of completion)",
    )


def check_probe_lateness(evidence: FabricEvidence) -> Finding | None:
    """Probes were sent on time, and those left out because another was late would have been.

    A pause is one late probe of each host however long it lasts: what was left out meanwhile has no row, and is in what
    the program itself tells.
    """
    late = (row.send_lateness_s for row in evidence.run.tables.probes if row.send_lateness_s is not None)
    of_sent_s = nearest_rank(late, 99)
    if of_sent_s is None:
        return None
    said = evidence.run.events_named("probes_stopped")
    p99_s = max([of_sent_s, *(_number(event.get("send_lateness_p99_s")) for event in said)])
    left_out = sum(int(_number(event.get("missed"))) for event in said)
    fabric = evidence.run.scenario.fabric
    frame_s = frame_bytes(fabric.mtu_bytes) / mbps_to_bytes_per_s(fabric.uplink_mbps)
    unit_s = max(2 * frame_s, 0.010)
    return grade(
        "probe_lateness",
        p99_s / unit_s,
        f"1% of the probes were sent more than {p99_s * 1000:.2f} ms late (limit {unit_s * 1000:.1f} ms)"
        + (f", {left_out} left out for that" if left_out else ""),
    )


def check_sampler_lateness(evidence: FabricEvidence) -> Finding | None:
    """Samples were taken on time."""
    interval_s = evidence.run.scenario.measure.sample_interval_s
    share = lateness_of_samples(evidence.run.events_named("sampler_stopped"), interval_s)
    if share is None:
        return None
    return grade(
        "sampler_lateness",
        share,
        f"1% of the samples were more than {share * interval_s * 1000:.0f} ms late, every {interval_s:g} s one was due",
    )


def lateness_of_samples(told: Iterable[Mapping[str, Any]], interval_s: float) -> float | None:
    """Return the p99 of samples' lateness over their interval, from events ``sampler_stopped``; None: nobody told."""
    late_s = (event.get("lateness_p99_s") for event in told)
    known_s = [float(one) for one in late_s if isinstance(one, int | float)]
    return max(known_s) / interval_s if known_s else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def check_clock_step(evidence: FabricEvidence) -> Finding | None:
    """Nobody set the machine's clock while arrivals were told by it."""
    error_s = max(
        (
            float(told_s)
            for name in ("probes_stopped", "crossflows_stopped", "replay_stopped", "mice_stopped")
            for event in evidence.run.events_named(name)
            if isinstance(told_s := event.get("receive_error_estimate_s"), int | float)
        ),
        default=0.0,
    )
    return grade(
        "clock_step",
        error_s,
        f"the machine's clock was set meanwhile: latencies are wrong by up to {error_s * 1000:.3g} ms "
        f"({limits('clock_step')} s)",
    )


def check_sender_lateness(evidence: FabricEvidence) -> Finding | None:
    """What is sent beside the workload left its hosts when it was due: replayed frames, flows, small messages.

    Of a burst the first flow counts: its flows are begun one after the other.
    """
    tables = evidence.run.tables
    bursts_s: dict[int, float] = {}
    for row in tables.cross_flows:
        if row.burst is not None:
            bursts_s[row.burst] = min(row.start_lateness_s, bursts_s.get(row.burst, inf))
    lateness_s = {
        "replayed frames": [row.send_lateness_s for row in tables.replay],
        "Poisson flows": [row.start_lateness_s for row in tables.cross_flows if row.burst is None],
        "bursts": list(bursts_s.values()),
        "small messages": [row.send_lateness_s for row in tables.messages],
    }
    found = {what: p99_s for what, late_s in lateness_s.items() if (p99_s := nearest_rank(late_s, 99)) is not None}
    if not found:
        return None
    what, p99_s = max(found.items(), key=lambda item: item[1])
    return grade(
        "sender_lateness",
        p99_s,
        f"{what} left up to {p99_s * 1000:.1f} ms late (p99; {limits('sender_lateness')} s)",
    )
