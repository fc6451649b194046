"""Bars of completion time and bus bandwidth, every run a point."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from textwrap import wrap
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from testbed.model.oracle import Band, Expectation
from testbed.views.colours import scheme_colour
from testbed.views.comparison import Comparison, Spread, iteration_name
from testbed.views.paper import STACKED_BELOW_CM, TWO_COLUMNS_CM, beside, captioned, framed
from testbed.views.predicted import MODEL
from testbed.views.words import scheme_texts, spread_text

BAND_HATCH = "//////"
VERDICT_FACES = {"VALID": "black", "SUSPECT": "white", "INVALID": "red"}
EXPOSED = ("training", "exposed_share")
LABEL_CHARACTERS = 34  # that fit beside one of the panels of a narrow figure
NAME_CHARACTERS: Final = 32  # of all schemes' names, written level below one
TURNED_CM: Final = 1.1  # of height for names that are turned
MOST_WIDE_BARS: Final = 5  # wide enough for their number
HALF_BAND: Final = 0.4  # of the way from bar to bar: half an expectation's width
# Beside a bar and pointing at it, where no run is: seen in grey, and whatever colour a scheme has.
MODEL_MARK: Final[dict[str, Any]] = {"marker": "<", "ls": "", "ms": 4.2, "mfc": "white", "mec": "black", "mew": 0.7}


def completion(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Bars of completion time and bus bandwidth per scheme, every run a point, with limit and expectation."""
    entries = comparison.entries
    if all(entry.number("completion_s") is None for entry in entries):
        return None
    ideal, limit_mbps = comparison.limit("ideal_s"), comparison.limit("busbw_limit_mbps")
    expected = comparison.ecmp_expectation
    stacked = width_cm < STACKED_BELOW_CM
    names_cm = TURNED_CM if _is_crowded(comparison) else 0.0
    figure = framed(comparison, width_cm, 12.5 + 2 * names_cm if stacked else 6.5 + names_cm)
    left, right = figure.subplots(2, 1) if stacked else figure.subplots(1, 2)
    training = comparison.scenario.workload.training is not None
    model = comparison.modelled
    times = {scheme: one.completion_s for scheme, one in model.items()}
    _bars(left, comparison, ("completion_s",), ideal, expected.slowdown if expected else None, times)
    if training:
        label = "exposed communication (share of an iteration)"
        _bars(right, comparison, EXPOSED, comparison.limit("training", "ideal_exposed_share"), None, {})
    else:
        label = "bus bandwidth (Mbit/s)"
        rates = {scheme: one.busbw_mbps for scheme, one in model.items()}
        _bars(right, comparison, ("busbw_mbps",), limit_mbps, expected.efficiency if expected else None, rates)
    for axes, text in ((left, f"completion time of one {iteration_name(comparison.scenario)} (s)"), (right, label)):
        axes.set_ylabel("\n".join(wrap(text, LABEL_CHARACTERS)) if stacked else text)
    limit = "ideal network" if training else "physical limit"
    handles = _bar_legend(comparison, limit if ideal is not None and ideal.only is not None else None, expected)
    figure.legend(handles=handles, loc="outside lower center", ncols=1 if stacked else ceil(len(handles) / 2))
    runs = ", ".join(f"{scheme} {len(comparison.of(scheme))}" for scheme in comparison.schemes)
    band = (
        " Hatched: where the mean over as many seeds of hashed flows is expected (Monte Carlo, 95%); single runs "
        "scatter more."
        if expected
        else ""
    )
    dashed = f"; dashed: {'an ' if training else ''}{limit}"
    if ideal is not None and ideal.only is None:
        dashed = f"; the {limit} depends on the seed: {ideal.smallest:.4g} to {ideal.largest:.4g} s"
    points = f"mean over runs (bars) and every run (points; runs: {runs}){dashed}"
    words = f"{_workload_words(comparison)}: {points}.{band} {_completion_numbers(comparison)}"
    return figure, captioned(comparison, f"{words}{_model_text(comparison)}")


def modelled_numbers(comparison: Comparison) -> dict[str, Any]:
    """Return for the file beside the figure what the model has for each scheme, null where it has nothing."""
    found = {scheme: comparison.modelled.get(scheme) for scheme in comparison.schemes}
    return {
        "fluid_model": {
            scheme: None
            if one is None
            else {"completion_s": one.completion_s, "busbw_mbps": one.busbw_mbps, "efficiency": one.efficiency}
            for scheme, one in found.items()
        }
    }


