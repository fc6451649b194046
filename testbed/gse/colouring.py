"""Edge colouring of a bipartite multigraph: the heart of placing flows on spines without conflict.

König (1916): a bipartite multigraph with highest degree D can be edge-coloured with D colours. Source
leaves on one side, destination leaves on the other, an edge per flow, a colour per path: no uplink and
no downlink then carries two flows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Edge = tuple[int, int]


def highest_degree(edges: Sequence[Edge]) -> int:
    """Return the largest number of edges that meet in one left or one right node."""
    left, right = Counter(u for u, _v in edges), Counter(v for _u, v in edges)
    return max([0, *left.values(), *right.values()])


def colour_edges(edges: Sequence[Edge], colours: int) -> list[int]:
    """Return a colour in ``range(colours)`` for each edge (left, right); no two at one node are equal.

    Needs ``colours >= highest_degree(edges)``. Deterministic, O(edges x nodes); every choice takes the least
    used colour that fits, so that the colours are used about equally often.
    """
    if colours < highest_degree(edges):
        raise ValueError(f"{colours} colours cannot colour edges of degree {highest_degree(edges)}")
    # edge_at[side][node][colour] is the index of the edge there, or None
    edge_at: tuple[dict[int, list[int | None]], dict[int, list[int | None]]] = ({}, {})
    for u, v in edges:
        edge_at[0].setdefault(u, [None] * colours)
        edge_at[1].setdefault(v, [None] * colours)
    colour_of: list[int] = []
    used = [0] * colours
    for index, (u, v) in enumerate(edges):
        at_u, at_v = edge_at[0][u], edge_at[1][v]
        free = [c for c in range(colours) if at_u[c] is None and at_v[c] is None]
        if free:
            colour = min(free, key=lambda c: (used[c], c))
        else:
            colour = at_u.index(None)
            _flip(edges, edge_at, colour_of, start=v, wanted=colour, other=at_v.index(None))
        at_u[colour] = at_v[colour] = index
        colour_of.append(colour)
        used[colour] += 1
    return colour_of


def _flip(
    edges: Sequence[Edge],
    edge_at: tuple[dict[int, list[int | None]], dict[int, list[int | None]]],
    colour_of: list[int],
    *,
    start: int,
    wanted: int,
    other: int,
) -> None:
    """Swap two colours along the path that leaves right node ``start`` by ``wanted``, which is then free there.

    The path cannot end in the left node of the new edge: arriving there would take an edge of colour
    ``wanted``, and that colour is free at that node.
    """
    chain: list[int] = []
    side, node, colour = 1, start, wanted
    while (index := edge_at[side][node][colour]) is not None:
        chain.append(index)
        side = 1 - side
        node = edges[index][side]
        colour = other if colour == wanted else wanted
    for index in chain:
        for end_side in (0, 1):
            row = edge_at[end_side][edges[index][end_side]]
            if row[colour_of[index]] == index:
                row[colour_of[index]] = None
    for index in chain:
        colour_of[index] = other if colour_of[index] == wanted else wanted
        for end_side in (0, 1):
            edge_at[end_side][edges[index][end_side]][colour_of[index]] = index
