"""What the ranks send each other, as asked for. ``testbed.model.pattern`` says what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field, model_validator

from testbed.model.fields import Count, Mistakes, SizeBytes, Spec
from testbed.units import GIB, KIB

Placement = Literal["cross_leaf", "leaf_local", "random"]
WorkloadKind = Literal["allreduce_ring", "all_to_all", "incast", "permutation"]
Partners = Literal["other_leaf", "any"]


@dataclass(frozen=True, slots=True)
class KindSettings:
    """What a kind of workload is, as far as others than its pattern and its streams ask.

    ``in_step``: a rank forwards what it receives, so no pair is ahead of another. ``everyone``: some rank sends to, or
    receives from, every other rank of its job; else from and to one.
    """

    in_step: bool
    everyone: bool


KINDS: Final[Mapping[WorkloadKind, KindSettings]] = {
    "allreduce_ring": KindSettings(in_step=True, everyone=False),
    "all_to_all": KindSettings(in_step=False, everyone=True),
    "incast": KindSettings(in_step=False, everyone=True),
    "permutation": KindSettings(in_step=False, everyone=False),
}


def most_peers(kind: WorkloadKind, job_ranks: int) -> int:
    """Return the most ranks that one rank of a job sends to, or receives from."""
    return job_ranks - 1 if KINDS[kind].everyone else 1


class WorkloadSpec(Spec):
    """The measured traffic: what the ranks, one per host, send each other."""

    kind: WorkloadKind = Field("allreduce_ring", description="who sends to whom; see docs/results-format.md")
    size_bytes: SizeBytes = Field(
        8 * 1024 * KIB,
        ge=64,
        le=GIB,
        description="allreduce_ring: array per rank (float32, summed in place); all_to_all: what a rank has for all "
        "ranks together",
    )
    iterations: Count = Field(3, ge=1, le=100_000, description="measured iterations")
    warmup_iterations: Count = Field(1, ge=0, le=1000, description="iterations before measuring")
    warmup_size_bytes: SizeBytes | None = Field(
        None, ge=64, le=GIB, description="array of a warm-up iteration; unset: size_bytes, at most 1 MiB"
    )
    flows_per_hop: Count = Field(1, ge=1, le=64, description="TCP connections per pair of ranks")
    placement: Placement = Field("cross_leaf", description="which host a rank runs on")
    ranks: Count | None = Field(None, ge=2, description="number of ranks; unset: every host")
    slice_bytes: SizeBytes | None = Field(
        None, ge=4, le=64 * 1024 * KIB, description="pipelining unit; unset: a quarter chunk, 4..64 KiB"
    )
    jobs: Count = Field(
        1, ge=1, le=64, description="independent jobs of the same kind the ranks are divided into, started together"
    )
    partners: Partners = Field("other_leaf", description="permutation: where a rank's partner may be")
    mice_bytes: SizeBytes = Field(2 * KIB, ge=8, le=64 * KIB, description="size of a small message beside the bulk")
    mice_interval_ms: float = Field(
        0.0, ge=0, le=60_000, description="mean time between two small messages of a host (Poisson); 0: none"
    )
    mice_only_s: float | None = Field(
        None, gt=0, le=3600, description="permutation: no bulk at all, small messages alone for so long an iteration"
    )
    announce: bool = Field(True, description="tell GSOS the job's flows before they start")

    @property
    def bulk_bytes(self) -> int:
        """``size_bytes``, or 0 where small messages are alone."""
        return self.size_bytes if self.mice_only_s is None else 0

    @property
    def job_names(self) -> tuple[str, ...]:
        """What the jobs are called where they are announced, in order."""
        name = "allreduce" if self.kind == "allreduce_ring" else self.kind
        return (name,) if self.jobs == 1 else tuple(f"{name}-{number}" for number in range(1, self.jobs + 1))

    @property
    def in_step(self) -> bool:
        """Whether all pairs of a job move at one rate, so that what paths allow is what to expect.

        Where every pair is on its own it is a bound: TCP shares links unevenly, and may leave one idle while its
        acknowledgements wait behind data.
        """
        return KINDS[self.kind].in_step

    @model_validator(mode="after")
    def _fits_together(self) -> WorkloadSpec:
        mistakes = [
            f"{name}={value}; expected a multiple of 4 (float32)"
            for name in ("size_bytes", "warmup_size_bytes", "slice_bytes")
            if (value := getattr(self, name)) is not None and value % 4
        ]
        if self.mice_only_s is not None and (self.kind != "permutation" or not self.mice_interval_ms):
            mistakes.append(
                f"mice_only_s={self.mice_only_s:g} with kind={self.kind}, mice_interval_ms={self.mice_interval_ms:g}; "
                "expected kind=permutation and mice_interval_ms > 0"
            )
        if mistakes:
            raise Mistakes(mistakes)
        return self
