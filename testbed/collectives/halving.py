"""Recursive halving and doubling: log2(n) steps between ranks whose numbers differ in one bit. Pure.

Halving is a reduce-scatter: in every step a rank keeps one half of what it is still responsible for and sends the
other to its partner, who keeps that one. Doubling is the all-gather that runs the same steps backwards. Partners
farthest apart come first, so that member i ends with part i. One after the other they are an all-reduce (Thakur,
Rabenseifner, Gropp: "Optimization of collective communication operations in MPICH", IJHPCA 19(1), 2005).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.collectives.program import Span, Transfer


def is_power_of_two(n: int) -> bool:
    """Return whether halving and doubling alone serve ``n`` ranks."""
    return n > 0 and n & (n - 1) == 0


def halve(members: Sequence[int], span: Span) -> Iterator[Transfer]:
    """Yield a reduce-scatter of ``span`` that ends with the sum of part i in ``members[i]``; a power of two of them."""
    distance = len(members) // 2
    while distance:
        for index, src in enumerate(members):
            partner = index ^ distance
            yield Transfer(src, members[partner], *_block(span, partner, distance, len(members)), reduce=True)
        distance //= 2


def double(members: Sequence[int], span: Span) -> Iterator[Transfer]:
    """Yield an all-gather of ``span``, part i of which ``members[i]`` holds at the start; a power of two of them."""
    distance = 1
    while distance < len(members):
        for index, src in enumerate(members):
            yield Transfer(src, members[index ^ distance], *_block(span, index, distance, len(members)), reduce=False)
        distance *= 2


def allreduce(n_ranks: int, span: Span) -> Iterator[Transfer]:
    """Yield an all-reduce of ``span`` between any number of ranks.

    Where it is 2^k + r, ranks 0 and 1, 2 and 3 .. of the first 2r pair up: the even one leaves its array to the odd
    one, who gives the sums back at the end.
    """
    members_wanted = 1 << n_ranks.bit_length() - 1
    paired = 2 * (n_ranks - members_wanted)
    members = [*range(1, paired, 2), *range(paired, n_ranks)]
    for even in range(0, paired, 2):
        yield Transfer(even, even + 1, *span, reduce=True)
    yield from halve(members, span)
    yield from double(members, span)
    for even in range(0, paired, 2):
        yield Transfer(even + 1, even, *span, reduce=False)


def _block(span: Span, index: int, length: int, parts: int) -> Span:
    """Return the aligned block of ``length`` of the ``parts`` that part ``index`` is in."""
    first = index & -length
    return Span(span.part(first, parts).start_byte, span.part(first + length - 1, parts).end_byte)
