"""The figure of a sweep over many words: a panel per scheme, a line per word, so that a scheme is seen as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.views.colours import scheme_colour
from testbed.views.paper import STACKED_BELOW_CM, TWO_COLUMNS_CM, beside, headed_figure
from testbed.views.sweep import Group, SweepResults

MOST_WORDS: Final = 5  # on one axis, side by side; with more there is a panel per scheme
EFFICIENCY: Final = "efficiency"
LINE_CM: Final = 0.46
FRAME_CM: Final = 3.6  # titles, axis and legend
TITLE_CM: Final = 1.2  # of a panel below another: its title and axis
HALF_MARK: Final = 0.28  # of a line's height, of the mark of a median
# Above the mark of a median and pointing at it: no run is there.
MODEL_MARK: Final[dict[str, Any]] = {"marker": "v", "ls": "", "ms": 3.2, "mfc": "white", "mec": "black", "mew": 0.6}
PointStyle = Callable[[str, str, str], dict[str, Any]]


def by_scheme(
    results: SweepResults, heading: Sequence[str], point_style: PointStyle, width_cm: float = TWO_COLUMNS_CM
) -> Figure:
    """Return the figure: efficiency of every run, words from top to bottom as in the sweep.

    A panel per scheme, side by side, in narrow figures below each other.
    """
    sweep, stacked = results.stored.sweep, width_cm < STACKED_BELOW_CM
    lines_cm, several = LINE_CM * len(sweep.values), len(sweep.schemes)
    height_cm = FRAME_CM + (several * (lines_cm + TITLE_CM) if stacked else lines_cm)
    figure = headed_figure(heading, width_cm, height_cm)
    shape = (several, 1) if stacked else (1, several)
    panels = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, scheme in zip(panels, sweep.schemes, strict=True):
        _panel(axes, results, scheme, point_style)
    panels[0].set_yticks(range(len(sweep.texts)), list(sweep.texts), parse_math=False)
    panels[0].set_ylim(len(sweep.texts) - 0.5, -0.5)
    found = [value for member in results.members if (value := member.numbers[EFFICIENCY]) is not None]
    panels[0].set_xlim(0, max(1.0, *found, *results.modelled.values()) * 1.04)
    return figure


def correctness_text(results: SweepResults) -> str:
    """Return how right results and bytes were, over all runs that have numbers; empty where none says."""
    wrong = [value for member in results.members if (value := member.numbers["wrong_elements"]) is not None]
    off = [
        (value, group.text, group.scheme)
        for group in results.groups
        for member in group.members
        if (value := member.numbers["host_bytes_off"]) is not None
    ]
    texts = [f"Wrong elements: {round(sum(wrong))} in {len(wrong)} runs."] if wrong else []
    if off:
        most, text, scheme = max(off)
        texts.append(f"Bytes on hosts' links off their formula: at most {most:.2%} ({text}, {scheme}).")
    return " ".join(texts)


def _panel(axes: Axes, results: SweepResults, scheme: str, point_style: PointStyle) -> None:
    colour = scheme_colour(scheme)
    axes.set_title(scheme, fontsize=7, color=colour)
    axes.set_xlabel("efficiency")
    axes.axvline(1.0, color="black", lw=0.8, ls="--", zorder=1)
    axes.grid(visible=True, axis="x", lw=0.3, color="0.85")
    axes.set_axisbelow(True)
    for group in results.of(scheme):
        _line(axes, group, colour, point_style)
    for point, efficiency in results.modelled_of(scheme).items():
        place = axes.transData + beside(axes, MODEL_MARK["ms"], above=True)
        axes.plot(efficiency, point - HALF_MARK, transform=place, zorder=4, **MODEL_MARK)


def _line(axes: Axes, group: Group, colour: str, point_style: PointStyle) -> None:
    for member in group.members:
        value = member.numbers[EFFICIENCY]
        if value is not None:
            axes.plot(value, group.point, **point_style(member.state, "o", colour))
        if wrong := member.numbers["wrong_elements"]:
            axes.annotate(f"{wrong:.0f} wrong", (0.02, group.point), fontsize=5, color="red", va="center")
    if (reach := group.interval(EFFICIENCY)) is not None:
        axes.plot(reach, [group.point] * 2, color=colour, lw=3.0, alpha=0.35, zorder=1)
    if (middle := group.median(EFFICIENCY)) is not None:
        axes.plot([middle.median] * 2, [group.point - HALF_MARK, group.point + HALF_MARK], color=colour, zorder=2)
