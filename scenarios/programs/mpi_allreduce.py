"""Allreduce by MPI (mpi4py): checks every sum, times itself, and says so in one line of JSON.

    sudo ./gse exec allreduce_ring --ranks 8 --mpi -- python3 scenarios/programs/mpi_allreduce.py

An ordinary MPI program. Needs mpi4py, numpy and Open MPI (apt install openmpi-bin python3-mpi4py python3-numpy),
nothing of the testbed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

import numpy as np
from mpi4py import MPI


def main() -> int:
    """Return 1 when a sum is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-bytes", type=int, default=8 * 2**20, help="array of each rank (float32)")
    parser.add_argument("--iterations", type=int, default=5)
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    rank, ranks = comm.Get_rank(), comm.Get_size()

    pattern = np.arange(args.size_bytes // 4) % 7  # small whole numbers: every sum is exact
    expected = (ranks * pattern + ranks * (ranks - 1) // 2).astype(np.float32)
    array, result = (pattern + rank).astype(np.float32), np.empty_like(expected)
    times_s, wrong = [], 0
    for iteration in range(args.iterations + 1):
        result.fill(np.nan)  # what is left of the iteration before would be right, too
        comm.Barrier()
        began_s = MPI.Wtime()
        comm.Allreduce(array, result, op=MPI.SUM)
        took_s = comm.allreduce(MPI.Wtime() - began_s, op=MPI.MAX)
        wrong += int((result != expected).sum())
        if iteration:  # the first opens connections and congestion windows
            times_s.append(took_s)
    all_wrong = comm.allreduce(wrong, op=MPI.SUM)
    if rank == 0:
        time_s = statistics.median(times_s)
        algbw_mbps = args.size_bytes * 8 / time_s / 1e6
        said = {
            "program": "MPI Allreduce",
            "ranks": ranks,
            "size_bytes": args.size_bytes,
            "time_s": time_s,
            "algbw_mbps": algbw_mbps,
            "busbw_mbps": algbw_mbps * 2 * (ranks - 1) / ranks,
            "wrong": all_wrong,
        }
        print(json.dumps(said))
    return 1 if all_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
