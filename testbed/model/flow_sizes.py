"""How large flows are: published distributions as points of their CDF, and a user's own. Pure.

A table is points (size in bytes, share of flows that are no larger), sizes and shares rising, the last share 1.
Between two points sizes are evenly spread (as the simulators that use these tables do); the first point's share, where
it is above 0, is of flows of exactly that size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Final

from testbed.errors import Problem, ScenarioError

Points = tuple[tuple[float, float], ...]

PACKET_BYTES: Final = 1460  # what the first table counts in

# Query, coordination and update traffic of a web search cluster: Alizadeh et al., "Data Center TCP (DCTCP)",
# SIGCOMM 2010, figure 4. The points are those pFabric (SIGCOMM 2013) was simulated with and which most simulators
# took over (CDF_dctcp.tcl), in packets of 1460 bytes.
WEB_SEARCH: Final[Points] = tuple(
    (packets * PACKET_BYTES, share)
    for packets, share in (
        *((6, 0.15), (13, 0.2), (19, 0.3), (33, 0.4), (53, 0.53), (133, 0.6), (667, 0.7), (1333, 0.8)),
        *((3333, 0.9), (6667, 0.97), (20_000, 1.0)),
    )
)
# A cluster for data mining: Greenberg et al., "VL2", SIGCOMM 2009, figure 2. The points are those of the
# TrafficGenerator of HKUST (conf/VL2_CDF.txt), in bytes.
DATA_MINING: Final[Points] = (
    *((0.0, 0.0), (180, 0.1), (216, 0.2), (560, 0.3), (900, 0.4), (1100, 0.5), (1870, 0.6), (3160, 0.7)),
    *((10_000, 0.8), (400_000, 0.9), (3_160_000, 0.95), (100_000_000, 0.98), (1_000_000_000, 1.0)),
)
TABLES: Final[dict[str, Points]] = {"web_search": WEB_SEARCH, "data_mining": DATA_MINING}

MAX_POINTS: Final = 10_000
MAX_SIZE_BYTES: Final = 1e12
SHARE_TOLERANCE: Final = 1e-9


def mistakes_in(points: Sequence[tuple[float, float]]) -> Iterator[tuple[int, str, str]]:
    """Yield (index of the point, what is wrong with it, what was expected) for each mistake in a table."""
    if not points:
        yield 0, "no point", "at least one, the last with share 1"
        return
    for index, (size_bytes, share) in enumerate(points):
        if not 0 <= size_bytes <= MAX_SIZE_BYTES:
            yield index, f"size {size_bytes:g}", f"bytes from 0 to {MAX_SIZE_BYTES:g}"
        if not 0 <= share <= 1 + SHARE_TOLERANCE:
            yield index, f"share {share:g}", "a share from 0 to 1"
    for index, (before, after) in enumerate(pairwise(points), start=1):
        if not after[0] > before[0]:
            yield index, f"size {after[0]:g} after {before[0]:g}", "sizes that rise"
        if after[1] < before[1]:
            yield index, f"share {after[1]:g} after {before[1]:g}", "shares that do not fall"
    if abs(points[-1][1] - 1) > SHARE_TOLERANCE and 0 <= points[-1][1] <= 1:
        yield len(points) - 1, f"share {points[-1][1]:g} of the last point", "1"
    if points[-1][0] < 1:
        yield len(points) - 1, f"largest size {points[-1][0]:g}", "at least a byte"


def parse_table(text: str, *, source: str) -> Points:
    """Read a table: a line per point, size in bytes and share, by blanks or a comma; ``#`` begins a comment.

    Raises ScenarioError with every problem and its line.
    """
    points: list[tuple[float, float]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            size_bytes, share = map(float, words)
        except ValueError:
            expected = "two numbers: size in bytes, share of flows that are no larger"
            problems.append(Problem("not a point", f"{source}: line {number}", repr(line[:60]), expected))
            continue
        points.append((size_bytes, share))
        lines.append(number)
        if len(points) > MAX_POINTS:
            got, expected = f"more than {MAX_POINTS} points", f"at most {MAX_POINTS}"
            raise ScenarioError([*problems, Problem("too long", source, got, expected)])
    if not problems or points:
        problems += [
            Problem("not a distribution", f"{source}: line {lines[index]}" if lines else source, got, expected)
            for index, got, expected in mistakes_in(points)
        ]
    if problems:
        raise ScenarioError(problems)
    return tuple(points)


def mean_bytes(points: Points, scale: float = 1.0) -> float:
    """Return the mean size of what ``draw_bytes`` draws, but for its rounding up to whole bytes."""
    first_bytes, first_share = points[0]
    found = first_bytes * first_share
    for (low, share), (high, next_share) in pairwise(points):
        found += (low + high) / 2 * (next_share - share)
    return found * scale


def draw_bytes(points: Points, rng: Random, scale: float = 1.0) -> int:
    """Draw a size: whole bytes, at least one."""
    return max(1, round(scale * quantile_bytes(points, rng.random())))


def quantile_bytes(points: Points, share: float) -> float:
    """Return the size that ``share`` of flows do not exceed."""
    shares = [each for _size, each in points]
    index = min(bisect_left(shares, share), len(points) - 1)
    if index == 0:
        return points[0][0]
    (low, below), (high, above) = points[index - 1], points[index]
    return low + (high - low) * min((share - below) / (above - below), 1.0)
