"""Every question GSE2.0 is asked, over seeds, and one page of answers: ``sudo .venv/bin/python benchmarks/gse2.py``.

    benchmarks/gse2.py --seeds 10 --results DIR      run what is missing there (two to four hours), then print the page
    benchmarks/gse2.py --results DIR --table         print the page of what is there
    benchmarks/gse2.py --only ring,incast --seeds 3

Each case is a ``gse run`` with its runs in DIR/<case>; a campaign that was interrupted goes on where it stopped. Runs
are not chosen: each scheme and seed counts once, the latest, whatever its verdict; runs that failed are named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
GSE2 = ("gse2-n2n", "gse2-e2e")
RING_16 = {"workload.size_bytes": "16MiB"}
VERDICTS = ("VALID", "SUSPECT", "INVALID")
Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A question: a scenario with settings, under some schemes. ``most_seeds``: of long ones fewer do."""

    name: str
    title: str
    scenario: str
    schemes: tuple[str, ...]
    settings: Mapping[str, str]
    columns: tuple[str, ...] = ()
    most_seeds: int = 3


CASES = (
    Case("ring", "All-reduce of 16 MiB, one flow per hop", "allreduce_ring", GSE2, RING_16, ("idle",), 10),
    Case("ring_bare", "The same, hashed and sprayed", "allreduce_ring", ("ecmp", "spray"), RING_16, ("disorder",)),
    Case("flows4", "4 flows per hop", "allreduce_ring", GSE2, {**RING_16, "workload.flows_per_hop": "4"}, ("idle",)),
    Case("flows16", "16 flows per hop", "allreduce_ring", GSE2, {**RING_16, "workload.flows_per_hop": "16"}, ("idle",)),
    Case("two_jobs", "Two jobs of 8 hosts", "two_jobs", GSE2, {}, ("idle",)),
    Case(
        "rate20", "16 MiB at 20 Mbit/s", "allreduce_ring", GSE2, {**RING_16, "fabric.link_rate_mbps": "20"}, ("idle",)
    ),
    Case("incast", "Fifteen to one", "incast", ("ecmp", *GSE2), {}, ("fairness", "receiver", "host_queue")),
    Case("all_to_all", "All-to-all", "all_to_all", ("ecmp", *GSE2), {}, ("fairness", "host_queue", "idle")),
    Case(
        "permutation",
        "Elephants and small messages",
        "permutation",
        ("ecmp", "spray", *GSE2),
        {},
        ("mice_p50", "mice_p99", "fairness"),
    ),
    Case("mice_alone", "Small messages alone", "mice_alone", ("ecmp", "spray", *GSE2), {}, ("mice_p50", "mice_p99")),
    Case(
        "link_failure",
        "A link fails (carrier)",
        "link_failure",
        ("ecmp", "gse1", "spray", "flowlet", *GSE2),
        {},
        ("local_recovery", "recovery", "outage", "lost"),
    ),
    Case(
        "link_failure_controller",
        "The same, repaired by the controller",
        "link_failure",
        ("ecmp",),
        {"gsos.repair": "controller"},
        ("outage",),
    ),
    Case(
        "silent_loss",
        "A link falls silent",
        "silent_loss",
        GSE2,
        {},
        ("local_recovery", "recovery", "outage", "lost"),
        5,
    ),
    # one iteration may be over before the link is mended
    Case("brown_out", "A link at a tenth of its rate", "brown_out", GSE2, {"workload.iterations": "2"}, ("outage",)),
    Case("spine_death", "A spine dies", "spine_death", ("ecmp", *GSE2), {}, ("recovery", "outage", "lost")),
    Case(
        "link_failure_once",
        "A link fails, and agents send nothing again",
        "link_failure",
        GSE2,
        {"gsp.retransmit": "false"},
        ("recovery", "outage", "lost"),
    ),
    Case(
        "spray_ordered",
        "Sprayed and put in order, without grants",
        "allreduce_ring",
        ("spray",),
        {**RING_16, "gsp.reorder": "true"},
        ("disorder", "idle"),
    ),
    Case("incast_gse1", "Fifteen to one under GSE1.0", "incast", ("gse1",), {}, ("fairness", "receiver", "host_queue")),
    Case(
        "incast_authorised",
        "The same, authorised",
        "incast",
        ("gse1",),
        {"gsos.authorise": "true"},
        ("fairness", "receiver", "host_queue"),
    ),
    Case("all_to_all_gse1", "All-to-all under GSE1.0", "all_to_all", ("gse1",), {}, ("fairness", "host_queue")),
    Case(
        "all_to_all_authorised",
        "The same, authorised",
        "all_to_all",
        ("gse1",),
        {"gsos.authorise": "true"},
        ("fairness", "host_queue"),
    ),
    Case("cost", "Agents that do nothing but forward", "allreduce_ring", ("ecmp", "ecmp-agents"), {}, ("idle",)),
)


