"""The packet sockets of another process, which opens and closes descriptors meanwhile."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from testbed.errors import NetworkError
from testbed.fabric import ovs


def test_a_descriptor_closed_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    number, readlink = str(left.fileno()), os.readlink
    closed: list[str] = []

    def read_and_close(path: str | Path) -> str:
        target = readlink(path)
        if Path(path).name == number and not closed:
            closed.append(target)
            left.close()
        return target

    monkeypatch.setattr(os, "readlink", read_and_close)
    with right:
        try:
            for sock in ovs._packet_sockets(os.getpid()):
                sock.close()
        except NetworkError as error:
            if "not permitted" in str(error):  # a container may forbid it even to oneself
                pytest.skip(str(error))
            raise
    assert closed
