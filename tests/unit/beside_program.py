"""A program that sends beside the ranks (small messages, flows), run as a run runs it: told and heard in JSON lines."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.measurement.arrival import SO_TIMESTAMPNS

PROJECT = Path(__file__).resolve().parents[2]
needs_namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")


class Program:
    def __init__(self, module: str, tmp_path: Path, fields: dict[str, Any]) -> None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(fields))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--config", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
        )

    def hear(self, timeout_s: float = 20) -> dict[str, Any]:
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], timeout_s)[0], "it says nothing"
        return dict(json.loads(self.process.stdout.readline()))

    def tell(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"command": command}).encode() + b"\n")
        self.process.stdin.flush()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


class StampedSocket:
    """The receiving end of a TCP connection with ``data`` in it, whose last segment in order came ``ago_s`` ago."""

    def __init__(self, data: bytes, *, ago_s: float, out_of_order: int) -> None:
        self._data = data
        self._stamp = struct.pack("=qq", *divmod(time.time_ns() - round(ago_s * 1e9), 10**9))
        self._out_of_order = out_of_order

    def recvmsg(self, size: int, _control_bytes: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        if not self._data:
            raise BlockingIOError
        data, self._data = self._data[:size], self._data[size:]
        return data, [(socket.SOL_SOCKET, SO_TIMESTAMPNS, self._stamp)], 0, None

    def recvmsg_into(
        self, buffers: list[bytearray], control_bytes: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, None]:
        data, control, flags, address = self.recvmsg(len(buffers[0]), control_bytes)
        buffers[0][: len(data)] = data
        return len(data), control, flags, address

    def getsockopt(self, _level: int, option: int, _size: int) -> bytes:
        assert option == socket.TCP_INFO
        return bytes(224) + struct.pack("=I", self._out_of_order)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass
