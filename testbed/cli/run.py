"""Run a scenario under several schemes and seeds: emulate, measure, store, print a table.

examples:
  sudo ./gse run allreduce_ring
  sudo ./gse run allreduce_ring --schemes ecmp,gse1 --seeds 20
  sudo ./gse run allreduce_ring --schemes ecmp,gse1 --until-ci 0.05 --max-seeds 60
  sudo ./gse run my.yml --set fabric.leaves=8 --seeds 3,7 --json > runs.json
  sudo ./gse run my.yml --repeat-disturbed 3 --fail-on suspect
  sudo ./gse run my.yml --set fabric.link_rate_mbps=100 --auto-rate

--until-ci 0.05 adds seeds until the 95% interval of every scheme's speed-up over the first scheme is within 5% of it
(10 seeds at least), or --max-seeds are made; what was reached is printed. Every run is made and kept, whatever it says.

Every run is stored in results/<scenario>/<run>/ (docs/results-format.md). Exit status 0: every run finished
(its verdict is in the table); 1: one has no result, or the verdict of --fail-on or a worse one, or --within-model is
not kept; 2: the request, or the machine (a full disk), has to change first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

from testbed.cli.console import Console
from testbed.cli.limits import add_auto_rate, at_carried_rates, calibration_words
from testbed.cli.model import add_within_model, within_model_status
from testbed.cli.options import (
    add_fail_on,
    add_native,
    add_repeats,
    add_results,
    add_scenario,
    add_schemes_and_seeds,
    fail_on_status,
    scenario_from,
)
from testbed.cli.preparing import prepare_fabric
from testbed.cli.progress import CampaignProgress
from testbed.cli.until import add_until, checked_target, max_seeds_of, reached_lines, until_document
from testbed.errors import MachineError
from testbed.model.estimate import faults_in_doubt, run_duration_s
from testbed.model.scenario import Scenario
from testbed.results.run import load
from testbed.runs.campaign import Campaign, Outcome
from testbed.runs.until import UntilKnown
from testbed.system.capsule import require_root
from testbed.system.interrupts import interruptible
from testbed.system.machine import Machine, check_scenario, inspect_machine
from testbed.system.running import running_capsules
from testbed.views.native import native_grids
from testbed.views.tables import rendered, run_table, scheme_table

FORMAT_VERSION = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser)
    add_schemes_and_seeds(parser)
    add_until(parser)
    add_auto_rate(parser)
    add_native(parser)
    add_repeats(parser)
    add_fail_on(parser)
    add_within_model(parser)
    add_results(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout; everything else goes to stderr"
    )


def run(args: argparse.Namespace) -> int:
    """Run the scenario and return the exit status."""
    scenario = scenario_from(args)
    if args.auto_rate:
        scenario = at_carried_rates(scenario, inspect_machine(args.results))
    target = checked_target(args, scenario)
    if target is None:
        outcomes = run_scenario(scenario, args, json_only=args.json)
        found = document(scenario, outcomes) if args.json else {}
    else:
        until = run_until_known(scenario, args, target, json_only=args.json)
        outcomes = until.outcomes
        found = {**document(scenario, outcomes), "until_ci": until_document(until)} if args.json else {}
    if args.json:
        print(json.dumps(found, indent=2))
    failed = fail_on_status(args, Counter(outcome.verdict for outcome in outcomes))
    if args.within_model is not None:
        runs = [load(outcome.run_dir) for outcome in outcomes if outcome.summary is not None]
        failed = within_model_status(args.within_model, runs) or failed
    return max((outcome.exit_status for outcome in outcomes), default=0) or failed


def run_scenario(scenario: Scenario, args: argparse.Namespace, *, json_only: bool) -> list[Outcome]:
    """Check the machine, run every run, print tables (to stderr with ``json_only``). Raises MachineError."""
    machine = prepared(scenario, args)
    outcomes = []
    plans = Campaign(scenario, args.results, machine).plans()
    estimates_s = [run_duration_s(scenario, plan.scheme) for plan in plans]
    with interruptible(), CampaignProgress(estimates_s) as progress:
        repeats = args.repeat_disturbed
        campaign = Campaign(scenario, args.results, machine, on_event=progress.on_event, repeats=repeats)
        for outcome in campaign.run():
            outcomes.append(outcome)
            if outcome.exit_status == 2:  # e.g. the disk is full: the next run would fail alike
                break
    print_tables(outcomes, Console(stderr=json_only), args)
    return outcomes


def run_until_known(scenario: Scenario, args: argparse.Namespace, target: float, *, json_only: bool) -> UntilKnown:
    """Do the same with seeds added until speed-ups are known within ``target``; print what was reached."""
    machine, most = prepared(scenario, args), max_seeds_of(args)
    estimates_s = [run_duration_s(scenario, scheme) for _ in range(most) for scheme in scenario.schemes]
    with interruptible(), CampaignProgress(estimates_s) as progress:
        repeats = args.repeat_disturbed
        campaign = Campaign(scenario, args.results, machine, on_event=progress.on_event, repeats=repeats)
        until = UntilKnown(campaign, target, most)
        for _ in until.run():
            pass
    console = Console(stderr=json_only)
    print_tables(until.outcomes, console, args)
    for line in reached_lines(until):
        console.print(line, markup=False, highlight=False)
    return until


def prepared(scenario: Scenario, args: argparse.Namespace) -> Machine:
    """Return the machine, once it was found fit and told of others. Raises MachineError."""
    require_root("run")
    machine = inspect_machine(args.results)
    problems = check_scenario(scenario, machine)
    if problems:
        raise MachineError(problems)
    tell_of_others()
    for words in (*faults_in_doubt(scenario), *calibration_words(scenario, machine)):
        print(f"gse: {words}", file=sys.stderr)
    prepare_fabric(scenario.schemes)
    return machine


def tell_of_others() -> None:
    """Say on stderr what else of this project is going on: it will disturb what is measured."""
    for other in running_capsules():
        print(
            f"gse: {other.what} is going on already (pid {other.pid}): two at once disturb each other's measurements",
            file=sys.stderr,
        )


def print_tables(outcomes: list[Outcome], console: Console, args: argparse.Namespace) -> None:
    """Print the runs and the comparison of schemes; in native units, too, where a command has them asked for."""
    runs = [load(outcome.run_dir) for outcome in outcomes if outcome.summary is not None]
    if runs:
        console.print(run_table(runs))
        console.print(scheme_table(runs))
        if (native_gbps := getattr(args, "native_gbps", None)) is not None:
            console.print(rendered(native_grids(runs, native_gbps)))
        console.print(f"stored in {runs[0].path.parent}", markup=False, highlight=False)
    if repeated := sum(len(outcome.set_aside) for outcome in outcomes):
        runs_were = "run was" if repeated == 1 else "runs were"
        console.print(f"{repeated} {runs_were} disturbed from outside and made again; kept beside them as *.disturbed")
    for outcome in outcomes:
        if outcome.complaint is not None:
            print(f"gse: {outcome.complaint}", file=sys.stderr)


def document(scenario: Scenario, outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the JSON document of ``--json``."""
    return {
        "format_version": FORMAT_VERSION,
        "scenario": scenario.model_dump(mode="json"),
        "runs": [outcome.shown for outcome in outcomes],
        "set_aside": [summary for outcome in outcomes for summary in outcome.set_aside],
    }
