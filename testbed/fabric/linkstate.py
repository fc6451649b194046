"""Take interfaces up or down without a program: a link that is to fail fails within a millisecond of being told."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable
from typing import Final

from testbed.errors import NetworkError

SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 0x1
IFREQ: Final = struct.Struct("16sH14x")  # struct ifreq with its flags, linux/if.h


def set_interfaces(intfs: Iterable[str], *, up: bool) -> None:
    """Set interfaces of this namespace up or down, in order. Raises NetworkError naming the one that cannot be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for intf in intfs:
            name = intf.encode()
            try:
                _name, flags = IFREQ.unpack(fcntl.ioctl(sock, SIOCGIFFLAGS, IFREQ.pack(name, 0)))
                flags = flags | IFF_UP if up else flags & ~IFF_UP
                fcntl.ioctl(sock, SIOCSIFFLAGS, IFREQ.pack(name, flags))
            except OSError as error:
                raise NetworkError(f"cannot set {intf} {'up' if up else 'down'}: {error}") from None
