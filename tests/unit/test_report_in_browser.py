"""A report in a real browser: nothing on the console, nothing loaded, usable by keyboard, readable, accessible.

Needs Chromium and two Python packages, which `./gse test` installs on Debian (docs/report.md has how elsewhere);
skipped in words without. ``GSE_SCREENSHOTS=DIR`` keeps what
was seen.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from math import sin
from pathlib import Path
from typing import Any

import pytest

from testbed.collectives.algorithms import ALGORITHMS
from testbed.results.run import Run
from testbed.views.report.document import report
from testbed.views.report.page import page as html_page
from testbed.views.sweep import sweep_results
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over
from tests.unit.test_plots import FAULTS, with_faults
from tests.unit.test_report_workloads import cross_traffic, training, training_sweep, words_sweep
from tests.unit.test_sweep_views import COLLECTIVES
from tests.unit.test_tables import stored

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
MISSING = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
EIGHT_CM_PX = 302  # at 96 pixels per inch
THEMES = ("light", "dark")
PAGES = ("reference", "faults", "sweep", "cross-traffic", "training", "training-sweep", "words", "questions")
# The longest word where there is least room for it, and so many that lines of text come close.
MANY_WORDS = tuple(
    f"{operation}/{algorithm}"
    for operation, algorithms in reversed(ALGORITHMS.items())
    for algorithm in algorithms
    if algorithm != "hierarchical"
)[::-1]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs {' and '.join(MISSING)}: pip install --no-build-isolation -e '.[browser]'"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = started.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of made-up runs, and of the reference runs."""
    folder = tmp_path_factory.mktemp("pages")
    scenario = scenario_of(faults=FAULTS, measure={"sample_interval_s": 0.05})
    records = [
        with_faults(healthy(scenario, scheme=scheme, seed=seed)) for scheme in ("ecmp", "gse1") for seed in (1, 2)
    ]
    runs = stored(folder / "runs", *records)
    reports = {
        "faults": report(runs, [], allow_invalid=True),
        "sweep": report([], [sweep_results(stored_sweep(folder / "sweep", sweep_over()))], allow_invalid=True),
        "reference": report(_reference(), [], allow_invalid=False),
        "cross-traffic": report(cross_traffic(folder / "cross"), [], allow_invalid=True),
        "training": report(training(folder / "training"), [], allow_invalid=True),
        "training-sweep": report([], [sweep_results(training_sweep(folder / "training-sweep"))], allow_invalid=True),
        "words": report([], [sweep_results(words_sweep(folder / "words"))], allow_invalid=True),
    }
    again = sweep_results(stored_sweep(folder / "again", sweep_over()))
    several = [*runs, *stored(folder / "others", healthy(scenario_of(fabric={"spines": 3})))]
    reports["many-words"] = report([], [sweep_results(words_sweep(folder / "many", MANY_WORDS))], allow_invalid=True)
    reports["questions"] = report(several, [again], allow_invalid=True)
    paths = {name: folder / f"{name}.html" for name in reports}
    for name, made in reports.items():
        paths[name].write_text(html_page(made))
    return paths


def _reference() -> list[Run]:
    from testbed.cli.stored import load_all

    return load_all([Path(__file__).resolve().parents[2] / "results/reference/allreduce_ring"])


class Seen:
    """A page that is open, what its console said, and what it asked for."""

    def __init__(self, browser: Any, path: Path, *, theme: str = "light", width: int = 1280, **options: Any) -> None:
        self.context = browser.new_context(
            color_scheme=theme, viewport={"width": width, "height": 900}, offline=True, **options
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.path = path

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_error: object) -> None:
        self.context.close()

    def quiet(self) -> None:
        """Assert that nothing was said on the console and nothing but the file itself asked for."""
        assert self.said == []
        assert self.asked == [self.path.as_uri()]

    def shot(self, name: str, *, full: bool = True) -> None:
        """Keep what is seen, if somebody wants to look."""
        if folder := os.environ.get("GSE_SCREENSHOTS"):
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=full)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_offline_without_a_word_and_is_accessible(
    browser: Any, files: dict[str, Path], name: str, theme: str
) -> None:
    axe = Path(importlib.util.find_spec("axe_playwright_python").submodule_search_locations[0]) / "axe.min.js"  # type: ignore[union-attr, index]
    with Seen(browser, files[name], theme=theme) as seen:
        for folded in seen.page.query_selector_all("details > summary"):
            folded.click()
        seen.shot(f"{name}-{theme}")
        seen.page.evaluate(axe.read_text())
        found = seen.page.evaluate("axe.run()")
        bad = [one for one in found["violations"] if one["impact"] != "minor"]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in bad] == []
        assert len(found["passes"]) > 10
        seen.quiet()


