"""Interface offloads through the ethtool ioctl: one system call instead of one process per setting."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Final

SIOCETHTOOL: Final = 0x8946
EOPNOTSUPP: Final = 95

# name -> (get command, set command), linux/ethtool.h
OFFLOADS: Final = {
    "rx-checksum": (0x14, 0x15),
    "tx-checksum": (0x16, 0x17),
    "scatter-gather": (0x18, 0x19),
    "tcp-segmentation": (0x1E, 0x1F),
    "generic-segmentation": (0x23, 0x24),
    "generic-receive": (0x2B, 0x2C),
}
TURNED_OFF: Final = ("tx-checksum", "tcp-segmentation", "generic-segmentation", "generic-receive")


def _ethtool(sock: socket.socket, intf: str, command: int, value: int) -> int:
    data = array.array("B", struct.pack("II", command, value))
    request = struct.pack("16sP", intf.encode(), data.buffer_info()[0])
    fcntl.ioctl(sock.fileno(), SIOCETHTOOL, request)
    return int(struct.unpack("II", data.tobytes())[1])


def disable_offloads(intfs: list[str]) -> None:
    """Turn off what would merge or delay frames on interfaces of the current network namespace.

    A 64-KiB super-frame would pass the shaper as one unit. Raises OSError naming nothing but the
    kernel's reason; the caller knows the interfaces.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for intf in intfs:
            for name in TURNED_OFF:
                _ethtool(sock, intf, OFFLOADS[name][1], 0)


def offloads_still_on(intfs: list[str]) -> list[str]:
    """Return ``intf: offload`` for each offload that should be off and is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return [
            f"{intf}: {name} is on, expected off"
            for intf in intfs
            for name in TURNED_OFF
            if _ethtool(sock, intf, OFFLOADS[name][0], 0)
        ]
