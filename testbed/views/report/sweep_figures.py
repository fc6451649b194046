"""The figure of a sweep for a page: every run a point, a line through the medians, a panel per quantity."""

from __future__ import annotations

from math import floor
from typing import Any, Final

from testbed.views.report.charts import Lines, Panel, Series
from testbed.views.sweep import Axis, Group, Member, SweepResults, axis_of
from testbed.views.sweep_panels import EFFICIENCY, Shown, chosen_panels
from testbed.views.tables import Grid
from testbed.views.words import number

MARGIN: Final = 0.06  # of the axis, left and right of the values


def sweep_lines(results: SweepResults, table: Grid) -> Lines | None:
    """Return the figure; None when no run that is not INVALID has a number for any panel."""
    choices = chosen_panels(results)
    if not choices:
        return None
    axis = axis_of(results.stored)
    return Lines(
        key="sweep",
        title=f"What {results.stored.sweep.field} leads to",
        x_label=axis.label,
        x_log=axis.kind == "log",
        x_range=_range(axis),
        ticks=tuple(zip(axis.positions, axis.ticks, strict=True)),
        panels=tuple(_panel(results, axis, shown) for shown in choices),
        caption=_caption(results, choices),
        table=table,
    )


def _range(axis: Axis) -> tuple[float, float]:
    low, high = min(axis.positions), max(axis.positions)
    if low == high:
        return low - 0.5, high + 0.5
    if axis.kind == "log":
        factor = (high / low) ** MARGIN
        return low / factor, high * factor
    gap = 0.5 if axis.kind == "words" else (high - low) * MARGIN
    return low - gap, high + gap


def _panel(results: SweepResults, axis: Axis, shown: Shown) -> Panel:
    key, label, factor = shown
    series = [
        Series(
            scheme,
            scheme,
            tuple(axis.positions[group.point] for group in ordered),
            tuple(None if (one := group.median(key)) is None else one.median * factor for group in ordered),
            connect=axis.kind != "words",
            points=tuple(
                point
                for group in ordered
                for member in group.members
                if (point := _point(results, group, member, axis, shown)) is not None
            ),
        )
        for scheme in results.stored.sweep.schemes
        for ordered in [sorted(results.of(scheme), key=lambda group: axis.positions[group.point])]
    ]
    known = [value * factor for member in results.members if (value := member.numbers[key]) is not None]
    if key == EFFICIENCY[0]:
        low = max(0.0, floor((min(known, default=0.0) - 0.02) * 10) / 10)
        return Panel("", label, tuple(series), y_min=low, rules=((1.0, "physical limit"),))
    return Panel("", label, tuple(series))


def _point(results: SweepResults, group: Group, member: Member, axis: Axis, shown: Shown) -> dict[str, Any] | None:
    key, _label, factor = shown
    value = member.numbers[key]
    if value is None:
        return None
    seed, field = member.stored.run.seed, results.stored.sweep.field
    return {
        "x": axis.positions[group.point],
        "y": float(f"{value * factor:.6g}"),
        "verdict": member.state,
        "label": f"{field}={group.text}, {group.scheme} seed {seed}: {number(value * factor)}, {member.state}",
    }


def sweep_answers(results: SweepResults) -> tuple[str, ...]:
    """Return for each scheme between which medians the values lead it, in the first panel's quantity."""
    choices = chosen_panels(results)
    if not choices:
        return ()
    key, label, factor = choices[0]
    said = []
    for scheme in results.stored.sweep.schemes:
        medians = [(found.median * factor, group.text) for group in results.of(scheme) if (found := group.median(key))]
        if medians:
            (low, at_low), (high, at_high) = min(medians), max(medians)
            same = f"{number(low)} at every value" if low == high else ""
            said.append(
                f"{scheme}: {label} {same or f'from {number(low)} (at {at_low}) to {number(high)} (at {at_high})'}."
            )
    return tuple(said)


def _caption(results: SweepResults, choices: list[Shown]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in results.counts().items())
    labels = ", ".join(label for _key, label, _factor in choices)
    medians = " ".join(sweep_answers(results))
    points = f"Points: single runs ({counts}); lines: medians over seeds."
    return f"{labels[:1].upper()}{labels[1:]}. Medians: {medians} {points}"
