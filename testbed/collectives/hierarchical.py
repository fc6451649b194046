"""Hierarchical all-reduce: as much as possible inside groups of consecutive ranks, as little as possible across. Pure.

Inside a group of g: reduce-scatter, after which rank i of the group holds the group's sum of part i. Across: rank i
of every group all-reduces part i with rank i of the others, size / g instead of the whole. Inside again: all-gather.
All three on rings.
"""

from __future__ import annotations

from collections.abc import Iterator

from testbed.collectives import ring
from testbed.collectives.program import Span, Transfer


def allreduce(n_ranks: int, span: Span, *, group_ranks: int) -> Iterator[Transfer]:
    """Yield the all-reduce of ``span``; ``group_ranks`` divides ``n_ranks``. Groups of one, or of all, are a ring."""
    groups = [range(first, first + group_ranks) for first in range(0, n_ranks, group_ranks)]
    for group in groups:
        yield from ring.scatter_sums(group, span, first=-1)
    for index in range(group_ranks):
        yield from ring.allreduce([group[index] for group in groups], span.part(index, group_ranks))
    for group in groups:
        yield from ring.gather(group, span, first=0)
