"""Sums over a trace: how often, how many bytes, how long. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.traces.trace import Record, Trace

By = Literal["operation", "group", "stage", "rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The operations that have ``key`` in common, in the order that was asked for; None: the file does not say."""

    key: tuple[str | None, ...]
    count: int
    size_bytes: int  # of those whose size is known
    n_unsized: int
    group_sizes: tuple[int, ...]  # that occur
    measured_s: float | None  # of those that were measured; None where nothing was
    n_unmeasured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """How long a trace computes. ``compute_s`` is None where no record says how long."""

    stage: str | None
    compute_s: float | None
    count: int  # records that compute, before an operation or alone
    n_untimed: int


def communications(trace: Trace) -> tuple[Record, ...]:
    """Return the operations."""
    return tuple(record for record in trace.records if record.kind == "communicate")


def sums(records: Iterable[Record], by: Sequence[By]) -> tuple[Sum, ...]:
    """Return the sums over operations, most bytes first."""
    groups: dict[tuple[str | None, ...], list[Record]] = {}
    for record in records:
        if record.kind == "communicate":
            groups.setdefault(tuple(getattr(record, name) for name in by), []).append(record)
    found = [_sum(key, members) for key, members in groups.items()]
    return tuple(sorted(found, key=lambda one: (-one.size_bytes, -one.count, tuple(text or "" for text in one.key))))


def total(found: Sequence[Sum]) -> Sum:
    """Return the sum of sums."""
    return Sum(
        key=(),
        count=sum(one.count for one in found),
        size_bytes=sum(one.size_bytes for one in found),
        n_unsized=sum(one.n_unsized for one in found),
        group_sizes=tuple(sorted({size for one in found for size in one.group_sizes})),
        measured_s=_total([one.measured_s for one in found]),
        n_unmeasured=sum(one.n_unmeasured for one in found),
    )


def computing(trace: Trace) -> Computing:
    """Return all computing of the accelerator; what the host does beside it is not in it."""
    return _computing(None, trace.records)


def computing_by_stage(trace: Trace) -> tuple[Computing, ...]:
    """Return the computing of each stage, in the order of the file."""
    stages: dict[str | None, list[Record]] = {}
    for record in trace.records:
        if _computes(record):
            stages.setdefault(record.stage, []).append(record)
    return tuple(_computing(stage, records) for stage, records in stages.items())


def group_sizes(trace: Trace) -> dict[str, tuple[int, ...]]:
    """Return the sizes each named group has, by the header and by the records."""
    found: dict[str, set[int]] = {name: {size} for name, size in trace.group_sizes}
    for record in trace.records:
        if record.group is not None and record.group_size is not None:
            found.setdefault(record.group, set()).add(record.group_size)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def _sum(key: tuple[str | None, ...], members: Sequence[Record]) -> Sum:
    sizes = [record.size_bytes for record in members if record.size_bytes is not None]
    return Sum(
        key=key,
        count=len(members),
        size_bytes=sum(sizes),
        n_unsized=len(members) - len(sizes),
        group_sizes=tuple(sorted({record.group_size for record in members if record.group_size is not None})),
        measured_s=_total([record.measured_s for record in members]),
        n_unmeasured=sum(record.measured_s is None for record in members),
    )


def _computes(record: Record) -> bool:
    return record.kind == "compute" or (record.kind == "communicate" and record.compute_s is not None)


def _computing(stage: str | None, records: Iterable[Record]) -> Computing:
    times = [record.compute_s for record in records if _computes(record)]
    untimed = sum(time is None for time in times)
    return Computing(stage=stage, compute_s=_total(times), count=len(times), n_untimed=untimed)


def _total(times: Sequence[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return math.fsum(known) if known else None
