from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import nullcontext

import pytest

from testbed.errors import WorkloadError
from testbed.measurement import arrival
from testbed.measurement.arrival import SO_TIMESTAMPNS, ClockOffset, arrival_ns, open_stamping_socket


@pytest.fixture(autouse=True)
def stay_in_this_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "network_namespace_of", lambda _pid: nullcontext())  # entering one needs root


def test_stamp_lies_between_sending_and_reading_however_late_it_is_read() -> None:
    with open_stamping_socket(os.getpid(), "127.0.0.1", 0) as sock:
        offset = ClockOffset()
        before_ns = time.monotonic_ns()
        sock.sendto(b"second", sock.getsockname())
        after_ns = time.monotonic_ns()
        time.sleep(0.05)  # read late on purpose: that is what is tested
        _data, control, _flags, _address = sock.recvmsg(64, 64)
        arrived_ns = arrival_ns(control) - offset.ns
    assert before_ns - 100_000 <= arrived_ns <= after_ns + 20_000_000
    assert arrived_ns < time.monotonic_ns() - 20_000_000


def test_socket_is_handed_out_only_when_stamps_are_of_the_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def stamped_as_it_is_read_at_first(control: object) -> int:
        read.append(len(read))
        return time.time_ns() if len(read) < 4 else 0

    monkeypatch.setattr(arrival, "arrival_ns", stamped_as_it_is_read_at_first)
    with open_stamping_socket(os.getpid(), "127.0.0.1", 0) as sock:
        assert len(read) == 4
        with pytest.raises(BlockingIOError):
            sock.recvmsg(64)  # nothing of ours is left in it


def test_kernel_that_never_stamps_arrivals_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "arrival_ns", lambda _control: time.time_ns() + 1)
    monkeypatch.setattr(arrival, "STAMPING_TIMEOUT_S", 0.05)
    with pytest.raises(WorkloadError, match="stamps no arrivals"):
        open_stamping_socket(os.getpid(), "127.0.0.1", 0)


def test_datagram_without_a_stamp_is_an_error() -> None:
    with pytest.raises(WorkloadError, match="SO_TIMESTAMPNS"):
        arrival_ns([(socket.SOL_SOCKET, 1, bytes(16))])


def test_stamp_is_seconds_and_nanoseconds() -> None:
    assert arrival_ns([(socket.SOL_SOCKET, SO_TIMESTAMPNS, struct.pack("=qq", 5, 7))]) == 5_000_000_007


def test_address_that_is_taken_is_named() -> None:
    with open_stamping_socket(os.getpid(), "127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(OSError, match=rf"UDP socket on 127\.0\.0\.1:{port}: Address already in use"):
            open_stamping_socket(os.getpid(), "127.0.0.1", port)


class Clocks:
    """Both clocks, 10 ns apart from reading to reading; ``set_by_ns`` is what somebody added to the real one."""

    def __init__(self) -> None:
        self.now_ns = 1_000
        self.set_by_ns = 5_000_000

    def read(self, clock: int) -> int:
        self.now_ns += 10
        return self.now_ns + (self.set_by_ns if clock == time.CLOCK_REALTIME else 0)


def test_clock_that_is_set_meanwhile_shows_as_error(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks()
    monkeypatch.setattr(arrival.time, "clock_gettime_ns", clocks.read)
    offset = ClockOffset()
    assert offset.ns == 5_000_000  # the real clock is read in the middle of the two others
    assert offset.error_ns == 10  # which are 20 ns apart
    offset.update()
    assert offset.error_ns == 10
    clocks.set_by_ns += 1_000_000
    offset.update()
    assert offset.ns == 6_000_000
    assert offset.error_ns == 1_000_010
    offset.update()
    assert offset.error_ns == 1_000_010  # it stays known that it happened
