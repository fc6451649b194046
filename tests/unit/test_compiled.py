"""Where compiled modules are looked for, and what is said where there can be none; nothing is compiled here."""

from __future__ import annotations

import fcntl
import importlib.machinery
import os
import shutil
import threading
from pathlib import Path

import pytest

import testbed.agent.compiled
import testbed.agent.compiling
from testbed.agent.compiled import AROUND, LEFT_OUT, PROJECT, folder, is_whole, sources, use
from testbed.agent.compiling import ensure_compiled


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources and a place for what is made of them."""
    shutil.copytree(PROJECT / "testbed", tmp_path / "testbed", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(testbed.agent.compiled, "PROJECT", tmp_path)
    monkeypatch.setattr(testbed.agent.compiled.sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.delenv(testbed.agent.compiled.INTERPRET, raising=False)
    return tmp_path / "testbed" / "gse" / "dataplane"


def made_up(argv: list[str], **_options: object) -> None:
    """Stand in for the compiler: two files of machine code."""
    for name in ("shared__mypyc.so", "testbed/gse/dataplane/edge.so"):
        path = Path(argv[-2], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"machine code")


def quiet(_text: str) -> None:
    pass


def test_all_of_the_core_is_compiled_but_what_cannot_be() -> None:
    core = PROJECT / "testbed" / "gse" / "dataplane"
    compiled = {path.name for path in sources() if path.parent == core}
    assert compiled == {path.name for path in core.glob("*.py")} - set(LEFT_OUT)
    assert all((core / name).exists() for name in LEFT_OUT)
    assert {path.name for path in sources() if path.parent != core} == set(AROUND)
    assert all(path.exists() for path in sources())


def test_the_folder_is_of_these_sources_and_this_python(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder()
    assert folder() == before
    (core / "wire.py").write_text((core / "wire.py").read_text() + "# more\n")
    after = folder()
    assert after != before
    (core / "profile.py").write_text("# not compiled\n")
    assert folder() == after
    (core / "one_more.py").write_text("")
    assert folder() not in (before, after)
    monkeypatch.setattr(importlib.machinery, "EXTENSION_SUFFIXES", [".cpython-399-made-up.so"])
    assert folder() not in (before, after)


def test_what_was_made_of_other_sources_is_not_used(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.agent.compiling, "run", made_up)
    ensure_compiled(quiet)
    assert is_whole(folder())
    (core / "wire.py").write_text("# another\n")
    assert use() == "interpreted"


@pytest.mark.parametrize(("tool", "words"), [("gcc", "C compiler (gcc)"), ("headers", "Python headers (python3-dev)")])
def test_what_is_missing_is_said_once_and_nothing_is_made(
    core: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: str, words: str
) -> None:
    if tool == "gcc":
        monkeypatch.setattr(testbed.agent.compiling.shutil, "which", lambda _name: None)
    else:
        monkeypatch.setattr(testbed.agent.compiling.sysconfig, "get_path", lambda _name: str(tmp_path / "nowhere"))
    said: list[str] = []
    ensure_compiled(said.append)
    assert len(said) == 1
    assert words in said[0] and "interpreted" in said[0] and "./gse setup" in said[0]
    assert not folder().exists()


def test_a_compiler_that_fails_is_told_and_leaves_nothing(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(argv: list[str], **_options: object) -> None:
        raise testbed.agent.compiling.CommandError(argv, 1, "internal compiler error")

    monkeypatch.setattr(testbed.agent.compiling, "run", fails)
    said: list[str] = []
    ensure_compiled(said.append)
    assert "internal compiler error" in said[-1] and "interpreted" in said[-1]
    assert list(folder().parent.iterdir()) == []


def test_few_states_of_the_sources_are_kept(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.agent.compiling, "run", made_up)
    made = []
    for number in range(5):
        (core / "wire.py").write_text(f"# {number}\n")
        ensure_compiled(quiet)
        made.append(folder())
    kept = {path.name for path in folder().parent.iterdir()}
    assert len(kept) == testbed.agent.compiling.KEPT and made[-1].name in kept


def test_nobody_compiles_who_asks_for_interpretation(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(testbed.agent.compiled.INTERPRET, "1")
    said: list[str] = []
    ensure_compiled(said.append)
    assert said == [] and not folder().exists() and use() == "interpreted"


def test_two_that_begin_together_compile_once(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end, calls = threading.Event(), threading.Event(), []

    def compiles(argv: list[str], **_options: object) -> None:
        calls.append(argv)
        began.set()
        assert may_end.wait(10)
        made_up(argv)

    monkeypatch.setattr(testbed.agent.compiling, "run", compiles)
    threads = [threading.Thread(target=ensure_compiled, args=(quiet,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert began.wait(10)
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and folder().is_dir()


def test_nobody_waits_for_ever_for_one_who_compiles(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds the lock may have been stopped."""
    monkeypatch.setattr(testbed.agent.compiling, "LONGEST_S", 0.3)
    room, said = folder().parent, []
    room.mkdir(parents=True)
    descriptor = os.open(room, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        ensure_compiled(said.append)
    finally:
        os.close(descriptor)
    assert len(said) == 2 and said[0].startswith("waiting for another ./gse")
    assert "interpreted" in said[1] and f"another process has held {room} for 0.3 s" in said[1]


@pytest.mark.parametrize("damage", ["cut", "lost", "nothing written", "empty"])
def test_what_is_damaged_is_neither_used_nor_kept(core: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr(testbed.agent.compiling, "run", made_up)
    ensure_compiled(quiet)
    shared = folder() / "shared__mypyc.so"
    if damage == "cut":
        shared.write_bytes(b"mach")
    elif damage == "lost":
        shared.unlink()
    elif damage == "nothing written":
        (folder() / "complete.json").write_text("")
    else:
        shutil.rmtree(folder())
        folder().mkdir()
    assert use() == "interpreted"
    ensure_compiled(quiet)
    assert is_whole(folder()) and shared.read_bytes() == b"machine code"


def test_sources_that_change_while_they_are_compiled_are_not_taken_for_what_they_were(
    core: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited_meanwhile(argv: list[str], **options: object) -> None:
        made_up(argv)
        assert options["cwd"] == testbed.agent.compiling.PROJECT  # never a user's directory, whose modules would win
        (core / "wire.py").write_text("# another\n")

    monkeypatch.setattr(testbed.agent.compiling, "run", edited_meanwhile)
    before, said = folder(), []
    ensure_compiled(said.append)
    assert "changed meanwhile" in said[-1]
    assert not before.exists() and not folder().exists()
    assert list(folder().parent.iterdir()) == []


def test_what_a_killed_compilation_left_is_removed(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder().parent / ".unfinished-x" / "lib").mkdir(parents=True)
    monkeypatch.setattr(testbed.agent.compiling, "run", made_up)
    ensure_compiled(quiet)
    assert [path.name for path in folder().parent.iterdir()] == [folder().name]
