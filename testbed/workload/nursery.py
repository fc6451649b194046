"""Ranks by fork: what ``testbed.workload.endpoint`` imports is imported once, not by the interpreter of each rank.

    python -m testbed.workload.nursery

Each line on stdin is ``{"command": "fork", "namespace": PID, "name": NAME, "stdin": PATH, "stdout": PATH, "stderr":
PATH}``, and is answered by ``forked {name, pid}`` or ``error {message}``. The rank runs in the network namespace of
that process and is called NAME by ``ps``. It is no child of the nursery: whoever adopts orphans (the first process of
a PID namespace) is to wait for it. ``ready`` is said when everything is imported. Ends with the end of stdin.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from testbed.system.namespaces import enter_network_namespace_of
from testbed.workload import endpoint

PR_SET_NAME = 15
MAX_NAME_BYTES = 15  # the kernel's
STANDARD = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY | os.O_APPEND | os.O_CREAT))


def main() -> int:
    """Fork until there is nobody who asks; return the exit status."""
    gc.collect()
    gc.freeze()  # or the first collection of each rank would copy the memory they share
    endpoint.emit("ready")
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            pid = _fork_twice(asked)
        except OSError as error:
            endpoint.emit("error", message=f"cannot fork {asked['name']}: {error}")
            return 1
        endpoint.emit("forked", name=asked["name"], pid=pid)
    return 0


def _fork_twice(asked: Mapping[str, Any]) -> int:
    """Return the PID of a rank that is an orphan by now. Raises OSError when there can be none."""
    fds = [os.open(asked[name], flags | os.O_CLOEXEC, 0o644) for name, flags in STANDARD]
    read, write = os.pipe()
    if (between := os.fork()) == 0:
        try:
            if (rank := os.fork()) == 0:
                os.close(read)
                os.close(write)
                _be_rank(asked, fds)
            os.write(write, b"%d" % rank)
        finally:
            os._exit(0)
    for fd in (write, *fds):
        os.close(fd)
    os.waitpid(between, 0)
    with open(read, "rb") as pipe:
        said = pipe.read()
    if not said:
        raise ChildProcessError("no further process can be made")
    return int(said)


def _be_rank(asked: Mapping[str, Any], fds: list[int]) -> NoReturn:
    """Be the rank, from its own session and namespace on, and end with it."""
    status = 1
    try:
        os.setsid()
        for standard, fd in enumerate(fds):
            os.dup2(fd, standard)
            os.close(fd)
        ctypes.CDLL(None).prctl(PR_SET_NAME, str(asked["name"]).encode()[:MAX_NAME_BYTES], 0, 0, 0)
        enter_network_namespace_of(asked["namespace"])
        status = endpoint.main()
    except BaseException:  # what an interpreter of its own would show
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
