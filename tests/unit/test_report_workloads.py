"""Reports and narrow figures of every workload: training iterations, their sweeps, cross traffic, waits at source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from testbed.results.run import Run, load
from testbed.results.sweeps import StoredSweep
from testbed.units import MIB
from testbed.views.comparison import compare
from testbed.views.drawn import bursts_s
from testbed.views.paper import CM
from testbed.views.plots import FIGURES
from testbed.views.report.document import Section, report
from testbed.views.report.page import page
from testbed.views.sweep import sweep_results
from testbed.views.sweep_plot import curves
from tests.unit.synthetic_runs import CROSS_SLOWDOWN, healthy, scenario_of, store, with_rows
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over, with_agents
from tests.unit.test_crossflow_results import BURSTS, POISSON
from tests.unit.test_plots import FAULTS, with_faults
from tests.unit.test_report_page import Reader, charts_of
from tests.unit.test_sweep_views import COLLECTIVES
from tests.unit.test_tables import stored, three_seeds
from tests.unit.test_training_evaluation import LAYOUT, TRAINING

CROSS = {"poisson": POISSON, "bursts": BURSTS, "replay": {"file": "x.pcap"}}
NARROW_CM = 8.0

Make = Callable[[Path], list[Run]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], list[Run]]:
    """Make runs of a kind, once; not to be changed."""
    return cache(lambda make: make(tmp_path_factory.mktemp("runs")))


def both_schemes(tmp_path: Path, **changes: Any) -> list[Run]:
    asked = scenario_of(schemes=["ecmp", "gse1"], **changes)
    return [
        load(store(tmp_path / "results", healthy(asked, scheme=scheme, seed=seed), second=2 * seed + index))
        for index, scheme in enumerate(asked.schemes)
        for seed in (1, 2)
    ]


def cross_traffic(tmp_path: Path) -> list[Run]:
    return both_schemes(tmp_path, workload={"size_bytes": 8 * MIB}, cross_traffic=CROSS)


def training(tmp_path: Path) -> list[Run]:
    return both_schemes(tmp_path, workload=TRAINING)


def waiting(tmp_path: Path) -> list[Run]:
    carried = with_agents(healthy(scenario_of(), scheme="gse2-n2n"), dgsq_wait_ms={"p50": 116.0, "p99": 387.0})
    return stored(tmp_path, healthy(scenario_of(), scheme="ecmp"), carried)


def faults_and_mice(tmp_path: Path) -> list[Run]:
    made = scenario_of(
        faults=FAULTS, measure={"sample_interval_s": 0.05}, workload={"kind": "permutation", "mice_interval_ms": 50.0}
    )
    return stored(tmp_path, *(with_faults(healthy(made, scheme=scheme)) for scheme in ("ecmp", "gse2-n2n")))


def training_sweep(tmp_path: Path) -> StoredSweep:
    work = {**TRAINING, "iterations": 1, "training": {"model": "llama2-13b", "layout": LAYOUT}}
    sweep = sweep_over(
        "workload.training.nic_mbps", [100_000, 400_000], schemes=("ecmp", "gse1"), seeds=(1, 2, 3), workload=work
    )
    return stored_sweep(tmp_path, sweep)


def words_sweep(tmp_path: Path, words: Sequence[str] = COLLECTIVES) -> StoredSweep:
    work = {"kind": "collective", "size_bytes": 262_144}
    return stored_sweep(
        tmp_path, sweep_over("workload.collective", words, schemes=("ecmp", "gse1"), seeds=(1,), workload=work)
    )


def section_of(runs: list[Run]) -> tuple[Section, str]:
    made = report(runs, [], allow_invalid=True)
    (section,) = made.sections
    text = page(made)
    assert Reader(text).open == []
    return section, text


def test_a_report_of_training_iterations_speaks_of_iterations(made: Callable[[Make], list[Run]]) -> None:
    runs = made(training)
    section, text = section_of(runs)
    assert [bars.key for bars in section.bars][:3] == ["completion_s", "training-exposed_share", "efficiency"]
    time, exposed, _speed = section.bars[:3]
    summaries = [run.summary for run in runs if run.summary is not None]
    assert (time.limit, exposed.limit) == (summaries[0]["ideal_s"], summaries[0]["training"]["ideal_exposed_share"])
    assert [p.value for bar in exposed.bars for p in bar.points] == [s["training"]["exposed_share"] for s in summaries]
    assert {bars.limit_name for bars in section.bars if bars.limit is not None} == {"ideal network"}
    assert not [bars for bars in section.bars if "physical" in bars.caption]
    assert section.answers[0].startswith("ecmp: ") and "(time of one training iteration)" in section.answers[0]
    assert "times as fast as ecmp (" in section.answers[1]
    assert "In tables only: operations of training iterations." in text
    assert "all_gather dp, s an iteration" in text and "scaled down: 64 ranks a group" in text


def test_a_report_of_cross_traffic_has_its_flows_and_bursts(made: Callable[[Make], list[Run]]) -> None:
    section, text = section_of(made(cross_traffic))
    keys = [bars.key for bars in section.bars]
    assert {"flow_times-all-slowdown_p50", "flow_times-all-slowdown_p99", "bursts-median_s"} <= set(keys)
    bursts = section.bars[keys.index("bursts-median_s")]
    assert bursts.limit is not None and bursts.limit_name == "ideal"
    assert "Dashed line: ideal (bytes over the slowest cut), " in bursts.caption
    (flows,) = [lines for lines in section.lines if lines.key == "flows"]
    for series in flows.panels[0].series:
        assert list(series.x) == pytest.approx([CROSS_SLOWDOWN] * len(series.x))
        assert series.y[-1] == 1.0
    assert [row[:2] for row in flows.table.rows if row[1] == "all"] == [("ecmp", "all"), ("gse1", "all")]
    assert "p50 / p99 ecmp 2.00 / 2.00 of " in flows.caption
    assert "In tables only: replayed frames." in text
    assert "replayed frames" in {row[0] for row in section.tables[0].rows}


def test_a_report_says_what_probes_pass(made: Callable[[Make], list[Run]]) -> None:
    section, _text = section_of(made(waiting))
    captions = {lines.key: lines.caption for lines in section.lines}
    for key in ("probes", "queues"):
        assert "waits at its source (gse2-n2n p50 116 ms, p99 387 ms; means over runs" in captions[key]
    assert "at its source" not in captions["uplinks"]
    (waits,) = [bars for bars in section.bars if bars.key == "dgsq_wait_ms-p99"]
    assert [(bar.scheme, bar.spread.mean) for bar in waits.bars] == [("gse2-n2n", 387.0)]


def test_a_report_of_a_training_sweep_has_shares_times_and_speeds(tmp_path: Path) -> None:
    made = report([], [sweep_results(training_sweep(tmp_path))], allow_invalid=True)
    (section,) = made.sections
    (lines,) = section.lines
    labels = [panel.y_label for panel in lines.panels]
    assert labels[:2] == ["exposed communication (%)", "iteration time (s)"]
    assert labels[-1] == "iteration speed over ecmp"
    (speed,) = lines.panels[-1].series
    assert speed.scheme == "gse1" and lines.panels[-1].rules == ((1.0, "as fast as ecmp"),)
    for low, mean, high in zip(speed.low, speed.y, speed.high, strict=True):
        assert low is not None and mean is not None and high is not None and low < mean < high
    assert [answer.partition(" from ")[0] for answer in section.answers[:3]] == [
        "ecmp: exposed communication (%)",
        "gse1: exposed communication (%)",
        "gse1: iteration speed over ecmp",
    ]
    assert "efficiency" not in lines.caption and "paired by seed" in lines.caption
    assert "95% interval, which of fewer than 10 pairs holds the truth less often" in lines.caption
    assert len(charts_of(page(made))[0]["panels"]) == len(labels)


def test_medians_of_many_runs_have_their_interval_on_pages_too(tmp_path: Path) -> None:
    sweep = stored_sweep(tmp_path, sweep_over(values=("16K", "32K"), seeds=range(1, 7)))
    (lines,) = report([], [sweep_results(sweep)], allow_invalid=True).sections[0].lines
    group = sweep_results(sweep).groups[0]
    reach = group.interval("efficiency")
    series = lines.panels[0].series[0]
    assert reach is not None and (series.low[0], series.high[0]) == reach
    assert "Bands: 95% confidence interval of the median" in lines.caption


def columns_of(figure: Figure) -> set[int]:
    return {spec.get_gridspec().ncols for axes in figure.axes if (spec := axes.get_subplotspec()) is not None}


@pytest.mark.parametrize("make", [three_seeds, cross_traffic, training, waiting, faults_and_mice])
def test_every_figure_can_be_narrow_with_one_panel_below_another(make: Make, made: Callable[[Make], list[Run]]) -> None:
    (comparison,) = compare(made(make), allow_invalid=True)
    drawn = {name: one for name, draw in FIGURES.items() if (one := draw(comparison, NARROW_CM)) is not None}
    assert {"completion", "latency", "queues"} <= set(drawn)
    assert ("flows" in drawn) == (make is cross_traffic) and ("timeline" in drawn) == (make is faults_and_mice)
    for name, (figure, caption) in drawn.items():
        assert figure.get_figwidth() == pytest.approx(NARROW_CM * CM)
        assert columns_of(figure) == {1}
        usual = FIGURES[name](comparison)
        assert usual is not None and usual[1] == caption


@pytest.mark.parametrize(
    ("make", "panels"), [(training_sweep, 4), (lambda path: stored_sweep(path, sweep_over()), 3), (words_sweep, 2)]
)
def test_figures_of_sweeps_can_be_narrow(make: Callable[[Path], StoredSweep], panels: int, tmp_path: Path) -> None:
    results = sweep_results(make(tmp_path))
    wide, narrow = curves(results), curves(results, NARROW_CM)
    assert wide is not None and narrow is not None
    assert len(wide[0].axes) == len(narrow[0].axes) == panels
    assert narrow[0].get_figwidth() == pytest.approx(NARROW_CM * CM)
    assert columns_of(narrow[0]) == {1}
    assert narrow[1] == wide[1]


def test_captions_have_the_numbers_of_both(made: Callable[[Make], list[Run]]) -> None:
    (comparison,) = compare(made(training), allow_invalid=True)
    drawn = FIGURES["completion"](comparison)
    assert drawn is not None
    assert "dashed: an ideal network" in drawn[1] and "Exposed communication: ecmp 0." in drawn[1]
    assert "Share of the ideal speed: ecmp " in drawn[1] and "physical limit" not in drawn[1]
    (comparison,) = compare(made(cross_traffic), allow_invalid=True)
    drawn = FIGURES["flows"](comparison)
    assert drawn is not None
    assert "p50 / p99 of all sizes: ecmp 2.0 / 2.0; gse1 2.0 / 2.0." in drawn[1]
    assert "Median, s: ecmp " in drawn[1]


def test_bursts_that_did_not_arrive_are_slower_than_all_others(tmp_path: Path) -> None:
    run = healthy(scenario_of(workload={"size_bytes": 8 * MIB}, cross_traffic={"bursts": BURSTS}))
    rows = [replace(row, completion_s=None) for row in run.tables.cross_flows]
    (comparison,) = compare(stored(tmp_path, with_rows(run, cross_flows=rows)), allow_invalid=True)
    bursts = len(bursts_s(comparison.of("gse1")))
    drawn = FIGURES["flows"](comparison)
    assert drawn is not None and bursts
    assert f"Median, s: gse1 - ({bursts} of {bursts} not arrived)." in drawn[1]
