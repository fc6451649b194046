"""Which path each flow of a job should take: an assignment without conflict where one exists. Pure.

Two ways, and the better result wins:

* edge colouring (``testbed.gse.colouring``) over the paths every pair can use. With at most as many flows
  per leaf as paths, no uplink or downlink gets two. With more, say D per leaf on P paths, colouring with
  ceil(D/P) * P colours and merging colour c onto path c mod P puts at most ceil(D/P) on any link.
* heaviest flow first onto its least loaded path, for unequal demands, failed links and links other
  traffic already uses.

Both are followed by local improvement (moves and swaps) unless the result cannot be better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from testbed.gse.colouring import Edge, colour_edges, highest_degree
from testbed.gse.fractions import ExpectedLoad
from testbed.gse.load import LinkId, links_of_path

# Changes tried by local improvement at most, a few tenths of a second's worth: GSOS decides nothing else meanwhile.
EVALUATIONS = 10_000
# Differences of load below this are rounding.
EPSILON = 1e-9

Allowed = Callable[[int, int], tuple[int, ...]]
Loads = dict[LinkId, float]


@dataclass(frozen=True, slots=True)
class Request:
    """A flow to be placed; ``weight`` is the load it is expected to be."""

    src_leaf: int
    dst_leaf: int
    weight: ExpectedLoad


@dataclass(frozen=True, slots=True)
class Placed:
    """A path per request, in order, and how it was found."""

    paths: tuple[int, ...]
    method: str


def place(requests: Sequence[Request], allowed: Allowed, base: Mapping[LinkId, float]) -> Placed:
    """Return a path for each request.

    ``allowed(src_leaf, dst_leaf)`` are the paths a pair may use (never none); ``base`` is what the links
    carry already, as fractions. Deterministic: the same input gives the same placement.
    """
    if not requests:
        return Placed((), "nothing to place")
    choices = [allowed(request.src_leaf, request.dst_leaf) for request in requests]
    coloured = _coloured(requests, choices)
    if coloured is not None and not base and _cannot_be_better(requests, choices, coloured):
        return coloured
    candidates = [_greedy(requests, choices, base)]
    if coloured is not None:
        candidates.append(coloured)
    improved = [_improved(requests, choices, base, candidate) for candidate in candidates]
    return min(improved, key=lambda candidate: _cost(requests, candidate.paths, base))


def link_flows(requests: Sequence[Request], paths: Sequence[int]) -> dict[LinkId, int]:
    """Return how many flows each link direction carries."""
    count: dict[LinkId, int] = defaultdict(int)
    for request, path in zip(requests, paths, strict=True):
        for link in links_of_path(request.src_leaf, request.dst_leaf, path):
            count[link] += 1
    return dict(count)


def even_paths(edges: Sequence[Edge], common: Sequence[int]) -> tuple[list[int], int]:
    """Return a path for each flow (source leaf, destination leaf), and how many colours a path stands for.

    All may use all of the ``common`` paths: what ``place`` does with flows that are alike where nothing else is.
    """
    rounds = max(1, -(-highest_degree(edges) // len(common)))
    return [common[colour % len(common)] for colour in colour_edges(edges, rounds * len(common))], rounds


def _coloured(requests: Sequence[Request], choices: Sequence[tuple[int, ...]]) -> Placed | None:
    distinct = {id(choice): choice for choice in choices}  # mostly one: a set of paths for each request is gigabytes
    common = sorted(set.intersection(*map(set, distinct.values())))
    if not common:
        return None
    paths, rounds = even_paths([(request.src_leaf, request.dst_leaf) for request in requests], common)
    method = "edge colouring" if rounds == 1 else f"edge colouring, {rounds} colours per path"
    return Placed(tuple(paths), method)


def _cannot_be_better(requests: Sequence[Request], choices: Sequence[tuple[int, ...]], placed: Placed) -> bool:
    if max(link_flows(requests, placed.paths).values()) == 1:
        return True
    equal = all(abs(request.weight - requests[0].weight) <= EPSILON for request in requests)
    return equal and all(choice is choices[0] or choice == choices[0] for choice in choices)


def _loads(requests: Sequence[Request], paths: Sequence[int], base: Mapping[LinkId, float]) -> Loads:
    loads: Loads = defaultdict(float, base)
    for request, path in zip(requests, paths, strict=True):
        for link in links_of_path(request.src_leaf, request.dst_leaf, path):
            loads[link] += request.weight
    return loads


def _cost(requests: Sequence[Request], paths: Sequence[int], base: Mapping[LinkId, float]) -> tuple[float, float]:
    """Return what is minimised: the worst link these flows use, then how unevenly the load is spread."""
    loads = _loads(requests, paths, base)
    return (_worst(requests, paths, loads), round(sum(load * load for load in loads.values()), 9))


def _worst(requests: Sequence[Request], paths: Sequence[int], loads: Loads) -> float:
    pairs = zip(requests, paths, strict=True)
    return round(max(loads[link] for r, path in pairs for link in links_of_path(r.src_leaf, r.dst_leaf, path)), 9)


def _greedy(requests: Sequence[Request], choices: Sequence[tuple[int, ...]], base: Mapping[LinkId, float]) -> Placed:
    loads: Loads = defaultdict(float, base)
    paths = [0] * len(requests)
    for index in sorted(range(len(requests)), key=lambda i: (-requests[i].weight, i)):
        request = requests[index]

        def worst(path: int, request: Request = request) -> tuple[float, float]:
            up, down = (loads[link] for link in links_of_path(request.src_leaf, request.dst_leaf, path))
            return (round(max(up, down), 9), round(up + down, 9))

        paths[index] = min(choices[index], key=lambda path: (worst(path), path))
        for link in links_of_path(request.src_leaf, request.dst_leaf, paths[index]):
            loads[link] += request.weight
    return Placed(tuple(paths), "heaviest first")


def _improved(
    requests: Sequence[Request], choices: Sequence[tuple[int, ...]], base: Mapping[LinkId, float], start: Placed
) -> Placed:
    """Relieve a worst link by a move or a swap, again and again, until there is no such change.

    Every step leaves fewer links at the worst load or lowers it, so this ends; ``EVALUATIONS`` bounds the time.
    """
    paths, steps, left = list(start.paths), 0, EVALUATIONS
    while left > 0:
        loads = _loads(requests, paths, base)
        change, tried = _relief(requests, choices, paths, loads)
        left -= tried
        if change is None:
            break
        for index, path in change.items():
            paths[index] = path
        steps += 1
    return Placed(tuple(paths), start.method + (f", {steps} improvements" if steps else ""))


def _relief(
    requests: Sequence[Request], choices: Sequence[tuple[int, ...]], paths: Sequence[int], loads: Loads
) -> tuple[dict[int, int] | None, int]:
    """Return the best change of the first flow on a worst link that has one, and how many changes were tried."""
    worst, tried = _worst(requests, paths, loads), 0
    for index, request in enumerate(requests):
        links = links_of_path(request.src_leaf, request.dst_leaf, paths[index])
        if all(loads[link] < worst - EPSILON for link in links):
            continue
        best: tuple[float, float] = (EPSILON, float("-inf"))
        found = None
        for change in _changes(requests, choices, paths, index):
            tried += 1
            gain = _gain(requests, paths, loads, change)
            if gain > best:
                best, found = gain, change
        if found is not None:
            return found, tried
    return None, tried


def _changes(
    requests: Sequence[Request], choices: Sequence[tuple[int, ...]], paths: Sequence[int], index: int
) -> list[dict[int, int]]:
    """Return every move of flow ``index``, alone or trading paths with a flow that shares one of its leaves."""
    request, mine = requests[index], paths[index]
    changes = [{index: path} for path in choices[index] if path != mine]
    for other, partner in enumerate(requests):
        shares = partner.src_leaf == request.src_leaf or partner.dst_leaf == request.dst_leaf
        if shares and paths[other] != mine and paths[other] in choices[index] and mine in choices[other]:
            changes.append({index: paths[other], other: mine})
    return changes


def _gain(
    requests: Sequence[Request], paths: Sequence[int], loads: Loads, change: Mapping[int, int]
) -> tuple[float, float]:
    """Return by how much a change lowers the worst of the links it touches, and the sum of squares."""
    delta: Loads = defaultdict(float)
    for index, path in change.items():
        request = requests[index]
        for link in links_of_path(request.src_leaf, request.dst_leaf, paths[index]):
            delta[link] -= request.weight
        for link in links_of_path(request.src_leaf, request.dst_leaf, path):
            delta[link] += request.weight
    before = max(loads[link] for link in delta)
    after = max(loads[link] + change for link, change in delta.items())
    squares = sum(loads[link] ** 2 - (loads[link] + change) ** 2 for link, change in delta.items())
    return (round(before - after, 9), round(squares, 9))
