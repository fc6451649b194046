"""Figures are files: which are drawn, from what, and always the same."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from numpy.ma import filled

from testbed.errors import ResultsError
from testbed.evaluation.records import RunRecord
from testbed.model.scenario import SCHEMES
from testbed.results.run import Run, load
from testbed.views.colours import SCHEME_COLOURS
from testbed.views.comparison import Comparison, compare
from testbed.views.fault_lines import lines_of
from testbed.views.paper import CM, HEADING_LINE_CM, STYLE, without_heading
from testbed.views.plots import FIGURES, completion, draw_all, latency, messages, queues, timeline, uplinks
from testbed.views.report.charts import Lines
from testbed.views.report.fabric_map import UNKNOWN, fabric_map
from testbed.views.report.figures import line_figures
from testbed.views.tables import scheme_grid
from tests.unit.synthetic_runs import healthy, scenario_of, with_rows
from tests.unit.synthetic_sweeps import with_agents
from tests.unit.test_tables import stored, three_seeds, with_rate_error
from tests.unit.test_training_evaluation import TRAINING

# of a ring without small messages, other traffic and faults
EVERYTHING = sorted(
    f"{name}.{suffix}"
    for name in FIGURES
    if name not in ("messages", "flows", "timeline")
    for suffix in ("json", "png", "svg")
)
JSON_ONLY = ()  # formats, where it is not the picture that is asked about: making it takes longest


FAULTS = [{"t_s": 0.5, "action": "fail", "target": "l1-s1"}, {"t_s": 0.9, "action": "heal", "target": "l1-s1"}]


def with_faults(run: RunRecord) -> RunRecord:
    """Return the run with its scenario's faults made in time, which changed nothing."""
    start_s = run.tables.iterations[1].start_s  # the first is warm-up
    made = [
        {"event": "fault", "t_s": start_s + f.t_s, "action": f.action, "target": f.target} for f in run.scenario.faults
    ]
    return replace(run, events=(*run.events, *made))


def width_of_png(path: Path) -> int:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int(struct.unpack(">I", data[16:20])[0])


