"""A stage's parameters cut into buckets, and its computation cut where buckets and sections begin. Pure.

Gradients are taken to become ready evenly while a section computes backward, from its last parameter to its first: a
section is a row of matrices whose gradients come one after another. Buckets are of equal size, the fewest with at most
``bucket_bytes``, and end anywhere in a matrix, as in Apex's distributed optimiser (DDP keeps matrices whole, so its
buckets differ in size).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.training.sections import Section


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one section in one bucket; ``begins_*`` and ``ends_*`` are as seen forward."""

    section: Section
    bucket: int
    forward_s: float
    begins_section: bool
    ends_section: bool
    begins_bucket: bool
    ends_bucket: bool


def bucket_edges(elements: int, element_bytes: int, bucket_bytes: int) -> tuple[int, ...]:
    """Return the n + 1 edges, in elements, of the fewest equal buckets of at most ``bucket_bytes``."""
    most = bucket_bytes // element_bytes
    n = -(-elements // most)
    return tuple(elements * i // n for i in range(n + 1))


def pieces(sections: Sequence[Section], edges: Sequence[int]) -> tuple[Piece, ...]:
    """Return the pieces in forward order; ``edges`` are the buckets', from 0 to all elements of the sections."""
    found = []
    bucket = start = section_start = 0
    for section in sections:
        section_end = section_start + section.elements
        while start < section_end:
            end = min(section_end, edges[bucket + 1])
            found.append(
                Piece(
                    section=section,
                    bucket=bucket,
                    forward_s=section.forward_s * (end - start) / section.elements,
                    begins_section=start == section_start,
                    ends_section=end == section_end,
                    begins_bucket=start == edges[bucket],
                    ends_bucket=end == edges[bucket + 1],
                )
            )
            bucket += end == edges[bucket + 1]
            start = end
        section_start = section_end
    return tuple(found)
