"""GSOS's northbound interface: JSON lines over a unix socket only root can open.

Request ``{"method": M, "params": {...}}``, answer ``{"ok": true, "result": ...}`` or ``{"ok": false, "error": "..."}``.
Every client has a (green) thread of its own, so a slow or silent one delays nobody else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.compat import hub
from testbed.errors import ControllerError, TestbedError

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_CLIENTS = 64
STALLED_S = 30.0  # a client that takes longer for a part of a request, or to take an answer, is dropped

Handler = Callable[[str, dict[str, Any]], Any]


class NorthboundServer:
    """Serves ``handler(method, params)``. What the handler raises as TestbedError becomes the answer's error."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._clients = 0
        self._listener = _listen(path)

    def start(self) -> None:
        """Accept clients in the background."""
        hub.spawn(self._accept_clients)

    def close(self) -> None:
        """Remove the socket."""
        self._path.unlink(missing_ok=True)
        self._listener.close()

    def _accept_clients(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError as error:
                log.info("northbound interface closed: %s", error)
                return
            if self._clients >= MAX_CLIENTS:
                log.warning("more than %d northbound clients: one refused", MAX_CLIENTS)
                client.close()
                continue
            self._clients += 1
            hub.spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(STALLED_S)
            reader = _LineReader(client)
            while (line := reader.next_line()) is not None:
                client.sendall(json.dumps(self.answer(line)).encode() + b"\n")
        except OSError as error:
            log.info("northbound client dropped: %s", error)
        finally:
            self._clients -= 1
            with contextlib.suppress(OSError):
                client.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the answer to one request line, whatever the line contains."""
        try:
            request = json.loads(line)
            method, params = request["method"], request.get("params", {})
            if not isinstance(method, str) or not isinstance(params, dict):
                raise TypeError("method is a string, params an object")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            form = '{"method": NAME, "params": {...}}'
            return {"ok": False, "error": f"request: got {line[:80]!r} ({error}), expected {form}"}
        try:
            return {"ok": True, "result": self._handler(method, params)}
        except TestbedError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # a mistake of ours must not cost the fabric its controller
            log.exception("northbound method %s failed", method)
            return {"ok": False, "error": f"{method} failed inside GSOS: {error!r}"}


class _LineReader:
    """Lines from a socket. A client may be silent between requests for ever, but not in the middle of one."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._pending = bytearray()

    def next_line(self) -> bytes | None:
        """Return the next line without its end; None when the client has closed. Raises OSError."""
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0:
            searched = len(self._pending)
            if searched > MAX_REQUEST_BYTES:
                raise ConnectionError(f"request longer than {MAX_REQUEST_BYTES} bytes")
            try:
                data = self._client.recv(65536)
            except TimeoutError:
                if not self._pending:
                    continue
                raise
            if not data:
                return None
            self._pending += data
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at ``path``. Raises ControllerError when another GSOS listens there.

    It appears there when it listens, not before: whoever waits for the file may connect at once.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    unready = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        unready.unlink(missing_ok=True)
        listener.bind(str(unready))
        listener.listen(2 * MAX_CLIENTS)
        os.link(unready, path)
    except OSError as error:
        listener.close()
        raise ControllerError(f"northbound socket {path} cannot be opened: {error}") from None
    finally:
        os.umask(before)
        unready.unlink(missing_ok=True)
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket a dead GSOS has left; anything else at that path is an error."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControllerError(f"{path} exists and is not a socket: expected nothing, or a socket left by a GSOS")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ControllerError(f"northbound socket {path} is in use: {error}") from None
    raise ControllerError(f"another GSOS listens at {path}")
