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
    """Show every trace that can be read; then raise TraceError for those that cannot."""
    traces: list[Trace] = []
    problems: list[Problem] = []
    for path in args.files:
        try:
            traces.append(load(path, args.format))
        except TraceError as error:
            problems += error.problems
    if args.json and traces:
        print(json.dumps([trace_json(trace) for trace in traces], indent=2))
    elif traces:
        console = Console()
        for trace in traces:
            console.print(trace_tables(trace))
    if problems:
        raise TraceError(problems)
    return 0


ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {"inspect": inspect}
