"""An iteration made small enough for the testbed: bytes by one factor, seconds by another, rho kept. Pure.

rho = ideal communication seconds / compute seconds is what decides how much of an iteration a network can win or lose,
so it is what must survive. With a host per NIC, an emulated group of n hosts and a link of rate r,

    bytes factor b    = bytes a host shall send / bytes it would send of the native sizes
    seconds factor    = emulated ideal seconds (sizes x b, n hosts, rate r) / native ideal seconds

and compute seconds are multiplied by the second one, which makes emulated ideal / emulated compute the native rho,
exactly. The native side has its own number of ranks and NICs, so the two factors are not r / native rate.

EMULATION: a host stands for one NIC of one node; the hosts are one rail, and the other rails, which do the same at the
same time, are left out (with one NIC a node there are none). All groups but ``pp`` are the hosts of a stage. Overheads
of frames are counted on the emulated side (TCP), where they are known, not on the native one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from testbed.model.fields import Count, Mistakes, SizeBytes, Spec
from testbed.model.wire import tcp_payload_bytes, tcp_payload_fraction
from testbed.training.groups import Group, group_ranks
from testbed.training.hardware import Hardware
from testbed.training.iteration import Communicate, Compute, Iteration, Op, Operation
from testbed.training.layout import Layout
from testbed.training.timeline import SecondsOf
from testbed.training.volume import ideal_seconds, sent_per_byte
from testbed.units import GIB, mbps_to_bytes_per_s

FLOAT_BYTES = 4  # collectives are of float32
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


@dataclass(frozen=True, slots=True)
class Load:
    """One side of the scaling, of the stage that sends most: ranks of a group, and what an iteration has in it.

    ``sent_bytes``: by a NIC, or by a host. ``communication_s``: ideal, all operations one after another.
    """

    ranks: int
    rate_mbps: float
    compute_s: float
    communication_s: float
    sent_bytes: float
    largest_operation_bytes: int

    @property
    def rho(self) -> float:
        """Ideal communication seconds / compute seconds."""
        return self.communication_s / self.compute_s


@dataclass(frozen=True, slots=True)
class Scaled:
    """Scaled iterations, one per pipeline stage, with the factors used and both sides in their own units."""

    iterations: tuple[Iteration, ...]
    stage: int  # the one that sends most: factors are from it, native and emulated are its
    bytes_factor: float
    seconds_factor: float
    native: Load
    emulated: Load


def scale(iterations: Sequence[Iteration], native: Native, emulation: Emulation) -> Scaled:
    """Return the iterations of all pipeline stages (one without a pipeline), scaled down.

    Sizes become whole floats, at least one. Raises ``Mistakes`` with everything that stands against it.
    """
    _check_structure(iterations, native, emulation)
    group_hosts = emulation.hosts // len(iterations)
    unscaled = [_sent_bytes(iteration, group_hosts) for iteration in iterations]
    stage = max(range(len(unscaled)), key=unscaled.__getitem__)
    bytes_factor = emulation.sent_bytes / unscaled[stage]
    seconds_of = emulated_seconds(emulation, group_hosts)
    sized = [_with_sizes(iteration, bytes_factor) for iteration in iterations]
    before = _load(iterations[stage], native.seconds_of, native.ranks, native.nic_mbps)
    emulated_s = math.fsum(map(seconds_of, sized[stage].communications))
    seconds_factor = emulated_s / before.communication_s
    scaled = tuple(_with_seconds(iteration, seconds_factor) for iteration in sized)
    goodput_mbps = emulation.link_mbps * tcp_payload_fraction(emulation.mtu_bytes)
    after = _load(scaled[stage], seconds_of, group_hosts, goodput_mbps)
    mistakes = _size_mistakes(scaled, emulation)
    duration_s = after.compute_s + after.communication_s
    if duration_s > MAX_ITERATION_S:
        mistakes.append(
            f"an iteration of {duration_s:.0f} s; expected at most {MAX_ITERATION_S:.0f} s: less sent_bytes"
        )
    if mistakes:
        raise Mistakes(mistakes)
    return Scaled(scaled, stage, bytes_factor, seconds_factor, before, replace(after, rate_mbps=emulation.link_mbps))


def emulated_seconds(emulation: Emulation, group_hosts: int) -> SecondsOf:
    """Return the function op -> seconds it ideally takes among ``group_hosts`` hosts, whole TCP frames at full rate."""
    goodput = mbps_to_bytes_per_s(emulation.link_mbps) * tcp_payload_fraction(emulation.mtu_bytes)
    return lambda op: sent_per_byte(op.operation, group_hosts) * op.size_bytes / goodput


def _sent_bytes(iteration: Iteration, ranks: int) -> float:
    return math.fsum(sent_per_byte(op.operation, ranks) * op.size_bytes for op in iteration.communications)


def _load(iteration: Iteration, seconds_of: SecondsOf, ranks: int, rate_mbps: float) -> Load:
    communication_s = math.fsum(map(seconds_of, iteration.communications))
    return Load(
        ranks=ranks,
        rate_mbps=rate_mbps,
        compute_s=iteration.compute_s,
        communication_s=communication_s,
        sent_bytes=communication_s * mbps_to_bytes_per_s(rate_mbps),
        largest_operation_bytes=max(op.size_bytes for op in iteration.communications),
    )


def _with_sizes(iteration: Iteration, factor: float) -> Iteration:
    def sized(op: Communicate) -> Communicate:
        return replace(op, size_bytes=max(1, round(op.size_bytes * factor / FLOAT_BYTES)) * FLOAT_BYTES)

    ops: tuple[Op, ...] = tuple(sized(op) if isinstance(op, Communicate) else op for op in iteration.ops)
    return Iteration(ops, tuple(map(sized, iteration.local)))


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
    if not any(native.seconds_of(op) > 0 for iteration in iterations for op in iteration.communications):
        mistakes.append("no operation uses the fabric; expected one (do all groups fit into a node?)")
    idle = [str(number) for number, iteration in enumerate(iterations) if not iteration.compute_s]
    if idle:
        mistakes.append(f"no computation in stage {', '.join(idle)}; expected some, or rho is not defined")
    if mistakes:
        raise Mistakes(mistakes)


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
