"""Uplinks and queues over time, one run of each scheme below each other."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.series import Rates, Series
from testbed.units import KIB
from testbed.views.colours import scheme_colour
from testbed.views.comparison import Comparison, Entry, iteration_name
from testbed.views.drawn import QUEUE_TIERS, began_s, lasted_s, link_rates_mbps, longest_queues, representatives
from testbed.views.paper import CM, STACKED_BELOW_CM, TWO_COLUMNS_CM, captioned, framed
from testbed.views.waits import run_wait_ms, wait_words, waits_caption
from testbed.views.words import scheme_texts, spread_text

QUEUE_LINES = {"uplink": ("#0072B2", "-"), "downlink": ("#E69F00", "--"), "host_rx": ("#777777", "-.")}
MOST_LABELLED_ROWS = 24


def uplinks(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Heat map of every uplink's utilisation over time, the median run of each scheme below each other."""
    shown = [(entry, found) for entry in representatives(comparison) if (found := link_rates_mbps(entry, ("uplink",)))]
    if not shown:
        return None
    rows = comparison.scenario.fabric.leaves * comparison.scenario.fabric.paths
    figure = framed(comparison, width_cm, 1.6 + len(shown) * min(max(0.24 * rows, 2.6), 6.0))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    meshes = [_heat_map(axes, entry, rates) for axes, (entry, rates) in zip(panels, shown, strict=True)]
    panels[-1].set_xlim(0, max(lasted_s(entry) for entry, _rates in shown) * 1.01)
    panels[-1].set_xlabel("time since the first measured iteration began (s)")
    bar: dict[str, Any] = {"aspect": 30, "pad": 0.01}
    if width_cm < STACKED_BELOW_CM:
        bar = {"location": "bottom", "aspect": 40, "pad": 0.02}
    figure.colorbar(meshes[-1], ax=list(panels), label="utilisation of the link rate", **bar)
    text = (
        "Uplink utilisation over time, the run with the median completion time of each scheme; "
        "white lines: start of an iteration. Share of their rate that uplinks which carried payload used while "
        f"iterations ran: {_uplink_numbers(comparison)}."
    )
    return figure, captioned(comparison, text)


def _uplink_numbers(comparison: Comparison) -> str:
    found = {
        scheme: spread for scheme in comparison.schemes if (spread := comparison.spread(scheme, "uplink_utilization"))
    }
    texts = {scheme: spread_text(spread, 3) for scheme, spread in found.items()}
    return scheme_texts(comparison, texts) or "not measured"


def _heat_map(axes: Axes, entry: Entry, rates: dict[str, Rates]) -> Any:
    topology, start_s = entry.run.record.topology, began_s(entry)
    order = [direction for direction in topology.directions if direction.name in rates]
    times = sorted({t_s for series in rates.values() for t_s in series.times_s})
    grid = [_row(rates[direction.name], times, direction.rate_mbps) for direction in order]
    step_s = (times[-1] - times[0]) / max(len(times) - 1, 1)
    edges = [times[0] - step_s - start_s, *(t - start_s for t in times)]
    mesh = axes.pcolormesh(edges, range(len(order) + 1), grid, vmin=0, vmax=1, cmap="cividis", rasterized=True)
    axes.invert_yaxis()
    per_leaf = topology.fabric.paths
    for index in range(per_leaf, len(order), per_leaf):
        axes.axhline(index, color="white", lw=0.8)
    if len(order) <= MOST_LABELLED_ROWS:
        labels = [f"{direction.src.node} to {topology.path_name(i % per_leaf)}" for i, direction in enumerate(order)]
        axes.set_yticks([i + 0.5 for i in range(len(order))], labels, fontsize=5)
    else:
        leaves = len(order) // per_leaf
        axes.set_yticks([(i + 0.5) * per_leaf for i in range(leaves)], [leaf.name for leaf in topology.leaves])
    axes.tick_params(axis="y", length=0)
    for begin_s, _end_s in windows(measured(entry.run.tables.iterations)):
        axes.axvline(begin_s - start_s, color="white", lw=0.8, ls="-")
    _mark_faults(axes, entry, start_s, "white")
    _title(axes, entry)
    return mesh


