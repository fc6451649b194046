"""Compare two sets of stored runs: what was different in settings, what in results, and what of that is no accident.

examples:
  gse compare before/allreduce_ring after/allreduce_ring
  gse compare before/allreduce_ring after/allreduce_ring --only completion_s --margin 0.02
  gse compare results/allreduce_ring@commit=1a2b3c4 results/allreduce_ring@commit=5d6e7f8
  gse compare results/allreduce_ring@scheme=ecmp results/allreduce_ring@scheme=gse1
  gse compare results/incast@commit=1a2b3c4 results/incast@commit=5d6e7f8 --judge-anew
  gse compare results/incast@fabric.link_rate_mbps=10 results/incast@fabric.link_rate_mbps=9.5 --json

A and B: a run, a folder of runs, a sweep (its folder in sweeps/), or several joined with '+'; '@' chooses of them by
scheme, seed, commit or any field, several with ','. Where each is of one scheme these are compared, else each scheme
with itself. Runs with the same seed are pairs. INVALID runs are left out, and it is said; where one is so for being
slow or wrong, or one side has more of them than the other, that nothing differs among the rest is not called equality.

Exit status: 0 no significant difference, with --margin: shown that no ratio is off by more than that; 1 a significant
difference, or with --margin not shown; 2 no answer: nothing to compare, too few runs to tell, or "not judged" for what
was left out. At least three runs of each are needed, five or more are advisable (docs/compare.md).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace

from testbed.cli.console import Console
from testbed.cli.options import add_judge_anew, fraction
from testbed.errors import Problem, ResultsError
from testbed.results.run import Run
from testbed.results.sets import RunSet, load_set
from testbed.results.summary import judged_anew
from testbed.views.difference import EXIT_STATUS, difference
from testbed.views.difference_table import difference_table
from testbed.views.quantities import COMPARED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("a", metavar="A", help="the runs to compare with, e.g. results/allreduce_ring@scheme=ecmp")
    parser.add_argument("b", metavar="B", help="the runs to be compared")
    parser.add_argument(
        "--alpha",
        metavar="P",
        type=fraction,
        default=0.05,
        help="how often two sets of the same thing may be called different, all quantities together (default: 0.05)",
    )
    parser.add_argument(
        "--margin",
        metavar="M",
        type=fraction,
        help="what does not matter, e.g. 0.02: exit status 0 only when it is shown that no ratio is off by more than "
        "that, of every quantity looked at (counts apart, see --only), 1 when it is not; a significant difference "
        "shown to be smaller does not count",
    )
    parser.add_argument(
        "--allow-better",
        action="store_true",
        help="exit status 0 when all that differs is better in B; with --margin when the rest is shown to be within it",
    )
    parser.add_argument(
        "--only",
        metavar="Q,...",
        type=_quantities,
        default=(),
        help=f"quantities to look at, the fewer the sharper: {', '.join(one.key for one in COMPARED)}",
    )
    add_judge_anew(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")


def run(args: argparse.Namespace) -> int:
    """Print what is different and return the exit status. Raises ResultsError."""
    a, b = _load_both(args.a, args.b)
    if args.judge_anew:
        a, b = (replace(one, runs=tuple(judged_anew(run) for run in one.runs)) for one in (a, b))
    found = difference(a, b, judged_anew=args.judge_anew, alpha=args.alpha, margin=args.margin, only=args.only)
    if args.json:
        print(json.dumps(found.document(allow_better=args.allow_better), indent=2))
    else:
        Console().print(difference_table(found, allow_better=args.allow_better))
    return EXIT_STATUS[found.answer(allow_better=args.allow_better)]


def _load_both(a: str, b: str) -> tuple[RunSet, RunSet]:
    """Load both sets. Raises ResultsError with what is wrong with either, or when they share runs."""
    sets: list[RunSet] = []
    problems: list[Problem] = []
    for text in (a, b):
        try:
            sets.append(load_set(text))
        except ResultsError as error:
            problems += error.problems
    if problems:
        raise ResultsError(problems)
    ours, theirs = sets
    if shared := sorted(_shared(ours, theirs)):
        got, expected = f"{len(shared)} run(s) in both, e.g. {shared[0]}", "two sets without a run in common"
        raise ResultsError(Problem("a set compared with itself", f"{a} and {b}", got, expected))
    return ours, theirs


def _shared(ours: RunSet, theirs: RunSet) -> Iterator[str]:
    """Yield the names of runs that are in both sets: in one folder, or as a copy.

    Who keeps a copy of his results and then makes more runs has the old ones in both: alike, and no evidence of it.
    """
    paths = {run.path.resolve() for run in ours.runs}
    known = {run.manifest.get("run_id"): run for run in ours.runs}
    for run in theirs.runs:
        other = known.get(run.manifest.get("run_id"))
        if run.path.resolve() in paths or (other is not None and _is_copy(other, run)):
            yield run.path.name


def _is_copy(one: Run, other: Run) -> bool:
    """Whether two folders have the same run: all that was noted of it is the same, to the last digit of every time."""
    return one.summary is not None and (one.manifest, one.summary) == (other.manifest, other.summary)


def _quantities(text: str) -> tuple[str, ...]:
    known = [one.key for one in COMPARED]
    names = tuple(text.split(","))
    if wrong := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"got {wrong[0][:80]!r}, expected some of {', '.join(known)}")
    return names
