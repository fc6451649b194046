"""The packet sockets of another process, which opens and closes descriptors meanwhile."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from testbed.fabric import ovs


def test_a_descriptor_closed_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    number, readlink = str(left.fileno()), os.readlink
    closed: list[str] = []

    def read_and_close(path: Path) -> str:
        target = readlink(path)
        if path.name == number and not closed:
            closed.append(target)
            left.close()
        return target

    monkeypatch.setattr(os, "readlink", read_and_close)
    for sock in ovs._packet_sockets(os.getpid()):
        sock.close()
    assert closed
    right.close()
