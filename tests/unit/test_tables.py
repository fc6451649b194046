"""What is put side by side, and how it reads."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from testbed.errors import ResultsError
from testbed.evaluation.records import RunRecord
from testbed.model.scenario import Scenario
from testbed.results.endings import FAILED
from testbed.results.run import Run, load
from testbed.views.comparison import compare, describe, left_out_text
from testbed.views.completion_plot import completion
from testbed.views.latency_plot import latency
from testbed.views.paper import provenance
from testbed.views.report.document import report, verdict_grid
from testbed.views.tables import run_grid, run_table, scheme_grid, scheme_table
from tests.unit.synthetic_runs import healthy, scenario_of, store, with_rows
from tests.unit.synthetic_sweeps import with_agents


def with_rate_error(run: RunRecord, fraction: float) -> RunRecord:
    row = run.tables.calibration[0]
    spoilt = replace(row, error_fraction=fraction, measured_mbps=row.configured_mbps * (1 + fraction))
    return with_rows(run, calibration=[spoilt, *run.tables.calibration[1:]])


def stored(tmp_path: Path, *records: RunRecord) -> list[Run]:
    return [load(store(tmp_path, record, second=index)) for index, record in enumerate(records)]


def three_seeds(tmp_path: Path, scenario: Scenario | None = None) -> list[Run]:
    scenario = scenario or scenario_of()
    return stored(
        tmp_path, *(healthy(scenario, scheme=scheme, seed=seed) for seed in (1, 2, 3) for scheme in ("ecmp", "gse1"))
    )


def text_of(renderable: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def cells(runs: list[Run], label: str) -> list[str]:
    """Return the cells of the row ``label`` where schemes are compared."""
    (comparison,) = compare(runs, allow_invalid=False)
    (row,) = [row for row in scheme_grid(comparison).rows if row[0].strip() == label]
    return list(row[1:])


def both_tables(runs: list[Run]) -> str:
    return text_of(run_table(runs)) + text_of(scheme_table(runs))


def test_schemes_are_compared_over_their_seeds(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    by_scheme = {s: [r.summary["completion_s"] for r in runs if r.scheme == s] for s in ("ecmp", "gse1")}  # type: ignore[index]
    mean = sum(by_scheme["gse1"]) / 3
    assert cells(runs, "completion time, s")[1] == f"{mean:.3f}"
    assert cells(runs, "runs") == ["3 VALID", "3 VALID"]
    assert cells(runs, "efficiency")[1] == "0.985"
    assert cells(runs, "expected of hashing")[1] == "-"
    # two flows per leaf on two paths: 1 with probability 1/4, else 1/2: 0.625 in the mean
    assert cells(runs, "expected of hashing")[0].startswith("0.62")
    low, high = re.search(r"\((.*)\.\.(.*)\)", cells(runs, "expected of hashing")[0]).groups()  # type: ignore[union-attr]
    assert float(low) == 0.5  # none of three free: (3/4)**3 = 0.42
    assert float(high) == 0.833  # two of three; all three: (1/4)**3 = 0.016, beyond the upper 2.5%


def test_a_seed_run_again_is_no_further_draw_of_hashing(tmp_path: Path) -> None:
    once = stored(tmp_path / "once", *(healthy(scenario_of(), scheme="ecmp", seed=seed) for seed in (1, 2, 3)))
    often = stored(
        tmp_path / "often", *(healthy(scenario_of(), scheme="ecmp", seed=seed) for seed in (1, 2, 3) for _ in range(4))
    )
    (few,), (many,) = (compare(runs, allow_invalid=False) for runs in (once, often))
    assert len(many.of("ecmp")) == 12
    assert many.ecmp_expectation == few.ecmp_expectation
    assert few.ecmp_expectation is not None and few.ecmp_expectation.efficiency.runs == 3


def test_speedup_over_hashing_as_expected_does_not_depend_on_the_seeds_of_ecmp(tmp_path: Path) -> None:
    """Two flows of each leaf on two paths: apart with probability 1/4, else half as fast: 1.75."""
    runs = three_seeds(tmp_path)
    for kept in (runs, [run for run in runs if (run.scheme, run.seed) != ("ecmp", 1)]):
        ecmp, gse1 = cells(kept, "over hashing as expected")
        assert ecmp == "-"
        assert float(gse1.split()[0]) == pytest.approx(1.75 * 0.985, rel=0.03)


def test_speedup_is_over_the_first_scheme_with_its_range_and_from_ten_seeds_on_its_interval(tmp_path: Path) -> None:
    for seeds in (3, 10):
        shorter = {seed: 1 + 0.01 * (seed % 4) for seed in range(1, seeds + 1)}
        runs = stored(
            tmp_path / str(seeds),
            *(healthy(scenario_of(), scheme="gse1", seed=seed) for seed in shorter),
            *(
                healthy(scenario_of(), scheme="gse2-n2n", seed=seed, slow=lambda _iteration, by=by: by)  # type: ignore[misc]
                for seed, by in shorter.items()
            ),
        )
        (comparison,) = compare(runs, allow_invalid=False)
        ratio = comparison.speedup("gse2-n2n")
        assert ratio is not None and ratio.low is not None and ratio.high is not None
        assert seeds == 3 or ratio.smallest + 0.005 < ratio.low < ratio.high < ratio.largest - 0.005  # told apart below
        low, high = (ratio.smallest, ratio.largest) if seeds == 3 else (ratio.low, ratio.high)
        shown = cells(runs, "speed-up over gse1")
        assert shown == ["-", f"{ratio.mean:.2f} ({low:.2f}..{high:.2f})"]
        (section,) = report(runs, [], allow_invalid=False).sections
        what = "" if seeds == 3 else "95% interval "
        said = f"{ratio.mean:.2f} times as fast as gse1 ({what}{low:.2f}..{high:.2f}, {seeds} pairs of runs)"
        assert any(said in answer for answer in section.answers)


def test_of_how_many_pairs_a_speedup_is_stands_beside_it_where_seeds_lack_one(tmp_path: Path) -> None:
    """Ten seeds of which one is INVALID have the range beside them, not the interval that ten would have."""
    spoilt = with_rate_error(healthy(scenario_of(), scheme="ecmp", seed=4), -0.2)
    records = [healthy(scenario_of(), scheme=scheme, seed=seed) for seed in range(1, 11) for scheme in ("ecmp", "gse1")]
    records = [spoilt if (one.scheme, one.seed) == ("ecmp", 4) else one for one in records]
    runs = stored(tmp_path, *records)
    (comparison,) = compare(runs, allow_invalid=False)
    ratio = comparison.speedup("gse1")
    assert ratio is not None and ratio.pairs == 9
    range_of_nine = f"{ratio.mean:.2f} ({ratio.smallest:.2f}..{ratio.largest:.2f}"
    assert cells(runs, "speed-up over ecmp") == ["-", f"{range_of_nine}; 9 pairs)"]
    assert cells([run for run in runs if run.seed != 4], "speed-up over ecmp") == ["-", f"{range_of_nine})"]


def test_invalid_runs_are_listed_but_not_compared(tmp_path: Path) -> None:
    bad = with_rate_error(healthy(scenario_of(), seed=2), -0.12)
    runs = stored(tmp_path, healthy(scenario_of()), bad)
    assert "INVALID" in text_of(run_table(runs))
    (comparison,) = compare(runs, allow_invalid=False)
    assert [entry.seed for entry in comparison.entries] == [1]
    assert left_out_text(comparison).startswith("1 INVALID run left out (gse1 seed 2: link rate off by 12.0%")
    assert "1 INVALID run left out" in text_of(scheme_table(runs))
    (everything,) = compare(runs, allow_invalid=True)
    assert (len(everything.entries), everything.left_out) == (2, ())


def test_runs_of_several_commits_are_not_put_together_without_a_word(tmp_path: Path) -> None:
    first, second = stored(tmp_path, healthy(scenario_of()), healthy(scenario_of(), seed=2))
    assert "commits" not in text_of(scheme_table([first, second]))
    other = replace(second, manifest={**second.manifest, "versions": {"commit": "abcdef0123456789-dirty"}})
    (comparison,) = compare([first, other], allow_invalid=False)
    said = "uns of 2 commits (0123456, abcdef0-dirty): what changed between these"
    assert any(note.startswith(f"r{said}") for note in scheme_grid(comparison).notes)
    drawn = completion(comparison)
    assert drawn is not None and f" R{said}" in drawn[1]
    (section,) = report([first, other], [], allow_invalid=False).sections
    assert any(answer.startswith(f"R{said}") for answer in section.answers)


def failed(tmp_path: Path, run: RunRecord, error: str, *, verdict: str, second: int) -> None:
    """Store a run as one that came to no end is stored."""
    path = store(tmp_path, run, second=second)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= {"status": "failed", "verdict": verdict, "error": error}
    (path / "manifest.json").write_text(json.dumps(manifest))
    path.rename(path.with_name(path.name + FAILED))


def test_runs_that_failed_are_told_beside_those_that_did_not(tmp_path: Path) -> None:
    """Who shows those alone that came to an end flatters a scheme under which others did not."""
    runs = stored(tmp_path, healthy(scenario_of()), healthy(scenario_of(), seed=2))
    died = "rank 3 on h4 died: SIGKILL\nand more"
    failed(tmp_path, healthy(scenario_of(), seed=2), died, verdict="INVALID", second=30)
    failed(tmp_path, healthy(scenario_of(), seed=1), "Ctrl-C", verdict="FAILED", second=31)  # and made again
    failed(tmp_path, healthy(scenario_of(fabric={"spines": 3})), died, verdict="INVALID", second=32)
    (runs[0].path.parent / "nothing-in-it.failed").mkdir()
    (comparison,) = compare(runs, allow_invalid=False)
    said = "1 failed run has no numbers (gse1 seed 2: rank 3 on h4 died: SIGKILL)"
    assert said in scheme_grid(comparison).notes
    drawn = completion(comparison)
    assert drawn is not None and drawn[1].endswith(f" {said}.") and said in " ".join(drawn[0].get_suptitle().split())
    assert provenance(comparison, "")["failed"] == [comparison.failed[0].path.name]
    (section,) = report(runs, [], allow_invalid=False).sections
    assert f"{said}." in section.answers
    (chosen,) = compare(runs[:1], allow_invalid=False)  # what somebody chose of a folder is all there is
    assert chosen.failed == ()
    failed(tmp_path, healthy(scenario_of(), seed=7), "disk full", verdict="FAILED", second=33)
    (more,) = compare(runs, allow_invalid=False)
    assert any(note.startswith("2 failed runs have no numbers (gse1 seed 2: ") for note in scheme_grid(more).notes)


def test_runs_of_several_places_and_those_made_again_are_told(tmp_path: Path) -> None:
    first, second = stored(tmp_path, healthy(scenario_of()), healthy(scenario_of(), seed=2))
    elsewhere = {"network": {"datapath": "kernel"}, "machine": {"cores": 8, "cpu": "a\x1b[31mCPU"}}
    other = replace(second, manifest={**second.manifest, **elsewhere, "earlier_tries": ["one.disturbed"]})
    (comparison,) = compare([first, other], allow_invalid=False)
    notes = scheme_grid(comparison).notes
    places = "runs of 2 machines or datapaths (userspace datapath; kernel datapath, 8 cores, a\\x1b[31mCPU)"
    assert any(note.startswith(places) for note in notes)
    assert "1 of 2 runs was made again, for others had disturbed it (*.disturbed)" in notes
    assert provenance(comparison, "")["made_again"] == [other.path.name]
    (alike,) = compare([first, second], allow_invalid=False)
    assert not [note for note in scheme_grid(alike).notes if "datapath" in note or "again" in note]


def test_captions_say_which_runs_are_in_doubt(tmp_path: Path) -> None:
    """A curve of all runs of a scheme together has nothing else to say it by."""
    runs = stored(
        tmp_path, with_rate_error(healthy(scenario_of(), scheme="ecmp"), 0.04), healthy(scenario_of(), scheme="gse1")
    )
    (comparison,) = compare(runs, allow_invalid=False)
    drawn = latency(comparison)
    assert drawn is not None and drawn[1].endswith(" 1 of these 2 runs is not VALID: ecmp seed 1 (SUSPECT).")
    (sound,) = compare(runs[1:], allow_invalid=False)
    told = latency(sound)
    assert told is not None and "not VALID" not in told[1]


def test_a_limit_that_depends_on_the_seed_is_not_drawn_as_one_for_all(tmp_path: Path) -> None:
    """Random placements on a fabric with few uplinks have one each: runs would stand beyond the first one's."""
    runs = stored(tmp_path, healthy(scenario_of()), healthy(scenario_of(), seed=2))
    summary = runs[1].summary
    assert summary is not None
    narrower = {"ideal_s": 2 * summary["ideal_s"], "busbw_limit_mbps": summary["busbw_limit_mbps"] / 2}
    narrower["details"] = {**summary["details"], "bottleneck": "uplinks of l2"}
    mixed = [runs[0], replace(runs[1], summary={**summary, **narrower})]
    for these, is_one in ((runs, True), (mixed, False)):
        (comparison,) = compare(these, allow_invalid=False)
        drawn = completion(comparison)
        assert drawn is not None
        figure, caption = drawn
        assert ("physical limit" in [text.get_text() for text in figure.legends[0].get_texts()]) == is_one
        assert any(line.get_linestyle() == "--" for axes in figure.axes for line in axes.lines) == is_one
        assert ("; the physical limit depends on the seed: 1.268 to 2.535 s." in caption) != is_one
        (section,) = report(these, [], allow_invalid=False).sections
        (bars,) = [bars for bars in section.bars if bars.key == "completion_s"]
        assert (bars.limit is not None) == is_one
        assert ("The physical limit (ideal time) depends on the seed: 1.268 to 2.535 s." in bars.caption) != is_one
        ideal = (
            "ideally 1.268 s; limit of busbw: 9.93 " if is_one else "ideally 1.268 to 2.535 s; limit of busbw: 4.96 to "
        )
        assert ideal in run_grid(comparison).notes[0]
        assert run_grid(comparison).notes[0].endswith(" or uplinks of l2: by seed") != is_one


