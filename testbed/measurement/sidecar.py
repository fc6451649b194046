"""What measuring processes beside a run have in common: a configuration file, commands on stdin, events on stdout."""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from testbed.errors import TestbedError, WorkloadError
from testbed.system.pipes import LineReader

C = TypeVar("C")
STOP = "stop"


class Commands:
    """Commands from stdin, one JSON object ``{"command": NAME}`` per line. The end of stdin is a ``stop``."""

    def __init__(self, stdin: IO[bytes]) -> None:
        self._reader = LineReader(stdin)
        self._waiting: deque[str] = deque()

    @property
    def fd(self) -> int:
        """The descriptor commands come from: readable when there may be one."""
        return self._reader.fd

    def wait(self, until_s: float | None = None) -> str | None:
        """Return the next command, None when there is none until ``until_s`` (monotonic; None: wait for ever).

        Raises WorkloadError when a line is not a command.
        """
        while not self._waiting:
            if not self._reader.open:
                return STOP
            timeout_s = None if until_s is None else max(until_s - time.monotonic(), 0.0)
            readable, _, _ = select.select([self._reader.fd], [], [], timeout_s)
            if not readable:
                return None
            self._waiting.extend(_name(line) for line in self._reader.read())
        return self._waiting.popleft()


def _name(line: bytes) -> str:
    try:
        return str(json.loads(line)["command"])
    except (ValueError, KeyError, TypeError):
        raise WorkloadError(f'got {line[:100]!r} on stdin, expected {{"command": NAME}}') from None


def emit(event: str, **fields: Any) -> None:
    """Print one event."""
    print(json.dumps({"event": event, **fields}), flush=True)


def read_config(path: Path, make: Callable[[Mapping[str, Any]], C]) -> C:
    """Return what ``make`` makes of a JSON file. Raises WorkloadError saying which field of it is wrong."""
    try:
        return make(json.loads(path.read_text()))
    except KeyError as error:
        raise WorkloadError(f"{path}: field {error} is missing") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WorkloadError(f"{path}: {error}") from None


def main(name: str, make: Callable[[Mapping[str, Any]], C], run: Callable[[C, Commands], None]) -> int:
    """Be a program that is called with ``--config FILE``; return its exit status. A failure is an event, too."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see Config")
    path = parser.parse_args().config
    try:
        run(read_config(path, make), Commands(sys.stdin.buffer))
    except (TestbedError, OSError, ValueError) as error:
        emit("error", message=f"{name}: {error}")
        return 1
    return 0
