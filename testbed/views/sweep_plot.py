"""The figure of a sweep: what the values of one field lead to, every run a point, a line through the medians.

Where values are words (or one is unset) they stand side by side, and medians are dashes; many words are
``testbed.views.sweep_words``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import floor, isnan, log, nan
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from testbed.views.colours import scheme_colour
from testbed.views.comparison import INVALID
from testbed.views.paper import (
    STACKED_BELOW_CM,
    STYLE,
    TWO_COLUMNS_CM,
    USUAL_FORMATS,
    beside,
    distinct,
    figure_files,
    headed_figure,
    write_figures,
)
from testbed.views.predicted import MODEL
from testbed.views.sweep import INTERVAL_WORDS, Axis, Group, SweepResults, axis_of
from testbed.views.sweep_panels import EFFICIENCY, Shown, chosen_panels, is_training
from testbed.views.sweep_training import training_figure
from testbed.views.sweep_words import MODEL_MARK, MOST_WORDS, by_scheme, correctness_text
from testbed.views.training_gain import speed_gains

NAME: Final = "curves"
HEIGHT_CM: Final = 6.2
# With a colour each scheme has a shape, for grey copies; cross and plus are left for runs that do not count.
MARKERS: Final = "osD^vPp*"
TURNED_CM: Final = 1.8  # of height for ticks that are turned
HEADROOM: Final = 0.06  # of the height, above the highest point
DODGE: Final = 0.018  # of the axis, between the points of two schemes
WORD_SHARE: Final = 0.6  # of the way from word to word, for the schemes of one
HALF_DASH: Final = 0.07  # of the same
MOST_TICK_CHARACTERS: Final = 24  # of all ticks, written level
# What the fluid model has: between numbers a line, since most shapes of points may be a scheme's.
MODEL_LINE: Final[dict[str, Any]] = {"ls": ":", "lw": 1.1, "zorder": 2.5}
WORD_MARK: Final[dict[str, Any]] = {"marker": "<", "ls": "", "ms": 3.0, "mfc": "white", "mec": "black", "mew": 0.6}
TRIANGLES: Final = "open triangles"


def draw_sweep(
    results: SweepResults,
    *,
    formats: Sequence[str] = USUAL_FORMATS,
    width_cm: float | None = None,
    heading: bool = True,
) -> list[Path]:
    """Draw the figure into the sweep's folder and return the files written; none where no usable run has a number.

    Raises ResultsError when a file cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        drawn = curves(results) if width_cm is None else curves(results, width_cm)
        if drawn is None:
            return []
        figure, caption = drawn
        files = figure_files(figure, provenance(results, caption), formats, heading=heading)
    return write_figures(results.stored.path, {f"{NAME}.{suffix}": content for suffix, content in files.items()})


def provenance(results: SweepResults, caption: str) -> dict[str, Any]:
    """Return what the figure was made from, its numbers included."""
    entries = [member.entry for member in results.members if member.entry is not None]
    versions = distinct([entry.run.manifest.get("versions") for entry in entries])
    gains = {
        "speed_over_first": [
            {"value": results.stored.sweep.values[point], "scheme": scheme, **asdict(ratio)}
            for (point, scheme), ratio in speed_gains(results).items()
        ]
    }
    return {"caption": caption, **results.document(), **gains, "versions": versions}