def test_only_invalid_runs_still_make_tables(tmp_path: Path) -> None:
    runs = stored(tmp_path, with_rate_error(healthy(scenario_of()), 0.2))
    assert cells(runs, "efficiency") == ["-"]


def test_runs_whose_speed_nothing_judges_are_named_whatever_their_verdict(tmp_path: Path) -> None:
    several = scenario_of(fabric={"spines": 8}, workload={"flows_per_hop": 4, "size_bytes": "1M"})
    runs = stored(tmp_path, healthy(several, scheme="ecmp"), healthy(several, scheme="gse1"))
    (comparison,) = compare(runs, allow_invalid=True)
    for grid in (run_grid(comparison), verdict_grid(comparison, comparison.entries)):
        assert sum(note.startswith("speed not judged (ecmp): ") for note in grid.notes) == 1, grid.title
    usual = stored(tmp_path / "usual", healthy(scenario_of(), scheme="ecmp"))
    assert "speed not judged" not in " ".join(run_grid(*compare(usual, allow_invalid=True)).notes)


def test_reasons_stand_below_the_runs(tmp_path: Path) -> None:
    runs = stored(tmp_path, with_rate_error(healthy(scenario_of(), scheme="ecmp"), 0.04))
    assert "ecmp seed 1 SUSPECT: link rate off by 4.0%" in text_of(run_table(runs), width=200)


