"""Did the emulator lose packets that the modelled fabric did not? Pure."""

from __future__ import annotations

from testbed.evaluation.agents import DROPPED
from testbed.evaluation.lookups import lookups
from testbed.evaluation.metrics import measured
from testbed.evaluation.pairs import all_bytes
from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Series, collect, link_series, queue_series
from testbed.evaluation.softnet import softnet
from testbed.fidelity.faults import faulted_intfs
from testbed.fidelity.verdict import Evidence, FabricEvidence, Finding, grade, limits
from testbed.model.schemes import profile_of
from testbed.model.shaping import VOID_INTFS
from testbed.wire import tcp_payload_bytes

LOST_PER_DROP = 0.5  # frames given up behind one that a queue refused: measured up to 0.29
RESENT_PER_DROP = 1.1  # after a loss TCP may send again what had arrived: measured up to 3%
RESENT_FOR_NOTHING = 3  # last segments TCP guesses lost in a run nothing is wrong with


def _received_packets(run: RunRecord) -> float:
    """Return how many packets the interfaces received while sampled: the measure for losses."""
    return sum(_growth(series) for series in link_series(run.tables.links, "rx_packets").values())


def _growth(series: Series) -> float:
    return series.values[-1] - series.values[0]


def _between(sent: Series, received: Series) -> float:
    """Return how many frames are sent, on average, while one end has been read and the other has not, twice."""
    duration_s = sent.times_s[-1] - sent.times_s[0]
    apart_s = sum(abs(sent.times_s[end] - received.times_s[end]) for end in (0, -1))
    return _growth(sent) * apart_s / duration_s if duration_s > 0 else 0.0


def _lost_text(lost: float, packets: float, where: str, check: str) -> str:
    return f"{lost:.0f} packets lost {where}, {lost / packets:.1e} of {packets:.0f} ({limits(check)})"


def check_socket_drops(evidence: FabricEvidence) -> Finding | None:
    """The packet sockets of switches and agents lost nothing. Agents in hosts tell of theirs themselves."""
    sockets = collect(
        evidence.run.tables.sockets,
        key=lambda row: (row.process, row.inode_or_port),
        t_s=lambda row: row.t_s,
        value=lambda row: row.drops,
    )
    lost = sum(max(_growth(series), 0.0) for series in sockets.values())  # a socket opened anew counts from 0
    if evidence.run.settings.attachment == "host":
        lost += sum(float(said["socket_drops"]) for said in evidence.run.events_named("agents"))
    packets = max(_received_packets(evidence.run), 1.0)
    text = _lost_text(lost, packets, "in packet sockets of switches and agents", "socket_drops")
    return grade("socket_drops", lost / packets, text)


def check_upcalls_lost(evidence: FabricEvidence) -> Finding | None:
    """Every packet a switch had no rule for got one: a question nobody takes is a packet that no queue has dropped."""
    found = lookups(evidence.run)
    if found is None:
        return None
    packets = max(found.hit + found.missed, 1)
    text = _lost_text(found.lost, packets, "in upcalls, which nobody answered", "upcalls_lost")
    return grade("upcalls_lost", found.lost / packets, text)


def check_softnet_drops(evidence: FabricEvidence) -> Finding | None:
    """Cores took in every packet they received; whose packets were dropped, this run's or others', is not known."""
    found = softnet(evidence.run)
    if found is None:
        return None
    text = f"cores dropped {found.dropped} packets they had received (softnet), of this run or of others"
    return grade("softnet_drops", found.dropped, f"{text} ({limits('softnet_drops')})")


def check_interface_drops(evidence: FabricEvidence) -> Finding | None:
    """Interfaces lost nothing outside the modelled queues."""
    faulted = {*faulted_intfs(evidence.run), *VOID_INTFS}
    lost = sum(
        _growth(series)
        for column in ("rx_dropped", "tx_dropped")
        for intf, series in link_series(evidence.run.tables.links, column).items()
        if intf not in faulted
    )
    packets = max(_received_packets(evidence.run), 1.0)
    text = _lost_text(lost, packets, "at interfaces, outside the queues", "interface_drops")
    return grade("interface_drops", lost / packets, text)


