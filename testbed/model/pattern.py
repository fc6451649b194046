"""Who sends to whom in an iteration, over all jobs of a scenario, and what follows from it. Pure.

============== ======================================== =================== ==================================
kind           a rank's ``size_bytes`` are              bytes of a pair     busbw / algbw (n ranks in a job)
============== ======================================== =================== ==================================
allreduce_ring its array, summed over all ranks         2(n-1)/n x size     2(n-1)/n
all_to_all     what it has for all ranks together       size / n            (n-1)/n
incast         what it sends rank 0; rank 0 only gets   size                n-1 ("gather" divides n x size by n)
============== ======================================== =================== ==================================

Bus factors follow nccl-tests PERFORMANCE.md, so that busbw is what the busiest host link carries and can be held
against the hardware. Every pair of a pattern moves the same number of bytes, but for chunks that differ by one float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from testbed.model.collectives import bus_factor
from testbed.model.scenario import Scenario, WorkloadKind
from testbed.model.streams import stream
from testbed.model.topology import Host

Pair = tuple[int, int]  # ranks: source, destination
HostPair = tuple[Host, Host]


@dataclass(frozen=True)
class Pattern:
    """The pairs of ranks that exchange data. ``jobs`` are the ranks of each job; a rank is in one job."""

    kind: WorkloadKind
    jobs: tuple[tuple[int, ...], ...]
    pairs: tuple[Pair, ...]  # by source, then as the job has them

    @cached_property
    def n_ranks(self) -> int:
        """Number of ranks of all jobs."""
        return sum(len(job) for job in self.jobs)

    @property
    def job_ranks(self) -> int:
        """Number of ranks of one job; all jobs are alike."""
        return len(self.jobs[0])

    @property
    def bus_factor(self) -> float:
        """Return busbw / algbw of a job, algbw being ``size_bytes`` over the completion time."""
        n = self.job_ranks
        factors: dict[WorkloadKind, float] = {
            "allreduce_ring": bus_factor(n),
            "all_to_all": (n - 1) / n,
            "incast": n - 1,
        }
        return factors[self.kind]

    @property
    def bus_pairs(self) -> int:
        """Number of pairs whose bytes together make busbw: those of the busiest host link end."""
        return 1 if self.kind == "allreduce_ring" else self.job_ranks - 1

    def mean_pair_bytes(self, size_bytes: int) -> float:
        """Return the payload bytes of a pair in an iteration: exact when chunks are equal, else their mean."""
        return self.bus_factor * size_bytes / self.bus_pairs

    def pair_bytes(self, size_bytes: int) -> tuple[int, ...]:
        """Return the payload bytes of each pair in an iteration, exact also for uneven chunks."""
        whole = max(size_bytes, 4)
        return tuple(
            stream(self.kind, self.members(src), (src, dst), size_bytes, whole).size_bytes for src, dst in self.pairs
        )

    def members(self, rank: int) -> tuple[int, ...]:
        """Return the ranks of the job ``rank`` is in, itself included."""
        return self.jobs[self.job_of(rank)]

    def job_of(self, rank: int) -> int:
        """Return the index of the job ``rank`` is in."""
        return rank // self.job_ranks

    def sent_by(self, rank: int) -> tuple[int, ...]:
        """Return the indices into ``pairs`` of those ``rank`` sends."""
        return tuple(index for index, (src, _dst) in enumerate(self.pairs) if src == rank)

    def received_by(self, rank: int) -> tuple[int, ...]:
        """Return the indices into ``pairs`` of those ``rank`` receives."""
        return tuple(index for index, (_src, dst) in enumerate(self.pairs) if dst == rank)

    def host_pairs(self, hosts: Sequence[Host]) -> list[HostPair]:
        """Return the pairs as hosts; ``hosts`` are those of the ranks."""
        return [(hosts[src], hosts[dst]) for src, dst in self.pairs]


def ring(n_ranks: int) -> Pattern:
    """Return the pattern of one ring all-reduce: rank r sends to rank r + 1."""
    return Pattern("allreduce_ring", (tuple(range(n_ranks)),), _ring_pairs(range(n_ranks)))


def pattern_of(scenario: Scenario, hosts: Sequence[Host], rng: Random) -> Pattern:
    """Return the pattern of a scenario whose ranks run on ``hosts``; what is random about it comes from ``rng``."""
    members = tuple(range(len(hosts)))
    pairs = {"allreduce_ring": _ring_pairs, "all_to_all": _all_pairs, "incast": _incast_pairs}[scenario.workload.kind]
    return Pattern(scenario.workload.kind, (members,), pairs(members))


def seeded_pattern(scenario: Scenario, hosts: Sequence[Host], seed: int) -> Pattern:
    """Return the pattern of a run, the same for every scheme of a seed."""
    return pattern_of(scenario, hosts, Random(f"{seed}/pattern"))


def _ring_pairs(members: Sequence[int]) -> tuple[Pair, ...]:
    return tuple((rank, members[(index + 1) % len(members)]) for index, rank in enumerate(members))


def _all_pairs(members: Sequence[int]) -> tuple[Pair, ...]:
    """Return every ordered pair. A rank begins with the next one, so that not all send to one rank first."""
    n = len(members)
    return tuple((rank, members[(index + step) % n]) for index, rank in enumerate(members) for step in range(1, n))


def _incast_pairs(members: Sequence[int]) -> tuple[Pair, ...]:
    """Return the pairs to the first rank."""
    return tuple((rank, members[0]) for rank in members[1:])
