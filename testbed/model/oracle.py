"""What a pattern of traffic can reach: its physical limit, and what hashing flows onto paths does to it. Pure.

Three questions, one load model (all flows start together, pipelining is perfect, start-up and acknowledgements cost
nothing):

- ``ideal``: how fast if every link between two leaves could be filled evenly: the bytes over each cut of the fabric
  (a host's link, all uplinks of a leaf, all downlinks into it) at the rate of the cut, and of these times the longest.
  A lower bound of the time, whatever waits for what; what waiting adds is ``testbed.model.rounds``.
- ``predict``: how fast with the flows on the paths they were seen on: the same over each link.
- ``expected_ecmp``: how fast on average when every flow picks a path at random, as a 5-tuple hash does.

Why the slowest flow rules. The endpoint deals slices to the flows of a pair in turn (round-robin by slice
number), so a pair with k flows moves at k times its slowest flow. In a ring a rank forwards only what it has
received, so the ring moves at its slowest hop; in every other pattern an iteration ends with its slowest pair. So,
where all flows move the same number of bytes, the link with the least bandwidth per flow sets the time, ``min over
links of rate / flows``: max-min fair sharing gives each of its flows exactly that rate until all of them end together
(it is where progressive filling stops first), and no flow elsewhere a lower one. For a ring no assumption about
fairness is hidden in this, since all its flows progress at one rate. Elsewhere the prediction is a bound: TCP shares
unevenly, and a flow whose acknowledgements wait behind data of their host may leave its links idle (a permutation on
conflict-free paths, 8 MiB: fifteen pairs at 0.96-0.98 of the limit, one at 0.81).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, pstdev

from testbed.model.pattern import HostPair, Pattern, pattern_of
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.topology import Host, Topology
from testbed.units import bytes_to_mbps, mbps_to_bytes_per_s
from testbed.wire import tcp_payload_fraction

ALIKE_FRACTION = 0.001  # loads of links that differ by less have a part of a float more or less
BAND_FRACTION = 0.95
BAND_RESAMPLES = 4000
MAX_ROUTES = 8192  # pairs x flows x paths of a workload whose expectation is drawn; more take minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideal:
    """The physical limit of a pattern on a fabric.

    ``ideal_s`` is the time the fullest cut, ``bottleneck``, takes to pass its bytes; ``hop_rate_mbps`` the wire rate of
    the pair with the most bytes if it takes that long, ``payload_fraction`` payload / wire bytes of a full plain TCP
    frame, ``busbw_limit_mbps`` the bus bandwidth of an iteration that takes ``ideal_s``.
    """

    hop_rate_mbps: float
    bottleneck: str
    payload_fraction: float
    busbw_limit_mbps: float
    ideal_s: float


@dataclass(frozen=True, slots=True)
class FlowPath:
    """The way of a flow between two leaves: path id on the way up, parallel link (0-based) on the way down."""

    up: int
    down_link: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a given placement of flows can reach, and the conflicts that limit it.

    ``efficiency`` is relative to ``Ideal.busbw_limit_mbps``; ``max_*_flows`` count flows on one link
    direction; ``busiest`` names the direction with the least bandwidth per flow.
    """

    efficiency: float
    max_uplink_flows: int
    max_downlink_flows: int
    busiest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Mean, standard deviation of one run, and where the mean over ``runs`` runs falls with 95% probability."""

    mean: float
    deviation: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What hashing leads to, relative to the physical limit.

    ``efficiency`` is that of the whole ring with slices dealt in turn (what the endpoint does), ``slowdown``
    its inverse (completion time over ideal time).
    """

    efficiency: Band
    slowdown: Band
    trials: int


def ideal(
    topology: Topology, pairs: Sequence[HostPair], pair_bytes: Sequence[float], *, bus_bytes: float | None = None
) -> Ideal:
    """Return the limit of a pattern whose pair p moves ``pair_bytes[p]`` payload bytes, not all of them 0.

    A cut may be used perfectly evenly: what one flow can get of a single path is the scheme's business, not physics.
    ``bus_bytes`` over the completion time is busbw: bus factor x size; None: the bytes of the pair with the most.
    """
    most = max(pair_bytes)
    cuts = [_host_cut(topology, pairs, pair_bytes), *_leaf_cuts(topology, pairs, pair_bytes)]
    load, rate_mbps, bottleneck = max(cuts, key=lambda cut: cut[0] / cut[1])
    hop_rate_mbps = rate_mbps * (most / load)
    fraction = tcp_payload_fraction(topology.fabric.mtu_bytes)
    ideal_s = most / (mbps_to_bytes_per_s(hop_rate_mbps) * fraction)
    return Ideal(
        hop_rate_mbps=hop_rate_mbps,
        bottleneck=bottleneck,
        payload_fraction=fraction,
        busbw_limit_mbps=hop_rate_mbps * fraction if bus_bytes is None else bytes_to_mbps(bus_bytes, ideal_s),
        ideal_s=ideal_s,
    )


