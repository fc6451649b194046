"""Which algorithms there are for each operation, what they ask for, and the programs they make. Pure.

``size_bytes`` is what nccl-tests calls the size: for ``allreduce``, ``broadcast`` and ``sendrecv`` the array (the
message) of a rank; for ``reduce_scatter``, ``all_gather`` and ``all_to_all`` the larger of what a rank has before and
after, n times one rank's part. Arrays are cut at whole floats, so no size need be divisible by the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from testbed.collectives import direct, halving, hierarchical, ring, tree
from testbed.collectives.operation import ProgramOperation
from testbed.collectives.program import Program, Span, Transfer


@dataclass(frozen=True, slots=True)
class Algorithm:
    """``build`` makes the transfers of ``members`` (all ranks, the root first) over a span, in groups of so many."""

    build: Callable[[Sequence[int], Span, int], Iterator[Transfer]]
    powers_of_two: bool = False  # the only numbers of ranks it is for
    grouped: bool = False  # asks for group_ranks
    in_step: bool = False  # every pair moves the same bytes, and forwards what it receives: one rate for all


# the first of each operation is its default
ALGORITHMS: Final[Mapping[ProgramOperation, Mapping[str, Algorithm]]] = {
    "allreduce": {
        "ring": Algorithm(lambda members, span, _group: ring.allreduce(members, span), in_step=True),
        "halving_doubling": Algorithm(lambda members, span, _group: halving.allreduce(len(members), span)),
        "double_tree": Algorithm(lambda members, span, _group: tree.allreduce(len(members), span)),
        "hierarchical": Algorithm(
            lambda members, span, group: hierarchical.allreduce(len(members), span, group_ranks=group), grouped=True
        ),
    },
    "reduce_scatter": {
        "ring": Algorithm(lambda members, span, _group: ring.scatter_sums(members, span, first=-1), in_step=True),
        "halving": Algorithm(lambda members, span, _group: halving.halve(members, span), powers_of_two=True),
    },
    "all_gather": {
        "ring": Algorithm(lambda members, span, _group: ring.gather(members, span, first=0), in_step=True),
        "doubling": Algorithm(lambda members, span, _group: halving.double(members, span), powers_of_two=True),
    },
    "broadcast": {
        "ring": Algorithm(lambda members, span, _group: ring.chain(members, span), in_step=True),
        "tree": Algorithm(lambda members, span, _group: tree.binomial(members, span)),
    },
    "all_to_all": {"direct": Algorithm(lambda members, span, _group: direct.all_to_all(len(members), span))},
    "sendrecv": {"direct": Algorithm(lambda members, span, _group: direct.to_next(len(members), span))},
}


def default_algorithm(operation: ProgramOperation) -> str:
    """Return the algorithm of ``operation`` that is taken where none is named."""
    return next(iter(ALGORITHMS[operation]))


def problems(operation: ProgramOperation, algorithm: str, n_ranks: int, group_ranks: int | None = None) -> list[str]:
    """Return all that keeps ``algorithm`` from serving ``n_ranks`` ranks, as sentences; empty: nothing does."""
    found = ALGORITHMS[operation].get(algorithm)
    if found is None:
        return [f"{operation}: algorithm={algorithm}, expected one of {', '.join(ALGORITHMS[operation])}"]
    name = f"{operation} by {algorithm}"
    wrong = []
    if n_ranks < 2:
        wrong.append(f"{name}: n_ranks={n_ranks}, expected at least 2")
    elif found.powers_of_two and not halving.is_power_of_two(n_ranks):
        wrong.append(f"{name}: n_ranks={n_ranks}, expected a power of two")
    if not found.grouped and group_ranks is not None:
        wrong.append(f"{name}: group_ranks={group_ranks}, expected none: it has no groups")
    if found.grouped and (group_ranks is None or group_ranks < 1 or n_ranks % group_ranks):
        wrong.append(f"{name}: group_ranks={group_ranks}, expected a divisor of n_ranks={n_ranks}")
    return wrong


def program(
    operation: ProgramOperation,
    n_ranks: int,
    size_bytes: int,
    *,
    algorithm: str | None = None,
    root: int | None = None,
    group_ranks: int | None = None,
) -> Program:
    """Return the program of ``operation`` by ``algorithm`` (None: the default of the operation).

    ``root`` is a broadcast's (None: rank 0). Raises ValueError for what ``problems`` finds, and for a size or root that
    cannot be.
    """
    algorithm = algorithm or default_algorithm(operation)
    if wrong := problems(operation, algorithm, n_ranks, group_ranks):
        raise ValueError("; ".join(wrong))
    if operation == "broadcast" and root is None:
        root = 0
    members = [((root or 0) + index) % n_ranks for index in range(n_ranks)]
    build = ALGORITHMS[operation][algorithm].build
    transfers = tuple(build(members, Span(0, size_bytes), group_ranks or 1))
    return Program(operation, n_ranks, size_bytes, root, transfers)