def _model_text(comparison: Comparison) -> str:
    """Return what the triangles are, with their numbers; empty where there are none."""
    found = comparison.modelled
    if not found:
        return ""
    numbers = (
        ("completion time, s", {scheme: f"{one.completion_s:.2f}" for scheme, one in found.items()}),
        ("bus bandwidth, Mbit/s", {scheme: f"{one.busbw_mbps:.2f}" for scheme, one in found.items()}),
        ("share of the limit", {scheme: f"{one.efficiency:.3f}" for scheme, one in found.items()}),
    )
    said = " ".join(f"Its {words}: {scheme_texts(comparison, texts)}." for words, texts in numbers)
    return (
        f" Open triangles: what the {MODEL} (max-min fair rates, neither queues nor losses) has for the same seeds. "
        f"{said}"
    )


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
    axes: Axes,
    comparison: Comparison,
    keys: tuple[str, ...],
    limits: Spread | None,
    expected: Band | None,
    modelled: Mapping[str, float],
) -> None:
    limit = None if limits is None else limits.only
    for x, scheme in enumerate(comparison.schemes):
        spread = comparison.spread(scheme, *keys)
        if spread is None:
            continue
        axes.bar(x, spread.mean, width=0.62, color=scheme_colour(scheme), alpha=0.75, linewidth=0)
        label: dict[str, Any] = {"ha": "center", "va": "bottom", "color": "white", "fontweight": "bold"}
        if len(comparison.schemes) > MOST_WIDE_BARS:
            label["rotation"] = 90
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
            axes.add_patch(Rectangle((x - HALF_BAND, low), 2 * HALF_BAND, high - low, zorder=2, **band))
            axes.plot([x - HALF_BAND, x + HALF_BAND], [mean, mean], color="black", lw=0.8, zorder=3)
        if scheme in modelled:
            _mark_model(axes, x, modelled[scheme])
    if limit is not None:
        axes.axhline(limit, color="black", lw=0.8, ls="--", zorder=1)
        # beside the panel: inside, the last scheme's marks would be under it
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(f"{limit:.4g}", (1, limit), (2, 0), fontsize=6, ha="left", va="center", **place)
    turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(comparison.schemes)), comparison.schemes, **(turned if _is_crowded(comparison) else {}))
    axes.set_xlim(-0.6, len(comparison.schemes) - 0.4)
    axes.set_ylim(bottom=0)


def _is_crowded(comparison: Comparison) -> bool:
    """Whether schemes' names have to be turned."""
    return sum(len(scheme) + 1 for scheme in comparison.schemes) > NAME_CHARACTERS


def _mark_model(axes: Axes, x: float, value: float) -> None:
    """Draw the model's mark with its tip where an expectation ends, however many schemes there are."""
    place = axes.transData + beside(axes, MODEL_MARK["ms"])
    axes.plot(x + HALF_BAND, value, transform=place, zorder=5, clip_on=False, **MODEL_MARK)


def _bar_legend(comparison: Comparison, limit: str | None, expected: Expectation | None) -> list[Any]:
    verdicts = {entry.verdict for entry in comparison.entries}
    handles: list[Any] = [Patch(fc="0.6", label="mean of the runs")]
    if limit is not None:
        handles.append(Line2D([], [], color="black", ls="--", lw=0.8, label=limit))
    if expected is not None:
        seeds = expected.efficiency.runs
        label = (
            f"mean of ecmp over {seeds} seeds expected here (95%)" if seeds > 1 else "an ecmp run expected here (95%)"
        )
        handles.append(Patch(fc="none", ec="black", hatch=BAND_HATCH, lw=0.5, alpha=0.6, label=label))
        handles.append(Line2D([], [], color="black", lw=0.8, label="expected mean"))
    for verdict, face in VERDICT_FACES.items():
        if verdict in verdicts:
            label = f"run, {verdict}"
            handles.append(Line2D([], [], marker="o", ls="", ms=2.6, mfc=face, mec="black", mew=0.5, label=label))
    if comparison.modelled:
        handles.append(Line2D([], [], **MODEL_MARK, label=MODEL))
    return handles
