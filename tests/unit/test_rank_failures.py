"""A rank that dies, hangs or falls behind is told with its rank and host within five seconds, whatever ranks do."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from loopback import loopback_hosts

from testbed.collectives.collective import Collective
from testbed.errors import WorkloadError
from testbed.model.pattern import Pattern, of_collective, ring
from testbed.model.ranks import pair_flows
from testbed.system.process import Process
from testbed.system.supervisor import Supervisor
from testbed.workload.traffic import Job

RANKS, VICTIM = 4, 2
WITHIN_S = 5.0
PATTERNS = {
    "ring": ring(RANKS),
    "halving_doubling": of_collective(Collective("allreduce", "halving_doubling"), range(RANKS)),
    "broadcast": of_collective(Collective("broadcast", "tree", None, 0), range(RANKS)),
    "all_to_all": of_collective(Collective("all_to_all", "direct"), range(RANKS)),
}
NAMED = rf"rank {VICTIM} on h{VICTIM + 1} \(pid \d+\)"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(time.monotonic()) as one:
        yield one


def connected(supervisor: Supervisor, tmp_path: Path, pattern: Pattern) -> Job:
    hosts = loopback_hosts(RANKS)
    job = Job(
        supervisor,
        lambda _host, argv: argv,
        hosts=hosts,
        pattern=pattern,
        flows=pair_flows(hosts, pattern.pairs, flows_per_pair=1, demand_bytes=0, rng=random.Random(1)),
        t0_s=time.monotonic(),
        python=sys.executable,
        log_dir=tmp_path,
    )
    job.start_ranks()
    job.connect()
    return job


def iterate(job: Job, until: Callable[[], bool] = lambda: False) -> None:
    """Move 2 MiB in small slices, again and again."""
    for iteration in range(1000):
        job.run_iteration(iteration, 2 << 20, 256, 60.0)
        if until():
            return


def after(supervisor: Supervisor, delay_s: float, numbers: Sequence[tuple[int, signal.Signals]]) -> list[float]:
    """Send signals to processes after ``delay_s``; return, once it has happened, when."""
    when: list[float] = []

    def strike() -> None:
        when.append(time.monotonic())
        for pid, number in numbers:
            os.kill(pid, number)

    supervisor.call_at(time.monotonic() + delay_s, strike)
    return when


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "has been stopped")],
    ids=["killed", "stopped"],
)
def test_one_that_dies_or_is_stopped_ends_the_job_and_is_named(
    supervisor: Supervisor, tmp_path: Path, name: str, number: signal.Signals, how: str
) -> None:
    job = connected(supervisor, tmp_path, PATTERNS[name])
    when = after(supervisor, 0.2, [(job.pids[VICTIM], number)])
    with pytest.raises(WorkloadError) as caught:
        iterate(job)
    assert time.monotonic() - when[0] < WITHIN_S
    assert re.match(rf"{NAMED} {how}", str(caught.value)), caught.value


def test_one_that_is_stopped_again_and_again_is_named_and_the_job_goes_on(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    job = connected(supervisor, tmp_path, PATTERNS["halving_doubling"])
    told: list[tuple[str, float]] = []

    def hear(process: Process, _t_s: float) -> None:
        told.append((str(process), time.monotonic()))

    supervisor.on_behind = hear
    began_s = time.monotonic()

    def turn(number: signal.Signals) -> None:
        os.kill(job.pids[VICTIM], number)
        other = signal.SIGCONT if number == signal.SIGSTOP else signal.SIGSTOP
        if other == signal.SIGCONT or not told:
            supervisor.call_at(time.monotonic() + 0.12, lambda: turn(other))

    turn(signal.SIGSTOP)
    iterate(job, until=lambda: bool(told) and time.monotonic() - told[0][1] > 0.5)
    (name, told_s), *others = told
    assert re.fullmatch(NAMED, name)
    assert others == []
    assert told_s - began_s < WITHIN_S
    job.stop()