@pytest.mark.parametrize("name", PAGES)
def test_at_eight_centimetres_nothing_is_cut_off_and_the_key_figure_is_readable(
    browser: Any, files: dict[str, Path], name: str
) -> None:
    with Seen(browser, files[name], width=EIGHT_CM_PX) as seen:
        seen.shot(f"{name}-8cm")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= EIGHT_CM_PX
        figure = seen.page.query_selector("main figure svg")
        box = figure.bounding_box()
        assert box["width"] > 0.85 * EIGHT_CM_PX
        # what is turned has a box that is mostly empty: test_every_value_of_a_sweep_can_be_read...
        level = "text:not([transform])"
        texts = [text.bounding_box() for text in figure.query_selector_all(level) if text.inner_html().strip()]
        assert texts
        for text in texts:
            assert text["height"] >= 9.5  # 7 points, what papers ask for
            assert text["x"] >= box["x"] - 1 and text["x"] + text["width"] <= box["x"] + box["width"] + 1
        for index, one in enumerate(texts):
            assert not [other for other in texts[index + 1 :] if overlap(one, other) > 0.15]
        seen.quiet()


VALUES = """() => [...document.querySelector("main figure").querySelectorAll(".chart > svg")].map((panel) =>
  [...panel.querySelectorAll("text.value")].map((text) => {
    const matrix = text.getScreenCTM(), box = text.getBBox(), from = panel.getBoundingClientRect();
    const corners = [[box.x, box.y], [box.x, box.y + box.height], [box.x + box.width, box.y]].map(([x, y]) =>
      new DOMPoint(x, y).matrixTransform(matrix));
    return { text: text.textContent, turned: text.hasAttribute("transform"), x: matrix.e - from.left,
      left: Math.min(...corners.map((one) => one.x)) - from.left, width: box.width,
      low: Math.max(...corners.map((one) => one.y)) - from.top, high: from.height,
      angle: Math.atan2(matrix.b, matrix.a) };
  }))"""


@pytest.mark.parametrize("width", [EIGHT_CM_PX, 1280])
@pytest.mark.parametrize("name", ["words", "many-words", "training-sweep", "sweep"])
def test_every_value_of_a_sweep_can_be_read_below_the_lowest_panel_at_least(
    browser: Any, files: dict[str, Path], name: str, width: int
) -> None:
    ticks = {
        "words": list(COLLECTIVES),
        "many-words": list(MANY_WORDS),
        "training-sweep": ["100,000", "400,000"],
        "sweep": ["16", "32", "256"],
    }
    with Seen(browser, files[name], width=width) as seen:
        *upper, lowest = seen.page.evaluate(VALUES)
        seen.shot(f"{name}-values-{width}", full=False)
        assert upper, "several panels"
        assert [one["text"] for one in lowest] == ticks[name]
        turned = {one["turned"] for one in lowest}
        assert turned == {(name == "words" and width == EIGHT_CM_PX) or name == "many-words"}
        for panel in upper:  # all or none, and not some of them
            assert [one["text"] for one in panel] == ([] if True in turned else ticks[name])
        for one in lowest:
            assert one["left"] >= 0 and one["low"] <= one["high"] - 12  # the axis has its name below
        for left, right in zip(lowest, lowest[1:], strict=False):
            apart = right["x"] - left["x"]
            if True in turned:
                assert apart * sin(-left["angle"]) >= 10  # lines of text beside each other
            else:
                assert right["left"] >= left["left"] + left["width"]
        seen.quiet()


