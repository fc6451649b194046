"""What a GSP says about itself: counters, live queues, paths, waits."""

from __future__ import annotations

from typing import Any

from testbed.gse.dataplane.edge import Edge
from testbed.gse.dataplane.grant import UNUSED
from testbed.percentile import P99_MIN_SAMPLES, nearest_rank


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
        "paused_ports": edge.source.pressure.paused_ports,
        "dgsq_wait_ms": _percentiles(sorted(edge.source.waits_s)),  # sorted once: frames wait meanwhile
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
    """Return percentiles in ms of ascending waits."""
    p50_s = nearest_rank(waits_s, 50)
    p99_s = nearest_rank(waits_s, 99) if len(waits_s) >= P99_MIN_SAMPLES else None
    return {name: None if wait_s is None else wait_s * 1e3 for name, wait_s in (("p50", p50_s), ("p99", p99_s))}
