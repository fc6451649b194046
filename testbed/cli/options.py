"""Options several subcommands share. Not a command."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from testbed.errors import Problem, ScenarioError
from testbed.model.effects import parted
from testbed.model.scenario import MAX_SEEDS, SCHEMES, Scenario
from testbed.model.scenario_input import override
from testbed.model.windows import window_problems
from testbed.model.yaml_input import parse_settings
from testbed.runs.scenario_files import load, with_trace
from testbed.runs.traffic_files import taken_in

MAX_REPEATS = 20
# What makes a command with --fail-on end with status 1; FAILED has that, or 2, without it.
FAIL_ON: dict[str, tuple[str, ...]] = {"suspect": ("SUSPECT", "INVALID", "FAILED"), "invalid": ("INVALID", "FAILED")}
FORMATS = ("png", "svg", "pdf")
UNITS_CM = {"cm": 1.0, "mm": 0.1, "in": 2.54}
NARROWEST_CM, WIDEST_CM = 6.0, 40.0  # narrower, words do not fit
LEAST_GBPS, MOST_GBPS = 0.001, 100_000.0


def add_scenario(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add SCENARIO and ``--set``."""
    text = "a built-in name (see 'gse list') or a .yml/.json file"
    if default is None:
        parser.add_argument("scenario", metavar="SCENARIO", help=text)
    else:
        parser.add_argument(
            "scenario", metavar="SCENARIO", nargs="?", default=default, help=f"{text}; default {default}"
        )
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``."""
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="override a field, e.g. --set fabric.spines=8 --set workload.size_bytes=4MiB; repeatable",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add ``--results``."""
    parser.add_argument(
        "--results",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get("GSE_RESULTS", "results")),
        help="where result directories are kept (default: $GSE_RESULTS or ./results)",
    )


def add_schemes_and_seeds(
    parser: argparse.ArgumentParser, *, schemes: str = "the scenario's", seeds: str = "the scenario's"
) -> None:
    """Add ``--schemes`` and ``--seeds``; the others say in words what they are where they are not given."""
    parser.add_argument(
        "--schemes",
        metavar="A,B",
        help=f"schemes to compare, the first is the baseline: some of {', '.join(SCHEMES)} (default: {schemes})",
    )
    parser.add_argument(
        "--seeds",
        metavar="N|A,B,C",
        help=f"number of seeds (5 means 1..5), or the seeds themselves; '7,' is the one seed 7 (default: {seeds})",
    )


def add_figures(parser: argparse.ArgumentParser) -> None:
    """Add ``--format``, ``--width`` and ``--no-heading`` of figures."""
    parser.add_argument(
        "--format",
        dest="formats",
        metavar="F,F",
        type=_formats,
        default=("png", "svg"),
        help=f"of {', '.join(FORMATS)} (default: png,svg); with each a .json: what it was made from",
    )
    parser.add_argument(
        "--width", metavar="8cm", type=_width_cm, help="of every figure (default: one column of 8.5cm or two, 17cm)"
    )
    parser.add_argument(
        "--no-heading",
        dest="heading",
        action="store_false",
        help="without the grey lines above figures that say what was emulated, for papers; captions in .json say it",
    )


def add_native(parser: argparse.ArgumentParser) -> None:
    """Add ``--native-gbps``."""
    parser.add_argument(
        "--native-gbps",
        metavar="N",
        type=_gbps,
        help="what a host link stands for, in Gbit/s, e.g. 200: times and rates of such links beside those measured",
    )


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """Add ``--fail-on``."""
    parser.add_argument(
        "--fail-on",
        choices=tuple(FAIL_ON),
        help="for CI: exit status 1 when the verdict of any run is this or worse (default: verdicts are only told)",
    )


