"""The ranks of a workload: one ``testbed.workload.endpoint`` each, driven through common iterations.

Names the rank and host that died, hangs or hears nothing. Does not decide where ranks run, which ports they
use, or what a result means.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from testbed.evaluation.records import ComputingRow, FlowRow, IterationRow, OperationRow, RankRow, Row, TransferRow
from testbed.model.pattern import Pair, Pattern
from testbed.model.ranks import FIRST_RANK_PORT, Flow
from testbed.model.topology import Host
from testbed.system.process import Child, Event
from testbed.system.supervisor import Supervisor
from testbed.workload.forking import Nursery
from testbed.workload.operations import operation_rows
from testbed.workload.stall import Patience, RankState, StallWatch

Spawn = Callable[[str, Sequence[str]], Sequence[str]]

START_MARGIN_S = 0.05  # from the last rank's "prepared" to the common start, plus
START_MARGIN_PER_RANK_S = 0.002  # the time it takes to tell each rank
SET_UP_TIMEOUT_S = 60.0  # the interpreters of all ranks start on a few cores
ANSWER_TIMEOUT_S = 60.0  # for what needs no network: preparing and checking arrays
PROGRESS_INTERVAL_S = 2.0

# numpy's linear algebra starts threads when it is imported, which nothing here needs
ENDPOINT_ENV = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ENDPOINT = "testbed.workload.endpoint"
PROJECT_DIR = Path(__file__).resolve().parents[2]
COUNTERS = (
    "retransmitted_segments",
    "out_of_order_packets",
    "bytes_acked",
    "bytes_received",
    "busy_us",
    "rwnd_limited_us",
    "sndbuf_limited_us",
    "timeouts",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationResult:
    """One iteration and what each rank saw of it."""

    row: IterationRow
    ranks: tuple[RankRow, ...]
    transfers: tuple[TransferRow, ...]
    operations: tuple[OperationRow, ...] = ()
    computing: tuple[ComputingRow, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return all its rows."""
        return (self.row, *self.ranks, *self.transfers, *self.operations, *self.computing)