def check_unaccounted(evidence: FabricEvidence) -> Finding | None:
    """What left one end of a link arrived at the other.

    A frame per end may be in between when counters are read, and what is sent between the reading of one end and the
    other's: hosts' and switches' counters are read one after the other, some ms apart.
    """
    run, faulted = evidence.run, faulted_intfs(evidence.run)
    sent, received = (link_series(run.tables.links, column) for column in ("tx_packets", "rx_packets"))
    worst, where, frames = 0.0, "", 0.0
    for direction in run.topology.directions:
        src, dst = direction.src.intf, direction.dst.intf
        if src not in sent or dst not in received or {src, dst} & faulted:
            continue
        left = _growth(sent[src])
        missing = abs(left - _growth(received[dst]))
        share = max(missing - 2 - _between(sent[src], received[dst]), 0.0) / max(left, 1.0)
        if share > worst:
            worst, where, frames = share, direction.name, missing
    return grade("unaccounted", worst, f"{frames:.0f} frames not accounted for on {where} ({limits('unaccounted')})")


def check_lost_in_switch(evidence: FabricEvidence) -> Finding | None:
    """What entered a switch left it, or its queues dropped it.

    EMULATION: where a full queue refuses ovs-vswitchd a frame, it gives up whatever else it had for that port just then
    (``netdev_linux_sock_batch_send``), which no counter has: so much is allowed for. Not judged: switches on links with
    faults, and leaves whose hosts' frames GSPs take and make others of.
    """
    run, faulted = evidence.run, faulted_intfs(evidence.run)
    entered, left = (link_series(run.tables.links, column) for column in ("rx_packets", "tx_packets"))
    dropped, waiting = (queue_series(run.tables.queues, column) for column in ("dropped_packets", "backlog_packets"))
    known = entered.keys() & left.keys() & dropped.keys() & waiting.keys() - faulted
    worst, where, frames = 0.0, "", 0.0
    for switch in (*run.topology.spines, *(run.topology.leaves if run.settings.attachment == "none" else ())):
        ports = {direction.src.intf for direction in run.topology.directions if direction.src.node == switch.name}
        if not ports <= known:
            continue
        came, went, gone, waits = (
            sum(_growth(counted[port]) for port in ports) for counted in (entered, left, dropped, waiting)
        )
        lost = came - went - gone - waits
        share = max(lost - LOST_PER_DROP * gone - 2, 0.0) / max(came, 1.0)
        if share > worst:
            worst, where, frames = share, switch.name, lost
    return grade(
        "lost_in_switch",
        worst,
        f"{frames:.0f} frames entered {where} and neither left it nor were dropped by its queues "
        f"({limits('lost_in_switch')} of those that entered)",
    )


def check_resent(evidence: Evidence) -> Finding | None:
    """TCP sent again what queues had dropped, and hardly anything else.

    Else a part of the emulator stood still for longer than a round trip, which nothing else may show: a stall of 50 ms
    is over before the next sample. (Where the whole machine stands still, so do TCP's timers.) Not where frames reach
    hosts out of order by design, for TCP takes that for loss.
    """
    run, metrics = evidence.run, evidence.metrics
    scenario, rounds = run.scenario, len(measured(run.tables.iterations))
    if scenario.faults or scenario.fabric.loss_fraction is not None or not _delivers_in_order(run) or not rounds:
        return None
    if metrics.retransmitted_segments is None or metrics.dropped_packets is None:
        return None
    said = run.events_named("agents")
    by_agents = sum(int(said[-1][name]) for name in DROPPED if name in said[-1]) if said else 0
    dropped, resent = metrics.dropped_packets + by_agents, metrics.retransmitted_segments
    segments = max(1, rounds * all_bytes(run) // tcp_payload_bytes(scenario.fabric.mtu_bytes))
    beyond = resent - RESENT_PER_DROP * dropped - RESENT_FOR_NOTHING
    return grade(
        "resent",
        beyond / segments,
        f"TCP sent {resent} of {segments} segments again where {dropped} frames were dropped: something stood still, "
        f"or delays grew ({limits('resent')} beyond {RESENT_PER_DROP:g} for each dropped, and {RESENT_FOR_NOTHING})",
    )


def _delivers_in_order(run: RunRecord) -> bool:
    settings = run.settings
    if settings.attachment == "none" or settings.passthrough:
        return True
    return profile_of(run.scheme, run.scenario.fabric, run.scenario.gsp).reorder
