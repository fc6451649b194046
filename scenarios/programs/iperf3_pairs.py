"""iperf3 from every other rank to rank 0, all at once; each sender says in one line of JSON what arrived.

    sudo ./gse exec incast --ranks 4 -- python3 scenarios/programs/iperf3_pairs.py --seconds 5

Needs iperf3, nothing of the testbed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

FIRST_PORT = 5300
CONNECT_TIMEOUT_S = 20.0
TRY_AGAIN_S = 0.2  # nothing tells a client that a server has begun to listen


def main() -> int:
    """Return what iperf3 returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    args = parser.parse_args()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank == 0:
        ports = (FIRST_PORT + sender for sender in range(1, ranks))
        servers = [subprocess.Popen(["iperf3", "-s", "-1", "-p", str(port)]) for port in ports]  # one test each
        return max(abs(server.wait()) for server in servers)  # of one that was killed it is negative
    return send(FIRST_PORT + rank, args.seconds)


def send(port: int, seconds: int) -> int:
    """Send to rank 0, as soon as it listens, and print what it has received."""
    argv = ["iperf3", "-c", os.environ["MASTER_ADDR"], "-p", str(port), "-t", str(seconds), "-J"]
    deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        report = json.loads(done.stdout)
        if "unable to connect" not in report.get("error", "") or time.monotonic() > deadline_s:
            break
        time.sleep(TRY_AGAIN_S)
    if error := report.get("error"):
        print(error, file=sys.stderr)
        return done.returncode or 1
    received = report["end"]["sum_received"]
    said = {
        "program": "iperf3",
        "received_bytes": received["bytes"],
        "received_mbps": received["bits_per_second"] / 1e6,
        "retransmits": report["end"]["sum_sent"]["retransmits"],
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
