from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from testbed.errors import WorkloadError
from testbed.measurement.sidecar import Commands, read_config


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], int]]:
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as reader:
        yield reader, write_fd
    with suppress(OSError):  # a test may have closed it
        os.close(write_fd)


def test_commands_come_one_by_one_in_order(pipe: tuple[IO[bytes], int]) -> None:
    reader, write_fd = pipe
    commands = Commands(reader)
    os.write(write_fd, b'{"command":"start"}\n{"command":"stop"}\n{"comm')
    assert commands.wait() == "start"
    assert commands.wait(0.0) == "stop"
    assert commands.wait(time.monotonic()) is None  # half a line is none


def test_no_command_until_the_given_time(pipe: tuple[IO[bytes], int]) -> None:
    before_s = time.monotonic()
    assert Commands(pipe[0]).wait(before_s + 0.05) is None
    assert time.monotonic() - before_s >= 0.05


def test_end_of_stdin_is_a_stop(pipe: tuple[IO[bytes], int]) -> None:
    reader, write_fd = pipe
    os.write(write_fd, b'{"command":"start"}\n')
    os.close(write_fd)
    commands = Commands(reader)
    assert [commands.wait() for _ in range(3)] == ["start", "stop", "stop"]


@pytest.mark.parametrize("line", [b"rubbish", b"[1]", b'{"order": "stop"}', b"7"])
def test_line_that_is_no_command_is_an_error(pipe: tuple[IO[bytes], int], line: bytes) -> None:
    os.write(pipe[1], line + b"\n")
    with pytest.raises(WorkloadError, match="on stdin, expected"):
        Commands(pipe[0]).wait()


def test_configuration_error_names_file_and_field(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(WorkloadError, match="No such file"):
        read_config(path, dict)
    path.write_text("{")
    with pytest.raises(WorkloadError, match=r"config\.json"):
        read_config(path, dict)
    path.write_text("{}")
    with pytest.raises(WorkloadError, match=r"config\.json: field 't0_s' is missing"):
        read_config(path, lambda value: value["t0_s"])
    path.write_text("[]")
    with pytest.raises(WorkloadError, match=r"config\.json: "):
        read_config(path, lambda value: value["t0_s"])
