"""Figures from stored results; matplotlib is imported in ``*plot*`` and what they draw with. Computes nothing new.

Each figure is written as PNG and SVG (or PDF) at paper size, one or two columns or as wide as asked for, with a JSON
file beside it that says from which runs, code and scenario it was made. Same runs, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from math import nan
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from testbed.errors import Problem, ResultsError
from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.records import MessageRow, ProbeRow
from testbed.evaluation.series import Series
from testbed.model.oracle import Band
from testbed.results.files import write_together
from testbed.results.store import Run, json_text
from testbed.units import KIB
from testbed.views import cross_plot as crossing
from testbed.views import timeline as around
from testbed.views.cells import number_text
from testbed.views.colours import SCHEME_COLOURS as SCHEME_COLOURS
from testbed.views.colours import scheme_colour as scheme_colour
from testbed.views.comparison import Comparison, Entry, compare, describe, iteration_name, left_out_text
from testbed.views.drawn import (
    QUEUE_TIERS,
    began_s,
    distribution,
    lasted_s,
    latencies_ms,
    link_rates_mbps,
    longest_queues,
    representatives,
)
from testbed.views.fault_lines import beside, lines_of
from testbed.views.waits import run_wait_ms, source_wait_ms, wait_words, waits_caption
from testbed.views.words import arrived_percentile, scheme_texts, spread_text

CM = 1 / 2.54
ONE_COLUMN_CM, TWO_COLUMNS_CM = 8.5, 17.0
STACKED_BELOW_CM = 12.0  # narrower figures have their panels below each other
# What can be written, without what would change from time to time.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
USUAL_FORMATS = ("png", "svg")

QUEUE_LINES = {"uplink": ("#0072B2", "-"), "downlink": ("#E69F00", "--"), "host_rx": ("#777777", "-.")}
BAND_HATCH = "//////"
VERDICT_FACES = {"VALID": "black", "SUSPECT": "white", "INVALID": "red"}
STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 6.5,
    "svg.hashsalt": "gse-testbed",
    "savefig.dpi": 300,
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
}
EXPOSED = ("training", "exposed_share")
MOST_LABELLED_ROWS = 24
LABEL_CHARACTERS = 34  # that fit beside one of the panels of a narrow figure
LEAST_WAIT_MS = 0.1  # drawn on a logarithmic axis
FAULT_LEGEND = "Vertical lines: dashed where something failed, dotted where it was mended"

Draw = Callable[..., tuple[Figure, str] | None]  # of a comparison and, where not as usual, a width in cm


def draw_all(
    runs: Sequence[Run],
    out_dir: Path,
    *,
    allow_invalid: bool,
    formats: Sequence[str] = USUAL_FORMATS,
    width_cm: float | None = None,
) -> list[Path]:
    """Draw every figure the runs allow into ``out_dir`` and return the files written.

    ``width_cm`` is that of every figure; None: one or two columns, as each needs.

    Runs of different questions get a folder each, named by the hash of their scenario. INVALID runs are left
    out unless ``allow_invalid``. Raises ResultsError when no run is left or a file cannot be written.
    """
    comparisons = [comparison for comparison in compare(runs, allow_invalid=allow_invalid) if comparison.entries]
    if not comparisons:
        raise ResultsError(
            Problem(
                "nothing to draw", str(out_dir), f"{len(runs)} run(s), all INVALID", "a VALID run, or --allow-invalid"
            )
        )
    contents: dict[str, bytes] = {}
    for comparison in comparisons:
        folder = "" if len(comparisons) == 1 else f"{comparison.scenario_hash}/"
        for name, draw in FIGURES.items():
            with matplotlib.rc_context(STYLE):
                drawn = draw(comparison) if width_cm is None else draw(comparison, width_cm)
                if drawn is not None:
                    other = BESIDE[name](comparison) if name in BESIDE else None
                    files = figure_files(drawn[0], provenance(comparison, drawn[1], other), formats)
                    contents.update({f"{folder}{name}.{suffix}": content for suffix, content in files.items()})
    return write_figures(out_dir, contents)


def write_figures(out_dir: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Put the files of figures in place, all or none, and return their paths. Raises ResultsError."""
    try:
        return write_together(out_dir, contents)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultsError(Problem("cannot write a figure", str(out_dir), reason, "a writable directory")) from None


