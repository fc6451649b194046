"""Ask the kernel whether it knows a generic netlink family (include/uapi/linux/genetlink.h)."""

from __future__ import annotations

import socket
import struct
from typing import Final

NETLINK_GENERIC: Final = 16
GENL_ID_CTRL: Final = 0x10
CTRL_CMD_GETFAMILY: Final = 3
CTRL_ATTR_FAMILY_NAME: Final = 2
NLM_F_REQUEST: Final = 1
NLMSG_ERROR: Final = 2


def family_exists(name: str) -> bool:
    """Return whether the kernel has the family; asking makes it load the module that provides it.

    Raises OSError when the kernel has no generic netlink at all.
    """
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), CTRL_ATTR_FAMILY_NAME) + text
    attribute += b"\0" * (-len(attribute) % 4)
    body = struct.pack("=BBH", CTRL_CMD_GETFAMILY, 1, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as sock:
        sock.settimeout(10)
        sock.sendto(struct.pack("=IHHII", 16 + len(body), GENL_ID_CTRL, NLM_F_REQUEST, 1, 0) + body, (0, 0))
        reply = sock.recv(65536)
    kind: int = struct.unpack_from("=H", reply, 4)[0]
    return kind != NLMSG_ERROR
