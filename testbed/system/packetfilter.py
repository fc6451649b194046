"""Classic BPF programs on packet sockets: what the kernel does not pass on costs nothing to read."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

SO_ATTACH_FILTER: Final = 26
LOAD_HALF: Final = 0x28  # of a frame, at a fixed offset: linux/filter.h
LOAD_BYTE: Final = 0x30
JUMP_IF_EQUAL: Final = 0x15
RETURN: Final = 0x06
ETHERTYPE_AT: Final = 12
WHOLE_FRAME: Final = 0xFFFF_FFFF

Instruction = tuple[int, int, int, int]  # code, how many to skip if true, if false, operand


def attach(sock: socket.socket, instructions: Sequence[Instruction]) -> None:
    """Have a packet socket see only what a program returns bytes of. Raises OSError when the kernel refuses it."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(instructions), ctypes.addressof(program))
    )


def drain(sock: socket.socket) -> None:
    """Throw away what a socket has received, as before a filter was attached."""
    with suppress(BlockingIOError):
        while True:
            sock.recv(1, socket.MSG_DONTWAIT)


def all_but(ethertype: int) -> tuple[Instruction, ...]:
    """Return a program that passes every frame but those of an EtherType, whole."""
    return (
        (LOAD_HALF, 0, 0, ETHERTYPE_AT),
        (JUMP_IF_EQUAL, 0, 1, ethertype),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, WHOLE_FRAME),
    )
