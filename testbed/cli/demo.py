"""The tour: ring all-reduce under ecmp and gse1 with 3 seeds on the default fabric, a table and figures.

example:
  sudo ./gse demo
"""

from __future__ import annotations

import argparse

from testbed.cli.console import Console
from testbed.cli.options import add_repeats, add_results
from testbed.cli.plot import draw, figures_of
from testbed.cli.run import run_scenario
from testbed.model.scenario_input import override
from testbed.results.run import load
from testbed.runs.scenario_files import load_builtin
from testbed.system.capsule import require_root
from testbed.units import MIB

# A quarter of the scenario's array keeps six runs well under three minutes on two cores.
SETTINGS = {
    "workload.size_bytes": 2 * MIB,
    "workload.iterations": 2,
    "schemes": ["ecmp", "gse1"],
    "seeds": [1, 2, 3],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_results(parser)
    add_repeats(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    require_root("demo")
    scenario = override(load_builtin("allreduce_ring"), SETTINGS)
    console = Console()
    console.print(f"{scenario.question}\nexpectation: {scenario.expectation}\n", highlight=False)
    outcomes = run_scenario(scenario, args, json_only=False)
    runs = [load(outcome.run_dir) for outcome in outcomes if outcome.summary is not None]
    if runs:
        for path in draw(runs, figures_of(args.results / scenario.name), allow_invalid=False):
            console.print(f"wrote {path}", markup=False, highlight=False)
    return max(outcome.exit_status for outcome in outcomes)
