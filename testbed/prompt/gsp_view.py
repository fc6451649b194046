"""What GSP agents say, as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from testbed.model.topology import Topology


def gsp_lines(stats: Sequence[Mapping[str, Any]], name: str, topology: Topology) -> Iterator[str]:
    """Yield one line per agent, or everything about the one called ``name``."""
    by_name = {one["name"]: one for one in stats}
    if not name:
        yield (
            f"{'agent':<6}{'queues':>7}{'waiting':>9}{'credit':>9}{'grants':>8}{'contain.':>9}{'requests':>9}"
            f"{'gaps':>6}{'late':>6}{'reorder max':>12}  bytes by path"
        )
        for node, one in by_name.items():
            yield _row(node, one, topology)
    elif name in by_name:
        yield from _all_about(by_name[name], topology)
    else:
        yield f"*** gsp {name}: expected one of {', '.join(by_name)}"


def _row(node: str, one: Mapping[str, Any], topology: Topology) -> str:
    queues, counters = one["queues"], one["counters"]
    waiting = sum(queue["backlog_bytes"] for queue in queues)
    credit = sum(queue["credit_bytes"] for queue in queues)
    paths = " ".join(f"{size / 1e6:.2f}M" for size in one["path_bytes"])
    dead = f"  dead: {', '.join(topology.path_name(path) for path in one['paths_down'])}" if one["paths_down"] else ""
    paused = f"  paused: {', '.join(map(str, one['paused_ports']))}" if one["paused_ports"] else ""
    return (
        f"{node:<6}{len(queues):>7}{waiting:>9}{credit:>9}{one['grants']:>8}{counters['containers']:>9}"
        f"{counters['requests']:>9}{counters['gap_timeouts']:>6}{counters['late']:>6}"
        f"{counters['reorder_depth_max_bytes']:>12}  {paths}{dead}{paused}"
    )


def _all_about(one: Mapping[str, Any], topology: Topology) -> Iterator[str]:
    for name, value in one["counters"].items():
        if value:
            yield f"{name:<26}{value:>14}"
    for path, size in enumerate(one["path_bytes"]):
        yield f"{'bytes by path ' + topology.path_name(path):<26}{size:>14}"
    waits = one["dgsq_wait_ms"]
    shown = "  ".join(f"{name} {value:.1f} ms" for name, value in waits.items() if value is not None)
    yield f"wait in source queues     {shown or 'nothing waited yet'}"
    for queue in one["queues"]:
        yield (
            f"queue to leaf {queue['dst'] >> 8} port {queue['dst_port']} class {queue['tc']}: "
            f"{queue['backlog_bytes']} bytes wait, credit {queue['credit_bytes']}, "
            f"oldest {queue['head_age_ms']:.1f} ms"
        )
