"""What figures show beside the runs: where hashing is expected, what limits them, when something failed.

Of what is drawn, on paper and on pages, not of its pixels: each test fails where its mark is left out.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from testbed.model.oracle import Band
from testbed.results.run import Run
from testbed.units import KIB
from testbed.views.comparison import Comparison, compare
from testbed.views.completion_plot import completion
from testbed.views.paper import FAULT_LEGEND, STYLE
from testbed.views.plots import flows, timeline
from testbed.views.report.charts import Bars
from testbed.views.report.document import report
from testbed.views.report.figures import TIER_DASHES
from testbed.views.report.page import HERE, page
from testbed.views.report.svg import bars_svg
from testbed.views.runs_plot import queues, uplinks
from testbed.views.sweep import sweep_results
from testbed.views.sweep_plot import curves
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over
from tests.unit.test_plots import FAULTS, both_repairs, with_faults
from tests.unit.test_report_page import Reader, charts_of, html_of
from tests.unit.test_report_workloads import cross_traffic, training, words_sweep
from tests.unit.test_tables import stored, three_seeds

QUEUE_KIB = scenario_of().fabric.queue_bytes / KIB


def question(runs: list[Run]) -> Comparison:
    (comparison,) = compare(runs, allow_invalid=True)
    return comparison


def drawn(figure: Any) -> list[Axes]:
    """Return the panels of a figure with its caption, of which there is one."""
    assert figure is not None
    return list(figure[0].axes)


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """Return where a line has its points."""
    x, y = (list(map(float, data)) for data in (line.get_xdata(), line.get_ydata()))  # type: ignore[arg-type]
    return x, y


def level_lines(axes: Axes, value: float) -> list[Line2D]:
    """Return the lines at one height from one end of a panel to the other."""
    return [line for line in axes.lines if points(line) == ([0.0, 1.0], [pytest.approx(value)] * 2)]


def upright_lines(axes: Axes) -> dict[float, str]:
    """Return where lines from the bottom to the top of a panel stand, and how they are dashed."""
    found = {}
    for line in axes.lines:
        x, y = points(line)
        if len(x) == 2 and x[0] == x[1] and y == [0.0, 1.0]:
            found[round(x[0], 6)] = str(line.get_linestyle())
    return found


def of_class(svg: ET.Element, name: str) -> list[ET.Element]:
    return [node for node in svg.iter() if node.get("class") == name]


def place(node: ET.Element, name: str) -> float:
    """Return a number of an element."""
    text = node.get(name)
    assert text is not None
    return float(text)


def ruler(svg: ET.Element) -> Callable[[float], float]:
    """Return where a value stands, by the numbers at the axis."""
    ticks = [(float(node.text or ""), place(node, "x")) for node in of_class(svg, "tick")]
    (low, at_low), (high, at_high) = ticks[0], ticks[-1]
    return lambda value: at_low + (value - low) / (high - low) * (at_high - at_low)


def near(value: float) -> Any:
    return pytest.approx(value, abs=0.2)  # places are rounded to a tenth


# --- the band of ecmp -----------------------------------------------------------------------------------------


def expected(runs: list[Run]) -> tuple[Band, Band]:
    """Return where the mean of ecmp's efficiency is expected, and of its time over the ideal one."""
    found = question(runs).ecmp_expectation
    assert found is not None
    return found.efficiency, found.slowdown


