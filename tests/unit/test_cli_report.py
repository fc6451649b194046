"""``gse report``, ``gse table`` and the paper sizes of ``gse plot``, as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.unit.gse_command import Gse, assert_refused
from tests.unit.synthetic_runs import healthy, scenario_of, store
from tests.unit.synthetic_sweeps import stored_sweep, sweep_over


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two schemes, two seeds, and a sweep beside them; not to be changed."""
    folder = tmp_path_factory.mktemp("results")
    for number, (scheme, seed) in enumerate([("ecmp", 1), ("gse1", 1), ("gse1", 2), ("ecmp", 2)]):
        store(folder / "runs", healthy(scenario_of(), scheme=scheme, seed=seed), second=number)
    stored_sweep(folder / "sweep", sweep_over())
    return folder


def sweep_of(results: Path) -> Path:
    (found,) = (results / "sweep" / "synthetic" / "sweeps").iterdir()
    return found


def test_a_report_is_one_file_beside_the_runs_or_where_told(gse: Gse, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "ring.html"
    answer = gse("report", str(results / "runs" / "synthetic"), "--out", str(out))
    assert (answer.status, answer.err, answer.out) == (0, "", f"wrote {out}\n")
    assert [path.name for path in out.parent.iterdir()] == ["ring.html"]
    text = out.read_text()
    assert text.startswith("<!DOCTYPE html>") and "4 VALID" in text
    assert len(text) < 1_000_000


def test_runs_and_sweeps_may_stand_in_one_report(gse: Gse, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.html"
    assert gse("report", str(results / "runs/synthetic"), str(sweep_of(results)), "--out", str(out)).status == 0
    text = out.read_text()
    assert 'id="q1"' in text and 'id="q2"' in text and "synthetic over gsp.container_bytes" in text


def test_a_sweeps_report_is_in_its_folder(gse: Gse, results: Path) -> None:
    assert gse("report", str(sweep_of(results))).status == 0
    assert (sweep_of(results) / "report.html").exists()


@pytest.mark.parametrize("command", ["report", "table"])
def test_nothing_to_show_is_refused(gse: Gse, tmp_path: Path, command: str) -> None:
    assert_refused(gse(command, str(tmp_path / "nothing")), "no finished run; got no such folder")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "sweep.json").write_text("[]")
    assert_refused(gse(command, str(tmp_path / "odd")), "sweep.json: damaged JSON; got list")


def test_a_report_that_cannot_be_written_is_refused(gse: Gse, results: Path, tmp_path: Path) -> None:
    runs = str(results / "runs" / "synthetic")
    assert_refused(gse("report", runs, "--out", str(tmp_path)), "cannot write a report; got a folder")
    assert_refused(gse("report", runs, "--out", "/proc/none/r.html"), "cannot write a report; got")


def test_a_report_does_not_take_the_place_of_a_device_or_of_what_stdout_is(
    gse: Gse, results: Path, tmp_path: Path
) -> None:
    """As root ``--out /dev/null`` made a file of the device, and ``--out /dev/stdout`` one of the link to it."""
    runs = str(results / "runs" / "synthetic")
    (tmp_path / "null").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    for name in ("null", "pipe"):
        assert_refused(gse("report", runs, "--out", str(tmp_path / name)), "cannot write a report; got a")
    with (tmp_path / "file").open("w") as file:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{file.fileno()}")
        assert_refused(gse("report", runs, "--out", str(tmp_path / "stdout")), "got an open file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "null", "pipe", "stdout"]
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "null").is_symlink()


def test_a_report_replaces_a_link_and_does_not_follow_it(gse: Gse, results: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "r.html").symlink_to(tmp_path / "victim")
    assert gse("report", str(results / "runs" / "synthetic"), "--out", str(tmp_path / "r.html")).status == 0
    assert (tmp_path / "victim").read_text() == "precious"


def test_tables_come_as_csv_markdown_and_latex(gse: Gse, results: Path) -> None:
    runs = str(results / "runs" / "synthetic")
    rows = list(csv.reader(io.StringIO(gse("table", runs, "--format", "csv", "--only", "runs").out)))
    assert rows[0][:3] == ["scheme", "seed", "verdict"]
    assert sorted(tuple(row[:3]) for row in rows[1:]) == [
        (scheme, str(seed), "VALID") for scheme in ("ecmp", "gse1") for seed in (1, 2)
    ]
    assert "| runs | 2 VALID | 2 VALID |" in gse("table", runs, "--format", "markdown").out
    assert gse("table", runs, "--format", "latex").out.count(r"\begin{tabular}") == 2
    assert "schemes compared" in gse("table", runs).out


def test_a_sweeps_tables_come_too(gse: Gse, results: Path) -> None:
    rows = list(csv.reader(io.StringIO(gse("table", str(sweep_of(results)), "--format", "csv").out)))
    assert rows[0][:2] == ["gsp.container_bytes", "scheme"]
    assert len([row for row in rows[1:] if row and row[1] == "gse2-n2n"]) == 9


def made_suspect(run: Path) -> None:
    """Give a stored run the verdict of a check that there is no more."""
    where = run / "summary.json"
    changes = {"verdict": "SUSPECT", "reasons": ["a check of long ago"], "checks": ["old"]}
    where.write_text(json.dumps({**json.loads(where.read_text()), **changes}))


@pytest.mark.parametrize("kind", ["runs", "sweep"])
@pytest.mark.parametrize("command", ["table", "report"])
def test_runs_and_sweeps_are_judged_anew_when_asked(
    gse: Gse, results: Path, tmp_path: Path, command: str, kind: str
) -> None:
    shutil.copytree(results / kind, tmp_path / kind)
    scenario = tmp_path / kind / "synthetic"
    for run in scenario.glob("2*"):
        made_suspect(run)
    where = scenario if kind == "runs" else next((scenario / "sweeps").iterdir())
    out = tmp_path / "page.html"

    def said(*options: str) -> str:
        answer = gse(command, str(where), *options, *(("--out", str(out)) if command == "report" else ()))
        assert answer.status == 0, answer
        return out.read_text() if command == "report" else " ".join(answer.out.split())

    assert "a check of long ago" in (as_stored := said()) and "made anew" not in as_stored
    assert "made anew by gse-testbed" in (anew := said("--judge-anew")) and "a check of long ago" not in anew
    kept = ["long ago" in (run / "summary.json").read_text() for run in scenario.glob("2*")]
    assert kept and all(kept), "nothing is stored"


def test_who_plots_a_sweeps_folder_is_told_what_draws_it(gse: Gse, results: Path) -> None:
    folder = str(sweep_of(results))
    assert_refused(gse("plot", folder), f"{folder}: a sweep is no folder of runs; got sweep.json", "gse sweep --again")


def test_figures_have_the_formats_and_the_width_asked_for(gse: Gse, results: Path, tmp_path: Path) -> None:
    from tests.unit.test_plots import width_of_png

    runs = str(results / "runs" / "synthetic")
    answer = gse("plot", runs, "--out", str(tmp_path / "f"), "--format", "pdf,png", "--width", "80mm")
    assert answer.status == 0, answer
    written = {path.name for path in (tmp_path / "f").iterdir()}
    assert {path.partition(".")[2] for path in written} == {"pdf", "png", "json"}
    for name in ("completion", "uplinks", "latency", "queues"):
        assert width_of_png(tmp_path / "f" / f"{name}.png") == int(8 / 2.54 * 300)
    pdf = (tmp_path / "f" / "completion.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"/CIDFontType2" in pdf and b"/Type3" not in pdf, "fonts as publishers take them"
    sidecar = json.loads((tmp_path / "f" / "completion.json").read_text())
    assert sidecar["commits"] == ["0123456789"]
    assert "Share of the limit: ecmp " in sidecar["caption"]


@pytest.mark.parametrize(
    "option", [("--format", "gif"), ("--format", ","), ("--width", "8"), ("--width", "1cm"), ("--width", "9e9cm")]
)
def test_other_formats_and_widths_are_refused(gse: Gse, results: Path, option: tuple[str, str]) -> None:
    answer = gse("plot", str(results / "runs" / "synthetic"), *option)
    assert answer.status == 2
    assert f"argument {option[0]}: got '{option[1]}', expected" in answer.err


def test_figures_are_without_a_heading_when_asked(gse: Gse, results: Path, tmp_path: Path) -> None:
    command = ("plot", str(results / "runs" / "synthetic"), "--format", "svg", "--out")
    for folder, option in (("headed", ()), ("bare", ("--no-heading",))):
        assert gse(*command, str(tmp_path / folder), *option).status == 0
    figures = ("completion", "uplinks", "latency", "queues")
    names = {f"{figure}.{kind}" for figure in figures for kind in ("svg", "json")}
    for folder in ("headed", "bare"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == names
    for name in names:
        headed, bare = ((tmp_path / folder / name).read_text() for folder in ("headed", "bare"))
        if name.endswith(".json"):
            assert bare == headed
        else:
            assert "leaves x spines" in headed and "leaves x spines" not in bare


def test_pdf_of_the_same_runs_is_the_same(gse: Gse, results: Path, tmp_path: Path) -> None:
    runs = str(results / "runs" / "synthetic")
    for folder in ("a", "b"):
        assert gse("plot", runs, "--out", str(tmp_path / folder), "--format", "pdf").status == 0
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("a", "b"))
    assert len([name for name in first if name.endswith(".pdf")]) == 4
    assert second == first
