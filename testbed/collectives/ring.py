"""Ring algorithms: every rank sends to the next one only. Pure.

The array is cut into one part per rank. Parts travel round the ring, in n - 1 steps that add up (reduce-scatter) or
as many that replace (all-gather); a ring all-reduce is one after the other (Patarasuk, Yuan: "Bandwidth optimal
all-reduce algorithms for clusters of workstations", JPDC 69(2), 2009). A ring broadcast is a chain, pipelined because
a slice is sent on as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.collectives.program import Span, Transfer


def scatter_sums(members: Sequence[int], span: Span, *, first: int) -> Iterator[Transfer]:
    """Yield a reduce-scatter of ``span`` in which ``members[i]`` begins with part i + ``first``.

    It ends with the sum of part i + ``first`` + 1 in ``members[i]``.
    """
    return _round(members, span, first, reduce=True)


def gather(members: Sequence[int], span: Span, *, first: int) -> Iterator[Transfer]:
    """Yield an all-gather of ``span`` in which ``members[i]`` holds part i + ``first`` at the start."""
    return _round(members, span, first, reduce=False)


def allreduce(members: Sequence[int], span: Span) -> Iterator[Transfer]:
    """Yield a ring all-reduce of ``span``; ``members[i]`` begins with part i."""
    yield from scatter_sums(members, span, first=0)
    yield from gather(members, span, first=1)


def chain(members: Sequence[int], span: Span) -> Iterator[Transfer]:
    """Yield a broadcast of ``span`` from ``members[0]`` through all others in order."""
    for src, dst in zip(members, members[1:], strict=False):
        yield Transfer(src, dst, *span, reduce=False)


def _round(members: Sequence[int], span: Span, first: int, *, reduce: bool) -> Iterator[Transfer]:
    n = len(members)
    parts = [span.part(index, n) for index in range(n)]
    for step in range(n - 1):
        for index, src in enumerate(members):
            yield Transfer(src, members[(index + 1) % n], *parts[(index + first - step) % n], reduce=reduce)