def height_of_png(path: Path) -> int:
    return int(struct.unpack(">I", path.read_bytes()[20:24])[0])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Run], list[Path]]:
    """Runs, and every figure of them; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn")
    runs = three_seeds(folder)
    return runs, draw_all(runs, folder / "figures", allow_invalid=False)


def test_every_figure_is_drawn_at_paper_size(drawn: tuple[list[Run], list[Path]]) -> None:
    paths = {path.name: path for path in drawn[1]}
    assert sorted(paths) == EVERYTHING
    inch = 2.54
    assert width_of_png(paths["latency.png"]) == int(8.5 / inch * 300)
    assert width_of_png(paths["completion.png"]) == int(17.0 / inch * 300)


def test_the_same_runs_make_the_same_bytes(drawn: tuple[list[Run], list[Path]], tmp_path: Path) -> None:
    runs, paths = drawn
    draw_all(runs, tmp_path, allow_invalid=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == EVERYTHING
    for path in paths:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_heading_can_be_left_out_and_is_in_the_file_beside(
    drawn: tuple[list[Run], list[Path]], tmp_path: Path
) -> None:
    runs, paths = drawn
    draw_all(runs, tmp_path / "bare", allow_invalid=False, heading=False)
    for path in (path for path in paths if path.suffix == ".png"):
        other = tmp_path / "bare" / path.name
        assert width_of_png(other) == width_of_png(path)
        assert height_of_png(other) < height_of_png(path)
        sidecar = path.with_suffix(".json").read_text()
        assert other.with_suffix(".json").read_text() == sidecar and "leaves x spines" in json.loads(sidecar)["caption"]
        svg = path.with_suffix(".svg").read_text()  # texts are comments beside their outlines
        assert "leaves x spines" in svg and "leaves x spines" not in other.with_suffix(".svg").read_text()


def test_without_its_heading_a_figure_is_as_much_lower(tmp_path: Path) -> None:
    (comparison,) = compare(three_seeds(tmp_path), allow_invalid=False)
    drawn = completion(comparison, 8.0)
    assert drawn is not None
    figure, _caption = drawn
    lines, height = figure.get_suptitle().count("\n") + 1, figure.get_figheight()
    assert lines > 1
    for _ in range(2):  # there is nothing to take off the second time
        without_heading(figure)
        assert (figure.get_suptitle(), figure.texts) == ("", [])
        assert figure.get_figheight() == pytest.approx(height - lines * HEADING_LINE_CM * CM)


def test_a_figure_says_from_what_it_was_made(tmp_path: Path) -> None:
    runs = [*three_seeds(tmp_path), *stored(tmp_path / "bad", with_rate_error(healthy(scenario_of(), seed=9), -0.2))]
    draw_all(runs, tmp_path / "figures", allow_invalid=False, formats=JSON_ONLY)
    found = json.loads((tmp_path / "figures" / "completion.json").read_text())
    assert found["scenario_hash"] == runs[0].scenario_hash
    assert found["seeds"] == {"ecmp": [1, 2, 3], "gse1": [1, 2, 3]}
    assert found["verdicts"] == {"ecmp": {"VALID": 3}, "gse1": {"VALID": 3, "INVALID": 1}}
    assert found["left_out"] == [runs[-1].path.name]
    assert found["versions"] == [{"gse_testbed": "0.0.0 synthetic", "commit": "0123456789"}]
    assert "1 INVALID run left out (gse1 seed 9: link rate off by 20.0%" in found["caption"]
    assert "10 Mbit/s links" in found["caption"]


def test_invalid_runs_are_drawn_only_when_told(tmp_path: Path) -> None:
    runs = stored(tmp_path, with_rate_error(healthy(scenario_of()), 0.2))
    with pytest.raises(ResultsError, match="all INVALID, expected a VALID run, or --allow-invalid"):
        draw_all(runs, tmp_path / "figures", allow_invalid=False)
    assert not (tmp_path / "figures").exists()
    paths = draw_all(runs, tmp_path / "figures", allow_invalid=True, formats=("svg",))
    assert sorted(path.name for path in paths) == [name for name in EVERYTHING if not name.endswith(".png")]


def test_questions_get_a_folder_each(tmp_path: Path) -> None:
    runs = stored(tmp_path, healthy(scenario_of()), healthy(scenario_of(fabric={"spines": 3})))
    draw_all(runs, tmp_path / "figures", allow_invalid=False, formats=JSON_ONLY)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {run.scenario_hash for run in runs}


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    run = with_rows(healthy(scenario_of()), links=[], queues=[], probes=[])
    paths = draw_all(stored(tmp_path, run), tmp_path / "figures", allow_invalid=False, formats=JSON_ONLY)
    assert {path.stem for path in paths} == {"completion"}


def test_a_queue_of_the_warm_up_is_not_the_longest_that_was_measured(tmp_path: Path) -> None:
    run = healthy(scenario_of())
    before_s = run.tables.iterations[1].start_s / 2  # the first is warm-up
    rows = [replace(row, backlog_bytes=900 << 10) if row.t_s < before_s else row for row in run.tables.queues]
    (comparison,) = compare(stored(tmp_path, with_rows(run, queues=rows)), allow_invalid=True)
    drawn = queues(comparison)
    assert drawn is not None
    assert "Longest at any time, KiB: gse1 70." in drawn[1]  # 8 frames of 9014 bytes


def test_odd_fabrics_and_faults_can_be_drawn(tmp_path: Path) -> None:
    scenario = scenario_of(
        fabric={"leaves": 5, "spines": 3, "hosts_per_leaf": 1, "links_per_pair": 2},
        faults=FAULTS,
        workload={"flows_per_hop": 3},
    )
    written = draw_all(stored(tmp_path, with_faults(healthy(scenario))), tmp_path / "figures", allow_invalid=True)
    assert {path.name for path in written} == {*EVERYTHING, "timeline.json", "timeline.png", "timeline.svg"}


def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(ResultsError, match="cannot write a figure"):
        draw_all(stored(tmp_path, healthy(scenario_of())), tmp_path / "figures", allow_invalid=False, formats=JSON_ONLY)


def test_bars_begin_at_zero_and_show_every_run(tmp_path: Path) -> None:
    (comparison,) = compare(three_seeds(tmp_path), allow_invalid=False)
    drawn = completion(comparison)
    assert drawn is not None
    for axes, key in zip(drawn[0].axes, ("completion_s", "busbw_mbps"), strict=True):
        assert axes.get_ylim()[0] == 0
        points = sorted(float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o")  # type: ignore[index]
        assert points == sorted(float(entry.number(key) or 0) for entry in comparison.entries)
        heights = [patch.get_height() for patch in axes.patches[:1]]
        spread = comparison.spread("ecmp", key)
        assert spread is not None
        assert heights == [spread.mean]


def triangles(axes: Axes) -> list[tuple[float, float]]:
    """Return where the model's marks are."""
    found = [line for line in axes.lines if line.get_marker() == "<"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found]  # type: ignore[index]


