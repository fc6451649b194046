"""Calls ``gse run`` as a user does and reads what it says and stores."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.model.shaping import largest_burst_bytes
from testbed.model.topology import Topology
from testbed.results.run import load

PROJECT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "120"}


# Checks that say the machine did not give a run the time it needed, whoever took it.
MACHINE = {
    "steal",
    "foreign_load",
    "busy_cores",
    "switch_core",
    "switch_wait",
    "agents_wait",
    "agent_core",
    "rank_core",
    "rank_wait",
    "rank_lateness",
    "compute_lateness",
    "sampler_lateness",
    "probe_lateness",
    "probe_delay",
}


@dataclass(frozen=True)
class Campaign:
    """What one call of ``gse run --json`` said."""

    status: int
    document: dict[str, Any]
    err: str

    @property
    def runs(self) -> list[dict[str, Any]]:
        return list(self.document["runs"])

    def of(self, scheme: str) -> list[dict[str, Any]]:
        return [run for run in self.runs if run["scheme"] == scheme]


def gse_argv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "testbed", *arguments]


def words(settings: dict[str, Any]) -> list[str]:
    """Return ``--set`` options."""
    return [word for field, value in settings.items() for word in ("--set", f"{field}={json.dumps(value)}")]


def run_argv(
    results: Path, scenario: str, settings: dict[str, Any], *, schemes: str, seeds: str, repeats: int = 0
) -> list[str]:
    options = ["--schemes", schemes, "--seeds", seeds, "--results", str(results), "--json"]
    options += ["--repeat-disturbed", str(repeats)]
    return gse_argv("run", scenario, *options, *words(settings))


def gse_run(
    results: Path,
    scenario: str = "allreduce_ring",
    settings: dict[str, Any] | None = None,
    *,
    schemes: str = "ecmp,gse1",
    seeds: str = "1",
    repeats: int = 0,
    timeout_s: float = 200,
) -> Campaign:
    """Run a scenario and return the document; every scheme must have runs, all finished and with right sums."""
    argv = run_argv(results, scenario, settings or {}, schemes=schemes, seeds=seeds, repeats=repeats)
    done = subprocess.run(argv, cwd=results, env=ENV, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    campaign = Campaign(done.returncode, json.loads(done.stdout), done.stderr)
    assert {run["scheme"] for run in campaign.runs} == set(schemes.split(",")), "what is asked of each run is asked"
    for run in campaign.runs:
        assert run["wrong_elements"] == 0, run
        assert run["verdict"] in ("VALID", "SUSPECT", "INVALID"), run
        assert bool(run["reasons"]) == (run["verdict"] != "VALID"), run
    return campaign


def judged(make: Callable[[], Campaign], judge: Callable[[Campaign], None], *, tries: int = 3) -> None:
    """Make runs and judge them; once more where they were too slow on a machine that, they say, kept them waiting."""
    for tried in range(1, tries + 1):
        campaign = make()
        try:
            judge(campaign)
            return
        except AssertionError:
            if tried == tries or not any(MACHINE.intersection(run["checks"]) for run in campaign.runs):
                raise


def table(run: dict[str, Any], name: str) -> list[dict[str, str]]:
    """Return the rows of one of a run's tables."""
    with open(Path(run["run_dir"], f"{name}.csv"), newline="") as file:
        return list(csv.DictReader(file))


def manifest(run: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(Path(run["run_dir"], "manifest.json").read_text()))


def events(run: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [event for event in manifest(run)["events"] if event["event"] == name]


def flows_on(run: dict[str, Any]) -> dict[str, Counter[str]]:
    """Return for uplinks and downlinks how many of the job's flows the switches sent over each, by name of the link.

    Counted from flows.csv alone, by another way than the tool's own: a path ``s2.1`` from a leaf and to a leaf is
    one link up and one link down (with parallel links the spine may choose another one down: ``s2.1/2``).
    """
    topology = Topology(load(Path(run["run_dir"])).scenario.fabric)
    found = {"uplink": Counter[str](), "downlink": Counter[str]()}
    for row in table(run, "flows"):
        src, dst = topology.host(row["src_host"]), topology.host(row["dst_host"])
        if src.leaf == dst.leaf:
            assert row["path"] == ""
            continue
        up, _, down_link = row["path"].partition("/")
        spine = up.partition(".")[0]
        down = f"{spine}.{down_link}" if down_link else up
        found["uplink"][f"l{src.leaf + 1} to {up}"] += 1
        found["downlink"][f"{down} to l{dst.leaf + 1}"] += 1
    return found


def most_flows(run: dict[str, Any]) -> tuple[int, int]:
    """Return the most flows on any uplink and on any downlink."""
    found = flows_on(run)
    return max(found["uplink"].values(), default=0), max(found["downlink"].values(), default=0)


def free_share(run: dict[str, Any]) -> float:
    """Return by how much an iteration may be faster than its paths allow: a full bucket passes at once at its start."""
    scenario = load(Path(run["run_dir"])).scenario
    ranks = len({row["rank"] for row in table(run, "ranks")})
    hop_bytes = 2 * (ranks - 1) / ranks * scenario.workload.size_bytes
    free_bytes = largest_burst_bytes(scenario.fabric)
    return free_bytes / (hop_bytes - free_bytes)


def of_prediction(run: dict[str, Any]) -> float:
    """Return the measured efficiency as a share of what the observed placement allows."""
    return float(run["efficiency"] / run["predicted_efficiency"])


def interfaces() -> list[str]:
    """Return the interfaces of this network namespace."""
    return sorted(row["ifname"] for row in json.loads(subprocess.check_output(["ip", "-j", "link", "show"])))
