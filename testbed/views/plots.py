"""Figures from stored results; matplotlib is imported in ``*plot*`` and what they draw with. Computes nothing new.

Each figure is written as PNG and SVG (or PDF) at paper size, one or two columns or as wide as asked for, with a JSON
file beside it that says from which runs, code and scenario it was made. Same runs, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from testbed.errors import Problem, ResultsError
from testbed.results.run import Run
from testbed.views import cross_plot as crossing
from testbed.views import timeline as around
from testbed.views.colours import scheme_colour
from testbed.views.comparison import Comparison, compare
from testbed.views.completion_plot import completion, modelled_numbers
from testbed.views.fault_lines import beside, lines_of
from testbed.views.latency_plot import latency, messages
from testbed.views.paper import (
    STACKED_BELOW_CM,
    STYLE,
    TWO_COLUMNS_CM,
    USUAL_FORMATS,
    captioned,
    figure_files,
    framed,
    provenance,
    write_figures,
)
from testbed.views.runs_plot import queues, uplinks

Draw = Callable[..., tuple[Figure, str] | None]  # of a comparison and, where not as usual, a width in cm


def draw_all(
    runs: Sequence[Run],
    out_dir: Path,
    *,
    allow_invalid: bool,
    formats: Sequence[str] = USUAL_FORMATS,
    width_cm: float | None = None,
    heading: bool = True,
) -> list[Path]:
    """Draw every figure the runs allow into ``out_dir`` and return the files written.

    ``width_cm`` is that of every figure; None: one or two columns, as each needs. ``heading``: say above it what was
    emulated and which runs are not shown.

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
                    numbers = NUMBERS[name](comparison) if name in NUMBERS else {}
                    sidecar = {**provenance(comparison, drawn[1], other), **numbers}
                    files = figure_files(drawn[0], sidecar, formats, heading=heading)
                    contents.update({f"{folder}{name}.{suffix}": content for suffix, content in files.items()})
    return write_figures(out_dir, contents)


def timeline(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """What all ranks receive and the fullest queue around the first fault, the schemes in one panel."""
    lines = lines_of(comparison)
    if not lines:
        return None
    stacked = width_cm < STACKED_BELOW_CM
    figure = framed(comparison, width_cm, (14.5 if stacked else 8.2) + 0.3 * len(lines))
    text = around.draw(figure, comparison, lines, scheme_colour, stacked=stacked)
    return None if text is None else (figure, captioned(comparison, text))


def flows(comparison: Comparison, width_cm: float = TWO_COLUMNS_CM) -> tuple[Figure, str] | None:
    """Slowdown of Poisson flows by size and how long bursts took, per scheme, where there is such traffic."""
    panels = crossing.panels_of(comparison)
    if not panels:
        return None
    stacked = width_cm < STACKED_BELOW_CM
    figure = framed(comparison, width_cm, 6.5 * len(panels) if stacked else 6.5)
    text = crossing.draw(figure, comparison, panels, scheme_colour, stacked=stacked)
    return figure, captioned(comparison, text)


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
# Of figures that show numbers no run has: these, for the file beside them.
NUMBERS: dict[str, Callable[[Comparison], dict[str, Any]]] = {"completion": modelled_numbers}