def test_tables_fit_a_terminal_of_80_columns_uncut(tmp_path: Path) -> None:
    shown = text_of(run_table(three_seeds(tmp_path)), width=80)
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
    assert "…" not in shown
    assert len([line for line in shown.splitlines() if line.startswith(("ecmp ", "gse1 "))]) == 6
    assert shown.count("VALID") == 6


def test_what_was_not_measured_is_a_dash_not_a_zero(tmp_path: Path) -> None:
    run = with_rows(healthy(scenario_of()), links=[], probes=[])
    runs = stored(tmp_path, run)
    assert cells(runs, "loaded uplinks used") == ["-"]
    assert cells(runs, "latency of probes p99, ms") == ["-"]
    assert cells(runs, "packets dropped") == ["0"]


def test_probes_that_were_lost_stand_below_the_latency_of_those_that_arrived(tmp_path: Path) -> None:
    run = healthy(scenario_of())
    probes = [replace(row, latency_s=None) if row.seq % 10 == 0 else row for row in run.tables.probes]
    runs = stored(tmp_path, with_rows(run, probes=probes))
    assert runs[0].summary is not None and runs[0].summary["latency_ms"]["lost"] > 5
    assert cells(runs, "probes lost") == [str(runs[0].summary["latency_ms"]["lost"])]
    (none,) = compare(stored(tmp_path / "none", run), allow_invalid=False)
    assert not [row for row in scheme_grid(none).rows if "lost" in row[0]]


