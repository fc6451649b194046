"""What tables say of how well the machine kept up: what checks look at, beside their limits, and never a made-up 0."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ResultsError
from testbed.evaluation.records import RunRecord
from testbed.fidelity import delays, links, losses
from testbed.fidelity import pace as pace_checks
from testbed.fidelity.delays import allowed_ms
from testbed.fidelity.verdict import THRESHOLDS
from testbed.model.sweep import SweepRun
from testbed.results.run import Run
from testbed.results.summary import judged_anew
from testbed.views.cells import NOT_MEASURED, Grid
from testbed.views.comparison import compare
from testbed.views.kept_up import PACES, SWEPT, TITLE, kept_up_grid
from testbed.views.quantities import QUANTITIES
from testbed.views.report.document import report
from testbed.views.report.page import page
from testbed.views.sweep import sweep_results
from testbed.views.sweep_table import machine_grid
from tests.unit.gse_command import Gse
from tests.unit.synthetic_runs import healthy, scenario_of, store, with_rows
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over, with_rate_error
from tests.unit.test_docs import checks_of
from tests.unit.test_program_results import slow_link, unanswered
from tests.unit.test_tables import stored, three_seeds

# Checks of pace and loss whose numbers these tables do not have, and why. Their reasons say how far limits were passed.
OF_ROWS = "reckoned from rows and events; summaries, of which tables are made, have no such number"
NOT_SHOWN = {
    "switch_bound": "how far a run is below its paths is a result, and in tables of results",
    "clock_step": "a clock is set or it is not",
    **dict.fromkeys(("rank_lateness", "compute_lateness", "probe_lateness", "sender_lateness"), OF_ROWS),
    **dict.fromkeys(("socket_drops", "interface_drops", "unaccounted", "lost_in_switch", "resent"), OF_ROWS),
}
LABELS = {pace.check: pace.label for pace in PACES if pace.check is not None}


def grid_of(runs: list[Run], *, allow_invalid: bool = True) -> Grid:
    (comparison,) = compare(runs, allow_invalid=allow_invalid)
    return kept_up_grid(comparison)


def row(grid: Grid, label: str) -> tuple[str, ...]:
    (found,) = [one[1:] for one in grid.rows if one[0] == label]
    return found


def of_check(run: Run, check: str) -> str:
    """Return what stands in the cell of the only run there is."""
    return row(grid_of([run]), LABELS[check])[0]


def with_details(run: Run, **changes: Any) -> Run:
    """Return the run with other details in its summary; a value that is None: as if nobody had measured it."""
    summary = dict(run.summary or {})
    return replace(run, summary={**summary, "details": {**summary["details"], **changes}})


def test_numbers_are_those_of_the_summary(tmp_path: Path) -> None:
    (run,) = stored(tmp_path, unanswered(slow_link(healthy(scenario_of()))))
    assert run.summary is not None
    details = run.summary["details"]
    rates, looked, probes, cpu = (details[name] for name in ("link_rates", "lookups", "probe_delay", "cpu"))
    assert looked["lost"] == 4 and abs(rates["worst"]["ratio"] - 0.95) < 1e-3
    assert of_check(run, "link_rate") == f"{(1 - rates['worst']['ratio']) * 100:.3g}%"
    assert of_check(run, "link_stall") == f"{rates['longest_stall']['longest_stall_s'] * 1000:.3g}"
    assert of_check(run, "upcalls_lost") == f"{400 / (looked['hit'] + looked['missed']):.3g}%"
    allowed = allowed_ms(run.scenario.fabric, probes["explained_high_p50_ms"])
    assert of_check(run, "probe_delay") == f"{probes['unexplained_p50_ms'] / allowed:.3g}"
    assert of_check(run, "switch_wait") == f"{cpu['switch_thread']['wait_fraction'] * 100:.3g}%" == "5%"
    assert of_check(run, "switch_core") == f"{cpu['switch_thread']['run_fraction'] * 100:.3g}%" == "80%"
    assert of_check(run, "busy_cores") == f"{(1 - cpu['machine']['idle_fraction']) * 100:.3g}%"
    assert of_check(run, "steal") == "0%"  # measured, and nothing
    assert of_check(run, "foreign_load") == f"{1.3 - 0.8 - 0.01 - 0.4 - 0.02:.2g}"  # of two cores, less each role
    assert of_check(run, "sampler_lateness") == "0.8%"  # 2 ms of 250
    grid = grid_of([run])
    assert row(grid, "  links whose rate is known, of all")[0] == f"{rates['told'] / rates['links'] * 100:.3g}%"
    assert row(grid, "packets without a rule (upcalls), of all looked up")[0] == f"{20 / 8020 * 100:.3g}%"


def test_every_number_stands_beside_the_limits_of_its_check(tmp_path: Path) -> None:
    grid = grid_of(stored(tmp_path, healthy(scenario_of())))
    assert grid.headers == ("", "gse1", "SUSPECT above", "INVALID above")
    assert {pace.check for pace in PACES} - {None} <= set(THRESHOLDS)
    assert row(grid, LABELS["link_rate"])[1:] == ("3%", "10%")
    assert row(grid, LABELS["link_stall"])[1:] == ("20", "200")  # ms of 0.02 and 0.2 s
    assert row(grid, LABELS["upcalls_lost"])[1:] == ("0%", "0.01%")
    assert row(grid, LABELS["softnet_drops"]) == ("0", "0", "never")
    assert row(grid, LABELS["probe_delay"])[1:] == ("1", "never")
    assert row(grid, LABELS["steal"])[1:] == ("1%", "5%")
    assert row(grid, "  links whose rate is known, of all")[1:] == ("", "")  # no check asks


def test_every_check_of_pace_and_loss_has_a_line_or_a_reason_why_not() -> None:
    modules = (delays, links, losses, pace_checks)
    functions = [one for module in modules for name, one in vars(module).items() if name.startswith("check_")]
    asked = checks_of([one for one in functions if one.__module__ in {module.__name__ for module in modules}])
    assert {"probe_delay", "link_rate", "upcalls_lost", "steal"} <= asked <= set(THRESHOLDS)
    assert sorted([*LABELS, *NOT_SHOWN]) == sorted(asked)


def test_limits_are_taken_from_the_table_of_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(THRESHOLDS, "steal", replace(THRESHOLDS["steal"], suspect=0.123, invalid=None))
    grid = grid_of(stored(tmp_path, healthy(scenario_of())))
    assert row(grid, LABELS["steal"])[1:] == ("12.3%", "never")


def test_what_was_not_measured_is_a_dash_and_never_nothing(tmp_path: Path) -> None:
    (run,) = stored(tmp_path, healthy(scenario_of()))
    bare = replace(run, summary={**(run.summary or {}), "details": {}}, manifest={**run.manifest, "events": []})
    grid = grid_of([bare])
    assert {one[1] for one in grid.rows} == {NOT_MEASURED}
    older = with_details(run, link_rates=None, lookups=None, softnet=None, probe_delay=None)
    for check in ("link_rate", "link_stall", "upcalls_lost", "softnet_drops", "probe_delay"):
        assert of_check(older, check) == NOT_MEASURED
    # frames waited for links, and of none the rate is known; nothing was looked up
    some = {"links": 12, "told": 0, "worst": None, "longest_stall": {"longest_stall_s": 0.004}}
    part = with_details(run, link_rates=some, lookups={"hit": 0, "missed": 0, "lost": 0})
    assert [of_check(part, check) for check in ("link_rate", "link_stall", "upcalls_lost")] == ["-", "4", "-"]
    unsampled = with_details(run, cpu={"roles": {}, "switch_thread": None, "machine": None})
    for check in ("switch_wait", "switch_core", "busy_cores", "steal", "foreign_load"):
        assert of_check(unsampled, check) == NOT_MEASURED


def test_of_several_runs_there_is_the_median_and_the_worst_and_how_many_have_it(tmp_path: Path) -> None:
    runs = stored(tmp_path, *(healthy(scenario_of(), seed=seed) for seed in (1, 2, 3)))

    def told(run: Run, ratio: float | None, told: int) -> Run:
        worst = None if ratio is None else {"ratio": ratio}
        return with_details(run, link_rates={"links": 10, "told": told, "worst": worst, "longest_stall": None})

    three = [told(run, ratio, n) for run, ratio, n in zip(runs, (1.001, 0.98, 1.002), (5, 2, 8), strict=True)]
    grid = grid_of(three)
    assert row(grid, LABELS["link_rate"])[0] == "0.2% (2%)"  # too slow and too fast are as bad
    assert row(grid, "  links whose rate is known, of all")[0] == "50% (20%)"  # the fewest
    two = [told(runs[0], None, 0), *three[1:]]
    assert row(grid_of(two), LABELS["link_rate"])[0] == "1.1% (2%) in 2 of 3 runs"


def test_invalid_runs_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    runs = stored(tmp_path, healthy(scenario_of()), with_rate_error(slow_link(healthy(scenario_of(), seed=2)), -0.2))
    assert row(grid_of(runs, allow_invalid=False), LABELS["link_rate"])[0] == NOT_MEASURED
    assert "1 INVALID run left out" in grid_of(runs, allow_invalid=False).notes[-1]
    assert "5% in 1 of 2 runs" in row(grid_of(runs), LABELS["link_rate"])[0]


def test_agents_have_a_line_where_there_are_some(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    assert LABELS["agents_wait"] not in {one[0] for one in grid_of(runs).rows}
    waited = [
        replace(run, summary={**(run.summary or {}), "agents_wait_fraction": 0.5}) if run.scheme == "gse1" else run
        for run in runs
    ]
    assert row(grid_of(waited), LABELS["agents_wait"]) == (NOT_MEASURED, "50%", "64%", "68%")
    late = {"agents": {"timers_late_ms": {"timers": 400, "p50": 1, "p99": 6}}}
    timed = [replace(run, summary={**(run.summary or {}), **late}) for run in runs]
    assert row(grid_of(timed), "  their timers late, p99, ms") == ("6", "6", "", "")
    assert "  their timers late, p99, ms" not in {one[0] for one in grid_of(waited).rows}
    idle = [replace(run, summary={**(run.summary or {}), "agents_wait_fraction": 0.0}) for run in runs]
    assert row(grid_of(idle), LABELS["agents_wait"])[:2] == ("0%", "0%")


def test_interrupts_are_the_runs_own_where_the_kernel_switches(tmp_path: Path) -> None:
    (run,) = stored(tmp_path, healthy(scenario_of()))
    machine = {"busy_fractions": [0.9, 0.5], "interrupt_fractions": [0.3, 0.1], "idle_fraction": 0.3}
    found = with_details(run, cpu={"roles": {"rank": {"run_cores": 0.5}}, "switch_thread": None, "machine": machine})
    assert of_check(found, "foreign_load") == "0.9"
    by_kernel = replace(found, manifest={**run.manifest, "network": {**run.manifest["network"], "datapath": "kernel"}})
    assert of_check(by_kernel, "foreign_load") == "0.5"
    busier = with_details(run, cpu={"roles": {"rank": {"run_cores": 1.5}}, "switch_thread": None, "machine": machine})
    assert of_check(busier, "foreign_load") == "0"  # ticks are coarse


@pytest.mark.parametrize(
    "details",
    [
        {"link_rates": {"worst": {"ratio": "fast"}}},
        {"lookups": {"hit": -1, "missed": 0, "lost": 0}},
        {"cpu": {"machine": {"busy_fractions": 7}, "roles": {"rank": {"run_cores": 1}}}},
        {"cpu": {"machine": {"busy_fractions": [None]}, "roles": {"rank": {"run_cores": 1}}}},
    ],
)
def test_what_is_no_number_is_refused_by_name(tmp_path: Path, details: dict[str, Any]) -> None:
    (run,) = stored(tmp_path, healthy(scenario_of()))
    with pytest.raises(ResultsError, match=r"summary.json: details\.\w+\..*: not valid"):
        grid_of([with_details(run, **details)])


def test_summaries_made_anew_read_as_those_stored(tmp_path: Path) -> None:
    runs = stored(tmp_path, slow_link(healthy(scenario_of())))
    assert grid_of([judged_anew(run) for run in runs]).rows == grid_of(runs).rows


def test_tables_that_were_read_to_judge_a_run_are_not_kept(tmp_path: Path) -> None:
    """Those of hundreds of runs together were: gigabytes, and out of memory."""
    runs = stored(tmp_path, *(healthy(scenario_of(), seed=seed) for seed in (1, 2)))
    anew = [judged_anew(run) for run in runs]
    assert all(run.summary for run in anew)
    assert not any({"tables", "record"} & vars(run).keys() for run in (*runs, *anew))


# --- where they are shown -------------------------------------------------------------------------------------


def test_a_page_has_them_below_its_verdicts(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    made = report(runs, [], allow_invalid=False)
    (section,) = made.sections
    assert section.kept_up == grid_of(runs)
    text = page(made)
    assert text.count(f"<caption>{TITLE}</caption>") == 1
    part = text.partition('<section id="q1-verdicts"')[2].partition("</section>")[0]
    assert TITLE in part and LABELS["steal"] in part


def test_where_all_runs_are_invalid_a_page_shows_what_they_were_like(tmp_path: Path) -> None:
    runs = stored(tmp_path, with_rate_error(slow_link(healthy(scenario_of())), -0.2))
    (section,) = report(runs, [], allow_invalid=False).sections
    assert row(section.kept_up, LABELS["link_rate"])[0] == "5%"


def test_a_table_of_them_is_printed_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, scheme in enumerate(("ecmp", "gse1")):
        store(tmp_path, healthy(scenario_of(), scheme=scheme), second=number)
    answer = Gse(capsys)("table", str(tmp_path / "synthetic"), "--only", "machine", "--format", "csv")
    assert answer.status == 0
    header, *rows = csv.reader(io.StringIO(answer.out))
    assert header == ["", "ecmp", "gse1", "SUSPECT above", "INVALID above"]
    found = {one[0]: one[1:] for one in rows if one}
    assert found[LABELS["link_rate"]] == ["", "", "3%", "10%"]  # no frame waited for long in these
    assert found[LABELS["steal"]] == ["0%", "0%", "1%", "5%"]


def spoil(seed: int, change: Callable[[RunRecord], RunRecord]) -> Callable[[SweepRun, RunRecord], RunRecord]:
    return lambda run, record: change(record) if (run.point, run.scheme, run.seed) == (0, "gse1", seed) else record


def test_a_sweep_has_the_worst_of_its_runs(tmp_path: Path) -> None:
    sweep = sweep_over("workload.size_bytes", ("1M", "2M"), schemes=("ecmp", "gse1"), seeds=(1, 2))
    results = sweep_results(stored_sweep(tmp_path, sweep, spoil(2, slow_link)))
    grid = machine_grid(results)
    headers = [" ".join(header.split()) for header in grid.headers[2:]]
    assert headers == ["link off", "pause ms", "upcalls lost", "probes share", "switch wait", "steal"]
    cells = {one[:2]: dict(zip(headers, one[2:], strict=True)) for one in grid.rows}
    assert cells["1 MiB", "gse1"]["link off"] == "5%"
    assert cells["2 MiB", "gse1"]["link off"] == cells["1 MiB", "ecmp"]["link off"] == NOT_MEASURED
    assert {one["switch wait"] for one in cells.values()} == {"5%"}
    assert "link off 3%, 10%; pause ms 20, 200; upcalls lost 0%, 0.01%; probes share 1, never" in grid.notes[0]
    (section,) = report([], [results], allow_invalid=True).sections
    assert section.kept_up == grid and grid not in section.tables

    def useless(record: RunRecord) -> RunRecord:
        return with_rate_error(slow_link(record), 0.2)

    without = machine_grid(sweep_results(stored_sweep(tmp_path / "invalid", sweep, spoil(2, useless))))
    assert {one[2] for one in without.rows} == {NOT_MEASURED}  # INVALID runs are in no number of a sweep


def test_sweeps_tell_them_of_every_run(tmp_path: Path) -> None:
    sweep = sweep_over("workload.size_bytes", ("1M", "2M"), schemes=("ecmp", "gse1"), seeds=(1, 2))
    results = sweep_results(stored_sweep(tmp_path, sweep, spoil(2, slow_link)))
    ratios = [run["link_rate_ratio"] for run in results.document()["runs"]]
    assert len(ratios) == 8 and [ratio for ratio in ratios if ratio is not None] == [pytest.approx(0.95, abs=1e-3)]
    (run, *_others) = results.document()["runs"]
    assert (run["upcalls"], run["upcalls_lost"], run["steal_fraction"]) == (20, 0, 0.0)
    assert run["switch_wait_fraction"] == pytest.approx(0.05)
    assert run["probe_unexplained_p50_ms"] >= 0 < run["probe_explained_p50_ms"]
    assert not [one for one in QUANTITIES if one.key in ("link_rate_ratio", "steal_fraction") and one.is_compared]


def test_columns_of_sweeps_are_lines_of_questions() -> None:
    assert set(SWEPT) <= set(PACES)
    assert all(pace.check is not None for pace in SWEPT), "each has its limits in the note"


def test_unsampled_processors_are_no_idle_ones(tmp_path: Path) -> None:
    (run,) = stored(tmp_path, with_rows(healthy(scenario_of()), cpu=[], threads=[], lookups=[]))
    for check in ("busy_cores", "steal", "foreign_load", "switch_wait", "upcalls_lost"):
        assert of_check(run, check) == NOT_MEASURED
