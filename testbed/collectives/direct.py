"""Messages straight from rank to rank: nothing is forwarded, so nothing waits. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.collectives.program import Span, Transfer


def all_to_all(n_ranks: int, span: Span) -> Iterator[Transfer]:
    """Yield everybody's message for everybody: part j of ``span`` for rank j. Rank r begins with r + 1, then r + 2, ...

    Who begins where differs, so that not all send to one at a time.
    """
    for step in range(1, n_ranks):
        for src in range(n_ranks):
            dst = (src + step) % n_ranks
            start, end = span.part(dst, n_ranks)
            yield Transfer(src, dst, 0, end - start, reduce=False)


def to_next(n_ranks: int, span: Span) -> Iterator[Transfer]:
    """Yield one message of the length of ``span`` from every rank to the next one."""
    for src in range(n_ranks):
        yield Transfer(src, (src + 1) % n_ranks, 0, span.end_byte - span.start_byte, reduce=False)
