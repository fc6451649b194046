from __future__ import annotations

import resource
from pathlib import Path

import pytest

from testbed.system import limits
from testbed.system.limits import (
    Limits,
    available_memory_bytes,
    available_processes,
    cgroup_limits,
    proc_field,
    usable_cores,
)


def group(path: Path, **files: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(f"{text}\n")


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cgroup"
    path.write_text(text)
    return path


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    group(root / "a", cpu__max="150000 100000", memory__max="1000000", pids__max="max")
    group(root / "a" / "b", cpu__max="max 100000", memory__max="2000000", pids__max="300")
    limits = cgroup_limits(root, membership(tmp_path, "0::/a/b\n"))
    assert limits == Limits(cores=1.5, memory_bytes=1_000_000, processes=300)


def test_version_1_is_read_by_controller(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    group(root / "cpu" / "job", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    group(root / "memory", memory__limit_in_bytes="4096000")
    limits = cgroup_limits(root, membership(tmp_path, "4:memory:/\n1:cpu,cpuacct:/job\n"))
    assert limits == Limits(cores=0.5, memory_bytes=4_096_000, processes=None)


def test_no_quota_in_version_1_is_minus_one(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    group(root / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cgroup_limits(root, membership(tmp_path, "1:cpu:/\n")).cores is None


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory__current": "600000"}, 400_000),
        ({"memory__current": "600000", "memory__stat": "anon 9\nactive_file 100000\ninactive_file 150000"}, 650_000),
        ({"memory__current": "1000001"}, 0),
        ({"memory__current": "", "memory__stat": "inactive_file soon"}, 1_000_000),
    ],
)
def test_what_a_container_uses_already_is_not_to_be_had(tmp_path: Path, files: dict[str, str], left: int) -> None:
    root = tmp_path / "fs"
    group(root, memory__max="1000000", **files)
    assert cgroup_limits(root, membership(tmp_path, "0::/\n")).memory_bytes == left


def test_what_a_container_of_version_1_uses_counts_all_below_it(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    stat = "inactive_file 1\nactive_file 2\ntotal_inactive_file 1000\ntotal_active_file 2000"
    group(root / "memory", memory__limit_in_bytes="10000", memory__usage_in_bytes="5000", memory__stat=stat)
    assert cgroup_limits(root, membership(tmp_path, "4:memory:/\n")).memory_bytes == 8000


def test_container_that_sees_the_host_path_reads_its_own_mount(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    group(root, pids__max="77")
    assert cgroup_limits(root, membership(tmp_path, "0::/docker/0123\n")).processes == 77


def test_no_control_groups_mean_no_limits(tmp_path: Path) -> None:
    assert cgroup_limits(tmp_path / "none", tmp_path / "nothing") == Limits(None, None, None)


UNLIMITED = Limits(None, None, None)


def test_tighter_of_machine_and_container_counts() -> None:
    assert usable_cores(Limits(0.5, None, None)) == 0.5
    assert usable_cores(Limits(1e6, None, None)) == usable_cores(UNLIMITED) >= 1
    assert available_memory_bytes(Limits(None, 4096, None)) == 4096
    assert available_memory_bytes(UNLIMITED) > 4096
    assert available_processes(Limits(None, None, 1)) == 0
    assert available_processes(UNLIMITED) > 0


def test_field_of_a_proc_file_is_its_first_value(tmp_path: Path) -> None:
    path = tmp_path / "info"
    path.write_text("model name\t: First CPU\nmodel name\t: Second CPU\nMemFree:  12 kB\n")
    assert proc_field(str(path), "model name") == "First CPU"
    assert proc_field(str(path), "MemFree") == "12 kB"
    assert proc_field(str(path), "nothing") is None


def test_limits_of_this_process_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {resource.RLIMIT_NOFILE: (20, 300), resource.RLIMIT_AS: (5, 6), resource.RLIMIT_FSIZE: (-1, -1)}
    monkeypatch.setattr(limits.resource, "getrlimit", told.__getitem__)
    assert limits.open_files_limit() == 300  # the soft one is raised by a run
    assert (limits.address_space_limit(), limits.file_size_limit()) == (5, None)


@pytest.mark.parametrize(
    ("hard", "soft"), [(300, 300), (1_048_576, 65_536), (resource.RLIM_INFINITY, 65_536)], ids=["few", "many", "any"]
)
def test_open_files_are_raised_as_far_as_allowed(monkeypatch: pytest.MonkeyPatch, hard: int, soft: int) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _which: (20, hard))
    monkeypatch.setattr(limits.resource, "setrlimit", lambda _which, both: asked.append(both))
    limits.raise_open_files()
    assert asked == [(soft, hard)]