def test_on_pages_the_expectation_of_ecmp_is_hatched_where_it_is(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    band, _slowdown = expected(runs)
    assert band.low < band.mean < band.high
    key, *others = report(runs, [], allow_invalid=True).sections[0].bars
    assert [(bar.scheme, bar.expected) for bar in key.bars] == [("ecmp", band), ("gse1", None)]
    svg = bars_svg(key)
    at = ruler(svg)
    (rect,) = of_class(svg, "expected")
    assert rect.get("fill") == "url(#hatch)"
    assert (place(rect, "x"), place(rect, "x") + place(rect, "width")) == (near(at(band.low)), near(at(band.high)))
    (mean,) = of_class(svg, "expected-mean")
    assert place(mean, "x1") == place(mean, "x2") == near(at(band.mean))
    assert rect.get("data-tip") == f"expected of ecmp: {band.low:.3f} to {band.high:.3f}, mean {band.mean:.3f}"
    (group,) = [node for node in svg.iter("g") if rect in list(node)]
    assert group.get("data-scheme") == "ecmp" and mean in list(group)
    assert [of_class(bars_svg(bars), "expected") for bars in others] == [[]] * len(others)
    assert f"Hatched: where the mean of ecmp over 3 seeds is expected with 95% probability, {band.low:.3f}" in key.alt


def test_the_hatching_is_defined_once_and_has_lines(tmp_path: Path) -> None:
    text = html_of(three_seeds(tmp_path))
    read = Reader(text)
    assert [pattern["id"] for pattern in read.of("pattern")] == ["hatch"]
    (lines,) = [path for path in read.of("path") if path.get("class") == "hatch-line"]
    assert lines["d"]
    for rule in (".hatch-line", ".expected", ".expected-mean"):
        assert "stroke: var(--ink)" in rule_of(rule)
    assert 'fill="url(#hatch)"' in text


def rule_of(selector: str) -> str:
    """Return what the page's style says of a selector."""
    style = (HERE / "page.css").read_text()
    found = re.findall(rf"(?:^|[\s}}]){re.escape(selector)} {{([^}}]*)}}", style)
    assert len(found) == 1, selector
    return str(found[0])


@pytest.mark.parametrize("width_cm", [17.0, 8.0])
def test_on_paper_the_expectation_of_ecmp_is_hatched_where_it_is(tmp_path: Path, width_cm: float) -> None:
    runs = three_seeds(tmp_path)
    comparison = question(runs)
    efficiency, slowdown = expected(runs)
    limits = comparison.limit("ideal_s"), comparison.limit("busbw_limit_mbps")
    figure = completion(comparison, width_cm)
    assert figure is not None
    for axes, band, limit in zip(drawn(figure), (slowdown, efficiency), limits, strict=True):
        assert limit is not None
        (patch,) = [one for one in axes.patches if isinstance(one, Rectangle) and one.get_hatch()]
        low, mean, high = (value * limit.mean for value in (band.low, band.mean, band.high))
        assert (patch.get_y(), patch.get_y() + patch.get_height()) == (pytest.approx(low), pytest.approx(high))
        assert patch.get_x() < 0 < patch.get_x() + patch.get_width(), "over the bar of ecmp, which is the first"
        ends = [patch.get_x(), patch.get_x() + patch.get_width()]
        across = [y for x, y in map(points, axes.lines) if x == pytest.approx(ends)]
        assert across == [[pytest.approx(mean)] * 2]
    labels = [text.get_text() for text in figure[0].legends[0].get_texts()]
    assert "mean of ecmp over 3 seeds expected here (95%)" in labels and "expected mean" in labels
    assert "Hatched: where the mean over as many seeds of hashed flows is expected" in figure[1]


def test_without_an_expectation_nothing_is_hatched(tmp_path: Path) -> None:
    comparison = question(stored(tmp_path, healthy(scenario_of(), scheme="gse1")))
    figure = completion(comparison)
    assert figure is not None
    assert not [patch for axes in drawn(figure) for patch in axes.patches if patch.get_hatch()]
    assert "expected mean" not in [text.get_text() for text in figure[0].legends[0].get_texts()]


def test_what_a_scenario_expects_stands_below_its_question(tmp_path: Path) -> None:
    asked = {"question": "Does it help?", "expectation": "It does, by half."}
    with_words = Reader(html_of(stored(tmp_path / "a", healthy(scenario_of(**asked)))))
    assert "Expected: It does, by half." in with_words.texts["p"]
    assert {"class": "expectation"} in with_words.of("p")
    without = Reader(html_of(stored(tmp_path / "b", healthy(scenario_of()))))
    assert not [text for text in without.texts["p"] if text.startswith("Expected")]


# --- limits ---------------------------------------------------------------------------------------------------


def limit_of(bars: Bars) -> tuple[ET.Element, ET.Element]:
    svg = bars_svg(bars)
    assert bars.limit is not None
    (line,), (text,) = of_class(svg, "limit"), of_class(svg, "limit-text")
    assert place(line, "x1") == place(line, "x2") == near(ruler(svg)(bars.limit))
    assert place(line, "y1") < place(line, "y2") - 40
    return line, text


@pytest.mark.parametrize(
    ("make", "limits"),
    [
        (three_seeds, {"efficiency": "1 physical limit", "completion_s": " s physical limit"}),
        (training, {"completion_s": " s ideal network", "training-exposed_share": " ideal network"}),
        (cross_traffic, {"bursts-median_s": " s ideal"}),
    ],
    ids=["ring", "training", "bursts"],
)
def test_on_pages_bars_have_their_limit_as_a_line_with_its_number(
    tmp_path: Path, make: Callable[[Path], list[Run]], limits: dict[str, str]
) -> None:
    (section,) = report(make(tmp_path), [], allow_invalid=True).sections
    found = {bars.key: bars for bars in section.bars}
    for key, words in limits.items():
        _line, text = limit_of(found[key])
        assert (text.text or "").startswith(f"{found[key].limit:.4g}") and (text.text or "").endswith(words)
        assert "Dashed line: " in found[key].caption
    assert "stroke-dasharray" in rule_of(".limit")
    without = [bars for bars in section.bars if bars.limit is None]
    assert without and not [bars for bars in without if of_class(bars_svg(bars), "limit")]


@pytest.mark.parametrize("width_cm", [17.0, 8.0])
def test_on_paper_bars_have_their_limit_as_a_line_with_its_number(tmp_path: Path, width_cm: float) -> None:
    comparison = question(three_seeds(tmp_path))
    figure = completion(comparison, width_cm)
    assert figure is not None
    for axes, key in zip(drawn(figure), ("ideal_s", "busbw_limit_mbps"), strict=True):
        limit = comparison.limit(key)
        assert limit is not None
        (line,) = level_lines(axes, limit.mean)
        assert line.get_linestyle() == "--"
        assert f"{limit.mean:.4g}" in [text.get_text() for text in axes.texts]
    assert "physical limit" in [text.get_text() for text in figure[0].legends[0].get_texts()]
    assert "dashed: physical limit" in figure[1]


def faulty(tmp_path: Path) -> list[Run]:
    scenario = scenario_of(faults=FAULTS, measure={"sample_interval_s": 0.05})
    return stored(tmp_path, *(with_faults(healthy(scenario, scheme=scheme)) for scheme in ("ecmp", "gse1")))


def test_on_pages_lines_have_their_limits(tmp_path: Path) -> None:
    (section,) = report(faulty(tmp_path), [], allow_invalid=True).sections
    found = {lines.key: [panel.rules for panel in lines.panels] for lines in section.lines}
    limit = ((QUEUE_KIB, "limit of a queue"),)
    assert found["queues"] == [limit, limit]
    assert found["fault"] == [(), limit]
    assert found["uplinks"] == [((1.0, "link rate"),)]
    sent = charts_of(html_of(faulty(tmp_path / "again")))
    rules = [rule for chart in sent for panel in chart.get("panels", ()) for rule in panel["rules"]]
    assert rules.count({"y": QUEUE_KIB, "label": "limit of a queue"}) == 3


def test_on_paper_queues_have_their_limit(tmp_path: Path) -> None:
    comparison = question(faulty(tmp_path))
    for axes in drawn(queues(comparison)):
        (line,) = level_lines(axes, QUEUE_KIB)
        assert line.get_linestyle() != "-"
    _received, _close, fullest, closer = drawn(timeline(comparison))
    for axes in (fullest, closer):
        assert len(level_lines(axes, QUEUE_KIB)) == 1
    figure = queues(comparison)
    assert figure is not None
    assert "limit of a queue" in [text.get_text() for text in figure[0].legends[0].get_texts()]


def test_on_paper_flows_and_bursts_have_their_ideal(tmp_path: Path) -> None:
    comparison = question(cross_traffic(tmp_path))
    slower, bursts = drawn(flows(comparison))
    ideal_s = comparison.entries[0].number("bursts", "ideal_s")
    assert ideal_s is not None
    for axes, value in ((slower, 1.0), (bursts, ideal_s)):
        (line,) = level_lines(axes, value)
        assert line.get_linestyle() == "--"
    assert f"ideal {ideal_s:.3g} s" in [text.get_text() for text in bursts.texts]


def test_sweeps_have_the_physical_limit(tmp_path: Path) -> None:
    results = sweep_results(stored_sweep(tmp_path / "numbers", sweep_over()))
    efficiency, *others = drawn(curves(results))
    (line,) = level_lines(efficiency, 1.0)
    assert line.get_linestyle() == "--"
    assert [level_lines(axes, 1.0) for axes in others] == [[]] * len(others)
    (lines,) = report([], [results], allow_invalid=True).sections[0].lines
    assert [panel.rules for panel in lines.panels] == [((1.0, "physical limit"),), (), ()]
    for axes in drawn(curves(sweep_results(words_sweep(tmp_path / "words")))):
        assert upright_lines(axes) == {1.0: "--"}


# --- faults ---------------------------------------------------------------------------------------------------


def test_on_paper_what_failed_is_dashed_and_what_was_mended_dotted(tmp_path: Path) -> None:
    comparison = question(faulty(tmp_path))
    with matplotlib.rc_context(STYLE):
        around = timeline(comparison)
        over_time = [queues(comparison), uplinks(comparison)]
    assert drawn(around)
    for axes in drawn(around):
        assert upright_lines(axes) == {0.0: "--", 0.4: ":"}
    for figure in over_time:
        panels = [axes for axes in drawn(figure) if axes.get_title(loc="left")]  # not the scale of colours
        assert len(panels) == 2
        for axes in panels:
            lines = upright_lines(axes)
            assert [lines[t_s] for t_s in (0.5, 0.9)] == ["--", ":"]
    for figure in (around, *over_time):
        assert figure is not None and FAULT_LEGEND in figure[1]


def test_on_pages_what_failed_and_what_was_mended_are_dashed_differently(tmp_path: Path) -> None:
    (fault,) = [chart for chart in charts_of(html_of(faulty(tmp_path), allow_invalid=True)) if chart.get("marks")]
    assert [(mark["text"], mark["mends"]) for mark in fault["marks"]] == [("fail l1-s1", False), ("heal l1-s1", True)]
    assert [mark["at"] for mark in fault["marks"]] == [0.0, pytest.approx(0.4)]
    dashes = [re.findall(r"stroke-dasharray: ([^;]+);", rule_of(name)) for name in (".mark", ".mark.mends")]
    assert all(dashes) and dashes[0] != dashes[1]
    assert 'mark.mends ? "mark mends" : "mark"' in (HERE / "page.js").read_text()


def test_on_pages_repair_by_gsos_is_dashed_and_by_leaves_is_not(tmp_path: Path) -> None:
    text = page(report(both_repairs(tmp_path), [], allow_invalid=True))
    first, *_others = [chart for chart in charts_of(text) if chart.get("marks")]
    assert first["panels"]
    for panel in first["panels"]:
        dashes = {series["name"].partition(" (")[0]: series["dash"] for series in panel["series"]}
        assert dashes == {"ecmp": "", "ecmp, repair by GSOS": "6 3"}


def test_tiers_of_queues_are_dashed_differently(tmp_path: Path) -> None:
    (section,) = report(three_seeds(tmp_path), [], allow_invalid=True).sections
    (lines,) = [one for one in section.lines if one.key == "queues"]
    assert lines.panels
    for panel in lines.panels:
        assert {series.dash for series in panel.series} == set(TIER_DASHES.values())
    assert len(set(TIER_DASHES.values())) == len(TIER_DASHES)
