"""Print the comparison tables of stored results, for papers, documents and programs; no network, no root.

examples:
  gse table results/allreduce_ring                        as 'gse run' prints them
  gse table results/allreduce_ring --format markdown      for a document; latex: for a paper (booktabs)
  gse table results/allreduce_ring --only runs --format csv > runs.csv
  gse table results/allreduce_ring --only machine         how well the machine kept up, beside the limits of checks
  gse table results/allreduce_ring/sweeps/2026*           a sweep's tables
  gse table results/reference/allreduce_ring --judge-anew   by today's checks
  gse table results/allreduce_ring --native-gbps 200      also as on links of 200 Gbit/s

'schemes': one column per scheme, mean (smallest..largest) over its runs, INVALID ones left out and said to be. 'runs':
one line per run, INVALID ones too. 'machine': one column per scheme and one for each limit, median (worst) over its
runs, INVALID ones left out and said to be. Of a sweep: one line per value and scheme. What is not measured is a dash,
in CSV, which has neither titles nor notes, an empty cell.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from testbed.cli.console import Console
from testbed.cli.options import add_judge_anew, add_native
from testbed.cli.stored import load_stored
from testbed.results.run import Run
from testbed.views.cells import Grid
from testbed.views.comparison import compare
from testbed.views.exports import EXPORTS
from testbed.views.kept_up import kept_up_grid
from testbed.views.native import native_grids, native_sweep_grid
from testbed.views.sweep_table import sweep_grids
from testbed.views.tables import rendered, run_grid, scheme_grid

KINDS = ("schemes", "runs", "machine")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "paths", metavar="DIR", nargs="+", type=Path, help="a scenario's result folder, run folders, or sweeps' folders"
    )
    parser.add_argument("--format", choices=("text", *EXPORTS), default="text", help="default: text")
    parser.add_argument(
        "--only",
        choices=KINDS,
        help="one kind of table of runs (default: runs and schemes); a sweep has its own",
    )
    add_native(parser)
    add_judge_anew(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tables and return 0. Raises ResultsError."""
    stored = load_stored(args.paths, judge_anew=args.judge_anew)
    grids = [*run_grids(stored.runs, args.only)]
    if stored.runs and args.native_gbps is not None:
        grids += native_grids(stored.runs, args.native_gbps)
    for results in stored.sweeps:
        grids += sweep_grids(results)
        if args.native_gbps is not None:
            grids.append(native_sweep_grid(results, args.native_gbps))
    if args.format == "text":
        Console().print(rendered(grids))
    else:
        sys.stdout.write(EXPORTS[args.format](grids))
    return 0


def run_grids(runs: list[Run], only: str | None) -> list[Grid]:
    """Return the tables of runs: of one kind, or by run and by scheme."""
    grids: list[Grid] = []
    if runs and only in (None, "runs"):
        grids += [run_grid(comparison) for comparison in compare(runs, allow_invalid=True)]
    if runs and only in (None, "schemes"):
        grids += [scheme_grid(comparison) for comparison in compare(runs, allow_invalid=False)]
    if runs and only == "machine":
        grids += [kept_up_grid(comparison) for comparison in compare(runs, allow_invalid=False)]
    return grids
