"""What is said of the code that makes a result, without a trace left in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.system import provenance

PROJECT = Path(__file__).resolve().parents[2]
HEAD = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_checkout_is_looked_at_and_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root would, while somebody works in it."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    module = tmp_path / "testbed/system/provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("first\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    (tmp_path / provenance.NOTE).write_text(f"{HEAD}\n")  # of an older copy of this very folder: .git knows better
    monkeypatch.setattr(provenance, "__file__", str(module))
    clean = provenance.commit()
    assert clean is not None and len(clean) == 40 and clean != HEAD
    module.write_text("first\n")  # the same with another time: the index would be refreshed
    index = tmp_path / ".git/index"
    before = index.stat().st_ino, index.stat().st_mtime_ns
    assert provenance.commit() == clean
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == before
    module.write_text("second\n")
    assert provenance.commit() == f"{clean}-dirty"


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for a copy without .git, made some time ago; return the file that names its commit."""
    module = tmp_path / "testbed/system/provenance.py"
    module.parent.mkdir(parents=True)
    (tmp_path / "apps").mkdir()
    module.touch()
    os.utime(module, (1_000, 1_000))
    monkeypatch.setattr(provenance, "__file__", str(module))
    return tmp_path / provenance.NOTE


def written(note: Path, content: str | bytes) -> str | None:
    """Return the commit of a copy whose note was written at 2000 s."""
    note.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(note, (2_000, 2_000))
    return provenance.commit()


def test_a_copy_names_the_commit_it_was_made_of(note: Path) -> None:
    assert provenance.commit() is None
    assert written(note, f"{HEAD}\n") == HEAD
    assert written(note, f"{HEAD}-dirty\n") == f"{HEAD}-dirty"


@pytest.mark.parametrize("content", ["", "main\n", "-dirty\n", f"{HEAD[:7]}\n", f"{HEAD}\n{HEAD}\n", b"\xff\n"])
def test_what_is_no_commit_is_not_told_for_one(note: Path, content: str | bytes) -> None:
    assert written(note, content) is None


def test_a_copy_that_was_changed_since_is_not_that_commit(note: Path) -> None:
    assert written(note, f"{HEAD}\n") == HEAD
    (note.parent / "notes.txt").touch()
    assert provenance.commit() == HEAD
    (note.parent / "apps/new.py").touch()  # later than the note
    assert provenance.commit() == f"{HEAD}-dirty"
    assert written(note, f"{HEAD}-dirty\n") == f"{HEAD}-dirty"


def test_where_there_is_a_git_folder_a_note_is_not_looked_at(note: Path) -> None:
    assert written(note, f"{HEAD}\n") == HEAD
    (note.parent / ".git").mkdir()  # damaged: nobody knows the commit
    assert provenance.commit() is None


def test_the_vagrantfile_writes_what_is_read_and_git_ignores_it() -> None:
    assert f'note = File.join(__dir__, "{provenance.NOTE}")\n' in (PROJECT / "Vagrantfile").read_text()
    assert f"/{provenance.NOTE}" in (PROJECT / ".gitignore").read_text().splitlines()
