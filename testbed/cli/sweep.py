"""Vary one field of a scenario: run every value under every scheme and seed, print a table, draw a figure.

examples:
  sudo ./gse sweep allreduce_ring --over gsp.container_bytes=9K,18K,36K,64K --schemes gse2-n2n,gse2-e2e --seeds 3
  sudo ./gse sweep allreduce_ring --over fabric.spines=1,2,4,8 --set workload.size_bytes=2MiB --json > spines.json
  sudo ./gse sweep my.yml --over workload.kind=allreduce_ring,all_to_all --seeds 5
  sudo ./gse sweep my.yml --over workload.ranks=4,8,16 --set fabric.link_rate_mbps=100 --auto-rate
  sudo ./gse sweep collectives                       a scenario that has a sweep of its own (OVER in its module)
  sudo ./gse sweep --resume results/allreduce_ring/sweeps/20260102T030405Z-gsp.container_bytes
  sudo ./gse sweep --resume results/allreduce_ring/sweeps/20260102T030405Z-gsp.container_bytes --repeat-disturbed 1
  gse sweep --again results/allreduce_ring/sweeps/20260102T030405Z-gsp.container_bytes --format pdf --width 8cm
  gse sweep --again results/allreduce_ring/sweeps/20260102T030405Z-gsp.container_bytes --judge-anew
  gse sweep --again results/allreduce_ring/sweeps/20260102T030405Z-gsp.container_bytes --native-gbps 200

Any field that --set can set. Every point is checked before the first run. Runs are made seed by seed; within a seed
values and schemes are shuffled (always alike), so that a drift of the machine is no effect of the value. Each run is
an ordinary run directory; sweep.json, curves.png, curves.svg and curves.json are in sweeps/ beside them
(docs/results-format.md). Whatever ends a sweep, --again prints and draws what was done, and --resume makes what is
missing: runs that were not made, and again those that were interrupted or failed with the testbed or its machine (a
full disk); a run whose workload failed is a result and stays. With --repeat-disturbed it also makes runs again that
others disturbed, e.g. when the machine has become quiet. It is refused while another process makes them. Exit status as
of 'gse run'; --fail-on is about all runs of the sweep, with --again too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from testbed.cli.console import Console
from testbed.cli.limits import (
    AUTO_RATE,
    add_auto_rate,
    calibration_words,
    refuse_varied_rate,
    sweep_at_carried_rates,
)
from testbed.cli.options import (
    add_fail_on,
    add_figures,
    add_judge_anew,
    add_native,
    add_repeats,
    add_results,
    add_schemes_and_seeds,
    add_settings,
    changes_from,
    fail_on_status,
    refuse_idle,
)
from testbed.cli.preparing import prepare_fabric
from testbed.cli.progress import CampaignProgress, duration_text
from testbed.cli.run import tell_of_others
from testbed.errors import MOST_NAMED, MachineError, Problem, ResultsError, ScenarioError, printable
from testbed.model.estimate import run_duration_s
from testbed.model.sweep import Sweep, merged_problems, sweep_of
from testbed.model.yaml_input import parse_over
from testbed.results.lock import held
from testbed.results.sweeps import StoredSweep, create_sweep, load_sweep
from testbed.runs.campaign import Outcome
from testbed.runs.scenario_files import builtin_over, load, with_trace
from testbed.runs.sweep import SweepCampaign
from testbed.runs.traffic_files import taken_in
from testbed.system.capsule import require_root
from testbed.system.interrupts import interruptible
from testbed.system.machine import Machine, check_scenario, inspect_machine
from testbed.views.native import native_sweep_grid
from testbed.views.sweep import SweepResults, sweep_results
from testbed.views.sweep_table import sweep_table
from testbed.views.tables import rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "scenario", metavar="SCENARIO", nargs="?", help="a built-in name (see 'gse list') or a .yml/.json file"
    )
    parser.add_argument(
        "--over",
        metavar="FIELD=V1,V2,...",
        action="append",
        default=[],
        help="the field to vary and its values, e.g. gsp.container_bytes=9K,18K,36K; null: unset",
    )
    add_settings(parser)
    add_schemes_and_seeds(parser)
    add_auto_rate(parser, several="values")
    add_repeats(parser)
    add_fail_on(parser)
    add_results(parser)
    parser.add_argument(
        "--resume",
        metavar="DIR",
        type=Path,
        help="make the runs a stored sweep has not, and those again that failed with the testbed or its machine; with "
        "--repeat-disturbed also those that were disturbed",
    )
    parser.add_argument("--again", metavar="DIR", type=Path, help="print and draw a stored sweep; runs nothing")
    add_judge_anew(parser)
    add_native(parser)
    add_figures(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout; everything else goes to stderr"
    )


def run(args: argparse.Namespace) -> int:
    """Run a sweep, or show a stored one, and return the exit status."""
    _check_request(args)
    if args.again is not None:
        return fail_on_status(args, show(load_sweep(args.again), args).counts())
    if args.resume is not None:
        stored, outcomes = resume_sweep(args.resume, args)
    else:
        stored, outcomes = run_sweep(sweep_from(args), args)
    for outcome in outcomes:
        if outcome.complaint is not None:
            print(f"gse: {outcome.complaint}", file=sys.stderr)
    failed = fail_on_status(args, show(stored, args).counts())
    return max((outcome.exit_status for outcome in outcomes), default=0) or failed


def _check_request(args: argparse.Namespace) -> None:
    """Refuse what no sweep could be made of. Raises ScenarioError."""
    problems = []
    stored = "--again" if args.again is not None else "--resume" if args.resume is not None else None
    if stored is not None:
        given = {"SCENARIO": args.scenario, "--over": args.over, "--set": args.settings}
        given |= {"--schemes": args.schemes, "--seeds": args.seeds, AUTO_RATE: args.auto_rate}
        if stored == "--again":
            given |= {"--resume": args.resume, "--repeat-disturbed": args.repeat_disturbed}
        if names := [name for name, value in given.items() if value]:
            problems.append(Problem("a stored sweep is what it is", stored, ", ".join(names), f"{stored} DIR alone"))
    else:
        if args.scenario is not None and not args.over and (own := builtin_over(args.scenario)) is not None:
            args.over = [own]
        if args.scenario is None:
            problems.append(Problem("no scenario", "SCENARIO", "nothing", "a name or file, or --again DIR"))
        if len(args.over) != 1:
            got = "nothing" if not args.over else f"{len(args.over)} fields"
            expected = "one field with its values, e.g. gsp.container_bytes=9K,18K,36K"
            problems.append(Problem("no single field to vary", "--over", got, expected))
    if args.judge_anew and args.again is None:
        got, expected = "a sweep that runs", "--again DIR beside it: what runs now is judged by this version"
        problems.append(Problem("no stored sweep to judge", "--judge-anew", got, expected))
    if problems:
        raise ScenarioError(problems)


def sweep_from(args: argparse.Namespace) -> Sweep:
    """Return the sweep the arguments describe. Raises ScenarioError with every problem of every part."""
    problems: list[Problem] = []
    found: list[Any] = []
    reads: tuple[Callable[[], Any], ...] = (
        lambda: taken_in(load(args.scenario)),
        lambda: changes_from(args),
        lambda: _over(args),
    )
    for read in reads:
        try:
            found.append(read())
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    base, changes, (field, values) = found
    sweep: Sweep = sweep_of(base, field, list(values.values()), settings=changes, texts=list(values))
    refuse_idle(sweep.points[0], changes)
    points = tuple(with_trace(point) for point in sweep.points)
    return replace(sweep, points=points)


def _over(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the field to vary and its values. Raises ScenarioError."""
    field, values = parse_over(args.over[0])
    if args.auto_rate:
        refuse_varied_rate(field)
    return field, values


