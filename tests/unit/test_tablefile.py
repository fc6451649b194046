from __future__ import annotations

import errno
from pathlib import Path

import pytest

from testbed.evaluation.records import CpuRow, SocketRow
from testbed.measurement.tablefile import TableFile


def test_new_file_begins_with_the_columns_of_its_table(tmp_path: Path) -> None:
    with TableFile(tmp_path, SocketRow) as table:
        table.append(["1.0,ovs-vswitchd,l1-eth1,0\n", "1.0,ovs-vswitchd,l1-eth2,3\n"])
    assert (tmp_path / "sockets.csv").read_text().splitlines() == [
        "t_s,process,inode_or_port,drops",
        "1.0,ovs-vswitchd,l1-eth1,0",
        "1.0,ovs-vswitchd,l1-eth2,3",
    ]


def test_reopened_file_gets_no_second_header(tmp_path: Path) -> None:
    for number in range(2):
        with TableFile(tmp_path, SocketRow) as table:
            table.append([f"{number},p,l1-eth1,0\n"])
    lines = (tmp_path / "sockets.csv").read_text().splitlines()
    assert lines == ["t_s,process,inode_or_port,drops", "0,p,l1-eth1,0", "1,p,l1-eth1,0"]


def test_batch_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    with TableFile(tmp_path, SocketRow) as table:
        table.append(["1,p,l1-eth1,0\n"])
        assert (tmp_path / "sockets.csv").read_text().endswith("1,p,l1-eth1,0\n")


def test_full_disk_is_an_error_naming_file_and_reason(tmp_path: Path) -> None:
    (tmp_path / "cpu.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match="cpu.csv: No space left on device") as caught:
        TableFile(tmp_path, CpuRow)
    assert caught.value.errno == errno.ENOSPC


def test_batch_that_does_not_fit_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TableFile(tmp_path, SocketRow) as table:
        table.append(["1,p,l1-eth1,0\n"])
        before = (tmp_path / "sockets.csv").read_bytes()
        real_write = __import__("os").write
        room = [10]

        def write_into_little_room(fd: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = real_write(fd, data[: room[0]])
            room[0] -= written
            return int(written)

        monkeypatch.setattr("testbed.measurement.tablefile.os.write", write_into_little_room)
        with pytest.raises(OSError, match="No space left"):
            table.append(["2,p,l1-eth1,0\n", "2,p,l1-eth2,0\n"])
    assert (tmp_path / "sockets.csv").read_bytes() == before
