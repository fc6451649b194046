"""``gse predict scenario``: what 'gse run' is expected to measure. Not a command."""

from __future__ import annotations

import argparse
import json

from testbed.cli.console import Console
from testbed.cli.options import add_scenario, add_schemes_and_seeds, scenario_from
from testbed.cli.predict_options import MOST_SEEDS, add_json, whole_number
from testbed.errors import ScenarioError
from testbed.fluid.case import problems
from testbed.fluid.predict import expect
from testbed.views.fluid import scenario_grid, scenario_json
from testbed.views.tables import rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser)
    add_schemes_and_seeds(parser)
    parser.add_argument("--all-seeds", metavar="N", help="seeds that stand for all (default: 200; 20 slice by slice)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what to expect of a scenario."""
    scenario = scenario_from(args)
    wrong = problems(scenario)
    many = None if args.all_seeds is None else whole_number("--all-seeds", args.all_seeds, MOST_SEEDS, wrong)
    if wrong:
        raise ScenarioError(wrong)
    found = [expect(scenario, scheme, seeds=many) for scheme in scenario.schemes]
    if args.json:
        print(json.dumps(scenario_json(scenario, found), indent=2))
    else:
        Console().print(rendered([scenario_grid(scenario, found)]))
    return 0