def run_sweep(sweep: Sweep, args: argparse.Namespace, *, command: str = "sweep") -> tuple[StoredSweep, list[Outcome]]:
    """Check the machine against every point, say how long it will take, make every run. Raises MachineError.

    With ``--auto-rate`` all points have the lower rates before that: they are the sweep's that is stored.
    """
    if args.auto_rate:
        sweep = sweep_at_carried_rates(sweep, inspect_machine(args.results))
    machine = _prepared(sweep, args.results, command)
    return _make(_created(args.results, sweep), sweep, args, machine)


def resume_sweep(path: Path, args: argparse.Namespace) -> tuple[StoredSweep, list[Outcome]]:
    """Do the same for the runs a stored sweep has not yet, and again for those that others disturbed, if wanted.

    Raises MachineError; ResultsError where another process is making them, or they would not be found again.
    """
    with held(load_sweep(path).path):
        stored = load_sweep(path)  # as it is now: until now another process may have been at it
        _check_place(stored)
        args.results = stored.runs_dir.parent
        machine = _prepared(stored.sweep, args.results, "sweep")
        for words in told_of_failures(stored):
            print(printable(f"gse: {words}"), file=sys.stderr)
        return _make(nullcontext(stored), stored.sweep, args, machine, stored.to_make(args.repeat_disturbed))


def _check_place(stored: StoredSweep) -> None:
    """Raise ResultsError where runs would be kept elsewhere than the sweep looks for them: its folder was renamed."""
    wanted, there = stored.sweep.points[0].name, stored.runs_dir
    if there.name != wanted:
        got, expected = f"its runs in {there}", f"a folder {wanted}, as its scenario is called: rename it"
        raise ResultsError(Problem("runs would be stored beside it, and not found", str(stored.path), got, expected))


def told_of_failures(stored: StoredSweep) -> list[str]:
    """Return in words what becomes of each run that failed, or is gone: the first, and how many more."""
    failed = [index for index, one in enumerate(stored.runs) if one.failed or stored.is_gone(index)]
    told = [_told_of(stored, index) for index in failed[:MOST_NAMED]]
    return [*told, f"and {len(failed) - len(told)} more runs that failed or are gone"] if failed[len(told) :] else told


