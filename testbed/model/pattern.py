"""Who sends to whom in an iteration, over all jobs of a scenario, and what follows from it. Pure.

============== ======================================== =================== ==================================
kind           a rank's ``size_bytes`` are              bytes of a pair     busbw / algbw (n ranks in a job)
============== ======================================== =================== ==================================
allreduce_ring its array, summed over all ranks         2(n-1)/n x size     2(n-1)/n
all_to_all     what it has for all ranks together       size / n            (n-1)/n
collective     as nccl-tests counts the operation       its program's       the operation's
training       what the busiest ideally sends           its iteration's     1
permutation    what it sends its partner                size                1 ("sendrecv")
incast         what it sends rank 0; rank 0 only gets   size                n-1 ("gather" divides n x size by n)
============== ======================================== =================== ==================================

Bus factors follow nccl-tests PERFORMANCE.md (``testbed.collectives.operation.bus_factor``). For a ring, an all-to-all,
a permutation and an incast busbw is what the busiest host link carries, and can be held against the hardware; an
algorithm whose busiest rank moves more than the least possible has a lower limit (``testbed.model.oracle``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from testbed.collectives.collective import RING, Collective, pairs_of, volumes
from testbed.model.scenario import Scenario, WorkloadKind, WorkloadSpec
from testbed.model.topology import Host
from testbed.training.job import EmulatedJob

Pair = tuple[int, int]  # ranks: source, destination
HostPair = tuple[Host, Host]


@dataclass(frozen=True)
class Pattern:
    """The pairs of ranks that exchange data. ``jobs`` are the ranks of each job; a rank is in one job.

    ``collective`` is what the ranks of a job do together, ``training`` what they do in a training iteration; both None:
    each pair moves ``size_bytes``, all on its own.
    """

    kind: WorkloadKind
    jobs: tuple[tuple[int, ...], ...]
    pairs: tuple[Pair, ...]  # by source, then as the job has them
    collective: Collective | None = None
    training: EmulatedJob | None = None

    @cached_property
    def n_ranks(self) -> int:
        """Number of ranks of all jobs."""
        return sum(len(job) for job in self.jobs)

    @property
    def job_ranks(self) -> int:
        """Number of ranks of one job; all jobs are alike."""
        return len(self.jobs[0])

    @property
    def in_step(self) -> bool:
        """Whether all pairs of a job move at one rate."""
        return self.collective is not None and self.collective.in_step

    @property
    def independent(self) -> bool:
        """Whether every pair is on its own."""
        return self.training is None and (self.collective is None or self.collective.independent)

    @property
    def bus_factor(self) -> float:
        """Return busbw / algbw of a job, algbw being ``size_bytes`` over the completion time."""
        if self.collective is not None:
            return self.collective.bus_factor(self.job_ranks)
        return self.job_ranks - 1 if self.kind == "incast" else 1

    def pair_bytes(self, size_bytes: int) -> tuple[int, ...]:
        """Return the payload bytes of each pair in an iteration, exact also where parts are uneven or empty."""
        if self.training is not None and size_bytes:
            return self.training.pair_bytes(size_bytes)
        if self.collective is None:
            return (size_bytes,) * len(self.pairs)
        if not size_bytes:
            return (0,) * len(self.pairs)
        sizes = volumes(self.collective, self.job_ranks, size_bytes)
        places = {rank: place for job in self.jobs for place, rank in enumerate(job)}
        return tuple(sizes.get((places[src], places[dst]), 0) for src, dst in self.pairs)

    def members(self, rank: int) -> tuple[int, ...]:
        """Return the ranks of the job ``rank`` is in, itself included."""
        return self.jobs[self.job_of(rank)]

    def job_of(self, rank: int) -> int:
        """Return the index of the job ``rank`` is in. Raises KeyError for a rank without one."""
        return self._jobs_of_ranks[rank]

    @cached_property
    def _jobs_of_ranks(self) -> dict[int, int]:
        return {rank: index for index, job in enumerate(self.jobs) for rank in job}

    def sent_by(self, rank: int) -> tuple[int, ...]:
        """Return the indices into ``pairs`` of those ``rank`` sends."""
        return self._by_end[0].get(rank, ())

    def received_by(self, rank: int) -> tuple[int, ...]:
        """Return the indices into ``pairs`` of those ``rank`` receives."""
        return self._by_end[1].get(rank, ())

    @cached_property
    def _by_end(self) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
        found: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
        for index, pair in enumerate(self.pairs):
            for ends, rank in zip(found, pair, strict=True):
                ends.setdefault(rank, []).append(index)
        sent, received = ({rank: tuple(own) for rank, own in ends.items()} for ends in found)
        return sent, received

    def host_pairs(self, hosts: Sequence[Host]) -> list[HostPair]:
        """Return the pairs as hosts; ``hosts`` are those of the ranks."""
        return [(hosts[src], hosts[dst]) for src, dst in self.pairs]


def ring(n_ranks: int) -> Pattern:
    """Return the pattern of one ring all-reduce: rank r sends to rank r + 1."""
    members = tuple(range(n_ranks))
    return Pattern("allreduce_ring", (members,), _collective_pairs(RING, members), RING)


def of_collective(collective: Collective, *jobs: Sequence[int]) -> Pattern:
    """Return the pattern of jobs of equally many of these ranks, each of which does ``collective`` together."""
    found = tuple(tuple(job) for job in jobs)
    pairs = tuple(pair for job in found for pair in _collective_pairs(collective, job))
    return Pattern("collective", found, pairs, collective)


def pattern_of(scenario: Scenario, hosts: Sequence[Host], rng: Random) -> Pattern:
    """Return the pattern of a scenario whose ranks run on ``hosts``; what is random about it comes from ``rng``.

    Jobs are blocks of consecutive ranks: with placement ``cross_leaf`` each is dealt out over all leaves, so that jobs
    share leaves and uplinks.
    """
    work, n, collective = scenario.workload, scenario.job_ranks, scenario.collective
    if (training := scenario.job) is not None:
        return Pattern(work.kind, (tuple(range(n)),), training.pairs, training=training)
    jobs = tuple(tuple(range(first, first + n)) for first in range(0, len(hosts), n))
    pairs = tuple(pair for job in jobs for pair in _job_pairs(work, collective, job, hosts, rng))
    return Pattern(work.kind, jobs, pairs, collective)


def _job_pairs(
    work: WorkloadSpec, collective: Collective | None, job: tuple[int, ...], hosts: Sequence[Host], rng: Random
) -> tuple[Pair, ...]:
    if collective is not None:
        return _collective_pairs(collective, job)
    if work.kind == "incast":
        return tuple((rank, job[0]) for rank in job[1:])
    leaf_of = {rank: hosts[rank].leaf if work.partners == "other_leaf" else rank for rank in job}
    return permutation_pairs(leaf_of, rng)


def _collective_pairs(collective: Collective, members: Sequence[int]) -> tuple[Pair, ...]:
    return tuple((members[src], members[dst]) for src, dst in pairs_of(collective, len(members)))


def permutation_pairs(group_of: Mapping[int, int], rng: Random) -> tuple[Pair, ...]:
    """Return a permutation drawn from ``rng`` that leads every rank to one of another group, so never to itself.

    Ranks choose in random order; one that finds all its choices taken makes another choose again (augmenting paths:
    Kuhn's matching). Not exactly uniform over such permutations. Raises ValueError where there is none, which is where
    a group has more than half of the ranks.
    """
    taken_by: dict[int, int] = {}

    ranks = sorted(group_of)

    def choices(rank: int) -> tuple[int, Iterator[int]]:
        return rank, iter(rng.sample(ranks, len(ranks)))

    def choose(first: int) -> bool:
        tried: set[int] = set()
        chosen: list[int] = []  # by all but the last of those who choose
        choosing = [choices(first)]  # no recursion: there may be thousands
        while choosing:
            rank, peers = choosing[-1]
            peer = next((peer for peer in peers if group_of[peer] != group_of[rank] and peer not in tried), None)
            if peer is None:
                choosing.pop()
                del chosen[-1:]
                continue
            tried.add(peer)
            chosen.append(peer)
            if peer not in taken_by:
                taken_by.update(zip(chosen, (rank for rank, _peers in choosing), strict=True))
                return True
            choosing.append(choices(taken_by[peer]))
        return False

    for rank in rng.sample(ranks, len(ranks)):
        if not choose(rank):
            raise ValueError(f"rank {rank} has no partner outside its group")
    return tuple(sorted((rank, peer) for peer, rank in taken_by.items()))


def seeded_pattern(scenario: Scenario, hosts: Sequence[Host], seed: int) -> Pattern:
    """Return the pattern of a run, the same for every scheme of a seed."""
    return pattern_of(scenario, hosts, Random(f"{seed}/pattern"))


def mice_pairs(hosts: Sequence[Host], seed: int) -> list[HostPair]:
    """Return which host sends small messages to which: a permutation of a run's own, off the leaf where that can be."""
    leaves = [host.leaf for host in hosts]
    across = max(map(leaves.count, leaves)) <= len(hosts) / 2
    groups = {rank: leaf if across else rank for rank, leaf in enumerate(leaves)}
    return [(hosts[src], hosts[dst]) for src, dst in permutation_pairs(groups, Random(f"{seed}/mice"))]
