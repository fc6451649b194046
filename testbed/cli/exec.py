"""Run your own program in the hosts of a fabric, one rank per host, and measure the fabric meanwhile.

examples:
  sudo ./gse exec allreduce_ring --scheme gse2-n2n --ranks 8 -- python3 scenarios/programs/gloo_allreduce.py
  sudo ./gse exec allreduce_ring -- torchrun --nnodes={world_size} --nproc-per-node=1 --node-rank={rank} \\
      --master-addr={master_addr} --master-port={master_port} scenarios/programs/gloo_allreduce.py
  sudo ./gse exec allreduce_ring --mpi -- python3 scenarios/programs/mpi_allreduce.py
  sudo ./gse exec incast --ranks 4 -- python3 scenarios/programs/iperf3_pairs.py

Each rank finds RANK, WORLD_SIZE, MASTER_ADDR, GLOO_SOCKET_IFNAME and more in its environment; words in braces in
COMMAND are replaced for each rank: {rank} {world_size} {local_rank} {master_addr} {master_port} {host} {ip}
{interface} {hostfile}. docs/exec.md explains.

What a program sends nobody knows beforehand: rates are held against this machine, and lowered by --auto-rate, as if
the scenario's own workload ran.

Exit status: 0 every rank ended with status 0 (the verdict is about the fabric); 1 a rank, or the run, failed;
2 the request, or the machine, has to change first.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from testbed.cli.console import Console
from testbed.cli.limits import add_auto_rate, at_carried_rates, calibration_words
from testbed.cli.options import add_results, add_scenario, changes_from, refuse_idle
from testbed.cli.preparing import prepare_fabric
from testbed.cli.run import FORMAT_VERSION, tell_of_others
from testbed.cli.streams import OutputError
from testbed.errors import CommandError, InputError, MachineError, Problem, ScenarioError, printable
from testbed.model.scenario import MAX_NAME_CHARACTERS, Scenario
from testbed.model.scenario_input import override
from testbed.model.windows import window_problems
from testbed.programs.placeholders import placeholder_problems
from testbed.programs.request import Request
from testbed.results.program_summary import summarise_program
from testbed.runs.campaign import Campaign, Outcome
from testbed.runs.scenario_files import load, with_trace
from testbed.runs.traffic_files import taken_in
from testbed.system.capsule import require_root
from testbed.system.command import run as run_command
from testbed.system.interrupts import interruptible
from testbed.system.machine import check_scenario, inspect_machine
from testbed.views.cells import NOT_MEASURED, number_text
from testbed.views.tables import VERDICT_STYLES

DEFAULT_TIMEOUT_S: Final = 600.0
MAX_TIMEOUT_S: Final = 7 * 86_400.0
OPEN_MPI: Final = re.compile(r"\(Open MPI\) 4\.")
MOST_REPORTED_SHOWN: Final = 20
PREFIX: Final = "exec_"
# Fields that are decided otherwise here, so that --set would be overruled without a word.
OTHERWISE: Final = {
    "name": "the name of the scenario",
    "schemes": "--scheme",
    "seeds": "--seed",
    "workload.announce": "nothing: programs announce no flows",
}
# Of a workload, all that programs do not replace: where they run, and the small messages beside them.
OF_THE_WORKLOAD: Final = ("placement", "ranks", "mice_bytes", "mice_interval_ms", "mice_dscp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments. Numbers are read later, so that every problem can be told at once."""
    add_scenario(parser)
    parser.add_argument("--scheme", metavar="S", help="the scheme (default: the scenario's first)")
    parser.add_argument("--seed", metavar="N", help="seed of hashing and placement (default: the scenario's first)")
    parser.add_argument("--ranks", metavar="N", help="number of ranks (default: the scenario's, or one per host)")
    parser.add_argument(
        "--timeout", metavar="S", default=f"{DEFAULT_TIMEOUT_S:g}", help="give up after S seconds (default: 600)"
    )
    parser.add_argument("--mpi", action="store_true", help="start COMMAND by Open MPI's mpirun, without ssh")
    add_auto_rate(parser)
    add_results(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout; what ranks print goes to stderr"
    )
    parser.add_argument("argv", metavar="COMMAND", nargs="+", help="after --: what each rank runs; no shell")


