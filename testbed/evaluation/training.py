"""What a run of training iterations says: how long they take, what of that is communication, operation by operation.

Definitions, all over the measured iterations:

- iteration time: from the common start to the last rank's end; medians over iterations.
- exposed share: the part of it that a rank does not compute, 1 - computing asked for / iteration time, the mean over
  ranks. What pipelines wait for each other is in it.
- seconds of an operation: from when its last rank has begun with it to when it is over for its last, as in
  ``testbed.training.rehearsal``.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from testbed.evaluation.pairs import path_prediction, rank_hosts, run_pattern
from testbed.evaluation.records import ComputingRow, RunRecord
from testbed.model.oracle import Prediction, ideal
from testbed.training.iteration import Communicate
from testbed.training.job import EmulatedJob, Kind
from testbed.training.rehearsal import execute


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSeconds:
    """All operations of a kind in an iteration of one group, or messages of one pair; None: not measured."""

    operation: str
    group: str
    times: int
    size_bytes: int
    seconds: float | None
    ideal_s: float

    @property
    def name(self) -> str:
        """What it is called in summaries and tables."""
        return f"{self.operation} {self.group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMetrics:
    """The numbers of a run of training iterations; ``ideal_*``: on a network as fast as hosts' links."""

    job: EmulatedJob
    compute_s: float
    exposed_share: float | None
    ideal_s: float
    ideal_exposed_share: float
    kinds: tuple[KindSeconds, ...]


def training_metrics(run: RunRecord) -> TrainingMetrics | None:
    """Return the numbers; None for other workloads."""
    job = run.scenario.job
    if job is None:
        return None
    completions_s = [row.completion_s for row in run.tables.iterations if not row.warmup and row.completion_s]
    exposed = [1 - job.compute_s / completion_s for completion_s in completions_s]
    return TrainingMetrics(
        job=job,
        compute_s=job.compute_s,
        exposed_share=max(0.0, median(exposed)) if exposed else None,
        ideal_s=job.ideal.duration_s,
        ideal_exposed_share=1 - job.compute_s / job.ideal.duration_s,
        kinds=tuple(_kinds(run, job)),
    )


def _kinds(run: RunRecord, job: EmulatedJob) -> Iterator[KindSeconds]:
    """Yield each kind; a send and its receive are one message."""
    rows = [row for row in run.tables.operations if not row.warmup]
    n_iterations = len({row.iteration for row in rows})
    lasted_s: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        lasted_s.setdefault((row.operation, row.group), []).append(row.end_s - row.start_s)
    found: dict[tuple[str, str], list[tuple[int, Communicate]]] = {}
    for (first_rank, number), *_others in job.ideal.meetings:
        op = job.communications(first_rank)[number]
        name = "message" if op.peer is not None else op.operation
        found.setdefault((name, op.group), []).append((first_rank, op))
    for (operation, group), ops in found.items():
        n_groups = len({first_rank for first_rank, _op in ops})
        own = lasted_s.get((operation, group), [])
        yield KindSeconds(
            operation=operation,
            group=group,
            times=round(len(ops) / n_groups),
            size_bytes=round(sum(op.size_bytes for _rank, op in ops) / n_groups),
            seconds=sum(map(_positive, own)) / n_groups / n_iterations if own else None,
            ideal_s=sum(max(job.seconds_of(op), _other_end_s(job, op)) for _rank, op in ops) / n_groups,
        )


def _positive(seconds: float) -> float:
    return max(0.0, seconds)


def _other_end_s(job: EmulatedJob, op: Communicate) -> float:
    """Return what the sender of a message takes: receiving counts as nothing."""
    if op.operation != "recv":
        return 0.0
    sent = Communicate(op.phase, "send", op.group, op.size_bytes, op.blocking, op.peer)
    return job.seconds_of(sent)


def predict_training(run: RunRecord) -> Prediction | None:
    """Return what the observed paths allow: each kind of operations at the rate of its fullest link.

    ``efficiency``: ideal iteration time over that with such operations. None where a path is not known.
    """
    job = run.scenario.job
    assert job is not None
    pattern, hosts = run_pattern(run), rank_hosts(run)
    whole = path_prediction(run, pattern.pair_bytes(job.size_bytes))
    if whole is None:
        return None
    slower: dict[Kind, float] = {}
    for kind in job.kinds:
        sizes = job.kind_bytes(kind)
        found = path_prediction(run, sizes) if any(sizes) else None
        if found is not None:
            limit = ideal(run.topology, pattern.host_pairs(hosts), sizes)
            own_s = _host_bytes(pattern.pairs, sizes) * 8 / 1e6 / job.emulation.goodput_mbps
            slower[kind] = max(1.0, limit.ideal_s / found.efficiency / own_s)
    seconds_of = job.seconds_of
    with_paths = execute(job.job, lambda op: seconds_of(op) * slower.get((op.operation, op.group), 1.0))
    return Prediction(
        efficiency=job.ideal.duration_s / with_paths.duration_s,
        max_uplink_flows=whole.max_uplink_flows,
        max_downlink_flows=whole.max_downlink_flows,
        busiest=whole.busiest,
    )


def _host_bytes(pairs: tuple[tuple[int, int], ...], sizes: tuple[int, ...]) -> int:
    """Return what the host that sends most sends."""
    sent: dict[int, int] = {}
    for (src, _dst), size in zip(pairs, sizes, strict=True):
        sent[src] = sent.get(src, 0) + size
    return max(sent.values())


def latest_rank(run: RunRecord) -> ComputingRow | None:
    """Return the rank whose computing took longest beyond what was asked for, of all measured iterations."""
    rows = [row for row in run.tables.computing if not row.warmup]
    return max(rows, key=lambda row: row.excess_s, default=None)
