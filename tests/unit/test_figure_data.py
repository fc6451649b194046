"""The values figures draw and the words below them, of made-up runs, held against what they were before.

Not pixels: lines, bars, maps and captions, on paper and on pages. After an intended change:
``GSE_WRITE_FIGURES=1 pytest tests/unit/test_figure_data.py``, and look at the difference before committing it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from numpy.ma import filled

from testbed.results.run import Run
from testbed.views.comparison import Comparison, compare
from testbed.views.plots import FIGURES
from testbed.views.report.document import report
from testbed.views.sweep import sweep_results
from testbed.views.sweep_plot import curves
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over
from tests.unit.test_plots import FAULTS, with_faults
from tests.unit.test_tables import stored, three_seeds

FOLDER = Path(__file__).resolve().parents[1] / "data" / "figures"
MOST_IN_FULL = 8


def digest(values: Iterable[Any]) -> Any:
    """Return few numbers as they are, many as what a change would hardly leave alike."""
    numbers = [None if value is None or math.isnan(float(value)) else float(f"{float(value):.6g}") for value in values]
    if len(numbers) <= MOST_IN_FULL:
        return numbers
    known = [number for number in numbers if number is not None]
    weighted = sum((1 + index % 7) * number for index, number in enumerate(numbers) if number is not None)
    ends = {"first": numbers[0], "last": numbers[-1], "least": min(known), "most": max(known)}
    return {"count": len(numbers), "missing": len(numbers) - len(known), **ends, "sum": float(f"{weighted:.6g}")}


def of_paper(figure: Figure, caption: str) -> dict[str, Any]:
    """Return what a figure on paper draws."""
    panels = []
    for axes in figure.axes:
        lines = [[digest(line.get_xdata()), digest(line.get_ydata())] for line in axes.lines]  # type: ignore[arg-type]
        bars = [digest([p.get_x(), p.get_y(), p.get_width(), p.get_height()]) for p in axes.patches]  # type: ignore[attr-defined]
        maps = [
            digest(filled(one.get_array(), math.nan).ravel()) for one in axes.collections if isinstance(one, QuadMesh)
        ]
        panels.append({"y": axes.get_ylabel(), "lines": lines, "bars": bars, "maps": maps})
    return {"caption": caption, "panels": panels}


def of_page(runs: list[Run]) -> list[dict[str, Any]]:
    """Return what the figures of a report show."""
    found: list[dict[str, Any]] = []
    for section in report(runs, [], allow_invalid=True).sections:
        for bars in section.bars:
            values = {
                bar.scheme: [
                    digest([p.value for p in bar.points]),
                    digest([bar.spread.mean]),
                    digest([bar.modelled]),
                ]
                for bar in bars.bars
            }
            found.append({"key": bars.key, "caption": bars.caption, "limit": digest([bars.limit]), "bars": values})
        if section.fabric is not None:
            loads = {
                one.scheme: [digest(one.times_s), digest(p for w in one.percents for p in w)]
                for one in section.fabric.loads
            }
            found.append({"key": "fabric", "caption": section.fabric.caption, "loads": loads})
        for lines in section.lines:
            series = [
                [one.name, digest(one.x), digest(one.y), digest(one.low)]
                for panel in lines.panels
                for one in panel.series
            ]
            found.append({"key": lines.key, "caption": lines.caption, "series": series})
    return found


def question(runs: list[Run]) -> Comparison:
    (comparison,) = compare(runs, allow_invalid=True)
    return comparison


def on_paper(runs: list[Run]) -> dict[str, Any]:
    drawn = {name: draw(question(runs)) for name, draw in FIGURES.items()}
    return {name: of_paper(*one) for name, one in drawn.items() if one is not None}


def ring(tmp_path: Path) -> dict[str, Any]:
    runs = three_seeds(tmp_path)
    return {"paper": on_paper(runs), "page": of_page(runs)}


def faults_and_mice(tmp_path: Path) -> dict[str, Any]:
    scenario = scenario_of(
        faults=FAULTS, measure={"sample_interval_s": 0.05}, workload={"kind": "permutation", "mice_interval_ms": 50.0}
    )
    records = [with_faults(healthy(scenario, scheme=scheme)) for scheme in ("ecmp", "gse2-n2n")]
    runs = stored(tmp_path, *records)
    return {"paper": on_paper(runs), "page": of_page(runs)}


def sweep(tmp_path: Path) -> dict[str, Any]:
    made = stored_sweep(tmp_path, sweep_over())
    drawn = curves(sweep_results(made))
    assert drawn is not None
    (lines,) = report([], [sweep_results(made)], allow_invalid=True).sections[0].lines
    return {
        "paper": of_paper(*drawn),
        "page": {
            "caption": lines.caption,
            "panels": [
                [p.y_label, [[s.name, digest(s.x), digest(s.y), digest(s.modelled), len(s.points)] for s in p.series]]
                for p in lines.panels
            ],
        },
    }


@pytest.mark.parametrize("case", [ring, faults_and_mice, sweep], ids=lambda case: str(case.__name__))
def test_figures_draw_the_values_they_drew_before(case: Any, tmp_path: Path) -> None:
    found, path = case(tmp_path), FOLDER / f"{case.__name__}.json"
    if os.environ.get("GSE_WRITE_FIGURES") == "1":
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert_alike(found, json.loads(path.read_text()), case.__name__)


def assert_alike(found: Any, wanted: Any, where: str) -> None:
    """Compare numbers to one part in 10^5, everything else exactly; say where the first difference is."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict) and set(found) == set(wanted), where
        for name in wanted:
            assert_alike(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_alike(one, other, f"{where}.{index}")
    elif isinstance(wanted, float) and isinstance(found, float):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-9), where
    else:
        assert found == wanted, where


def test_a_changed_value_would_be_noticed() -> None:
    for wrong in ({"a": [1.0, 2.1]}, {"a": [1.0]}, {"b": [1.0, 2.0]}):
        with pytest.raises(AssertionError):
            assert_alike(wrong, {"a": [1.0, 2.0]}, "here")
    many = [float(i) for i in range(50)]
    assert (
        digest(many) != digest([*many[:20], 21.5, *many[21:]]) != digest([*many[:20], many[21], many[20], *many[22:]])
    )