class Job:
    """One rank per host of ``hosts``; pair p of ``pattern`` uses ``flows[p]`` (see ``testbed.model.ranks``).

    ``spawn(host name, argv)`` returns the command line that runs argv inside that host. With ``pid_of``, which says
    what process has a host's network namespace, ranks are forked instead, which is quicker; this process has to adopt
    orphans then, as the first one of a PID namespace does. ``wake_bytes`` sets the resolution of ``max_gap_s`` (None: a
    slice). ``on_progress`` hears the fraction of an iteration's bytes that has arrived, every PROGRESS_INTERVAL_S.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        spawn: Spawn,
        *,
        hosts: Sequence[Host],
        pattern: Pattern,
        flows: Sequence[Sequence[Flow]],
        t0_s: float,
        python: str,
        log_dir: Path,
        pid_of: Callable[[str], int] | None = None,
        wake_bytes: int | None = None,
        patience: Patience | None = None,
        on_progress: Callable[[float], None] = lambda _fraction: None,
    ) -> None:
        self._supervisor = supervisor
        self._spawn = spawn
        self._hosts = tuple(hosts)
        self._pattern = pattern
        self._flows = tuple(tuple(pair) for pair in flows)
        self._t0_s = t0_s
        self._python = python
        self._log_dir = log_dir
        self._pid_of = pid_of
        self._wake_bytes = wake_bytes
        self._patience = patience or Patience()
        self._on_progress = on_progress
        self._ranks: list[RankState] = []
        self.congestion_control: frozenset[str] = frozenset()  # read back from every sending socket

    @property
    def pids(self) -> dict[int, int]:
        """Process id of each rank."""
        return {rank.rank: rank.child.pid for rank in self._ranks}

    # -- life -------------------------------------------------------------------------------------------------

    def start_ranks(self) -> None:
        """Start all ranks and wait until each listens. Raises WorkloadError naming the one that does not."""
        with nullcontext() if self._pid_of is None else self._nursery(self._pid_of) as nursery:
            for rank, host in enumerate(self._hosts):
                self._start_rank(rank, host, nursery)
        self._await("listening", SET_UP_TIMEOUT_S)

    def connect(self) -> None:
        """Let every rank connect to its peers over all its flows, and wait until all have."""
        self._ask("connect", "connected", SET_UP_TIMEOUT_S)
        self.congestion_control = frozenset(
            name for rank in self._ranks for name in rank.last["connected"]["congestion_control"]
        )

    def run_iteration(
        self,
        iteration: int,
        size_bytes: int,
        slice_bytes: int | None,
        timeout_s: float,
        *,
        warmup: bool = False,
        pattern: Pattern | None = None,
        while_moving: AbstractContextManager[object] | None = None,
    ) -> IterationResult:
        """Run one iteration from a common start and check what arrived.

        ``timeout_s`` counts from the start. ``slice_bytes`` None: as suits each operation of a training iteration.
        ``pattern``: what some or all ranks do together over connections there are, in place of what these were made
        for. ``while_moving`` is entered when everybody is ready, just before the start, and left when all data has
        been moved, before ranks check what they have.

        Raises WorkloadError when a rank fails or hangs, when nothing arrives anywhere for ``patience.stall_s``, or when
        the time is over.
        """
        pattern = pattern or self._pattern
        sizes = {"size_bytes": size_bytes, "slice_bytes": slice_bytes}
        work = {rank.rank: {**sizes, **_work(pattern, rank.rank, size_bytes, slice_bytes)} for rank in self._ranks}
        self._ask("prepare", "prepared", ANSWER_TIMEOUT_S, iteration, of_rank=work)
        with while_moving or nullcontext():
            at_s = time.monotonic() + START_MARGIN_S + START_MARGIN_PER_RANK_S * len(self._ranks)
            watch = StallWatch(iteration, self._ranks, self._patience, at_s)
            self._check_progress_after(at_s, iteration, watch)
            try:
                self._ask("start", "moved", at_s - time.monotonic() + timeout_s, iteration, at_s=at_s)
            finally:
                self._progress_timer.cancel()
        # a command of its own: ranks that are done must not compute while others still move data
        self._ask("verify", "done", ANSWER_TIMEOUT_S, iteration)
        return self._result(iteration, size_bytes, warmup, pattern)

    def pace(self, rates_bytes_per_s: Sequence[Sequence[float | None]]) -> None:
        """Hold the flows of each pair to these rates of payload (None: no limit), at once, also while data moves."""
        for rank in self._ranks:
            rates = [
                (self._pattern.pairs[pair][1], flow, rate)
                for pair in self._pattern.sent_by(rank.rank)
                for flow, rate in enumerate(rates_bytes_per_s[pair])
            ]
            if rates:
                rank.child.send({"command": "pace", "rates": rates})

    def tcp_info(self) -> tuple[FlowRow, ...]:
        """Return every flow's counters since it was connected (see ``flows_between``); ``path`` is not known here."""
        self._ask("tcp_info", "tcp_info", ANSWER_TIMEOUT_S)
        sent, received = self._counters("sent"), self._counters("received")
        return tuple(
            self._flow_row(pair, index, flow, sent[pair, index], received[pair, index])
            for pair, flows in zip(self._pattern.pairs, self._flows, strict=True)
            for index, flow in enumerate(flows)
        )

    def _counters(self, end: str) -> dict[tuple[Pair, int], Event]:
        """Return (pair, flow) -> what the sending or the receiving end of a connection counted."""
        found = {}
        for rank in self._ranks:
            for peer, flow, counters in rank.last["tcp_info"][end]:
                pair = (rank.rank, peer) if end == "sent" else (peer, rank.rank)
                found[pair, flow] = counters
        return found

    def stop(self) -> None:
        """Let every rank leave, and wait until all have."""
        for rank in self._ranks:
            rank.child.may_exit = True
            rank.child.send({"command": "exit"})
        children = [rank.child for rank in self._ranks]
        self._supervisor.run_until(
            lambda: not any(child.alive for child in children),
            ANSWER_TIMEOUT_S,
            "the end",
            lambda: [child for child in children if child.alive],
        )

    # -- conversation -----------------------------------------------------------------------------------------

    @property
    def _env(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(PROJECT_DIR), os.environ.get("PYTHONPATH"))))
        return {**os.environ, **ENDPOINT_ENV, "PYTHONPATH": path}

    def _nursery(self, pid_of: Callable[[str], int]) -> Nursery:
        return Nursery(
            self._supervisor,
            pid_of,
            python=self._python,
            env=self._env,
            log_path=self._log_dir / "ranks.log",
        )

    def _start_rank(self, rank: int, host: Host, nursery: Nursery | None) -> None:
        name, log_path = f"rank {rank}", self._log_dir / f"rank-{rank}.log"

        def hear(event: Event) -> None:
            self._hear(rank, event)

        if nursery is not None:
            child = nursery.start(name=name, host=host.name, log_path=log_path, on_event=hear)
        else:
            child = self._supervisor.start(
                "rank",
                self._spawn(host.name, [self._python, "-m", ENDPOINT]),
                name=name,
                host=host.name,
                env=self._env,
                log_path=log_path,
                on_event=hear,
            )
        self._ranks.append(RankState(rank, host, child))
        child.send(
            {
                "rank": rank,
                "host": host.name,
                "bind_ip": host.ip,
                "listen_port": FIRST_RANK_PORT + rank,
                "receivers": [self._receiver(index) for index in self._pattern.sent_by(rank)],
                "senders": [self._sender(index) for index in self._pattern.received_by(rank)],
                "t0_s": self._t0_s,
                "wake_bytes": self._wake_bytes,
            }
        )

    def _receiver(self, pair: int) -> dict[str, Any]:
        flows, (_src, dst) = self._flows[pair], self._pattern.pairs[pair]
        ports = [flow.src_port for flow in flows]
        return {"rank": dst, "ip": flows[0].dst_ip, "port": flows[0].dst_port, "source_ports": ports}

    def _sender(self, pair: int) -> dict[str, Any]:
        return {"rank": self._pattern.pairs[pair][0], "flows": len(self._flows[pair])}

    def _hear(self, rank: int, event: Event) -> None:
        self._ranks[rank].last[event["event"]] = event
        self._ranks[rank].heard_s = time.monotonic()

    def _ask(
        self,
        command: str,
        answer: str,
        timeout_s: float,
        iteration: int | None = None,
        *,
        of_rank: Mapping[int, Mapping[str, Any]] | None = None,
        **fields: Any,
    ) -> None:
        """Give all ranks a command, to each with its own fields ``of_rank``, and wait until each has answered."""
        about = {} if iteration is None else {"iteration": iteration}
        for rank in self._ranks:
            rank.last.pop(answer, None)
            own = {} if of_rank is None else of_rank[rank.rank]
            rank.child.send({"command": command, **about, **fields, **own})
        self._await(answer, timeout_s, iteration)

    def _await(self, answer: str, timeout_s: float, iteration: int | None = None) -> None:
        def missing() -> Iterable[Child]:
            return [rank.child for rank in self._ranks if not rank.said(answer, iteration)]

        of = "" if iteration is None else f"iteration {iteration}: "
        self._supervisor.run_until(lambda: not missing(), timeout_s, f"{of}{answer!r}", missing)

    def _check_progress_after(self, now_s: float, iteration: int, watch: StallWatch) -> None:
        def check() -> None:
            self._on_progress(watch.check(time.monotonic()))
            for rank in self._ranks:
                if not rank.said("moved", iteration):
                    rank.child.send({"command": "progress"})
            self._check_progress_after(time.monotonic(), iteration, watch)

        interval_s = min(PROGRESS_INTERVAL_S, self._patience.hang_s / 3, self._patience.stall_s / 3)
        self._progress_timer = self._supervisor.call_at(now_s + interval_s, check)

    # -- results ----------------------------------------------------------------------------------------------

    def _result(self, iteration: int, size_bytes: int, warmup: bool, pattern: Pattern) -> IterationResult:
        done = [rank.last["done"] for rank in self._ranks]
        start_s, end_s = min(event["start_s"] for event in done), max(event["end_s"] for event in done)
        ranks = tuple(
            RankRow(
                iteration=iteration,
                warmup=warmup,
                rank=rank.rank,
                host=rank.host.name,
                start_s=event["start_s"],
                end_s=event["end_s"],
                wrong_elements=event["wrong_elements"],
                max_gap_s=event["max_gap_s"],
                max_gap_at_s=event["max_gap_at_s"],
                start_lateness_s=event["start_lateness_s"],
            )
            for rank, event in zip(self._ranks, done, strict=True)
        )
        row = IterationRow(
            iteration=iteration,
            warmup=warmup,
            size_bytes=size_bytes,
            start_s=start_s,
            end_s=end_s,
            completion_s=end_s - start_s,
            wrong_elements=sum(event["wrong_elements"] for event in done),
        )
        operations: tuple[OperationRow, ...] = ()
        computing: tuple[ComputingRow, ...] = ()
        if pattern.training is not None:
            computing = tuple(
                ComputingRow(
                    iteration=iteration, warmup=warmup, rank=rank.rank, host=rank.host.name, **event["computing"]
                )
                for rank, event in zip(self._ranks, done, strict=True)
            )
            moments = [event["operations"] for event in done]
            operations = operation_rows(pattern.training, size_bytes, moments, iteration=iteration, warmup=warmup)
        return IterationResult(
            row=row, ranks=ranks, transfers=self._transfers(row, pattern), operations=operations, computing=computing
        )

    def _transfers(self, iteration: IterationRow, pattern: Pattern) -> tuple[TransferRow, ...]:
        """Return when each pair was done; nothing where pairs wait for each other."""
        if not pattern.independent:
            return ()
        arrived_s = {(peer, rank.rank): end_s for rank in self._ranks for peer, end_s in rank.last["done"]["arrived_s"]}
        sizes = pattern.pair_bytes(iteration.size_bytes)
        return tuple(
            TransferRow(
                iteration=iteration.iteration,
                warmup=iteration.warmup,
                src_rank=src,
                dst_rank=dst,
                src_host=self._hosts[src].name,
                dst_host=self._hosts[dst].name,
                size_bytes=size_bytes,
                start_s=iteration.start_s,
                end_s=arrived_s[src, dst],
            )
            for (src, dst), size_bytes in zip(pattern.pairs, sizes, strict=True)
        )

    def _flow_row(self, pair: Pair, index: int, flow: Flow, sent: Event, received: Event) -> FlowRow:
        src, dst = pair
        return FlowRow(
            rank=src,
            flow=index,
            src_host=self._hosts[src].name,
            dst_host=self._hosts[dst].name,
            src_ip=flow.src_ip,
            dst_ip=flow.dst_ip,
            src_port=flow.src_port,
            dst_port=flow.dst_port,
            path=None,
            retransmitted_segments=sent["retransmitted_segments"],
            out_of_order_packets=received["out_of_order_packets"],
            bytes_acked=sent["bytes_acked"],
            bytes_received=received["bytes_received"],
            busy_us=sent["busy_us"],
            rwnd_limited_us=sent["rwnd_limited_us"],
            sndbuf_limited_us=sent["sndbuf_limited_us"],
            timeouts=sent["timeouts"],
        )