def curves(results: SweepResults, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Return the figure and its caption; None when no run that is not INVALID has a number for any panel.

    Panels stand side by side, in narrow figures below each other.
    """
    heading, stacked = (results.heading, "; ".join(results.notes())), width_cm < STACKED_BELOW_CM
    if is_training(results) and results.has("completion_s"):
        return training_figure(results, heading, _point_style, width_cm)
    choices = chosen_panels(results)
    if not choices:
        return None
    axis, columns = axis_of(results.stored), 2 if stacked else 6
    if axis.kind == "words" and len(axis.positions) > MOST_WORDS and results.has(EFFICIENCY[0]):
        figure = by_scheme(results, heading, _point_style, width_cm)
        figure.legend(
            handles=_legend(results, choices, MODEL_MARK)[len(results.stored.sweep.schemes) :],
            loc="outside lower center",
            ncols=columns,
        )
        return figure, f"{_caption(results, [EFFICIENCY], TRIANGLES)} {correctness_text(results)}".rstrip()
    height_cm = HEIGHT_CM + (TURNED_CM if _is_crowded(axis) else 0.0)
    figure = headed_figure(heading, width_cm, height_cm * len(choices) if stacked else height_cm)
    shape = (len(choices), 1) if stacked else (1, len(choices))
    for axes, shown in zip(figure.subplots(*shape, squeeze=False).flat, choices, strict=True):
        _panel(axes, results, axis, shown)
    at_words = axis.kind == "words"
    handles = _legend(results, choices, WORD_MARK if at_words else {"color": "black", **MODEL_LINE})
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure, _caption(results, choices, TRIANGLES if at_words else "dotted")


def _panel(axes: Axes, results: SweepResults, axis: Axis, shown: Shown) -> None:
    key, label, factor = shown
    schemes = results.stored.sweep.schemes
    for number, scheme in enumerate(schemes):
        shift = (number - (len(schemes) - 1) / 2) * _step(axis, len(schemes))
        _curve(axes, results.of(scheme), axis, shift, MARKERS[number % len(MARKERS)], (key, factor))
        if key == EFFICIENCY[0]:
            _model(axes, results, scheme, axis, shift)
    axes.set_ylabel(label)
    found = [value * factor for member in results.members if (value := member.numbers[key]) is not None]
    if key == EFFICIENCY[0]:
        # from a round number below all points: a difference between values is to be seen, and so is the limit
        axes.axhline(1.0, color="black", lw=0.8, ls="--", zorder=1)
        found += results.modelled.values()
        low, high = max(0.0, floor((min(found) - 0.02) * 10) / 10), max(1.0, *found)
        axes.set_ylim(low, high + HEADROOM * (high - low))
    else:
        axes.set_ylim(0, (1 + HEADROOM) * max(found) or 1.0)
    _x_axis(axes, axis)


def _curve(
    axes: Axes, groups: Sequence[Group], axis: Axis, shift: float, marker: str, quantity: tuple[str, float]
) -> None:
    """Draw a scheme: every run that has the quantity, and a line through the medians of those that count."""
    key, factor = quantity
    colour = scheme_colour(groups[0].scheme)
    line: list[tuple[float, float]] = []
    for group in groups:
        x = _shifted(axis, axis.positions[group.point], shift)
        for member in group.members:
            value = member.numbers[key]
            if value is not None:
                axes.plot(x, value * factor, **_point_style(member.state, marker, colour))
        if (reach := group.interval(key)) is not None:
            axes.plot([x, x], [end * factor for end in reach], color=colour, lw=3.0, alpha=0.35, zorder=1)
        middle = group.median(key)
        # without one the line is broken: it would pass where nothing is known
        line.append((x, nan if middle is None else middle.median * factor))
    if axis.kind == "words":  # there is nothing between two words for a line to pass through
        for x, y in line:
            _through(axes, [(x - HALF_DASH, y), (x + HALF_DASH, y)], color=colour, zorder=2)
    else:
        _through(axes, line, color=colour, zorder=2)


def _model(axes: Axes, results: SweepResults, scheme: str, axis: Axis, shift: float) -> None:
    """Draw what the model has for a scheme: a dotted line, at words a mark that points at its medians."""
    known = results.modelled_of(scheme)
    if axis.kind == "words":
        place = axes.transData + beside(axes, WORD_MARK["ms"])
        for point, efficiency in known.items():
            x = _shifted(axis, axis.positions[point], shift) + HALF_DASH
            axes.plot(x, efficiency, transform=place, zorder=5, **WORD_MARK)
        return
    line = [(_shifted(axis, position, shift), known.get(point, nan)) for point, position in enumerate(axis.positions)]
    _through(axes, line, color=scheme_colour(scheme), **MODEL_LINE)


def _through(axes: Axes, line: Sequence[tuple[float, float]], **style: Any) -> None:
    """Draw a line through values, nothing where none is known."""
    ordered = sorted(line)
    if not all(isnan(y) for _x, y in line):
        axes.plot([x for x, _y in ordered], [y for _x, y in ordered], **style)


def _step(axis: Axis, schemes: int) -> float:
    """Return the share of the axis between two schemes: words leave room between them, numbers only a little."""
    return WORD_SHARE / schemes / (len(axis.positions) - 1) if axis.kind == "words" else DODGE


def _shifted(axis: Axis, position: float, shift: float) -> float:
    """Move a point by a share of the axis, so that schemes do not hide each other."""
    low, high = min(axis.positions), max(axis.positions)
    return position * float((high / low) ** shift) if axis.kind == "log" else position + (high - low) * shift


def _point_style(state: str, marker: str, colour: str) -> dict[str, Any]:
    if state == INVALID:
        return {"marker": "x", "ls": "", "ms": 4.5, "mec": "red", "mew": 1.0, "zorder": 4}
    face = colour if state == "VALID" else "white"
    return {"marker": marker, "ls": "", "ms": 3.4, "mfc": face, "mec": colour, "mew": 0.8, "zorder": 3}


def _x_axis(axes: Axes, axis: Axis) -> None:
    axes.set_xlabel(axis.label, parse_math=False)  # values may be words
    if axis.kind == "log":
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if _is_crowded(axis) else {}
    axes.set_xticks(list(axis.positions), list(axis.ticks), parse_math=False, **turned)
    axes.grid(visible=True, axis="y", lw=0.3, color="0.85")
    axes.set_axisbelow(True)
    margin = 0.5 / (len(axis.positions) - 1) if axis.kind == "words" else 0.08
    low, high = _shifted(axis, min(axis.positions), -margin), _shifted(axis, max(axis.positions), margin)
    axes.set_xlim(low, high)


def _is_crowded(axis: Axis) -> bool:
    """Whether ticks have to be turned, for which a figure is higher: all in all, or two that stand close together."""
    if sum(len(tick) + 1 for tick in axis.ticks) > MOST_TICK_CHARACTERS:
        return True
    places = sorted(
        (log(position) if axis.kind == "log" else position, len(tick))
        for position, tick in zip(axis.positions, axis.ticks, strict=True)
    )
    room_per_place = MOST_TICK_CHARACTERS / (places[-1][0] - places[0][0])
    return any(
        (left + right) / 2 + 1 > (there - here) * room_per_place
        for (here, left), (there, right) in zip(places, places[1:], strict=False)
    )


def _has_limit(choices: Sequence[Shown]) -> bool:
    """Whether a panel shows what has a physical limit."""
    return EFFICIENCY in choices


def _shows_model(results: SweepResults, choices: Sequence[Shown]) -> bool:
    """Whether a panel shows what the fluid model has."""
    return EFFICIENCY in choices and bool(results.modelled)


def _legend(results: SweepResults, choices: Sequence[Shown], model: Mapping[str, Any]) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], marker=MARKERS[number % len(MARKERS)], ms=3.4, color=scheme_colour(scheme), label=scheme)
        for number, scheme in enumerate(results.stored.sweep.schemes)
    ]
    if _has_limit(choices):
        handles.append(Line2D([], [], color="black", lw=0.8, ls="--", label="physical limit"))
    if _shows_model(results, choices):
        handles.append(Line2D([], [], **model, label=MODEL))
    words = {"SUSPECT": "SUSPECT run", INVALID: "INVALID run, not in the median"}
    for state, label in words.items():
        if results.counts().get(state):
            handles.append(Line2D([], [], **_point_style(state, "o", "0.3"), label=label))
    return handles


def _caption(results: SweepResults, choices: Sequence[Shown], model_marks: str) -> str:
    shown = ", ".join(label for _key, label, _factor in choices)
    counts = ", ".join(f"{number} {state}" for state, number in results.counts().items())
    notes = "".join(f" {note[0].upper()}{note[1:]}." for note in results.notes())
    seeds = len(results.stored.sweep.seeds)
    limit = "; dashed: physical limit" if _has_limit(choices) else ""
    if _shows_model(results, choices):
        limit += f"; {model_marks}: what the {MODEL} (neither queues nor losses) has for the same seeds, their median"
    return (
        f"{results.heading}: {shown}. Points: single runs ({seeds} seed{'s' if seeds > 1 else ''} per value "
        f"and scheme; {counts}); lines: medians over seeds; broad: {INTERVAL_WORDS}{limit}.{notes}"
    )
