"""JSON on disk: whole or not at all, never through a link, and what is no UTF-8 kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from testbed.results.json_files import json_text, read_json, write_json


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "summary.json", {"a": float("nan")})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_half_a_surrogate_is_kept(tmp_path: Path) -> None:
    said = {"name": "caf\udce9", "町": "ü"}
    write_json(tmp_path / "x.json", said)
    assert read_json(tmp_path / "x.json") == said
    assert "町" in json_text(said)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_link_that_lies_in_wait_for_our_temporary_names_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    for number in (os.getpid(), os.getppid()):
        (tmp_path / f".x.json.{number}").symlink_to(victim)
    (tmp_path / "x.json").symlink_to(victim)
    write_json(tmp_path / "x.json", {"a": 1})
    assert victim.read_text() == "theirs"
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1} and not (tmp_path / "x.json").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_symlink()) == ["victim", "x.json"]
