"""Stored runs in the units of the links they stand for, beside those of the emulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from testbed.model.scenario import Scenario
from testbed.results.run import Run
from testbed.views.cells import Grid, number_text, time_text
from testbed.views.comparison import Comparison, compare, describe
from testbed.views.sweep import Group, SweepResults
from testbed.views.sweep_table import Cell, value_grid

NOT_SCALED: Final = (
    "not scaled, so not in it: what switches, NICs and programs take by themselves (a ring's steps: gse predict "
    "cluster), propagation, frames' size; queues in bytes are what they are at either rate"
)
# Beside "runs" and what they are of.
HEADERS: Final = ("time\ns", "native\nms", "busbw\nMbit/s", "native\nGbit/s", "of\nlimit")


def native_grids(runs: Sequence[Run], native_gbps: float) -> list[Grid]:
    """Return a table per question, of runs that are not INVALID."""
    return [native_grid(comparison, native_gbps) for comparison in compare(runs, allow_invalid=False)]


def native_grid(comparison: Comparison, native_gbps: float) -> Grid:
    """Return times and rates of every scheme as measured and as on host links of ``native_gbps``; means over runs.

    Training iterations have a rule of their own, which scales computing along (``testbed.training.scale``).
    """
    scenario = comparison.scenario
    emulated_mbps = scenario.fabric.host_link_mbps
    factor = _factor(scenario, native_gbps)
    title = f"{scenario.name}, on links of {emulated_mbps:g} Mbit/s and as on links of {native_gbps:g} Gbit/s"
    if (why := _why_not(scenario)) is not None:
        return Grid(title=title, headers=("scheme",), rows=(), notes=(why,))
    rows = []
    for scheme in comparison.schemes:
        time, rate, share = (
            None if spread is None else spread.mean
            for spread in (comparison.spread(scheme, key) for key in ("completion_s", "busbw_mbps", "efficiency"))
        )
        rows.append((scheme, str(len(comparison.of(scheme))), *_cells(time, rate, share, factor)))
    return Grid(
        title=f"{title}: {describe(scenario)}",
        headers=("scheme", "runs", *HEADERS),
        rows=tuple(rows),
        notes=(
            f"native: the same bytes on links {factor:g} times as fast, so times / {factor:g} and rates x {factor:g}; "
            "shares of the limit are the same. Means over runs, INVALID ones left out",
            NOT_SCALED,
        ),
    )


def native_sweep_grid(results: SweepResults, native_gbps: float) -> Grid:
    """Return the same of a sweep: a line per value and scheme, medians over seeds."""
    sweep = results.stored.sweep
    rates_mbps = list(dict.fromkeys(point.fabric.host_link_mbps for point in sweep.points))
    emulated = f"links of {rates_mbps[0]:g} Mbit/s" if len(rates_mbps) == 1 else "links as emulated"
    title = f"{sweep.points[0].name} over {sweep.field}, on {emulated} and as on links of {native_gbps:g} Gbit/s"
    whys = [_why_not(point) for point in sweep.points]
    known = tuple(dict.fromkeys(why for why in whys if why is not None))
    if all(whys):
        return Grid(title=title, headers=(sweep.field, "scheme"), rows=(), notes=known, labels=2)

    factors = [_factor(point, native_gbps) for point in sweep.points]

    def column(number: int) -> Cell:
        return lambda group: _of_group(group, None if whys[group.point] else factors[group.point])[number]

    by_value = ", ".join(f"{factor:g} ({text})" for factor, text in zip(factors, sweep.texts, strict=True))
    times = f"{factors[0]:g}" if len(rates_mbps) == 1 else by_value
    note = (
        f"native: the same bytes on links so many times as fast: {times}; times are divided by it, rates multiplied, "
        "shares of the limit are the same. Medians over seeds, INVALID runs left out"
    )
    columns: list[tuple[str, Cell]] = [
        ("runs", lambda group: str(len(group.seeds("completion_s")))),
        *((header, column(number)) for number, header in enumerate(HEADERS)),
    ]
    return value_grid(results, title, columns, (note, *known, NOT_SCALED))


def _of_group(group: Group, factor: float | None) -> tuple[str, ...]:
    """Return the cells of a group, dashes where it has no other units (no ``factor``)."""
    found = [group.median(key) for key in ("completion_s", "busbw_mbps", "efficiency")]
    time, rate, share = (None if one is None or factor is None else one.median for one in found)
    return _cells(time, rate, share, factor or 1.0)


def _factor(scenario: Scenario, native_gbps: float) -> float:
    """Return how many times as fast native links are."""
    return native_gbps * 1e3 / scenario.fabric.host_link_mbps


def _cells(time_s: float | None, busbw_mbps: float | None, share: float | None, factor: float) -> tuple[str, ...]:
    """Return what stands below ``HEADERS``."""
    return (
        time_text(time_s),
        number_text(None if time_s is None else time_s / factor * 1e3, 3),
        number_text(busbw_mbps, 2),
        number_text(None if busbw_mbps is None else busbw_mbps * factor / 1e3, 2),
        number_text(share, 3),
    )


def _why_not(scenario: Scenario) -> str | None:
    """Return why runs have no other units, None where they have."""
    work = scenario.workload
    if work.training is not None:
        return "training iterations are scaled by a rule of their own, which stands below their table"
    if not work.bulk_bytes:
        return "small messages alone last as long as the scenario tells them to, at any rate"
    return None
