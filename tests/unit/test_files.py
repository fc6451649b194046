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
