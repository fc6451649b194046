"""Who sends to whom in an iteration, over all jobs of a scenario, and what follows from it. Pure.

============== ======================================== =================== ==================================
kind           a rank's ``size_bytes`` are              bytes of a pair     busbw / algbw (n ranks in a job)
============== ======================================== =================== ==================================
allreduce_ring its array, summed over all ranks         2(n-1)/n x size     2(n-1)/n
all_to_all     what it has for all ranks together       size / n            (n-1)/n
permutation    what it sends its partner               size                1 ("sendrecv")
incast         what it sends rank 0; rank 0 only gets   size                n-1 ("gather" divides n x size by n)
============== ======================================== =================== ==================================

Bus factors follow nccl-tests PERFORMANCE.md, so that busbw is what the busiest host link carries and can be held
against the hardware. Every pair of a pattern moves the same number of bytes, but for chunks that differ by one float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from testbed.model.ring import bus_factor
from testbed.model.scenario import Scenario, WorkloadKind, WorkloadSpec
from testbed.model.slices import FLOAT_BYTES
from testbed.model.streams import stream
from testbed.model.topology import Host
from testbed.model.workload_spec import most_peers

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
            "permutation": 1,
        }
        return factors[self.kind]

    @property
    def bus_pairs(self) -> int:
        """Number of pairs whose bytes together make busbw: those of the busiest host link end."""
        return most_peers(self.kind, self.job_ranks)

    def mean_pair_bytes(self, size_bytes: int) -> float:
        """Return the payload bytes of a pair in an iteration: exact when chunks are equal, else their mean."""
        return self.bus_factor * size_bytes / self.bus_pairs

    def pair_bytes(self, size_bytes: int) -> tuple[int, ...]:
        """Return the payload bytes of each pair in an iteration, exact also for uneven chunks."""
        end = 0 if self.kind == "allreduce_ring" else 1  # of the pair: the one that decides
        sizes = {pair[end]: self._stream_bytes(pair, size_bytes) for pair in {p[end]: p for p in self.pairs}.values()}
        return tuple(sizes[pair[end]] for pair in self.pairs)

    def _stream_bytes(self, pair: Pair, size_bytes: int) -> int:
        return stream(self.kind, self.members(pair[0]), pair, size_bytes, max(size_bytes, FLOAT_BYTES)).size_bytes

    def members(self, rank: int) -> tuple[int, ...]:
        """Return the ranks of the job ``rank`` is in, itself included."""
        return self.jobs[self.job_of(rank)]

    def job_of(self, rank: int) -> int:
        """Return the index of the job ``rank`` is in."""
        return rank // self.job_ranks

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
    return Pattern("allreduce_ring", (tuple(range(n_ranks)),), _ring_pairs(range(n_ranks)))


def pattern_of(scenario: Scenario, hosts: Sequence[Host], rng: Random) -> Pattern:
    """Return the pattern of a scenario whose ranks run on ``hosts``; what is random about it comes from ``rng``.

    Jobs are blocks of consecutive ranks: with placement ``cross_leaf`` each is dealt out over all leaves, so that jobs
    share leaves and uplinks.
    """
    work, n = scenario.workload, scenario.job_ranks
    jobs = tuple(tuple(range(first, first + n)) for first in range(0, len(hosts), n))
    pairs = tuple(pair for job in jobs for pair in _job_pairs(work, job, hosts, rng))
    return Pattern(work.kind, jobs, pairs)


def _job_pairs(work: WorkloadSpec, job: tuple[int, ...], hosts: Sequence[Host], rng: Random) -> tuple[Pair, ...]:
    if work.kind == "permutation":
        leaf_of = {rank: hosts[rank].leaf if work.partners == "other_leaf" else rank for rank in job}
        return permutation_pairs(leaf_of, rng)
    pairs = {"allreduce_ring": _ring_pairs, "all_to_all": _all_pairs, "incast": _incast_pairs}
    return pairs[work.kind](job)


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


def _ring_pairs(members: Sequence[int]) -> tuple[Pair, ...]:
    return tuple((rank, members[(index + 1) % len(members)]) for index, rank in enumerate(members))


def _all_pairs(members: Sequence[int]) -> tuple[Pair, ...]:
    """Return every ordered pair. A rank begins with the next one, so that not all send to one rank first."""
    n = len(members)
    return tuple((rank, members[(index + step) % n]) for index, rank in enumerate(members) for step in range(1, n))


def _incast_pairs(members: Sequence[int]) -> tuple[Pair, ...]:
    """Return the pairs to the first rank."""
    return tuple((rank, members[0]) for rank in members[1:])
