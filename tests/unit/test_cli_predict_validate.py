"""``gse predict validate``: predictions beside stored runs, and the page of them."""

from __future__ import annotations

import errno
import json
import os
import threading
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pytest
from gse_command import Gse, assert_refused
from synthetic_runs import healthy, store

import testbed.cli.predict_validate
from testbed.fluid.case import Case
from testbed.fluid.predict import outcomes
from testbed.fluid.validation import BANDS, CASES, OPTIMA, WITHIN
from testbed.model.scenario import Scenario
from testbed.runs.validation import agreements

RING = next(case for case in CASES if case.name == "ring_gse1")


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


def test_predictions_beside_stored_runs(gse: Gse, tmp_path: Path) -> None:
    (predicted,) = outcomes([Case(RING.scenario, RING.scheme, RING.seed)])
    command = (
        "predict",
        "validate",
        "--stored",
        "--results",
        str(tmp_path),
        "--only",
        "ring_gse1",
        "--reference",
        "none",
    )
    assert "not run" in gse(*command).out
    run = healthy(RING.scenario, scheme=RING.scheme, seed=RING.seed)
    summary = json.loads((Path(store(tmp_path, run)) / "summary.json").read_text())
    off = predicted.time_s / summary["completion_s"] - 1
    page = tmp_path / "validation.md"
    answer = gse(*command, "--write", str(page))
    assert answer.status == int(abs(off) > WITHIN)
    assert f"{off:+.1%}" in page.read_text() and "| ring, 4x4x4 | gse1 | 1 |" in page.read_text()


def stored_ring(results: Path, scenario: Scenario = RING.scenario, **changes: object) -> Path:
    """Store a run of the case, with changes of its summary; ``...`` removes a key."""
    path = Path(store(results, healthy(scenario, scheme=scenario.schemes[0], seed=scenario.seeds[0])))
    document = json.loads((path / "summary.json").read_text())
    document = {name: value for name, value in {**document, **changes}.items() if value is not ...}
    (path / "summary.json").write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("times_s", [(6.0, 9.0, 6.6), (6.6, 6.0, 9.0), (9.0, 6.6)])
def test_of_several_runs_the_median_one_is_shown_and_none_is_forgotten(
    tmp_path: Path, times_s: tuple[float, ...]
) -> None:
    """The last one was: whoever made a run again until it agreed had agreement."""
    for second, time_s in enumerate(times_s):
        run = healthy(RING.scenario, scheme=RING.scheme, seed=RING.seed)
        path = Path(store(tmp_path, run, second=second))
        document = json.loads((path / "summary.json").read_text())
        (path / "summary.json").write_text(json.dumps({**document, "completion_s": time_s}))
    (found,) = agreements(tmp_path, [RING])
    assert found.measured_s == sorted(times_s)[len(times_s) // 2]
    assert found.what == f"{RING.what} (median of {len(times_s)})"


VALIDATE = ("predict", "validate", "--stored", "--only", "ring_gse1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": ...}, "summary.json: verdict: not valid; got None, expected one of VALID, SUSPECT, INVALID"),
        ({"completion_s": "fast"}, "summary.json: completion_s: not valid; got 'fast', expected 0, a number from"),
        ({"completion_s": 1e-320}, "summary.json: completion_s: not valid; got 1e-320"),
        ({"efficiency": [1]}, "summary.json: efficiency: not valid; got a value of type list"),
        ({"checks": 7}, "summary.json: checks: not valid; got 7"),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["--results", "--reference"])
def test_a_summary_of_a_stranger_is_refused(
    gse: Gse, tmp_path: Path, where: str, changes: dict[str, object], said: str
) -> None:
    stored_ring(tmp_path / "strange", **changes)
    other = "--reference" if where == "--results" else "--results"
    assert_refused(gse(*VALIDATE, where, str(tmp_path / "strange"), other, str(tmp_path / "none")), said)


@pytest.mark.parametrize("changes", [{"completion_s": ...}, {"completion_s": None}, {"completion_s": 0}], ids=str)
def test_what_took_no_time_was_not_measured(gse: Gse, tmp_path: Path, changes: dict[str, object]) -> None:
    stored_ring(tmp_path, efficiency=..., **changes)
    answer = gse(*VALIDATE, "--results", str(tmp_path), "--reference", str(tmp_path))
    assert answer.status == 0 and answer.out.startswith("small cases: 0 of 0 measured runs predicted within 5%; 1 ")
    assert "stored reference runs" not in answer.out


def test_a_band_is_of_the_runs_that_have_its_number(gse: Gse, tmp_path: Path) -> None:
    case = next(band for band in BANDS if band.flows == 1)
    for seed, changes in ((1, {"efficiency": None}), (2, {"predicted_efficiency": ...}), (3, {})):
        stored_ring(tmp_path, case.scenario.model_copy(update={"seeds": (seed,)}), **changes)
    command = ("predict", "validate", "--stored", "--full", "--only", case.name, "--reference", "none")
    answer = gse(*command, "--results", str(tmp_path), "--write", str(page := tmp_path / "page.md"))
    assert "Traceback" not in answer.err and "| 2 of 2 |" in page.read_text(), answer


