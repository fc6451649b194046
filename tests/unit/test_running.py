"""Capsules seen from outside: by what /proc says of processes, which may be anybody's and say anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.system.running import Capsule, running_capsules

OUTSIDE, INSIDE = "pid:[4026531836]", "pid:[4026532999]"
RUN = b"python\0-m\0testbed.runs.experiment\0plan.json\0"


def add_process(
    proc: Path,
    pid: int,
    arguments: bytes,
    *,
    space: str = INSIDE,
    inner_pid: int | None = None,
    uid: int = 0,
    name: bytes = b"python",
) -> None:
    entry = proc / str(pid)
    (entry / "ns").mkdir(parents=True)
    (entry / "ns/pid").symlink_to(space)
    (entry / "cmdline").write_bytes(arguments)
    inside = "" if inner_pid is None else f"\t{inner_pid}"
    status = f"\nUmask:\t0022\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNStgid:\t{pid}{inside}\nNSpid:\t{pid}{inside}\n"
    (entry / "status").write_bytes(b"Name:\t" + name + status.encode())


def test_a_capsule_has_its_first_process_and_its_nodes(tmp_path: Path) -> None:
    add_process(tmp_path, 700, RUN, inner_pid=1)
    add_process(tmp_path, 720, b"bash\0--norc\0-is\0mininet:h3\0", inner_pid=20)
    add_process(tmp_path, 721, b"bash\0--norc\0-is\0mininet:l1\0", inner_pid=21)
    add_process(tmp_path, 722, b"bash\0--norc\0-is\0mininet:c0\0", inner_pid=22)
    add_process(tmp_path, 800, b"bash\0--norc\0-is\0mininet:h4\0", space=OUTSIDE)
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    assert running_capsules(tmp_path) == [Capsule(700, "a run", {"h3": 720, "l1": 721})]


@pytest.mark.parametrize("word", [b"mininet:", b"mininet:h", b"mininet:\xff", b"mininet:h1 ", b"mininet:x1"])
def test_what_somebody_searches_for_is_no_node(tmp_path: Path, word: bytes) -> None:
    """``grep mininet:`` beside a run."""
    add_process(tmp_path, 700, RUN, inner_pid=1)
    add_process(tmp_path, 720, b"grep\0" + word + b"\0", inner_pid=20)
    assert running_capsules(tmp_path) == [Capsule(700, "a run", {})]


@pytest.mark.parametrize("name", [b"python", b"Uid: 0", b"NSpid: 1", b"\xff\xfe"])
def test_what_a_stranger_calls_his_processes_makes_them_no_capsule(tmp_path: Path, name: bytes) -> None:
    add_process(tmp_path, 700, RUN, inner_pid=1)
    add_process(tmp_path, 900, RUN, space="pid:[1]", inner_pid=1, uid=1000, name=name)
    add_process(tmp_path, 901, b"sleep\x001\0mininet:h1\0", inner_pid=30, uid=1000, name=name)
    add_process(tmp_path, 902, RUN, space=OUTSIDE, name=name)
    assert running_capsules(tmp_path) == [Capsule(700, "a run", {})]


def test_the_processes_of_this_machine_can_be_looked_at_by_anybody() -> None:
    assert isinstance(running_capsules(), list)
