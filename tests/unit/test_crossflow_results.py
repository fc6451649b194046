"""From rows of cross traffic to what tables and figures say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import CROSS_SLOWDOWN, healthy, scenario_of, store, with_rows

from testbed.evaluation.crossflows import ALL, bin_names, bin_of
from testbed.evaluation.metrics import measure
from testbed.evaluation.records import RunRecord
from testbed.fidelity import evidence_of, judge
from testbed.fidelity.completeness import check_missing
from testbed.results.run import Run, load
from testbed.results.summary import summarise
from testbed.units import KIB, MIB
from testbed.views.comparison import compare, describe
from testbed.views.plots import draw_all
from testbed.views.tables import run_grid, scheme_grid

POISSON = {"load": 0.3, "size_scale": 0.02}
BURSTS = {"storage": ["h4"], "period_s": 2.0, "size_bytes": 64 * KIB}


def run_with(cross: dict[str, Any], **options: Any) -> RunRecord:
    return healthy(scenario_of(workload={"iterations": 2, "size_bytes": 8 * MIB}, cross_traffic=cross), **options)


def test_a_border_belongs_to_the_bin_below_it() -> None:
    assert bin_names() == ("to 10 KiB", "to 100 KiB", "to 1 MiB", "over 1 MiB")
    sizes = (1, 10 * KIB, 10 * KIB + 1, MIB, MIB + 1)
    assert [bin_of(size) for size in sizes] == [bin_names()[i] for i in (0, 0, 1, 2, 3)]


def test_slowdown_is_against_an_empty_fabric_by_size() -> None:
    run = run_with({"poisson": POISSON})
    found = measure(run).flow_times
    rows = [row for row in run.tables.cross_flows if row.kind == "poisson"]
    assert found[ALL].count <= len(rows)
    assert found[ALL].count == sum(found[name].count for name in bin_names()) > 100
    for times in found.values():
        if times.count:
            assert times.slowdown_p50 == pytest.approx(CROSS_SLOWDOWN)
            assert times.slowdown_mean == pytest.approx(CROSS_SLOWDOWN)
            assert (times.slowdown_p99 is None) == (times.count < 100)


def test_what_has_not_arrived_is_slower_than_all_others() -> None:
    run = run_with({"poisson": POISSON})
    rows = [replace(row, completion_s=None) if number % 3 else row for number, row in enumerate(run.tables.cross_flows)]
    found = measure(with_rows(run, cross_flows=rows)).flow_times[ALL]
    assert found.missing > found.count / 2
    assert (found.p50_ms, found.slowdown_p50, found.slowdown_p99) == (None, None, None)
    assert found.slowdown_mean == pytest.approx(CROSS_SLOWDOWN)
    few = [replace(row, completion_s=None) if number == 0 else row for number, row in enumerate(rows[:50])]
    assert measure(with_rows(run, cross_flows=few)).flow_times[ALL].p99_ms is None, "below 100"


def test_a_burst_ends_with_its_last_byte() -> None:
    run = run_with({"bursts": BURSTS})
    bursts = measure(run).bursts
    numbers = [one.burst for one in bursts]
    assert len(numbers) > 2 and numbers == sorted(set(numbers)), "but for those that began between iterations"
    for one in bursts:
        assert one.size_bytes == 3 * 64 * KIB
        assert one.ideal_s == pytest.approx(3 * 64 * KIB / 1.25e6 * 9014 / 8948)
    rows = list(run.tables.cross_flows)
    assert bursts[0].completion_s == pytest.approx(max(r.completion_s or 0 for r in rows if r.burst == 0))
    lost = [replace(row, completion_s=None) if number == 1 else row for number, row in enumerate(rows)]
    assert measure(with_rows(run, cross_flows=lost)).bursts[0].completion_s is None


def test_what_was_asked_for_and_is_not_there_is_missing() -> None:
    run = run_with({"poisson": POISSON, "bursts": BURSTS, "replay": {"file": "x.pcap"}})

    def finding(of: RunRecord) -> str:
        found = check_missing(evidence_of(of))
        return "" if found is None else found.text

    assert finding(run) == ""
    told = finding(with_rows(run, cross_flows=(), replay=()))
    assert all(words in told for words in ("times of flows", "times of bursts", "replayed frames"))


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("replay", "send_lateness_s", "replayed frames left up to 50.0 ms late"),
        ("cross_flows", "start_lateness_s", "Poisson flows left up to 50.0 ms late"),
        ("messages", "send_lateness_s", "small messages left up to 50.0 ms late"),
    ],
)
def test_what_left_late_is_a_doubt_whoever_sent_it(table: str, column: str, words: str) -> None:
    cross = {"poisson": POISSON, "bursts": BURSTS, "replay": {"file": "x.pcap"}}
    workload = {"iterations": 2, "size_bytes": 8 * MIB, "mice_interval_ms": 20.0}
    run = healthy(scenario_of(workload=workload, cross_traffic=cross))

    def reasons(of: RunRecord) -> list[str]:
        found = judge(evidence_of(of)).findings
        return [one.text for one in found if one.check == "sender_lateness"]

    assert reasons(run) == []
    late = [replace(row, **{column: 0.05}) for row in getattr(run.tables, table)]
    (reason,) = reasons(with_rows(run, **{table: late}))
    assert reason.startswith(words)


def test_a_burst_is_as_late_as_its_first_flow() -> None:
    run = run_with({"bursts": BURSTS})

    def late(first_s: float) -> bool:
        begun: set[int | None] = set()
        rows = []
        for row in run.tables.cross_flows:
            rows.append(replace(row, start_lateness_s=0.5 if row.burst in begun else first_s))
            begun.add(row.burst)
        of = with_rows(run, cross_flows=rows)
        found = judge(evidence_of(of)).findings
        return any(one.text.startswith("bursts left") for one in found if one.check == "sender_lateness")

    assert not late(0.005)
    assert late(0.02)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two schemes, two seeds, with all other traffic; not to be changed."""
    results = tmp_path_factory.mktemp("results")
    cross = {"poisson": POISSON, "bursts": BURSTS, "replay": {"file": "x.pcap"}}
    return [
        load(store(results, run_with(cross, scheme=scheme, seed=seed), second=2 * seed + index))
        for index, scheme in enumerate(("ecmp", "gse1"))
        for seed in (1, 2)
    ]