def test_limits_and_faults_are_drawn_where_the_data_has_them_and_dashed(browser: Any, files: dict[str, Path]) -> None:
    with Seen(browser, files["faults"]) as seen:
        specs = seen.page.evaluate("JSON.parse(document.getElementById('report-data').textContent).charts")
        hosts = seen.page.query_selector_all("[data-chart].chart")
        assert hosts
        dashes = "(line) => getComputedStyle(line).strokeDasharray"
        for host in hosts:
            spec = specs[int(host.get_attribute("data-chart"))]
            rules = [rule for panel in spec["panels"] for rule in panel["rules"]]
            limits = host.query_selector_all("line.limit")
            assert len(limits) == len(rules)
            assert all(limit.evaluate(dashes) not in ("", "none") for limit in limits)
            labels = [text.inner_html() for text in host.query_selector_all("text.limit-text")]
            assert labels == [rule["label"] for rule in rules if rule["label"]]
            broken = host.query_selector_all("line.mark:not(.mends)")
            mended = host.query_selector_all("line.mark.mends")
            panels = len(spec["panels"])
            assert len(broken) == panels * sum(not mark["mends"] for mark in spec["marks"])
            assert len(mended) == panels * sum(mark["mends"] for mark in spec["marks"])
            found = {line.evaluate(dashes) for line in broken}, {line.evaluate(dashes) for line in mended}
            assert not found[0] & found[1] and not {"", "none"} & (found[0] | found[1])
        assert seen.page.query_selector_all("#q1-fault line.mark.mends")
        assert seen.page.query_selector_all("#q1-queues line.limit")
        seen.quiet()


def test_the_expectation_of_hashing_is_hatched(browser: Any, files: dict[str, Path]) -> None:
    with Seen(browser, files["reference"]) as seen:
        band = seen.page.query_selector("figure.key [data-scheme=ecmp] rect.expected")
        assert band.bounding_box()["width"] > 5
        assert "#hatch" in band.evaluate("(rect) => getComputedStyle(rect).fill")
        line = seen.page.query_selector("pattern#hatch .hatch-line")
        assert line.evaluate("(path) => getComputedStyle(path).stroke") not in ("", "none")


def overlap(one: dict[str, float], other: dict[str, float]) -> float:
    """Return the share of the smaller box that both cover."""
    width = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    height = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    area = min(one["width"] * one["height"], other["width"] * other["height"])
    return max(width, 0) * max(height, 0) / area


def test_the_slider_moves_by_keyboard_and_shows_another_moment(browser: Any, files: dict[str, Path]) -> None:
    with Seen(browser, files["reference"]) as seen:
        slider = seen.page.query_selector("input[type=range]")
        classes = "[...document.querySelectorAll('[data-load=\"0\"] .wire')].map((wire) => wire.className.baseVal)"
        before = seen.page.evaluate(classes)
        assert slider.get_attribute("aria-valuetext") == "mean over the measured part"
        slider.focus()
        seen.page.keyboard.press("ArrowRight")
        assert "s after the start" in slider.get_attribute("aria-valuetext")
        assert seen.page.evaluate(classes) != before
        seen.page.keyboard.press("End")
        assert "finished" in seen.page.inner_text(".fabric-run[data-scheme=gse1] output")
        seen.page.keyboard.press("Home")
        assert seen.page.evaluate(classes) == before
        seen.quiet()


