"""How much forwarding a scenario asks of the machine, and how much a machine can give. Pure.

The unit is the *crossing*: one frame passing one switch. A frame between leaves crosses three
switches, one within a leaf a single one. Crossings per second are what a software switch runs out of,
whatever the link rates are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from testbed.model.cross_flows import chosen
from testbed.model.oracle import pattern_ideal
from testbed.model.pattern import Pattern, seeded_pattern
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.schemes import SETTINGS
from testbed.model.topology import Host, Topology
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes, tcp_payload_bytes

Datapath = Literal["kernel", "userspace"]

ACKS_PER_FRAME: Final = 0.5  # RFC 1122 4.2.3.2: one acknowledgement for every second full segment
CROSSINGS_BETWEEN_LEAVES: Final = 3  # leaf, spine, leaf
CROSSINGS_WITHIN_LEAF: Final = 1
# Measured on 2 cores with one ovs-vswitchd (docs/design.md, "Two datapaths"): 16 hosts at 60 Mbit/s and MTU 9000 are
# 60,000 crossings/s and reach 0.985 of the limit; 100 Mbit/s would be 100,000 and get 71,000 at one full core.
USERSPACE_CROSSINGS_PER_S: Final = 66_000
# An estimate on the careful side: the kernel forwards in the sender's softirq, on every core.
KERNEL_CROSSINGS_PER_S_AND_CORE: Final = 150_000

# What testbed.fabric.burst measures on the machine those figures come from (215,000 to 258,000 in four tries): a ratio
# to it carries them over to other machines.
BURST_REFERENCE_CROSSINGS_PER_S: Final = 235_000

MEMORY_BASE_BYTES: Final = 350_000_000  # runner, GSOS, Open vSwitch, sampler, probes
MEMORY_PER_SWITCH_BYTES: Final = 6_000_000
MEMORY_PER_HOST_BYTES: Final = 5_000_000  # the host's shell
MEMORY_PER_RANK_BYTES: Final = 40_000_000  # a Python process (27 MB) and its socket buffers
ARRAYS_PER_RANK: Final = 4  # of an all-reduce: data, original, expected sum, comparison
ARRAYS_PER_TRAINED: Final = 2  # of all operations of a training iteration: data and, in a quarter, its beginnings
MEMORY_PER_FLOW_BYTES: Final = 500_000  # elsewhere: socket buffers at both ends, a slice
PROCESSES_BASE: Final = 24  # runner, daemons with their threads, GSOS, sampler, probes
FILES_BASE: Final = 100
FILES_PER_NODE: Final = (
    8  # pipes, terminal and pidfd of a host's shell, a rank, agents or a sender; the sampler's of its threads
)
FILES_PER_LINK: Final = 4  # packet sockets of ovs-vswitchd


@dataclass(frozen=True)
class Need:
    """What a scenario needs of a machine while it runs at full rate."""

    crossings_per_s: float
    memory_bytes: int
    processes: int
    files: int  # open at once in the process that has most


def need(scenario: Scenario) -> Need:
    """Return what one run of ``scenario`` needs."""
    fabric = scenario.fabric
    switches = fabric.leaves + fabric.spines
    return Need(
        crossings_per_s=crossings_per_s(scenario),
        memory_bytes=MEMORY_BASE_BYTES
        + switches * MEMORY_PER_SWITCH_BYTES
        + fabric.hosts * MEMORY_PER_HOST_BYTES
        + (scenario.ranks + _programs(scenario)) * MEMORY_PER_RANK_BYTES
        + _data_bytes(scenario),
        processes=PROCESSES_BASE
        + switches
        + fabric.hosts
        + scenario.ranks
        + _programs(scenario)
        + 3 * len(scenario.background),
        files=FILES_BASE
        + max(
            FILES_PER_NODE * (switches + fabric.hosts + scenario.ranks + _programs(scenario))
            + FILES_PER_LINK * (fabric.hosts + fabric.leaves * fabric.paths),
            2 * scenario.peers * scenario.workload.flows_per_hop,  # a rank's connections, to and from its peers
        ),
    )


def _programs(scenario: Scenario) -> int:
    """Return how many programs run beside the ranks: those of agents, one a leaf, and one for each kind of sender."""
    with_agents = any(SETTINGS[scheme].attachment != "none" for scheme in scenario.schemes)
    cross = scenario.cross_traffic
    senders = (scenario.workload.mice_interval_ms > 0, cross.has_flows, cross.replay is not None)
    return (scenario.fabric.leaves if with_agents else 0) + sum(senders)


def _data_bytes(scenario: Scenario) -> int:
    """Return the memory for what all ranks move: whole arrays where they are kept, else what is on its way."""
    work = scenario.workload
    if (job := scenario.job) is not None:
        return scenario.ranks * ARRAYS_PER_TRAINED * job.array_bytes
    collective = scenario.collective
    if collective is not None and not collective.independent:
        return scenario.ranks * ARRAYS_PER_RANK * work.size_bytes
    return len(_pattern(scenario).pairs) * work.flows_per_hop * MEMORY_PER_FLOW_BYTES


def _pattern(scenario: Scenario) -> Pattern:
    return seeded_pattern(scenario, _hosts(scenario), scenario.seeds[0])


def _hosts(scenario: Scenario) -> tuple[Host, ...]:
    rng = Random(scenario.seeds[0])
    return place_ranks(Topology(scenario.fabric), scenario.ranks, scenario.workload.placement, rng)


def crossings_per_s(scenario: Scenario) -> float:
    """Return the switch crossings per second when the workload and the background run as fast as the links let them."""
    topology, hosts, pattern = Topology(scenario.fabric), _hosts(scenario), _pattern(scenario)
    frame, size_bytes = frame_bytes(scenario.fabric.mtu_bytes), scenario.workload.size_bytes
    sizes = pattern.pair_bytes(size_bytes)
    # a pair with the most bytes goes at the limit's rate, the others with their share of that; over all the time
    frames = mbps_to_bytes_per_s(pattern_ideal(topology, hosts, pattern, size_bytes).hop_rate_mbps) / frame / max(sizes)
    total = sum(
        frames * size * (1 + ACKS_PER_FRAME) * _crossings(src, dst)
        for (src, dst), size in zip(pattern.host_pairs(hosts), sizes, strict=True)
    )
    for elephant in scenario.background:
        src, dst = topology.host(elephant.src), topology.host(elephant.dst)
        rate_mbps = min(elephant.rate_mbps or scenario.fabric.host_link_mbps, scenario.fabric.host_link_mbps)
        total += mbps_to_bytes_per_s(rate_mbps) / frame * (1 + ACKS_PER_FRAME) * _crossings(src, dst)
    beside = _cross_bytes_per_s(scenario, topology.hosts, hosts) / frame + _message_frames_per_s(scenario)
    total += beside * (1 + ACKS_PER_FRAME) * CROSSINGS_BETWEEN_LEAVES
    if scenario.measure.probe_interval_ms:
        total += len(topology.hosts) * 1000 / scenario.measure.probe_interval_ms * CROSSINGS_BETWEEN_LEAVES
    return total


def _cross_bytes_per_s(scenario: Scenario, everyone: Sequence[Host], ranks: Sequence[Host]) -> float:
    """Return what Poisson flows and bursts send on average, by the hosts that do; a capture's frames are few."""
    cross, total = scenario.cross_traffic, 0.0
    if cross.poisson is not None:
        senders = len(chosen(cross.poisson.hosts, everyone, ranks))
        total += cross.poisson.load * senders * mbps_to_bytes_per_s(scenario.fabric.host_link_mbps)
    if cross.bursts is not None:
        writers = [h for h in chosen(cross.bursts.senders, everyone, ranks) if h.name not in cross.bursts.storage]
        total += len(writers) * cross.bursts.size_bytes / cross.bursts.period_s
    return total


