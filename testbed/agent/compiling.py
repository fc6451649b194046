"""Compile the data plane, once for each state of its sources: agents then need a third of the processor time.

As a program it is what ``ensure_compiled`` starts: ``python -m testbed.agent.compiling FOLDER SCRATCH``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testbed.agent.compiled import COMPLETE, INTERPRET, PROJECT, folder, is_whole, sources
from testbed.errors import CommandError
from testbed.files import give_to_caller
from testbed.system.command import run

OPTIMISATION: Final = "2"
LONGEST_S: Final = 600.0
LOOK_AGAIN_S: Final = 0.1  # the kernel wakes who waits for a lock, but nobody who has waited long enough
UNFINISHED: Final = ".unfinished-"
KEPT: Final = 3  # states of the sources, so that going back and forth between two costs nothing


def ensure_compiled(say: Callable[[str], None]) -> None:
    """See that agents started from now on find compiled modules; ``say`` why not where that cannot be."""
    if os.environ.get(INTERPRET) == "1":
        return
    try:
        if is_whole(folder()):
            return
        missing = missing_tools()
        if missing:
            say(f"agents will be interpreted, at three times the cost: no {' and no '.join(missing)}; run ./gse setup")
            return
        room = folder().parent
        room.mkdir(parents=True, exist_ok=True)
        give_to_caller(room)
        with _alone_in(room, say):  # two runs that begin together compile once
            target = folder()  # sources may have changed while we waited
            if not is_whole(target):
                say("compiling the agents' data plane, once (half a minute on a core that is free)")
                _make(target)
                say("compiled; ./gse will use it until its sources change")
            _clear(room, target)
    except (OSError, CommandError) as error:
        say(f"agents will be interpreted, at three times the cost: compiling failed: {str(error)[-300:]}")


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=target.parent) as unfinished:
        made = Path(unfinished) / "lib"
        argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", __name__, str(made), f"{unfinished}/scratch"]
        # -m looks in the current directory first: never in a user's
        run(argv, timeout_s=LONGEST_S, cwd=PROJECT, with_all=True)
        if folder() != target:
            raise CommandError(argv, None, "the sources changed meanwhile")
        sizes = {str(path.relative_to(made)): path.stat().st_size for path in made.rglob("*.so")}
        (made / COMPLETE).write_text(json.dumps(sizes))
        for path in (made, *made.rglob("*")):
            give_to_caller(path)
            _to_disk(path)
        shutil.rmtree(target, ignore_errors=True)  # damaged, if it is there
        made.rename(target)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone_in(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another ./gse that compiles the data plane, {LONGEST_S:g} s at most")
            _await_lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _await_lock(descriptor: int, directory: Path) -> None:
    """Wait for a lock as long as compiling may take: who holds it may have been stopped. Raises TimeoutError."""
    until_s = time.monotonic() + LONGEST_S
    while time.monotonic() < until_s:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(LOOK_AGAIN_S)
    raise TimeoutError(f"another process has held {directory} for {LONGEST_S:g} s")


def _clear(room: Path, target: Path) -> None:
    """Remove what killed compilations left, and all but the latest states of the sources."""
    for path in room.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)
    others = [path for path in room.iterdir() if path != target]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        (path / COMPLETE).unlink(missing_ok=True)  # first: half a folder is never taken for a whole one
        shutil.rmtree(path, ignore_errors=True)


def missing_tools() -> list[str]:
    """Return what compiling needs and this machine does not have."""
    found = {
        "C compiler (gcc)": shutil.which("gcc") is not None,
        "Python headers (python3-dev)": Path(sysconfig.get_path("include"), "Python.h").exists(),
    }
    return [name for name, there in found.items() if not there]


def compile_to(target: Path, scratch: Path) -> None:
    """Compile into ``target``. Uses the tools' own settings, and leaves nothing but ``target`` and ``scratch``."""
    from mypyc.build import mypycify  # heavy, and only needed here
    from setuptools import setup

    os.chdir(PROJECT)  # where the type checker's settings are
    names = [str(path.relative_to(PROJECT)) for path in sources()]
    modules = mypycify(
        ["--cache-dir", os.devnull, *names], opt_level=OPTIMISATION, target_dir=str(scratch / "c"), strip_asserts=False
    )
    arguments = ["--quiet", "build_ext", "--build-lib", str(target), "--build-temp", str(scratch / "o")]
    setup(name="dataplane", ext_modules=modules, script_args=arguments)


if __name__ == "__main__":
    compile_to(Path(sys.argv[1]), Path(sys.argv[2]))
