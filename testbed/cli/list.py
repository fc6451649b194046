"""List the built-in scenarios and what is stored for each.

examples:
  gse list
  gse list --json
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from testbed.cli.console import Console
from testbed.cli.options import add_results
from testbed.results.store import list_runs
from testbed.runs.scenario_files import builtin_names, load_builtin
from testbed.units import bytes_to_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the list and return 0."""
    entries: list[dict[str, Any]] = []
    for name in builtin_names():
        scenario = load_builtin(name)
        stored = list_runs(args.results, name)
        entries.append(
            {
                "name": name,
                "question": scenario.question,
                "fabric": f"{scenario.fabric.leaves}x{scenario.fabric.spines}x{scenario.fabric.hosts_per_leaf}",
                "size_bytes": scenario.workload.size_bytes,
                "schemes": list(scenario.schemes),
                "runs_stored": len(stored.finished),
                "runs_failed": stored.failed,
            }
        )
    if args.json:
        print(json.dumps(entries, indent=2))
        return 0
    table = Table(
        "scenario", "question", "leaves x spines x hosts", "size", "schemes", "stored", box=None, pad_edge=False
    )
    for entry in entries:
        failed = f" (+{entry['runs_failed']} failed)" if entry["runs_failed"] else ""
        table.add_row(
            entry["name"],
            entry["question"],
            entry["fabric"],
            bytes_to_text(entry["size_bytes"]),
            ",".join(entry["schemes"]),
            f"{entry['runs_stored']}{failed}",
        )
    Console().print(table)
    return 0
