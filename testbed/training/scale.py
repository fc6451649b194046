"""An iteration made small enough for the testbed: seconds by one factor, bytes so that they take as many. Pure.

What decides how much of an iteration a network can win or lose is rho = ideal communication seconds / compute seconds,
and which operations it consists of. Both survive if everything takes the same multiple of its time: with a host per
NIC, an emulated group of n hosts and a link of rate r,

    seconds factor          = seconds the busiest host ideally sends / seconds the busiest NIC natively sends
    bytes factor of a kind  = seconds factor x native ideal seconds / emulated ideal seconds of the native sizes
                              (n hosts, rate r)

Compute seconds are multiplied by the first. A kind is an operation of a kind of groups; send, recv and exchange are
one, so that both ends of a message agree. Kinds have factors of their own since a NIC's share of their traffic differs:
eight ranks of a node hand on activations through one NIC each by itself, but reduce gradients in one ring.

EMULATION: a host stands for one NIC of one node; the hosts are one rail, and the other rails, which do the same at the
same time, are left out (with one NIC a node there are none). All groups but ``pp`` are the hosts of a stage. Overheads
of frames are counted on the emulated side (TCP), where they are known, not on the native one. What this does not keep:
docs/workloads.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pydantic import Field

from testbed.collectives.operation import MESSAGES, Operation
from testbed.collectives.slices import FLOAT_BYTES
from testbed.fields import Count, Mistakes, SizeBytes, Spec
from testbed.training.groups import Group, group_ranks
from testbed.training.hardware import Hardware
from testbed.training.iteration import Communicate, Compute, Iteration, Op
from testbed.training.layout import Layout
from testbed.training.timeline import SecondsOf
from testbed.training.volume import ideal_seconds, sent_per_byte
from testbed.units import GIB, mbps_to_bytes_per_s
from testbed.wire import tcp_payload_bytes, tcp_payload_fraction

MAX_OPERATION_BYTES = GIB  # of workload.size_bytes, too
MAX_ITERATION_S = 3600.0
# Of all bytes, for a kind of operation. Traces have norms and scalars of a few bytes, which are small on any network;
# buckets of less than a frame would be small here only.
MAX_SMALL_FRACTION = 0.01


class Emulation(Spec):
    """What the testbed has, and how much a host is to send."""

    hosts: Count = Field(ge=2, le=4096, description="emulated hosts, of all pipeline stages")
    link_mbps: float = Field(gt=0, allow_inf_nan=False, description="rate of a host's link, frames as tc counts them")
    sent_bytes: SizeBytes = Field(ge=1, description="payload the busiest host sends in one iteration")
    mtu_bytes: Count = Field(9000, ge=576, le=65535)

    @property
    def goodput_mbps(self) -> float:
        """Payload of whole TCP frames at full rate, in Mbit/s."""
        return self.link_mbps * tcp_payload_fraction(self.mtu_bytes)


@dataclass(frozen=True, slots=True)
class Native:
    """The network an iteration is from: ideal seconds of an operation, ranks of a data-parallel group, NIC rate."""

    seconds_of: SecondsOf
    ranks: int
    nic_mbps: float

    @classmethod
    def of(cls, layout: Layout, hardware: Hardware) -> Native:
        """Return that of a layout on hardware."""
        return cls(ideal_seconds(layout, hardware.nic_mbps), group_ranks(layout, "dp"), hardware.nic_mbps)


class Kind(NamedTuple):
    """Operations that have a bytes factor in common."""

    operation: Operation | Literal["message"]
    group: Group


@dataclass(frozen=True, slots=True)
class Load:
    """One side of the scaling, of the stage that natively sends most: ranks of a group, and what an iteration has.

    ``sent_bytes``: by a NIC, or by a host. ``communication_s``: ideal, all operations one after another; ``by_kind``:
    the same of each kind that takes any time.
    """

    ranks: int
    rate_mbps: float
    compute_s: float
    communication_s: float
    by_kind: Mapping[Kind, float]
    sent_bytes: float
    largest_operation_bytes: int

    @property
    def rho(self) -> float:
        """Ideal communication seconds / compute seconds; infinite where nothing is said of computing."""
        return self.communication_s / self.compute_s if self.compute_s else math.inf

    def share(self, group: Group) -> float:
        """Return the fraction of the communication seconds that is of a kind of groups."""
        return math.fsum(s for kind, s in self.by_kind.items() if kind.group == group) / self.communication_s


@dataclass(frozen=True, slots=True)
class Scaled:
    """Scaled iterations, one per pipeline stage, with the factors used and both sides in their own units."""

    iterations: tuple[Iteration, ...]
    stage: int  # the one that natively sends most: native and emulated are its
    bytes_factors: Mapping[Kind, float]
    seconds_factor: float
    native: Load
    emulated: Load


def scale(iterations: Sequence[Iteration], native: Native, emulation: Emulation) -> Scaled:
    """Return the iterations of all pipeline stages (one without a pipeline), scaled down.

    Sizes become whole floats, at least one; local operations stay as they are. Raises ``Mistakes`` with everything that
    stands against it.
    """
    _check_structure(iterations, native, emulation)
    group_hosts = emulation.hosts // len(iterations)
    emulated_s = emulated_seconds(emulation, group_hosts)
    native_s = [math.fsum(map(native.seconds_of, iteration.communications)) for iteration in iterations]
    stage = max(range(len(native_s)), key=native_s.__getitem__)
    asked_s = emulation.sent_bytes / mbps_to_bytes_per_s(emulation.goodput_mbps)
    factors = _bytes_factors(iterations, native.seconds_of, emulated_s, asked_s / native_s[stage])
    sized = [_with_sizes(iteration, factors) for iteration in iterations]
    # of the sizes as they have become, which makes rho exact
    seconds_factor = math.fsum(map(emulated_s, sized[stage].communications)) / native_s[stage]
    scaled = tuple(_with_seconds(iteration, seconds_factor) for iteration in sized)
    before = _load(iterations[stage], native.seconds_of, native.ranks, native.nic_mbps)
    after = _load(scaled[stage], emulated_s, group_hosts, emulation.goodput_mbps)
    mistakes = _size_mistakes(scaled, emulation)
    duration_s = after.compute_s + after.communication_s
    if duration_s > MAX_ITERATION_S:
        mistakes.append(
            f"an iteration of {duration_s:.0f} s; expected at most {MAX_ITERATION_S:.0f} s: less sent_bytes"
        )
    if mistakes:
        raise Mistakes(mistakes)
    return Scaled(scaled, stage, factors, seconds_factor, before, replace(after, rate_mbps=emulation.link_mbps))


def emulated_seconds(emulation: Emulation, group_hosts: int) -> SecondsOf:
    """Return the function op -> seconds it ideally takes among ``group_hosts`` hosts, whole TCP frames at full rate."""
    goodput = mbps_to_bytes_per_s(emulation.goodput_mbps)
    return lambda op: sent_per_byte(op.operation, group_hosts) * op.size_bytes / goodput


def kind_of(op: Communicate) -> Kind:
    """Return the kind whose factor an operation has."""
    return Kind("message" if op.operation in MESSAGES else op.operation, op.group)


def _by_kind(iterations: Iterable[Iteration], seconds_of: SecondsOf) -> dict[Kind, float]:
    """Return the seconds of each kind, in order of first appearance."""
    found: dict[Kind, list[float]] = {}
    for iteration in iterations:
        for op in iteration.communications:
            found.setdefault(kind_of(op), []).append(seconds_of(op))
    return {kind: math.fsum(seconds) for kind, seconds in found.items()}


def _bytes_factors(
    iterations: Sequence[Iteration], native_s: SecondsOf, emulated_s: SecondsOf, seconds_factor: float
) -> dict[Kind, float]:
    before, after = _by_kind(iterations, native_s), _by_kind(iterations, emulated_s)
    return {kind: seconds_factor * seconds / after[kind] for kind, seconds in before.items()}


def _load(iteration: Iteration, seconds_of: SecondsOf, ranks: int, rate_mbps: float) -> Load:
    communication_s = math.fsum(map(seconds_of, iteration.communications))
    return Load(
        ranks=ranks,
        rate_mbps=rate_mbps,
        compute_s=iteration.compute_s,
        communication_s=communication_s,
        by_kind=_by_kind([iteration], seconds_of),
        sent_bytes=communication_s * mbps_to_bytes_per_s(rate_mbps),
        largest_operation_bytes=max(op.size_bytes for op in iteration.communications),
    )


def _with_sizes(iteration: Iteration, factors: Mapping[Kind, float]) -> Iteration:
    def sized(op: Communicate) -> Communicate:
        floats = round(op.size_bytes * factors[kind_of(op)] / FLOAT_BYTES)
        return replace(op, size_bytes=max(1, floats) * FLOAT_BYTES)

    ops: tuple[Op, ...] = tuple(sized(op) if isinstance(op, Communicate) else op for op in iteration.ops)
    return Iteration(ops, iteration.local)


def _with_seconds(iteration: Iteration, factor: float) -> Iteration:
    ops: tuple[Op, ...] = tuple(
        replace(op, duration_s=op.duration_s * factor) if isinstance(op, Compute) else op for op in iteration.ops
    )
    return Iteration(ops, iteration.local)


def _check_structure(iterations: Sequence[Iteration], native: Native, emulation: Emulation) -> None:
    """Raise ``Mistakes`` for what leaves nothing to scale."""
    stages = len(iterations)
    if not stages:
        raise Mistakes(["no iterations; expected one per pipeline stage"])
    mistakes = []
    if emulation.hosts % stages:
        mistakes.append(f"hosts={emulation.hosts} with {stages} pipeline stages; expected a multiple of {stages}")
    alone = emulation.hosts // stages < 2
    if alone and any(op.group != "pp" for iteration in iterations for op in iteration.communications):
        mistakes.append(f"hosts={emulation.hosts} with {stages} pipeline stages; expected at least two a stage")
    by_kind = _by_kind(iterations, native.seconds_of)
    mistakes += [
        f"{_shown(iterations, kind)}: hosts have no groups of several stages; expected messages alone in pp"
        for kind in by_kind
        if kind.group == "pp" and kind.operation != "message"
    ]
    if not any(by_kind.values()):
        mistakes.append("no operation uses the fabric; expected one (do all groups fit into a node?)")
    else:
        mistakes += [_idle_kind(iterations, kind) for kind, seconds in by_kind.items() if not seconds]
    idle = [str(number) for number, iteration in enumerate(iterations) if not iteration.compute_s]
    if 0 < len(idle) < stages:  # most traces say nothing of computing: communication alone
        mistakes.append(f"no computation in stage {', '.join(idle)}; expected some, as in the others, or none in any")
    if mistakes:
        raise Mistakes(mistakes)


def _shown(iterations: Sequence[Iteration], kind: Kind) -> str:
    """Return how many operations of a kind there are, and where the first is."""
    found = [
        (stage, op)
        for stage, iteration in enumerate(iterations)
        for op in iteration.communications
        if kind_of(op) == kind
    ]
    stage, op = found[0]
    return f"{len(found)} {op.operation} ({op.group}), the first in stage {stage} of {op.size_bytes} bytes"


def _idle_kind(iterations: Sequence[Iteration], kind: Kind) -> str:
    """Say that there is nothing a kind's size could be scaled by."""
    what = _shown(iterations, kind)
    if kind.operation == "message":
        return f"{what}: no stage sends; expected the sends, too, or these in local"
    return f"{what}: natively no NIC sends for it; expected it in local"


def _size_mistakes(iterations: Sequence[Iteration], emulation: Emulation) -> list[str]:
    """Return what is too small or too large, one line per operation and group."""
    frame = tcp_payload_bytes(emulation.mtu_bytes)
    kinds: dict[tuple[Operation, Group], list[int]] = {}
    for iteration in iterations:
        for op in iteration.communications:
            kinds.setdefault((op.operation, op.group), []).append(op.size_bytes)
    all_bytes = sum(map(sum, kinds.values()))
    mistakes = []
    for (operation, group), sizes in kinds.items():
        small = [size for size in sizes if size < frame]
        if sum(small) > MAX_SMALL_FRACTION * all_bytes:
            enough = math.ceil(emulation.sent_bytes * frame / min(small))
            mistakes.append(
                f"{len(small)} of {len(sizes)} {operation} ({group}) have less than a frame, {min(small)} bytes the "
                f"least; expected {frame}: sent_bytes={enough}, larger buckets or a smaller MTU"
            )
        if max(sizes) > MAX_OPERATION_BYTES:
            mistakes.append(
                f"{operation} ({group}) of {max(sizes)} bytes; expected at most {MAX_OPERATION_BYTES}: less sent_bytes"
            )
    return mistakes
