"""Figures that are drawn into the page itself and need no script: bars, and the fabric."""

from __future__ import annotations

from math import ceil, log10
from typing import Final

from testbed.views.predicted import MODEL
from testbed.views.report.charts import Bar, Bars
from testbed.views.report.fabric_map import HEIGHT as FABRIC_HEIGHT
from testbed.views.report.fabric_map import WIDTH as FABRIC_WIDTH
from testbed.views.report.fabric_map import FabricMap, Load, Node, Wire
from testbed.views.report.markup import Element, element
from testbed.views.words import spread_text

# In units of the drawing; at 8 cm (302 px) a text of 14 is one of 11.7 px, at full width one of 22 px.
WIDTH: Final = 360.0
LEFT, RIGHT, TOP = 8.0, 14.0, 20.0
ROW, BAR, BAR_TOP = 47.0, 19.0, 19.0
AXIS: Final = 30.0
LEVELS: Final = 10  # of a link's load that are told apart
UNKNOWN_LEVEL: Final = "none"
STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


def bars_svg(bars: Bars) -> Element:
    """Return the bars, one below the other, each with its name and numbers above it."""
    end, step = _axis(bars.most)
    scale = (WIDTH - LEFT - RIGHT) / end
    height = TOP + ROW * len(bars.bars) + AXIS
    bottom = TOP + ROW * len(bars.bars)
    return element(
        "svg",
        *_grid(end, step, scale, bottom),
        *(part for index, bar in enumerate(bars.bars) for part in _bar(bar, TOP + ROW * index, scale)),
        *_limit(bars, scale, bottom),
        *(mark for index, bar in enumerate(bars.bars) for mark in _model(bars, bar, TOP + ROW * index, scale)),
        *(_label(bars, bar, TOP + ROW * index) for index, bar in enumerate(bars.bars)),
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        class_="bars",
        role="img",
        aria_label=bars.alt,
    )


def _axis(most: float) -> tuple[float, float]:
    """Return where an axis from 0 ends, and the step between its ticks: a round number, 3 to 6 of them."""
    power = 10.0 ** ceil(log10(most / 5) - 1)
    return most * 1.04, next(one * power for one in STEPS if one * power >= most / 5 * 0.999)


def _grid(end: float, step: float, scale: float, bottom: float) -> list[Element]:
    parts = []
    for number in range(int(end / step) + 1):
        x = LEFT + number * step * scale
        parts.append(element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=TOP - 4, y2=bottom, class_="grid-line"))
        anchor = "end" if x > WIDTH - 24 else "start" if number == 0 else "middle"
        text = f"{number * step:.6g}"
        parts.append(element("text", text, x=f"{x:.1f}", y=bottom + 16, class_="tick", text_anchor=anchor))
    return parts


def _bar(bar: Bar, top: float, scale: float) -> list[Element]:
    middle = top + BAR_TOP + BAR / 2
    length = bar.spread.mean * scale
    parts = [element("rect", x=LEFT, y=top + BAR_TOP, width=f"{length:.1f}", height=BAR, class_="bar")]
    if bar.expected is not None:
        low, mean, high = (LEFT + value * scale for value in (bar.expected.low, bar.expected.mean, bar.expected.high))
        place = {"x": f"{low:.1f}", "y": top + BAR_TOP - 2, "width": f"{high - low:.1f}", "height": BAR + 4}
        tip = (
            f"expected of {bar.scheme}: {bar.expected.low:.3f} to {bar.expected.high:.3f}, mean {bar.expected.mean:.3f}"
        )
        parts.append(element("rect", **place, class_="expected-back"))
        parts.append(element("rect", **place, class_="expected", fill="url(#hatch)", data_tip=tip))
        line = {"x1": f"{mean:.1f}", "x2": f"{mean:.1f}", "y1": top + BAR_TOP - 2, "y2": top + BAR_TOP + BAR + 2}
        parts.append(element("line", **line, class_="expected-mean"))
    for index, point in enumerate(bar.points):
        shift = 0.0 if len(bar.points) == 1 else (index / (len(bar.points) - 1) - 0.5) * BAR * 0.6
        parts.append(_mark(LEFT + point.value * scale, middle + shift, point.verdict, point.label))
    return [element("g", *parts, class_="scheme", data_scheme=bar.scheme)]


def _label(bars: Bars, bar: Bar, top: float) -> Element:
    """Return what is said above a bar: last, so that no line crosses it."""
    name = element("tspan", bar.scheme, class_="name")
    numbers = f"  {spread_text(bar.spread, bars.digits, bars.unit)}"
    text = element("text", name, numbers, x=LEFT, y=top + 13, class_="label")
    return element("g", text, class_="scheme", data_scheme=bar.scheme)