def _message_frames_per_s(scenario: Scenario) -> float:
    """Return the frames of small messages, which every rank's host sends."""
    work = scenario.workload
    if not work.mice_interval_ms:
        return 0.0
    frames = -(-work.mice_bytes // tcp_payload_bytes(scenario.fabric.mtu_bytes))
    return scenario.ranks * frames * 1000 / work.mice_interval_ms


def _crossings(src: Host, dst: Host) -> int:
    return CROSSINGS_WITHIN_LEAF if src.leaf == dst.leaf else CROSSINGS_BETWEEN_LEAVES


def ceiling_crossings_per_s(datapath: Datapath, cores: float) -> float:
    """Return the most crossings per second to be asked of a machine with ``cores`` cores.

    One ovs-vswitchd fills one core; with fewer than two cores it also shares that one with the hosts.
    """
    if datapath == "kernel":
        return KERNEL_CROSSINGS_PER_S_AND_CORE * cores
    return USERSPACE_CROSSINGS_PER_S * min(1.0, cores / 2)


def expected_crossings_per_s(datapath: Datapath, cores: float, burst_crossings_per_s: float) -> float:
    """Return what to expect of a machine whose burst (testbed.fabric.burst) was measured; never more than its ceiling.

    Userspace: the ceiling, scaled by the burst's ratio to the reference. Kernel: the burst on every core, half of
    which the hosts' own TCP needs.
    """
    ceiling = ceiling_crossings_per_s(datapath, cores)
    if datapath == "kernel":
        return min(ceiling, burst_crossings_per_s * cores / 2)
    return ceiling * min(1.0, burst_crossings_per_s / BURST_REFERENCE_CROSSINGS_PER_S)


def host_rate_limit_mbps(ceiling: float, hosts: int, mtu_bytes: int) -> float:
    """Return the highest rate in Mbit/s at which ``hosts`` hosts can all send across leaves below ``ceiling``."""
    frames_per_s = ceiling / (hosts * (1 + ACKS_PER_FRAME) * CROSSINGS_BETWEEN_LEAVES)
    return frames_per_s * frame_bytes(mtu_bytes) * 8 / 1e6
