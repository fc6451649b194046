"""A training job on the testbed's hosts: scaled down, and what each of them does. Pure.

Hosts are ranks 0..n-1, equally many a stage, stages one after the other (``testbed.training.rehearsal.Job.emulated``).
Operations are by their default algorithms, rings where there are several.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import Any, Final

from testbed.collectives.algorithms import default_algorithm
from testbed.collectives.collective import Collective, volumes
from testbed.collectives.operation import MESSAGES
from testbed.collectives.program import Pair
from testbed.collectives.slices import FLOAT_BYTES, default_slice_bytes
from testbed.fields import Mistakes
from testbed.training.groups import Group
from testbed.training.iteration import Communicate, Compute, Iteration, Op
from testbed.training.native import native_iteration
from testbed.training.rehearsal import Execution, Job, execute
from testbed.training.scale import Emulation, Native, Scaled, emulated_seconds, scale
from testbed.training.spec import TrainingSpec
from testbed.training.tasks import Message, Pause, Task, Tasks, Together
from testbed.training.timeline import SecondsOf

MAX_OPERATIONS: Final = 5000  # of a rank in an iteration
MAX_REHEARSED: Final = 2_000_000  # operations of all hosts together: the rehearsal keeps every one of them
Kind = tuple[str, Group]


@dataclass(frozen=True)
class EmulatedJob:
    """What hosts do in an iteration. ``size_bytes``: what the busiest one ideally sends."""

    scaled: Scaled
    emulation: Emulation
    notes: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """What the busiest host is to send in an iteration, as it was asked for."""
        return self.emulation.sent_bytes

    @property
    def stages(self) -> tuple[Iteration, ...]:
        """What the hosts of each stage do, scaled down."""
        return self.scaled.iterations

    @property
    def hosts(self) -> int:
        """Number of hosts, ranks of the job."""
        return self.emulation.hosts

    @property
    def group_hosts(self) -> int:
        """Hosts of a stage, which are all its groups."""
        return self.hosts // len(self.stages)

    @cached_property
    def job(self) -> Job:
        """All ranks, as ``testbed.training.rehearsal`` executes them."""
        return Job.emulated(self.stages, self.hosts)

    @cached_property
    def ideal(self) -> Execution:
        """The iteration on a network that takes no longer than its hosts' links."""
        return execute(self.job, self.seconds_of)

    @property
    def seconds_of(self) -> SecondsOf:
        """Ideal seconds of an operation: bytes at the full rate of hosts' links."""
        return emulated_seconds(self.emulation, self.group_hosts)

    @cached_property
    def compute_s(self) -> float:
        """Seconds a rank computes, the mean over ranks."""
        return math.fsum(stage.compute_s for stage in self.stages) / len(self.stages)

    @property
    def n_operations(self) -> int:
        """Most operations of a rank."""
        return max(len(stage.communications) for stage in self.stages)

    @property
    def array_bytes(self) -> int:
        """Most bytes of arrays that a rank has in an iteration."""
        return max(sum(op.size_bytes for op in stage.communications) for stage in self.stages)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of ranks that send each other anything, by source; in the order a rank comes to its peers."""
        found = dict.fromkeys(pair for stage in range(len(self.stages)) for pair, _size in self._moved(stage, None))
        return tuple(sorted(found, key=lambda pair: pair[0]))

    def pair_bytes(self, size_bytes: int) -> tuple[int, ...]:
        """Return the payload bytes of each pair in an iteration in which the busiest host sends ``size_bytes``."""
        sums = self._sums(size_bytes, None)
        return tuple(sums[pair] for pair in self.pairs)

    def kind_bytes(self, kind: Kind) -> tuple[int, ...]:
        """Return the same of all operations of a kind of groups; a message's both ends count as one kind each."""
        sums = self._sums(self.size_bytes, kind)
        return tuple(sums[pair] for pair in self.pairs)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """Operations and groups, in order of first appearance."""
        return tuple(dict.fromkeys((op.operation, op.group) for stage in self.stages for op in stage.communications))

    def _sums(self, size_bytes: int, kind: Kind | None) -> Counter[Pair]:
        sums: Counter[Pair] = Counter()
        for stage in range(len(self.stages)):
            for pair, size in self._moved(stage, kind, size_bytes):
                sums[pair] += size
        return sums

    def _moved(self, stage: int, kind: Kind | None, size_bytes: int | None = None) -> Iterator[tuple[Pair, int]]:
        """Yield what the hosts of a stage send in an iteration: pair and bytes, for operations of a size together."""
        found = Counter(
            (op.operation, op.group, op.peer, op.size_bytes)
            for op in self.sized(self.size_bytes if size_bytes is None else size_bytes)[stage].communications
            if kind in (None, (op.operation, op.group))
        )
        first, n = stage * self.group_hosts, self.group_hosts
        for (operation, _group, peer, size), times in found.items():
            if operation in MESSAGES:
                if operation != "recv":
                    step = n if peer == "next" else -n
                    yield from (((rank, rank + step), size * times) for rank in range(first, first + n))
                continue
            for (src, dst), moved in volumes(_collective(operation), n, size).items():
                yield (first + src, first + dst), moved * times

    def sized(self, size_bytes: int) -> tuple[Iteration, ...]:
        """Return what the stages do in an iteration of another size: the same operations, nothing computed.

        Such iterations open congestion windows. Of the job's own size: the iteration itself.
        """
        return self.stages if size_bytes == self.size_bytes else _resized(self.stages, size_bytes / self.size_bytes)

    def tasks(self, rank: int, size_bytes: int, slice_bytes: int | None) -> Tasks:
        """Return what a rank does. ``slice_bytes`` None: as suits each operation."""
        stage, n = rank // self.group_hosts, self.group_hosts
        members = tuple(range(stage * n, (stage + 1) * n))
        number = 0  # all members do the same ones, in the same order
        tasks: list[Task] = []
        for op in self.sized(size_bytes)[stage].ops:
            if isinstance(op, Compute):
                tasks.append(Pause(op.duration_s, op.after))
                continue
            own = slice_bytes or default_slice_bytes(1 if op.peer else n, op.size_bytes)
            if op.peer is not None:
                peer = rank + (n if op.peer == "next" else -n)
                out, into = op.operation != "recv", op.operation != "send"
                tasks.append(Message(peer, out, into, op.size_bytes, own, op.blocking))
                continue
            one = _collective(op.operation)
            tasks.append(Together(one.operation, one.algorithm, members, number, op.size_bytes, own, op.blocking))
            number += 1
        return Tasks(tuple(tasks))

    def communications(self, rank: int) -> tuple[Communicate, ...]:
        """Return the operations of a rank in order: ``Tasks.communications`` with what is not for ranks to know."""
        return self.stages[rank // self.group_hosts].communications

    def rule(self) -> tuple[str, ...]:
        """Say in words how the iteration was scaled down, and what a reader has to know of it."""
        return (*_rule(self), *self.notes)

    def to_json(self) -> dict[str, Any]:
        """Return the same in numbers, as summaries have it."""
        scaled = self.scaled
        return {
            "rule": list(self.rule()),
            "seconds_factor": scaled.seconds_factor,
            "bytes_factors": {
                f"{kind.operation} {kind.group}": factor for kind, factor in scaled.bytes_factors.items()
            },
            "native": _load(scaled.native),
            "emulated": _load(scaled.emulated),
        }


def _collective(operation: Any) -> Collective:
    return Collective(operation, default_algorithm(operation))


@lru_cache(maxsize=16)
def _resized(stages: tuple[Iteration, ...], factor: float) -> tuple[Iteration, ...]:
    def smaller(ops: tuple[Op, ...]) -> Iterator[Op]:
        for op in ops:
            if isinstance(op, Communicate):
                floats = max(1, round(op.size_bytes * factor / FLOAT_BYTES))
                yield replace(op, size_bytes=floats * FLOAT_BYTES)
            elif op.after is not None:
                yield replace(op, duration_s=0.0)  # what it waited for is still waited for

    return tuple(Iteration(tuple(smaller(stage.ops))) for stage in stages)


@lru_cache(maxsize=64)
def emulated_job(spec: TrainingSpec, *, hosts: int, link_mbps: float, mtu_bytes: int, size_bytes: int) -> EmulatedJob:
    """Return the job on ``hosts`` hosts, the busiest of which ideally sends ``size_bytes`` in an iteration.

    Raises ``Mistakes`` with all that stands against it, or with ``no trace was read``.
    """
    if hosts < 2:
        raise Mistakes([f"hosts={hosts}; expected at least 2"])
    native = native_iteration(spec)
    emulation = Emulation(hosts=hosts, link_mbps=link_mbps, sent_bytes=size_bytes, mtu_bytes=mtu_bytes)
    scaled = scale(native.stages, Native.of(spec.divided, spec.hardware), emulation)
    job = EmulatedJob(scaled, emulation, native.notes)
    _check_executable(job)
    return job


def _check_executable(job: EmulatedJob) -> None:
    if job.n_operations > MAX_OPERATIONS:
        raise Mistakes([f"{job.n_operations} operations of a rank; expected at most {MAX_OPERATIONS}"])
    if job.n_operations * job.hosts > MAX_REHEARSED:
        raise Mistakes(
            [f"{job.n_operations} operations of each of {job.hosts} hosts; expected at most {MAX_REHEARSED} together"]
        )
    assert job.ideal  # whoever waits for ever is found here


def _rule(job: EmulatedJob) -> Iterator[str]:
    native, emulated, scaled = job.scaled.native, job.scaled.emulated, job.scaled
    sizes = ", ".join(
        f"{kind.operation} ({kind.group}) / {_divisor(factor)}" for kind, factor in scaled.bytes_factors.items()
    )
    rho = "no computing" if not native.compute_s else f"communication / computing {native.rho:.3f} in both"
    yield (
        f"scaled down: {native.ranks} ranks a group -> {emulated.ranks} hosts, NICs of {native.rate_mbps:g} Mbit/s -> "
        f"links of {emulated.rate_mbps:g}; seconds x {scaled.seconds_factor:.4g}; bytes: {sizes}"
    )
    yield (
        f"natively {native.compute_s:.4g} s of computing and ideally {native.communication_s:.4g} s of communication "
        f"({native.sent_bytes / 1e9:.4g} GB a NIC), here {emulated.compute_s:.4g} s and "
        f"{emulated.communication_s:.4g} s ({emulated.sent_bytes / 1e6:.4g} MB a host); {rho}"
    )


def _divisor(factor: float) -> str:
    return f"{1 / factor:,.0f}" if factor < 0.01 else f"{1 / factor:.3g}"


def _load(load: Any) -> dict[str, Any]:
    by_kind: Mapping[Any, float] = load.by_kind
    return {
        "ranks": load.ranks,
        "rate_mbps": load.rate_mbps,
        "compute_s": load.compute_s,
        "communication_s": load.communication_s,
        "sent_bytes": load.sent_bytes,
        "communication_s_by_kind": {f"{kind.operation} {kind.group}": s for kind, s in by_kind.items()},
    }


def training_text(spec: TrainingSpec) -> str:
    """Return what is trained and how it is divided, in short: ``llama2-13b, data 64, zero 3, overlap, ...``."""
    layout = spec.divided
    degrees = {"tensor": layout.tensor, "pipeline": layout.pipeline, "data": layout.data, "expert": layout.expert}
    shown = (
        [PurePath(spec.trace).name]
        if spec.trace is not None
        else []
        if spec.transformer is None
        else [spec.transformer.name]
    )
    shown += [f"{name} {degree}" for name, degree in degrees.items() if degree > 1]
    if spec.trace is None:
        shown += [f"zero {layout.zero}"] if layout.zero else []
        shown += [f"{layout.layers_at_once} layers at once"] if layout.layers_at_once > 1 else []
        shown.append("overlap" if layout.overlap else "no overlap")
    shown.append(f"{layout.nics_per_node} NIC{'s' if layout.nics_per_node > 1 else ''} per {layout.gpus_per_node} GPUs")
    return ", ".join(shown)