def test_names_of_folders_of_a_stranger_are_text(gse: Gse, tmp_path: Path) -> None:
    name = "a|b `c` <script>d \x1b[2J"
    stored_ring(tmp_path).parent.rename(tmp_path / name)
    page = tmp_path / "page.md"
    command = (*VALIDATE, "--results", str(tmp_path / "none"), "--reference", str(tmp_path))
    answer = gse(*command, "--write", str(page))
    assert "\x1b" not in answer.out and "\\x1b[2J" in answer.out.replace("\n", "")
    (row,) = [line for line in page.read_text().splitlines() if "script" in line]
    assert row.startswith("| a\\|b \\`c\\` &lt;script&gt;d ") and "\x1b" not in row


def test_a_full_disk_leaves_the_page_there_is(gse: Gse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "pages" / "validation.md"
    page.parent.mkdir()
    page.write_text("the old page")
    command = (*VALIDATE, "--results", str(tmp_path / "none"), "--reference", str(tmp_path / "none"))
    command = (*command, "--write", str(page))

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def full_of_text(path: Path, content: str, **_how: object) -> int:
        return full(path, content.encode())

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        patch.setattr(Path, "write_text", full_of_text)
        answer = gse(*command)
    said = f"{page}: cannot write the tables; got No space left on device, expected free space on that file system"
    assert (answer.status, "Traceback" in answer.err) == (2, False) and said in answer.err
    assert page.read_text() == "the old page" and list(page.parent.iterdir()) == [page]
    assert gse(*command).status == 0
    assert page.read_text().startswith("# The fluid model") and list(page.parent.iterdir()) == [page]


def test_a_page_replaces_a_link_and_goes_into_a_pipe(gse: Gse, tmp_path: Path) -> None:
    victim, page, pipe = (tmp_path / name for name in ("victim", "page.md", "pipe"))
    victim.write_text("precious")
    page.symlink_to(victim)
    command = (*VALIDATE, "--results", str(tmp_path / "none"), "--reference", str(tmp_path / "none"), "--write")
    assert gse(*command, str(page)).status == 0
    assert victim.read_text() == "precious" and not page.is_symlink()
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert gse(*command, str(pipe)).status == 0
    reader.join(timeout=10)
    assert read == [page.read_text()] and pipe.is_fifo()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stand in for all runs; what would have been run, each time."""
    names: list[list[str]] = []

    def run_missing(scenarios: Sequence[Scenario], args: Namespace) -> list[object]:
        assert args.write is None or not args.write.exists()
        names.append([scenario.name for scenario in scenarios])
        return []

    monkeypatch.setattr(testbed.cli.predict_validate, "_run_missing", run_missing)
    return names


def test_what_was_not_asked_for_is_not_run(gse: Gse, tmp_path: Path, asked: list[list[str]]) -> None:
    command = ("predict", "validate", "--results", str(tmp_path), "--reference", "none", "--only")
    band = BANDS[0].name
    optimum = OPTIMA[0].name
    answer = gse(*command, f"ring_gse1,{optimum}", "--full")
    assert "the optimum of its own grants and headers, all flows on all paths: 0 of 0" in " ".join(answer.out.split())
    assert answer.status == 1  # nobody ran them
    assert gse(*command, f"ring_gse1,{band}", "--full").status == 1
    assert_refused(gse(*command, band), f"--only: no such case; got {band}, expected ring_ecmp, ")
    assert asked == [["validation_ring_gse1", f"validation_{optimum}"], ["validation_ring_gse1", band]]


def test_tables_that_cannot_be_written_are_refused_before_anything_runs(
    gse: Gse, tmp_path: Path, asked: list[list[str]]
) -> None:
    command = ("predict", "validate", "--results", str(tmp_path), "--reference", "none", "--only", "ring_gse1")
    what = "cannot write the tables"
    assert_refused(gse(*command, "--write", str(tmp_path)), f"{tmp_path}: {what}; got a folder, expected a file's name")
    (tmp_path / "file").touch()
    for name, why in (("no/page.md", "No such file or directory"), ("file/page.md", "Not a directory")):
        assert_refused(gse(*command, "--write", str(tmp_path / name)), f"{name}: {what}; got {why}")
    answer = gse(*command[:-1], "nothing", "--write", str(tmp_path / "no/page.md"))
    assert_refused(answer, what, "no such case; got nothing")
    assert asked == []
    assert gse(*command, "--write", str(tmp_path / "page.md")).status == 1  # written, and nothing is shown in it
    assert asked == [["validation_ring_gse1"]]  # and until then there was no such file
    assert "| ring, 4x4x4 | gse1 | 1 |" in (tmp_path / "page.md").read_text()


def test_cases_without_a_run_that_counts_are_no_agreement(gse: Gse, tmp_path: Path, asked: list[list[str]]) -> None:
    """All of them INVALID on a busy machine, and the command said 0: a table without numbers shows nothing."""
    command = ("predict", "validate", "--results", str(tmp_path), "--reference", "none", "--only", "ring_gse1")
    said = "gse: 1 of 1 cases have no run that counts: nothing is shown of them\n"
    answer = gse(*command)
    assert (answer.status, answer.err) == (1, said)
    answer = gse(*command, "--stored")  # asked for what there is
    assert (answer.status, answer.err) == (0, said)
    assert asked == [["validation_ring_gse1"]]