def _mark(x: float, y: float, verdict: str, tip: str) -> Element:
    """Return a run: VALID a full disc, SUSPECT a ring, INVALID a cross."""
    kind = f"run {verdict.lower()}"
    if verdict == "INVALID":
        path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return element("path", d=path, class_=kind, data_tip=tip)
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3.6", class_=kind, data_tip=tip)


def _model(bars: Bars, bar: Bar, top: float, scale: float) -> list[Element]:
    """Return the mark of the model, pointing at the bar from below; after the limit, which would pass through it."""
    if bar.modelled is None:
        return []
    tip = f"{MODEL}, {bar.scheme}: {bars.text(bar.modelled)}"
    mark = triangle(LEFT + bar.modelled * scale, top + BAR_TOP + BAR + 1, tip)
    return [element("g", mark, class_="scheme", data_scheme=bar.scheme)]


def triangle(x: float, y: float, tip: str | None = None) -> Element:
    """Return the model's mark with its tip at a place."""
    return element("path", d=f"M{x:.1f} {y:.1f}l4 7h-8z", class_="model", data_tip=tip)


def _limit(bars: Bars, scale: float, bottom: float) -> list[Element]:
    if bars.limit is None:
        return []
    x = LEFT + bars.limit * scale
    at_end = x > WIDTH * 0.6
    text = f"{bars.limit:.4g}{f' {bars.unit}' if bars.unit else ''} {bars.limit_name}"
    return [
        element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=TOP - 4, y2=bottom, class_="limit"),
        element(
            "text",
            text,
            x=f"{x + (-4 if at_end else 4):.1f}",
            y=12,
            class_="limit-text",
            text_anchor="end" if at_end else "start",
        ),
    ]


def hatch() -> Element:
    """Return the pattern expectations are drawn with; once per page."""
    lines = element("path", d="M-1 1l2 -2M0 6l6 -6M5 7l2 -2", class_="hatch-line")
    pattern = element("pattern", lines, id="hatch", width="6", height="6", patternUnits="userSpaceOnUse")
    return element("svg", element("defs", pattern), class_="defs", aria_hidden="true", width="0", height="0")


def fabric_svg(fabric: FabricMap, load: Load) -> Element:
    """Return the drawing with the mean load of one run; the page's script shows other moments."""
    busy = [mean for mean in load.means if mean >= 0]
    alt = f"Fabric under {load.scheme}: mean load of its links from {min(busy, default=0)}% to {max(busy, default=0)}%."
    return element(
        "svg",
        *(_wire(wire, mean, number) for number, (wire, mean) in enumerate(zip(fabric.wires, load.means, strict=True))),
        *(part for node in fabric.nodes for part in _node(node, fabric)),
        viewBox=f"0 0 {FABRIC_WIDTH:g} {FABRIC_HEIGHT:g}",
        class_="fabric",
        role="img",
        aria_label=alt,
    )


def level(percent: int) -> str:
    """Return the class of a load: ``u0`` idle to ``u10`` full."""
    return UNKNOWN_LEVEL if percent < 0 else f"u{min(int(percent * LEVELS / 100 + 0.5), LEVELS)}"


def _wire(wire: Wire, percent: int, number: int) -> Element:
    said = "not known" if percent < 0 else f"{percent}%"
    return element(
        "line",
        x1=wire.x1,
        y1=wire.y1,
        x2=wire.x2,
        y2=wire.y2,
        class_=f"wire {level(percent)}",
        data_wire=number,
        data_tip=f"{wire.name}: {said}, mean",
    )


def _node(node: Node, fabric: FabricMap) -> list[Element]:
    several = sum(one.tier == node.tier for one in fabric.nodes)
    room = (FABRIC_WIDTH - 20) / several
    width = min({"spine": 46.0, "leaf": 46.0, "host": 19.0}[node.tier], room * 0.86)
    height = 15.0 if node.tier == "host" else 20.0
    box = element(
        "rect",
        x=f"{node.x - width / 2:.1f}",
        y=f"{node.y - height / 2:.1f}",
        width=f"{width:.1f}",
        height=height,
        rx="3",
        class_=f"node {node.tier}",
    )
    size = 8.5 if node.tier == "host" else 12.0
    if width < size * 0.62 * len(node.name):
        return [box]
    place = {"x": f"{node.x:.1f}", "y": f"{node.y + size * 0.36:.1f}", "font_size": size}
    return [box, element("text", node.name, **place, class_="node-name", text_anchor="middle")]
