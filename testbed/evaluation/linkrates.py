"""How fast shaped links were while frames waited for them, and how long they stood still meanwhile. Pure.

A link that has nothing to send says nothing about its rate. One whose queue never emptied between two readings of it
does: more waited at the first than was sent until the second. ``sent_bytes`` counts as the token bucket does, whole
Ethernet frames without FCS, so that it is compared with the configured rate as it stands.

- ``ratio``: bytes / (rate x time) over the intervals at whose start more waited than the bucket can let out in them.
  What was really sent does not decide there whether an interval counts (it would be counted the more likely the less
  was sent), unless a link is so much faster than it should be that its queue may have emptied.
- ``longest_stall_s``: what of the time between readings is missing in bytes, at the rate that the link has else (its
  configured rate at most), less what the bucket explains, which sends whole frames and at the second reading may hold
  all it can. What is left is time in which the bucket was full, a frame waited, and nothing was sent. It is the least:
  until the bucket is full a pause is made up for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from testbed.evaluation.during import During
from testbed.evaluation.queues import KINDS
from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Window
from testbed.evaluation.timeline import MOST_MISSED
from testbed.model.shaping import QueueSetting, queue_setting
from testbed.model.topology import Direction
from testbed.units import bytes_to_mbps
from testbed.wire import frame_bytes

LEAST_BUSY_S: Final = 0.5  # a late timer of some ms is 1% of it
# Of a rate, by counting whole frames: a tenth of what is a doubt. 137 frames that were sent in a row; more where the
# queue emptied in between, for each such stretch begins and ends somewhere in a frame.
ERROR_FRACTION: Final = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRate:
    """One direction of a link that frames waited for.

    ``busy_s``: the time its rate is known from; too little of it, and the rate is None. ``ratio``: of the configured
    rate. ``longest_stall_s``: the longest time it certainly stood still with frames waiting.
    """

    link: str
    busy_s: float
    rate_mbps: float | None
    ratio: float | None
    longest_stall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A queue as it was read at ``t_s``, or by ``within_s`` earlier or later."""

    t_s: float
    within_s: float
    backlog_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class _Step:
    """From one reading to the next."""

    before: Reading
    after: Reading

    @property
    def duration_s(self) -> float:
        return self.after.t_s - self.before.t_s

    @property
    def sent_bytes(self) -> int:
        return self.after.sent_bytes - self.before.sent_bytes

    @property
    def never_empty(self) -> bool:
        """Whether something that waited at its start still did at its end; not told of a counter that was reset."""
        return 0 <= self.sent_bytes < self.before.backlog_bytes


def run_link_rates(
    run: RunRecord, during: Sequence[Window], left_out: Mapping[str, Sequence[Window]]
) -> tuple[LinkRate, ...]:
    """Return every link the switches send over that frames were seen to wait for, in order of ``topology.directions``.

    ``during``: what counts lies in one of these windows, and of an interface outside its windows in ``left_out``.
    """
    fabric, most_apart_s = run.scenario.fabric, MOST_MISSED * run.scenario.measure.sample_interval_s
    readings, measured = _readings(run), During.of(during)
    found = []
    for direction in shaped(run):
        intf = direction.src.intf
        excused = During(left_out.get(intf, ()))

        def counts(start_s: float, end_s: float, excused: During = excused) -> bool:
            near = end_s - start_s <= most_apart_s
            return near and measured.hold(start_s, end_s) and not excused.meet(start_s, end_s)

        setting = queue_setting(fabric, direction.rate_mbps)
        found.append(
            link_rate(
                direction.name, readings.get(intf, ()), setting, frame=frame_bytes(fabric.mtu_bytes), counts=counts
            )
        )
    return tuple(one for one in found if one is not None)


def shaped(run: RunRecord) -> list[Direction]:
    """Return the directions whose queues are sampled throughout: those switches send over."""
    return [direction for direction in run.topology.directions if direction.kind in KINDS]


