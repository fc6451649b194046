"""``gse predict validate``: predictions held against runs, made first where they are missing. Not a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.cli.console import Console
from testbed.cli.options import add_repeats, add_results
from testbed.cli.preparing import prepare_fabric
from testbed.cli.progress import CampaignProgress
from testbed.cli.validation_page import unwritable, write_page
from testbed.errors import MachineError, Problem, ScenarioError
from testbed.fluid.validation import BANDS, BOUNDS, CASES, OPTIMA, WITHIN_OF_OPTIMUM
from testbed.model.estimate import run_duration_s
from testbed.model.scenario import Scenario
from testbed.runs.campaign import Campaign, Outcome
from testbed.runs.validation import agreements, band_agreements, reference_agreements, stored_runs
from testbed.system.capsule import require_root
from testbed.system.interrupts import interruptible
from testbed.system.machine import check_scenario, inspect_machine
from testbed.views.agreement import agreement_grid, allowed_grid, band_grid
from testbed.views.tables import rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--full", action="store_true", help="6 fabrics x 3 flow counts, too: hashing over 20 seeds, GSE2.0 once; hours"
    )
    parser.add_argument("--stored", action="store_true", help="run nothing: what is stored in the results")
    parser.add_argument(
        "--only",
        metavar="A,B",
        help=f"cases by name: {', '.join(case.name for case in (*CASES, *BOUNDS))}; with --full also "
        f"fabrics and flow counts: {BANDS[0].name} to {BANDS[-1].name}",
    )
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the tables as Markdown")
    parser.add_argument(
        "--reference",
        metavar="DIR",
        type=Path,
        default=Path("results/reference"),
        help="stored runs to hold against their predictions, too (default: results/reference)",
    )
    add_repeats(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> int:
    """Run what is missing, print the tables, write them where asked; 1 if a run failed or a prediction is off."""
    names = [case.name for case in (*CASES, *BOUNDS)]
    names += [*(case.name for case in OPTIMA), *(case.name for case in BANDS)] if args.full else []
    wanted = set(names if args.only is None else args.only.split(","))
    wrong = [] if args.write is None else unwritable(args.write)
    if unknown := sorted(wanted - set(names)):
        wrong.append(Problem("no such case", "--only", unknown[0][:80], ", ".join(names)))
    if wrong:
        raise ScenarioError(wrong)
    cases = [case for case in CASES if case.name in wanted]
    bounds = [case for case in BOUNDS if case.name in wanted]
    optima = [case for case in OPTIMA if case.name in wanted]
    bands = [case for case in BANDS if case.name in wanted]
    failed = 0
    if not args.stored:
        asked = [case.scenario for case in (*cases, *bounds, *optima)] + [case.scenario for case in bands]
        outcomes = _run_missing(asked, args)
        failed = max((outcome.exit_status for outcome in outcomes), default=0)
    found = list(agreements(args.results, cases))
    beyond = list(agreements(args.results, bounds, are_bounds=True))
    best = list(agreements(args.results, optima, within=WITHIN_OF_OPTIMUM))
    grids = [
        agreement_grid(group, what)
        for group, what in (
            (found, "small cases"),
            (beyond, "where the model is a bound: flows that meet, and losses"),
            (best, "GSE2.0 against the optimum of its own grants and headers, all flows on all paths"),
        )
        if group
    ]
    if stored := list(reference_agreements(args.reference)):
        grids.append(agreement_grid(stored, "stored reference runs"))
    hashed = list(band_agreements(args.results, bands))
    if hashed:
        grids += [band_grid(hashed), allowed_grid(hashed)]
    Console().print(rendered(grids))
    if args.write is not None:
        write_page(args.write, grids)
    told = [one.agrees for one in (*found, *beyond, *best)] + [one.holds for one in hashed]
    off = False in (*told, *(one.agrees for one in stored))
    if untold := told.count(None):
        print(f"gse: {untold} of {len(told)} cases have no run that counts: nothing is shown of them", file=sys.stderr)
    return failed or int(off or (untold > 0 and not args.stored))


def _run_missing(scenarios: Sequence[Scenario], args: argparse.Namespace) -> list[Outcome]:
    """Run what is asked for and not stored yet. Raises MachineError before anything runs."""
    missing = []
    for scenario in scenarios:
        there = {run.seed for run in stored_runs(args.results, scenario)}
        if seeds := [seed for seed in scenario.seeds if seed not in there]:
            missing.append(scenario.model_copy(update={"seeds": tuple(seeds)}))
    if not missing:
        return []
    require_root("predict validate")
    machine = inspect_machine(args.results)
    if found := [problem for scenario in missing for problem in check_scenario(scenario, machine)]:
        raise MachineError(found)
    prepare_fabric(sorted({scheme for scenario in missing for scheme in scenario.schemes}))
    estimates_s = [run_duration_s(scenario, scenario.schemes[0]) for scenario in missing for _seed in scenario.seeds]
    outcomes = []
    with interruptible(), CampaignProgress(estimates_s) as progress:
        for scenario in missing:
            campaign = Campaign(
                scenario, args.results, machine, on_event=progress.on_event, repeats=args.repeat_disturbed
            )
            outcomes += list(campaign.run())
    for outcome in outcomes:
        if outcome.complaint is not None:
            print(f"gse: {outcome.complaint}", file=sys.stderr)
    return outcomes
