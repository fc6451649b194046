"""Measure a collective at many sizes and print nccl-tests' table, one per scheme, with a verdict for every size.

examples:
  sudo ./gse bench allreduce -b 64K -e 32M -f 2 -n 10
  sudo ./gse bench allreduce --algorithm halving_doubling --scheme ecmp --scheme gse2-n2n
  sudo ./gse bench allreduce --schemes ecmp,gse2-n2n --set fabric.link_rate_mbps=100 --auto-rate
  sudo ./gse bench broadcast --root 3 -b 1M -e 1M --set fabric.spines=8 --json > broadcast.json

COLLECTIVE: allreduce, reduce_scatter, all_gather, broadcast, all_to_all or sendrecv (or as nccl-tests' programs are
called: all_reduce_perf, alltoall). Rates are Mbit/s: GB/s would all be 0.00 on emulated links. Every size under every
scheme and seed is a run of its own on a network of its own, stored as by 'gse sweep' over workload.size_bytes, which
shows it again ('gse sweep --again DIR'). Exit status as of 'gse run'; 1 too where a result is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from testbed.cli.limits import add_auto_rate
from testbed.cli.options import (
    add_fail_on,
    add_repeats,
    add_results,
    add_schemes_and_seeds,
    add_settings,
    changes_from,
    fail_on_status,
)
from testbed.cli.sweep import run_sweep
from testbed.collectives.algorithms import ALGORITHMS
from testbed.errors import Problem, ScenarioError, printable
from testbed.model.scenario import DEFAULT_SCHEMES, Scenario
from testbed.model.sweep import Sweep, sweep_of
from testbed.units import text_to_bytes
from testbed.views.bench import bench_document, bench_lines
from testbed.views.sweep import sweep_results

FIELD = "workload.size_bytes"
MOST_SIZES = 64
USUAL = {"workload.iterations": 5, "workload.warmup_iterations": 1}  # as the help of -n and -w says
# all_gather, allgather, all-gather and all_gather_perf are one
OPERATIONS = {"".join(operation.split("_")): operation for operation in ALGORITHMS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("collective", metavar="COLLECTIVE", help="what to measure, e.g. allreduce")
    parser.add_argument("-b", "--minbytes", metavar="SIZE", default="64K", help="smallest size (default: 64K)")
    parser.add_argument("-e", "--maxbytes", metavar="SIZE", default="4M", help="largest size (default: 4M)")
    parser.add_argument("-f", "--stepfactor", metavar="N", default="2", help="factor between sizes (default: 2)")
    parser.add_argument("-n", "--iters", metavar="N", help="measured iterations of a size (default: 5)")
    parser.add_argument("-w", "--warmup-iters", metavar="N", help="iterations before them (default: 1)")
    parser.add_argument("--algorithm", metavar="A", help="e.g. halving_doubling (default: the operation's first)")
    parser.add_argument(
        "--group-ranks", metavar="N", help="of hierarchical: ranks of a group (default: hosts of a leaf)"
    )
    parser.add_argument("--root", metavar="RANK", help="of broadcast (default: 0)")
    parser.add_argument("--scheme", metavar="S", action="append", default=[], help="one of --schemes; repeatable")
    add_schemes_and_seeds(parser, schemes=",".join(DEFAULT_SCHEMES), seeds="the one seed 1")
    add_settings(parser)
    add_auto_rate(parser, several="sizes")
    add_repeats(parser)
    add_fail_on(parser)
    add_results(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout; everything else goes to stderr"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and return the exit status."""
    sweep = sweep_from(args)
    stored, outcomes = run_sweep(sweep, args, command="bench")
    for outcome in outcomes:
        if outcome.complaint is not None:
            print(f"gse: {outcome.complaint}", file=sys.stderr)
    results = sweep_results(stored)
    for line in bench_lines(results):
        print(line, file=sys.stderr if args.json else sys.stdout)
    print(printable(f"stored in {stored.path}"), file=sys.stderr)
    document = bench_document(results)
    if args.json:
        print(json.dumps(document, indent=2))
    wrong = any(of_scheme["wrong_elements"] for of_scheme in document["schemes"].values())
    failed = fail_on_status(args, results.counts())
    return max([1 if wrong else 0, failed, *(outcome.exit_status for outcome in outcomes)])


