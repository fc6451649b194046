"""The fabric as a drawing with the load of every link over time: where nodes stand, and how full each direction is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any, Final

from testbed.model.topology import Direction, Topology
from testbed.views.cells import NOT_MEASURED, Grid
from testbed.views.comparison import Comparison, Entry
from testbed.views.drawn import began_s, lasted_s, link_rates_mbps, representatives
from testbed.views.words import scheme_texts

WIDTH, SPINE_Y, LEAF_Y, HOST_Y, HEIGHT = 400.0, 26.0, 150.0, 222.0, 244.0
MARGIN: Final = 26.0
APART: Final = 4.5  # between the directions of a link, and between parallel links
MOST_HOSTS: Final = 64  # more are not told apart
MOST_DIRECTIONS: Final = 1024
MOST_ROWS: Final = 256
MOST_MOMENTS: Final = 300
UNKNOWN: Final = -1
TIERS: Final = ("uplink", "downlink")
HOST_TIERS: Final = ("host_tx", "host_rx")


@dataclass(frozen=True, slots=True)
class Node:
    """A switch or a host, and where it stands."""

    name: str
    tier: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Wire:
    """One direction of a link, and between which points it is drawn."""

    name: str
    tier: str
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Load:
    """One run: at the end of which interval (s) each wire was how full (percent of its rate, -1: not known)."""

    scheme: str
    seed: int
    lasted_s: float
    times_s: tuple[float, ...]
    percents: tuple[tuple[int, ...], ...]  # one per wire
    means: tuple[int, ...]  # of each wire over the measured part
    peaks: tuple[int, ...]  # the highest sample of each


@dataclass(frozen=True, slots=True)
class FabricMap:
    """The drawing, once per scheme."""

    nodes: tuple[Node, ...]
    wires: tuple[Wire, ...]
    loads: tuple[Load, ...]
    caption: str
    table: Grid

    def to_json(self) -> dict[str, Any]:
        """Return it as ``page.js`` takes it."""
        return {
            "kind": "fabric",
            "wires": [wire.name for wire in self.wires],
            "tiers": [wire.tier for wire in self.wires],
            "loads": [
                {
                    "scheme": load.scheme,
                    "lasted_s": round(load.lasted_s, 3),
                    "times_s": [round(t_s, 3) for t_s in load.times_s],
                    "percents": [list(one) for one in load.percents],
                    "means": list(load.means),
                }
                for load in self.loads
            ],
        }


def fabric_map(comparison: Comparison) -> FabricMap | None:
    """Return the drawing of the median run of each scheme; None without samples, or for a fabric too large to see."""
    topology = Topology(comparison.scenario.fabric)
    kinds = (*TIERS, *HOST_TIERS) if len(topology.hosts) <= MOST_HOSTS else TIERS
    shown = [direction for direction in topology.directions if direction.kind in kinds]
    if len(shown) > MOST_DIRECTIONS:
        return None
    loads = [load for entry in representatives(comparison) if (load := _load(entry, shown)) is not None]
    if not loads:
        return None
    nodes = _nodes(topology, with_hosts=len(kinds) > len(TIERS))
    return FabricMap(
        nodes, _wires(shown, nodes, topology), tuple(loads), _caption(comparison, shown, loads), _table(shown, loads)
    )


def _load(entry: Entry, shown: Sequence[Direction]) -> Load | None:
    kinds = tuple(sorted({direction.kind for direction in shown}))
    rates, begin, end_s = link_rates_mbps(entry, kinds), began_s(entry), lasted_s(entry)
    times = sorted({t_s for series in rates.values() for t_s in series.times_s})
    inside = [t for t in times if t > begin]
    last = next((i for i, t in enumerate(inside) if t >= begin + end_s), len(inside) - 1)
    inside = inside[: last + 1]  # up to the first sample at or after the end: its interval covers the end
    if not inside:
        return None
    percents = []
    for direction in shown:
        series = rates.get(direction.name)
        known: dict[float, float | None] = {}
        if series is not None:
            known = dict(zip(series.times_s, series.values, strict=True))
        percents.append(tuple(_percent(known.get(t), direction.rate_mbps) for t in inside))
    step = -(-len(inside) // MOST_MOMENTS)  # not all are drawn; means and peaks are of all
    return Load(
        scheme=entry.scheme,
        seed=entry.seed,
        lasted_s=end_s,
        times_s=tuple(t - begin for t in inside[::step]),
        percents=tuple(one[::step] for one in percents),
        means=tuple(_mean([value for value in one if value != UNKNOWN]) for one in percents),
        peaks=tuple(max(one) for one in percents),
    )


def _percent(rate_mbps: float | None, limit_mbps: float) -> int:
    return UNKNOWN if rate_mbps is None else round(100 * rate_mbps / limit_mbps)


def _mean(values: Sequence[int]) -> int:
    return round(sum(values) / len(values)) if values else UNKNOWN


def _nodes(topology: Topology, *, with_hosts: bool) -> tuple[Node, ...]:
    def spread(names: Sequence[str], tier: str, y: float) -> list[Node]:
        step = (WIDTH - 2 * MARGIN) / len(names)
        return [Node(name, tier, round(MARGIN + (i + 0.5) * step, 1), y) for i, name in enumerate(names)]

    return (
        *spread([one.name for one in topology.spines], "spine", SPINE_Y),
        *spread([one.name for one in topology.leaves], "leaf", LEAF_Y),
        *(spread([one.name for one in topology.hosts], "host", HOST_Y) if with_hosts else ()),
    )


def _wires(shown: Sequence[Direction], nodes: Sequence[Node], topology: Topology) -> tuple[Wire, ...]:
    places = {node.name: node for node in nodes}
    pairs: dict[tuple[str, ...], int] = {}
    wires = []
    for direction in shown:
        pair = tuple(sorted((direction.src.node, direction.dst.node)))
        number = pairs[pair] = pairs.get(pair, -1) + 1
        parallel = topology.fabric.links_per_pair if direction.kind in TIERS else 1
        upper = min((places[name] for name in pair), key=lambda node: node.y)
        lower = max((places[name] for name in pair), key=lambda node: node.y)
        wires.append(_wire(direction, lower, upper, (number - (2 * parallel - 1) / 2) * APART))
    return tuple(wires)


def _wire(direction: Direction, lower: Node, upper: Node, shift: float) -> Wire:
    """Return the line beside the one between the nodes, ``shift`` to its side."""
    length = hypot(upper.x - lower.x, upper.y - lower.y)
    dx, dy = -(upper.y - lower.y) / length * shift, (upper.x - lower.x) / length * shift
    ends = [(round(node.x + dx, 1), round(node.y + dy, 1)) for node in (lower, upper)]
    if direction.src.node == upper.name:
        ends.reverse()
    (x1, y1), (x2, y2) = ends
    name = f"{direction.src.node} to {direction.dst.node}"
    return Wire(name, direction.kind, x1, y1, x2, y2)


def _caption(comparison: Comparison, shown: Sequence[Direction], loads: Sequence[Load]) -> str:
    texts = {}
    for load in loads:
        means = [mean for mean, one in zip(load.means, shown, strict=True) if one.kind == "uplink" and mean != UNKNOWN]
        if means:
            texts[load.scheme] = f"{min(means)}% to {max(means)}%"
    return (
        "Load of every link in both directions, the run with the median completion time of each scheme: the darker "
        "(on a dark page the brighter) and the wider, the fuller. Mean over the measured part of the emptiest and the "
        f"fullest uplink: {scheme_texts(comparison, texts)}."
    )


def _table(shown: Sequence[Direction], loads: Sequence[Load]) -> Grid:
    rows = [
        (
            f"{direction.src.node} to {direction.dst.node}",
            *(_cell(load.means[i], load.peaks[i]) for load in loads),
        )
        for i, direction in enumerate(shown)
        if direction.kind in TIERS
    ]
    more = (f"the first {MOST_ROWS} of {len(rows)} links between leaves and spines",) if len(rows) > MOST_ROWS else ()
    return Grid(
        "Load of links between leaves and spines, percent of their rate",
        ("from, to", *(load.scheme for load in loads)),
        tuple(rows[:MOST_ROWS]),
        ("mean over the measured part (highest sample)", *more),
    )


def _cell(mean: int, peak: int) -> str:
    return NOT_MEASURED if mean == UNKNOWN else f"{mean} ({peak})"
