"""The figure of a sweep of training iterations: how exposed communication is, and what each scheme gains of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.inference.speedup import Speedup
from testbed.views.colours import scheme_colour
from testbed.views.paper import STACKED_BELOW_CM, TWO_COLUMNS_CM, headed_figure
from testbed.views.sweep import Axis, SweepResults, axis_of
from testbed.views.training_gain import collision_gains, ideal_gains, share_of_mean, speed_gains

HEIGHT_CM: Final = 12.0
SPREAD: Final = 0.5  # of the way from value to value, for the schemes of one
MARKERS: Final = "osD^vPp*"
INTERVAL: Final[dict[str, Any]] = {"capsize": 2.0, "elinewidth": 0.8, "ls": "", "ms": 3.4}
PointStyle = Callable[[str, str, str], dict[str, Any]]


def training_figure(
    results: SweepResults, heading: Sequence[str], point_style: PointStyle, width_cm: float = TWO_COLUMNS_CM
) -> tuple[Figure, str]:
    """Return the figure and its caption; in narrow figures all panels stand below each other."""
    stacked = width_cm < STACKED_BELOW_CM
    figure = headed_figure(heading, width_cm, 2 * HEIGHT_CM if stacked else HEIGHT_CM)
    shares, speeds, against, collisions = figure.subplots(*((4, 1) if stacked else (2, 2))).flat
    first = results.stored.sweep.schemes[0]
    _shares(shares, results, point_style)
    _speeds(speeds, results)
    _against(against, results)
    _collisions(collisions, results)
    figure.legend(handles=_legend(results, point_style), loc="outside lower center", ncols=2 if stacked else 6)
    counts = ", ".join(f"{number} {state}" for state, number in results.counts().items())
    seeds = len(results.stored.sweep.seeds)
    caption = (
        f"{results.heading}. Exposed share: part of the iteration that a rank does not compute; points: single runs "
        f"({seeds} seed{'s' if seeds > 1 else ''}; {counts}), dashes: medians. Speed over {first}: geometric mean of "
        "ratios of iteration times paired by seed, bars: its 95% confidence interval, which of fewer than ten seeds "
        "holds the truth less often; black: what a network that keeps hosts' links full would gain. Against exposed "
        f"communication: over the share of {first}'s geometric mean iteration, which is not the median share where "
        f"seeds hash into few outcomes. Collisions: most flows on one link in the run under {first} with the "
        f"same seed, where the paths of flows are known. {' '.join(results.notes())}"
    )
    return figure, caption.rstrip()


def _shares(axes: Axes, results: SweepResults, point_style: PointStyle) -> None:
    axis, schemes = axis_of(results.stored), results.stored.sweep.schemes
    for number, scheme in enumerate(schemes):
        for group in results.of(scheme):
            x = _x(axis, group.point, number, len(schemes))
            for member in group.members:
                share = member.numbers["exposed_share"]
                if share is not None:
                    style = point_style(member.state, MARKERS[number % len(MARKERS)], scheme_colour(scheme))
                    axes.plot(x, share * 100, **style)
            if (middle := group.median("exposed_share")) is not None:
                half = 0.4 * SPREAD / len(schemes)
                axes.plot([x - half, x + half], [middle.median * 100] * 2, color=scheme_colour(scheme), zorder=2)
    axes.set_ylabel("exposed communication (%)")
    axes.set_ylim(0, 100)
    _values(axes, results, axis)


def _speeds(axes: Axes, results: SweepResults) -> None:
    axis, schemes = axis_of(results.stored), results.stored.sweep.schemes
    gains = speed_gains(results)
    for number, scheme in enumerate(schemes[1:], start=1):
        for point in range(len(axis.positions)):
            if (ratio := gains.get((point, scheme))) is not None:
                _interval(axes, _x(axis, point, number, len(schemes)), ratio, number, scheme_colour(scheme))
    for point, ratio in ideal_gains(results).items():
        axes.plot([point - 0.4, point + 0.4], [ratio.mean] * 2, color="black", lw=0.8, ls="--", zorder=1)
    axes.axhline(1.0, color="0.6", lw=0.6, zorder=0)
    axes.set_ylabel(f"iteration speed over {schemes[0]}")
    _values(axes, results, axis)


def _against(axes: Axes, results: SweepResults) -> None:
    schemes = results.stored.sweep.schemes
    shares = {group.point: share_of_mean(group) for group in results.of(schemes[0])}
    gains, ideal = speed_gains(results), ideal_gains(results)
    for number, scheme in enumerate(schemes[1:], start=1):
        for point, share in shares.items():
            if share is not None and (ratio := gains.get((point, scheme))) is not None:
                _interval(axes, share * 100, ratio, number, scheme_colour(scheme))
    line = sorted(
        (share * 100, ideal[point].mean) for point, share in shares.items() if share is not None and point in ideal
    )
    axes.plot([x for x, _y in line], [y for _x, y in line], color="black", lw=0.8, ls="--", marker="_", zorder=1)
    axes.axhline(1.0, color="0.6", lw=0.6, zorder=0)
    axes.set_xlabel(f"exposed communication under {schemes[0]} (%)")
    axes.set_ylabel(f"iteration speed over {schemes[0]}")
    axes.set_xlim(0, 100)
    _grid(axes)


def _collisions(axes: Axes, results: SweepResults) -> None:
    schemes, gains = results.stored.sweep.schemes, collision_gains(results)
    levels = sorted({level for level, _scheme in gains})
    for number, scheme in enumerate(schemes[1:], start=1):
        for level in levels:
            if (ratio := gains.get((level, scheme))) is not None:
                shift = (number - len(schemes) / 2) * SPREAD / len(schemes)
                _interval(axes, level + shift, ratio, number, scheme_colour(scheme))
    if not levels:
        axes.text(0.5, 0.5, "paths of flows not known", transform=axes.transAxes, ha="center", color="0.5")
    axes.axhline(1.0, color="0.6", lw=0.6, zorder=0)
    axes.set_xticks(levels)
    axes.set_xlim(min(levels, default=0) - 0.5, max(levels, default=1) + 0.5)
    axes.set_xlabel(f"most flows on one link under {schemes[0]}")
    axes.set_ylabel(f"iteration speed over {schemes[0]}")
    _grid(axes)


def _interval(axes: Axes, x: float, ratio: Speedup, number: int, colour: str) -> None:
    """Draw a ratio with its interval, where it has one."""
    reach = None if ratio.low is None or ratio.high is None else [[ratio.mean - ratio.low], [ratio.high - ratio.mean]]
    axes.errorbar(x, ratio.mean, yerr=reach, fmt=MARKERS[number % len(MARKERS)], color=colour, zorder=3, **INTERVAL)


def _x(axis: Axis, point: int, number: int, schemes: int) -> float:
    """Values stand side by side in the sweep's order, schemes of one beside each other."""
    return point + (number - (schemes - 1) / 2) * SPREAD / schemes


def _values(axes: Axes, results: SweepResults, axis: Axis) -> None:
    axes.set_xlabel(axis.label, parse_math=False)
    shown = list(axis.ticks)
    turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(shown)), shown, parse_math=False, **(turned if sum(map(len, shown)) > 30 else {}))
    axes.set_xlim(-0.5, len(shown) - 0.5)
    _grid(axes)


def _grid(axes: Axes) -> None:
    axes.grid(visible=True, axis="y", lw=0.3, color="0.85")
    axes.set_axisbelow(True)


def _legend(results: SweepResults, point_style: PointStyle) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], marker=MARKERS[number % len(MARKERS)], ms=3.4, color=scheme_colour(scheme), label=scheme)
        for number, scheme in enumerate(results.stored.sweep.schemes)
    ]
    handles.append(Line2D([], [], color="black", lw=0.8, ls="--", label="ideal network"))
    for state, label in (("SUSPECT", "SUSPECT run"), ("INVALID", "INVALID run, in no mean")):
        if results.counts().get(state):
            handles.append(Line2D([], [], **point_style(state, "o", "0.3"), label=label))
    return handles
