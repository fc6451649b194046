"""List the built-in scenarios and what is stored for each.

examples:
  gse list
  gse list --json
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table

from testbed.cli.console import Console
from testbed.cli.options import add_results
from testbed.results.listing import list_runs
from testbed.runs.scenario_files import builtin_names, load_builtin
from testbed.units import bytes_to_text
from testbed.views.cells import NOT_MEASURED

MIN_WIDTH: Final = 30


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
                "size_bytes": scenario.workload.bulk_bytes or None,  # none where small messages are alone
                "schemes": list(scenario.schemes),
                "runs_stored": len(stored.finished),
                "runs_failed": stored.failed,
                "runs_disturbed": stored.disturbed,
            }
        )
    if args.json:
        print(json.dumps(entries, indent=2))
        return 0
    _print(entries)
    return 0


def _print(entries: Sequence[dict[str, Any]]) -> None:
    """Print what there is, then what each asks: whole questions fit no column of a terminal."""
    console = Console()
    table = Table("scenario", "fabric", "size", "schemes", "stored", box=None, pad_edge=False)
    for entry in entries:
        name = f"[bold]{entry['name']}[/bold]"
        size = NOT_MEASURED if entry["size_bytes"] is None else bytes_to_text(entry["size_bytes"])
        schemes = ",".join(entry["schemes"])
        table.add_row(name, entry["fabric"], size, schemes, _stored(entry))
    console.print(table)
    console.print("\nfabric: leaves x spines x hosts per leaf\n")
    width = max(len(entry["name"]) for entry in entries)
    for entry in entries:
        lines = textwrap.wrap(entry["question"], max(console.width - width - 1, MIN_WIDTH), break_on_hyphens=False)
        for number, line in enumerate(lines):
            console.print(f"{'' if number else entry['name']:<{width}} {line}", highlight=False, markup=False)


def _stored(entry: dict[str, Any]) -> str:
    others = [f"{entry[f'runs_{how}']} {how}" for how in ("failed", "disturbed") if entry[f"runs_{how}"]]
    return f"{entry['runs_stored']}" + (f" (+{', '.join(others)})" if others else "")