def pattern_ideal(topology: Topology, hosts: Sequence[Host], pattern: Pattern, size_bytes: int) -> Ideal:
    """Return the limit of an iteration of ``size_bytes`` (not 0) between ranks on ``hosts``."""
    bus_bytes = pattern.bus_factor * size_bytes
    return ideal(topology, pattern.host_pairs(hosts), pattern.pair_bytes(size_bytes), bus_bytes=bus_bytes)


def _host_cut(topology: Topology, pairs: Sequence[HostPair], pair_bytes: Sequence[float]) -> tuple[float, float, str]:
    """Return the bytes of the fullest host link, its rate in Mbit/s, and what it is called."""
    loads: dict[str, float] = {}
    for (src, dst), size in zip(pairs, pair_bytes, strict=True):
        for end in (f"{src.name} out", f"{dst.name} in"):
            loads[end] = loads.get(end, 0.0) + size
    most = max(loads.values())
    fullest = {end.split()[0] for end, load in loads.items() if load >= most * (1 - ALIKE_FRACTION)}
    name = "host links" if len(fullest) > 1 else f"host link of {fullest.pop()}"
    return most, topology.fabric.host_link_mbps, name


def _leaf_cuts(
    topology: Topology, pairs: Sequence[HostPair], pair_bytes: Sequence[float]
) -> list[tuple[float, float, str]]:
    """Return the same of the uplinks and of the downlinks of every leaf."""
    cut_mbps = topology.fabric.paths * topology.fabric.uplink_mbps
    loads: dict[tuple[str, int], float] = {}
    for (src, dst), size in zip(pairs, pair_bytes, strict=True):
        if src.leaf != dst.leaf:
            for cut in (("uplinks", src.leaf), ("downlinks", dst.leaf)):
                loads[cut] = loads.get(cut, 0.0) + size
    order = sorted(loads, key=lambda cut: (cut[0] != "uplinks", cut[1]))
    return [(loads[what, leaf], cut_mbps, f"{what} of {topology.leaves[leaf].name}") for what, leaf in order]


def predict(
    topology: Topology,
    pairs: Sequence[HostPair],
    paths: Sequence[Sequence[FlowPath | None]],
    pair_bytes: Sequence[float] | None = None,
) -> Prediction:
    """Return what the pattern reaches with flow f of pair p on ``paths[p][f]`` (None for a pair within a leaf).

    ``pair_bytes`` as in ``ideal``; None: all alike. Exact for the model of this module; an upper bound for a real run.
    Raises ValueError when a flow across leaves has no path.
    """
    sizes = [1.0] * len(pairs) if pair_bytes is None else pair_bytes
    routes = [[_route(topology, src, dst, path) for path in hop] for (src, dst), hop in zip(pairs, paths, strict=True)]
    flows: Counter[str] = Counter()
    kinds = {direction.name: direction for direction in topology.directions}
    loads: dict[str, float] = {}
    for hop, size in zip(routes, sizes, strict=True):
        for route in hop:
            for name in route:
                flows[name] += 1
                loads[name] = loads.get(name, 0.0) + size / len(hop)  # slices are dealt to the flows in turn
    busiest = max(loads, key=lambda name: loads[name] / kinds[name].rate_mbps)
    rate_mbps = kinds[busiest].rate_mbps / (loads[busiest] / max(sizes))
    return Prediction(
        efficiency=rate_mbps / ideal(topology, pairs, sizes).hop_rate_mbps,
        max_uplink_flows=max((n for name, n in flows.items() if kinds[name].kind == "uplink"), default=0),
        max_downlink_flows=max((n for name, n in flows.items() if kinds[name].kind == "downlink"), default=0),
        busiest=busiest,
    )


