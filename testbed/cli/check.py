"""Validate a scenario without running it.

examples:
  gse check my.yml                          every problem at once, exit status 2
  gse check allreduce_ring --set fabric.spines=8 --json
  gse check --schema > gse-scenario.schema.json
"""

from __future__ import annotations

import argparse
import json
import sys

from testbed.cli.limits import calibration_words
from testbed.cli.options import add_settings, scenario_from
from testbed.errors import MachineError, printable
from testbed.model.estimate import faults_in_doubt
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import json_schema
from testbed.system.machine import check_scenario, inspect_machine
from testbed.units import bytes_to_text
from testbed.views.cross import cross_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a built-in name or a .yml/.json file")
    add_settings(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of a scenario file and exit")
    parser.add_argument("--machine", action="store_true", help="also check that this machine can run it")
    parser.add_argument("--json", action="store_true", help="print the complete scenario as JSON")


def run(args: argparse.Namespace) -> int:
    """Check and return 0; problems are raised."""
    if args.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    if args.scenario is None:
        print("gse check: expected a SCENARIO, or --schema", file=sys.stderr)
        return 2
    scenario = scenario_from(args)
    doubts = list(faults_in_doubt(scenario))
    if args.machine:
        machine = inspect_machine()
        problems = check_scenario(scenario, machine)
        if problems:
            raise MachineError(problems)
        doubts += calibration_words(scenario, machine)
    if args.json:
        print(scenario.model_dump_json(indent=2))
        return 0
    fabric = scenario.fabric
    print(f"{scenario.name}: valid")
    print(
        f"  fabric    {fabric.leaves} leaves x {fabric.spines} spines x {fabric.hosts_per_leaf} hosts per leaf, "
        f"{fabric.links_per_pair} link(s) per pair, hosts {fabric.host_link_mbps:g} Mbit/s, "
        f"uplinks {fabric.uplink_mbps:g} Mbit/s"
    )
    print(f"  workload  {_workload(scenario)}")
    for words in cross_words(scenario):
        print(f"  cross     {words}")
    if scenario.job is not None:
        for line in scenario.job.rule():
            print(f"  training  {printable(line)}")
        print(f"  ideally   {scenario.job.ideal.duration_s:.4g} s an iteration")
    print(f"  runs      {len(scenario.schemes)} scheme(s) x {len(scenario.seeds)} seed(s)")
    for words in doubts:
        print(f"  beware    {words}")
    return 0


def _workload(scenario: Scenario) -> str:
    work = scenario.workload
    mice = f"{work.mice_bytes} B every {work.mice_interval_ms:g} ms and host"
    if work.mice_dscp:
        mice += f" with DSCP {work.mice_dscp}"
    if work.mice_only_s is not None:
        return f"small messages alone, {mice}, {work.iterations} iteration(s) of {work.mice_only_s:g} s"
    return (
        f"{_kind(scenario)} of {bytes_to_text(work.size_bytes)} over {scenario.ranks} ranks, "
        f"{work.placement}, {work.flows_per_hop} flow(s) per pair, {work.iterations} iteration(s)"
        + (f", {work.jobs} jobs" if work.jobs > 1 else "")
        + (f", {mice}" if work.mice_interval_ms else "")
    )


def _kind(scenario: Scenario) -> str:
    collective = scenario.collective
    return collective.name if scenario.workload.kind == "collective" and collective else scenario.workload.kind
