"""A report as one HTML file: no network, no CDN, one style and one script of ours, which the page itself pins by hash.

Its Content-Security-Policy lets nothing else run or load, whatever a result says; texts are escaped all the same
(``testbed.views.report.markup``).
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from testbed import __version__
from testbed.views.cells import Grid
from testbed.views.colours import DASHES, OTHER_COLOUR, SCHEME_COLOURS, dark_colour
from testbed.views.predicted import MODEL
from testbed.views.report.charts import Bars, Lines
from testbed.views.report.document import Report, Section
from testbed.views.report.fabric_map import FabricMap
from testbed.views.report.markup import (
    Element,
    document_text,
    element,
    json_for_script,
    preformatted,
    table,
    tell_apart,
    verbatim,
)
from testbed.views.report.svg import LEVELS, bars_svg, fabric_svg, hatch, triangle

HERE: Final = Path(__file__).parent
# Idle to full: lighter to darker on paper, the other way round on a dark page, so no colour has to be told apart.
LIGHT_RAMP: Final = ("#cfd6dd", "#93b9dc", "#4189c7", "#12569b", "#06224a")
DARK_RAMP: Final = ("#3a4652", "#41749c", "#6fb0d2", "#d8cf6f", "#fff36b")
THINNEST, WIDEST = 1.0, 3.6


def page(report: Report) -> str:
    """Return the HTML."""
    charts: list[dict[str, Any]] = []
    sections = [_section(section, f"q{number}", charts) for number, section in enumerate(report.sections, start=1)]
    tell_apart(sections)
    style, script = _style(), (HERE / "page.js").read_text(encoding="utf-8")
    own = f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    policy = f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=f"gse-testbed {__version__}"),
        element("title", f"{report.title}: report"),
        verbatim("style", style),
    )
    body = element(
        "body",
        element("a", "Skip to the answer", class_="skip", href="#main"),
        hatch(),
        element(
            "header",
            element("h1", "gse-testbed report"),
            element("p", report.title),
            element("button", "Dark page", id="theme", type="button", hidden="hidden"),
        ),
        element("main", _contents(report) if len(report.sections) > 1 else None, *sections, id="main"),
        element("footer", f"Made by gse-testbed {__version__} from stored runs. This file needs no network."),
        element("div", id="tip", role="status", hidden="hidden"),
        verbatim("script", json_for_script({"charts": charts}), id="report-data", type="application/json"),
        verbatim("script", script),
    )
    return document_text(element("html", head, body, lang="en"))


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _style() -> str:
    """Return the style with the colours of schemes and loads put in."""
    rules = [(HERE / "page.css").read_text(encoding="utf-8")]
    dark = []
    for scheme, colour in SCHEME_COLOURS.items():
        dash = DASHES[scheme] or "none"
        rules.append(f'[data-scheme="{scheme}"] {{ --c: {colour}; --dash: {dash}; }}\n')
        dark.append(f'[data-scheme="{scheme}"] {{ --c: {dark_colour(scheme)}; }}')
    rules.append(f":root {{ --c: {OTHER_COLOUR}; }}\n")
    for step, (light, bright) in enumerate(zip(_ramp(LIGHT_RAMP), _ramp(DARK_RAMP), strict=True)):
        width = THINNEST + (WIDEST - THINNEST) * step / LEVELS
        rules.append(f".u{step} {{ stroke: {light}; fill: {light}; stroke-width: {width:.2f}; }}\n")
        dark.append(f".u{step} {{ stroke: {bright}; fill: {bright}; }}")
    for rule in dark:
        rules.append(f':root[data-theme="dark"] {rule}\n')
    automatic = "\n".join(f'  :root:not([data-theme="light"]) {rule}' for rule in dark)
    rules.append(f"@media (prefers-color-scheme: dark) {{\n{automatic}\n}}\n")
    return "".join(rules)


def _ramp(anchors: Sequence[str]) -> list[str]:
    """Return ``LEVELS`` + 1 colours evenly along the anchors."""
    colours = []
    for step in range(LEVELS + 1):
        place = step / LEVELS * (len(anchors) - 1)
        left = min(int(place), len(anchors) - 2)
        ends = [[int(anchors[i][k : k + 2], 16) for k in (1, 3, 5)] for i in (left, left + 1)]
        mixed = [round(a + (b - a) * (place - left)) for a, b in zip(*ends, strict=True)]
        colours.append("#" + "".join(f"{part:02x}" for part in mixed))
    return colours


def _contents(report: Report) -> Element:
    names = Counter(section.question or section.name for section in report.sections)
    items = []
    for number, section in enumerate(report.sections, start=1):
        name = section.question or section.name
        # the values of a sweep ask one question: what was emulated tells them apart
        text = name if names[name] == 1 else section.emulated
        items.append(element("li", element("a", text, href=f"#q{number}")))
    return element("nav", element("ul", *items), aria_label="Questions")


def _section(section: Section, key: str, charts: list[dict[str, Any]]) -> Element:
    heading = f"{key}-heading"
    key_figure = list(_key_figure(section, charts, key))
    parts: dict[str, Sequence[Element | None]] = {
        "Verdicts": (table(section.verdicts), table(section.kept_up)),
        "Figures": list(_figures(section, charts, key)),
        "Tables": [table(grid) for grid in section.tables],
        "Settings": (table(section.settings[0]), _folded("Everything else", table(section.settings[1]))),
        "Provenance": (table(section.provenance[0]), _folded("All runs", table(section.provenance[1]))),
        "Reproduce": _reproduce(section),
    }
    links = [element("li", element("a", part, href=f"#{_anchor(part, key)}")) for part in parts]
    return element(
        "section",
        element("h2", section.question or section.name, id=heading),
        element("p", f"Expected: {section.expectation}", class_="expectation") if section.expectation else None,
        element("p", f"{section.emulated}.", class_="emulated"),
        element("nav", element("ul", *links), aria_label=f"Parts of {section.name}"),
        _counts(section),
        element("ul", *(element("li", answer) for answer in section.answers), class_="answers"),
        _switches(section),
        *key_figure,
        *(_part(title, key, *children) for title, children in parts.items()),
        class_="question",
        id=key,
        aria_labelledby=heading,
    )


def _anchor(part: str, key: str) -> str:
    return f"{key}-{part.lower()}"


def _part(title: str, key: str, *children: Element | None) -> Element:
    name = _anchor(title, key)
    return element(
        "section", element("h3", title, id=f"{name}-heading"), *children, id=name, aria_labelledby=f"{name}-heading"
    )


def _folded(summary: str, *children: Element) -> Element:
    return element("details", element("summary", summary), *children)


def _counts(section: Section) -> Element:
    items = [
        element("li", f"{count} {state}", class_=state.lower().replace(" ", "-"))
        for state, count in section.counts.items()
    ]
    return element("ul", *items, class_="counts", aria_label="Verdicts of all runs")


def _switches(section: Section) -> Element | None:
    if len(section.schemes) < 2:
        return None
    boxes = [
        element(
            "label",
            element("input", type="checkbox", value=scheme, checked="checked"),
            element("span", class_="swatch", data_scheme=scheme),
            scheme,
        )
        for scheme in section.schemes
    ]
    return element("fieldset", element("legend", "Schemes shown"), *boxes, class_="schemes", hidden="hidden")


def _key_figure(section: Section, charts: list[dict[str, Any]], key: str) -> Iterable[Element]:
    if section.bars:
        yield _bars(section.bars[0], heading="h3")
    elif section.lines:
        yield _lines(section.lines[0], charts, key, heading="h3")


def _figures(section: Section, charts: list[dict[str, Any]], key: str) -> Iterable[Element]:
    if section.bars[1:]:
        yield element("div", *(_bars(bars) for bars in section.bars[1:]), class_="pair")
    if section.fabric is not None:
        yield _fabric(section.fabric, charts, key)
    for lines in section.lines if section.bars else section.lines[1:]:
        yield _lines(lines, charts, key)
    if not section.bars[1:] and section.fabric is None and len(section.lines) < (1 if section.bars else 2):
        yield element("p", "There are no further figures.")
    if section.without_figure:
        yield element("p", f"In tables only: {', '.join(section.without_figure)}.")


def _bars(bars: Bars, *, heading: str = "h4") -> Element:
    return element(
        "figure",
        element(heading, bars.title),
        bars_svg(bars),
        _legend() if bars.has_model else None,
        element("figcaption", bars.caption),
        _folded("Every run in numbers", table(_bars_grid(bars), captioned=False)),
        class_="bars" if heading == "h4" else "bars key",
    )


def _legend() -> Element:
    """Return what says of a mark of no run what it is; the caption has its numbers."""
    sample = element("svg", triangle(6, 2), width="12", height="12", aria_hidden="true")
    return element("ul", element("li", sample, MODEL), class_="legend")


def _bars_grid(bars: Bars) -> Grid:
    unit = f"{bars.title} ({bars.unit})" if bars.unit else bars.title
    rows = [
        (bar.scheme, str(point.seed), point.verdict, f"{point.value:.{bars.digits}f}")
        for bar in bars.bars
        for point in bar.points
    ]
    rows += [
        (bar.scheme, "mean", MODEL, f"{bar.modelled:.{bars.digits}f}") for bar in bars.bars if bar.modelled is not None
    ]
    return Grid(bars.title, ("scheme", "seed", "verdict", unit), tuple(rows), (), labels=3)


def _lines(lines: Lines, charts: list[dict[str, Any]], key: str, *, heading: str = "h4") -> Element:
    charts.append(lines.to_json())
    return element(
        "figure",
        element(heading, lines.title),
        element("p", "This figure is drawn by the page's script; its numbers are below.", class_="wants-script"),
        element("div", class_="chart", data_chart=len(charts) - 1, aria_label=f"{lines.title}. {lines.caption}"),
        element("figcaption", lines.caption),
        _folded("The same in numbers", table(lines.table, captioned=False)),
        class_=None if heading == "h4" else "key",
        id=f"{key}-{lines.key}",
    )


def _fabric(fabric: FabricMap, charts: list[dict[str, Any]], key: str) -> Element:
    charts.append(fabric.to_json())
    runs = [
        element(
            "div",
            element(
                "h4",
                element("span", element("span", class_="swatch"), f"{load.scheme}, seed {load.seed}"),
                element("output", ""),
            ),
            fabric_svg(fabric, load),
            class_="fabric-run scheme",
            data_scheme=load.scheme,
            data_load=number,
        )
        for number, load in enumerate(fabric.loads)
    ]
    steps = [element("rect", x=step * 20, y=0, width=20, height=14, class_=f"u{step}") for step in range(LEVELS + 1)]
    scale = element(
        "svg", *steps, viewBox=f"0 0 {20 * (LEVELS + 1)} 14", aria_hidden="true", preserveAspectRatio="none"
    )
    return element(
        "figure",
        element("h4", "Links of the fabric over time"),
        element("div", element("div", *runs, class_="pair"), data_chart=len(charts) - 1),
        element("p", "0%", scale, "100% of the link's rate", class_="ramp"),
        element("figcaption", fabric.caption),
        _folded("The same in numbers", table(fabric.table, captioned=False)),
        id=f"{key}-fabric",
    )


def _reproduce(section: Section) -> Sequence[Element | None]:
    notes = [element("li", f"{note[:1].upper()}{note[1:]}.") for note in section.command_notes]
    return (
        preformatted(section.commands, class_="copy", tabindex="0"),
        element("ul", *notes) if notes else None,
        _folded("The complete scenario", preformatted(section.scenario_text, class_="copy", tabindex="0")),
    )