def link_rate(
    link: str,
    readings: Sequence[Reading],
    setting: QueueSetting,
    *,
    frame: int,
    counts: Callable[[float, float], bool] = lambda _start_s, _end_s: True,
) -> LinkRate | None:
    """Return what the readings of a link's queue, in order of time, say of it; None: its queue may always have emptied.

    ``frame``: bytes of a full one. ``counts``: may the time from one moment to another be looked at?
    """
    steps = (_Step(before, after) for before, after in zip(readings, readings[1:], strict=False))
    waited = [step for step in steps if step.never_empty and counts(step.before.t_s, step.after.t_s)]
    if not waited:
        return None
    rate, burst = setting.rate_bytes_per_s, setting.burst_bytes
    rated = [step for step in waited if step.before.backlog_bytes > rate * step.duration_s + burst]
    busy_s, sent = sum(step.duration_s for step in rated), sum(step.sent_bytes for step in rated)
    # what is sent in a stretch is uncertain by the difference of two places in a frame: a standard deviation of
    # frame / sqrt(6)
    error = frame * sqrt(len(list(_in_a_row(rated))) / 6)
    known = busy_s >= LEAST_BUSY_S and error <= ERROR_FRACTION * rate * busy_s
    return LinkRate(
        link=link,
        busy_s=busy_s,
        rate_mbps=bytes_to_mbps(sent, busy_s) if known else None,
        ratio=sent / (rate * busy_s) if known else None,
        longest_stall_s=_longest_stall_s(waited, rated, setting, frame),
    )


def _longest_stall_s(waited: Sequence[_Step], rated: Sequence[_Step], setting: QueueSetting, frame: int) -> float:
    """Return the longest time that bytes are missing of, beyond what the bucket and the readings' times explain.

    A pause over several intervals is one: neighbours that each lack more than a frame, or half of all they have room
    for. Without a pause, however many lack something in a row, it is together no more than the bucket holds.
    """
    usual = dict(_usual_rates(waited, rated, setting.rate_bytes_per_s))
    missing_s = {step: step.duration_s - step.sent_bytes / rate for step, rate in usual.items()}
    lacking = [step for step in waited if missing_s[step] > min(frame / usual[step], step.duration_s / 2)]
    stood_s = (
        sum(missing_s[step] for step in pause)
        - setting.burst_bytes / min(usual[step] for step in pause)
        - pause[0].before.within_s
        - pause[-1].after.within_s
        for pause in _in_a_row(lacking)
    )
    return max([0.0, *stood_s])


def _usual_rates(waited: Iterable[_Step], rated: Sequence[_Step], rate: int) -> Iterator[tuple[_Step, float]]:
    """Yield each interval with the bytes per second of all others the rate is known from; at most the configured ones.

    A link that is slow all the time does not stand still; one that sends nothing at all does.
    """
    busy_s, sent, among = sum(step.duration_s for step in rated), sum(step.sent_bytes for step in rated), set(rated)
    for step in waited:
        others_s, others = (busy_s - step.duration_s, sent - step.sent_bytes) if step in among else (busy_s, sent)
        yield step, min(rate, others / others_s) if others_s > 0 and others > 0 else rate


def _in_a_row(steps: Iterable[_Step]) -> Iterator[list[_Step]]:
    """Yield the longest sequences in which each interval begins with the reading the one before ended with."""
    row: list[_Step] = []
    for step in steps:
        if row and row[-1].after is not step.before:
            yield row
            row = []
        row.append(step)
    if row:
        yield row


def _readings(run: RunRecord) -> dict[str, list[Reading]]:
    """Return interface -> readings of its queue, in order of time.

    The sampler reads the interfaces' counters just before their queues and notes the middle of each: a queue was read
    at most as long before or after its time as that is after the time of the interface's counters. Without these
    nobody knows, and the reading is left out.
    """
    looked_s: dict[str, list[float]] = {}
    for link in run.tables.links:
        looked_s.setdefault(link.intf, []).append(link.t_s)
    for times_s in looked_s.values():
        times_s.sort()
    found: dict[str, dict[float, Reading]] = {}
    for row in run.tables.queues:
        times_s = looked_s.get(row.intf, [])
        before = bisect_right(times_s, row.t_s) - 1
        if before >= 0:
            found.setdefault(row.intf, {})[row.t_s] = Reading(
                t_s=row.t_s,
                within_s=row.t_s - times_s[before],
                backlog_bytes=row.backlog_bytes,
                sent_bytes=row.sent_bytes,
            )
    return {intf: [of_intf[t_s] for t_s in sorted(of_intf)] for intf, of_intf in found.items()}
