"""Stored runs in the units of the links they stand for, beside those of the emulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from testbed.results.store import Run
from testbed.views.cells import Grid, number_text, time_text
from testbed.views.comparison import Comparison, compare, describe

NOT_SCALED: Final = (
    "not scaled, so not in it: what switches, NICs and programs take by themselves (a ring's steps: gse predict "
    "cluster), propagation, frames' size; queues in bytes are what they are at either rate"
)


def native_grids(runs: Sequence[Run], native_gbps: float) -> list[Grid]:
    """Return a table per question, of runs that are not INVALID."""
    return [native_grid(comparison, native_gbps) for comparison in compare(runs, allow_invalid=False)]


def native_grid(comparison: Comparison, native_gbps: float) -> Grid:
    """Return times and rates of every scheme as measured and as on host links of ``native_gbps``; means over runs.

    Training iterations have a rule of their own, which scales computing along (``testbed.training.scale``).
    """
    scenario = comparison.scenario
    emulated_mbps = scenario.fabric.host_link_mbps
    factor = native_gbps * 1e3 / emulated_mbps
    title = f"{scenario.name}, on links of {emulated_mbps:g} Mbit/s and as on links of {native_gbps:g} Gbit/s"
    if (why := _why_not(comparison)) is not None:
        return Grid(title=title, headers=("scheme",), rows=(), notes=(why,))
    rows = []
    for scheme in comparison.schemes:
        time, rate, share = (
            None if spread is None else spread.mean
            for spread in (comparison.spread(scheme, key) for key in ("completion_s", "busbw_mbps", "efficiency"))
        )
        rows.append(
            (
                scheme,
                str(len(comparison.of(scheme))),
                time_text(time),
                number_text(None if time is None else time / factor * 1e3, 3),
                number_text(rate, 2),
                number_text(None if rate is None else rate * factor / 1e3, 2),
                number_text(share, 3),
            )
        )
    return Grid(
        title=f"{title}: {describe(scenario)}",
        headers=("scheme", "runs", "time\ns", "native\nms", "busbw\nMbit/s", "native\nGbit/s", "of\nlimit"),
        rows=tuple(rows),
        notes=(
            f"native: the same bytes on links {factor:g} times as fast, so times / {factor:g} and rates x {factor:g}; "
            "shares of the limit are the same. Means over runs, INVALID ones left out",
            NOT_SCALED,
        ),
    )


def _why_not(comparison: Comparison) -> str | None:
    """Return why runs have no other units, None where they have."""
    work = comparison.scenario.workload
    if work.training is not None:
        return "training iterations are scaled by a rule of their own, which stands below their table"
    if not work.bulk_bytes:
        return "small messages alone last as long as the scenario tells them to, at any rate"
    return None
