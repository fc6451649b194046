"""Tree algorithms: two complementary binary trees for an all-reduce, a binomial tree for a broadcast. Pure.

In one binary tree an inner rank sends what it gets to two others and sets the pace, while a leaf, as half of the
ranks are, sends nothing on. With two trees, each with half of the array, the inner ranks of one are leaves of the
other, and all work alike (Sanders, Speck, Traeff: "Two-tree algorithms for full bandwidth broadcast, reduction and
scan", Parallel Computing 35(12), 2009).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.collectives.program import Span, Transfer

Edge = tuple[int, int]  # parent, child


def two_trees(n_ranks: int) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    """Return the edges of two trees over all ranks, parents before their children; no rank is a parent in both.

    In the first every odd rank is inside and every even one a leaf. The second is its mirror image where n is even;
    where n is odd it is shifted by one, as mirroring would keep odd ranks odd.
    """
    edges = tuple(_edges(1, n_ranks))
    first = tuple((parent - 1, child - 1) for parent, child in edges)
    if n_ranks % 2:
        return first, tuple((parent % n_ranks, child % n_ranks) for parent, child in edges)
    return first, tuple((n_ranks - parent, n_ranks - child) for parent, child in edges)


def allreduce(n_ranks: int, span: Span) -> Iterator[Transfer]:
    """Yield an all-reduce of ``span``: up and down two trees, half of it on each."""
    trees = [(edges, span.part(half, 2)) for half, edges in enumerate(two_trees(n_ranks))]
    for edges, half in trees:
        for parent, child in reversed(edges):
            yield Transfer(child, parent, *half, reduce=True)
    for edges, half in trees:
        for parent, child in edges:
            yield Transfer(parent, child, *half, reduce=False)


def binomial(members: Sequence[int], span: Span) -> Iterator[Transfer]:
    """Yield a broadcast of ``span`` from ``members[0]``: in a step all who have it send it to one who has not."""
    n = len(members)
    distance = 1 << (n - 1).bit_length() >> 1
    while distance:
        for index in range(0, n - distance, 2 * distance):
            yield Transfer(members[index], members[index + distance], *span, reduce=False)
        distance //= 2


def _edges(first: int, last: int) -> Iterator[Edge]:
    """Yield the edges of a balanced tree over places ``first`` (odd) .. ``last``: odd ones leaves, even ones inside."""
    root = _root(first, last)
    for low, high in ((first, root - 1), (root + 1, last)):
        if low <= high:
            yield root, _root(low, high)
            if low < high:
                yield from _edges(low, high)


def _root(first: int, last: int) -> int:
    if first == last:
        return first
    middle = (first + last) // 2
    return middle + middle % 2