def provenance(comparison: Comparison, caption: str, beside: Comparison | None = None) -> dict[str, Any]:
    """Return what a figure was made from; ``beside``: what it shows of another question."""
    others = {} if beside is None else {"beside": _made_from(beside)}
    return {"caption": caption, **_made_from(comparison), **others}


def _made_from(comparison: Comparison) -> dict[str, Any]:
    entries = comparison.entries
    return {
        "scenario": comparison.scenario.model_dump(mode="json"),
        "scenario_hash": comparison.scenario_hash,
        "verdicts": {scheme: comparison.verdict_counts(scheme) for scheme in comparison.schemes},
        "seeds": {scheme: [entry.seed for entry in comparison.of(scheme)] for scheme in comparison.schemes},
        "runs": [entry.run.path.name for entry in entries],
        "left_out": [entry.run.path.name for entry in comparison.left_out],
        "commits": distinct([(entry.run.manifest.get("versions") or {}).get("commit") for entry in entries]),
        "versions": distinct([entry.run.manifest.get("versions") for entry in entries]),
    }


def distinct(values: Sequence[Any]) -> list[Any]:
    """Return every value once, in order of appearance; they need not be hashable."""
    return [value for index, value in enumerate(values) if value not in values[:index]]


def figure_files(figure: Figure, sidecar: dict[str, Any], formats: Sequence[str] = USUAL_FORMATS) -> dict[str, bytes]:
    """Return suffix -> content of the files of one figure."""
    files = {}
    for suffix in formats:
        buffer = BytesIO()
        figure.savefig(buffer, format=suffix, metadata=FORMATS[suffix])
        files[suffix] = buffer.getvalue()
    return {**files, "json": json_text(sidecar).encode()}


def _figure(comparison: Comparison, width_cm: float, height_cm: float) -> Figure:
    """Return an empty figure headed by what was emulated (its scale included) and which runs are not shown."""
    return headed_figure((describe(comparison.scenario), left_out_text(comparison)), width_cm, height_cm)


def headed_figure(texts: Sequence[str], width_cm: float, height_cm: float) -> Figure:
    """Return an empty figure with small texts above it, for which it is higher."""
    characters = round(width_cm * 9)
    heading = [line for text in texts for line in wrap(text, characters, break_on_hyphens=False)]
    figure = Figure(figsize=(width_cm * CM, (height_cm + 0.28 * len(heading)) * CM))
    figure.suptitle("\n".join(heading), x=0.01, ha="left", fontsize=6, color="0.35")
    return figure


def _caption(comparison: Comparison, text: str) -> str:
    left_out = left_out_text(comparison)
    faults = f" {FAULT_LEGEND}." if comparison.scenario.faults else ""
    return f"{text}{faults} {describe(comparison.scenario)}." + (f" {left_out}." if left_out else "")


# --- completion time and bus bandwidth -----------------------------------------------------------------