def test_completion_shows_what_the_model_has_for_every_scheme_it_knows(tmp_path: Path) -> None:
    scenario = scenario_of(schemes=["ecmp", "flowlet", "gse2-n2n"])
    records = [healthy(scenario, scheme=scheme) for scheme in scenario.schemes]
    runs = stored(tmp_path, *records)
    (comparison,) = compare(runs, allow_invalid=True)
    model = comparison.modelled
    assert set(model) == {"ecmp", "gse2-n2n"}
    for width_cm in (17.0, 8.0):
        drawn = completion(comparison, width_cm)
        assert drawn is not None
        figure, caption = drawn
        for axes, key in zip(figure.axes, ("completion_s", "busbw_mbps"), strict=True):
            values = [getattr(model[scheme], key) for scheme in ("ecmp", "gse2-n2n")]
            assert triangles(axes) == list(zip((0.4, 2.4), values, strict=True))
            assert axes.get_ylim()[1] > max(values)
        assert [text.get_text() for text in figure.legends[0].get_texts()].count("fluid model") == 1
        numbers = "; ".join(f"{scheme} {model[scheme].efficiency:.3f}" for scheme in ("ecmp", "gse2-n2n"))
        assert "Open triangles: what the fluid model" in caption
        assert f"Its share of the limit: {numbers}." in caption
    draw_all(runs, tmp_path / "figures", allow_invalid=True, formats=JSON_ONLY)
    found = json.loads((tmp_path / "figures" / "completion.json").read_text())["fluid_model"]
    assert list(found) == ["ecmp", "flowlet", "gse2-n2n"] and found["flowlet"] is None
    assert found["ecmp"] == {
        name: getattr(model["ecmp"], name) for name in ("completion_s", "busbw_mbps", "efficiency")
    }
    assert "fluid_model" not in json.loads((tmp_path / "figures" / "latency.json").read_text())


def test_the_limits_number_stands_beside_the_panel_where_no_mark_is(tmp_path: Path) -> None:
    (comparison,) = compare(three_seeds(tmp_path), allow_invalid=False)
    for width_cm in (17.0, 8.0):
        with matplotlib.rc_context(STYLE):
            drawn = completion(comparison, width_cm)
            assert drawn is not None
            figure = drawn[0]
            figure.draw_without_rendering()
        for axes in figure.axes:
            (number,) = [text for text in axes.texts if text.get_position() == (2, 0)]
            assert number.get_window_extent().x0 > axes.get_window_extent().x1
            assert number.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    "work",
    [
        {"kind": "collective", "collective": "allreduce/double_tree"},
        TRAINING,
    ],
    ids=["slice by slice", "training"],
)
def test_where_the_model_has_nothing_quick_completion_does_not_mention_it(tmp_path: Path, work: dict[str, Any]) -> None:
    runs = stored(tmp_path, healthy(scenario_of(workload=work)))
    (comparison,) = compare(runs, allow_invalid=True)
    drawn = completion(comparison)
    assert drawn is not None
    figure, caption = drawn
    assert [triangles(axes) for axes in figure.axes] == [[], []]
    assert "fluid" not in caption and "triangle" not in caption
    assert "fluid model" not in [text.get_text() for text in figure.legends[0].get_texts()]
    draw_all(runs, tmp_path / "figures", allow_invalid=True, formats=JSON_ONLY)
    assert json.loads((tmp_path / "figures" / "completion.json").read_text())["fluid_model"] == {"gse1": None}