def _row(rates: Rates, times_s: Sequence[float], rate_mbps: float) -> list[float]:
    """Return one line of the heat map; a sample that is missing stays blank."""
    values = dict(zip(rates.times_s, rates.values, strict=True))
    return [nan if (value := values.get(t_s)) is None else value / rate_mbps for t_s in times_s]


def queues(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """The longest queue of each tier over time, the median run of each scheme below each other."""
    shown = [(entry, found) for entry in representatives(comparison) if (found := longest_queues(entry))]
    if not shown:
        return None
    figure = framed(comparison, width_cm, 1.6 + 3.0 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (entry, longest) in zip(panels, shown, strict=True):
        start_s = began_s(entry)
        for kind, series in longest.items():
            colour, dashes = QUEUE_LINES[kind]
            times = [t - start_s for t in series.times_s]
            axes.plot(
                times,
                [value / KIB for value in series.values],
                color=colour,
                ls=dashes,
                lw=0.8,
                label=QUEUE_TIERS[kind],
            )
        axes.axhline(comparison.scenario.fabric.queue_bytes / KIB, color="black", lw=0.6, ls=(0, (1, 3)))
        _mark_faults(axes, entry, start_s, "red")
        _title(axes, entry)
        _tell_wait(axes, entry)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("longest queue (KiB)")
    panels[-1].set_xlim(0, max(lasted_s(entry) for entry, _longest in shown) * 1.01)
    panels[-1].set_xlabel("time since the first measured iteration began (s)")
    handles, labels = panels[0].get_legend_handles_labels()
    handles.append(Line2D([], [], color="black", lw=0.6, ls=(0, (1, 3))))
    columns = 2 if width_cm < STACKED_BELOW_CM else 4
    figure.legend(handles, [*labels, "limit of a queue"], loc="outside lower center", ncols=columns)
    peaks = {
        entry.scheme: f"{peak / KIB:.0f}"
        for entry, longest in shown
        if (peak := _peak_bytes(entry, longest)) is not None
    }
    text = (
        "The longest queue of each tier over time, the run with the median completion time of each scheme; hosts' own "
        "queues, where a sender that may send at line rate keeps its window, are not drawn but count in latency; "
        "dotted: the limit of a queue. "
        f"Longest at any time, KiB: {scheme_texts(comparison, peaks)}."
    )
    return figure, captioned(comparison, text) + waits_caption(comparison)


def _peak_bytes(entry: Entry, longest: dict[str, Series]) -> float | None:
    """Return the longest any of these queues was while measuring; the warm-up before is neither shown nor counted."""
    start_s = began_s(entry)
    during = (start_s, start_s + lasted_s(entry))
    return max((value for series in longest.values() for value in series.between(*during)), default=None)


def _tell_wait(axes: Axes, entry: Entry) -> None:
    """Say above a panel of queues how long frames wait before any of them, where they do; above its name if narrow."""
    wait_ms = run_wait_ms(entry)
    if wait_ms is None:
        return
    if _is_narrow(axes):
        axes.set_title(f"bulk waits at its source {wait_words(wait_ms)}\n", loc="right", fontsize=6)
    else:
        axes.set_title(f"before these, at its source, bulk waits {wait_words(wait_ms)}", loc="right", fontsize=6)


def _title(axes: Axes, entry: Entry) -> None:
    per = "" if _is_narrow(axes) else f" per {iteration_name(entry.run.scenario)}"
    axes.set_title(
        f"{entry.scheme}, seed {entry.seed} ({entry.verdict}): {entry.number('completion_s'):.4g} s{per}",
        loc="left",
        color=scheme_colour(entry.scheme),
        fontweight="bold",
    )


def _is_narrow(axes: Axes) -> bool:
    """Whether the figure has room for one panel beside another, and for few words above it."""
    return axes.get_figure(root=True).get_figwidth() < STACKED_BELOW_CM * CM  # type: ignore[union-attr]


def _mark_faults(axes: Axes, entry: Entry, start_s: float, colour: str) -> None:
    for event in entry.run.record.events_named("fault"):
        axes.axvline(float(event["t_s"]) - start_s, color=colour, lw=0.9, ls=":" if event["action"] == "heal" else "--")