def test_timers_that_expired_have_a_line_where_the_kernel_counts_them(tmp_path: Path) -> None:
    run = healthy(scenario_of())
    late = with_rows(run, flows=[replace(row, timeouts=2) for row in run.tables.flows])
    assert cells(stored(tmp_path, late), "timers that expired") == [str(2 * len(run.tables.flows))]
    assert cells(stored(tmp_path / "none", run), "timers that expired") == ["0"]
    old = with_rows(run, flows=[replace(row, timeouts=None) for row in run.tables.flows])
    (unknown,) = compare(stored(tmp_path / "old", old), allow_invalid=False)
    assert not [row for row in scheme_grid(unknown).rows if "timers" in row[0]]


def test_runs_of_different_questions_are_not_mixed(tmp_path: Path) -> None:
    wide = scenario_of(fabric={"spines": 4})
    runs = stored(tmp_path, healthy(scenario_of()), healthy(wide), healthy(scenario_of(seeds=[7]), seed=7))
    narrow_ones, wide_ones = compare(runs, allow_invalid=False)
    assert [entry.seed for entry in narrow_ones.entries] == [1, 7]  # other seeds, words, schemes: the same question
    assert wide_ones.scenario.fabric.spines == 4
    assert narrow_ones.scenario_hash != wide_ones.scenario_hash