def test_lost_probes_keep_the_curve_below_one(tmp_path: Path) -> None:
    run = healthy(scenario_of())
    probes = [replace(row, latency_s=None) if row.seq % 4 == 0 else row for row in run.tables.probes]
    (comparison,) = compare(stored(tmp_path, with_rows(run, probes=probes)), allow_invalid=False)
    drawn = latency(comparison)
    assert drawn is not None
    (curve,) = drawn[0].axes[0].lines
    assert max(curve.get_ydata()) == pytest.approx(0.75, abs=0.02)  # type: ignore[arg-type]


def test_probe_latency_is_not_taken_for_the_bulks_where_that_waits_at_its_source(tmp_path: Path) -> None:
    plain = healthy(scenario_of(), scheme="ecmp")
    carried = with_agents(healthy(scenario_of(), scheme="gse2-n2n"), dgsq_wait_ms={"p50": 116.0, "p99": 387.0})
    (comparison,) = compare(stored(tmp_path, plain, carried), allow_invalid=True)
    told = "gse2-n2n p50 116 ms, p99 387 ms"
    drawn = latency(comparison)
    assert drawn is not None
    assert told in drawn[1]
    assert "pass the bulk" in drawn[1]
    bars = [line for line in drawn[0].axes[0].lines if list(line.get_xdata()) == [116.0, 387.0]]  # type: ignore[arg-type]
    assert [line.get_color() for line in bars] == [SCHEME_COLOURS["gse2-n2n"]]
    assert max(bars[0].get_ydata()) < 0  # type: ignore[type-var]  # below the curves
    in_queues = queues(comparison)
    assert in_queues is not None
    assert told in in_queues[1]
    titles = {axes.get_title(loc="left").split(",")[0]: axes.get_title(loc="right") for axes in in_queues[0].axes}
    assert titles == {"ecmp": "", "gse2-n2n": "before these, at its source, bulk waits p50 116 ms, p99 387 ms"}
    (alone,) = compare(stored(tmp_path / "alone", plain), allow_invalid=True)
    for figure in (latency(alone), queues(alone)):
        assert figure is not None
        assert "its source" not in figure[1]


def test_every_scheme_has_a_colour_of_its_own() -> None:
    assert set(SCHEMES) <= set(SCHEME_COLOURS)
    assert len(set(SCHEME_COLOURS.values())) == len(SCHEME_COLOURS)


def test_small_messages_are_drawn_where_there_are_some(tmp_path: Path) -> None:
    run = healthy(scenario_of(workload={"kind": "permutation", "mice_interval_ms": 50.0}))
    (comparison,) = compare(stored(tmp_path, run), allow_invalid=False)
    drawn = messages(comparison)
    assert drawn is not None
    assert "small messages over TCP sent while the permutation ran" in drawn[1]
    (curve,) = drawn[0].axes[0].lines
    assert set(curve.get_xdata()) == {10.0}  # ms, all alike in this run
    (without,) = compare(stored(tmp_path / "ring", healthy(scenario_of())), allow_invalid=False)
    assert messages(without) is None


def test_nothing_is_drawn_of_completion_where_nothing_completes(tmp_path: Path) -> None:
    alone = {"kind": "permutation", "mice_interval_ms": 20.0, "mice_only_s": 3.0}
    runs = stored(tmp_path, healthy(scenario_of(workload=alone)))
    (comparison,) = compare(runs, allow_invalid=False)
    assert completion(comparison) is None
    written = draw_all(runs, tmp_path / "figures", allow_invalid=False, formats=JSON_ONLY)
    assert {path.stem for path in written} == {"latency", "messages"}


