"""Directories of runs being made: created once, complete or clearly not."""

from __future__ import annotations

import errno
import json
import os
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from testbed.errors import ResultsError
from testbed.evaluation.records import IterationRow
from testbed.results.run_directory import RunDirectory
from testbed.results.table_files import load_rows
from tests.unit.synthetic_runs import ITERATION

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def create(results_dir: Path, seed: int = 1) -> RunDirectory:
    return RunDirectory.create(
        results_dir, scenario="ring", scheme="ecmp", seed=seed, commit="abcdef0123456", now_utc=NOW
    )


def test_run_id_says_when_what_and_from_which_code(tmp_path: Path) -> None:
    directory = create(tmp_path, seed=7)
    assert directory.run_id == "20260102T030405Z-ecmp-seed7-abcdef0"
    assert directory.path == tmp_path / "ring" / "20260102T030405Z-ecmp-seed7-abcdef0.partial"
    assert directory.raw.is_dir()


def test_run_outside_git_says_so(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path, scenario="ring", scheme="gse1", seed=1, commit=None, now_utc=NOW)
    assert directory.run_id.endswith("-seed1-nogit")


def test_runs_of_the_same_second_get_names_of_their_own_in_every_state(tmp_path: Path) -> None:
    first = create(tmp_path).finish()
    second = create(tmp_path).fail("no luck")
    third = create(tmp_path).path
    base = "20260102T030405Z-ecmp-seed1-abcdef0"
    assert [path.name for path in (first, second, third)] == [base, f"{base}-2.failed", f"{base}-3.partial"]


def test_concurrent_runs_never_share_a_directory(tmp_path: Path) -> None:
    paths, barrier = [], threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        paths.extend(create(tmp_path).finish() for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 40
    assert len(list((tmp_path / "ring").iterdir())) == 40


def test_failed_run_keeps_everything_and_the_reason(tmp_path: Path) -> None:
    directory = create(tmp_path)
    directory.append([ITERATION])
    directory.write_json("manifest.json", {"format_version": 1, "status": "running"})
    path = directory.fail("rank 3 on h4 died: SIGKILL\n")
    assert path.name.endswith(".failed")
    assert (path / "error.txt").read_text() == "rank 3 on h4 died: SIGKILL\n"
    assert json.loads((path / "manifest.json").read_text())["status"] == "failed"
    assert load_rows(path, IterationRow) == (ITERATION,)
    assert not directory.path.exists()


def test_full_disk_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create(tmp_path)
    directory.append([ITERATION])

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResultsError, match="No space left on device, expected free space"):
        directory.append([ITERATION])
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResultsError, match="cannot write"):
        directory.write_json("summary.json", {})
    path = directory.fail("disk full")  # not even error.txt can be written
    monkeypatch.undo()
    assert path.name.endswith(".failed")
    assert load_rows(path, IterationRow) == (ITERATION,)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_really_full_device_is_reported(tmp_path: Path) -> None:
    directory = create(tmp_path)
    (directory.path / "iterations.csv").symlink_to("/dev/full")
    with pytest.raises(ResultsError, match="No space left on device"):
        directory.append([ITERATION])


def test_results_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(ResultsError, match="cannot create a run directory"):
        create(tmp_path / "results")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_results_of_sudo_belong_to_who_called_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    directory = create(tmp_path / "results")
    (directory.raw / "log").write_text("by another process")
    path = directory.finish()
    for entry in (tmp_path / "results", path.parent, path, path / "raw", path / "raw" / "log"):
        found = entry.stat()
        assert (found.st_uid, found.st_gid) == (1234, 2345), entry
    assert tmp_path.stat().st_uid != 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_in_a_run_does_not_give_away_what_it_points_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    directory = create(tmp_path / "results")
    (directory.path / "link").symlink_to(outside)
    directory.finish()
    assert outside.stat().st_uid == os.geteuid()
