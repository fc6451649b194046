"""What a table and a figure say of a sweep with runs that are fine, doubtful, useless, failed and missing."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from rich.console import Console
from synthetic_runs import with_rows
from synthetic_sweeps import CONTAINERS, NOW_UTC, stored_sweep, sweep_over, with_rate_error

from testbed.evaluation.records import RunRecord
from testbed.model.sweep import Sweep, SweepRun
from testbed.results.sweeps import create_sweep
from testbed.views.colours import SCHEME_COLOURS
from testbed.views.paper import headed_figure
from testbed.views.predicted import modelled
from testbed.views.report.sweep_figures import sweep_lines
from testbed.views.sweep import SweepResults, axis_of, sweep_results, without_shared
from testbed.views.sweep_plot import curves, draw_sweep
from testbed.views.sweep_table import sweep_grids, sweep_table


def mixed(run: SweepRun, record: RunRecord) -> RunRecord | str | None:
    """Of 16 KiB under N2N: a failed run, an INVALID and a SUSPECT one; under E2E one that was not made."""
    if run.point == 0 and run.scheme == "gse2-n2n":
        spoilt = {1: "a rank died\nand more", 2: with_rate_error(record, 0.2), 3: with_rate_error(record, 0.05)}
        return spoilt[run.seed]
    if (run.point, run.scheme, run.seed) == (0, "gse2-e2e", 3):
        return None
    waits = {"dgsq_wait_ms": {"p50": 1.0 * run.seed, "p99": 10.0 * run.seed}}
    return replace(record, events=tuple(e if e["event"] != "agents" else {**e, **waits} for e in record.events))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    folder = tmp_path_factory.mktemp("results")
    return sweep_results(stored_sweep(folder, sweep_over(values=("16K", "256K"), seeds=(1, 2, 3)), mixed))


def cells(results: SweepResults, text: str, scheme: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for grid in sweep_grids(results):
        (row,) = (row for row in grid.rows if row[:2] == (text, scheme))
        found |= dict(zip((header.replace("\n", " ") for header in grid.headers), row, strict=True))
    return found


def test_medians_leave_out_what_is_invalid_failed_or_missing_and_counts_do_not(results: SweepResults) -> None:
    bad = cells(results, "16 KiB", "gse2-n2n")
    assert (bad["verdicts"], bad["runs"]) == ("1 SUSPECT, 1 INVALID, 1 FAILED", "2/3")
    assert bad["efficiency"] == "0.985"  # of one run: no range
    partly = cells(results, "16 KiB", "gse2-e2e")
    assert (partly["verdicts"], partly["runs"]) == ("2 VALID, 1 NOT RUN", "2/3")
    good = cells(results, "256 KiB", "gse2-n2n")
    assert (good["verdicts"], good["runs"]) == ("3 VALID", "3")
    assert (good["DGSQ wait p50 ms"], good["DGSQ wait p99 ms"]) == ("2.0", "20.0")  # the median of 1, 2, 3
    assert good["control frames"] == "25.0%"  # 100 of 100 + 300
    assert good["agents' cores"] == "-"  # no thread of an agent in this made-up run


def test_nothing_is_left_out_unsaid(results: SweepResults) -> None:
    text = "\n".join(sweep_grids(results)[-1].notes)
    assert "1 INVALID run(s) are in no median" in text
    assert "1 of 12 runs failed and have no numbers" in text
    assert "1 of 12 runs were not made" in text
    assert "16 KiB gse2-n2n seed 1 FAILED: a rank died\n" in text
    assert "16 KiB gse2-n2n seed 2 INVALID: link rate off by 20.0%" in text
    assert "changing along: spread_slack" in text


def test_the_document_has_every_run_and_null_for_what_is_missing(results: SweepResults) -> None:
    document = json.loads(json.dumps(results.document()))
    assert document["values"] == [16_384, 262_144]
    assert document["verdicts"] == {"VALID": 8, "SUSPECT": 1, "INVALID": 1, "FAILED": 1, "NOT RUN": 1}
    assert len(document["runs"]) == 12
    assert [run["seed"] for run in document["runs"]] == [1] * 4 + [2] * 4 + [3] * 4  # as they were made
    by_verdict = {run["verdict"]: run for run in document["runs"]}
    assert by_verdict["FAILED"]["reasons"] == ["a rank died\nand more"]
    assert by_verdict["FAILED"]["run_dir"].endswith(".failed")
    assert (by_verdict["NOT RUN"]["run_dir"], by_verdict["NOT RUN"]["efficiency"]) == (None, None)
    assert by_verdict["INVALID"]["efficiency"] == pytest.approx(0.985, abs=1e-3)
    point = next(one for one in document["points"] if (one["value"], one["scheme"]) == (262_144, "gse2-n2n"))
    assert point["dgsq_wait_p99_ms"] == {"median": 20.0, "smallest": 10.0, "largest": 30.0, "runs": 3}
    assert point["agent_cores"] is None


def markers(axes: Axes, kind: str) -> list[Any]:
    return [line for line in axes.lines if line.get_marker() == kind]


def test_the_figure_shows_every_run_as_what_it_is(results: SweepResults) -> None:
    drawn = curves(results)
    assert drawn is not None
    figure, caption = drawn
    efficiency, wait, control = figure.axes
    assert [axes.get_ylabel().partition(" (")[0] for axes in figure.axes] == [
        "efficiency",
        "p99 wait in the DGSQ",
        "control frames",
    ]
    (invalid,) = markers(efficiency, "x")
    assert invalid.get_markeredgecolor() == "red"
    hollow = [line for line in markers(efficiency, "o") if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1  # SUSPECT
    assert len(markers(efficiency, "o")) == 4 and len(markers(efficiency, "s")) == 5  # 12 runs less INVALID and two
    limits = [line for line in efficiency.lines if line.get_linestyle() == "--"]
    assert [set(line.get_ydata()) for line in limits] == [{1.0}]  # type: ignore[arg-type]
    assert efficiency.get_ylim()[1] > 1
    through = [line for line in wait.lines if line.get_marker() == "None"]
    assert sorted(list(line.get_ydata()) for line in through) == [[15.0, 20.0], [20.0, 20.0]]  # type: ignore[arg-type]
    assert wait.get_ylim()[0] == control.get_ylim()[0] == 0
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        assert axes.get_xlabel() == "gsp.container_bytes (KiB)"
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "256"]
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {
        "gse2-n2n",
        "gse2-e2e",
        "physical limit",
        "fluid model",
        "SUSPECT run",
        "INVALID run, not in the median",
    }
    assert "3 seeds per value and scheme; 8 VALID, 1 SUSPECT, 1 INVALID, 1 FAILED, 1 NOT RUN" in caption


def test_a_line_is_broken_where_no_run_counts(tmp_path: Path) -> None:
    def spoil(run: SweepRun, record: RunRecord) -> RunRecord:
        return with_rate_error(record, 0.2) if (run.point, run.scheme) == (1, "gse2-n2n") else record

    drawn = curves(sweep_results(stored_sweep(tmp_path, sweep_over(seeds=(1,)), spoil)))
    assert drawn is not None
    through = [line for line in drawn[0].axes[0].lines if line.get_marker() == "None" and line.get_linestyle() == "-"]
    known = sorted([bool(y == y) for y in line.get_ydata()] for line in through)  # type: ignore[union-attr]
    assert known == [[True, False, True], [True, True, True]]


def test_ticks_that_would_touch_are_turned(tmp_path: Path) -> None:
    def angle(values: tuple[str, ...]) -> float:
        drawn = curves(sweep_results(stored_sweep(tmp_path, sweep_over("workload.size_bytes", values, seeds=(1,)))))
        assert drawn is not None
        return float(drawn[0].axes[0].get_xticklabels()[0].get_rotation())

    assert (angle(("64K", "256K", "1M", "4M")), angle(("64K", "256K", "1M", "2M", "4M"))) == (0.0, 45.0)


def test_the_figure_is_written_with_its_numbers_and_always_the_same(results: SweepResults) -> None:
    paths = draw_sweep(results)
    assert sorted(path.name for path in paths) == ["curves.json", "curves.png", "curves.svg"]
    before = [path.read_bytes() for path in paths]
    found = json.loads((results.stored.path / "curves.json").read_text())
    assert found["points"] == json.loads(json.dumps(results.document()["points"]))
    assert found["versions"] == [{"gse_testbed": "0.0.0 synthetic", "commit": "0123456789"}]
    assert found["caption"].startswith("synthetic over gsp.container_bytes; 2x2x2")
    assert [path.read_bytes() for path in draw_sweep(results)] == before


def test_a_quantity_every_scheme_has_is_preferred(tmp_path: Path) -> None:
    sweep = sweep_over(values=("16K", "32K"), schemes=("ecmp", "gse2-n2n"), seeds=(1,))
    results = sweep_results(stored_sweep(tmp_path, sweep))
    drawn = curves(results)
    assert drawn is not None
    assert [axes.get_ylabel() for axes in drawn[0].axes][1:] == [
        "p99 latency of probes (ms)",
        "p50 latency of probes (ms)",
    ]
    assert "ecmp: no agents, so gsp.container_bytes changes nothing there" in results.notes()
    assert cells(results, "16 KiB", "ecmp")["DGSQ wait p99 ms"] == "-"


def test_panels_without_numbers_are_left_out(tmp_path: Path) -> None:
    def bare(_run: SweepRun, record: RunRecord) -> RunRecord:
        return with_rows(record, probes=[])

    sweep = sweep_over("fabric.spines", (2, 3), schemes=("gse1",), seeds=(1,))
    results = sweep_results(stored_sweep(tmp_path, sweep, bare))
    drawn = curves(results)
    assert drawn is not None
    assert len(drawn[0].axes) == 1
    assert cells(results, "2", "gse1")["probes p50 ms"] == "-"
    assert results.heading.startswith("synthetic over fabric.spines; with 2: 2x2x2 leaves")  # it differs between them


def test_medians_of_words_are_dashes_not_a_line_from_word_to_word(tmp_path: Path) -> None:
    sweep = sweep_over("gsp.retransmit", (False, True), seeds=(1,))
    drawn = curves(sweep_results(stored_sweep(tmp_path, sweep)))
    assert drawn is not None
    dashes = [line for line in drawn[0].axes[1].lines if line.get_marker() == "None"]
    middles = sorted(sum(line.get_xdata()) / 2 for line in dashes)  # type: ignore[arg-type]
    assert middles == pytest.approx([-0.15, 0.15, 0.85, 1.15])  # two schemes beside each of two words
    assert all(abs(line.get_xdata()[1] - line.get_xdata()[0]) < 0.3 for line in dashes)  # type: ignore[index, operator]


COLLECTIVES = ("allreduce", "broadcast", "broadcast/tree", "all_gather/doubling", "all_to_all", "sendrecv")


def test_many_words_have_a_panel_per_scheme_and_a_line_each(tmp_path: Path) -> None:
    def one_wrong(run: SweepRun, record: RunRecord) -> RunRecord:
        if (run.point, run.scheme) != (2, "gse1"):
            return record
        rows = [replace(row, wrong_elements=3) for row in record.tables.iterations]
        return with_rows(record, iterations=rows)

    work = {"kind": "collective", "size_bytes": 262_144}
    sweep = sweep_over("workload.collective", COLLECTIVES, schemes=("ecmp", "gse1"), seeds=(1, 2), workload=work)
    results = sweep_results(stored_sweep(tmp_path, sweep, one_wrong))
    drawn = curves(results)
    assert drawn is not None
    figure, caption = drawn
    assert [axes.get_title() for axes in figure.axes] == ["ecmp", "gse1"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == list(COLLECTIVES)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low > high, "as in the sweep, from top to bottom"
        points = [line for line in axes.lines if line.get_marker() in ("o", "x")]
        assert sorted(float(line.get_ydata()[0]) for line in points) == sorted([*range(6)] * 2)  # type: ignore[index]
    assert [text.get_text() for text in figure.axes[1].texts] == ["9 wrong"] * 2  # three iterations of either seed
    assert list(figure.axes[0].texts) == []
    assert "Wrong elements: 18 in 24 runs." in caption
    assert "Bytes on hosts' links off their formula: at most 0." in caption
    wrong = cells(results, "broadcast/tree", "gse1")
    assert (wrong["wrong elements"], cells(results, "sendrecv", "ecmp")["wrong elements"]) == ("18", "0")
    assert wrong["bytes off"] == "-", "wrong sums make a run INVALID, and such runs are in no median"
    assert float(cells(results, "sendrecv", "ecmp")["bytes off"].removesuffix("%")) < 1
    assert len(draw_sweep(results)) == 3


def dotted(axes: Axes) -> list[tuple[str, list[float], list[float]]]:
    """Return colour, x and y of what the model has."""
    found = [line for line in axes.lines if line.get_linestyle() == ":"]
    return [(str(line.get_color()), list(line.get_xdata()), list(line.get_ydata())) for line in found]  # type: ignore[arg-type]


def test_the_model_stands_beside_every_value_and_scheme_it_knows(tmp_path: Path) -> None:
    sweep = sweep_over("fabric.spines", (1, 2, 4), schemes=("ecmp", "flowlet", "gse1"), seeds=(1, 2, 3))

    def spoil(run: SweepRun, record: RunRecord) -> RunRecord | None:
        return None if (run.point, run.scheme) == (2, "gse1") else record

    results = sweep_results(stored_sweep(tmp_path, sweep, spoil))
    points = {(one["value"], one["scheme"]): one for one in results.document()["points"]}
    for spines, scenario in zip((1, 2, 4), sweep.points, strict=True):
        hashed = modelled(scenario, "ecmp", (1, 2, 3))
        assert hashed is not None
        assert points[spines, "ecmp"]["modelled_efficiency"] == hashed.median_efficiency
        assert cells(results, str(spines), "ecmp")["model"] == f"{hashed.median_efficiency:.3f}"
        assert points[spines, "flowlet"]["modelled_efficiency"] is None
        assert cells(results, str(spines), "flowlet")["model"] == "-"
    placed = [points[spines, "gse1"]["modelled_efficiency"] for spines in (1, 2, 4)]
    assert placed[0] is not None and placed[1] is not None and placed[2] is None  # there is no run there
    drawn = curves(results)
    assert drawn is not None
    figure, caption = drawn
    found = {colour: y for colour, _x, y in dotted(figure.axes[0])}
    assert set(found) == {SCHEME_COLOURS["ecmp"], SCHEME_COLOURS["gse1"]}
    assert found[SCHEME_COLOURS["ecmp"]] == [points[spines, "ecmp"]["modelled_efficiency"] for spines in (1, 2, 4)]
    assert found[SCHEME_COLOURS["gse1"]][:2] == placed[:2] and isnan(found[SCHEME_COLOURS["gse1"]][2])
    assert [dotted(axes) for axes in figure.axes[1:]] == [[]] * len(figure.axes[1:])
    assert "dotted: what the fluid model" in caption
    draw_sweep(results, formats=())
    assert json.loads((results.stored.path / "curves.json").read_text())["points"] == results.document()["points"]


def test_where_the_model_has_nothing_sweeps_do_not_mention_it(tmp_path: Path) -> None:
    work = {"kind": "collective", "collective": "allreduce/double_tree"}
    sweep = sweep_over("fabric.spines", (1, 2), schemes=("ecmp", "gse1"), seeds=(1,), workload=work)
    results = sweep_results(stored_sweep(tmp_path, sweep))
    assert [one["modelled_efficiency"] for one in results.document()["points"]] == [None] * 4
    grid = sweep_grids(results)[0]
    assert "model" not in grid.headers and "model" not in " ".join(grid.notes)
    drawn = curves(results)
    assert drawn is not None
    assert dotted(drawn[0].axes[0]) == [] and "fluid" not in drawn[1]
    assert "fluid model" not in [text.get_text() for text in drawn[0].legends[0].get_texts()]
    lines = sweep_lines(results, grid)
    assert lines is not None and "fluid" not in lines.caption


def test_at_words_the_model_has_dashes_and_among_many_triangles(tmp_path: Path) -> None:
    few = sweep_results(stored_sweep(tmp_path, sweep_over("gsp.retransmit", (False, True), seeds=(1,))))
    drawn = curves(few)
    assert drawn is not None
    assert dotted(drawn[0].axes[0]) == [] and "open triangles: what the fluid model" in drawn[1]
    found = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in markers(drawn[0].axes[0], "<"))
    model = few.modelled[0, "gse2-n2n"]
    assert [x for x, _y in found] == pytest.approx([middle + 0.07 for middle in (-0.15, 0.15, 0.85, 1.15)])
    assert {y for _x, y in found} == {model}
    work = {"kind": "collective", "size_bytes": 262_144}
    many = sweep_over("workload.collective", COLLECTIVES, schemes=("ecmp", "gse1"), seeds=(1,), workload=work)
    results = sweep_results(stored_sweep(tmp_path, many))
    figure, caption = curves(results) or (None, "")
    assert figure is not None
    known = results.modelled_of("gse1")
    assert 0 < len(known) < len(COLLECTIVES)  # some are played slice by slice
    marks = markers(figure.axes[1], "v")
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [
        (efficiency, point - 0.28) for point, efficiency in known.items()
    ]
    assert "open triangles: what the fluid model" in caption
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["physical limit", "fluid model"]


def test_a_page_says_what_the_crosses_of_a_sweep_are(results: SweepResults, tmp_path: Path) -> None:
    lines = sweep_lines(results, sweep_grids(results)[0])
    assert lines is not None and "INVALID ones are crosses, in no median." in lines.caption
    sound = sweep_results(stored_sweep(tmp_path, sweep_over()))
    told = sweep_lines(sound, sweep_grids(sound)[0])
    assert told is not None and "INVALID" not in told.caption


def test_many_words_show_the_interval_their_caption_names(tmp_path: Path) -> None:
    work = {"kind": "collective", "size_bytes": 262_144}
    sweep = sweep_over("workload.collective", COLLECTIVES, schemes=("gse1",), seeds=range(1, 7), workload=work)
    results = sweep_results(stored_sweep(tmp_path, sweep))
    drawn = curves(results)
    assert drawn is not None
    figure, caption = drawn
    assert "broad: 95% confidence interval of the median" in caption
    broad = [line for line in figure.axes[0].lines if line.get_linewidth() == 3.0]
    known = [[group.point] * 2 for group in results.of("gse1") if group.interval("efficiency") is not None]
    assert known and [list(line.get_ydata()) for line in broad] == known  # type: ignore[arg-type]


def test_where_nothing_has_a_limit_none_is_said_to_be_drawn(tmp_path: Path) -> None:
    alone = {"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 5.0}
    sweep = sweep_over("workload.mice_bytes", (512, 2048), schemes=("gse1",), seeds=(1,), workload=alone)
    drawn = curves(sweep_results(stored_sweep(tmp_path, sweep)))
    assert drawn is not None
    figure, caption = drawn
    assert [axes.get_ylabel() for axes in figure.axes] == ["p99 latency of probes (ms)", "p50 latency of probes (ms)"]
    assert "physical limit" not in caption
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gse1"]


def test_where_no_run_counts_nothing_is_drawn_and_the_table_says_why(tmp_path: Path) -> None:
    sweep = sweep_over(seeds=(1,), schemes=("gse2-n2n",))
    results = sweep_results(stored_sweep(tmp_path, sweep, lambda _run, record: with_rate_error(record, 0.2)))
    assert draw_sweep(results) == []
    assert cells(results, "16 KiB", "gse2-n2n")["efficiency"] == "-"
    nothing = sweep_results(create_sweep(tmp_path, sweep, NOW_UTC))
    assert draw_sweep(nothing) == []
    assert nothing.counts() == {"NOT RUN": 3}
    assert cells(nothing, "16 KiB", "gse2-n2n")["runs"] == "0/1"


@pytest.mark.parametrize(
    ("field", "values", "kind", "label", "ticks"),
    [
        (CONTAINERS, ("16K", "256K"), "log", "gsp.container_bytes (KiB)", ("16", "256")),
        (CONTAINERS, ("16K", "32K"), "linear", "gsp.container_bytes (KiB)", ("16", "32")),
        ("workload.size_bytes", (4096, "4M"), "log", "workload.size_bytes (KiB)", ("4", "4096")),
        ("workload.size_bytes", ("1M", "4M"), "linear", "workload.size_bytes (MiB)", ("1", "4")),
        ("fabric.delay_ms", (0, 1, 100), "linear", "fabric.delay_ms (ms)", ("0", "1", "100")),
        ("fabric.link_rate_mbps", (10, 100), "log", "fabric.link_rate_mbps (Mbit/s)", ("10", "100")),
        ("gsos.poll_interval_s", (1, 2), "linear", "gsos.poll_interval_s (s)", ("1", "2")),
        ("fabric.spines", (1, 2), "linear", "fabric.spines", ("1", "2")),
        ("gsp.window_bytes", (None, "64K"), "words", "gsp.window_bytes", ("unset", "64 KiB")),
        ("gsp.retransmit", (False, True), "words", "gsp.retransmit", ("false", "true")),
    ],
)
def test_values_stand_where_they_belong(
    tmp_path: Path, field: str, values: tuple[Any, ...], kind: str, label: str, ticks: tuple[str, ...]
) -> None:
    axis = axis_of(create_sweep(tmp_path, sweep_over(field, values), NOW_UTC))
    assert (axis.kind, axis.label, axis.ticks) == (kind, label, ticks)


def test_small_messages_have_columns_where_there_are_some(tmp_path: Path) -> None:
    mice = {"kind": "permutation", "mice_interval_ms": 50.0}
    sweep = sweep_over("workload.mice_bytes", (512, 2048), schemes=("gse1",), seeds=(1,), workload=mice)
    results = sweep_results(stored_sweep(tmp_path, sweep))
    assert cells(results, "2 KiB", "gse1")["mice p99 ms"] == "10.0"
    assert "mice p50 ms" in cells(results, "2 KiB", "gse1")


def test_tables_fit_a_terminal(results: SweepResults) -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(sweep_table(results))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"container_bytes +scheme +verdicts +efficiency +model +dropped +out of order", text)
    assert re.search(r"256 KiB +gse2-n2n +3 VALID +0\.98\d +0\.9\d\d +0 +0", text)
    assert re.search(r"256 KiB +gse2-n2n +3 +2\.0 +20\.0 +25\.0% +-", text)


@pytest.mark.parametrize(
    ("texts", "shared", "ticks"),
    [
        (("m/dp/1", "m/dp/8", "m/zero/1"), "m/", ("dp/1", "dp/8", "zero/1")),
        (("ring", "rings"), "", ("ring", "rings")),  # folders, not letters
        (("m/", "m/dp"), "", ("m/", "m/dp")),  # nothing would be left of one
        (("m/dp",), "", ("m/dp",)),
    ],
)
def test_what_all_words_begin_with_stands_once_at_the_axis(
    texts: tuple[str, ...], shared: str, ticks: tuple[str, ...]
) -> None:
    assert without_shared(texts) == (shared, ticks)


def test_a_value_that_looks_like_a_formula_or_an_escape_is_drawn_as_text(tmp_path: Path) -> None:
    """Words of a sweep of a stranger's; half a formula ended the command."""
    sweep = sweep_over(values=("16K", "256K"), seeds=(1,))
    strange = Sweep("gsp.mode", ("$\\frac{1}$ \x1b[2J", "$b"), sweep.points)
    assert strange.texts == ("$\\frac{1}$ \\x1b[2J", "$b")
    assert headed_figure(("a\x1b[2J\nb",), 10.0, 5.0).get_suptitle() == "a\\x1b[2J\\nb"  # whatever a heading is made of
    for many in (False, True):
        stored = stored_sweep(tmp_path / str(many), sweep)
        found = sweep_results(stored)
        words = SweepResults(replace(stored, sweep=strange), found.groups)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("testbed.views.sweep_plot.MOST_WORDS", 1 if many else 99)
            drawn = curves(words)
        assert drawn is not None
        buffer = io.StringIO()
        drawn[0].savefig(buffer, format="svg")
        assert "\x1b" not in buffer.getvalue()