def test_values_are_read_by_arrow_keys_and_by_the_pointer_and_ranges_zoomed(
    browser: Any, files: dict[str, Path]
) -> None:
    with Seen(browser, files["reference"]) as seen:
        chart = seen.page.query_selector("#q1-queues .chart")
        chart.focus()
        seen.page.keyboard.press("ArrowRight")
        said = seen.page.inner_text("#tip")
        assert "ecmp" in said and "leaf to spine" in said
        ticks = "[...document.querySelectorAll('#q1-queues .chart .tick')].map((tick) => tick.textContent).join()"
        before = seen.page.evaluate(ticks)
        seen.page.keyboard.press("+")
        assert seen.page.evaluate(ticks) != before
        seen.page.keyboard.press("0")
        assert seen.page.evaluate(ticks) == before
        seen.page.keyboard.press("Escape")
        assert not seen.page.is_visible("#tip")
        cover = seen.page.query_selector("#q1-queues .cover")
        cover.scroll_into_view_if_needed()
        box = cover.bounding_box()
        seen.page.mouse.move(box["x"] + 80, box["y"] + 60)
        assert seen.page.is_visible("#tip")
        seen.shot("hover", full=False)
        seen.page.mouse.down()
        seen.page.mouse.move(box["x"] + 200, box["y"] + 60)
        seen.page.mouse.up()
        assert seen.page.evaluate(ticks) != before
        seen.page.click("#q1-queues button[aria-label='show the whole range']")
        assert seen.page.evaluate(ticks) == before
        seen.quiet()


def test_a_scheme_that_is_switched_off_is_gone_from_every_figure(browser: Any, files: dict[str, Path]) -> None:
    with Seen(browser, files["reference"]) as seen:
        count = "document.querySelectorAll('.chart [data-scheme=ecmp]').length"
        assert seen.page.evaluate(count) > 3
        seen.page.uncheck("fieldset.schemes input[value=ecmp]")
        assert seen.page.evaluate(count) == 0
        assert not seen.page.is_visible(".fabric-run[data-scheme=ecmp]")
        assert seen.page.evaluate("document.querySelector('svg.bars [data-scheme=ecmp]').classList.contains('off')")
        seen.page.check("fieldset.schemes input[value=ecmp]")
        assert seen.page.evaluate(count) > 3
        seen.quiet()


def test_the_page_can_be_made_dark_and_light(browser: Any, files: dict[str, Path]) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with Seen(browser, files["faults"]) as seen:
        light = seen.page.evaluate(paper)
        seen.page.click("#theme")
        dark = seen.page.evaluate(paper)
        assert dark != light
        seen.page.click("#theme")
        assert seen.page.evaluate(paper) == light
    with Seen(browser, files["faults"], theme="dark") as seen:
        assert seen.page.evaluate(paper) == dark


def test_who_asks_for_less_motion_gets_no_button_that_plays(browser: Any, files: dict[str, Path]) -> None:
    for motion, buttons in (("no-preference", 1), ("reduce", 0)):
        with Seen(browser, files["faults"], reduced_motion=motion) as seen:
            assert len(seen.page.query_selector_all(".slider button")) == buttons


def test_without_scripts_the_answer_is_there(browser: Any, files: dict[str, Path]) -> None:
    with Seen(browser, files["reference"], java_script_enabled=False) as seen:
        assert seen.page.is_visible("svg.bars") and seen.page.is_visible("svg.fabric")
        assert seen.page.is_visible(".wants-script")
        seen.shot("reference-without-script")


def test_a_strangers_markup_runs_nothing(browser: Any, tmp_path: Path) -> None:
    from tests.unit.test_report_page import HOSTILE

    (found,) = stored(tmp_path, healthy(scenario_of()))
    strange = Run(found.path, {**found.manifest, "versions": {"commit": HOSTILE, "kernel": HOSTILE}}, found.summary)
    strange.__dict__["scenario"] = found.scenario.model_copy(update={"question": HOSTILE, "expectation": HOSTILE})
    path = tmp_path / "strange.html"
    path.write_text(html_page(report([strange], [], allow_invalid=True)))
    with Seen(browser, path) as seen:
        assert seen.page.evaluate("document.querySelectorAll('script').length") == 2
        assert seen.page.evaluate("document.querySelectorAll('img').length") == 0
        assert "pwned()" in seen.page.inner_text("h2")
        seen.quiet()
    # and what would get past escaping is stopped by the page's own policy
    path.write_text(
        path.read_text().replace(
            "</main>", "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script></main>"
        )
    )
    with Seen(browser, path) as seen:
        assert seen.page.evaluate("window.pwned") is None
        assert any("Content Security Policy" in line for line in seen.said)