def expected_ecmp(
    topology: Topology, pairs: Sequence[HostPair], *, flows_per_hop: int, runs: int, rng: Random, trials: int = 2000
) -> Expectation:
    """Return what random paths lead to, by ``trials`` draws from ``rng``, where all pairs move the same bytes.

    A leaf hashes over all its uplinks; a spine hashes over its parallel links to the destination's leaf, with
    a hash of its own. ``runs`` is the number of seeds a measured mean will be taken over: ``Band.low`` and
    ``Band.high`` enclose 95% of such means (quantiles of resampled means, so also right for few runs of a
    few discrete outcomes).
    """
    limit_mbps = ideal(topology, pairs, [1] * len(pairs)).hop_rate_mbps
    capacities = {direction.name: direction.rate_mbps for direction in topology.directions}
    choices = [_pair_routes(topology, pair) for pair in pairs]
    efficiencies = []
    for _ in range(trials):
        routes = [rng.choice(pair) for pair in choices for _ in range(flows_per_hop)]
        flows_on = Counter(name for route in routes for name in route)
        slowest_flow_mbps = min(capacities[name] / flows for name, flows in flows_on.items())
        efficiencies.append(flows_per_hop * slowest_flow_mbps / limit_mbps)
    return Expectation(
        efficiency=_band(efficiencies, runs, rng),
        slowdown=_band([1 / value for value in efficiencies], runs, rng),
        trials=trials,
    )


def scenario_expectation(scenario: Scenario, *, runs: int) -> Expectation | None:
    """Return what hashing leads to in ``runs`` runs of a scenario, always the same for the same arguments.

    None where the model does not hold: with other traffic or faults, for random placement, where every seed is a
    ring of its own, and for workloads whose pairs do not go in step. None too beyond MAX_ROUTES.
    """
    work = scenario.workload
    if scenario.is_disturbed or scenario.faults or work.placement == "random" or not work.in_step:
        return None
    topology, rng = Topology(scenario.fabric), Random(0)
    hosts = place_ranks(topology, scenario.ranks, work.placement, rng)
    pairs = pattern_of(scenario, hosts, rng).host_pairs(hosts)
    if len(pairs) * work.flows_per_hop * scenario.fabric.paths > MAX_ROUTES:
        return None
    return expected_ecmp(topology, pairs, flows_per_hop=work.flows_per_hop, runs=runs, rng=rng)


def path_name(topology: Topology, path: FlowPath) -> str:
    """Return ``s2``; with parallel links ``s2.1``, or ``s2.1/2`` when it comes down by another link than it went up."""
    _spine, link = topology.path_spine_link(path.up)
    name = topology.path_name(path.up)
    return name if path.down_link == link else f"{name}/{path.down_link + 1}"


def parse_path(topology: Topology, name: str) -> FlowPath:
    """Return the path called ``name`` (see ``path_name``). Raises ValueError when the fabric has no such path."""
    for up in range(topology.fabric.paths):
        for down_link in range(topology.fabric.links_per_pair):
            if path_name(topology, FlowPath(up, down_link)) == name:
                return FlowPath(up, down_link)
    raise ValueError(f"{name!r} is not a path of this fabric, expected e.g. {topology.path_name(0)}")


def _pair_routes(topology: Topology, pair: HostPair) -> list[tuple[str, ...]]:
    """Return every route a pair could take, all equally likely under hashing."""
    src, dst = pair
    if src.leaf == dst.leaf:
        return [_route(topology, src, dst, None)]
    links = range(topology.fabric.links_per_pair)
    return [_route(topology, src, dst, FlowPath(up, down)) for up in range(topology.fabric.paths) for down in links]


def _route(topology: Topology, src: Host, dst: Host, path: FlowPath | None) -> tuple[str, ...]:
    """Return the names of the directions a flow uses."""
    if src.leaf == dst.leaf:
        return tuple(direction.name for direction in topology.route(src, dst, 0))
    if path is None:
        raise ValueError(f"the flow from {src.name} to {dst.name} crosses leaves but has no path")
    spine, _link = topology.path_spine_link(path.up)
    first, up, _down, last = topology.route(src, dst, path.up)
    _, _, down, _ = topology.route(src, dst, topology.path_id(spine, path.down_link))
    return (first.name, up.name, down.name, last.name)


def _band(values: Sequence[float], runs: int, rng: Random) -> Band:
    means = sorted(fmean(rng.choices(values, k=runs)) for _ in range(BAND_RESAMPLES))
    tail = (1 - BAND_FRACTION) / 2
    return Band(
        mean=fmean(values),
        deviation=pstdev(values),
        low=means[int(tail * BAND_RESAMPLES)],
        high=means[int((1 - tail) * BAND_RESAMPLES) - 1],
        runs=runs,
    )
