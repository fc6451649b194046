"""JSON values in which policies answer questions about flows and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from testbed.gse.fractions import MeasuredLoad
from testbed.gse.liveness import FabricLink, Liveness
from testbed.gse.pins import Pin
from testbed.gse.policy import Decision
from testbed.model.ranks import Flow
from testbed.model.topology import Topology


def flow_json(flow: Flow) -> dict[str, Any]:
    """Return a flow's 5-tuple and demand."""
    return {
        "src_ip": flow.src_ip,
        "dst_ip": flow.dst_ip,
        "proto": flow.proto,
        "src_port": flow.src_port,
        "dst_port": flow.dst_port,
        "demand_bytes": flow.demand_bytes,
    }


def pin_json(topology: Topology, pin: Pin, link_fraction: MeasuredLoad | None) -> dict[str, Any]:
    """Return where a placed flow is and why; ``link_fraction`` is its measured share of a link, None: unknown."""
    spine, link = topology.path_spine_link(pin.path)
    lower, _upper = topology.link_ends(pin.src_leaf, spine, link)
    _lower, upper = topology.link_ends(pin.dst_leaf, spine, link)
    return flow_json(pin.flow) | {
        "path": topology.path_name(pin.path),
        "home_path": topology.path_name(pin.home),
        "uplink": lower.intf,
        "downlink": upper.intf,
        "announced": pin.job is not None,
        "job": pin.job,
        "both_ways": pin.both_ways,
        "link_fraction": None if link_fraction is None else round(link_fraction, 4),
        "reason": pin.reason,
    }


def paths_json(topology: Topology, living: Callable[[int, int], Iterable[int]]) -> dict[str, list[str]]:
    """Return the names of the paths ``living`` gives for each ordered pair of leaves, by ``l1-l2``."""
    return {
        f"{src.name}-{dst.name}": [topology.path_name(path) for path in living(src.index, dst.index)]
        for src in topology.leaves
        for dst in topology.leaves
        if src != dst
    }


def failed_json(live: Liveness) -> list[str]:
    """Return the names of the links that are down."""
    return [live.link_name(link) for link in live.failed()]


def link_decision(live: Liveness, link: FabricLink, *, up: bool, action: str, now_s: float) -> Decision:
    """Return the record of a link's failure or return."""
    kind, reason = ("link up", "both ends have carrier") if up else ("link down", "carrier lost")
    return Decision(t_s=now_s, kind=kind, subject=live.link_name(link), action=action, reason=reason)