@pytest.mark.parametrize(("kind", "word"), [("all_to_all", "All-to-all"), ("incast", "Incast")])
def test_captions_name_the_workload(tmp_path: Path, kind: str, word: str) -> None:
    (comparison,) = compare(stored(tmp_path, healthy(scenario_of(workload={"kind": kind}))), allow_invalid=False)
    drawn = completion(comparison)
    assert drawn is not None
    assert drawn[1].startswith(f"{word}: mean over runs")
    assert "expected here" not in drawn[1]


def test_around_a_fault_there_is_a_line_per_scheme_from_zero_and_every_fault_is_named(tmp_path: Path) -> None:
    scenario = scenario_of(faults=FAULTS, measure={"sample_interval_s": 0.05})
    records = [healthy(scenario, scheme=scheme, seed=seed) for scheme in ("ecmp", "gse1") for seed in (1, 2)]
    (comparison,) = compare(stored(tmp_path, *map(with_faults, records)), allow_invalid=True)
    drawn = timeline(comparison)
    assert drawn is not None
    figure, caption = drawn
    received, close_up, queue, _queue_close_up = figure.axes
    assert [text.get_text() for text in received.texts] == ["fail l1-s1", "heal l1-s1"]
    assert received.get_ylim()[0] == queue.get_ylim()[0] == close_up.get_ylim()[0] == 0
    assert close_up.get_xlim() == pytest.approx((-0.25, 1.25))
    labels = [str(line.get_label()) for line in received.lines if not str(line.get_label()).startswith("_")]
    assert [label.partition(":")[0] for label in labels] == ["ecmp (2 runs)", "gse1 (2 runs)"]
    assert len(received.collections) == 2  # a band each
    assert "bands: smallest to largest" in caption and "2x2x2" in caption


def test_what_a_legend_says_of_a_fault_was_measured(tmp_path: Path) -> None:
    run = with_faults(healthy(scenario_of(faults=FAULTS)))
    fault_s = run.events[-2]["t_s"]
    ranks = [replace(row, max_gap_s=0.2, max_gap_at_s=fault_s + 0.01) for row in run.tables.ranks]
    elsewhere = [replace(row, max_gap_at_s=fault_s + 5) for row in ranks]
    for name, rows, said in (
        ("none", elsewhere, "gse1 (1 run)"),
        ("some", ranks, "gse1 (1 run): longest pause 200 ms"),
    ):
        (comparison,) = compare(stored(tmp_path / name, with_rows(run, ranks=rows)), allow_invalid=True)
        drawn = timeline(comparison)
        assert drawn is not None
        assert drawn[0].axes[0].lines[0].get_label() == said


def test_runs_in_which_a_broken_path_was_never_left_are_counted(tmp_path: Path) -> None:
    runs = stored(tmp_path, *(with_faults(healthy(scenario_of(faults=FAULTS), seed=seed)) for seed in (1, 2, 3)))
    for times_ms, legend, cell in (
        ((110.0, 120.0, 160.0), "path left after 120 ms", "130 (110..160)"),
        ((120.0, None, None), "path left after 120 ms in 1 of 3 runs", "120, never in 2 runs"),
        ((None, None, None), "path left in none of 3 runs", "never in 3 runs"),
    ):
        told = [
            replace(run, summary={**(run.summary or {}), "recovery_ms": time_ms})
            for run, time_ms in zip(runs, times_ms, strict=True)
        ]
        (comparison,) = compare(told, allow_invalid=True)
        (line,) = lines_of(comparison)
        assert line.label == f"gse1 (3 runs): {legend}"
        (shown,) = [row for row in scheme_grid(comparison).rows if row[0] == "path left, ms"]
        assert shown[1:] == (cell,)
        (figure,) = [one for one in line_figures(comparison) if one.key == "fault"]
        assert figure.table.rows[0][:3] == ("gse1", "3", cell)