def _work(pattern: Pattern, rank: int, size_bytes: int, slice_bytes: int | None) -> dict[str, Any]:
    """Return what a rank is told of what it does with others (``testbed.workload.endpoint_config.Work``)."""
    if pattern.training is not None:
        return {"tasks": pattern.training.tasks(rank, size_bytes, slice_bytes).to_json()}
    if pattern.collective is None:
        return {}
    if not any(rank in job for job in pattern.jobs):
        return {"size_bytes": 0}  # it has no part in it
    return {"members": pattern.members(rank), "collective": asdict(pattern.collective)}


def flows_between(before: Sequence[FlowRow], after: Sequence[FlowRow]) -> tuple[FlowRow, ...]:
    """Return ``after`` with its counters counted from ``before``; a counter missing in either is missing."""
    rows = []
    for first, last in zip(before, after, strict=True):
        if (first.rank, first.dst_host, first.flow) != (last.rank, last.dst_host, last.flow):
            raise ValueError(
                f"rank {first.rank} flow {first.flow} to {first.dst_host} is not "
                f"rank {last.rank} flow {last.flow} to {last.dst_host}"
            )
        counted: dict[str, Any] = {name: _difference(getattr(first, name), getattr(last, name)) for name in COUNTERS}
        rows.append(replace(last, **counted))
    return tuple(rows)


def _difference(first: int | None, last: int | None) -> int | None:
    return None if first is None or last is None else last - first
