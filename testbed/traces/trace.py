"""What a trace says, whatever its format: who communicates or computes, in the order of the file. Pure.

Operations have our names and sizes have nccl-tests' meaning (``docs/workloads.md``), so that records of different
formats can be compared and replayed by one piece of code. What the file does not say is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from testbed.collectives.operation import Operation

Format = Literal["aicb", "simai", "chakra", "param", "nccl"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

Places = Literal["line", "node", "entry"]

# communicate: an operation, after ``compute_s`` of computing where the file says so
# compute: the accelerator computes
# host: the host's part of something, beside what the accelerator does at the same time; not to be added to it
# mark: where one phase ends and another begins
Kind = Literal["communicate", "compute", "host", "mark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that a rank does."""

    place: int  # line (from 1), number of the node, or entry (from 0): see ``Trace.places``
    kind: Kind
    operation: Operation | None = None
    group: str | None = None  # dp, tp, pp, ep, ... where the format names them so; else as the file calls it
    group_size: int | None = None  # ranks
    size_bytes: int | None = None  # nccl-tests' size of the operation
    stage: str | None = None
    name: str | None = None  # of a layer, a kernel, a direction
    compute_s: float | None = None  # computing: all of it, or what comes before the communication
    measured_s: float | None = None  # how long the operation took where it was recorded
    start_ns: int | None = None  # when, on the clock of the file
    rank: str | None = None  # who, as the file calls it, where it tells several apart


@dataclass(frozen=True, slots=True)
class Unknown:
    """A part of a file that was not understood, or not in full."""

    place: int
    text: str  # as it stands there, shortened
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One file. Every line, node or entry of it is a record, ``known`` or ``unknown``; a line may be several."""

    source: str
    format: Format
    places: Places
    records: tuple[Record, ...]
    unknown: tuple[Unknown, ...]  # the first of ``n_unknown``
    n_unknown: int
    known: tuple[tuple[str, int], ...]  # what else was understood, and how often: headers, blank lines, waits
    n_ranks: int | None = None  # of the whole job
    group_sizes: tuple[tuple[str, int], ...] = ()  # as the file's header has them
