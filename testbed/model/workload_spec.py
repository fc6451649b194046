"""What the ranks send each other, as asked for. ``testbed.model.pattern`` says what follows from it. Pure."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from testbed.collectives.algorithms import ALGORITHMS
from testbed.collectives.collective import ALL_TO_ALL, NAMES, RING, Collective, parse_name
from testbed.collectives.operation import ProgramOperation
from testbed.fields import Count, Mistakes, SizeBytes, Spec
from testbed.training.spec import TrainingSpec
from testbed.units import GIB, KIB, MIB

Placement = Literal["cross_leaf", "leaf_local", "random"]
WorkloadKind = Literal["allreduce_ring", "all_to_all", "incast", "permutation", "collective", "training"]
Partners = Literal["other_leaf", "any"]


MAX_COLLECTIVE_RANKS: Final = 256  # of a job: its program has up to 2(n-1)n transfers, which every rank goes through


def _collective_name(value: str) -> str:
    parse_name(value)
    return value


CollectiveName = Annotated[str, AfterValidator(_collective_name), Field(json_schema_extra={"enum": list(NAMES)})]


class WorkloadSpec(Spec):
    """The measured traffic: what the ranks, one per host, send each other."""

    kind: WorkloadKind = Field("allreduce_ring", description="who sends to whom; see docs/results-format.md")
    size_bytes: SizeBytes = Field(
        8 * 1024 * KIB,
        ge=64,
        le=GIB,
        description="allreduce_ring: array per rank (float32, summed in place); all_to_all: what a rank has for all "
        "ranks together; collective: as nccl-tests counts it, see docs/workloads.md; training: what the busiest host "
        "ideally sends in an iteration, to which the job is scaled down",
    )
    collective: CollectiveName | None = Field(
        None, description="kind collective: operation, or operation/algorithm; unset: allreduce"
    )
    group_ranks: Count | None = Field(
        None, ge=1, description="allreduce/hierarchical: ranks of a group; unset: as many as a leaf has hosts"
    )
    root: Count | None = Field(None, ge=0, description="broadcast: the rank of a job that has it; unset: 0")
    training: TrainingSpec | None = Field(None, description="kind training: the job; see docs/workloads.md")
    iterations: Count = Field(3, ge=1, le=100_000, description="measured iterations")
    warmup_iterations: Count = Field(1, ge=0, le=1000, description="iterations before measuring")
    warmup_size_bytes: SizeBytes | None = Field(
        None,
        ge=64,
        le=GIB,
        description="array of a warm-up iteration; unset: size_bytes, at most 1 MiB for each flow per hop",
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
    mice_dscp: Count = Field(
        0, ge=0, le=63, description="DSCP of small messages; from 32 (CS4) on GSPs send and grant them before bulk"
    )
    mice_only_s: float | None = Field(
        None, gt=0, le=3600, description="permutation: no bulk at all, small messages alone for so long an iteration"
    )
    announce: bool = Field(True, description="tell GSOS the job's flows before they start")

    @property
    def warmup_bytes(self) -> int:
        """The array of a warm-up iteration.

        A flow that has learnt the round trips of slices much smaller than those that are measured takes the first of
        these for lost and sends it again: with 16 flows per hop 230 of 256 flows did, none after a warm-up as large.
        """
        if self.warmup_size_bytes is not None:
            return self.warmup_size_bytes
        return min(self.size_bytes, self.flows_per_hop * MIB)

    @property
    def bulk_bytes(self) -> int:
        """``size_bytes``, or 0 where small messages are alone."""
        return self.size_bytes if self.mice_only_s is None else 0

    @property
    def job_names(self) -> tuple[str, ...]:
        """What the jobs are called where they are announced, in order."""
        found = self._operation_and_algorithm
        name = self.kind if found is None else found[0]
        return (name,) if self.jobs == 1 else tuple(f"{name}-{number}" for number in range(1, self.jobs + 1))

    def collective_of(self, hosts_per_leaf: int) -> Collective | None:
        """Return what the ranks of a job do together; None where every pair is on its own and moves ``size_bytes``."""
        found = self._operation_and_algorithm
        if found is None:
            return None
        operation, algorithm = found
        grouped = ALGORITHMS[operation][algorithm].grouped and self.group_ranks is None
        return Collective(operation, algorithm, hosts_per_leaf if grouped else self.group_ranks, self.root)

    @property
    def _operation_and_algorithm(self) -> tuple[ProgramOperation, str] | None:
        if self.kind == "collective":
            return parse_name(self.collective or "allreduce")
        fixed = {"allreduce_ring": RING, "all_to_all": ALL_TO_ALL}.get(self.kind)
        return None if fixed is None else (fixed.operation, fixed.algorithm)

    @property
    def in_step(self) -> bool:
        """Whether all pairs of a job move at one rate, so that what paths allow is what to expect.

        Where every pair is on its own it is a bound: TCP shares links unevenly, and may leave one idle while its
        acknowledgements wait behind data. Where pairs wait for each other in turn it is a bound, too.
        """
        found = self._operation_and_algorithm
        return found is not None and Collective(*found).in_step

    @property
    def independent(self) -> bool:
        """Whether every pair is on its own, so that it makes sense to ask how the pairs fared beside each other."""
        found = self._operation_and_algorithm
        return self.kind != "training" and (found is None or Collective(*found).independent)

    @model_validator(mode="after")
    def _fits_together(self) -> WorkloadSpec:
        mistakes = [
            f"{name}={value}; expected a multiple of 4 (float32)"
            for name in ("size_bytes", "warmup_size_bytes", "slice_bytes")
            if (value := getattr(self, name)) is not None and value % 4
        ]
        if self.kind != "collective":
            mistakes += [
                f"{name}={value} with kind={self.kind}; expected kind=collective, or {name} unset"
                for name in ("collective", "group_ranks", "root")
                if (value := getattr(self, name)) is not None
            ]
        if (self.training is not None) != (self.kind == "training"):
            said = "set" if self.training is not None else "unset"
            mistakes.append(f"training {said} with kind={self.kind}; expected it exactly with kind=training")
        if self.kind == "training" and self.jobs > 1:
            mistakes.append(f"jobs={self.jobs} with kind=training; expected 1")
        if self.mice_only_s is not None and (self.kind != "permutation" or not self.mice_interval_ms):
            mistakes.append(
                f"mice_only_s={self.mice_only_s:g} with kind={self.kind}, mice_interval_ms={self.mice_interval_ms:g}; "
                "expected kind=permutation and mice_interval_ms > 0"
            )
        if mistakes:
            raise Mistakes(mistakes)
        return self