def test_a_summary_says_what_became_of_it(runs: list[Run]) -> None:
    found = summarise(runs[0])
    assert found["flow_times"][ALL]["slowdown_p50"] == pytest.approx(CROSS_SLOWDOWN)
    assert found["bursts"]["count"] == len(found["bursts"]["each"])
    assert found["bursts"]["median_s"] <= found["bursts"]["worst_s"]
    assert found["replay"]["lost"] == 0
    assert found["replay"]["p50_ms"] == pytest.approx(2.0)


def test_tables_have_columns_and_lines_for_it(runs: list[Run]) -> None:
    (comparison,) = compare(runs, allow_invalid=True)
    grid = run_grid(comparison)
    cells = dict(zip(grid.headers, grid.rows[0], strict=True))
    assert cells["slower\np50"] == "2.0"
    assert cells["flows/\nmissing"].endswith("/0")
    assert {"burst\ns", "replayed/\nlost", "to 10 KiB\np99 ms"} <= set(cells)
    lines = {row[0]: row[1] for row in scheme_grid(comparison).rows}
    assert lines["  to 100 KiB: slowdown p50"] == "2.00"
    assert "Poisson flows at 30% of host links (web search sizes x 0.02)" in describe(comparison.scenario)
    assert "bursts of 64 KiB per host to 1 storage host every 2 s" in describe(comparison.scenario)


def test_the_figure_is_drawn_where_there_are_flows(runs: list[Run], tmp_path: Path) -> None:
    drawn = {path.name for path in draw_all(runs, tmp_path / "figures", allow_invalid=True)}
    assert {"flows.png", "flows.svg", "flows.json"} <= drawn
    alone = load(store(tmp_path / "other", healthy(scenario_of())))
    made = draw_all([alone], tmp_path / "more", allow_invalid=True, formats=())
    assert "completion.json" in {path.name for path in made} and "flows.json" not in {path.name for path in made}


def test_frames_of_a_capture_that_were_not_sent_are_told(tmp_path: Path) -> None:
    run = run_with({"replay": {"file": "x.pcap"}})
    said = {"event": "replay_stopped", "t_s": 1.0, "unsent": 7, "unmapped": 2}
    stored = load(store(tmp_path / "results", replace(run, events=(*run.events, said))))
    found = summarise(stored)["replay"]
    assert (found["unsent"], found["unmapped"]) == (7, 2)
    (comparison,) = compare([stored], allow_invalid=True)
    lines = {row[0]: row[1] for row in scheme_grid(comparison).rows}
    assert (lines["  not sent: the run was over"], lines["  not sent: cannot be"]) == ("7", "2")


def test_the_load_that_was_offered_is_what_the_flows_of_measured_iterations_have(tmp_path: Path) -> None:
    run = run_with({"poisson": POISSON})
    seconds = sum(row.completion_s for row in run.tables.iterations if not row.warmup)
    within = [(row.start_s, row.end_s) for row in run.tables.iterations if not row.warmup]
    sizes = [
        row.size_bytes for row in run.tables.cross_flows if any(start <= row.start_s <= end for start, end in within)
    ]
    stored = load(store(tmp_path / "results", run))
    link_mbps, hosts = run.scenario.fabric.host_link_mbps, len(run.topology.hosts)
    offered = sum(sizes) / (link_mbps * 1e6 / 8 * 8948 / 9014) / hosts / seconds
    assert summarise(stored)["poisson_load"] == pytest.approx(offered)
    assert offered == pytest.approx(POISSON["load"], rel=0.5)
    assert "poisson_load" not in summarise(load(store(tmp_path / "other", run_with({"bursts": BURSTS}))))
