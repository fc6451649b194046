"""Do again what the GSPs of a run did: call fresh cores as their journals say, compare every decision byte for byte.

examples:
  gse replay results/allreduce_ring/2026*gse2-n2n*             every GSP of these runs
  gse replay results/allreduce_ring/2026*/raw/gsp-l1.journal   one

A run with --set gsp.journal=true leaves the journals. No network, no root, no clock: the same journal and the same code
give the same answer on any machine. With other code it says at which frame the two part. Exit status: 0 all decided as
recorded, 1 one did not, 2 no journal at all, or a damaged one. Run folders without journals beside others are skipped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import Problem, ResultsError, printable
from testbed.files import MAX_JOURNAL_BYTES, open_input
from testbed.journal.reader import Journal
from testbed.journal.replay import Outcome, replay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "paths", metavar="RUN_OR_JOURNAL", nargs="+", type=Path, help="run folders (all their journals), or journals"
    )


def run(args: argparse.Namespace) -> int:
    """Replay everything that can be; return 1 if a decision differs. Raises ResultsError for what cannot be read."""
    problems: list[Problem] = []
    status = 0
    for path in journals_below(args.paths):
        try:
            name, outcome = _replayed(path)
        except ResultsError as error:
            problems += error.problems
            continue
        print(printable(f"{path}: {name}, {describe(outcome)}"), flush=True)
        status = max(status, int(outcome.difference is not None))
    if problems:
        raise ResultsError(problems)
    return status


def journals_below(paths: Sequence[Path]) -> list[Path]:
    """Return the journals of all the runs, and those named themselves. Raises ResultsError when there is none at all.

    A folder without one beside others is said on stderr and skipped: a pattern also matches runs that left none.
    """
    found = {path: sorted(path.glob("raw/*.journal")) if path.is_dir() else [path] for path in paths}
    without = [path for path, journals in found.items() if not journals]
    if len(without) == len(found):
        expected = "raw/*.journal, as a run with agents and gsp.journal=true leaves them"
        what, got = "no journal to replay", "a folder without one"
        raise ResultsError([Problem(what, str(path), got, expected) for path in without])
    for path in without:
        print(printable(f"gse: {path}: no journal to replay, skipped"), file=sys.stderr)
    return [journal for journals in found.values() for journal in journals]


def describe(outcome: Outcome) -> str:
    """Return in words how a replay went."""
    counts = f"{outcome.events:,} events, {outcome.frames:,} frames"
    if outcome.difference is not None:
        return f"{counts} identical, then DIFFERENT: {outcome.difference}"
    return f"{counts}, identical" + ("" if outcome.incomplete is None else f" as far as it goes; {outcome.incomplete}")


def _replayed(path: Path) -> tuple[str, Outcome]:
    try:
        with open_input(path, MAX_JOURNAL_BYTES) as file:
            record = Journal(file, str(path))
            return record.birth.name, replay(record)
    except OSError as error:
        raise ResultsError(Problem("cannot be read", str(path), str(error.strerror), "a journal of a GSP")) from None
