"""The panels of the figure around a fault: how much all ranks receive and how full the fabric's queues are.

Left the whole story, right the moments after the first fault in bins as fine as the samples. What the lines say is
computed in ``testbed.evaluation.timeline``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.errors import printable
from testbed.evaluation.timeline import (
    Band,
    Mark,
    Timeline,
    Values,
    across,
    bin_edges,
    covered,
    marks,
    timeline,
)
from testbed.model.fault_spec import DEADLY
from testbed.units import KIB
from testbed.views.comparison import Comparison
from testbed.views.fault_lines import AFTER_S, BEFORE_S, Line, beside

STORY_BINS = 150  # about as many as can be told apart in the left panel
CLOSE_BEFORE, CLOSE_AFTER = 5, 25  # samples shown in the right panel before and after the fault
REPAIR_DASHES = {"local": "-", "controller": (0, (4, 1.5))}
BAND_OPACITY = 0.15
MOST_CHARACTERS = 20  # of a fault's name
LONG_LABEL = 60  # characters; beyond, two do not stand side by side
LABEL_APART = 0.12  # of the panel's width: labels of faults closer than that stand one above the other


@dataclass(frozen=True)
class Panels:
    """The lines, the moments between which they are shown, and the width of a bin, in s; one for each column."""

    lines: tuple[Line, ...]
    start_s: float
    end_s: float
    bin_s: float


def draw(
    figure: Figure,
    comparison: Comparison,
    lines: Sequence[Line],
    colour: Callable[[str], str],
    *,
    stacked: bool = False,
) -> str | None:
    """Draw both columns and the legend; return the caption, None when there was nothing to draw.

    ``stacked``: the second column below the first, for narrow figures.
    """
    story, close = _story(comparison, lines), _close_up(comparison, lines)
    axes = _stacked(figure) if stacked else figure.subplots(2, 2, sharex="col", sharey="row", width_ratios=(3, 2))
    drawn = [_column(axes[:, index], panels, colour) for index, panels in enumerate((story, close))]
    if not any(drawn):
        return None
    for column, panels in zip((0, 1), (story, close), strict=True):
        axes[1][column].set_xlim(panels.start_s, panels.end_s)
        axes[1][column].set_xlabel(f"time after the first fault (s), bins of {panels.bin_s * 1000:.0f} ms")
    axes[0][0].set_ylabel("received by ranks\n(share of their links)")
    axes[1][0].set_ylabel("fullest queue of\nthe fabric (KiB)")
    for one in axes[1]:
        one.axhline(comparison.scenario.fabric.queue_bytes / KIB, color="black", lw=0.6, ls=(0, (1, 3)), zorder=1)
    for row in axes:
        row[0].set_ylim(bottom=0)
    _label_faults(axes[0][0], _marks(lines), story)
    _mark_recoveries(axes[0][1], close, colour)
    shown = {label: one for panel in axes.flat for one, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    columns = 1 if max(map(len, shown)) > LONG_LABEL else 2
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns)
    return _caption(comparison, lines)


def _stacked(figure: Figure) -> Any:
    """Return the axes as if both columns stood side by side."""
    axes = figure.subplots(4, 1).reshape(2, 2).T  # each column's two panels below each other
    for row in axes:
        row[1].sharey(row[0])
    for column in axes.T:
        column[1].sharex(column[0])
    return axes


def _story(comparison: Comparison, lines: Sequence[Line]) -> Panels:
    spans = [span for line in lines for entry in line.entries if (span := covered(entry.run.record)) is not None]
    last_s = max(mark.t_s for mark in _marks(lines))
    start_s = max(min(start for start, _end in spans), -BEFORE_S)
    end_s = min(max(end for _start, end in spans), last_s + AFTER_S)
    interval_s = comparison.scenario.measure.sample_interval_s
    steps = max(1, round((end_s - start_s) / STORY_BINS / interval_s))  # whole samples, so that none is split
    return Panels(tuple(lines), start_s, end_s, steps * interval_s)


def _close_up(comparison: Comparison, lines: Sequence[Line]) -> Panels:
    interval_s = comparison.scenario.measure.sample_interval_s
    return Panels(tuple(lines), -CLOSE_BEFORE * interval_s, CLOSE_AFTER * interval_s, interval_s)


def _marks(lines: Sequence[Line]) -> tuple[Mark, ...]:
    """Return the faults of the first run: the scenario's are at the same times in all."""
    return marks(lines[0].entries[0].run.record)


