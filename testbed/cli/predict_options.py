"""Options that actions of ``gse predict`` share, read with all that is wrong said at once. Not a command."""

from __future__ import annotations

import argparse
from typing import Final

from testbed.errors import Problem
from testbed.fluid.job import Order
from testbed.fluid.native import SEEDS, Latencies

MOST_SEEDS: Final = 10_000
MOST_FLOWS: Final = 64
MOST_US: Final = 1e6
NCCL: Final = Latencies()
ORDERS: Final[tuple[Order, ...]] = ("scattered", "packed")


def add_nodes(parser: argparse.ArgumentParser) -> None:
    """Add ``--nodes``."""
    parser.add_argument(
        "--nodes", choices=ORDERS, default="scattered", help="which nodes a job has (default: scattered)"
    )


def add_native(parser: argparse.ArgumentParser) -> None:
    """Add ``--flows``, ``--step-us``, ``--ask-us`` and ``--seeds``."""
    parser.add_argument("--flows", metavar="N", default="1", help="connections per hop and NIC (default: 1)")
    for option, seconds, what in (("--step-us", NCCL.network_s, "a step"), ("--ask-us", NCCL.ask_s, "asking first")):
        parser.add_argument(
            option, metavar="N", default=f"{seconds * 1e6:g}", help=f"us of {what} (default: %(default)s)"
        )
    parser.add_argument("--seeds", metavar="N", default=str(SEEDS), help=f"seeds 1..N (default: {SEEDS})")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def whole_number(option: str, text: str, most: int, wrong: list[Problem]) -> int:
    """Return a number from 1 to ``most``; where the text is none, say so in ``wrong`` and return 1."""
    if text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most:
        return int(text[:20])
    wrong.append(Problem("not a number", option, repr(text[:80]), f"a whole number, 1..{most}"))
    return 1


def latencies_from(args: argparse.Namespace, wrong: list[Problem]) -> Latencies:
    """Return what ``--step-us`` and ``--ask-us`` say; where they are no times, say so in ``wrong``."""
    found = []
    for option, text in (("--step-us", args.step_us), ("--ask-us", args.ask_us)):
        try:
            found.append(float(text))
        except ValueError:
            found.append(-1.0)
        if not 0 <= found[-1] <= MOST_US:
            wrong.append(Problem("not a time", option, repr(text[:80]), f"microseconds, 0..{MOST_US:g}"))
    return NCCL if wrong else Latencies(network_s=found[0] / 1e6, ask_s=found[1] / 1e6)
