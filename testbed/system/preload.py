"""Build the library that is preloaded into ovs-vswitchd (``testbed/fabric/wakeups.c``), once for each of its states."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from testbed.errors import CommandError
from testbed.files import give_to_caller
from testbed.system.command import run

SOURCE: Final = Path(__file__).resolve().parents[1] / "fabric" / "wakeups.c"
FLAGS: Final = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
LONGEST_S: Final = 60.0
ROOM: Final = Path(sys.prefix, "preload")


def wakeups_library() -> Path | None:
    """Return the library of the present source; None: it has not been built."""
    path = _target()
    return path if path.exists() else None


def ensure_wakeups_library(say: Callable[[str], None]) -> None:
    """See that switches started from now on find their library; ``say`` why not where that cannot be."""
    try:
        if wakeups_library() is not None:
            return
        if shutil.which("gcc") is None:
            say("switches will be woken for every frame, at half as much again: no C compiler (gcc); run ./gse setup")
            return
        _build(_target())
    except (OSError, CommandError) as error:
        say(f"switches will be woken for every frame, at half as much again: compiling failed: {str(error)[-300:]}")


def remove_if_ours(library: Path) -> bool:
    """Remove a library built here, which was of no use (damaged, say); return whether it was one."""
    if library.parent != ROOM:
        return False
    library.unlink(missing_ok=True)
    return True


def _target() -> Path:
    digest = hashlib.sha256("\0".join((SOURCE.read_text(), *FLAGS, os.uname().machine)).encode())
    return ROOM / f"wakeups-{digest.hexdigest()[:16]}.so"


def _build(target: Path) -> None:
    """Compile beside the target and rename: who looks meanwhile finds a whole library or none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    give_to_caller(target.parent)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent) as unfinished:
        made = Path(unfinished, target.name)
        argv = ["setpriv", "--pdeathsig", "KILL", "gcc", *FLAGS, "-o", str(made), str(SOURCE), "-ldl"]
        run(argv, timeout_s=LONGEST_S, with_all=True)  # gcc has others compile
        with made.open("rb") as file:
            os.fsync(file.fileno())
        give_to_caller(made)
        made.replace(target)
