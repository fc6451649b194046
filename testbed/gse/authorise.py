"""What each flow of the announced jobs may send: GSE1.0's congestion-aware authorisation. Pure.

GSOS knows the flows, their paths and the links: the max-min fair rate of each flow is what its destination and the
links on its way can take. A flow is held to it only where others could be hurt: where a full link on its way carries
flows of several hosts. A host's own link needs nobody's permission: TCP shares it in the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final, NamedTuple

from testbed.gse.load import LinkId
from testbed.model.ranks import Flow
from testbed.model.topology import Direction, Topology

MARGIN: Final = 0.98  # just under the fair rate, so that what met by chance drains
LEAST_FRACTION: Final = 0.05  # of a link, left to announced flows whatever else is measured on it
_FULL: Final = 1 - 1e-9


class Routed(NamedTuple):
    """A flow and the path it is on (None: it stays on its leaf)."""

    flow: Flow
    path: int | None


def authorised_rates(topology: Topology, flows: Sequence[Routed], others: Mapping[LinkId, float]) -> list[float | None]:
    """Return what each flow may send, in Mbit/s on the wire; None: as much as TCP likes.

    ``others`` is the fraction of each leaf-spine link that traffic nobody announced takes, as measured. Raises
    KeyError for an address that is no host's.
    """
    routes = [_route(topology, routed) for routed in flows]
    capacities = {
        name: direction.rate_mbps * max(LEAST_FRACTION, 1 - others.get(link, 0.0) if link is not None else 1.0)
        for route in routes
        for name, (direction, link) in route.items()
    }
    rates = max_min_rates([tuple(route) for route in routes], capacities)
    load = dict.fromkeys(capacities, 0.0)
    sources: dict[str, set[str]] = {name: set() for name in capacities}
    for routed, route, rate in zip(flows, routes, rates, strict=True):
        for name in route:
            load[name] += rate
            sources[name].add(routed.flow.src_ip)
    contended = {name for name in capacities if len(sources[name]) > 1 and load[name] >= _FULL * capacities[name]}
    return [rate * MARGIN if contended.intersection(route) else None for rate, route in zip(rates, routes, strict=True)]


def max_min_rates(routes: Sequence[Sequence[str]], capacities: Mapping[str, float]) -> list[float]:
    """Return the max-min fair rate of each flow by progressive filling; ``routes`` list the links of each flow.

    All rates grow together; when a link is full its flows are frozen (Bertsekas & Gallager, Data Networks, 6.5.2).
    """
    on_link: dict[str, set[int]] = {}
    for flow, route in enumerate(routes):
        for link in route:
            on_link.setdefault(link, set()).add(flow)
    left = {link: capacities[link] for link in on_link}
    rates = [inf] * len(routes)
    while on_link:
        share = min(left[link] / len(flows) for link, flows in on_link.items())
        full = [link for link, flows in on_link.items() if left[link] / len(flows) <= share * (1 + 1e-12)]
        for flow in {flow for link in full for flow in on_link[link]}:
            rates[flow] = share
            for link in routes[flow]:
                left[link] -= share
                on_link[link].discard(flow)
        on_link = {link: flows for link, flows in on_link.items() if flows}
    return rates


def _route(topology: Topology, routed: Routed) -> dict[str, tuple[Direction, LinkId | None]]:
    """Return the link directions a flow crosses, by name, each with what it is called where loads are measured."""
    src, dst = topology.host_by_ip(routed.flow.src_ip), topology.host_by_ip(routed.flow.dst_ip)
    if src is None or dst is None:
        raise KeyError(routed.flow.src_ip if src is None else routed.flow.dst_ip)
    path = routed.path or 0
    kinds: dict[str, LinkId] = {"uplink": LinkId("up", src.leaf, path), "downlink": LinkId("down", dst.leaf, path)}
    return {direction.name: (direction, kinds.get(direction.kind)) for direction in topology.route(src, dst, path)}
