"""The file of a journal: bounded, one per life, never more of a disk than others need; and which agents keep one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from testbed.agent.config import Config
from testbed.agent.journal import END_BYTES, JournalFile
from testbed.fabric.agents import JOURNALS_MOST_BYTES
from testbed.journal import format as journal
from testbed.model.scenario_input import parse_scenario
from testbed.runs.plan import Plan
from tests.unit.gse_journals import opened
from tests.unit.test_journal import BIRTH, SOME, parts_of

BLOCK = journal.block(part for event in SOME[0] for part in parts_of(event))


def recording(path: Path, most_bytes: int = 1 << 20) -> JournalFile:
    file = JournalFile(path, most_bytes)
    file.write(journal.beginning(BIRTH))
    return file


def test_what_is_written_is_on_disk_at_once(tmp_path: Path) -> None:
    file = recording(tmp_path / "gsp-l1.journal")
    assert file.write(BLOCK)
    assert (tmp_path / "gsp-l1.journal").read_bytes() == journal.beginning(BIRTH) + BLOCK
    assert file.to_json() == {"file": "gsp-l1.journal", "bytes": file.path.stat().st_size, "stopped": None}
    file.close()


def test_every_life_has_a_file_of_its_own_and_all_share_the_bytes(tmp_path: Path) -> None:
    first = recording(tmp_path / "gsp-l1.journal")
    first.write(BLOCK)
    first.close()
    room = first.written_bytes + len(journal.beginning(BIRTH)) + END_BYTES
    second = recording(tmp_path / "gsp-l1.journal", room)
    assert second.path.name == "gsp-l1-2.journal"
    assert not second.write(BLOCK)
    second.close()
    third = recording(tmp_path / "gsp-l1.journal", room)
    assert third.stopped is not None and not third.path.exists()  # not even how it began
    third.close()


def test_full_journal_says_why_it_ends(tmp_path: Path) -> None:
    file = recording(tmp_path / "l1.journal", 4096)
    while file.write(BLOCK):
        pass
    assert not file.write(BLOCK)
    file.close()
    data = file.path.read_bytes()
    assert len(data) <= 4096
    record = opened(data)
    assert len(list(record.events())) % len(SOME[0]) == 0
    assert record.incomplete == file.stopped == "reached its 4,096 bytes"


def test_nearly_full_disk_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = recording(tmp_path / "l1.journal", 1 << 40)
    file._looked_bytes = -(1 << 40)  # it looks again now and then
    monkeypatch.setattr(os, "fstatvfs", lambda _fd: SimpleNamespace(f_bavail=1000, f_frsize=4096))
    assert not file.write(BLOCK)
    file.close()
    record = opened(file.path.read_bytes())
    assert list(record.events()) == []
    assert record.incomplete == file.stopped == "the disk has less than 1 GiB left"


def test_disk_that_takes_no_more_ends_the_recording_not_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recording(tmp_path / "l1.journal")

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert not file.write(BLOCK)
    monkeypatch.undo()
    file.close()
    assert file.stopped == "cannot be written: No space left on device"


def configs_of(scheme: str, *, journal: bool) -> list[Config]:
    scenario = parse_scenario({"name": "small", "gsp": {"journal": journal}}, source="test")
    plan = Plan(scenario=scenario, scheme=scheme, seed=1, run_dir=Path("run"), datapath="userspace")
    return [config for process in plan.agent_processes for _host, config in process.agents]


@pytest.mark.parametrize(("scheme", "agents"), [("gse2-n2n", 4), ("gse2-e2e", 20), ("ecmp-agents", 0), ("ecmp", 0)])
def test_agents_with_a_core_keep_a_journal_if_asked(scheme: str, agents: int) -> None:
    kept = [config for config in configs_of(scheme, journal=True) if config.journal is not None]
    assert len(kept) == agents == len({config.journal for config in kept})
    assert sum(config.journal_most_bytes for config in kept) <= JOURNALS_MOST_BYTES
    for config in kept:
        assert config.journal == f"gsp-{config.name}.journal"
        assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert all(config.journal is None for config in configs_of(scheme, journal=False))
