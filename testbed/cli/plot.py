"""Draw figures and print tables from stored results only; no network, no root.

examples:
  gse plot results/allreduce_ring                 all finished runs of a scenario
  gse plot results/allreduce_ring/2026*seed1*     some runs
  gse plot results/allreduce_ring --out figures --allow-invalid
  gse plot results/allreduce_ring --format pdf --width 8cm --no-heading     for a column of a paper
  gse plot results/reference/allreduce_ring --judge-anew --out /tmp/figures
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from testbed.cli.console import Console
from testbed.cli.options import add_figures, add_judge_anew
from testbed.cli.stored import load_all
from testbed.errors import Problem, ResultsError, printable
from testbed.results.run import Run
from testbed.views.comparison import compare, describe
from testbed.views.tables import run_table, scheme_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("paths", metavar="DIR", nargs="+", type=Path, help="a scenario's result folder, or run folders")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where figures go (default: figures/ beside the runs)")
    add_figures(parser)
    parser.add_argument("--allow-invalid", action="store_true", help="draw runs with verdict INVALID too")
    add_judge_anew(parser)


def run(args: argparse.Namespace) -> int:
    """Draw and return 0. Raises ResultsError."""
    runs = load_all(args.paths, judge_anew=args.judge_anew)
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
    invalid, formats, width_cm = args.allow_invalid, args.formats, args.width
    for path in draw(runs, out, allow_invalid=invalid, formats=formats, width_cm=width_cm, heading=args.heading):
        console.print(printable(f"wrote {path}"), markup=False, highlight=False)
    return 0


def figures_of(folder: Path) -> Path:
    """Return where a scenario's figures go. Raises ResultsError when that is a link: whoever made it chose where to."""
    out = folder / "figures"
    if out.is_symlink():
        what, got = "figures would go elsewhere", "a symbolic link"
        raise ResultsError(Problem(what, str(out), got, "a folder, or --out with where to put them"))
    return out


def draw(
    runs: list[Run],
    out: Path,
    *,
    allow_invalid: bool,
    formats: Sequence[str] = ("png", "svg"),
    width_cm: float | None = None,
    heading: bool = True,
) -> list[Path]:
    """Draw every figure the runs allow and return the files written. Imports matplotlib only now."""
    from testbed.views.plots import draw_all

    return draw_all(runs, out, allow_invalid=allow_invalid, formats=formats, width_cm=width_cm, heading=heading)
