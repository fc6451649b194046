"""Two sets of runs, one quantity: which runs are pairs, and how the sets contrast. Pure.

Runs of the same seed have the same placement, ports and hashing, so most of what differs between seeds is gone from
their ratio. Where a seed was run several times the latest run of one set goes with the latest of the other, and all of
them together are one number, for they share their hashing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from testbed.inference.contrast import LEAST_RUNS, REPEATABILITY, Contrast, paired, unpaired

Numbers = Mapping[str, float | None]
NOTHING_TO_TEST: Final = "the same in every run"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run measured; None is "not measured"."""

    seed: int
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Found:
    """What two sets say of one quantity: means, runs with a number, and the contrast or why there is none."""

    a_mean: float | None
    b_mean: float | None
    a_runs: int
    b_runs: int
    contrast: Contrast | None
    untested: str = ""


def contrasted(a: Sequence[Measured], b: Sequence[Measured], key: str, *, is_count: bool) -> Found | None:
    """Contrast one quantity of two sets (oldest run first); None where no run has it.

    Counts may be 0 and are few: their ratio is of numbers plus one, and no count is taken to be steadier than chance
    makes it (Poisson: variance of the logarithm 1/(count + 1)).
    """
    ours, theirs = _known(a, key), _known(b, key)
    if not ours and not theirs:
        return None
    contrast, untested = _contrast(ours, theirs, is_count)
    means = [fmean(x for _, x in side) if side else None for side in (ours, theirs)]
    return Found(means[0], means[1], len(ours), len(theirs), contrast, untested)


def _known(runs: Sequence[Measured], key: str) -> list[tuple[int, float]]:
    return [(run.seed, x) for run in runs if (x := run.numbers.get(key)) is not None]


def _contrast(
    a: Sequence[tuple[int, float]], b: Sequence[tuple[int, float]], is_count: bool
) -> tuple[Contrast | None, str]:
    if not a or not b:
        return None, f"not measured in {'A' if not a else 'B'}"
    if len({x for _, x in (*a, *b)}) == 1:
        return None, NOTHING_TO_TEST
    if not is_count and min(x for _, x in (*a, *b)) <= 0:
        return None, "0 in some run: no ratio"
    pairs = pairs_of(a, b)
    if len(pairs) >= LEAST_RUNS and 2 * len(pairs) >= min(len(a), len(b)) and not _has_better_than_pairs(a, b):
        floor = math.sqrt(fmean(_noise(x) + _noise(y) for x, y in pairs)) if is_count else REPEATABILITY
        return paired(_log_ratios(a, b, is_count), floor=floor), ""
    if min(len(a), len(b)) < LEAST_RUNS:
        return None, f"too few runs: {len(a)} and {len(b)}"
    logs = [[fmean(_log(x, is_count) for x in own) for own in _by_seed(side).values()] for side in (a, b)]
    if min(map(len, logs)) < LEAST_RUNS:
        return None, f"too few seeds: {len(logs[0])} and {len(logs[1])}"
    floor = math.sqrt(fmean(_noise(x) for _, x in (*a, *b))) if is_count else REPEATABILITY
    return unpaired(logs[0], logs[1], floor=floor), ""


def _has_better_than_pairs(a: Sequence[tuple[int, float]], b: Sequence[tuple[int, float]]) -> bool:
    """Whether both sets have seeds enough to be compared as a whole, but too few in common.

    Pairs of one or two seeds, repeated, would be taken for what the sets say of all their seeds.
    """
    ours, theirs = _by_seed(a), _by_seed(b)
    return len(ours.keys() & theirs.keys()) < LEAST_RUNS <= min(len(ours), len(theirs))


def _log_ratios(a: Sequence[tuple[int, float]], b: Sequence[tuple[int, float]], is_count: bool) -> list[float]:
    """Return a logarithm per seed: runs of one share its hashing, so repeating them tells nothing of other seeds.

    Of fewer seeds than can tell their spread, one per pair: what follows is about these seeds only.
    """
    every = [[_log(y, is_count) - _log(x, is_count) for x, y in own] for own in _pairs_by_seed(a, b)]
    return [fmean(own) for own in every] if len(every) >= LEAST_RUNS else [log for own in every for log in own]


def pairs_of(a: Sequence[tuple[int, float]], b: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return the numbers of runs of the same seed, the latest of each with each other, then those before."""
    return [pair for own in _pairs_by_seed(a, b) for pair in own]


def _pairs_by_seed(a: Sequence[tuple[int, float]], b: Sequence[tuple[int, float]]) -> list[list[tuple[float, float]]]:
    ours, theirs = _by_seed(a), _by_seed(b)
    return [
        list(zip(reversed(ours[seed]), reversed(theirs[seed]), strict=False))
        for seed in sorted(ours.keys() & theirs.keys())
    ]


def _by_seed(runs: Sequence[tuple[int, float]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for seed, number in runs:
        found.setdefault(seed, []).append(number)
    return found


def _log(number: float, is_count: bool) -> float:
    return math.log(number + 1 if is_count else number)


def _noise(count: float) -> float:
    return 1 / (count + 1)
