"""Client of GSOS's northbound interface: JSON lines over a local socket. The server is apps/northbound.py."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from testbed.errors import ControllerError


class Northbound:
    """A connection to GSOS. Every call raises ControllerError when GSOS is gone, late or refuses."""

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._reader: Any = None

    def call(self, method: str, *, answer_within_s: float | None = None, **params: Any) -> Any:
        """Send one request and return its result."""
        timeout_s = answer_within_s if answer_within_s is not None else self._timeout_s
        try:
            connection = self._connect()
            connection.settimeout(timeout_s)
            connection.sendall(json.dumps({"method": method, "params": params}).encode() + b"\n")
            line: bytes = self._reader.readline()
        except TimeoutError:
            self.close()
            raise ControllerError(f"GSOS did not answer {method!r} within {timeout_s:g} s") from None
        except OSError as error:
            self.close()
            raise ControllerError(f"GSOS cannot be asked for {method!r}: {error}") from None
        except BaseException:  # interrupted: the answer that still comes would be taken for that to the next request
            self.close()
            raise
        if not line.endswith(b"\n"):  # nothing, or what it had written when it died
            self.close()
            raise ControllerError(f"GSOS closed the connection instead of answering {method!r}")
        answer = json.loads(line)
        if not answer.get("ok"):
            raise ControllerError(f"GSOS refused {method!r}: {answer.get('error')}")
        return answer.get("result")

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._socket is not None:
            self._reader.close()
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout_s)
            try:
                connection.connect(str(self._path))
            except OSError:
                connection.close()
                raise
            self._reader = connection.makefile("rb")
            self._socket = connection
        return self._socket