def test_the_latest_run_of_a_seed_is_the_one_paired(tmp_path: Path) -> None:
    slow = healthy(scenario_of(), slow=lambda _i: 2.0)
    (comparison,) = compare(
        stored(tmp_path, healthy(scenario_of(), scheme="ecmp"), slow, healthy(scenario_of())), allow_invalid=False
    )
    ratio = comparison.speedup("gse1")
    assert ratio is not None
    assert (ratio.pairs, ratio.mean) == (1, pytest.approx(2.0))


def test_representative_is_the_median_of_the_runs_in_the_table(tmp_path: Path) -> None:
    records = [
        healthy(scenario_of(), seed=1, slow=lambda _i: 1.3),
        with_rate_error(healthy(scenario_of(), seed=2, slow=lambda _i: 1.2), 0.05),
        healthy(scenario_of(), seed=3, slow=lambda _i: 1.1),
        healthy(scenario_of(), seed=4),
    ]
    (comparison,) = compare(stored(tmp_path, *records), allow_invalid=True)
    chosen = comparison.representative("gse1")
    assert chosen is not None
    assert chosen.seed == 3
    assert comparison.representative("ecmp") is None


def test_no_expectation_where_the_model_does_not_hold(tmp_path: Path) -> None:
    for index, scenario in enumerate(
        (scenario_of(background=[{"src": "h1", "dst": "h3"}]), scenario_of(workload={"placement": "random"}))
    ):
        (comparison,) = compare(stored(tmp_path / str(index), healthy(scenario, scheme="ecmp")), allow_invalid=False)
        assert comparison.ecmp_expectation is None


