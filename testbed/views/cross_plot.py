"""The figure of cross traffic: slowdown of Poisson flows by size, and what bursts took. Computes nothing new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isinf

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from testbed.evaluation.crossflows import bin_names, bin_of, burst_times, slowdowns
from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.records import CrossFlowRow, IterationRow
from testbed.percentile import P99_MIN_SAMPLES, nearest_rank
from testbed.views.comparison import Comparison, Entry

WIDTH = 0.8  # of a bin that all schemes share


def panels_of(comparison: Comparison) -> list[str]:
    """Return what there is to draw: ``flows``, ``bursts``, both or nothing."""
    entries = comparison.entries
    found = []
    if any(slow for entry in entries for slow in _by_bin([entry]).values()):
        found.append("flows")
    if any(_bursts_s([entry]) for entry in entries):
        found.append("bursts")
    return found


def _rows(entry: Entry) -> list[CrossFlowRow]:
    """Return the Poisson flows that began in measured iterations."""
    during = windows(measured(entry.run.rows(IterationRow)))
    return [
        row
        for row in entry.run.rows(CrossFlowRow)
        if row.kind == "poisson" and any(start <= row.start_s <= end for start, end in during)
    ]


def _by_bin(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Return bin -> slowdowns of the flows of all these runs; those that did not arrive are without end."""
    found: dict[str, list[float]] = {name: [] for name in bin_names()}
    for entry in entries:
        rows = _rows(entry)
        for row, slow in zip(rows, slowdowns(entry.run.record, rows), strict=True):
            found[bin_of(row.size_bytes)].append(slow)
    return {name: own for name, own in found.items() if own}


def _bursts_s(entries: Sequence[Entry]) -> list[float]:
    """Return how long each burst of these runs took; one that did not arrive whole has no time to draw."""
    during = [(entry, windows(measured(entry.run.rows(IterationRow)))) for entry in entries]
    times = [one.completion_s for entry, own in during for one in burst_times(entry.run.record, own)]
    return [time_s for time_s in times if time_s is not None]


def draw(figure: Figure, comparison: Comparison, panels: Sequence[str], colour: Callable[[str], str]) -> str:
    """Draw the panels side by side and return what the caption says of them."""
    ratios = [{"flows": 3.0, "bursts": 1.0}[panel] for panel in panels]
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=ratios)[0]
    said = []
    for panel, own in zip(panels, axes, strict=True):
        said.append((_draw_flows if panel == "flows" else _draw_bursts)(own, comparison, colour))
    handles = [
        Line2D([], [], marker="s", ls="", ms=4, color=colour(scheme), label=scheme) for scheme in comparison.schemes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return " ".join(said)


def _draw_flows(axes: Axes, comparison: Comparison, colour: Callable[[str], str]) -> str:
    schemes, bins = comparison.schemes, bin_names()
    step = WIDTH / len(schemes)
    counts: dict[str, list[int]] = {name: [] for name in bins}
    for number, scheme in enumerate(schemes):
        found = _by_bin(comparison.of(scheme))
        for place, name in enumerate(bins):
            values = found.get(name, [])
            counts[name].append(len(values))
            if not values:
                continue
            x = place + (number - (len(schemes) - 1) / 2) * step
            middle, top = nearest_rank(values, 50) or inf, _high(values)
            if not isinf(middle):
                axes.plot([x], [middle], "o", ms=4, color=colour(scheme), zorder=3)
            if top is not None and not isinf(middle):
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
        f"{P99_MIN_SAMPLES} flows on, 99th percentile (bar); a flow that had not arrived at the end is slower than all."
    )


def _high(values: Sequence[float]) -> float | None:
    """Return the 99th percentile where there are enough, and it has arrived."""
    found = nearest_rank(values, 99) if len(values) >= P99_MIN_SAMPLES else None
    return None if found is None or isinf(found) else found


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _draw_bursts(axes: Axes, comparison: Comparison, colour: Callable[[str], str]) -> str:
    schemes = comparison.schemes
    for place, scheme in enumerate(schemes):
        times_s = _bursts_s(comparison.of(scheme))
        for index, time_s in enumerate(times_s):
            offset = 0.0 if len(times_s) == 1 else (index / (len(times_s) - 1) - 0.5) * 0.5
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
    return "Bursts: each a point, in order; dashed: bytes over the slowest cut."
