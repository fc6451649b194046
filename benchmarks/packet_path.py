"""What one packet costs in the pure data plane: ``python benchmarks/packet_path.py [--compiled] [--record]``.

Two GSPs in virtual time send to each other: every host frame becomes a data frame at one, is put in order at the
other, is asked and granted for. Prints processor time per host frame, over both GSPs, without any socket: the least of
several rounds. It says nothing about a whole run. Machines, and hours on one machine, differ by half; ``ratio`` is to a
fixed piece of work (``yardstick_us``) done between the rounds, and differs by less. ``--record`` appends a line to
``packet_path.csv``, the history.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import platform
import pstats
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from testbed.agent.compiled import KINDS, use  # noqa: E402
from testbed.agent.compiling import ensure_compiled  # noqa: E402

CORE = KINDS[0]
if "--compiled" in sys.argv[1:]:  # before any of it is imported
    ensure_compiled(lambda text: print(text, file=sys.stderr))
    CORE = use()

from testbed.gse.dataplane import wire  # noqa: E402
from testbed.gse.dataplane.edge import Edge  # noqa: E402
from testbed.gse.dataplane.place import Place, Where  # noqa: E402
from testbed.gse.dataplane.profile import Profile  # noqa: E402

RATE_BYTES_PER_S = 1.25e6  # 10 Mbit/s
HOSTS = 4
SIZE_BYTES = (9014, 66, 66)  # a full frame at MTU 9000 and acknowledgements the other way
LATENCY_S = 0.03
ROUNDS = 5
HISTORY = Path(__file__).with_suffix(".csv")


class Pair:
    """Two GSPs with ``HOSTS`` hosts each; frames between them take ``LATENCY_S``."""

    def __init__(self) -> None:
        self._macs = {(leaf, port): bytes((2, 0, 0, 0, leaf, port)) for leaf in (1, 2) for port in range(1, HOSTS + 1)}
        where = {mac: Where(wire.address(leaf), port) for (leaf, port), mac in self._macs.items()}
        self.edges = {
            wire.address(leaf): Edge(
                Profile(),
                Place(
                    gsp=wire.address(leaf),
                    ports=dict.fromkeys(range(1, HOSTS + 1), RATE_BYTES_PER_S),
                    paths=4,
                    uplink_bytes_per_s=RATE_BYTES_PER_S,
                    hosts=where,
                    peers=[wire.address(3 - leaf)],
                    watches_paths=False,
                ),
                epoch=1,
                rng=Random(leaf),
                now_s=0.0,
            )
            for leaf in (1, 2)
        }
        self._on_the_way: list[tuple[float, int, bytes]] = []
        self.delivered = 0

    def run(self, frames: int) -> None:
        """Let every host of leaf 1 send full frames at its link's rate, and be acknowledged."""
        step_s = SIZE_BYTES[0] / RATE_BYTES_PER_S / HOSTS
        one, two = self.edges
        body = bytes(SIZE_BYTES[0] - 14)
        for number in range(frames):
            now_s, port = number * step_s, number % HOSTS + 1
            forth = self._macs[2, port] + self._macs[1, port] + b"\x08\x00" + body
            self.edges[one].from_host(port, forth, now_s)
            self._advance(one, now_s)
            if number % 5 < 2:  # two acknowledgements for five frames, as measured
                back = self._macs[1, port] + self._macs[2, port] + b"\x08\x00" + body[: SIZE_BYTES[1] - 14]
                self.edges[two].from_host(port, back, now_s)
            self._advance(two, now_s)
            while self._on_the_way and self._on_the_way[0][0] <= now_s:
                _at_s, gsp, frame = self._on_the_way.pop(0)
                self.edges[gsp].from_fabric(frame, now_s)
                self._advance(gsp, now_s)

    def _advance(self, gsp: int, now_s: float) -> None:
        edge = self.edges[gsp]
        edge.advance(now_s)
        edge.due_s()
        outlet = edge.outlet
        for head, inner in outlet.to_fabric:
            self._on_the_way.append((now_s + LATENCY_S, wire.address(frame_leaf(head)), head + inner))
        outlet.to_fabric.clear()
        self.delivered += len(outlet.to_hosts)
        outlet.to_hosts.clear()


def frame_leaf(frame: bytes) -> int:
    """Return the leaf a frame is for, from its outer address."""
    return frame[4]


def yardstick_us() -> float:
    """Return the processor time of a fixed piece of work like the data plane's: small integers, dicts and bytes."""
    begin_s = time.process_time()
    table: dict[int, bytes] = {}
    for number in range(20_000):
        table[number & 0xFF] = table.get(number * 7 & 0xFF, b"")[:12] + number.to_bytes(4, "big")
    return (time.process_time() - begin_s) * 1e6 / 20_000


def measure(frames: int) -> dict[str, Any]:
    """Return what a frame costs in the quickest of ROUNDS rounds, and how often it is asked and granted for."""
    costs, sticks = [], []
    for _ in range(ROUNDS):
        sticks.append(yardstick_us())
        pair = Pair()
        begin_s = time.process_time()
        pair.run(frames // ROUNDS)
        cpu_s = time.process_time() - begin_s
        totals = [edge.totals() for edge in pair.edges.values()]
        carried = sum(total.data_in for total in totals)
        costs.append(cpu_s / carried * 1e6)
    return {
        "python": platform.python_version(),
        "core": CORE,
        "us_per_frame": round(min(costs), 2),
        "yardstick_us": round(min(sticks), 4),
        "ratio": round(min(costs) / min(sticks), 1),
        "requests_per_frame": round(sum(total.requests for total in totals) / carried, 4),
        "grant_frames_per_frame": round(sum(total.grant_frames for total in totals) / carried, 4),
    }


def record(result: dict[str, Any]) -> None:
    """Append a result to the history, with when it was measured and of which commit."""
    command = ["git", "-C", str(HISTORY.parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    row = {"utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit, **result}
    new = not HISTORY.exists()
    with HISTORY.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=50_000, help="host frames to send (default: 50000)")
    parser.add_argument("--compiled", action="store_true", help="take the compiled core, as agents do")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, by function")
    parser.add_argument("--record", action="store_true", help=f"append the result to {HISTORY.name}")
    options = parser.parse_args(argv)
    if options.profile:
        profiler = cProfile.Profile()
        profiler.runcall(Pair().run, options.frames)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
        return 0
    result = measure(options.frames)
    if options.record:
        record(result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