@pytest.mark.parametrize("mended_s", [0.9, 60.0])
def test_only_what_happened_in_time_is_named(tmp_path: Path, mended_s: float) -> None:
    run = with_faults(healthy(scenario_of(faults=[FAULTS[0], {**FAULTS[1], "t_s": mended_s}])))
    (comparison,) = compare(stored(tmp_path, run), allow_invalid=True)
    drawn = timeline(comparison)
    assert drawn is not None
    assert len(drawn[0].axes[0].texts) == (2 if mended_s < 60 else 1)


def test_a_strangers_fault_and_missing_ranks_stop_nothing(tmp_path: Path) -> None:
    run = with_faults(healthy(scenario_of(faults=FAULTS)))
    strange = tuple(
        {**event, "target": "$\\frac$\x1b" * 9} if event["event"] == "fault" else event for event in run.events
    )
    (stranger,) = stored(tmp_path, replace(run, events=strange))
    (stranger.path / "ranks.csv").unlink()
    written = draw_all([load(stranger.path)], tmp_path / "figures", allow_invalid=True)
    assert "timeline.png" in {path.name for path in written}  # its queues are known


def test_runs_without_a_fault_or_without_samples_have_no_time_line(tmp_path: Path) -> None:
    faultless = healthy(scenario_of(faults=FAULTS))  # it ended before the first
    (comparison,) = compare(stored(tmp_path / "a", faultless), allow_invalid=True)
    assert timeline(comparison) is None
    unsampled = with_rows(with_faults(faultless), links=[], queues=[])
    (comparison,) = compare(stored(tmp_path / "b", unsampled), allow_invalid=True)
    assert timeline(comparison) is None


def test_repair_by_leaves_and_by_gsos_stand_side_by_side(tmp_path: Path) -> None:
    local, by_gsos = (scenario_of(faults=FAULTS, gsos={"repair": repair}) for repair in ("local", "controller"))
    runs = stored(tmp_path, *(with_faults(healthy(scenario, scheme="ecmp")) for scenario in (local, by_gsos)))
    first, second = compare(runs, allow_invalid=True)
    assert (first.other_repair, second.other_repair) == (
        replace(second, other_repair=None),
        replace(first, other_repair=None),
    )
    drawn = timeline(first)
    assert drawn is not None
    lines = drawn[0].axes[0].lines[:2]
    assert [(line.get_label(), line.get_linestyle()) for line in lines] == [
        ("ecmp (1 run)", "-"),
        ("ecmp, repair by GSOS (1 run)", "--"),
    ]
    assert runs[1].path.name in drawn[1] and second.scenario_hash in drawn[1]


def both_repairs(results: Path, spoil: Callable[[RunRecord], RunRecord] = lambda run: run) -> list[Run]:
    """Store a run with repair by leaves and two by GSOS, those spoiled."""
    local, by_gsos = (scenario_of(faults=FAULTS, gsos={"repair": repair}) for repair in ("local", "controller"))
    others = [spoil(with_faults(healthy(by_gsos, scheme="ecmp", seed=seed))) for seed in (1, 2)]
    return stored(results, with_faults(healthy(local, scheme="ecmp")), *others)


def test_a_figure_names_the_runs_it_shows_of_another_question(tmp_path: Path) -> None:
    runs = both_repairs(tmp_path)
    draw_all(runs, tmp_path / "figures", allow_invalid=True, formats=JSON_ONLY)
    folder = tmp_path / "figures" / runs[0].scenario_hash
    found = json.loads((folder / "timeline.json").read_text())
    assert (found["runs"], found["seeds"]) == ([runs[0].path.name], {"ecmp": [1]})
    beside = found["beside"]
    assert (beside["scenario_hash"], beside["scenario"]["gsos"]["repair"]) == (runs[1].scenario_hash, "controller")
    assert (beside["runs"], beside["seeds"]) == ([run.path.name for run in runs[1:]], {"ecmp": [1, 2]})
    assert sum(beside["verdicts"]["ecmp"].values()) == 2
    assert beside["left_out"] == [] and beside["versions"] == found["versions"]
    assert "beside" not in json.loads((folder / "completion.json").read_text())


