"""What a GSP says about itself: counters, live queues, paths, waits."""

from __future__ import annotations

from typing import Any

from testbed.gse.dataplane.edge import Edge
from testbed.gse.dataplane.grant import UNUSED


def status_json(edge: Edge, now_s: float) -> dict[str, Any]:
    """Return a JSON value; counters include what live queues have counted so far."""
    return {
        "gsp": edge.place.gsp,
        "epoch": edge.epoch,
        "counters": edge.totals().to_json(),
        "grants": sum(scheduler.grants for scheduler in edge.sink.schedulers.values()),
        "unused_grant_bytes": {
            cause: round(sum(scheduler.unused_bytes[cause] for scheduler in edge.sink.schedulers.values()))
            for cause in UNUSED
        },
        "path_bytes": list(edge.spread.path_bytes),
        "paces": {str(leaf): paces for leaf, paces in edge.spread.paces().items()},
        "paths_down": edge.failures.monitor.down_paths() if edge.place.watches_paths else [],
        "path_changes": [list(change) for change in edge.failures.story],
        "dgsq_wait_ms": _percentiles(sorted(edge.source.waits_s)),
        "queues": [
            {
                "dst": queue.dst,
                "dst_port": queue.dst_port,
                "tc": queue.tc,
                "backlog_bytes": queue.backlog_bytes,
                "credit_bytes": queue.grant - queue.sent,
                "head_age_ms": round(queue.head_age_s(now_s) * 1e3, 3),
            }
            for queue in edge.source.queues.values()
        ],
    }


def _percentiles(waits_s: list[float]) -> dict[str, float | None]:
    """Return nearest-rank percentiles in ms; p99 only from 100 waits on."""
    if not waits_s:
        return {"p50": None, "p99": None}
    last = len(waits_s) - 1
    p99 = waits_s[min(last, (99 * len(waits_s) + 99) // 100 - 1)] * 1e3 if len(waits_s) >= 100 else None
    return {"p50": waits_s[last // 2] * 1e3, "p99": p99}