def completion(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Bars of completion time and bus bandwidth per scheme, every run a point, with limit and expectation."""
    entries = comparison.entries
    if all(entry.number("completion_s") is None for entry in entries):
        return None
    ideal_s, limit_mbps = entries[0].number("ideal_s"), entries[0].number("busbw_limit_mbps")
    expected = comparison.ecmp_expectation
    stacked = width_cm < STACKED_BELOW_CM
    figure = _figure(comparison, width_cm, 12.5 if stacked else 6.5)
    left, right = figure.subplots(2, 1) if stacked else figure.subplots(1, 2)
    training = comparison.scenario.workload.training is not None
    _bars(left, comparison, ("completion_s",), ideal_s, expected.slowdown if expected else None)
    if training:
        label = "exposed communication (share of an iteration)"
        _bars(right, comparison, EXPOSED, entries[0].number("training", "ideal_exposed_share"), None)
    else:
        label = "bus bandwidth (Mbit/s)"
        _bars(right, comparison, ("busbw_mbps",), limit_mbps, expected.efficiency if expected else None)
    for axes, text in ((left, f"completion time of one {iteration_name(comparison.scenario)} (s)"), (right, label)):
        axes.set_ylabel("\n".join(wrap(text, LABEL_CHARACTERS)) if stacked else text)
    limit = "ideal network" if training else "physical limit"
    handles = _bar_legend(comparison, limit, banded=expected is not None)
    figure.legend(handles=handles, loc="outside lower center", ncols=1 if stacked else 5)
    runs = ", ".join(f"{scheme} {len(comparison.of(scheme))}" for scheme in comparison.schemes)
    band = (
        " Hatched: where the mean over as many seeds of hashed flows is expected (Monte Carlo, 95%); single runs "
        "scatter more."
        if expected
        else ""
    )
    points = f"mean over seeds (bars) and every run (points; runs: {runs}); dashed: {'an ' if training else ''}{limit}"
    words = f"{_workload_words(comparison)}: {points}.{band} {_completion_numbers(comparison)}"
    return figure, _caption(comparison, words)


def _completion_numbers(comparison: Comparison) -> str:
    """Return the numbers of the bars, mean (smallest..largest)."""
    said = []
    training = comparison.scenario.workload.training is not None
    for keys, words, unit, digits in (
        (("completion_s",), "completion time", "s", 2),
        (("busbw_mbps",), "bus bandwidth", "Mbit/s", 2),
        (EXPOSED, "exposed communication", "", 3),
        (("efficiency",), "share of the ideal speed" if training else "share of the limit", "", 3),
    ):
        found = {scheme: spread for scheme in comparison.schemes if (spread := comparison.spread(scheme, *keys))}
        texts = {scheme: spread_text(spread, digits) for scheme, spread in found.items()}
        if texts:
            said.append(
                f"{words[0].upper()}{words[1:]}{f', {unit}' if unit else ''}: {scheme_texts(comparison, texts)}."
            )
    return " ".join(said)


def _workload_words(comparison: Comparison) -> str:
    name = iteration_name(comparison.scenario)
    return "Ring all-reduce" if comparison.scenario.workload.kind == "allreduce_ring" else name.capitalize()


def _bars(
    axes: Axes, comparison: Comparison, keys: tuple[str, ...], limit: float | None, expected: Band | None
) -> None:
    for x, scheme in enumerate(comparison.schemes):
        spread = comparison.spread(scheme, *keys)
        if spread is None:
            continue
        axes.bar(x, spread.mean, width=0.62, color=scheme_colour(scheme), alpha=0.75, linewidth=0)
        label: dict[str, Any] = {"ha": "center", "va": "bottom", "color": "white", "fontweight": "bold"}
        axes.annotate(f"{spread.mean:.4g}", (x, 0), (0, 2), textcoords="offset points", **label)
        own = comparison.of(scheme)
        for index, entry in enumerate(own):
            value = entry.number(*keys)
            if value is None:
                continue
            offset = 0.0 if len(own) == 1 else (index / (len(own) - 1) - 0.5) * 0.4
            face = VERDICT_FACES[entry.verdict]
            axes.plot(x + offset, value, "o", ms=2.6, mfc=face, mec="black", mew=0.5, zorder=4)
        if scheme == "ecmp" and expected is not None and limit is not None:
            low, mean, high = (value * limit for value in (expected.low, expected.mean, expected.high))
            band: dict[str, Any] = {"fc": "none", "ec": "black", "hatch": BAND_HATCH, "lw": 0.5, "alpha": 0.6}
            axes.add_patch(Rectangle((x - 0.4, low), 0.8, high - low, zorder=2, **band))
            axes.plot([x - 0.4, x + 0.4], [mean, mean], color="black", lw=0.8, zorder=3)
    if limit is not None:
        axes.axhline(limit, color="black", lw=0.8, ls="--", zorder=1)
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "ha": "right",
            "va": "bottom",
        }
        axes.annotate(f"{limit:.4g}", (1, limit), (0, 1), fontsize=6, **place)
    axes.set_xticks(range(len(comparison.schemes)), comparison.schemes)
    axes.set_xlim(-0.6, len(comparison.schemes) - 0.4)
    axes.set_ylim(bottom=0)


def _bar_legend(comparison: Comparison, limit: str, *, banded: bool) -> list[Any]:
    verdicts = {entry.verdict for entry in comparison.entries}
    handles: list[Any] = [
        Patch(fc="0.6", label="mean of the runs"),
        Line2D([], [], color="black", ls="--", lw=0.8, label=limit),
    ]
    if banded:
        runs = len(comparison.of("ecmp"))
        label = f"mean of {runs} ecmp runs expected here (95%)" if runs > 1 else "an ecmp run expected here (95%)"
        handles.append(Patch(fc="none", ec="black", hatch=BAND_HATCH, lw=0.5, alpha=0.6, label=label))
        handles.append(Line2D([], [], color="black", lw=0.8, label="expected mean"))
    for verdict, face in VERDICT_FACES.items():
        if verdict in verdicts:
            label = f"run, {verdict}"
            handles.append(Line2D([], [], marker="o", ls="", ms=2.6, mfc=face, mec="black", mew=0.5, label=label))
    return handles


# --- uplinks over time ------------------------------------------------------------------------------------


def uplinks(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Heat map of every uplink's utilisation over time, the median run of each scheme below each other."""
    shown = [(entry, found) for entry in representatives(comparison) if (found := link_rates_mbps(entry, ("uplink",)))]
    if not shown:
        return None
    rows = comparison.scenario.fabric.leaves * comparison.scenario.fabric.paths
    figure = _figure(comparison, width_cm, 1.6 + len(shown) * min(max(0.24 * rows, 2.6), 6.0))
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
        "white lines: start of an iteration. "
        f"Share of the link rate used over the measured part: {_uplink_numbers(comparison)}."
    )
    return figure, _caption(comparison, text)


