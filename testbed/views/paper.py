"""What every figure on paper has: its size, its style, what is written above it and into the file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from testbed.errors import Problem, ResultsError, printable
from testbed.files import write_together
from testbed.results.json_files import json_text
from testbed.views.comparison import Comparison, describe, doubts_text, failed_text, left_out_text, origin_texts

CM = 1 / 2.54
ONE_COLUMN_CM, TWO_COLUMNS_CM = 8.5, 17.0
STACKED_BELOW_CM = 12.0  # narrower figures have their panels below each other
HEADING_LINE_CM = 0.28
# What can be written, without what would change from time to time.
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
USUAL_FORMATS = ("png", "svg")

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
    "pdf.fonttype": 42,  # TrueType: publishers (IEEE PDF eXpress, ACM) refuse the usual Type 3
    "savefig.dpi": 300,
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
}
FAULT_LEGEND = "Vertical lines: dashed where something failed, dotted where it was mended"


def framed(comparison: Comparison, width_cm: float, height_cm: float) -> Figure:
    """Return an empty figure headed by what was emulated (its scale included) and which runs are not shown."""
    return headed_figure((describe(comparison.scenario), *_without(comparison)), width_cm, height_cm)


def _without(comparison: Comparison) -> tuple[str, str]:
    """Return which runs are not shown, for their verdict or for want of an end; empty where there are none."""
    return left_out_text(comparison), failed_text(comparison)


def headed_figure(texts: Sequence[str], width_cm: float, height_cm: float) -> Figure:
    """Return an empty figure with small texts above it, for which it is higher."""
    characters = round(width_cm * 9)
    heading = [line for text in texts for line in wrap(printable(text), characters, break_on_hyphens=False)]
    figure = Figure(figsize=(width_cm * CM, (height_cm + HEADING_LINE_CM * len(heading)) * CM))
    # reasons and names are nobody's formulas: a dollar sign is one
    figure.suptitle("\n".join(heading), x=0.01, ha="left", fontsize=6, color="0.35", parse_math=False)
    return figure


def without_heading(figure: Figure) -> None:
    """Take the texts above a figure off, and the height they had: in papers its caption says the same."""
    heading = figure.get_suptitle()
    for text in [text for text in figure.texts if text.get_text() == heading]:
        text.remove()
        figure.set_figheight(figure.get_figheight() - HEADING_LINE_CM * CM * len(heading.split("\n")))


def beside(axes: Axes, size_points: float, *, above: bool = False) -> Transform:
    """Return the shift that puts the tip of a mark that points left (``above``: down) where its middle would be."""
    inches = size_points / 2 / 72
    scale = axes.get_figure(root=True).dpi_scale_trans  # type: ignore[union-attr]
    return ScaledTranslation(0 if above else inches, inches if above else 0, scale)


def captioned(comparison: Comparison, text: str) -> str:
    """Return a caption with what was emulated, what lines of faults mean, which runs are in doubt, which not shown."""
    faults = f" {FAULT_LEGEND}." if comparison.scenario.faults else ""
    others = (*origin_texts(comparison.entries), doubts_text(comparison), *_without(comparison))
    more = "".join(f" {other[:1].upper()}{other[1:]}." for other in others if other)
    return f"{text}{faults} {describe(comparison.scenario)}.{more}"


def figure_files(
    figure: Figure, sidecar: dict[str, Any], formats: Sequence[str] = USUAL_FORMATS, *, heading: bool = True
) -> dict[str, bytes]:
    """Return suffix -> content of the files of one figure, on whose picture there may be no ``heading``."""
    if not heading:
        without_heading(figure)
    files = {}
    for suffix in formats:
        buffer = BytesIO()
        figure.savefig(buffer, format=suffix, metadata=FORMATS[suffix])
        files[suffix] = buffer.getvalue()
    return {**files, "json": json_text(sidecar).encode()}


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
        "failed": [one.path.name for one in comparison.failed],
        "made_again": [entry.run.path.name for entry in entries if entry.tries > 1],
        "commits": distinct([(entry.run.manifest.get("versions") or {}).get("commit") for entry in entries]),
        "versions": distinct([entry.run.manifest.get("versions") for entry in entries]),
    }


def distinct(values: Sequence[Any]) -> list[Any]:
    """Return every value once, in order of appearance; they need not be hashable."""
    return [value for index, value in enumerate(values) if value not in values[:index]]


def write_figures(out_dir: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Put the files of figures in place, all or none, and return their paths. Raises ResultsError."""
    try:
        return write_together(out_dir, contents)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultsError(Problem("cannot write a figure", str(out_dir), reason, "a writable directory")) from None