def test_outage_is_shown_when_there_are_faults(tmp_path: Path) -> None:
    scenario = scenario_of(faults=[{"t_s": 0.5, "action": "fail", "target": "l1-s1"}])
    run = healthy(scenario)
    start_s = run.tables.iterations[1].start_s
    ranks = [replace(row, max_gap_s=0.25, max_gap_at_s=start_s + 0.4) for row in run.tables.ranks]
    event = {"event": "fault", "t_s": start_s + 0.5, "action": "fail", "target": "l1-s1"}
    runs = stored(tmp_path, replace(with_rows(run, ranks=ranks), events=(*run.events, event)))
    assert cells(runs, "outage, ms") == ["250"]
    two = [*runs, *stored(tmp_path / "other", replace(healthy(scenario, seed=2), events=(*run.events, event)))]
    assert two[1].summary is not None and two[1].summary["outage_ms"] is None
    assert cells(two, "outage, ms") == ["250 in 1 of 2 runs"]  # its longest pause was another one
    (section,) = report(two, [], allow_invalid=True).sections
    (lines,) = [lines for lines in section.lines if lines.key == "fault"]
    assert lines.table.rows[0][-1] == "250 in 1 of 2 runs"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("verdict", "GREAT", "verdict: not valid"), ("completion_s", "fast", "completion_s: not valid; got 'fast'")],
)
def test_summary_of_a_stranger_is_refused(tmp_path: Path, field: str, value: str, said: str) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps({**summary, field: value}))
    with pytest.raises(ResultsError, match=re.escape(said)):
        both_tables([load(path)])