def _idle(run: Summary) -> float | None:
    busy = ((run["details"].get("cpu") or {}).get("machine") or {}).get("busy_fractions")
    return None if not busy else 1 - max(busy)


def _field(*keys: str) -> Callable[[Summary], float | None]:
    def value(run: Summary) -> float | None:
        found: Any = run
        for key in keys:
            found = None if found is None else found.get(key)
        return found  # type: ignore[no-any-return]

    return value


def _host_queue_kb(run: Summary) -> float | None:
    size_bytes = (run.get("queue_max_bytes") or {}).get("host_rx")
    return None if size_bytes is None else size_bytes / 1e3


@dataclass(frozen=True)
class Column:
    """A number of a run and how it is printed."""

    header: str
    value: Callable[[Summary], float | None]
    form: str


ALWAYS = (
    Column("of limit", _field("efficiency"), "{:.3f}"),
    Column("uplinks max/mean", _field("uplink_max_over_mean"), "{:.3f}"),
    Column("dropped", _field("dropped_packets"), "{:.0f}"),
    Column("out of order", _field("out_of_order_packets"), "{:.0f}"),
    Column("resent", _field("retransmitted_segments"), "{:.0f}"),
    Column("control frames", _field("control_fraction"), "{:.1%}"),
)
COLUMNS = {
    "idle": Column("idle, busiest core", _idle, "{:.0%}"),
    "disorder": Column("frames swapped", _field("agents", "swapped"), "{:.0f}"),
    "fairness": Column("Jain", _field("fairness"), "{:.4f}"),
    "receiver": Column("receiver's link", _field("receiver_utilization"), "{:.3f}"),
    "host_queue": Column("queue to a host, KB", _host_queue_kb, "{:.0f}"),
    "mice_p50": Column("small p50, ms", _field("mice_latency_ms", "p50"), "{:.2f}"),
    "mice_p99": Column("small p99, ms", _field("mice_latency_ms", "p99"), "{:.1f}"),
    "local_recovery": Column("left by its leaf (E2E: its hosts), ms", _field("local_recovery_ms"), "{:.0f}"),
    "recovery": Column("left by all, ms", _field("recovery_ms"), "{:.0f}"),
    "outage": Column("outage, ms", _field("outage_ms"), "{:.0f}"),
    "lost": Column("lost between GSPs", _field("agents", "lost_in_fabric"), "{:.0f}"),
}


