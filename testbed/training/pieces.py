"""A stage's parameters cut into buckets, and its computation cut where buckets and sections begin. Pure.

Gradients are taken to become ready evenly while a section computes backward, from its last parameter to its first: a
section is a row of matrices whose gradients come one after another. Buckets are of equal size, the fewest with at most
``bucket_bytes``, and end anywhere in a matrix, as in Apex's distributed optimiser (DDP keeps matrices whole, so its
buckets differ in size). Experts that are shared out have buckets of their own, since other ranks reduce them
(Megatron-LM: ``expert_parallel_buffers``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed.training.groups import Group
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


class Bucket(NamedTuple):
    """Parameters that are communicated at once, in ``group``."""

    group: Group
    elements: int


class Row(NamedTuple):
    """A stage: pieces in forward order, and buckets by number, which is the order in which forward begins them."""

    pieces: tuple[Piece, ...]
    buckets: tuple[Bucket, ...]


def bucket_edges(elements: int, element_bytes: int, bucket_bytes: int) -> tuple[int, ...]:
    """Return the n + 1 edges, in elements, of the fewest equal buckets of at most ``bucket_bytes``."""
    most = bucket_bytes // element_bytes
    n = -(-elements // most)
    return tuple(elements * i // n for i in range(n + 1))


def cut(sections: Sequence[Section], element_bytes: int, bucket_bytes: int) -> Row:
    """Return the sections cut into pieces and buckets."""
    elements: dict[Group, int] = {}
    for section in sections:
        elements[section.group] = elements.get(section.group, 0) + section.elements
    edges = {group: bucket_edges(size, element_bytes, bucket_bytes) for group, size in elements.items()}
    done: dict[Group, int] = dict.fromkeys(edges, 0)  # elements cut
    within: dict[Group, int] = dict.fromkeys(edges, 0)  # the bucket that goes on, counted within the group
    numbers: dict[tuple[Group, int], int] = {}
    found = []
    for section in sections:
        group = section.group
        section_start = start = done[group]
        section_end = section_start + section.elements
        while start < section_end:
            bucket_start, bucket_end = edges[group][within[group] : within[group] + 2]
            end = min(section_end, bucket_end)
            found.append(
                Piece(
                    section=section,
                    bucket=numbers.setdefault((group, within[group]), len(numbers)),
                    forward_s=section.forward_s * (end - start) / section.elements,
                    begins_section=start == section_start,
                    ends_section=end == section_end,
                    begins_bucket=start == bucket_start,
                    ends_bucket=end == bucket_end,
                )
            )
            within[group] += end == bucket_end
            start = end
        done[group] = section_end
    buckets = tuple(Bucket(group, edges[group][i + 1] - edges[group][i]) for group, i in numbers)
    return Row(tuple(found), buckets)
