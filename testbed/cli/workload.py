"""Look into traces of other people's collectives: totals per operation, group and stage, computing, what is unknown.

examples:
  gse workload inspect zero2.csv                    AICB, SimAI, Chakra, PARAM or NCCL: told by its content
  gse workload inspect rank0.et rank1.et --json     one JSON document, a list with an object per file
  gse workload inspect job.log --format nccl        taken for what it is said to be

Nothing is left out silently: what is not understood is listed with its place. docs/workloads.md says what the
sizes and times of each format mean. Exit status: 0 all read, 2 a file cannot be read or is damaged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from testbed.cli.console import Console
from testbed.errors import Problem, TraceError
from testbed.traces.files import load
from testbed.traces.trace import FORMATS, Trace
from testbed.views.traces import trace_json, trace_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    look = actions.add_parser("inspect", help="totals of traces, and what is unknown in them")
    look.add_argument("files", metavar="FILE", nargs="+", type=Path, help="traces; of Chakra one file per rank")
    look.add_argument("--format", choices=FORMATS, help="what the files are (default: told by their content)")
    look.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Do what is asked for and return 0. Raises TraceError."""
    return ACTIONS[args.action](args)


def inspect(args: argparse.Namespace) -> int:
    """Show every trace that can be read, then raise TraceError for those that cannot. One at a time is in memory."""
    problems: list[Problem] = []
    shown = _shown_as_json if args.json else _shown_as_tables
    n_shown = 0
    for path in args.files:
        try:
            shown(load(path, args.format), n_shown)
            n_shown += 1
        except TraceError as error:
            problems += error.problems
    if args.json:
        print("\n]" if n_shown else "[]")
    if problems:
        raise TraceError(problems)
    return 0


def _shown_as_json(trace: Trace, n_before: int) -> None:
    """Print an entry of a list, as ``json.dumps`` would; line ends stand between values only."""
    print(",\n  " if n_before else "[\n  ", end="")
    for piece in json.JSONEncoder(indent=2).iterencode(trace_json(trace)):
        print(piece.replace("\n", "\n  "), end="")


def _shown_as_tables(trace: Trace, _n_before: int) -> None:
    Console().print(trace_tables(trace))


ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {"inspect": inspect}