def run(args: argparse.Namespace) -> int:
    """Run the program and return the exit status: 1 when it, or the run, failed."""
    scenario, request = asked_for(args)
    require_root("exec")
    machine = inspect_machine(args.results)
    if args.auto_rate:
        scenario = at_carried_rates(scenario, machine)
    if problems := check_scenario(scenario, machine):
        raise MachineError(problems)
    tell_of_others()
    for words in calibration_words(scenario, machine):
        print(f"gse: {words}", file=sys.stderr)
    prepare_fabric(scenario.schemes)
    campaign = Campaign(
        scenario,
        args.results,
        machine,
        on_event=_Teller(json_only=args.json),
        module="testbed.runs.program",
        extra={"program": request.to_json()},
        summarise=summarise_program,
    )
    (plan,) = campaign.plans()
    with interruptible():
        outcome = campaign.run_one(plan)
    if args.json:
        print(json.dumps(document(scenario, outcome), indent=2))
    _show(outcome, Console(stderr=args.json))
    failed = outcome.summary is not None and outcome.summary["program"]["failed"] is not None
    return max(outcome.exit_status, int(failed))


def document(scenario: Scenario, outcome: Outcome) -> dict[str, Any]:
    """Return the JSON document of ``--json``."""
    return {
        "format_version": FORMAT_VERSION,
        "scenario": scenario.model_dump(mode="json"),
        "run": outcome.shown,
    }


# -- what is asked for ----------------------------------------------------------------------------------------------


def asked_for(args: argparse.Namespace) -> tuple[Scenario, Request]:
    """Return what the arguments mean. Raises InputError with every problem of all of them."""
    problems: list[Problem] = []
    numbers = {name: _number(name, getattr(args, name), problems) for name in ("seed", "ranks")}
    timeout_s = _timeout_s(args.timeout, problems)
    problems += placeholder_problems(args.argv)
    problems += _program_problems(args.argv[0])
    problems += _set_problems(args)
    if args.mpi:
        problems += _mpi_problems()
    scenario = None
    try:
        scenario = _scenario(args, numbers)
    except InputError as error:
        problems[:0] = error.problems
    if problems or scenario is None or timeout_s is None:
        raise ScenarioError(problems)
    return scenario, Request(argv=tuple(args.argv), cwd=os.getcwd(), timeout_s=timeout_s, mpi=args.mpi)


def _scenario(args: argparse.Namespace, numbers: dict[str, int | None]) -> Scenario:
    """Return the scenario whose fabric and placement programs get; it announces nothing. Raises ScenarioError."""
    changes = changes_from(args)
    loaded = load(args.scenario)
    changes["name"] = f"{PREFIX}{loaded.name}"[:MAX_NAME_CHARACTERS]
    changes["workload.announce"] = False
    changes["schemes"] = [loaded.schemes[0] if args.scheme is None else args.scheme]
    changes["seeds"] = [loaded.seeds[0] if numbers["seed"] is None else numbers["seed"]]
    if numbers["ranks"] is not None:
        changes["workload.ranks"] = numbers["ranks"]
    scenario = with_trace(override(loaded, changes))
    if problems := window_problems(scenario):
        raise ScenarioError(problems)
    refuse_idle(scenario, changes)
    return taken_in(scenario)


def _number(name: str, text: str | None, problems: list[Problem]) -> int | None:
    """Read a whole number; what it may be is for the scenario to say."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        problems.append(Problem("not a number", f"--{name}", repr(text[:80]), "a whole number like 8"))
        return None
    return int(text)


def _timeout_s(text: str, problems: list[Problem]) -> float | None:
    with suppress(ValueError):
        value = float(text)
        if math.isfinite(value) and 0 < value <= MAX_TIMEOUT_S:
            return value
    expected = f"seconds, more than 0 and at most {MAX_TIMEOUT_S:g}"
    problems.append(Problem("not a time", "--timeout", repr(text[:80]), expected))
    return None


def _set_problems(args: argparse.Namespace) -> Iterator[Problem]:
    """Yield every ``--set`` of a field that is said otherwise here, or of the workload that does not run."""
    otherwise = OTHERWISE if args.ranks is None else {**OTHERWISE, "workload.ranks": "--ranks alone"}
    replaced = f"nothing: COMMAND runs instead of the workload; of which there are only {', '.join(OF_THE_WORKLOAD)}"
    for field in sorted({text.partition("=")[0].strip() for text in args.settings}):
        section, _, name = field.partition(".")
        if field in otherwise:
            yield Problem("not for --set here", f"--set {field}", "a value", otherwise[field])
        elif section == "workload" and name and name not in OF_THE_WORKLOAD:
            yield Problem("not for --set here", f"--set {field}", "a value", replaced)


def _program_problems(name: str) -> Iterator[Problem]:
    """Yield that there is no such program; one whose name is different for each rank shows itself when it runs."""
    if "{" not in name and shutil.which(name) is None:
        yield Problem("no such program", "COMMAND", repr(name[:80]), "a program in PATH, or a path to one")


def _mpi_problems() -> Iterator[Problem]:
    """Yield why ``--mpi`` cannot be: another MPI's mpirun has other options."""
    expected = "Open MPI 4: apt install openmpi-bin"
    if shutil.which("mpirun") is None:
        yield Problem("no mpirun", "--mpi", "none in PATH", expected)
        return
    try:
        said = run_command(["mpirun", "--version"]).stdout
    except CommandError as error:
        said = str(error)
    if not OPEN_MPI.search(said):
        yield Problem("not the mpirun that is known here", "--mpi", repr(said.strip()[:80]), expected)


