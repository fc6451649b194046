"""All-reduce by PyTorch's gloo: checks every sum, times itself, and says so in one line of JSON.

    sudo ./gse exec allreduce_ring --ranks 8 -- python3 scenarios/programs/gloo_allreduce.py

An ordinary torch.distributed script: it reads RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT from its environment, so
torchrun starts it as well. Needs torch (a CPU build will do), nothing of the testbed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch
import torch.distributed as dist


def main() -> int:
    """Return 1 when a sum is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-bytes", type=int, default=8 * 2**20, help="array of each rank (float32)")
    parser.add_argument("--iterations", type=int, default=5)
    args = parser.parse_args()
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()

    pattern = torch.arange(args.size_bytes // 4) % 7  # small whole numbers: every sum is exact
    expected = (ranks * pattern + ranks * (ranks - 1) // 2).float()
    times_s, wrong = [], 0
    for iteration in range(args.iterations + 1):
        array = (pattern + rank).float()
        dist.barrier()
        began_s = time.monotonic()
        dist.all_reduce(array)
        took_s = torch.tensor([time.monotonic() - began_s], dtype=torch.float64)
        dist.all_reduce(took_s, op=dist.ReduceOp.MAX)
        wrong += int((array != expected).sum())
        if iteration:  # the first opens connections and congestion windows
            times_s.append(float(took_s))
    all_wrong = torch.tensor([wrong])
    dist.all_reduce(all_wrong)
    if rank == 0:
        time_s = statistics.median(times_s)
        algbw_mbps = args.size_bytes * 8 / time_s / 1e6
        said = {
            "program": "gloo all-reduce",
            "ranks": ranks,
            "size_bytes": args.size_bytes,
            "time_s": time_s,
            "algbw_mbps": algbw_mbps,
            "busbw_mbps": algbw_mbps * 2 * (ranks - 1) / ranks,
            "wrong": int(all_wrong),
        }
        print(json.dumps(said))
    dist.destroy_process_group()
    return 1 if int(all_wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
