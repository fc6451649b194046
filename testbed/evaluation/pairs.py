"""Who sent what to whom in a run, and how the pairs fared beside each other. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from testbed.collectives.slices import default_slice_bytes
from testbed.evaluation.records import LEAST_S, FlowRow, RunRecord, TransferRow
from testbed.evaluation.series import Window, direction_series, total
from testbed.model.oracle import FlowPath, Prediction, parse_path, predict
from testbed.model.pattern import Pattern, seeded_pattern
from testbed.model.rounds import Rounds, pattern_rounds
from testbed.model.topology import Host
from testbed.units import mbps_to_bytes_per_s


def rank_hosts(run: RunRecord) -> tuple[Host, ...]:
    """Return the host of each rank as recorded. Raises ValueError when ranks.csv does not name every rank."""
    names = {row.rank: row.host for row in run.tables.ranks}
    missing = [rank for rank in range(run.scenario.ranks) if rank not in names]
    if missing:
        raise ValueError(f"ranks.csv has no row of rank {missing[0]}, expected ranks 0..{run.scenario.ranks - 1}")
    return tuple(run.topology.host(names[rank]) for rank in range(run.scenario.ranks))


def run_pattern(run: RunRecord) -> Pattern:
    """Return who sent to whom."""
    return seeded_pattern(run.scenario, rank_hosts(run), run.seed)


def crossing_bytes(run: RunRecord) -> int:
    """Return the payload bytes that cross leaves in one iteration, exact for uneven chunks."""
    pattern, hosts = run_pattern(run), rank_hosts(run)
    sizes = pattern.pair_bytes(run.scenario.workload.bulk_bytes)
    pairs = zip(pattern.host_pairs(hosts), sizes, strict=True)
    return sum(size for (src, dst), size in pairs if src.leaf != dst.leaf)


def all_bytes(run: RunRecord) -> int:
    """Return the payload bytes of one iteration."""
    return sum(run_pattern(run).pair_bytes(run.scenario.workload.bulk_bytes))


def busiest_host_bytes(run: RunRecord) -> int:
    """Return the payload bytes the host that receives most receives in one iteration."""
    pattern = run_pattern(run)
    received: Counter[int] = Counter()
    sizes = pattern.pair_bytes(run.scenario.workload.bulk_bytes)
    for (_src, dst), size in zip(pattern.pairs, sizes, strict=True):
        received[dst] += size
    return max(received.values())


def run_rounds(run: RunRecord, *, step_s: float = 0.0, share: float = 1.0) -> Rounds | None:
    """Return how long an iteration takes at least because slices wait (``testbed.model.rounds``); None: none waits."""
    work, pattern = run.scenario.workload, run_pattern(run)
    return pattern_rounds(
        run.scenario.fabric,
        pattern,
        size_bytes=work.bulk_bytes,
        slice_bytes=work.slice_bytes or default_slice_bytes(pattern.job_ranks, work.bulk_bytes),
        flows=work.flows_per_hop,
        step_s=step_s,
        share=share,
    )


def predict_from_flows(run: RunRecord) -> Prediction | None:
    """Return what the observed paths allow, None when the path of a flow between leaves is not known."""
    return path_prediction(run, run_pattern(run).pair_bytes(run.scenario.workload.bulk_bytes))


def path_prediction(run: RunRecord, pair_bytes: Sequence[int]) -> Prediction | None:
    """Return the same of pairs that all move their ``pair_bytes`` at once; those with none have no part in it."""
    topology, pattern = run.topology, run_pattern(run)
    moving = [(pair, size) for pair, size in zip(pattern.host_pairs(rank_hosts(run)), pair_bytes, strict=True) if size]
    pairs, sizes = [pair for pair, _size in moving], [size for _pair, size in moving]
    rows: dict[tuple[str, str], list[FlowRow]] = {}
    for row in run.tables.flows:
        rows.setdefault((row.src_host, row.dst_host), []).append(row)
    paths: list[list[FlowPath | None]] = []
    for src, dst in pairs:
        own, crosses = rows.get((src.name, dst.name), []), src.leaf != dst.leaf
        if not own or (crosses and any(row.path is None for row in own)):
            return None
        paths.append([parse_path(topology, str(row.path)) if crosses else None for row in own])
    return predict(topology, pairs, paths, sizes)


def goodput_fairness(transfers: Sequence[TransferRow]) -> float | None:
    """Return the median over measured iterations of Jain's index over the pairs' goodput; None without transfers.

    (sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has everything (Jain, Chiu, Hawe, 1984).
    """
    goodputs: dict[int, list[float]] = {}
    for row in transfers:
        if not row.warmup and row.end_s - row.start_s >= LEAST_S:
            goodputs.setdefault(row.iteration, []).append(row.size_bytes / (row.end_s - row.start_s))
    indices = [sum(one) ** 2 / (len(one) * sum(x * x for x in one)) for one in goodputs.values() if any(one)]
    return median(indices) if indices else None


def job_completions_s(run: RunRecord) -> tuple[float, ...]:
    """Return for each job the median over measured iterations of its last rank's end - common start; () without any."""
    jobs = run.scenario.workload.jobs
    ends: dict[int, dict[int, float]] = {}
    for row in run.tables.ranks:
        if not row.warmup:
            its_end = ends.setdefault(row.rank // run.scenario.job_ranks, {})
            its_end[row.iteration] = max(its_end.get(row.iteration, 0.0), row.end_s)
    starts = {row.iteration: row.start_s for row in run.tables.iterations if not row.warmup}
    if not starts or any(starts.keys() - ends.get(job, {}).keys() for job in range(jobs)):
        return ()
    return tuple(median(ends[job][iteration] - start_s for iteration, start_s in starts.items()) for job in range(jobs))


def receiver_utilization(run: RunRecord, period: Sequence[Window], busy_s: float) -> float | None:
    """Return the busy fraction of the links to the hosts an incast is for; None without samples, or for other kinds.

    Bytes (Ethernet frames) counted in ``period`` over rate x ``busy_s``.
    """
    if run.scenario.workload.kind != "incast" or not busy_s:
        return None
    receivers = {dst.name for _src, dst in run_pattern(run).host_pairs(rank_hosts(run))}
    links = [d for d in run.topology.directions if d.kind == "host_rx" and d.dst.node in receivers]
    series = direction_series(run.topology, run.tables.links, "bytes")
    moved = total(series[d.name].increase_over(period) if d.name in series else None for d in links)
    return None if moved is None else moved / (sum(mbps_to_bytes_per_s(d.rate_mbps) for d in links) * busy_s)
