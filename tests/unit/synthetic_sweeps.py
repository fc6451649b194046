"""Made-up sweeps for tests of what reads them: a stored synthetic run per value, scheme and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from synthetic_runs import healthy, scenario_of, store, with_rows

from testbed.evaluation.agents import SUMMED
from testbed.evaluation.records import RunRecord
from testbed.model.sweep import Sweep, SweepRun, sweep_of
from testbed.results.sweeps import StoredSweep, create_sweep

NOW_UTC = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
CONTAINERS = "gsp.container_bytes"
Make = Callable[[SweepRun, RunRecord], RunRecord | str | None]  # a text: it failed; None: it was not made


def sweep_over(
    field: str = CONTAINERS,
    values: Sequence[Any] = ("16K", "32K", "256K"),
    *,
    schemes: Sequence[str] = ("gse2-n2n", "gse2-e2e"),
    seeds: Sequence[int] = (1, 2),
    **changes: Any,
) -> Sweep:
    """Return a small sweep on 2x2x2."""
    return sweep_of(scenario_of(schemes=list(schemes), seeds=list(seeds), **changes), field, values)


def with_agents(run: RunRecord, **counts: Any) -> RunRecord:
    """Return the run with what agents would have counted; ``counts`` replace."""
    totals: dict[str, Any] = dict.fromkeys(SUMMED, 0) | {
        "socket_drops": 0,
        "data_out": 300,
        "control_out": 100,
        "containers": 10,
    }
    totals |= {
        "dropped": 0,
        "grants": 5,
        "cpu_s": 1.0,
        "reorder_depth_max_bytes": 0,
        "dgsq_wait_ms": {"p50": 4.0, "p99": 20.0},
        "timers_late_ms": {"timers": 900, "p50": 1, "p99": 3},
    }
    return replace(run, events=(*run.events, {"event": "agents", "t_s": 9.0, **totals, **counts}))


def with_rate_error(run: RunRecord, fraction: float) -> RunRecord:
    """Return the run with a link off by ``fraction``: SUSPECT above 0.03, INVALID above 0.1."""
    row = run.tables.calibration[0]
    spoilt = replace(row, error_fraction=fraction, measured_mbps=row.configured_mbps * (1 + fraction))
    return with_rows(run, calibration=[spoilt, *run.tables.calibration[1:]])


def stored_sweep(results_dir: Path, sweep: Sweep, make: Make = lambda _run, record: record) -> StoredSweep:
    """Store a run for each of the sweep's, as ``make`` returns it, and the sweep itself."""
    stored = create_sweep(results_dir, sweep, NOW_UTC)
    for index, run in enumerate(sweep.order()):
        record = healthy(sweep.points[run.point], scheme=run.scheme, seed=run.seed)
        made = make(run, with_agents(record) if run.scheme.startswith("gse2") else record)
        if isinstance(made, str):
            stored = stored.with_run(index, f"failed-{index}.failed", made)
        elif made is not None:
            stored = stored.with_run(index, store(results_dir, made, second=index % 60).name, None)
    stored = replace(stored, status="finished")
    stored.write()
    return stored
