"""Talk to ovs-vswitchd's control socket (what ovs-appctl does) without a process per question."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from testbed.errors import NetworkError


class Unixctl:
    """A JSON-RPC connection to a running ovs-vswitchd. Use as a context manager."""

    def __init__(self, vswitchd_pid: int, *, run_dir: Path = Path("/run/openvswitch"), timeout_s: float = 10.0) -> None:
        self._path = run_dir / f"ovs-vswitchd.{vswitchd_pid}.ctl"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._decoder = json.JSONDecoder()
        self._calls = 0

    def __enter__(self) -> Unixctl:
        try:
            self._socket.connect(str(self._path))
        except OSError as error:
            self._socket.close()
            raise NetworkError(f"ovs-vswitchd cannot be reached at {self._path}: {error}") from None
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def call(self, command: str, *arguments: str) -> str:
        """Run a command (``ovs-appctl list-commands``) and return its text. Raises NetworkError."""
        self._calls += 1
        request = {"method": command, "params": list(arguments), "id": self._calls}
        try:
            self._socket.sendall(json.dumps(request).encode())
            answer = self._receive()
        except OSError as error:
            raise NetworkError(f"ovs-vswitchd did not answer {command}: {error}") from None
        if answer.get("error"):
            raise NetworkError(f"ovs-vswitchd refused {command} {' '.join(arguments)}: {answer['error']}")
        return str(answer["result"])

    def _receive(self) -> dict[str, object]:
        text = ""
        while True:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("it closed the connection")
            text += data.decode()
            try:
                value, _end = self._decoder.raw_decode(text)
            except json.JSONDecodeError:
                continue  # not complete yet
            return dict(value)