def _uplink_numbers(comparison: Comparison) -> str:
    found = {
        scheme: spread for scheme in comparison.schemes if (spread := comparison.spread(scheme, "uplink_utilization"))
    }
    texts = {scheme: spread_text(spread, 3) for scheme, spread in found.items()}
    return scheme_texts(comparison, texts) or "not measured"


def _heat_map(axes: Axes, entry: Entry, rates: dict[str, Series]) -> Any:
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


def _row(series: Series, times_s: Sequence[float], rate_mbps: float) -> list[float]:
    """Return one line of the heat map; a sample that is missing stays blank."""
    values = dict(zip(series.times_s, series.values, strict=True))
    return [values.get(t_s, nan) / rate_mbps for t_s in times_s]


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


# --- latency ------------------------------------------------------------------------------------------------


def latency(comparison: Comparison, width_cm: float = ONE_COLUMN_CM) -> tuple[Figure, str] | None:
    """Distribution of one-way probe latency per scheme, all its runs together; lost probes never arrive."""
    drawn = _distribution(comparison, ProbeRow, "probe", "small probes", width_cm)
    if drawn is None or not comparison.waits_at_source:
        return drawn
    figure, caption = drawn
    _mark_waits(figure.axes[0], comparison)
    return figure, caption + waits_caption(comparison)


def _mark_waits(axes: Axes, comparison: Comparison) -> None:
    """Show from where to where, p50 to p99, the bulk waits at its source, below the curves, in the schemes' colours."""
    waiting = [(scheme, found) for scheme in comparison.schemes if (found := source_wait_ms(comparison, scheme))]
    for index, (scheme, wait_ms) in enumerate(waiting):
        ends = [max(value, LEAST_WAIT_MS) for value in wait_ms if value is not None]
        y = -0.07 * (index + 1)
        axes.plot(ends, [y] * len(ends), "|-", color=scheme_colour(scheme), lw=1.6, ms=5, mew=1.2)
        axes.annotate("bulk at source ", (ends[0], y), ha="right", va="center", fontsize=5)
    axes.set_ylim(-0.07 * (len(waiting) + 1), 1.01)
    axes.set_yticks([tick / 5 for tick in range(6)])
    axes.axhline(0, color="black", lw=0.4)


def messages(comparison: Comparison, width_cm: float = ONE_COLUMN_CM) -> tuple[Figure, str] | None:
    """The same of small messages over TCP, where the workload has some."""
    return _distribution(comparison, MessageRow, "message", "small messages over TCP", width_cm)


def _distribution(
    comparison: Comparison, row_type: type[ProbeRow] | type[MessageRow], noun: str, what: str, width_cm: float
) -> tuple[Figure, str] | None:
    figure = _figure(comparison, width_cm, 6.2)
    axes = figure.subplots()
    texts: dict[str, str] = {}
    for scheme in comparison.schemes:
        sent, arrived_ms = latencies_ms(comparison.of(scheme), row_type)
        if not arrived_ms:
            continue
        middle, p99 = (number_text(arrived_percentile(arrived_ms, percent), 1) for percent in (50, 99))
        texts[scheme] = f"{middle} / {p99}"
        lost = f", {sent - len(arrived_ms)} lost" if sent > len(arrived_ms) else ""
        label = f"{scheme} ({sent} {noun}s{lost})"
        axes.step(*distribution(sent, arrived_ms), where="post", color=scheme_colour(scheme), label=label)
    if not texts:
        return None
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"one-way latency of a {noun} (ms)")
    axes.set_ylabel(f"share of {noun}s arrived")
    axes.set_ylim(0, 1.01)
    axes.grid(visible=True, which="both", axis="x", lw=0.3, color="0.85")
    figure.legend(loc="outside lower center", ncols=1 if len(comparison.schemes) < 3 else 2)
    name = iteration_name(comparison.scenario)
    text = f"One-way latency of {what} sent while the {name} ran, all runs of a scheme together."
    text += f" p50 / p99 of those that arrived, ms: {scheme_texts(comparison, texts)}."
    return figure, _caption(comparison, text)


# --- queues -------------------------------------------------------------------------------------------------


def queues(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """The longest queue of each tier over time, the median run of each scheme below each other."""
    shown = [(entry, found) for entry in representatives(comparison) if (found := longest_queues(entry))]
    if not shown:
        return None
    figure = _figure(comparison, width_cm, 1.6 + 3.0 * len(shown))
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
        entry.scheme: f"{max(max(series.values) for series in longest.values()) / KIB:.0f}" for entry, longest in shown
    }
    text = (
        "The longest queue of each tier over time, the run with the median completion time of each scheme; hosts' own "
        "queues, where a sender that may send at line rate keeps its window, are not drawn but count in latency; "
        "dotted: the limit of a queue. "
        f"Longest at any time, KiB: {scheme_texts(comparison, peaks)}."
    )
    return figure, _caption(comparison, text) + waits_caption(comparison)


def _tell_wait(axes: Axes, entry: Entry) -> None:
    """Say above a panel of queues how long frames wait before any of them, where they do; above its name if narrow."""
    wait_ms = run_wait_ms(entry)
    if wait_ms is None:
        return
    if _is_narrow(axes):
        axes.set_title(f"bulk waits at its source {wait_words(wait_ms)}\n", loc="right", fontsize=6)
    else:
        axes.set_title(f"before these, at its source, bulk waits {wait_words(wait_ms)}", loc="right", fontsize=6)


# --- around a fault -----------------------------------------------------------------------------------------


def timeline(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """What all ranks receive and the fullest queue around the first fault, the schemes in one panel."""
    lines = lines_of(comparison)
    if not lines:
        return None
    stacked = width_cm < STACKED_BELOW_CM
    figure = _figure(comparison, width_cm, (14.5 if stacked else 8.2) + 0.3 * len(lines))
    text = around.draw(figure, comparison, lines, scheme_colour, stacked=stacked)
    return None if text is None else (figure, _caption(comparison, text))


# --- cross traffic -------------------------------------------------------------------------------------------


def flows(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Slowdown of Poisson flows by size and how long bursts took, per scheme, where there is such traffic."""
    panels = crossing.panels_of(comparison)
    if not panels:
        return None
    stacked = width_cm < STACKED_BELOW_CM
    figure = _figure(comparison, width_cm, 6.5 * len(panels) if stacked else 6.5)
    text = crossing.draw(figure, comparison, panels, scheme_colour, stacked=stacked)
    return figure, _caption(comparison, text)


FIGURES: dict[str, Draw] = {
    "completion": completion,
    "uplinks": uplinks,
    "latency": latency,
    "messages": messages,
    "flows": flows,
    "queues": queues,
    "timeline": timeline,
}
# Of figures that show runs of another question too: which.
BESIDE: dict[str, Callable[[Comparison], Comparison | None]] = {"timeline": beside}