def test_a_lost_summary_is_made_again_from_the_rows(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    before = both_tables([load(path)])
    (path / "summary.json").unlink()
    assert both_tables([load(path)]) == before


def test_rows_that_cannot_be_from_the_scenario_are_refused(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    (path / "summary.json").unlink()
    table = (path / "ranks.csv").read_text()
    (path / "ranks.csv").write_text(table.replace(",h1,", ",h99,"))
    with pytest.raises(ResultsError, match="row 1, column host: not possible here; got 'h99', expected h1..h4"):
        both_tables([load(path)])


def test_description_names_the_scale() -> None:
    assert describe(scenario_of(fabric={"uplink_rate_mbps": 25, "links_per_pair": 2})) == (
        "2x2x2 leaves x spines x hosts per leaf, 2 links per leaf-spine pair, host links 10 Mbit/s, uplinks 25 Mbit/s, "
        "MTU 9000; all-reduce of 1 MiB over 4 ranks, cross_leaf, 1 flow per hop"
    )


def test_workloads_show_what_is_asked_of_them(tmp_path: Path) -> None:
    def lines(workload: dict[str, Any], folder: str) -> dict[str, tuple[str, ...]]:
        run = healthy(scenario_of(workload=workload))
        (comparison,) = compare([load(store(tmp_path / folder, run))], allow_invalid=False)
        return {row[0].strip(): row[1:] for row in scheme_grid(comparison).rows}

    ring = lines({}, "ring")
    assert not {"fairness of pairs (Jain)", "receiver's link used", "small messages p50, ms"} & ring.keys()
    incast = lines({"kind": "incast"}, "incast")
    assert incast["fairness of pairs (Jain)"] == ("1.000",)
    assert incast["receiver's link used"] == ("0.985",)
    jobs = lines({"jobs": 2, "placement": "leaf_local"}, "jobs")
    assert jobs["of the first job, s"] == jobs["completion time, s"]
    alone = {"kind": "permutation", "mice_interval_ms": 20.0, "mice_only_s": 3.0}
    mice = lines(alone, "mice")
    assert (mice["completion time, s"], mice["ideal time, s"], mice["small messages p50, ms"]) == (
        ("-",),
        ("-",),
        ("10.00",),
    )


def test_a_line_per_run_has_small_messages_where_there_are_some(tmp_path: Path) -> None:
    run = healthy(scenario_of(workload={"kind": "permutation", "mice_interval_ms": 20.0}))
    (comparison,) = compare([load(store(tmp_path, run))], allow_invalid=False)
    grid = run_grid(comparison)
    (row,) = grid.rows
    cells = dict(zip(grid.headers, row, strict=True))
    assert cells["mice p50\nms"] == "10.0"


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({}, "all-reduce of 1 MiB over 4 ranks, cross_leaf, 1 flow per hop"),
        (
            {"jobs": 2, "placement": "leaf_local"},
            "all-reduce of 1 MiB over 4 ranks in 2 jobs, leaf_local, 1 flow per hop",
        ),
        ({"kind": "all_to_all", "flows_per_hop": 2}, "all-to-all of 1 MiB over 4 ranks, cross_leaf, 2 flows per pair"),
        (
            {"kind": "permutation", "mice_interval_ms": 50.0},
            "permutation of 1 MiB over 4 ranks, cross_leaf, 1 flow per pair, "
            "small messages of 2 KiB every 50 ms and host",
        ),
        (
            {"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 2.0},
            "small messages alone of 2 KiB every 50 ms and host",
        ),
    ],
)
def test_a_workload_is_described_in_one_line(workload: dict[str, Any], said: str) -> None:
    assert describe(scenario_of(workload=workload)).endswith(f"; {said}")


def test_what_agents_cost_is_shown_where_there_are_some(tmp_path: Path) -> None:
    plain = load(store(tmp_path, healthy(scenario_of(), scheme="ecmp")))
    assert not any("host frame" in row[0] for row in scheme_grid(compare([plain], allow_invalid=False)[0]).rows)
    carried = with_agents(
        healthy(scenario_of(), scheme="gse2-n2n"),
        host_in_frames=20_000,
        cpu_s=0.9,
        retransmitted=3,
        hellos=25,
        lost_in_fabric=2,
    )
    agents = load(store(tmp_path, carried, second=1))
    assert agents.summary is not None
    assert agents.summary["agent_cpu_us_per_frame"] == pytest.approx(45.0)
    assert agents.summary["control_fraction"] == pytest.approx(0.25)
    assert agents.summary["scheduling_fraction"] == pytest.approx(0.2)  # 75 of 375 without hellos
    (comparison,) = compare([plain, agents], allow_invalid=False)
    rows = {row[0].strip(): row[1:] for row in scheme_grid(comparison).rows}
    column = comparison.schemes.index("gse2-n2n")
    assert rows["µs per host frame"][column].startswith("45")
    assert rows["control frames"][column].startswith("0.250")
    assert rows["frames resent by agents"][column].startswith("3")
    assert rows["frames dropped by agents"][column].startswith("0")
    assert rows["frames lost between agents"][column].startswith("2")
    assert rows["largest queue to a host, bytes"][column].isdigit()
    assert rows["bulk's wait at its source p50, ms"][column] == "4"
    assert rows["bulk's wait at its source p50, ms"][1 - column] == "-"
    assert any("probes have queues of their own" in note for note in scheme_grid(comparison).notes)
    runs = run_grid(comparison)
    shown = [dict(zip(runs.headers, row, strict=True)) for row in runs.rows]
    assert {row["scheme"]: row["at source\np99 ms"] for row in shown} == {"ecmp": "-", "gse2-n2n": "20"}
    assert any("probes have queues of their own" in note for note in runs.notes)
    (alone,) = compare([plain], allow_invalid=False)
    assert "at source\np99 ms" not in run_grid(alone).headers
    assert not any("queues of their own" in note for note in (*run_grid(alone).notes, *scheme_grid(alone).notes))
    assert rows["µs per host frame"][1 - column] == "-"
