"""What a fluid model expects, with nothing emulated: max-min fair rates on the paths each scheme gives its flows.

examples:
  gse predict scenario allreduce_ring                     the runs 'gse run' would make, seed by seed, and all seeds
  gse predict scenario all_to_all --schemes ecmp,gse1 --set fabric.spines=8 --json
  gse predict cluster harbin_sized --ranks 1024,18000     an all-reduce at native rates, three tiers
  gse predict cluster my.yml --algorithms ring --nodes packed --flows 4
  gse predict training                                    LLaMA2-13B on 64 to 1024 accelerators under every scheme
  gse predict validate --stored                           predictions beside the runs that are stored
  sudo ./gse predict validate --write validation.md       run what is missing first

docs/fluid.md has the model and what it leaves out. Exit status: 0 done; 1 a run failed, a prediction is off by more
than the table allows, or (without --stored) a case has no run that counts; 2 the request has to change first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from testbed.cli import predict_cluster, predict_scenario, predict_training, predict_validate


class Action(NamedTuple):
    """What can be asked for after ``gse predict``; each lives in a module of its own, as commands do."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


ACTIONS: Final[Mapping[str, Action]] = {
    "scenario": Action("what 'gse run' is expected to measure", predict_scenario.add_arguments, predict_scenario.run),
    "cluster": Action("an all-reduce on a cluster at native rates", predict_cluster.add_arguments, predict_cluster.run),
    "training": Action("LLaMA2-13B at native scale", predict_training.add_arguments, predict_training.run),
    "validate": Action("hold predictions against runs", predict_validate.add_arguments, predict_validate.run),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        action.add_arguments(actions.add_parser(name, help=action.summary))


def run(args: argparse.Namespace) -> int:
    """Do what is asked for and return the exit status."""
    return ACTIONS[args.action].run(args)
