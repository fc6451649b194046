"""Compile the data plane, once for each state of its sources: agents then need a third of the processor time.

As a program it is what ``ensure_compiled`` starts: ``python -m testbed.system.compiling FOLDER``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testbed.agent.compiled import INTERPRET, PROJECT, folder, sources
from testbed.errors import CommandError
from testbed.results.files import give_to_caller
from testbed.system.command import run

OPTIMISATION: Final = "2"
LONGEST_S: Final = 600.0
OLDEST_KEPT: Final = 3  # states of the sources, so that going back and forth between two costs nothing


def ensure_compiled(say: Callable[[str], None]) -> None:
    """See that agents started from now on find compiled modules; ``say`` why not where that cannot be."""
    if os.environ.get(INTERPRET) == "1":
        return
    try:
        target = folder()
        if target.is_dir():
            return
        missing = missing_tools()
        if missing:
            say(f"agents will be interpreted, at three times the cost: no {' and no '.join(missing)}; run ./gse setup")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(target.parent):  # two runs that begin together compile once
            if not target.is_dir():
                say("compiling the agents' data plane, once (half a minute on a core that is free)")
                _make(target)
                say("compiled; ./gse will use it until its sources change")
        _forget_old(target)
    except (OSError, CommandError) as error:
        say(f"agents will be interpreted, at three times the cost: compiling failed: {str(error)[-300:]}")


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent) as unfinished:
        made = Path(unfinished) / "lib"
        run([sys.executable, "-m", __name__, str(made)], timeout_s=LONGEST_S)
        for path in (target.parent, made, *made.rglob("*")):
            give_to_caller(path)
        made.rename(target)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def missing_tools() -> list[str]:
    """Return what compiling needs and this machine does not have."""
    found = {
        "C compiler (gcc)": shutil.which("gcc") is not None,
        "Python headers (python3-dev)": Path(sysconfig.get_path("include"), "Python.h").exists(),
    }
    return [name for name, there in found.items() if not there]


def _forget_old(target: Path) -> None:
    others = [path for path in target.parent.iterdir() if path != target and not path.name.startswith(".")]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[OLDEST_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def compile_to(target: Path) -> None:
    """Compile into ``target``. Uses the tools' own settings, and leaves nothing but ``target``."""
    from mypyc.build import mypycify  # heavy, and only needed here
    from setuptools import setup

    os.chdir(PROJECT)  # where the type checker's settings are
    with tempfile.TemporaryDirectory() as scratch:
        names = [str(path.relative_to(PROJECT)) for path in sources()]
        modules = mypycify(
            ["--cache-dir", os.devnull, *names], opt_level=OPTIMISATION, target_dir=f"{scratch}/c", strip_asserts=False
        )
        arguments = ["--quiet", "build_ext", "--build-lib", str(target), "--build-temp", f"{scratch}/o"]
        setup(name="dataplane", ext_modules=modules, script_args=arguments)


if __name__ == "__main__":
    compile_to(Path(sys.argv[1]))
