"""Raw frames of one interface, and carrier of the leaf's uplinks."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from testbed.errors import NetworkError

ETH_P_ALL: Final = 0x0003
PACKET_STATISTICS: Final = 6
PACKET_IGNORE_OUTGOING: Final = 23
SOL_PACKET: Final = 263
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
RECEIVE_BUFFER_BYTES: Final = 8 * 1024 * 1024
MOST_AT_ONCE: Final = 64  # frames of one interface before the others have their turn

RTMGRP_LINK: Final = 1
RTM_NEWLINK: Final = 16
RTM_GETLINK: Final = 18
NLM_F_REQUEST: Final = 0x1
NLM_F_DUMP: Final = 0x300
IFF_LOWER_UP: Final = 0x10000
_NLMSGHDR: Final = struct.Struct("=IHHII")
_IFINFOMSG: Final = struct.Struct("=BxHiII")


class FrameSocket:
    """A packet socket on one interface: whole frames both ways, never waiting."""

    def __init__(self, intf: str, *, frame_bytes: int, buffer_bytes: int) -> None:
        self.intf = intf
        self._frame_bytes = frame_bytes
        self.queue_full = 0  # frames the interface's own queue refused
        self._dropped = 0
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self.sock.setblocking(False)
            self.sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes)
            self.sock.bind((intf, ETH_P_ALL))
        except OSError as error:
            self.sock.close()
            raise NetworkError(f"cannot open a packet socket on {intf}: {error}") from None

    def received(self) -> list[bytes]:
        """Return every frame that has arrived, up to MOST_AT_ONCE."""
        receive, size = self.sock.recv, self._frame_bytes
        frames: list[bytes] = []
        try:
            for _ in range(MOST_AT_ONCE):
                frames.append(receive(size))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENETDOWN:  # the interface went down; its return is seen by carrier
                raise NetworkError(f"cannot receive on {self.intf}: {error}") from None
        return frames

    def send(self, parts: Sequence[bytes]) -> None:
        """Send one frame given in parts; one that the interface's queue does not take is counted."""
        try:
            if len(parts) == 1:  # cheaper than a message of one part
                self.sock.send(parts[0])
            else:
                self.sock.sendmsg(parts)
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.ENETDOWN, errno.ENXIO):
                raise NetworkError(f"cannot send on {self.intf}: {error}") from None
            self.queue_full += 1

    def dropped(self) -> int:
        """Return how many frames the kernel has dropped because this program did not read in time."""
        _packets, drops = struct.unpack("=II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._dropped += drops  # reading resets the kernel's counter
        return self._dropped

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class CarrierWatch:
    """Hears of carrier changes of some interfaces from the kernel."""

    def __init__(self, intfs: Sequence[str]) -> None:
        self._number = {socket.if_nametoindex(intf): number for number, intf in enumerate(intfs)}
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self.sock.bind((0, RTMGRP_LINK))

    def changes(self) -> list[tuple[int, bool]]:
        """Return (number of the interface, whether it has carrier) for every message that waits."""
        found: list[tuple[int, bool]] = []
        while True:
            try:
                data = self.sock.recv(65_536)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # messages were lost: hellos notice a failure, but no mended carrier
                    self._ask_anew()
                    continue
                raise NetworkError(f"cannot watch carriers: {error}") from None
            found += self._parse(data)

    def _ask_anew(self) -> None:
        """Have the kernel tell of every interface; its answers wait like any other message."""
        length = _NLMSGHDR.size + _IFINFOMSG.size
        request = _NLMSGHDR.pack(length, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + _IFINFOMSG.pack(0, 0, 0, 0, 0)
        with suppress(OSError):  # busy with the last such request, whose answers are to come
            self.sock.send(request)

    def _parse(self, data: bytes) -> list[tuple[int, bool]]:
        found, at = [], 0
        while at + _NLMSGHDR.size <= len(data):
            length, kind, _flags, _seq, _pid = _NLMSGHDR.unpack_from(data, at)
            if length < _NLMSGHDR.size:
                break
            if kind == RTM_NEWLINK and length >= _NLMSGHDR.size + _IFINFOMSG.size:
                _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(data, at + _NLMSGHDR.size)
                if index in self._number:
                    found.append((self._number[index], bool(flags & IFF_LOWER_UP)))
            at += (length + 3) & ~3
        return found

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
