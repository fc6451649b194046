"""Many small collectives, one after the other, over one real fabric: the first process of a capsule.

    capsule python collective_fabric.py PLAN.json SEED COUNT

Every rank is connected to every other; then each iteration is another collective of some of the ranks, drawn by a
seeded generator. Prints an event per collective, with what each rank's sockets received by their own counters.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from testbed.collectives.algorithms import ALGORITHMS
from testbed.collectives.collective import Collective
from testbed.model.pattern import Pattern, of_collective
from testbed.runs.experiment import Experiment
from testbed.runs.plan import Plan
from testbed.system import capsule
from testbed.workload.traffic import Job, flows_between

MAX_FLOATS = 6000
TIMEOUT_S = 60.0


def drawn(rng: Random, ranks: int) -> tuple[Pattern, int, int]:
    """Return a random collective of random ranks, its size and its slices, in bytes."""
    names = [(operation, name) for operation, found in ALGORITHMS.items() for name in found]
    operation, name = rng.choice(names)
    algorithm = ALGORITHMS[operation][name]
    if rng.random() < 0.3:  # several process groups at once
        n = rng.choice(
            [size for size in range(2, ranks) if ranks % size == 0 and _serves(algorithm.powers_of_two, size)]
        )
        everybody = rng.sample(range(ranks), ranks)
        jobs = [everybody[first : first + n] for first in range(0, ranks, n)]
    else:
        n = rng.choice([size for size in range(2, ranks + 1) if _serves(algorithm.powers_of_two, size)])
        jobs = [rng.sample(range(ranks), n)]
    group = rng.choice([size for size in range(1, n + 1) if n % size == 0]) if algorithm.grouped else None
    root = rng.randrange(n) if operation == "broadcast" else None
    floats = rng.choice([1, n, rng.randint(1, 50), rng.randint(1, MAX_FLOATS)])
    return of_collective(Collective(operation, name, group, root), *jobs), 4 * floats, 4 * rng.randint(20, 3000)


def _serves(powers_of_two: bool, ranks: int) -> bool:
    return not powers_of_two or ranks & (ranks - 1) == 0


class Many(Experiment):
    """A run whose iterations are all different."""

    def __init__(self, plan: Plan, seed: int, count: int) -> None:
        super().__init__(plan, lambda event: print(json.dumps(event), flush=True))
        self._rng, self._count = Random(seed), count

    def _warm_up(self, job: Job) -> None:
        pass

    def _measure(self, job: Job, *_others: Any) -> None:
        before = job.tcp_info()
        for iteration in range(self._count):
            pattern, size_bytes, slice_bytes = drawn(self._rng, self.plan.scenario.ranks)
            result = job.run_iteration(iteration, size_bytes, slice_bytes, TIMEOUT_S, pattern=pattern)
            after = job.tcp_info()
            received: Counter[str] = Counter()
            for row in flows_between(before, after):
                received[row.dst_host] += row.bytes_received or 0
            before = after
            expected: Counter[str] = Counter()
            for (_src, dst), size in zip(pattern.pairs, pattern.pair_bytes(size_bytes), strict=True):
                expected[self.plan.rank_hosts[dst].name] += size
            assert pattern.collective is not None
            self.emit(
                "collective",
                name=pattern.collective.name,
                jobs=pattern.jobs,
                size_bytes=size_bytes,
                wrong_elements=result.row.wrong_elements,
                received={host: size for host, size in received.items() if size},
                expected={host: size for host, size in expected.items() if size},
            )


if __name__ == "__main__":
    capsule.enter()
    plan_path, seed_text, count_text = sys.argv[1:]
    Many(Plan.read(Path(plan_path)), int(seed_text), int(count_text)).execute()
