"""What the first process of a run's capsule does around the run: furnish it, tell what happens, end with its starter.

Prints one JSON line per event on stdout for ``testbed.runs.campaign``; ends when its stdin closes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from testbed.errors import TestbedError, WorkloadError
from testbed.system import capsule

log = logging.getLogger(__name__)
Emit = Callable[[dict[str, Any]], None]


def run_capsule(execute: Callable[[Emit], None]) -> int:
    """Be the first process of a capsule: furnish it, execute, report failure as an event and by the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _end_with_starter()
    try:
        capsule.enter()
        execute(_print_event)
    except TestbedError as error:
        log.error("%s", error)
        of_workload = isinstance(error, WorkloadError)
        _print_event(
            {"event": "failed", "error": str(error), "exit_status": error.exit_status, "of_workload": of_workload}
        )
        return error.exit_status
    except OSError as error:
        log.exception("failed")
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _print_event({"event": "failed", "error": str(error), "exit_status": 2 if full else 1, "of_workload": False})
        return 1
    except Exception as error:  # the last line of defence: the user gets a sentence, the log the traceback
        log.exception("failed")
        message = f"{type(error).__name__}: {error}"
        _print_event({"event": "failed", "error": message, "exit_status": 1, "of_workload": False})
        return 1
    _print_event({"event": "finished"})
    return 0


@contextmanager
def told_at_once(tell: Callable[..., None]) -> Iterator[None]:
    """Tell of a workload that fails inside when it does: ``failed`` comes when all is taken down, seconds later."""
    try:
        yield
    except WorkloadError as error:
        tell("workload_failed", message=str(error).partition("\n")[0])
        raise


def _print_event(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _end_with_starter() -> None:
    """End this process, and with it the capsule, when whoever started it closes our stdin by dying."""

    def wait_for_end() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait_for_end, name="starter", daemon=True).start()
