"""Emulated and native units side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from gse_command import Gse

from testbed.views.comparison import compare
from testbed.views.native import NOT_SCALED, native_grids, native_sweep_grid
from testbed.views.sweep import sweep_results
from tests.unit.synthetic_runs import healthy, scenario_of
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over
from tests.unit.test_tables import stored, three_seeds, with_rate_error


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


def test_the_same_bytes_on_faster_links_take_less_by_their_ratio(tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)  # links of 10 Mbit/s
    (grid,) = native_grids(runs, 200.0)
    (comparison,) = compare(runs, allow_invalid=False)
    assert "links of 10 Mbit/s and as on links of 200 Gbit/s" in grid.title
    assert [row[:2] for row in grid.rows] == [("ecmp", "3"), ("gse1", "3")]
    for scheme, _runs, time_s, native_ms, busbw_mbps, native_gbps, share in grid.rows:
        times, rates, shares = (comparison.spread(scheme, key) for key in ("completion_s", "busbw_mbps", "efficiency"))
        assert times is not None and rates is not None and shares is not None
        assert float(time_s) == pytest.approx(times.mean, rel=1e-3)
        assert float(native_ms) == pytest.approx(times.mean / 20_000 * 1e3, abs=6e-4)
        assert float(busbw_mbps) == pytest.approx(rates.mean, abs=6e-3)
        assert float(native_gbps) == pytest.approx(rates.mean * 20_000 / 1e3, abs=6e-3)
        assert float(share) == pytest.approx(shares.mean, abs=6e-4)
    assert "x 20000;" in grid.notes[0] and grid.notes[1] == NOT_SCALED


def test_invalid_runs_have_no_part_and_what_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    good, bad = (healthy(scenario_of(), scheme=scheme) for scheme in ("ecmp", "gse1"))
    (grid,) = native_grids(stored(tmp_path, good, with_rate_error(bad, 0.2)), 200.0)
    assert [row[:2] for row in grid.rows] == [("ecmp", "1"), ("gse1", "0")]
    assert grid.rows[1][2:] == ("-",) * 5


def test_what_lasts_as_long_as_it_is_told_to_is_not_scaled(tmp_path: Path) -> None:
    mice = {"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 5.0}
    (grid,) = native_grids(stored(tmp_path, healthy(scenario_of(workload=mice))), 200.0)
    assert grid.rows == () and "as the scenario tells them to" in grid.notes[0]


def test_tables_have_native_units_when_asked_for(gse: Gse, tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    folder = str(runs[0].path.parent)
    assert "native" not in gse("table", folder).out
    for form in ("text", "markdown", "latex", "csv"):
        answer = gse("table", folder, "--native-gbps", "200", "--format", form)
        assert answer.status == 0 and "native" in answer.out


def test_pages_have_the_same_table_when_asked_for(gse: Gse, tmp_path: Path) -> None:
    runs = three_seeds(tmp_path)
    folder, out = str(runs[0].path.parent), tmp_path / "ring.html"
    (grid,) = native_grids(runs, 200.0)
    for options, there in ((("--native-gbps", "200"), True), ((), False)):
        assert gse("report", folder, "--out", str(out), *options).status == 0
        text = out.read_text()
        assert (grid.title in text) == there
        assert all((f"<td>{cell}</td>" in text) == there for cell in grid.rows[0][3:6:2])


def test_a_sweep_has_a_line_per_value_and_scheme_each_by_its_own_rate(gse: Gse, tmp_path: Path) -> None:
    sweep = sweep_over("fabric.link_rate_mbps", (10, 20), schemes=("ecmp", "gse1"), seeds=(1, 2))
    results = sweep_results(stored_sweep(tmp_path, sweep))
    grid = native_sweep_grid(results, 200.0)
    assert [row[:3] for row in grid.rows] == [
        ("10", "ecmp", "2"),
        ("10", "gse1", "2"),
        ("20", "ecmp", "2"),
        ("20", "gse1", "2"),
    ]
    for row, group in zip(grid.rows, results.groups, strict=True):
        time, rate, share = (group.median(key) for key in ("completion_s", "busbw_mbps", "efficiency"))
        assert time is not None and rate is not None and share is not None
        factor = {"10": 20_000, "20": 10_000}[row[0]]
        assert float(row[3]) == pytest.approx(time.median, rel=1e-3)
        assert float(row[4]) == pytest.approx(time.median / factor * 1e3, abs=6e-4)
        assert float(row[6]) == pytest.approx(rate.median * factor / 1e3, abs=6e-3)
        assert row[7] == f"{share.median:.3f}"
    assert "20000 (10), 10000 (20)" in grid.notes[0] and grid.notes[1] == NOT_SCALED
    folder, out = str(results.stored.path), tmp_path / "sweep.html"
    assert "native" in gse("sweep", "--again", folder, "--format", "svg", "--native-gbps", "200").out
    assert "native" in gse("table", folder, "--native-gbps", "200").out
    assert gse("report", folder, "--out", str(out), "--native-gbps", "200").status == 0
    assert grid.title in out.read_text()


def test_of_what_is_not_scaled_a_sweep_says_why(tmp_path: Path) -> None:
    alone = {"kind": "permutation", "mice_interval_ms": 50.0, "mice_only_s": 5.0}
    sweep = sweep_over("workload.mice_bytes", (512, 2048), schemes=("gse1",), seeds=(1,), workload=alone)
    grid = native_sweep_grid(sweep_results(stored_sweep(tmp_path, sweep)), 200.0)
    assert grid.rows == () and "as the scenario tells them to" in grid.notes[0]


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", "1e9", ""])
def test_other_rates_are_refused(gse: Gse, tmp_path: Path, text: str) -> None:
    answer = gse("table", str(tmp_path), f"--native-gbps={text}")
    assert answer.status == 2 and "expected Gbit/s of a link" in answer.err
