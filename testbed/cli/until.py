"""``--until-ci`` of ``gse run``: its options, and what is said of what was reached. Not a command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from testbed.cli.options import fraction
from testbed.errors import Problem, ScenarioError
from testbed.inference.stopping import LEAST_SEEDS, Reach
from testbed.model.scenario import MAX_SEEDS, Scenario
from testbed.runs.until import UntilKnown

DEFAULT_MAX_SEEDS: Final = 30


def add_until(parser: argparse.ArgumentParser) -> None:
    """Add ``--until-ci`` and ``--max-seeds``."""
    parser.add_argument(
        "--until-ci",
        metavar="W",
        type=fraction,
        help="add seeds until the 95%% interval of every speed-up over the first scheme is within W of it, e.g. 0.05; "
        f"{LEAST_SEEDS} seeds at least",
    )
    parser.add_argument(
        "--max-seeds",
        metavar="N",
        type=_seeds,
        help=f"with --until-ci: never more seeds than this (default: {DEFAULT_MAX_SEEDS})",
    )


def checked_target(args: argparse.Namespace, scenario: Scenario) -> float | None:
    """Return the width asked for, None when none was. Raises ScenarioError where it cannot be had."""
    target: float | None = args.until_ci
    if target is None:
        if args.max_seeds is not None:
            got, expected = f"{args.max_seeds} without --until-ci", "--until-ci W beside it; --seeds says how many else"
            raise ScenarioError(Problem("no seeds are added", "--max-seeds", got, expected))
        return None
    problems = []
    if len(scenario.schemes) < 2:
        got, expected = f"{scenario.schemes[0]} alone", "two schemes or more: speed-ups are over the first"
        problems.append(Problem("no speed-up", "--until-ci", got, expected))
    if len(scenario.seeds) > (most := max_seeds_of(args)):
        got, expected = f"{most}, with {len(scenario.seeds)} seeds to begin with", "at least as many"
        problems.append(Problem("fewer than are asked for", "--max-seeds", got, expected))
    if not scenario.workload.bulk_bytes:
        got, expected = "small messages alone", "a workload with a completion time"
        problems.append(Problem("no speed-up", "--until-ci", got, expected))
    if problems:
        raise ScenarioError(problems)
    return target


def max_seeds_of(args: argparse.Namespace) -> int:
    """Return how many seeds there may be at most."""
    return DEFAULT_MAX_SEEDS if args.max_seeds is None else int(args.max_seeds)


def reached_lines(until: UntilKnown) -> Iterator[str]:
    """Yield what was reached, a line per scheme."""
    baseline = until.campaign.scenario.schemes[0]
    for scheme, one in until.reaches().items():
        yield f"{scheme} against {baseline}: {_reach_text(one)}; {_verdict(one, until.target)}"
    yield (
        f"{len(until.seeds)} seeds made, {until.max_seeds} at most; for looking after every seed the interval holds "
        "the truth in 93 to 95% of cases of hashing (Monte Carlo, docs/compare.md)"
    )


def _reach_text(one: Reach) -> str:
    if one.ratio is None or one.half_width is None:
        return f"{one.pairs} usable pair{'' if one.pairs == 1 else 's'} of runs, no interval"
    return (
        f"{one.ratio:.3f} times as fast, 95% interval {one.low:.3f}..{one.high:.3f} of {one.pairs} pairs "
        f"(within {one.half_width:.1%})"
    )


def _verdict(one: Reach, target: float) -> str:
    if one.is_within(target):
        return f"{target:.3g} is reached"
    few = f", for want of {LEAST_SEEDS} pairs" if one.pairs < LEAST_SEEDS else ""
    return f"{target:.3g} is NOT reached{few}"


def until_document(until: UntilKnown) -> dict[str, Any]:
    """Return what was reached as JSON."""
    return {
        "target": until.target,
        "max_seeds": until.max_seeds,
        "seeds": until.seeds,
        "reached": until.is_reached,
        "speedups": {scheme: asdict(one) for scheme, one in until.reaches().items()},
    }


def _seeds(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not LEAST_SEEDS <= number <= MAX_SEEDS:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected a number from {LEAST_SEEDS} to {MAX_SEEDS}")
    return number
