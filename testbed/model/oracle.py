"""What a pattern of traffic can reach: its physical limit, and what hashing flows onto paths does to it. Pure.

Three questions, one load model (every flow moves the same number of bytes, all start together, pipelining is
perfect, start-up and acknowledgements cost nothing):

- ``ideal``: how fast if every link between two leaves could be filled evenly.
- ``predict``: how fast with the flows on the paths they were seen on.
- ``expected_ecmp``: how fast on average when every flow picks a path at random, as a 5-tuple hash does.

Why the slowest flow rules. The endpoint deals slices to the flows of a pair in turn (round-robin by slice
number), so a pair with k flows moves at k times its slowest flow. In a ring a rank forwards only what it has
received, so the ring moves at its slowest hop; in every other pattern an iteration ends with its slowest pair. So
the link with the least bandwidth per flow sets the time, ``min over links of rate / flows``: max-min fair sharing
gives each of its flows exactly that rate until all of them end together (it is where progressive filling stops
first), and no flow elsewhere a lower one. For a ring no assumption about fairness is hidden in this, since all its
flows progress at one rate. Elsewhere the prediction is a bound: TCP shares unevenly, and a flow whose
acknowledgements wait behind data of their host may leave its links idle (a permutation on conflict-free paths,
8 MiB: fifteen pairs at 0.96-0.98 of the limit, one at 0.81).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, pstdev

from testbed.model.pattern import HostPair, pattern_of
from testbed.model.ranks import place_ranks
from testbed.model.scenario import Scenario
from testbed.model.topology import Host, Topology
from testbed.model.wire import tcp_payload_fraction
from testbed.units import mbps_to_bytes_per_s

BAND_FRACTION = 0.95
BAND_RESAMPLES = 4000
MAX_ROUTES = 8192  # pairs x flows x paths of a workload whose expectation is drawn; more take minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideal:
    """The physical limit of a ring on a fabric.

    ``hop_rate_mbps`` is the wire rate each hop can have, ``bottleneck`` what sets it,
    ``busbw_limit_mbps`` that rate times payload / wire bytes of a full plain TCP frame,
    ``ideal_s`` the time the hop with the most bytes needs at that rate.
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


def ideal(topology: Topology, pairs: Sequence[HostPair], pair_bytes: Sequence[int], *, bus_pairs: int = 1) -> Ideal:
    """Return the limit of a pattern whose pair p moves ``pair_bytes[p]`` payload bytes; all pairs at one rate.

    The limit is set by a host link shared by the pairs that leave or enter the host, or by the uplinks of a leaf (all
    of them together) shared by the pairs that leave it; the same for the downlinks into it. A cut may be used perfectly
    evenly: what one flow can get of a single path is the scheme's business, not physics. ``bus_pairs`` is how many
    pairs' rate counts as busbw (``testbed.model.pattern``).
    """
    cut_mbps = topology.fabric.paths * topology.fabric.uplink_mbps
    limits = [_host_limit(topology, pairs)]
    for what, crossing in (
        ("uplinks", Counter(src.leaf for src, dst in pairs if src.leaf != dst.leaf)),
        ("downlinks", Counter(dst.leaf for src, dst in pairs if src.leaf != dst.leaf)),
    ):
        limits += [(cut_mbps / n, f"{what} of {topology.leaves[leaf].name}") for leaf, n in sorted(crossing.items())]
    rate_mbps, bottleneck = min(limits, key=lambda limit: limit[0])
    fraction = tcp_payload_fraction(topology.fabric.mtu_bytes)
    return Ideal(
        hop_rate_mbps=rate_mbps,
        bottleneck=bottleneck,
        payload_fraction=fraction,
        busbw_limit_mbps=rate_mbps * bus_pairs * fraction,
        ideal_s=max(pair_bytes) / (mbps_to_bytes_per_s(rate_mbps) * fraction),
    )


def _host_limit(topology: Topology, pairs: Sequence[HostPair]) -> tuple[float, str]:
    """Return the rate the fullest host link leaves each of its pairs, and what it is called."""
    ends = Counter(f"{src.name} out" for src, _dst in pairs) + Counter(f"{dst.name} in" for _src, dst in pairs)
    most = max(ends.values())
    fullest = {end.split()[0] for end, count in ends.items() if count == most}
    name = "host links" if len(fullest) > 1 else f"host link of {fullest.pop()}"
    return topology.fabric.host_link_mbps / most, name


def predict(topology: Topology, pairs: Sequence[HostPair], paths: Sequence[Sequence[FlowPath | None]]) -> Prediction:
    """Return what the pattern reaches with flow f of pair p on ``paths[p][f]`` (None for a pair within a leaf).

    Exact for the model of this module; an upper bound for a real run. Raises ValueError when a flow
    across leaves has no path.
    """
    routes = [[_route(topology, src, dst, path) for path in hop] for (src, dst), hop in zip(pairs, paths, strict=True)]
    flows: Counter[str] = Counter()
    kinds = {direction.name: direction for direction in topology.directions}
    bytes_per_flow: dict[str, float] = {}
    for hop in routes:
        for route in hop:
            for name in route:
                flows[name] += 1
                bytes_per_flow[name] = bytes_per_flow.get(name, 0.0) + 1 / len(hop)
    # A pair with k flows sends 1/k of its bytes on each: the load of a link in units of "one pair".
    busiest = max(bytes_per_flow, key=lambda name: bytes_per_flow[name] / kinds[name].rate_mbps)
    rate_mbps = kinds[busiest].rate_mbps / bytes_per_flow[busiest]
    return Prediction(
        efficiency=rate_mbps / ideal(topology, pairs, [1]).hop_rate_mbps,
        max_uplink_flows=max((n for name, n in flows.items() if kinds[name].kind == "uplink"), default=0),
        max_downlink_flows=max((n for name, n in flows.items() if kinds[name].kind == "downlink"), default=0),
        busiest=busiest,
    )


def expected_ecmp(
    topology: Topology, pairs: Sequence[HostPair], *, flows_per_hop: int, runs: int, rng: Random, trials: int = 2000
) -> Expectation:
    """Return what random paths lead to, by ``trials`` draws from ``rng``.

    A leaf hashes over all its uplinks; a spine hashes over its parallel links to the destination's leaf, with
    a hash of its own. ``runs`` is the number of seeds a measured mean will be taken over: ``Band.low`` and
    ``Band.high`` enclose 95% of such means (quantiles of resampled means, so also right for few runs of a
    few discrete outcomes).
    """
    limit_mbps = ideal(topology, pairs, [1]).hop_rate_mbps
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
