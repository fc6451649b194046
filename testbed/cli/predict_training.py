"""``gse predict training``: LLaMA2-13B at native scale. Not a command."""

from __future__ import annotations

import argparse
import json

from testbed.cli.console import Console
from testbed.cli.predict_options import (
    MOST_FLOWS,
    MOST_SEEDS,
    add_json,
    add_native,
    add_nodes,
    latencies_from,
    whole_number,
)
from testbed.errors import Problem, ScenarioError
from testbed.fluid.training import GPUS, TrainingCase, trained
from testbed.views.fluid import training_grid, training_json
from testbed.views.tables import rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--gpus",
        metavar="N,N",
        default=",".join(map(str, GPUS)),
        help="accelerators of the job, 16 to 2048, whole nodes of 8 (default: %(default)s)",
    )
    add_nodes(parser)
    parser.add_argument("--overlap", action="store_true", help="communicate behind the computation")
    add_native(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what to expect of LLaMA2-13B."""
    wrong: list[Problem] = []
    gpus = [whole_number("--gpus", text, 2048, wrong) for text in args.gpus.split(",")]
    wrong += [
        Problem("not whole nodes", "--gpus", str(number), "16 or more, a multiple of 8")
        for number in gpus
        if number % 8 or number < 16
    ]
    flows = whole_number("--flows", args.flows, MOST_FLOWS, wrong)
    seeds = whole_number("--seeds", args.seeds, MOST_SEEDS, wrong)
    latencies = latencies_from(args, wrong)
    if wrong:
        raise ScenarioError(wrong)
    cases = [
        TrainingCase(gpus=number, nics_per_node=nics, zero=zero, order=args.nodes, flows=flows, overlap=args.overlap)
        for nics in (8, 1)
        for zero in (0, 3)
        for number in gpus
    ]
    found = [(case, trained(case, latencies=latencies, seeds=seeds)) for case in cases]
    if args.json:
        print(json.dumps(training_json(found), indent=2))
    else:
        Console().print(rendered([training_grid(found)]))
    return 0