# -- what is shown --------------------------------------------------------------------------------------------------


class _Teller:
    """Shows what ranks print, and on stderr what the run does."""

    def __init__(self, *, json_only: bool) -> None:
        self._stdout = sys.stderr if json_only else sys.stdout

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "output":
            self._show_line(event)
        elif kind == "output_left_out":
            where = "raw/rank-*.stdout and .stderr have them"
            self._say(f"gse: {event['lines']} lines not shown: nobody read them in time; {where}")
        elif kind == "run":
            self._say(f"{event['scheme']} seed {event['seed']}: building the fabric")
        elif kind == "phase" and event["phase"] in ("calibration", "agents", "program"):
            self._say(f"  {event['phase']}")
        elif kind == "program_failed":
            self._say(f"gse: {printable(event['message'])}; ending the others")
        elif kind in ("warning", "process_behind"):
            self._say(f"gse: {printable(event['message'])}")
        elif kind == "fault":
            self._say(f"  {event['action']} {event['target']}")

    def _show_line(self, event: dict[str, Any]) -> None:
        who = "mpirun" if event["stream"] == "mpirun" else f"{event['host']}/{event['rank']}"
        file = self._stdout if event["stream"] == "stdout" else sys.stderr
        with suppress(OSError, OutputError):  # nobody reads any more, or the disk is full: no reason to lose the run
            print(f"{who}: {printable(event['text'])}", file=file, flush=True)

    def _say(self, text: str) -> None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def _show(outcome: Outcome, console: Console) -> None:
    """Print what was measured, or why nothing was."""
    summary = outcome.summary
    if summary is None:
        print(f"gse: {outcome.complaint}", file=sys.stderr)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in summary_lines(summary):
        table.add_row(name, Text(printable(value)), style=VERDICT_STYLES.get(value, ""))
    console.print(table)
    for reason in summary["reasons"]:
        console.print(f"{summary['verdict']}: {printable(reason)}", markup=False, highlight=False)
    console.print(f"stored in {outcome.run_dir}", markup=False, highlight=False)


def summary_lines(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and value of what a person wants to know of a program's run."""
    program, latency_ms = summary["program"], summary["latency_ms"]
    number: Callable[[Any, int], str] = number_text
    yield "verdict", summary["verdict"]
    yield "ranks, scheme", f"{len(program['ranks'])}, {summary['scheme']}"
    yield "first start to last end, s", number(program["duration_s"], 3)
    others = summary.get("other_traffic")
    windows = "  of which communicating, s" if others is None else "  of which links were busy, s"
    yield windows, number(program["communicating_s"], 3)
    sent = [host["sent_bytes"] for host in program["hosts"]]
    known = [value for value in sent if value is not None]
    yield "sent by all hosts, MB", number(sum(known) / 1e6, 3) if known and len(known) == len(sent) else NOT_MEASURED
    if others is not None:
        yield from _other_lines(others)
    yield "loaded uplinks used", number(summary["uplink_utilization"], 3)
    yield "busiest uplink over mean", number(summary["uplink_max_over_mean"], 2)
    yield "probes p50 / p99, ms", f"{number(latency_ms['p50'], 1)} / {number(latency_ms['p99'], 1)}"
    packets = ("dropped_packets", "retransmitted_segments", "out_of_order_packets")
    yield "dropped / resent / reordered", " / ".join(number(summary[name], 0) for name in packets)
    for one in summary["reported"][:MOST_REPORTED_SHOWN]:
        said = (f"{name} {_value(value)}" for name, value in one.items() if name != "rank")
        yield f"reported by rank {one['rank']}", ", ".join(said)
    if (more := len(summary["reported"]) - MOST_REPORTED_SHOWN) > 0:
        yield "reported", f"{more} lines more, in summary.json"


def _other_lines(others: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was sent beside the program, so that nobody takes it for the program's."""
    for name, key in (("  of other traffic, about", "sent_bytes"), ("  of the program, about", "own_sent_bytes")):
        yield name, NOT_MEASURED if others[key] is None else f"{others[key] / 1e6:.3f}"
    for one in others["kinds"]:
        size = NOT_MEASURED if one["size_bytes"] is None else f"{one['size_bytes'] / 1e6:.3f}"
        missing = f", {one['missing']} not arrived" if one["missing"] else ""
        yield f"{one['kind']}, MB", f"{size} by {one['count']}{missing}"
    yield "all else here", "everybody's, not the program's alone"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
