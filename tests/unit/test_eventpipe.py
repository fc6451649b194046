"""Lines of a run's process are taken however slowly they are shown."""

from __future__ import annotations

import os
import threading

import pytest

from testbed.runs import eventpipe
from testbed.runs.eventpipe import taken


def is_shown(line: str) -> bool:
    return line.startswith("shown")


def left_out(count: int) -> str:
    return f"left out {count}"


def test_whoever_writes_never_waits_for_who_shows_and_what_matters_is_never_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eventpipe, "MOST_WAITING", 100)
    read_fd, write_fd = os.pipe()
    written = threading.Event()

    def write() -> None:
        with open(write_fd, "w") as pipe:
            for number in range(50_000):  # a pipe holds a tenth of that
                pipe.write(f"shown {number}\n" if number % 1000 else f"event {number}\n")
        written.set()

    lines = taken(open(read_fd), is_shown, left_out)  # noqa: SIM115
    threading.Thread(target=write, daemon=True).start()
    found = [next(lines)]
    assert written.wait(20)  # although nobody takes anything meanwhile
    found += lines
    assert [line for line in found if line.startswith("event")] == [f"event {n}\n" for n in range(0, 50_000, 1000)]
    shown = [line for line in found if is_shown(line)]
    lost = sum(int(line.split()[-1]) for line in found if line.startswith("left out"))
    assert lost > 0
    assert len(shown) + lost == 50_000 - 50


def test_everything_comes_in_order_where_it_is_shown_in_time() -> None:
    read_fd, write_fd = os.pipe()
    with open(write_fd, "w") as pipe:
        pipe.write("event 1\nshown 2\nhalf of a li")
    stream = open(read_fd)  # noqa: SIM115
    assert list(taken(stream, is_shown, left_out)) == ["event 1\n", "shown 2\n", "half of a li"]
    assert stream.closed


def test_what_goes_wrong_is_raised_where_lines_are_used() -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"event 1\n\xff\xff\n")
    os.close(write_fd)
    with pytest.raises(UnicodeDecodeError):
        list(taken(open(read_fd, encoding="utf-8"), is_shown, left_out))  # noqa: SIM115
