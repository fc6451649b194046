"""The page of a report: what it shows is what was stored, nothing in it is a stranger's markup, nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evaluation.records import RunRecord
from testbed.results.run import Run
from testbed.views.comparison import compare
from testbed.views.report.document import Report, report
from testbed.views.report.fabric_map import fabric_map
from testbed.views.report.figures import BARS, bar_figures
from testbed.views.report.markup import document_text, element, json_for_script, preformatted, tell_apart
from testbed.views.report.page import page
from testbed.views.report.svg import LEVELS, level
from testbed.views.sweep import sweep_results
from tests.unit.synthetic_runs import healthy, scenario_of, with_rows
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over
from tests.unit.test_plots import FAULTS, with_faults
from tests.unit.test_tables import stored, three_seeds, with_rate_error

HOSTILE = "</script><script>pwned()</script><img src=x onerror=pwned()>\"' onload=pwned() \x1b[2J\ud800{{}}"
VOID = {"meta", "input", "br", "link", "img"}


class Reader(HTMLParser):
    """Every element with its attributes, its text, and whether all that were opened were closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


class Landmarks(HTMLParser):
    """Role and name of every landmark that has a name, in the order of the page."""

    ROLES = {"nav": "navigation", "section": "region", "aside": "complementary", "form": "form"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []  # role, name, id of what names it
        self.texts: dict[str, str] = {}
        self.open: list[str | None] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        role = has.get("role") or self.ROLES.get(tag)
        if role in self.ROLES.values() and {"aria-label", "aria-labelledby"} & set(has):
            self.found.append((role or "", has.get("aria-label") or "", has.get("aria-labelledby") or ""))
        if tag not in VOID:
            self.open.append(has.get("id"))

    def handle_endtag(self, _tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for name in self.open:
            if name is not None:
                self.texts[name] = self.texts.get(name, "") + data

    @property
    def names(self) -> list[tuple[str, str]]:
        return [(role, " ".join((label or self.texts[by]).split()).casefold()) for role, label, by in self.found]


def html_of(runs: list[Run], **options: Any) -> str:
    return page(report(runs, [], **{"allow_invalid": False, **options}))


def charts_of(text: str) -> list[dict[str, Any]]:
    found = re.search(r'<script id="report-data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return list(json.loads(found[1])["charts"])


def test_the_page_is_well_formed_and_has_every_part(tmp_path: Path) -> None:
    read = Reader(html_of(three_seeds(tmp_path)))
    assert read.open == []
    assert [tag for tag in ("html", "head", "body", "main", "h1") if len(read.of(tag)) != 1] == []
    titles = " ".join(read.texts["h3"])
    assert (
        titles == "Bus bandwidth as a share of the physical limit Verdicts Figures Tables Settings Provenance Reproduce"
    )
    ids = [attributes["id"] for _tag, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(attributes["href"])[1:] for attributes in read.of("a")}
    assert targets <= set(ids)
    assert [text for text in read.texts["a"] if text in read.texts["h3"]] == read.texts["h3"][1:], "a link to each part"
    for _tag, attributes in read.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids


def several(tmp_path: Path) -> Report:
    """Two questions in the same words, with faults, and one sweep twice."""
    scenario = scenario_of(faults=FAULTS, measure={"sample_interval_s": 0.05})
    runs = stored(
        tmp_path / "runs",
        *(with_faults(healthy(scenario, scheme=scheme)) for scheme in ("ecmp", "gse1")),
        healthy(scenario_of(fabric={"spines": 3})),
    )
    swept = sweep_results(stored_sweep(tmp_path / "sweep", sweep_over()))
    return report(runs, [swept, swept], allow_invalid=True, native_gbps=200.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: report(three_seeds(path), [], allow_invalid=False),
        lambda path: report([], [sweep_results(stored_sweep(path, sweep_over()))], allow_invalid=True),
        several,
    ],
    ids=["runs", "sweep", "several"],
)
def test_no_two_landmarks_share_their_name(make: Callable[[Path], Report], tmp_path: Path) -> None:
    made = make(tmp_path)
    names = Landmarks(page(made)).names
    assert len(names) > 12
    assert all(name for _role, name in names)
    assert sorted(names) == sorted(set(names))
    assert ("region", "verdicts") in names
    told_apart = [name for _role, name in names if ", question " in name]
    # in one question nothing has to be told apart: parts, tables and figures' numbers have words of their own
    assert bool(told_apart) == (len(made.sections) > 1)
    assert not [name for name in told_apart if name.endswith("question 1")]


def test_landmarks_are_told_apart_as_readers_software_compares_them() -> None:
    def part(name: str) -> Any:
        return element("section", element("h3", name, id=f"h-{name}"), aria_labelledby=f"h-{name}")

    one = element("div", part("Verdicts"), element("div", role="region", aria_label="verdicts"))
    other = element("div", element("nav", aria_label="Verdicts"), *(element("section", aria_label="X") for _ in "abc"))
    tell_apart([one, other])
    assert [(node.get("aria-label"), node.get("aria-labelledby")) for node in (*one, *other)] == [
        (None, "h-Verdicts"),
        ("verdicts, question 1", None),
        ("Verdicts", None),  # of another role
        ("X", None),
        ("X, question 2", None),
        ("X, question 2 (2)", None),
    ]


def test_nothing_is_loaded_and_only_our_script_and_style_may_run(tmp_path: Path) -> None:
    text = html_of(three_seeds(tmp_path))
    read = Reader(text)
    assert {tag for tag, _attributes in read.elements} & {"link", "img", "iframe", "object", "embed", "base"} == set()
    for _tag, attributes in read.elements:
        assert not {"src", "srcset", "style", "action", "xlink:href"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    (policy,) = [a["content"] for a in read.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    *_data, script = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    for code in (style, script):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'" in policy


def hostile(run: RunRecord) -> RunRecord:
    """Return the run with a stranger's words in it."""
    events = tuple({**event, "target": HOSTILE} if event["event"] == "fault" else event for event in run.events)
    return replace(run, events=events, scenario=run.scenario.model_copy(update={"question": HOSTILE}))


def test_what_a_stranger_wrote_is_text(tmp_path: Path) -> None:
    run = with_faults(healthy(scenario_of(faults=FAULTS, measure={"sample_interval_s": 0.05})))
    strangers = []
    for found in stored(tmp_path, run, with_faults(healthy(run.scenario, scheme="ecmp"))):
        manifest = {
            **found.manifest,
            "versions": {HOSTILE: HOSTILE, "commit": HOSTILE, "packages": {HOSTILE: HOSTILE}},
            "machine": {"cpu": HOSTILE},
            "started_utc": HOSTILE,
            "events": [{**e, "target": HOSTILE} if e["event"] == "fault" else e for e in found.manifest["events"]],
        }
        summary = {
            **(found.summary or {}),
            "verdict": "SUSPECT",
            "reasons": [HOSTILE],
            "details": {"bottleneck": HOSTILE},
        }
        one = Run(found.path, manifest, summary)
        one.__dict__["scenario"] = found.scenario.model_copy(update={"question": HOSTILE, "expectation": HOSTILE})
        strangers.append(one)
    text = html_of(strangers)
    text.encode()  # can be written
    read = Reader(text)
    assert read.open == []
    assert len(read.of("script")) == 2
    assert read.of("img") == []
    assert not [name for _tag, attributes in read.elements for name in attributes if name.startswith("on")]
    assert "pwned()" in " ".join(read.texts["h2"])
    assert "\x1b" not in text
    marks = [mark["text"] for chart in charts_of(text) for mark in chart.get("marks", [])]
    assert marks and all("</script>" in mark for mark in marks)


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists, max_leaves=8))
def test_data_in_a_script_end_nothing_and_come_back_as_they_were(value: Any) -> None:
    text = json_for_script([value])
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == [value]


@given(st.text(), st.text())
def test_text_and_attributes_come_back_as_text(text: str, attribute: str) -> None:
    read = Reader(document_text(element("p", text, "tail", title=attribute)))
    assert [tag for tag, _attributes in read.elements] == ["p"]
    assert read.open == []
    assert len(Reader(document_text(preformatted(text))).elements) == 2


def test_the_key_figure_shows_every_run_and_its_caption_the_numbers(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    made = report(runs, [], allow_invalid=False)
    key = made.sections[0].bars[0]
    drawn = [(bar.scheme, [point.value for point in bar.points]) for bar in key.bars]
    for scheme, values in drawn:
        assert values == [run.summary["efficiency"] for run in runs if run.summary and run.scheme == scheme]
    for bar in key.bars:
        assert f"{bar.scheme} {bar.spread.mean:.3f}" in key.caption
    assert key.limit == 1.0
    read = Reader(page(made))
    assert len([a for a in read.of("circle") if "run" in str(a.get("class")).split()]) == sum(
        len(bar.points) for bars in made.sections[0].bars for bar in bars.bars
    )


def test_the_model_has_its_mark_its_words_and_its_numbers(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    (comparison,) = compare(runs, allow_invalid=False)
    made = report(runs, [], allow_invalid=False)
    key, time, probes = made.sections[0].bars
    for bars, name, digits in ((key, "efficiency", 3), (time, "completion_s", 2)):
        values = {scheme: getattr(one, name) for scheme, one in comparison.modelled.items()}
        assert {bar.scheme: bar.modelled for bar in bars.bars} == values and set(values) == {"ecmp", "gse1"}
        unit = f" {bars.unit}" if bars.unit else ""
        said = "; ".join(f"{scheme} {value:.{digits}f}{unit}" for scheme, value in values.items())
        assert f"Open triangles: what the fluid model has for the same seeds: {said}." in bars.alt
        assert bars.most >= max(values.values())
    assert not probes.has_model and "fluid model" not in probes.caption
    text = page(made)
    read = Reader(text)
    tips = [a["data-tip"] for a in read.of("path") if a.get("class") == "model" and a.get("data-tip")]
    assert tips == [
        f"fluid model, {bar.scheme}: {bars.text(bar.modelled or 0)}" for bars in (key, time) for bar in bars.bars
    ]
    assert read.texts["li"].count("fluid model") == 2  # a legend below each
    assert text.count('<td class="word">mean</td><td class="word">fluid model</td>') == 4


def test_where_the_model_has_nothing_pages_do_not_mention_it(tmp_path: Path) -> None:
    slices = scenario_of(workload={"kind": "collective", "collective": "allreduce/double_tree"})
    made = report(stored(tmp_path, healthy(slices)), [], allow_invalid=False)
    assert [bar.modelled for bars in made.sections[0].bars for bar in bars.bars] == [None] * len(made.sections[0].bars)
    before_the_script, script, _rest = page(made).rpartition("<script>")
    assert script and "fluid model" not in before_the_script and 'class="model"' not in before_the_script


def test_what_was_not_measured_has_no_figure(tmp_path: Path) -> None:
    run = with_rows(healthy(scenario_of()), links=[], queues=[], probes=[])
    (section,) = report(stored(tmp_path, run), [], allow_invalid=False).sections
    assert (section.fabric, section.lines) == (None, ())
    assert [bars.key for bars in section.bars] == ["efficiency", "completion_s"]


def test_invalid_runs_are_counted_and_explained_but_not_drawn_unless_told(tmp_path: Path) -> None:
    runs = stored(tmp_path, healthy(scenario_of()), with_rate_error(healthy(scenario_of(), seed=2), -0.2))
    for allowed, points in ((False, 1), (True, 2)):
        (section,) = report(runs, [], allow_invalid=allowed).sections
        assert section.counts == {"VALID": 1, "INVALID": 1}
        assert len(section.bars[0].bars[0].points) == points
        assert any("seed 2 INVALID: link rate off by 20.0%" in note for note in section.verdicts.notes)
    assert any(
        "1 INVALID run left out" in answer for answer in report(runs, [], allow_invalid=False).sections[0].answers
    )


def test_a_question_whose_runs_are_all_invalid_has_a_page_that_says_so(tmp_path: Path) -> None:
    runs = stored(tmp_path, with_rate_error(healthy(scenario_of()), -0.2))
    text = html_of(runs)
    assert "no usable run" in text and "link rate off by 20.0%" in text
    assert Reader(text).open == []


def test_several_questions_have_a_section_each(tmp_path: Path) -> None:
    runs = stored(tmp_path, healthy(scenario_of()), healthy(scenario_of(fabric={"spines": 3})))
    read = Reader(html_of(runs))
    assert [a["id"] for a in read.of("section") if a.get("class") == "question"] == ["q1", "q2"]


def test_sections_of_one_question_are_told_apart_in_the_list_of_them(tmp_path: Path) -> None:
    asked = {"question": "Which is faster?"}
    runs = stored(tmp_path, healthy(scenario_of(**asked)), healthy(scenario_of(**asked, fabric={"spines": 4})))
    listed = html_of(runs).partition('aria-label="Questions"')[2].partition("</nav>")[0]
    texts = re.findall(r'<a href="#q\d">([^<]*)</a>', listed)
    assert len(texts) == len(set(texts)) == 2 and "2x4x2" in texts[1], listed


def test_a_sweep_has_its_figure_with_every_run_and_its_tables(tmp_path: Path) -> None:
    made = report([], [sweep_results(stored_sweep(tmp_path, sweep_over()))], allow_invalid=False)
    text = page(made)
    (chart,) = charts_of(text)
    assert chart["x_log"] and [tick["text"] for tick in chart["ticks"]] == ["16", "32", "256"]
    points = [point for series in chart["panels"][0]["series"] for point in series["points"]]
    assert len(points) == 12
    model = [series["modelled"] for series in chart["panels"][0]["series"]]
    assert [len(own) for own in model] == [3, 3] and all(0.9 < value < 1 for own in model for value in own)
    assert not any(series["modelled"] for panel in chart["panels"][1:] for series in panel["series"])
    assert "Open triangles: what the fluid model has for the same seeds" in made.sections[0].lines[0].caption
    assert {point["verdict"] for point in points} <= {"VALID", "SUSPECT"}
    assert "gse2-n2n: efficiency (share of the limit) 0.985 at every value." in made.sections[0].lines[0].caption
    assert made.sections[0].answers[0].startswith("gse2-n2n: efficiency")
    assert Reader(text).open == []


def test_every_link_is_drawn_once_per_direction_with_its_load(tmp_path: Path) -> None:
    (section,) = report(stored(tmp_path, healthy(scenario_of())), [], allow_invalid=False).sections
    fabric = section.fabric
    assert fabric is not None
    assert len(fabric.wires) == len(set((w.x1, w.y1, w.x2, w.y2) for w in fabric.wires)) == 2 * (2 * 2 + 4)
    (load,) = fabric.loads
    assert all(len(one) == len(load.times_s) for one in load.percents)
    busiest = max(max(one) for one in load.percents)
    assert 80 <= busiest <= 105
    assert load.times_s[-1] >= load.lasted_s


def test_means_and_peaks_of_links_are_of_all_samples_also_where_fewer_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (comparison,) = compare(stored(tmp_path, healthy(scenario_of())), allow_invalid=True)
    every = fabric_map(comparison)
    monkeypatch.setattr("testbed.views.report.fabric_map.MOST_MOMENTS", 3)
    few = fabric_map(comparison)
    assert every is not None and few is not None
    assert len(few.loads[0].times_s) <= 3 < len(every.loads[0].times_s)
    assert (few.loads[0].means, few.loads[0].peaks) == (every.loads[0].means, every.loads[0].peaks)
    assert few.table == every.table


def test_a_fabric_too_large_to_see_is_not_drawn(tmp_path: Path) -> None:
    big = scenario_of(fabric={"leaves": 24, "spines": 24, "hosts_per_leaf": 1}, workload={"ranks": 2})
    (comparison,) = compare(stored(tmp_path, healthy(big)), allow_invalid=True)
    assert fabric_map(comparison) is None


@pytest.mark.parametrize(
    ("percent", "wanted"), [(-1, "none"), (0, "u0"), (4, "u0"), (50, "u5"), (100, "u10"), (130, "u10")]
)
def test_loads_have_a_level_each(percent: int, wanted: str) -> None:
    assert level(percent) == wanted
    assert LEVELS == 10


def test_runs_without_a_completion_show_what_they_have(tmp_path: Path) -> None:
    alone = {"kind": "permutation", "mice_interval_ms": 20.0, "mice_only_s": 3.0}
    (comparison,) = compare(stored(tmp_path, healthy(scenario_of(workload=alone))), allow_invalid=False)
    keys = [bars.key for bars in bar_figures(comparison)]
    assert keys and set(keys) <= {"-".join(one.keys) for one in BARS} - {"completion_s"}


def test_the_same_runs_make_the_same_page(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    assert html_of(runs) == html_of(runs)


def test_an_empty_report_is_no_page_of_nothing() -> None:
    assert page(Report(())).startswith("<!DOCTYPE html>")