def _told_of(stored: StoredSweep, index: int) -> str:
    one, sweep = stored.runs[index], stored.sweep
    what = f"{sweep.field}={sweep.texts[one.run.point]} {one.run.scheme} seed {one.run.seed}"
    if stored.is_gone(index):
        return f"{what} is made again, for there is no {stored.runs_dir / str(one.name)} any more"
    why = f"{one.error or 'failed'} (kept in {stored.runs_dir / str(one.name)})"
    if stored.is_own_failure(index):
        return f"{what} stays INVALID, without a result, for its workload failed: {why}"
    return f"{what} is made again, for it failed with the testbed or its machine: {why}"


@contextmanager
def _created(results_dir: Path, sweep: Sweep) -> Iterator[StoredSweep]:
    """Make a new sweep's folder and hold it."""
    stored = create_sweep(results_dir, sweep, datetime.now(timezone.utc))
    with held(stored.path):
        yield stored


def _prepared(sweep: Sweep, results_dir: Path, command: str) -> Machine:
    """Return the machine, once it was found fit for every point and told of others. Raises MachineError."""
    require_root(command)
    machine = inspect_machine(results_dir)
    problems = machine_problems(sweep, machine)
    if problems:
        raise MachineError(problems)
    tell_of_others()
    for words in not_carried(sweep, machine):
        print(printable(f"gse: {words}"), file=sys.stderr)
    prepare_fabric(sweep.schemes)
    return machine


def _make(
    begun: AbstractContextManager[StoredSweep],
    sweep: Sweep,
    args: argparse.Namespace,
    machine: Machine,
    chosen: Sequence[int] | None = None,
) -> tuple[StoredSweep, list[Outcome]]:
    """Say how long it will take and make the runs, all of them or those that are ``chosen``."""
    estimates_s = estimated_s(sweep)
    if chosen is not None:
        estimates_s = [estimates_s[index] for index in chosen]
    print(announcement(sweep, sum(estimates_s), len(estimates_s)), file=sys.stderr)
    outcomes = []
    with interruptible(), CampaignProgress(estimates_s) as progress, begun as stored:
        campaign = SweepCampaign(
            stored, args.results, machine, on_event=progress.on_event, repeats=args.repeat_disturbed
        )
        try:
            for outcome in campaign.run():
                outcomes.append(outcome)
        except KeyboardInterrupt:
            made = f"{campaign.stored.done} of {len(stored.runs)} runs were begun"
            seen = f"to see them: ./gse sweep --again {stored.path}"
            on = f"to go on: sudo ./gse sweep --resume {stored.path}"
            print(printable(f"gse: {made}; {seen}; {on}"), file=sys.stderr)
            raise
    return campaign.stored, outcomes


def machine_problems(sweep: Sweep, machine: Machine) -> list[Problem]:
    """Return what this machine cannot honour of any point."""
    return merged_problems(sweep.field, sweep.texts, [check_scenario(point, machine) for point in sweep.points])


def not_carried(sweep: Sweep, machine: Machine) -> list[str]:
    """Return in words at which values more is asked for than this machine was found to carry: the first, how many."""
    found = [
        f"{sweep.field}={text}: {words}"
        for text, point in zip(sweep.texts, sweep.points, strict=True)
        for words in calibration_words(point, machine)
    ]
    more = f"; so it is at {len(found)} of {len(sweep.points)} values" if len(found) > 1 else ""
    return [found[0] + more] if found else []


def estimated_s(sweep: Sweep) -> list[float]:
    """Return how long each run is expected to take, in order."""
    known: dict[tuple[int, str], float] = {
        (index, scheme): run_duration_s(point, scheme)
        for index, point in enumerate(sweep.points)
        for scheme in sweep.schemes
    }
    return [known[run.point, run.scheme] for run in sweep.order()]


def announcement(sweep: Sweep, duration_s: float, runs: int) -> str:
    """Return what is going to happen, in a line."""
    counts = ((len(sweep.points), "value"), (len(sweep.schemes), "scheme"), (len(sweep.seeds), "seed"))
    product = " x ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
    return f"sweep over {sweep.field}: {product}, {_of(runs, len(sweep.order()))}, about {duration_text(duration_s)}"


def _of(runs: int, all_runs: int) -> str:
    return f"{all_runs} runs" if runs == all_runs else f"{runs} of {all_runs} runs are to be made"


def show(stored: StoredSweep, args: argparse.Namespace) -> SweepResults:
    """Print the table, draw the figure if there is anything to draw, print the document if asked for; return all."""
    results = sweep_results(stored, judge_anew=args.judge_anew)
    console = Console(stderr=args.json)
    console.print(sweep_table(results))
    if args.native_gbps is not None:
        console.print(rendered([native_sweep_grid(results, args.native_gbps)]))
    written = _draw(results, args)
    if not written:
        console.print("no figure: there is no run with numbers that is not INVALID")
    for path in written:
        console.print(printable(f"wrote {path}"), markup=False, highlight=False, soft_wrap=True)
    if args.json:
        print(json.dumps(results.document(), indent=2))
    return results


def _draw(results: SweepResults, args: argparse.Namespace) -> list[Path]:
    """Draw the figure and return the files written. Imports matplotlib only now."""
    from testbed.views.sweep_plot import draw_sweep

    return draw_sweep(results, formats=args.formats, width_cm=args.width, heading=args.heading)
