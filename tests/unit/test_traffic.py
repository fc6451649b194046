"""A whole job on loopback: every rank is a process with an address of its own."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loopback import loopback_flows, loopback_hosts

from testbed.collectives.collective import NAMES, Collective
from testbed.errors import WorkloadError
from testbed.evaluation.records import FlowRow
from testbed.model.pattern import of_collective, ring, seeded_pattern
from testbed.model.ranks import pair_flows
from testbed.model.scenario_input import parse_scenario
from testbed.system.supervisor import Supervisor
from testbed.workload.stall import Patience, StallWatch
from testbed.workload.traffic import Job, flows_between

MakeJob = Callable[..., Job]


def no_detour(_host: str, argv: Sequence[str]) -> Sequence[str]:
    return argv


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(time.monotonic()) as one:
        yield one


@pytest.fixture
def make_job(supervisor: Supervisor, tmp_path: Path) -> MakeJob:
    def make(ranks: int, flows: int = 1, **options: Any) -> Job:
        hosts = loopback_hosts(ranks)
        options.setdefault("spawn", no_detour)
        return Job(
            supervisor,
            hosts=hosts,
            pattern=ring(ranks),
            flows=loopback_flows(hosts, flows),
            t0_s=time.monotonic(),
            python=sys.executable,
            log_dir=tmp_path,
            **options,
        )

    return make


def direct_job(
    supervisor: Supervisor, tmp_path: Path, kind: str, *, ranks: int, flows: int = 1, **workload: Any
) -> Job:
    """Return a job of ``kind`` whose ranks are connected."""
    hosts = loopback_hosts(ranks)
    scenario = parse_scenario(
        {
            "name": "x",
            "fabric": {"leaves": 2, "hosts_per_leaf": ranks},
            "workload": {"kind": kind, "ranks": ranks, "flows_per_hop": flows, **workload},
        },
        source="test",
    )
    pattern = seeded_pattern(scenario, hosts, 1)
    job = Job(
        supervisor,
        no_detour,
        hosts=hosts,
        pattern=pattern,
        flows=pair_flows(hosts, pattern.pairs, flows_per_pair=flows, demand_bytes=0, rng=random.Random(1)),
        t0_s=time.monotonic(),
        python=sys.executable,
        log_dir=tmp_path,
    )
    job.start_ranks()
    job.connect()
    return job


def slow_iteration(job: Job, iteration: int = 1, timeout_s: float = 60.0) -> None:
    """Move 4 MiB in slices of 64 bytes: seconds of work for the interpreter."""
    job.run_iteration(iteration, 4 << 20, 64, timeout_s)


@pytest.mark.parametrize(("ranks", "flows"), [(2, 1), (4, 3)])
def test_a_job_runs_several_iterations_of_different_sizes(make_job: MakeJob, ranks: int, flows: int) -> None:
    job = make_job(ranks, flows)
    job.start_ranks()
    job.connect()
    before = job.tcp_info()
    ends = []
    for iteration, size_bytes, slice_bytes in ((0, 65536, 4096), (1, 400_004, 10_000), (2, 4 * ranks, 65536)):
        result = job.run_iteration(iteration, size_bytes, slice_bytes, 30, warmup=iteration == 0)
        row = result.row
        assert (row.iteration, row.warmup, row.size_bytes) == (iteration, iteration == 0, size_bytes)
        assert row.wrong_elements == 0
        assert row.completion_s == pytest.approx(row.end_s - row.start_s)
        assert [rank.rank for rank in result.ranks] == list(range(ranks))
        assert [rank.host for rank in result.ranks] == [f"h{i + 1}" for i in range(ranks)]
        assert len({rank.start_s for rank in result.ranks}) == 1, "one common start"
        assert max(rank.end_s for rank in result.ranks) == row.end_s
        ends += [row.start_s, row.end_s]
    assert ends == sorted(ends)
    moved = flows_between(before, job.tcp_info())
    for rank in range(ranks):
        hop = [row for row in moved if row.rank == rank]
        assert [row.flow for row in hop] == list(range(flows))
        expected = sum(ring(ranks).pair_bytes(size)[rank] for size in (65536, 400_004, 4 * ranks))
        assert sum(row.bytes_acked or 0 for row in hop) == expected
        assert sum(row.bytes_received or 0 for row in hop) == expected
    assert job.congestion_control == {Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()}
    pids = job.pids
    job.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_rank_killed_at_any_moment_is_named_with_its_host(
    make_job: MakeJob, supervisor: Supervisor, seed: int
) -> None:
    rng = random.Random(seed)
    job = make_job(4, 2)
    job.start_ranks()
    job.connect()
    victim = rng.randrange(4)
    supervisor.call_at(time.monotonic() + rng.uniform(0, 0.6), lambda: os.kill(job.pids[victim], signal.SIGKILL))
    with pytest.raises(WorkloadError, match=rf"^rank {victim} on h{victim + 1} \(pid \d+\) was killed by SIGKILL"):
        for iteration in range(20):
            slow_iteration(job, iteration)


def test_a_rank_that_hangs_is_named_with_its_state(make_job: MakeJob, supervisor: Supervisor) -> None:
    """By whichever notices first: who asks for answers, after a second here, or the supervisor, after 1 to 1.5 s."""
    job = make_job(3, patience=Patience(hang_s=1.0))
    job.start_ranks()
    job.connect()
    supervisor.call_at(time.monotonic() + 0.3, lambda: os.kill(job.pids[1], signal.SIGSTOP))
    with pytest.raises(WorkloadError) as caught:
        for iteration in range(20):
            slow_iteration(job, iteration)
    assert re.fullmatch(
        r"iteration \d+: no answer for 1 s from rank 1 on h2 \(pid \d+\), state: T \(stopped\)"
        r"|rank 1 on h2 \(pid \d+\) has been stopped \(by SIGSTOP or a debugger\) at t=[\d.]+ s",
        str(caught.value),
    )


def test_an_iteration_that_takes_too_long_is_given_up(make_job: MakeJob) -> None:
    job = make_job(2)
    job.start_ranks()
    job.connect()
    with pytest.raises(WorkloadError, match=r"in vain for iteration 1: 'moved' from rank [01] on h"):
        slow_iteration(job, timeout_s=0.1)


def test_progress_is_told_while_an_iteration_runs(make_job: MakeJob) -> None:
    fractions: list[float] = []
    job = make_job(2, patience=Patience(hang_s=2.0), on_progress=fractions.append)
    job.start_ranks()
    job.connect()
    for doubled in range(6):  # until one takes two seconds: ranks are asked each two thirds of one
        fractions.clear()
        if job.run_iteration(doubled, 12 << 20 << doubled, 64, 60).row.completion_s > 2:
            break
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert fractions[-1] > 0


def test_a_finished_iteration_is_no_longer_watched(make_job: MakeJob, supervisor: Supervisor) -> None:
    job = make_job(2, patience=Patience(hang_s=2.5, stall_s=2.5))  # a busy machine keeps a rank from a core for one
    job.start_ranks()
    job.connect()
    job.run_iteration(1, 65536, 4096, 30)
    over: list[bool] = []
    supervisor.call_at(time.monotonic() + 3.2, lambda: over.append(True))  # longer than a rank may be silent
    supervisor.run_until(lambda: bool(over), 5, "the time to pass")
    slow_iteration(job, 2)


def test_a_rank_that_does_not_start_is_named(make_job: MakeJob) -> None:
    job = make_job(2, spawn=lambda host, argv: ["false"] if host == "h2" else argv)
    with pytest.raises(WorkloadError, match=r"rank 1 on h2 .* exited with status 1"):
        job.start_ranks()


def test_a_port_in_use_is_named(make_job: MakeJob, supervisor: Supervisor, tmp_path: Path) -> None:
    first = make_job(2)
    first.start_ranks()
    second = Job(
        supervisor,
        no_detour,
        hosts=first._hosts,
        pattern=first._pattern,
        flows=first._flows,
        t0_s=0.0,
        python=sys.executable,
        log_dir=tmp_path,
    )
    with pytest.raises(WorkloadError, match=r"rank \d on h\d .*cannot bind 127\.\d+\.\d+\.\d+:2000\d: .*in use"):
        second.start_ranks()


# -- other patterns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flows", [1, 3])
def test_every_rank_sends_to_every_other_and_all_of_it_is_right(
    supervisor: Supervisor, tmp_path: Path, flows: int
) -> None:
    job = direct_job(supervisor, tmp_path, "all_to_all", ranks=4, flows=flows)
    result = job.run_iteration(1, 40_004, 1024, 30)  # 10,001 floats: uneven chunks
    assert result.row.wrong_elements == 0
    assert [(row.src_rank, row.dst_rank) for row in result.transfers] == list(job._pattern.pairs)
    sizes = {(row.dst_rank, row.size_bytes) for row in result.transfers}
    assert sizes == {(0, 10_000), (1, 10_000), (2, 10_000), (3, 10_004)}
    assert all(result.row.start_s < row.end_s <= result.row.end_s for row in result.transfers)
    again = job.run_iteration(2, 4096, 512, 30)
    assert again.row.wrong_elements == 0
    flow_rows = job.tcp_info()
    assert len(flow_rows) == 12 * flows
    assert all(row.src_host != row.dst_host for row in flow_rows)
    job.stop()


def test_an_incast_is_received_by_the_first_rank_only(supervisor: Supervisor, tmp_path: Path) -> None:
    job = direct_job(supervisor, tmp_path, "incast", ranks=4)
    result = job.run_iteration(1, 65_536, 4096, 30)
    assert result.row.wrong_elements == 0
    assert {(row.src_rank, row.dst_rank, row.size_bytes) for row in result.transfers} == {
        (rank, 0, 65_536) for rank in (1, 2, 3)
    }
    assert [row.max_gap_s is None for row in result.ranks] == [False, True, True, True]
    assert max(row.end_s for row in result.transfers) == pytest.approx(result.row.end_s, abs=0.05)
    job.stop()


def test_two_jobs_of_a_ring_add_their_own_arrays_only(supervisor: Supervisor, tmp_path: Path) -> None:
    job = direct_job(supervisor, tmp_path, "allreduce_ring", ranks=6, jobs=2, placement="leaf_local")
    assert job.run_iteration(1, 65_536, 4096, 30).row.wrong_elements == 0
    job.stop()


@pytest.mark.parametrize("name", [name for name in NAMES if "/" in name])
def test_every_collective_is_right_between_processes(supervisor: Supervisor, tmp_path: Path, name: str) -> None:
    group = {"group_ranks": 2} if name.endswith("hierarchical") else {}
    job = direct_job(supervisor, tmp_path, "collective", ranks=4, flows=2, collective=name, **group)
    before = job.tcp_info()
    result = job.run_iteration(1, 40_004, 1024, 30)
    assert result.row.wrong_elements == 0
    moved = flows_between(before, job.tcp_info())
    received: Counter[tuple[int, str]] = Counter()
    for row in moved:
        received[row.rank, row.dst_host] += row.bytes_received or 0
    sizes = zip(job._pattern.pairs, job._pattern.pair_bytes(40_004), strict=True)
    assert received == {(src, f"h{dst + 1}"): size for (src, dst), size in sizes}
    independent = name.startswith(("all_to_all", "sendrecv"))
    assert bool(result.transfers) == independent
    job.stop()


def test_connected_ranks_may_do_something_else_in_every_iteration(supervisor: Supervisor, tmp_path: Path) -> None:
    job = direct_job(supervisor, tmp_path, "all_to_all", ranks=4)
    tree = of_collective(Collective("broadcast", "tree", root=1), (3, 0, 2))  # rank 1 has no part in it
    for iteration, pattern in enumerate(
        (None, tree, of_collective(Collective("allreduce", "ring"), (0, 3), (2, 1)), None)
    ):
        before = job.tcp_info()
        result = job.run_iteration(iteration, 40_000, 1024, 30, pattern=pattern)
        assert result.row.wrong_elements == 0
        moved = {(row.rank, row.dst_host): row.bytes_received for row in flows_between(before, job.tcp_info())}
        shown = pattern or job._pattern
        expected = dict(zip(shown.pairs, shown.pair_bytes(40_000), strict=True))
        assert {key: size for key, size in moved.items() if size} == {
            (src, f"h{dst + 1}"): size for (src, dst), size in expected.items()
        }
    job.stop()


def test_a_permutation_reaches_every_partner(supervisor: Supervisor, tmp_path: Path) -> None:
    job = direct_job(supervisor, tmp_path, "permutation", ranks=4, partners="any")
    result = job.run_iteration(1, 65_536, 4096, 30)
    assert result.row.wrong_elements == 0
    assert [row.size_bytes for row in result.transfers] == [65_536] * 4
    assert {row.src_rank for row in result.transfers} == {row.dst_rank for row in result.transfers} == {0, 1, 2, 3}
    job.stop()


# -- judging silence ------------------------------------------------------------------------------------------


def state(rank: int, *, heard_s: float, received: int | None = None, silent_s: float = 0.0, moved: bool = False) -> Any:
    last: dict[str, Any] = {}
    if received is not None:
        last["progress"] = {
            "received_bytes": received,
            "expected_bytes": 100,
            "silent_s": silent_s,
            "awaited": [(rank - 1) % 3],
        }
    if moved:
        last["moved"] = {}

    return SimpleNamespace(
        rank=rank,
        heard_s=heard_s,
        last=last,
        child=f"rank {rank}",
        said=lambda event, _iteration: event in last,
    )


PATIENCE = Patience(hang_s=5.0, stall_s=20.0)


def test_the_fraction_counts_ranks_that_are_done_as_whole() -> None:
    ranks = [state(0, heard_s=9, moved=True), state(1, heard_s=9, received=50), state(2, heard_s=9)]
    assert StallWatch(1, ranks, PATIENCE, 0.0).check(10.0) == pytest.approx((1 + 0.5 + 0) / 3)


def test_bytes_that_come_slowly_are_no_stall() -> None:
    ranks = [state(0, heard_s=0, received=0), state(1, heard_s=0, received=0)]
    watch = StallWatch(1, ranks, PATIENCE, 0.0)
    for now_s in range(1, 100):
        for rank in ranks:
            rank.heard_s = now_s
        if now_s % 19 == 0:
            ranks[0].last["progress"]["received_bytes"] += 1
        watch.check(float(now_s))


def test_a_rank_is_not_blamed_for_a_machine_that_stood_still() -> None:
    ranks = [state(0, heard_s=1, received=1), state(1, heard_s=1, received=1)]
    watch = StallWatch(1, ranks, PATIENCE, 0.0)
    watch.check(1.0)
    watch.check(9.0)  # nobody could ask for eight seconds, nobody has had the time to answer
    watch.check(13.0)
    for rank in ranks:
        rank.child = SimpleNamespace(pid=0)
    with pytest.raises(WorkloadError, match="no answer for 5 s from"):
        watch.check(14.5)


def test_a_standstill_names_who_waits_longest_for_whom() -> None:
    ranks = [
        state(0, heard_s=20, received=10, silent_s=20.1),
        state(1, heard_s=20, received=10, silent_s=20.3),
        state(2, heard_s=20, received=10, silent_s=20.2),
    ]
    watch = StallWatch(7, ranks, PATIENCE, 0.0)
    watch.check(0.5)
    with pytest.raises(WorkloadError) as caught:
        watch.check(21.0)
    assert str(caught.value).startswith(
        "iteration 7: nothing has arrived anywhere for 20 s: rank 1 has heard nothing from rank 0 for 20.3 s "
        "(10 of 100 bytes received); rank 2 has heard"
    )


def test_a_receiver_of_many_names_some_of_those_it_waits_for() -> None:
    ranks = [state(rank, heard_s=20, received=0, silent_s=20.5) for rank in range(6)]
    ranks[0].last["progress"]["awaited"] = [1, 2, 3, 4, 5]
    for rank in ranks[1:]:  # they only send
        rank.last["progress"] |= {"awaited": [], "expected_bytes": 0}
    watch = StallWatch(1, ranks, PATIENCE, 0.0)
    assert watch.check(0.5) == pytest.approx(5 / 6)
    with pytest.raises(WorkloadError) as caught:
        watch.check(21.0)
    assert str(caught.value).endswith(
        "rank 0 has heard nothing from rank 1, rank 2, rank 3 and 2 more for 20.5 s (0 of 100 bytes received)"
    )


# -- counters -------------------------------------------------------------------------------------------------

ROW = FlowRow(
    rank=0, flow=0, src_host="h1", dst_host="h2", src_ip="10.0.1.1", dst_ip="10.0.2.1", src_port=40000,
    dst_port=20001, path=None, retransmitted_segments=2, out_of_order_packets=None, bytes_acked=100, bytes_received=90,
    busy_us=10, rwnd_limited_us=1, sndbuf_limited_us=0,
)  # fmt: skip


def test_counters_are_counted_from_the_first_reading() -> None:
    last = replace(ROW, busy_us=510, rwnd_limited_us=200, sndbuf_limited_us=None)
    last = replace(last, retransmitted_segments=5, out_of_order_packets=3, bytes_acked=1100, bytes_received=1090)
    (row,) = flows_between([ROW], [last])
    assert (row.busy_us, row.rwnd_limited_us, row.sndbuf_limited_us) == (500, 199, None)
    assert (row.retransmitted_segments, row.bytes_acked, row.bytes_received) == (3, 1000, 1000)
    assert row.out_of_order_packets is None, "unknown at first means unknown"


def test_readings_of_different_flows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="rank 0 flow 0 to h2 is not rank 0 flow 1 to h2"):
        flows_between([ROW], [replace(ROW, flow=1)])
