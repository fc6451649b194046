"""Draw figures and print tables from stored results only; no network, no root.

examples:
  gse plot results/allreduce_ring                 all finished runs of a scenario
  gse plot results/allreduce_ring/2026*seed1*     some runs
  gse plot results/allreduce_ring --out figures --allow-invalid
  gse plot results/reference/allreduce_ring --judge-anew --out /tmp/figures
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from testbed.cli.console import Console
from testbed.errors import Problem, ResultsError, printable
from testbed.results.store import DISTURBED, Run, is_run, list_runs, load
from testbed.results.summary import summarise
from testbed.views.comparison import compare, describe
from testbed.views.tables import run_table, scheme_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("paths", metavar="DIR", nargs="+", type=Path, help="a scenario's result folder, or run folders")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where figures go (default: figures/ beside the runs)")
    parser.add_argument("--allow-invalid", action="store_true", help="draw runs with verdict INVALID too")
    parser.add_argument(
        "--judge-anew", action="store_true", help="numbers and verdicts by this version, not those stored with the runs"
    )


def run(args: argparse.Namespace) -> int:
    """Draw and return 0. Raises ResultsError."""
    runs = load_all(args.paths)
    if args.judge_anew:
        runs = [run if run.program is not None else replace(run, summary=summarise(run)) for run in runs]
    out = args.out if args.out is not None else figures_of(runs[0].path.parent)
    console = Console()
    console.print(run_table(runs))
    console.print(scheme_table(runs))
    comparisons = compare(runs, allow_invalid=args.allow_invalid)
    if len(comparisons) > 1:
        console.print("\nseveral questions, a folder of figures each:")
        for comparison in comparisons:
            line = f"{out / comparison.scenario_hash}: {describe(comparison.scenario)}"
            console.print(printable(line), markup=False, highlight=False)
    for path in draw(runs, out, allow_invalid=args.allow_invalid):
        console.print(printable(f"wrote {path}"), markup=False, highlight=False)
    return 0


def figures_of(folder: Path) -> Path:
    """Return where a scenario's figures go. Raises ResultsError when that is a link: whoever made it chose where to."""
    out = folder / "figures"
    if out.is_symlink():
        what, got = "figures would go elsewhere", "a symbolic link"
        raise ResultsError(Problem(what, str(out), got, "a folder, or --out with where to put them"))
    return out


def load_all(paths: list[Path]) -> list[Run]:
    """Load every finished run below the paths. Raises ResultsError when there is none."""
    runs: list[Run] = []
    aside = [path for path in paths if path.name.endswith(DISTURBED)]
    for path in paths:
        if path in aside and len(aside) < len(paths):  # a pattern that means runs would count them twice
            print(printable(f"gse: {path} was made again and is left out; name it alone to see it"), file=sys.stderr)
        elif is_run(path):
            runs.append(load(path))
        else:
            runs += _runs_of(path)
    return runs


def _runs_of(folder: Path) -> list[Run]:
    """Load every finished run of a scenario's folder. Raises ResultsError when there is none."""
    listing = list_runs(folder.parent, folder.name)
    if listing.finished:
        return [load(path) for path in listing.finished]
    below = [one.name for one in sorted(folder.glob("*/")) if list_runs(folder, one.name).finished]
    counts = f"{listing.partial} unfinished, {listing.failed} failed and {listing.disturbed} disturbed run(s)"
    raise ResultsError(
        Problem(
            "no finished run",
            str(folder),
            counts if folder.exists() else "no such folder",
            f"a folder of runs below it: {', '.join(below)}"
            if below
            else "a run folder or a folder of runs, e.g. results/allreduce_ring",
        )
    )


def draw(runs: list[Run], out: Path, *, allow_invalid: bool) -> list[Path]:
    """Draw every figure the runs allow and return the files written. Imports matplotlib only now."""
    from testbed.views.plots import draw_all

    return draw_all(runs, out, allow_invalid=allow_invalid)
