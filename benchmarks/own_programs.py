"""Programs nobody here wrote beside our own bench: ``sudo .venv/bin/python benchmarks/own_programs.py``.

    benchmarks/own_programs.py --torch-python PYTHON --mpi-python PYTHON --seeds 5 --results DIR
    benchmarks/own_programs.py --results DIR --table         print the page of what is there

An all-reduce of 8 MiB among 8 ranks by ``gse bench``, PyTorch's gloo and Open MPI, under each scheme and seed. Each
program times itself; what its own timings say is held against the bench's: the ranking of schemes, and bus bandwidth.
Runs are not chosen: each program, scheme and seed counts once, the latest, whatever its verdict. ``--mpi-ring`` lets
Open MPI use its ring, as gloo and the bench do, instead of what it chooses by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parents[1]
PROGRAMS: Final = PROJECT / "scenarios" / "programs"
SCHEMES: Final = ("ecmp", "gse2-n2n")
RANKS: Final = 8
SIZE_BYTES: Final = 8 * 2**20
ITERATIONS: Final = 2
BENCH: Final = "bench"
# Open MPI 4, ompi/mca/coll/tuned/coll_tuned_allreduce_decision.c: 4 is the ring
MPI_RING: Final = {"OMPI_MCA_coll_tuned_use_dynamic_rules": "1", "OMPI_MCA_coll_tuned_allreduce_algorithm": "4"}
WITHIN: Final = 0.10  # of the bench's bus bandwidth
Summary = Mapping[str, Any]


def main() -> int:
    """Run what is missing, print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=PROJECT / "results" / "own_programs", metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1..N (default: 3)")
    parser.add_argument("--torch-python", metavar="PYTHON", help="a Python that can import torch; without: no gloo")
    parser.add_argument("--mpi-python", metavar="PYTHON", help="one that can import mpi4py; without: no MPI")
    parser.add_argument("--mpi-ring", action="store_true", help="make Open MPI use its ring")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args()
    commands: dict[str, list[str]] = {BENCH: []}
    if args.torch_python:
        commands["gloo"] = [args.torch_python, str(PROGRAMS / "gloo_allreduce.py")]
    if args.mpi_python:
        commands["mpi ring" if args.mpi_ring else "mpi"] = [args.mpi_python, str(PROGRAMS / "mpi_allreduce.py")]
    status = 0
    if not args.table:
        for seed in range(1, args.seeds + 1):
            for scheme in SCHEMES if seed % 2 else reversed(SCHEMES):
                for program, command in commands.items():
                    status = max(status, _complete(program, command, scheme, seed, args.results))
    print("\n".join(_page(args.results)))
    return status


def _complete(program: str, command: Sequence[str], scheme: str, seed: int, results: Path) -> int:
    """Make a run that is not there. Return its exit status."""
    folder = results / program.replace(" ", "-")
    if (scheme, seed) in _runs(folder):
        return 0
    argv = [sys.executable, "-m", "testbed"]
    if program == BENCH:
        argv += ["bench", "allreduce", "-b", str(SIZE_BYTES), "-e", str(SIZE_BYTES), "-n", str(ITERATIONS)]
        argv += ["--schemes", scheme, "--seeds", f"{seed},", "--set", f"workload.ranks={RANKS}"]
        argv += ["--results", str(folder)]
    else:
        argv += ["exec", "allreduce_ring", "--scheme", scheme, "--seed", str(seed), "--ranks", str(RANKS)]
        argv += ["--timeout", "1200", "--results", str(folder), *(["--mpi"] if program.startswith("mpi") else [])]
        argv += ["--", *command, "--size-bytes", str(SIZE_BYTES), "--iterations", str(ITERATIONS)]
    env = {**os.environ, **(MPI_RING if program == "mpi ring" else {})}
    print(f"{program}, {scheme}, seed {seed}", file=sys.stderr, flush=True)
    done = subprocess.run(argv, cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, check=False)
    if done.returncode < 0 or done.returncode >= 128:  # somebody wants us to end
        raise KeyboardInterrupt
    return done.returncode