def main() -> int:
    """Run what is missing, print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=PROJECT / "results" / "gse2", metavar="DIR")
    parser.add_argument("--seeds", type=int, default=10, help="at most (default: 10; of most cases 3 to 5 are made)")
    parser.add_argument("--only", metavar="CASE,CASE", help=f"of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else [case.name for case in CASES]
    if unknown := set(names) - {case.name for case in CASES}:
        parser.error(f"--only: no such case: {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if case.name in names]
    status = 0
    if not args.table:
        for case in cases:
            status = max(status, _complete(case, args.results / case.name, min(args.seeds, case.most_seeds)))
    print(_summary([run for case in cases for run in _runs(args.results / case.name)]), end="\n\n")
    for case in cases:
        print("\n".join(_section(case, args.results / case.name)), end="\n\n")
    return status


def _summary(runs: Sequence[Summary]) -> str:
    """Say how many runs there are, of which code, with which verdicts."""
    commits = sorted({run["run_dir"].rpartition("-")[2] for run in runs})
    counts = ", ".join(f"{sum(run['verdict'] == name for run in runs)} {name}" for name in VERDICTS)
    return f"{len(runs)} runs of {', '.join(commits)}: {counts}. Median (least to most) over seeds."


def _complete(case: Case, folder: Path, seeds: int) -> int:
    """Make the runs of a case that are not there. Return the worst exit status."""
    there = {(run["scheme"], run["seed"]) for run in _runs(folder)}
    status = 0
    for seed in range(1, seeds + 1):
        schemes = [scheme for scheme in case.schemes if (scheme, seed) not in there]
        if not schemes:
            continue
        settings = {"workload.iterations": "1", **case.settings}
        argv = [sys.executable, "-m", "testbed", "run", case.scenario, "--schemes", ",".join(schemes)]
        argv += ["--seeds", f"{seed},", "--results", str(folder)]
        for field, value in settings.items():
            argv += ["--set", f"{field}={value}"]
        print(f"{case.name}, seed {seed}: {', '.join(schemes)}", file=sys.stderr, flush=True)
        done = subprocess.run(argv, cwd=PROJECT, stdout=subprocess.DEVNULL, check=False)
        status = max(status, done.returncode)
        if done.returncode < 0 or done.returncode >= 128:  # somebody wants us to end
            raise KeyboardInterrupt
    return status


def _runs(folder: Path) -> list[Summary]:
    """Return the latest finished run of each scheme and seed."""
    latest: dict[tuple[str, int], Summary] = {}
    for path in sorted(folder.glob("*/*/summary.json"), key=lambda path: path.parent.name):
        if path.parent.suffix:  # .failed, .partial, .disturbed
            continue
        run = json.loads(path.read_text())
        latest[run["scheme"], run["seed"]] = run
    return [latest[key] for key in sorted(latest)]


def _section(case: Case, folder: Path) -> Iterator[str]:
    """Yield a case as Markdown: median (least to most) of each scheme."""
    runs = _runs(folder)
    yield f"### {case.title}"
    yield ""
    settings = "".join(f" --set {field}={value}" for field, value in case.settings.items())
    yield f"`gse run {case.scenario} --set workload.iterations=1{settings}`"
    yield ""
    if not runs:
        yield "Not run."
        return
    columns = [*ALWAYS, *(COLUMNS[name] for name in case.columns)]
    columns = [column for column in columns if any(column.value(run) is not None for run in runs)]
    yield "| scheme | seeds | verdicts | " + " | ".join(column.header for column in columns) + " |"
    yield "|---" * (3 + len(columns)) + "|"
    for scheme in case.schemes:
        mine = [run for run in runs if run["scheme"] == scheme]
        if not mine:
            continue
        verdicts = [run["verdict"] for run in mine]
        counts = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)
        cells = [_cell(column, [column.value(run) for run in mine]) for column in columns]
        yield f"| {scheme} | {len(mine)} | {counts} | " + " | ".join(cells) + " |"
    yield ""
    yield from _doubts(case, runs)
    for path in sorted(folder.glob("*/*.failed")):
        yield f"- failed, and made again: {path.name}"


def _cell(column: Column, found: Sequence[float | None]) -> str:
    values = [value for value in found if value is not None]
    if not values:
        return "-"
    least, middle, most = (column.form.format(value) for value in (min(values), median(values), max(values)))
    text = middle if least == most else f"{middle} ({least} to {most})"
    return text if len(values) == len(found) else f"{text}, {len(values)} of {len(found)} runs"


def _doubts(case: Case, runs: Sequence[Summary]) -> Iterator[str]:
    """Yield what verdicts say against runs, each reason with the runs it was given for."""
    for scheme in case.schemes:
        for run in runs:
            if run["scheme"] == scheme and run["reasons"]:
                shown = [reason if len(reason) <= 160 else f"{reason[:160]}…" for reason in run["reasons"]]
                yield f"- {scheme}, seed {run['seed']}: {'; '.join(shown)}"


if __name__ == "__main__":
    sys.exit(main())
