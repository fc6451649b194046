"""Write one HTML page of stored results: question, verdicts, figures, tables, settings, provenance, how to reproduce.

examples:
  gse report results/allreduce_ring                      all finished runs of a scenario: report.html beside them
  gse report results/allreduce_ring --out ring.html
  gse report results/allreduce_ring results/incast       several questions in one page
  gse report results/allreduce_ring/sweeps/20260102T030405Z-gsp.container_bytes
  gse report results/reference/allreduce_ring --judge-anew --out ring.html
  gse report results/allreduce_ring --native-gbps 200    with a table as on links of 200 Gbit/s

The page works offline: everything is in it, and it loads and runs nothing else (docs/report.md). INVALID runs are
counted and named, but in no figure unless --allow-invalid. No network, no root.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.cli.console import Console
from testbed.cli.options import add_judge_anew, add_native
from testbed.cli.stored import Stored, load_stored
from testbed.errors import Problem, ResultsError, printable
from testbed.files import write_together
from testbed.views.report.document import report
from testbed.views.report.page import page

NAME = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "paths", metavar="DIR", nargs="+", type=Path, help="a scenario's result folder, run folders, or sweeps' folders"
    )
    parser.add_argument("--out", metavar="FILE.html", type=Path, help=f"default: {NAME} beside the runs, in the sweep")
    parser.add_argument("--allow-invalid", action="store_true", help="show runs with verdict INVALID in figures too")
    add_judge_anew(parser)
    add_native(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page and return 0. Raises ResultsError."""
    stored = load_stored(args.paths, judge_anew=args.judge_anew)
    out: Path = args.out if args.out is not None else _beside(stored)
    invalid, native_gbps = args.allow_invalid, args.native_gbps
    text = page(report(stored.runs, stored.sweeps, allow_invalid=invalid, native_gbps=native_gbps))
    if out.is_dir():
        raise ResultsError(Problem("cannot write a report", str(out), "a folder", "a file's name, e.g. report.html"))
    try:
        write_together(out.parent, {out.name: text.encode()})
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultsError(Problem("cannot write a report", str(out), reason, "a writable folder")) from None
    Console().print(printable(f"wrote {out}"), markup=False, highlight=False, soft_wrap=True)
    return 0


def _beside(stored: Stored) -> Path:
    return (stored.runs[0].path.parent if stored.runs else stored.sweeps[0].stored.path) / NAME