def test_another_question_whose_runs_are_all_invalid_is_not_there(tmp_path: Path) -> None:
    runs = both_repairs(tmp_path, lambda run: with_rate_error(run, -0.2))
    found = compare(runs, allow_invalid=False)
    assert [len(one.entries) for one in found] == [1, 0]
    assert found[0].other_repair is None
    drawn = timeline(found[0])
    assert drawn is not None and "Drawn beside" not in drawn[1]
    draw_all(runs, tmp_path / "figures", allow_invalid=False, formats=JSON_ONLY)
    assert "beside" not in json.loads((tmp_path / "figures" / "timeline.json").read_text())


def test_runs_of_another_question_in_which_no_fault_was_made_are_not_drawn(tmp_path: Path) -> None:
    runs = both_repairs(tmp_path, lambda run: replace(run, events=run.events[:1]))
    first = compare(runs, allow_invalid=True)[0]
    assert first.other_repair is not None
    drawn = timeline(first)
    assert drawn is not None and "Drawn beside" not in drawn[1]


def with_reset_uplinks(run: RunRecord, *intfs: str) -> RunRecord:
    """Return the run whose interfaces began to count anew in the middle of its second measured iteration."""
    row = run.tables.iterations[2]
    reset_s = (row.start_s + row.end_s) / 2
    had = {one.intf: one.tx_bytes for one in run.tables.links if one.t_s <= reset_s}
    rows = [
        replace(one, tx_bytes=one.tx_bytes - had[one.intf]) if one.intf in intfs and one.t_s > reset_s else one
        for one in run.tables.links
    ]
    return with_rows(run, links=rows)


UPLINKS = ("l1-eth3", "l1-eth4", "l2-eth3", "l2-eth4")


def question(tmp_path: Path, run: RunRecord) -> Comparison:
    (comparison,) = compare(stored(tmp_path, run), allow_invalid=True)
    return comparison


def lines_of_uplinks(comparison: Comparison) -> Lines:
    (lines,) = [lines for lines in line_figures(comparison) if lines.key == "uplinks"]
    return lines


def test_an_uplink_that_was_reset_is_blank_for_an_interval_and_never_below_nothing(tmp_path: Path) -> None:
    one = question(tmp_path, with_reset_uplinks(healthy(scenario_of()), "l1-eth3"))
    drawn = uplinks(one)
    assert drawn is not None
    (mesh,) = [found for found in drawn[0].axes[0].collections if isinstance(found, QuadMesh)]
    grid = filled(mesh.get_array(), math.nan)
    assert grid.shape[0] == 4
    assert [int(count) for count in np.isnan(grid).sum(axis=1)] == [1, 0, 0, 0]
    assert np.nanmin(grid) >= 0 and np.nanmax(grid) > 0.5
    (series,) = lines_of_uplinks(one).panels[0].series
    assert None not in series.y, "three uplinks are known all the time"
    assert min(value for value in (*series.low, *series.y) if value is not None) >= 0
    fabric = fabric_map(one)
    assert fabric is not None
    percents = [percent for wire in fabric.loads[0].percents for percent in wire]
    assert percents.count(UNKNOWN) == 1 and min(percents) == UNKNOWN


def test_where_all_uplinks_were_reset_at_once_lines_have_a_gap(tmp_path: Path) -> None:
    lines = lines_of_uplinks(question(tmp_path / "reset", with_reset_uplinks(healthy(scenario_of()), *UPLINKS)))
    (series,) = lines.panels[0].series
    assert [values.count(None) for values in (series.y, series.low, series.high)] == [1, 1, 1]
    assert min(value for value in series.low if value is not None) >= 0
    (whole,) = lines_of_uplinks(question(tmp_path / "fine", healthy(scenario_of()))).panels[0].series
    assert series.x == whole.x, "a gap is a moment without a value"
    assert "-" not in str(lines.table.rows[0][2:])