def _column(axes: Sequence[Axes], panels: Panels, colour: Callable[[str], str]) -> bool:
    """Draw a column's two panels; return whether there was anything."""
    edges = bin_edges(panels.start_s, panels.end_s, panels.bin_s)
    drawn = False
    for line in panels.lines:
        found = [timeline(entry.run.record, edges) for entry in line.entries]
        for one, values, scale in zip(axes, _bands(found), (1.0, 1.0 / KIB), strict=True):
            drawn |= _band(one, edges, values, scale, line, colour(line.scheme))
    for one in axes:
        for mark in _marks(panels.lines):
            one.axvline(mark.t_s, color="0.35", lw=0.7, ls=":" if mark.action == "heal" else "--", zorder=1)
    return drawn


def _bands(found: Sequence[Timeline]) -> tuple[Band, Band]:
    return across([one.received_fraction for one in found]), across([one.queue_bytes for one in found])


def _band(axes: Axes, edges: Sequence[float], band: Band, scale: float, line: Line, colour: str) -> bool:
    if all(value is None for value in band.median):
        return False
    middles = [(start + end) / 2 for start, end in zip(edges, edges[1:], strict=False)]
    style: dict[str, Any] = {"color": colour, "ls": REPAIR_DASHES[line.repair], "lw": 0.9}
    axes.plot(middles, _scaled(band.median, scale), label=line.label, zorder=3, **style)
    if len(line.entries) > 1:
        low, high = _scaled(band.low, scale), _scaled(band.high, scale)
        axes.fill_between(middles, low, high, color=colour, alpha=BAND_OPACITY, lw=0, zorder=2)
    return True


def _scaled(values: Values, scale: float) -> list[float]:
    return [nan if value is None else value * scale for value in values]


def _label_faults(axes: Axes, faults: Sequence[Mark], panels: Panels) -> None:
    """Say above the panel what each vertical line is."""
    apart_s, height, before_s = LABEL_APART * (panels.end_s - panels.start_s), 0, -float("inf")
    for mark in (fault for fault in faults if fault.t_s <= panels.end_s):
        height = height + 1 if mark.t_s - before_s < apart_s else 0
        before_s = mark.t_s
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        text = printable(f"{mark.action} {mark.target}"[:MOST_CHARACTERS])
        axes.annotate(
            text, (mark.t_s, 1), (0, 2 + 7 * height), ha="center", va="bottom", fontsize=6, parse_math=False, **place
        )


def _mark_recoveries(axes: Axes, panels: Panels, colour: Callable[[str], str]) -> None:
    """Put a triangle over the panel where the last GSP of a run had left the paths, if one fault alone asks for it."""
    deadly = [mark for mark in _marks(panels.lines) if mark.action in DEADLY]
    for line in panels.lines if len(deadly) == 1 else ():
        style: dict[str, Any] = {"color": colour(line.scheme), "ms": 3.5, "mew": 0, "ls": "", "clip_on": False}
        known = [ms / 1000 for entry in line.entries if (ms := entry.number("recovery_ms")) is not None]
        found = [deadly[0].t_s + took_s for took_s in known if deadly[0].t_s + took_s <= panels.end_s]
        if found:
            axes.plot(found, [1.03] * len(found), "v", transform=axes.get_xaxis_transform(), **style)


def _caption(comparison: Comparison, lines: Sequence[Line]) -> str:
    several = any(len(line.entries) > 1 for line in lines)
    other = beside(comparison)
    said_beside = ""
    if other is not None:
        runs = ", ".join(entry.run.path.name for entry in other.entries)
        said_beside = (
            f" Drawn beside: runs of scenario {other.scenario_hash}, the same with gsos.repair="
            f"{other.scenario.gsos.repair} ({runs}); dashed lines: leaves' own dead uplinks are repaired by GSOS."
        )
    return (
        "Around the first fault, at 0: frames received by all ranks' hosts over what their links can carry (headers, "
        "acknowledgements and repeats included; from counters, taken to grow evenly between samples), and the fullest "
        "queue between leaves and spines as sampled (dotted: its limit). Nothing is drawn between iterations or where "
        "samples are missing. "
        + ("Lines: median over runs; bands: smallest to largest. " if several else "Lines: one run each. ")
        + "Path left after: until the last GSP had left the paths of the fault (schemes with agents; triangles: each "
        "run); longest pause: between receptions of any rank, going on within 1 s after a fault; medians over runs, "
        "only where measured." + said_beside
    )
