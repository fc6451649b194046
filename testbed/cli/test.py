"""The whole test suite a change must pass: unit tests, then tests on real networks (root).

examples:
  sudo ./gse test              everything, some fifteen minutes on 2 cores
  ./gse test --unit            no root, some minutes
  sudo ./gse test --full       also the long campaigns, and more examples of properties
  sudo ./gse test -k failure   only tests whose name matches
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from testbed.agent.compiling import ensure_compiled
from testbed.errors import MachineError, Problem
from testbed.system.capsule import require_root
from testbed.system.preload import ensure_wakeups_library

PROJECT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = "unit tests"
BESIDE: Final = "tests on real networks, side by side"  # those that measure nothing others could disturb
ALONE: Final = "tests on real networks, one by one"
PARTS: Final = (UNIT, BESIDE, ALONE)
NO_TESTS_COLLECTED: Final = 5  # pytest's exit status when -k leaves nothing
INTERRUPTED: Final = 2
FULL_EXAMPLES: Final = "200"  # of each property with --full, where its test does not say how many (tests/conftest.py)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--unit", action="store_true", help="unit tests only (no root needed)")
    parser.add_argument(
        "--full", action="store_true", help="add the long campaigns, and four times the examples of properties"
    )
    parser.add_argument("-k", dest="expression", metavar="EXPR", help="only tests matching EXPR (as in pytest)")


def run(args: argparse.Namespace) -> int:
    """Run the suite; return 0 when every part passed, 1 when one failed."""
    if not args.unit:
        require_root("test")
    if not (PROJECT / "tests").is_dir():
        raise MachineError(Problem("the tests are not installed", str(PROJECT), "no tests directory", "a checkout"))
    if not args.unit:  # now, or the first tests that start agents would wait for it
        for ensure in (ensure_compiled, ensure_wakeups_library):
            ensure(lambda text: print(f"== {text}", flush=True))
    statuses = {}
    for part in (UNIT,) if args.unit else PARTS:
        print(f"== {part}", flush=True)
        started_s = time.monotonic()
        statuses[part] = subprocess.run(
            pytest_argv(part, full=args.full, expression=args.expression),
            cwd=PROJECT,
            env=_environment(full=args.full),
            check=False,
        ).returncode
        print(f"== {part}: {_outcome(statuses[part])} in {time.monotonic() - started_s:.0f} s", flush=True)
        if statuses[part] == INTERRUPTED:
            break
    return exit_status(list(statuses.values()), chosen=args.expression is not None)


def pytest_argv(part: str, *, full: bool, expression: str | None) -> list[str]:
    """Return the command that runs one of PARTS."""
    argv = [sys.executable, "-m", "pytest", "tests/unit" if part == UNIT else "tests/integration"]
    if part == UNIT:
        argv += ["-n", "auto"]  # on all cores
    elif part == BESIDE:
        argv += ["-n", str(1 + (os.cpu_count() or 1))]  # each waits for something now and then
        argv += ["--dist", "worksteal"]  # they take 1 to 40 s: nobody is idle while another has several left
    marks = [] if full else ["not full"]
    if part != UNIT:
        marks.append("beside" if part == BESIDE else "not beside")
    if marks:
        argv += ["-m", " and ".join(marks)]
    argv += ["--durations=30", "--durations-min=2" if part == UNIT else "--durations-min=5"]
    if expression is not None:
        argv += ["-k", expression]
    return argv


def exit_status(statuses: list[int], *, chosen: bool) -> int:
    """Combine pytest's exit statuses: 0 when nothing failed and something ran.

    ``chosen``: by an expression, that may leave parts without a test; else every part has some.
    """
    fine = {0, NO_TESTS_COLLECTED} if chosen else {0}
    failed = [status for status in statuses if status not in fine]
    return 1 if failed or all(status == NO_TESTS_COLLECTED for status in statuses) else 0


def _outcome(status: int) -> str:
    return {0: "passed", NO_TESTS_COLLECTED: "nothing matched"}.get(status, f"FAILED (pytest exit status {status})")


def _environment(*, full: bool) -> dict[str, str]:
    """Return the environment of pytest: programs in sbin found even where su left them out of PATH."""
    path = os.environ.get("PATH", "")
    more = {"GSE_TEST_EXAMPLES": FULL_EXAMPLES} if full else {}
    return {**os.environ, **more, "PATH": f"{path}:/usr/sbin:/sbin"}