def _runs(folder: Path) -> dict[tuple[str, int], Summary]:
    """Return the latest finished run of each scheme and seed."""
    found: dict[tuple[str, int], Summary] = {}
    for path in sorted(folder.glob("*/*/summary.json"), key=lambda path: path.parent.name):
        if not path.parent.suffix:  # not .failed, .partial, .disturbed
            run = json.loads(path.read_text())
            found[run["scheme"], run["seed"]] = run
    return found


def _busbw_mbps(run: Summary) -> float | None:
    """Return a run's bus bandwidth: a program's own word for it, of the bench what was measured."""
    if "reported" in run:
        said = [one["busbw_mbps"] for one in run["reported"] if "busbw_mbps" in one]
        return said[-1] if said else None
    value: float | None = run.get("busbw_mbps")
    return value


def _page(results: Path) -> Iterator[str]:
    """Yield the page: bus bandwidths by seed, what they are of the bench's, the ranking of schemes."""
    programs = [BENCH, *(path.name for path in sorted(results.glob("*")) if path.name != BENCH)]
    found = {program: _runs(results / program) for program in programs}
    seeds = sorted({seed for runs in found.values() for _scheme, seed in runs})
    commits = sorted({run["run_dir"].rpartition("-")[2] for runs in found.values() for run in runs.values()})
    what = f"All-reduce of 8 MiB, {RANKS} ranks, bus bandwidth in Mbit/s by each program's own clock"
    yield f"{what} ({', '.join(commits)})."
    yield ""
    yield "| program | scheme | " + " | ".join(f"seed {seed}" for seed in seeds) + " | median | of bench |"
    yield "|---" * (4 + len(seeds)) + "|"
    for program, runs in found.items():
        for scheme in SCHEMES:
            rates = {seed: _busbw_mbps(runs[scheme, seed]) for seed in seeds if (scheme, seed) in runs}
            known = [rate for rate in rates.values() if rate is not None]
            cells = [_cell(rates.get(seed), runs.get((scheme, seed))) for seed in seeds]
            middle = f"{median(known):.2f}" if known else "-"
            yield "| " + " | ".join([program, scheme, *cells, middle, _of_bench(rates, found[BENCH], scheme)]) + " |"
    yield ""
    for program, runs in found.items():
        yield f"- {program}: {_ranking(runs, seeds)}"
    for program, runs in found.items():
        for (scheme, seed), run in sorted(runs.items()):
            if run["reasons"]:
                yield f"- {program}, {scheme}, seed {seed}: {'; '.join(run['reasons'])[:300]}"


def _cell(rate: float | None, run: Summary | None) -> str:
    if run is None:
        return "not run"
    verdict = "" if run["verdict"] == "VALID" else f" {run['verdict']}"
    return ("no number" if rate is None else f"{rate:.2f}") + verdict


def _of_bench(rates: Mapping[int, float | None], bench: Mapping[tuple[str, int], Summary], scheme: str) -> str:
    """Return the mean ratio to the bench over seeds that both have, and its range.

    Under hashing each program's ports lead to collisions of its own, so only means may be compared there.
    """
    ratios = [
        rate / ours
        for seed, rate in rates.items()
        if rate is not None and (scheme, seed) in bench and (ours := _busbw_mbps(bench[scheme, seed]))
    ]
    if not ratios:
        return "-"
    mean = geometric_mean(ratios)
    note = "" if abs(mean - 1) <= WITHIN else f", not within {WITHIN:.0%}"
    return f"{mean:.3f} ({min(ratios):.3f} to {max(ratios):.3f}{note})"


def _ranking(runs: Mapping[tuple[str, int], Summary], seeds: Sequence[int]) -> str:
    """Say how often which scheme was ahead, and by how much on average."""
    slow, quick = SCHEMES
    ratios = [
        theirs / ours
        for seed in seeds
        if {(slow, seed), (quick, seed)} <= runs.keys()
        and (ours := _busbw_mbps(runs[slow, seed]))
        and (theirs := _busbw_mbps(runs[quick, seed]))
    ]
    if not ratios:
        return "no seed under both schemes"
    ahead = sum(ratio > 1 for ratio in ratios)
    mean = geometric_mean(ratios)
    return f"{quick} ahead of {slow} with {ahead} of {len(ratios)} seeds, {mean:.2f} times as fast on average"


if __name__ == "__main__":
    sys.exit(main())
