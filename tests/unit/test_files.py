"""What is read of strangers, and how files come into place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.files import read_input, write_together


def test_only_ordinary_files_of_ordinary_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert read_input(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="5 bytes, more than 4"):
        read_input(tmp_path / "file", 4)
    for name in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(OSError, match="not a regular file|Is a directory|No such file"):
            read_input(name, 5)


def test_files_come_into_place_together(tmp_path: Path) -> None:
    out = tmp_path / "a" / "figures"
    assert write_together(out, {"x.json": b"1", "sub/y.json": b"2"}) == [out / "x.json", out / "sub" / "y.json"]
    assert (out / "sub" / "y.json").read_bytes() == b"2"
    assert [path.name for path in out.parent.iterdir()] == ["figures"]


def test_a_link_in_place_of_a_folder_is_refused_before_anything_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "figures"
    write_together(out, {"x.json": b"old"})
    (tmp_path / "elsewhere").mkdir()
    (out / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="a symbolic link"):
        write_together(out, {"x.json": b"new", "sub/y.json": b"2"})
    assert (out / "x.json").read_bytes() == b"old"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_is_a_mount_point_of_its_own_takes_files() -> None:
    name = f"gse-test-{os.getpid()}"
    try:
        assert write_together(Path("/dev/shm"), {name: b"1"}) == [Path("/dev/shm", name)]
        assert Path("/dev/shm", name).read_bytes() == b"1"
    finally:
        Path("/dev/shm", name).unlink(missing_ok=True)


def test_what_no_file_may_take_the_place_of_stays_what_it_is(tmp_path: Path) -> None:
    """Root's ``--out /dev/null`` made a file of the device; ``/dev/stdout`` is a link, replaced as any other was."""
    (tmp_path / "opened").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    with (tmp_path / "opened").open("rb") as file:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "further").symlink_to("stdout")
        for name in ("pipe", "to-pipe", "null", "stdout", "further"):
            before = os.lstat(tmp_path / name)
            with pytest.raises(OSError, match="not a regular file|an open file"):
                write_together(tmp_path, {"first": b"1", name: b"2"})
            assert os.lstat(tmp_path / name) == before
    assert not (tmp_path / "first").exists() and not list(tmp_path.glob(".gse-*"))


def test_links_to_files_and_to_nothing_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("victim")
    (tmp_path / "nowhere").symlink_to("not there")
    (tmp_path / "round").symlink_to("round")
    write_together(tmp_path, {name: b"new" for name in ("link", "nowhere", "round")})
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert all(not (tmp_path / name).is_symlink() for name in ("link", "nowhere", "round"))
