"""Pause a sender, or let it go on: the shaper of the interface its packets leave by is given another rate.

EMULATION of a pause frame, which a virtual interface does not obey. What waits in the shaper stays there, and TCP and
every other sender of the host feel a full interface; nothing is lost. Messages as in linux/rtnetlink.h and
linux/pkt_sched.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import Final

from testbed.agent.config import BrakeConfig
from testbed.errors import NetworkError
from testbed.measurement import netlink_format as nl
from testbed.system.namespaces import network_namespace_of

NLM_F_ACK: Final = 0x4
TCA_OPTIONS: Final = 2
TCA_TBF_PARMS: Final = 1
TCA_TBF_RATE64: Final = 4
TCA_TBF_BURST: Final = 6
MOST_RATE: Final = 0xFFFF_FFFF  # in the old field; beyond that the 64 bits count
LINKLAYER_ETHERNET: Final = 1
RATE: Final = struct.Struct("=BBHhHI")  # tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, bytes/s
QUEUE: Final = struct.Struct("=III")  # of tc_tbf_qopt, after two rates: limit, buffer, mtu
ANSWER_TIMEOUT_S: Final = 1.0  # the kernel answers before ``send`` returns
ANSWER_BYTES: Final = 4096
LATE_ANSWERS: Final = 16  # to earlier requests that were given up


class Brake:
    """One sender's shaper. It has its usual rate from the start, whatever an earlier life of the agent left."""

    def __init__(self, config: BrakeConfig) -> None:
        """Raises NetworkError when the shaper cannot be reached, ValueError when nobody said where it is."""
        self._config = config
        self._number = 0  # of the latest request
        if config.pid is None:
            raise ValueError(f"{config.intf}: nobody says in whose namespace it is")
        try:
            with network_namespace_of(config.pid):
                self._ifindex = socket.if_nametoindex(config.intf)
                self._socket = socket.socket(
                    socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
                )
        except OSError as error:
            raise NetworkError(f"cannot reach the shaper of {config.intf}: {error}") from None
        try:
            self._socket.bind((0, 0))
            self._socket.settimeout(ANSWER_TIMEOUT_S)
            self.release()
        except BaseException:
            self._socket.close()
            raise

    def pause(self) -> None:
        """Let next to nothing out. Raises NetworkError when the kernel refuses."""
        self._change(paused=True)

    def release(self) -> None:
        """Give it its usual rate. Raises NetworkError when the kernel refuses."""
        self._change(paused=False)

    def _change(self, *, paused: bool) -> None:
        config = self._config
        self._number += 1
        try:
            self._socket.send(shaper_change(config, self._ifindex, self._number, paused=paused))
            code = self._answer()
            if code < 0:
                raise OSError(-code, os.strerror(-code))
        except (OSError, struct.error) as error:
            raise NetworkError(f"cannot {'pause' if paused else 'release'} {config.intf}: {error}") from None

    def _answer(self) -> int:
        """Return the kernel's error number, negative, for the latest request; 0: done."""
        for _ in range(LATE_ANSWERS):
            answer = self._socket.recv(ANSWER_BYTES)
            _length, kind, _flags, number, _port = nl.HEADER.unpack_from(answer)
            if kind == nl.NLMSG_ERROR and number == self._number:
                return int(nl.ERROR.unpack_from(answer, nl.HEADER.size)[0])
        raise OSError(errno.EPROTO, "the kernel answers something else")

    def close(self) -> None:
        """Let the sender go on, if its shaper is still there."""
        with suppress(NetworkError):
            self.release()
        self._socket.close()


def shaper_change(config: BrakeConfig, ifindex: int, number: int, *, paused: bool) -> bytes:
    """Return request ``number``, which gives the token bucket its usual rate and size, or those of a pause.

    The kernel fills the bucket whenever it changes it: one frame at a pause, and no more than after any idle moment
    when the sender goes on.
    """
    rate, burst = config.rate_bytes_per_s, config.burst_bytes
    if paused:
        rate, burst = config.paused_bytes_per_s, config.paused_burst_bytes
    parameters = RATE.pack(0, LINKLAYER_ETHERNET, 0, 0, 0, min(rate, MOST_RATE)) + bytes(RATE.size)  # no peak rate
    parameters += QUEUE.pack(config.limit_bytes, 0, 0)  # the bucket's size is given in bytes below
    options = _attribute(TCA_TBF_PARMS, parameters) + _attribute(TCA_TBF_BURST, struct.pack("=I", burst))
    if rate > MOST_RATE:
        options += _attribute(TCA_TBF_RATE64, struct.pack("=Q", rate))
    body = nl.TCMSG.pack(0, ifindex, config.handle, config.parent, 0)
    body += _attribute(nl.TCA_KIND, nl.SHAPER.encode() + b"\0") + _attribute(TCA_OPTIONS, options)
    return nl.HEADER.pack(nl.HEADER.size + len(body), nl.RTM_NEWQDISC, nl.NLM_F_REQUEST | NLM_F_ACK, number, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return nl.ATTRIBUTE.pack(nl.ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