def sweep_from(args: argparse.Namespace) -> Sweep:
    """Return the sweep the arguments describe. Raises ScenarioError with every problem."""
    problems: list[Problem] = []
    operation = OPERATIONS.get(args.collective.lower().removesuffix("_perf").replace("_", "").replace("-", ""))
    if operation is None:
        problems.append(Problem("no such collective", "COLLECTIVE", repr(args.collective[:80]), ", ".join(ALGORITHMS)))
    sizes = _sizes(args, problems)
    changes = _changes(args, problems)
    if problems or operation is None:
        raise ScenarioError(problems)
    name = operation if args.algorithm is None else f"{operation}/{args.algorithm}"
    base = Scenario(name=f"bench_{operation}", question="How fast is it at every size?", seeds=(1,))
    settings = {"workload.kind": "collective", "workload.collective": name, **changes}
    return sweep_of(base, FIELD, sizes, settings=settings, least_values=1)


def _sizes(args: argparse.Namespace, problems: list[Problem]) -> list[int]:
    """Return the sizes in bytes, smallest first; what is wrong with them goes to ``problems``."""
    ends: dict[str, int] = {}
    for option, text in (("-b", args.minbytes), ("-e", args.maxbytes)):
        try:
            ends[option] = text_to_bytes(text)
        except ValueError:
            problems.append(Problem("not a size", option, repr(text[:80]), "a size like 64K, 8MiB or 4194304"))
    factor = _number("-f", args.stepfactor, 2, problems)
    if len(ends) < 2 or factor is None:
        return []
    first, last = ends["-b"], ends["-e"]
    if not 0 < first <= last:
        problems.append(
            Problem("no sizes", "-b, -e", f"from {first} to {last} bytes", "from a size to one not smaller")
        )
        return []
    sizes = [first]
    while sizes[-1] * factor <= last and len(sizes) <= MOST_SIZES:
        sizes.append(sizes[-1] * factor)
    return sizes


def _changes(args: argparse.Namespace, problems: list[Problem]) -> dict[str, Any]:
    """Return the fields the other arguments set; what is wrong with them goes to ``problems``."""
    changes: dict[str, Any] = {}
    try:
        changes = changes_from(args)
    except ScenarioError as error:
        problems += error.problems
    numbers = {
        "workload.iterations": ("-n", args.iters, 1),
        "workload.warmup_iterations": ("-w", args.warmup_iters, 0),
        "workload.group_ranks": ("--group-ranks", args.group_ranks, 1),
        "workload.root": ("--root", args.root, 0),
    }
    for field, (option, text, least) in numbers.items():
        if text is not None and field in changes:
            problems.append(Problem("a setting twice", f"{option}, --set {field}", "both", "one of them"))
        elif text is not None and (number := _number(option, text, least, problems)) is not None:
            changes[field] = number
    if args.scheme:
        if args.schemes is not None or "schemes" in changes:
            other = "--set schemes" if args.schemes is None else "--schemes"
            problems.append(Problem("schemes twice", f"--scheme, {other}", "both", "one of them"))
        changes["schemes"] = args.scheme
    for field in sorted({"workload.kind", "workload.collective", FIELD} & changes.keys()):
        problems.append(Problem("not for --set here", f"--set {field}", "a value", "COLLECTIVE, --algorithm, -b, -e"))
    return {**USUAL, **changes}


def _number(option: str, text: str, least: int, problems: list[Problem]) -> int | None:
    if text.isascii() and text.isdigit() and least <= int(text[:20]):
        return int(text[:20])
    problems.append(Problem("not a number", option, repr(text[:80]), f"a whole number from {least}"))
    return None
