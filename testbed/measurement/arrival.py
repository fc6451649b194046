"""When a datagram arrived, as the kernel stamps it when the frame enters the receiving host (SO_TIMESTAMPNS).

A late wake-up of the receiving program does not count. What is left of error, measured on 2 cores over loopback
against the moment before the send call: 6 us at the median, 16 us at p99 (39 us with three programs competing),
most of it the send call itself. A program that reads the clock when it gets the datagram is 14 us and 35 us (65 us)
late, and by as much more as its wake-up is late. The stamps count from another epoch than the monotonic clock;
``ClockOffset`` follows the difference and says how well it is known.

What is read from a TCP connection at once has the stamp of the segment that stands last in the stream, however many are
read (``tcp_recvmsg_locked``, ``tcp_try_coalesce`` of the kernel). Where one that stands before it was lost and sent
again, all of it was there for the program only when that had come, later than the stamp says.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from testbed.errors import WorkloadError
from testbed.measurement.tcpinfo import TCP_INFO_BYTES, received_counters
from testbed.system.namespaces import network_namespace_of

STAMPING_TIMEOUT_S: Final = 5.0  # it takes the kernel milliseconds; a busy machine's kernel worker may come late
SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; the control message has the same number
_TIMESPEC: Final = struct.Struct("=qq")


class ClockOffset:
    """Nanoseconds from the monotonic clock to the one the kernel stamps datagrams with (CLOCK_REALTIME)."""

    def __init__(self) -> None:
        self.ns, width_ns = self._read()
        self.error_ns = width_ns // 2

    def update(self) -> None:
        """Read it again; a change since the last time, as when the clock is set, counts as error."""
        ns, width_ns = self._read()
        self.error_ns = max(self.error_ns, abs(ns - self.ns) + width_ns // 2)
        self.ns = ns

    @staticmethod
    def _read() -> tuple[int, int]:
        """Return the offset from the narrowest of three readings, and how far its two monotonic readings are apart."""
        readings = []
        for _ in range(3):
            before_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            stamp_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            after_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            readings.append((after_ns - before_ns, stamp_ns - (before_ns + after_ns) // 2))
        width_ns, offset_ns = min(readings)
        return offset_ns, width_ns


def open_stamping_socket(pid: int, ip: str, port: int) -> socket.socket:
    """Open a non-blocking UDP socket in the network namespace of process ``pid``, with stamping in force.

    Raises OSError saying where it cannot be opened, WorkloadError when the kernel does not begin to stamp.
    """
    with network_namespace_of(pid):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((ip, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"UDP socket on {ip}:{port}: {error.strerror}") from None
    try:
        _await_stamping(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _await_stamping(sock: socket.socket) -> None:
    """Send the socket datagrams of its own until one carries the time it arrived at, not the time it was read at.

    The first socket of a machine that asks for stamps makes a kernel worker switch them on; whatever arrives before
    that is stamped as it is read (``net_enable_timestamp`` and ``sock_recv_timestamp`` of the kernel).
    """
    deadline_s = time.monotonic() + STAMPING_TIMEOUT_S
    while time.monotonic() < deadline_s:
        sock.sendto(b"stamped?", sock.getsockname())
        if not select.select([sock], [], [], STAMPING_TIMEOUT_S)[0]:
            break
        before_reading_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        _data, control, _flags, _address = sock.recvmsg(64, 64)
        if arrival_ns(control) < before_reading_ns:
            return
    raise WorkloadError(
        f"the kernel stamps no arrivals {STAMPING_TIMEOUT_S:g} s after it was asked to (SO_TIMESTAMPNS)"
    )


def arrival_ns(control: Sequence[tuple[int, int, bytes]]) -> int:
    """Return when a datagram arrived by its control messages, in ns of CLOCK_REALTIME.

    Raises WorkloadError when the kernel does not say.
    """
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    raise WorkloadError("the kernel gave no time of arrival with a datagram, expected SO_TIMESTAMPNS to work")


def segments_out_of_order(sock: socket.socket) -> int:
    """Return how many segments have come to a TCP socket before one that stands ahead of them in the stream.

    0: stamps of what is read are those of its latest segment; or the kernel does not say (before Linux 5.4).
    """
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    return received_counters(raw)["out_of_order_packets"] or 0
