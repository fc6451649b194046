"""What schemes gain of training iterations over the first one, of the runs of a sweep that are not INVALID."""

from __future__ import annotations

import math
from statistics import fmean

from testbed.evaluation.records import LEAST_S
from testbed.inference.speedup import Speedup, paired_speedup
from testbed.views.comparison import INVALID
from testbed.views.sweep import Group, Member, SweepResults

Pairs = dict[int, float]  # key of a pair of runs -> seconds


def speed_gains(results: SweepResults) -> dict[tuple[int, str], Speedup]:
    """Return how much faster each scheme is than the first at each value, paired by seed."""
    found = {}
    for group in results.groups:
        first = results.of(results.stored.sweep.schemes[0])[group.point]
        ratio = paired_speedup(_times(first), _times(group))
        if ratio is not None:
            found[group.point, group.scheme] = ratio
    return found


def share_of_mean(group: Group) -> float | None:
    """Return the exposed share that speeds over a scheme are of: that of its geometric mean iteration; None: of no run.

    Speeds are ratios of geometric means, so 1 / (1 - share) is what an iteration without communication would be faster
    by. The median share is another where seeds hash into two or three outcomes: with it the same speeds would look as
    if less of an iteration had to be exposed for them.
    """
    shares = [share for member in group.counted if (share := member.numbers["exposed_share"]) is not None and share < 1]
    return 1 - math.exp(fmean(math.log1p(-share) for share in shares)) if shares else None


def ideal_gains(results: SweepResults) -> dict[int, Speedup]:
    """Return how much faster than the first scheme an ideal network would be at each value."""
    found = {}
    for group in results.of(results.stored.sweep.schemes[0]):
        job = results.stored.sweep.points[group.point].job
        times = _times(group)
        if job is not None and (ratio := paired_speedup(times, dict.fromkeys(times, job.ideal.duration_s))):
            found[group.point] = ratio
    return found


def collision_gains(results: SweepResults) -> dict[tuple[int, str], Speedup]:
    """Return the same over all values, by how many flows the fullest link had under the first scheme."""
    schemes = results.stored.sweep.schemes
    slower: dict[tuple[int, str], tuple[Pairs, Pairs]] = {}
    for scheme in schemes[1:]:
        for first, other in zip(results.of(schemes[0]), results.of(scheme), strict=True):
            others = {member.stored.run.seed: member for member in other.members}
            for member in first.members:
                level, pair = _collisions(member), others.get(member.stored.run.seed)
                own_s, other_s = _seconds(member), None if pair is None else _seconds(pair)
                if level is not None and own_s and other_s:
                    mine, theirs = slower.setdefault((level, scheme), ({}, {}))
                    key = len(mine)
                    mine[key], theirs[key] = own_s, other_s
    found = {key: paired_speedup(*pairs) for key, pairs in slower.items()}
    return {key: ratio for key, ratio in found.items() if ratio is not None}


def _times(group: Group) -> Pairs:
    return {member.stored.run.seed: seconds for member in group.members if (seconds := _seconds(member))}


def _seconds(member: Member) -> float | None:
    """Return what an iteration took; None of a run that is INVALID, or where it was not measured."""
    seconds = member.numbers["completion_s"]
    return None if member.state == INVALID or seconds is None or seconds < LEAST_S else seconds


def _collisions(member: Member) -> int | None:
    """Return the most flows on one link between switches; None where flows have no paths of their own."""
    if member.entry is None:
        return None
    placement = ("details", "placement")
    numbers = [member.entry.number(*placement, name) for name in ("max_uplink_flows", "max_downlink_flows")]
    known = [round(number) for number in numbers if number is not None]
    return max(known) if known else None
