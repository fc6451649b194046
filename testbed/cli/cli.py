"""Interactive Mininet prompt on a running fabric controlled by GSOS.

examples:
  sudo ./gse cli
  sudo ./gse cli --scheme gse1 --set fabric.leaves=2 --set fabric.spines=2
  echo 'pingall' | sudo ./gse cli --scheme ecmp

At the prompt: every Mininet command (pingall, net, dump, links, dpctl, link l1 s2 down, py, sh, h1 COMMAND) and
gsos, gsp, util, queues, path, allreduce, iperf, iperfudp, fail, silence, slow, heal. 'help COMMAND' explains each.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from testbed.cli.options import add_scenario, scenario_from
from testbed.cli.preparing import prepare_fabric
from testbed.errors import MachineError, Problem, ScenarioError
from testbed.fabric.controller import PROJECT
from testbed.model.scenario import SCHEMES, Scenario
from testbed.runs.plan import Plan
from testbed.system.capsule import capsule_argv, require_root
from testbed.system.machine import check_scenario, inspect_machine

FOLDER = Path("/run/gse")  # of the capsule: goes with it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_scenario(parser, default="allreduce_ring")
    parser.add_argument("--scheme", choices=SCHEMES, default="gse1", help="how GSOS forwards (default: gse1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the ECMP hash and of port numbers (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Run the prompt in a capsule and return its exit status."""
    # the scenario's own schemes and seeds are not used here, and need not suit the settings
    scenario = scenario_from(args, schemes=[args.scheme], seeds=[args.seed])
    if scenario.gsp.journal:
        problem = Problem("nothing is kept at the prompt", "gsp.journal", "true", "false, or gse run")
        raise ScenarioError(problem)
    require_root("cli")
    machine = inspect_machine()
    problems = check_scenario(scenario, machine)
    if problems:
        raise MachineError(problems)
    if names := left_out(scenario):
        print(f"gse: note: at the prompt nothing happens by itself; left out: {', '.join(names)}", file=sys.stderr)
    prepare_fabric([args.scheme])
    plan = Plan(scenario=scenario, scheme=args.scheme, seed=args.seed, run_dir=FOLDER, datapath=machine.datapath)
    told = {**plan.to_json(), "cwd": os.getcwd()}
    # by a descriptor: what is read from a trace or a table of sizes is more than an argument may be
    with open(os.memfd_create("plan"), "w+", encoding="utf-8") as file:
        json.dump(told, file)
        file.seek(0)
        argv = capsule_argv([sys.executable, "-m", "testbed.prompt.interactive", str(file.fileno())])
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the prompt
        try:
            return subprocess.call(argv, cwd=PROJECT, pass_fds=(file.fileno(),))
        finally:
            signal.signal(signal.SIGINT, previous)


def left_out(scenario: Scenario) -> list[str]:
    """Return what a scenario has that a run would make and the prompt does not."""
    parts = {
        "faults": scenario.faults,
        "background": scenario.background,
        "cross_traffic": scenario.cross_traffic,
        "small messages": scenario.workload.mice_interval_ms,
    }
    return [name for name, there in parts.items() if there]
