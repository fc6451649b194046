"""The figure of cross traffic: slowdown of Poisson flows by size, and what bursts took. Computes nothing new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isinf
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from testbed.evaluation.crossflows import arrival_percentile, bin_names
from testbed.percentile import P99_MIN_SAMPLES
from testbed.views.cells import number_text
from testbed.views.comparison import Comparison
from testbed.views.drawn import bursts_s, flow_slowdowns
from testbed.views.words import scheme_texts

WIDTH = 0.8  # of a bin that all schemes share
NARROW_TICKS = 5.5  # points: so that numbers of flows do not touch


def panels_of(comparison: Comparison) -> list[str]:
    """Return what there is to draw: ``flows``, ``bursts``, both or nothing."""
    entries = comparison.entries
    found = []
    if any(flow_slowdowns([entry]) for entry in entries):
        found.append("flows")
    if any(bursts_s([entry]) for entry in entries):
        found.append("bursts")
    return found


def draw(
    figure: Figure,
    comparison: Comparison,
    panels: Sequence[str],
    colour: Callable[[str], str],
    *,
    stacked: bool = False,
) -> str:
    """Draw the panels side by side and return what the caption says of them.

    ``stacked``: below each other, for narrow figures.
    """
    axes = _stacked(figure, len(panels)) if stacked else _side_by_side(figure, panels)
    said = []
    for panel, own in zip(panels, axes, strict=True):
        said.append((_draw_flows if panel == "flows" else _draw_bursts)(own, comparison, colour))
        if stacked:
            own.tick_params(axis="x", labelsize=NARROW_TICKS)
    handles = [
        Line2D([], [], marker="s", ls="", ms=4, color=colour(scheme), label=scheme) for scheme in comparison.schemes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3) if stacked else len(handles))
    return " ".join(said)


def _side_by_side(figure: Figure, panels: Sequence[str]) -> Any:
    ratios = [{"flows": 3.0, "bursts": 1.0}[panel] for panel in panels]
    return figure.subplots(1, len(panels), squeeze=False, width_ratios=ratios)[0]


def _stacked(figure: Figure, panels: int) -> Any:
    return figure.subplots(panels, 1, squeeze=False)[:, 0]


def _draw_flows(axes: Axes, comparison: Comparison, colour: Callable[[str], str]) -> str:
    schemes, bins = comparison.schemes, bin_names()
    step = WIDTH / len(schemes)
    counts: dict[str, list[int]] = {name: [] for name in bins}
    texts = {}
    for number, scheme in enumerate(schemes):
        found = flow_slowdowns(comparison.of(scheme))
        every = [slow for own in found.values() for slow in own]
        if every:
            texts[scheme] = " / ".join(number_text(arrival_percentile(every, percent), 1) for percent in (50, 99))
        for place, name in enumerate(bins):
            values = found.get(name, [])
            counts[name].append(len(values))
            x = place + (number - (len(schemes) - 1) / 2) * step
            middle, top = (arrival_percentile(values, percent) for percent in (50, 99))
            if middle is None:
                continue
            axes.plot([x], [middle], "o", ms=4, color=colour(scheme), zorder=3)
            if top is not None:
                axes.plot([x, x], [middle, top], lw=1.4, color=colour(scheme), zorder=2)
                axes.plot([x], [top], "_", ms=7, mew=1.4, color=colour(scheme), zorder=3)
    axes.axhline(1, color="black", lw=0.6, ls="--")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.6)))  # where there is room for them
    labels = [f"{name}\n({_range(counts[name])})" for name in bins]
    axes.set_xticks(range(len(bins)), labels)
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_xlabel("size of a flow (flows of a scheme, all its runs)")
    axes.set_ylabel("slowdown against an empty fabric")
    axes.grid(visible=True, axis="y", lw=0.3, color="0.85")
    return (
        f"Completion time of Poisson flows over the ideal on an empty fabric, by size: median (dot) and, from "
        f"{P99_MIN_SAMPLES} flows on, 99th percentile (bar); a flow that had not arrived at the end is slower than "
        f"all. p50 / p99 of all sizes: {scheme_texts(comparison, texts)}."
    )


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _draw_bursts(axes: Axes, comparison: Comparison, colour: Callable[[str], str]) -> str:
    schemes, texts = comparison.schemes, {}
    for place, scheme in enumerate(schemes):
        times_s = bursts_s(comparison.of(scheme))
        if times_s:
            texts[scheme] = _median_text(times_s)
        for index, time_s in enumerate(times_s):
            offset = 0.0 if len(times_s) == 1 else (index / (len(times_s) - 1) - 0.5) * 0.5
            if not isinf(time_s):
                axes.plot([place + offset], [time_s], "o", ms=3, color=colour(scheme))
    ideal_s = comparison.entries[0].number("bursts", "ideal_s")
    if ideal_s is not None:
        axes.axhline(ideal_s, color="black", lw=0.8, ls="--")
        axes.annotate(
            f"ideal {ideal_s:.3g} s",
            (1, ideal_s),
            (0, -2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=6,
        )
    axes.set_xticks(range(len(schemes)), schemes, rotation=30)
    axes.set_xlim(-0.6, len(schemes) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("completion time of a burst (s)")
    medians = scheme_texts(comparison, texts)
    return (
        "Bursts: each a point, in order; one that had not arrived whole is slower than all; dashed: bytes over the "
        f"slowest cut. Median, s: {medians}."
    )


def _median_text(times_s: Sequence[float]) -> str:
    """Return the median, and how many have no end."""
    middle_s, missing = median(times_s), sum(map(isinf, times_s))
    text = number_text(None if isinf(middle_s) else middle_s, 2)
    return f"{text} ({missing} of {len(times_s)} not arrived)" if missing else text