def fail_on_status(args: argparse.Namespace, verdicts: Mapping[str, int]) -> int:
    """Return 1, and say why on stderr, where a run has the verdict of ``--fail-on`` or a worse one, else 0.

    ``verdicts``: how many of the runs have each.
    """
    if not (bad := [f"{verdicts[name]} {name}" for name in FAIL_ON.get(args.fail_on, ()) if verdicts.get(name)]):
        return 0
    print(f"gse: --fail-on {args.fail_on}: of {sum(verdicts.values())} run(s) {', '.join(bad)}", file=sys.stderr)
    return 1


def add_judge_anew(parser: argparse.ArgumentParser) -> None:
    """Add ``--judge-anew``."""
    parser.add_argument(
        "--judge-anew", action="store_true", help="numbers and verdicts by this version, not those stored with the runs"
    )


def add_repeats(parser: argparse.ArgumentParser) -> None:
    """Add ``--repeat-disturbed``."""
    parser.add_argument(
        "--repeat-disturbed",
        metavar="N",
        type=_repeats,
        default=0,
        help="make a run again, up to N times, when its verdict says that the hypervisor or other programs took the "
        "machine's cores or set its clock, once cores are free again or after two minutes; earlier tries are kept as "
        "<run>.disturbed, the last one counts (default: 0)",
    )


def _repeats(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= MAX_REPEATS:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected a number from 0 to {MAX_REPEATS}")
    return number


def scenario_from(args: argparse.Namespace, **asked: Any) -> Scenario:
    """Load the scenario the arguments describe; ``asked``: fields for which a command has options of its own.

    All changes are made at once: a setting may suit only the schemes that are asked for beside it.
    Raises ScenarioError.
    """
    changes = {**changes_from(args), **asked}
    scenario = load(args.scenario)
    if changes:
        scenario = override(scenario, changes)
    scenario = with_trace(scenario)
    if problems := window_problems(scenario):
        raise ScenarioError(problems)
    refuse_idle(scenario, changes)
    return taken_in(scenario)


def refuse_idle(scenario: Scenario, asked: Iterable[str]) -> None:
    """Say which settings nothing sees under the scenario's schemes. Raises ScenarioError for those ``asked`` for."""
    refused, others = parted(scenario, asked)
    if refused:
        raise ScenarioError(refused)
    for problem in others:
        print(f"gse: note: {problem}", file=sys.stderr)


def changes_from(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields the arguments replace, by dotted name. Raises ScenarioError."""
    changes = parse_settings(args.settings)
    if getattr(args, "schemes", None) is not None:
        changes["schemes"] = args.schemes.split(",")
    if getattr(args, "seeds", None) is not None:
        changes["seeds"] = parse_seeds(args.seeds)
    return changes


def parse_seeds(text: str) -> list[int]:
    """Read ``5`` as 1..5 and ``3,8`` or ``7,`` as the seeds themselves."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or ("," not in text and not 1 <= numbers[0] <= MAX_SEEDS):
        expected = f"a number of seeds like 5 (1..{MAX_SEEDS}), or seeds like 3,8"
        raise ScenarioError(Problem("not seeds", "--seeds", repr(text[:80]), expected))
    return numbers if "," in text else list(range(1, numbers[0] + 1))


def _gbps(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST_GBPS <= value <= MOST_GBPS:
        expected = f"Gbit/s of a link, a number from {LEAST_GBPS:g} to {MOST_GBPS:g}"
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected {expected}")
    return value


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found or set(found) - set(FORMATS):
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected some of {', '.join(FORMATS)}, e.g. pdf,svg")
    return found


def _width_cm(text: str) -> float:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?) ?(cm|mm|in)", text.strip().lower(), re.ASCII)
    width_cm = float(found[1]) * UNITS_CM[found[2]] if found else 0.0
    if not NARROWEST_CM <= width_cm <= WIDEST_CM:
        expected = f"a width from {NARROWEST_CM:g}cm to {WIDEST_CM:g}cm, e.g. 8cm, 85mm or 3.5in"
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected {expected}")
    return width_cm


def fraction(text: str) -> float:
    """Return a number between 0 and 1. Raises argparse's error for an argument."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected a number between 0 and 1, e.g. 0.05")
    return value
