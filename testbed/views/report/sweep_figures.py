"""The figure of a sweep for a page: every run a point, a line through the medians, a panel per quantity."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any, Final

from testbed.inference.speedup import PAIRS_FOR_AN_INTERVAL
from testbed.views.cells import Grid
from testbed.views.comparison import INVALID
from testbed.views.predicted import MODEL
from testbed.views.report.charts import Lines, Panel, Series
from testbed.views.sweep import INTERVAL_WORDS, Axis, Group, Member, SweepResults, axis_of
from testbed.views.sweep_panels import EFFICIENCY, Shown, chosen_panels, is_training
from testbed.views.training_gain import speed_gains
from testbed.views.words import number

MARGIN: Final = 0.06  # of the axis, left and right of the values
Ends = tuple[float | None, ...]


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
        panels=(*(_panel(results, axis, shown) for shown in choices), *_speed_panels(results, axis)),
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
            *_reaches([group.interval(key) for group in ordered], factor),
            connect=axis.kind != "words",
            points=tuple(
                point
                for group in ordered
                for member in group.members
                if (point := _point(results, group, member, axis, shown)) is not None
            ),
            modelled=_modelled(results, scheme, ordered) if key == EFFICIENCY[0] else (),
        )
        for scheme in results.stored.sweep.schemes
        for ordered in [sorted(results.of(scheme), key=lambda group: axis.positions[group.point])]
    ]
    known = [value * factor for member in results.members if (value := member.numbers[key]) is not None]
    if key == EFFICIENCY[0]:
        known += results.modelled.values()
        low = max(0.0, floor((min(known, default=0.0) - 0.02) * 10) / 10)
        return Panel("", label, tuple(series), y_min=low, rules=((1.0, "physical limit"),))
    return Panel("", label, tuple(series))


def _modelled(results: SweepResults, scheme: str, groups: Sequence[Group]) -> Ends:
    """Return what the fluid model has for a scheme at each value; empty where it has nothing at any."""
    known = results.modelled_of(scheme)
    return tuple(known.get(group.point) for group in groups) if known else ()


def _reaches(found: Sequence[tuple[float, float] | None], factor: float = 1.0) -> tuple[Ends, Ends]:
    """Return the lower and the upper ends of intervals; both empty where there is none at all."""
    if not any(found):
        return (), ()
    low, high = (tuple(None if one is None else one[end] * factor for one in found) for end in (0, 1))
    return low, high


def _speed_panels(results: SweepResults, axis: Axis) -> tuple[Panel, ...]:
    """Return for training iterations how much faster each scheme is than the first; nothing otherwise."""
    if not is_training(results):
        return ()
    first, *others = results.stored.sweep.schemes
    gains, order = speed_gains(results), sorted(range(len(axis.positions)), key=lambda point: axis.positions[point])
    series = []
    for scheme in others:
        own = [gains.get((point, scheme)) for point in order]
        if any(own):
            reaches = [None if r is None or r.low is None or r.high is None else (r.low, r.high) for r in own]
            means = tuple(None if ratio is None else ratio.mean for ratio in own)
            x = tuple(axis.positions[point] for point in order)
            series.append(Series(scheme, scheme, x, means, *_reaches(reaches), connect=axis.kind != "words"))
    rules = ((1.0, f"as fast as {first}"),)
    return (Panel("", f"iteration speed over {first}", tuple(series), y_min=None, rules=rules),) if series else ()


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
    """Return for each scheme between which medians the values lead it, in the first panel's quantity, and its speed."""
    return (*_median_texts(results), *_speed_texts(results))


def _speed_texts(results: SweepResults) -> tuple[str, ...]:
    """Return between which speeds over the first scheme the values lead each other one, of training iterations."""
    if not is_training(results):
        return ()
    first, gains, texts = results.stored.sweep.schemes[0], speed_gains(results), results.stored.sweep.texts
    said = []
    for scheme in results.stored.sweep.schemes[1:]:
        speeds = [(ratio.mean, texts[point]) for (point, own), ratio in gains.items() if own == scheme]
        if speeds:
            said.append(f"{scheme}: iteration speed over {first} {_from_to(speeds)}.")
    return tuple(said)


def _from_to(values: Sequence[tuple[float, str]]) -> str:
    """Return from the smallest to the largest, and at which values of the field."""
    (low, at_low), (high, at_high) = min(values), max(values)
    if low == high:
        return f"{number(low)} at every value"
    return f"from {number(low)} (at {at_low}) to {number(high)} (at {at_high})"


def _median_texts(results: SweepResults) -> tuple[str, ...]:
    choices = chosen_panels(results)
    if not choices:
        return ()
    key, label, factor = choices[0]
    said = []
    for scheme in results.stored.sweep.schemes:
        medians = [(found.median * factor, group.text) for group in results.of(scheme) if (found := group.median(key))]
        if medians:
            said.append(f"{scheme}: {label} {_from_to(medians)}.")
    return tuple(said)


def _model_texts(results: SweepResults) -> str:
    texts = results.stored.sweep.texts
    found = ((scheme, results.modelled_of(scheme)) for scheme in results.stored.sweep.schemes)
    return "; ".join(
        f"{scheme} {_from_to([(efficiency, texts[point]) for point, efficiency in own.items()])}"
        for scheme, own in found
        if own
    )


def _caption(results: SweepResults, choices: list[Shown]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in results.counts().items())
    labels = ", ".join(label for _key, label, _factor in choices)
    medians = " ".join(_median_texts(results))
    points = f"Points: single runs ({counts}); lines: medians over seeds."
    if results.counts().get(INVALID):
        points += " INVALID ones are crosses, in no median."
    if any(group.interval(key) is not None for group in results.groups for key, _label, _factor in choices):
        points += f" Bands: {INTERVAL_WORDS}."
    if EFFICIENCY in choices and results.modelled:
        points += f" Open triangles: what the {MODEL} has for the same seeds, their median: {_model_texts(results)}."
    if is_training(results):
        points += (
            " Speed: geometric mean of ratios of iteration times paired by seed, with its 95% interval, which of fewer "
            f"than {PAIRS_FOR_AN_INTERVAL} pairs holds the truth less often."
        )
    return f"{labels[:1].upper()}{labels[1:]}. Medians: {medians} {points}"
