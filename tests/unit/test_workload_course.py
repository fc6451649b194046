"""A rank's way through its tasks is that of the rehearsal, whoever moves bytes and keeps time."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_jobs import Drawn, jobs

from testbed.training.iteration import Communicate
from testbed.training.job import EmulatedJob
from testbed.training.rehearsal import execute
from testbed.training.scale import Emulation
from testbed.training.tasks import Message, Pause, Tasks, Together
from testbed.workload.course import Course
from testbed.workload.operations import operation_rows

Communication = Together | Message


def job_of(drawn: Drawn, hosts_a_stage: int) -> EmulatedJob:
    """The stages as they are, on so many hosts each."""
    hosts = max(2, hosts_a_stage * len(drawn.stages))
    emulation = Emulation(hosts=hosts, link_mbps=10, sent_bytes=1000)
    return EmulatedJob(SimpleNamespace(iterations=drawn.stages), emulation, ())  # type: ignore[arg-type]


class Floor:
    """Ranks with their courses; a communication takes its time from when its last rank has begun with it."""

    def __init__(self, ways: list[Tasks], late_s: Callable[[], float] = lambda: 0.0) -> None:
        self.ways, self.late_s = ways, late_s
        self.courses = [Course(way.tasks) for way in ways]
        self.keys = [self.keys_of(rank) for rank in range(len(ways))]
        self.came: dict[Any, list[int]] = {}
        self.timers: set[int] = set()  # ranks that wait for one
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = count()

    def keys_of(self, rank: int) -> list[Any]:
        """What communications of several ranks have in common that are the same one."""
        found: list[Any] = []
        messages: Counter[int] = Counter()
        for task in self.ways[rank].communications:
            if isinstance(task, Together):
                found.append((task.members, task.number))
            else:
                found.append((frozenset((rank, task.peer)), messages[task.peer]))
                messages[task.peer] += 1
        return found

    def run(self) -> float:
        for rank, course in enumerate(self.courses):
            course.begin(0.0)
            self.look(rank, 0.0)
        now_s = 0.0
        while self.events:
            now_s, _number, happen = heapq.heappop(self.events)
            happen(now_s)
        assert all(course.over for course in self.courses)
        return now_s

    def at(self, when_s: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (when_s, next(self.order), happen))

    def look(self, rank: int, now_s: float) -> None:
        course = self.courses[rank]
        if (number := course.to_begin) is not None:
            course.begun(now_s)
            task, came = self.ways[rank].communications[number], self.came.setdefault(self.keys[rank][number], [])
            came.append(rank)
            if len(came) == (len(task.members) if isinstance(task, Together) else 2):
                self.at(now_s + task.size_bytes / 8, lambda when_s: self.end(came, when_s))
        if course.due_s is not None and rank not in self.timers:
            self.timers.add(rank)
            self.at(max(now_s, course.due_s + self.late_s()), lambda when_s: self.computed(rank, when_s))

    def computed(self, rank: int, when_s: float) -> None:
        self.timers.remove(rank)
        self.courses[rank].computed(when_s)
        self.look(rank, when_s)

    def end(self, ranks: list[int], when_s: float) -> None:
        for rank in ranks:
            self.courses[rank].ended(when_s)
        for rank in ranks:
            self.look(rank, when_s)


def seconds(op: Communicate) -> float:
    return op.size_bytes / 8


@settings(max_examples=50)  # of whole iterations: some ten ms each
@given(jobs(on_the_fabric=True), st.integers(2, 3))
def test_any_job_goes_as_in_the_rehearsal(drawn: Drawn, hosts_a_stage: int) -> None:
    job = job_of(drawn, hosts_a_stage)
    expected = execute(job.job, seconds)
    floor = Floor([job.tasks(rank, job.size_bytes, None) for rank in range(job.hosts)])
    assert floor.run() == pytest.approx(expected.duration_s)
    for course, timeline in zip(floor.courses, expected.timelines, strict=True):
        assert [one.issued_s for one in course.moments] == pytest.approx([t.issued_s for t in timeline.operations])
        assert [one.end_s for one in course.moments] == pytest.approx([t.end_s for t in timeline.operations])
        assert course.excess_s == course.latest_s == 0
    moments = [[(one.issued_s, one.start_s, one.end_s) for one in course.moments] for course in floor.courses]
    rows = operation_rows(job, job.size_bytes, moments, iteration=3, warmup=False)
    assert len(rows) == len(expected.meetings)
    for row in rows:
        timed = expected.timelines[row.first_rank].operations[row.number]
        assert (row.phase, row.group, row.size_bytes) == (timed.op.phase, timed.op.group, timed.op.size_bytes)
        assert (row.start_s, row.end_s) == pytest.approx((timed.start_s, timed.end_s))


@settings(max_examples=50)
@given(jobs(on_the_fabric=True), st.integers(0, 1 << 30))
def test_late_timers_delay_but_change_no_order(drawn: Drawn, seed: int) -> None:
    job, rng = job_of(drawn, 2), Random(seed)
    floor = Floor([job.tasks(rank, job.size_bytes, None) for rank in range(job.hosts)], lambda: rng.random() / 10)
    assert floor.run() >= execute(job.job, seconds).duration_s - 1e-9
    for course in floor.courses:
        ends = [one.end_s for one in course.moments]
        assert ends == sorted(ends)
        assert 0 <= course.latest_s <= 0.1
        assert course.excess_s >= 0


@given(jobs(), st.integers(1, 3))
def test_tasks_survive_json(drawn: Drawn, hosts_a_stage: int) -> None:
    job = job_of(drawn, hosts_a_stage)
    for rank in range(job.group_hosts * len(job.stages)):
        tasks = job.tasks(rank, job.size_bytes, None)
        assert Tasks.from_json(json.loads(json.dumps(tasks.to_json()))) == tasks


@pytest.mark.parametrize("damaged", [{}, {"groups": [], "tasks": [["pause"]]}, {"groups": [], "tasks": [["x", 1, 2]]}])
def test_what_are_no_tasks_is_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not the tasks of a rank"):
        Tasks.from_json(damaged)


# -- lateness, by hand -----------------------------------------------------------------------------------------


def reduce(number: int, *, blocking: bool) -> Together:
    return Together("allreduce", "ring", (0, 1), number, 8, 4, blocking)


def test_lateness_is_made_up_for_by_what_is_computed_next() -> None:
    course = Course((Pause(1, None), reduce(0, blocking=False), Pause(1, None)))
    course.begin(10)
    course.computed(11.25)
    assert course.to_begin == 0
    assert course.due_s == 12  # not 12.25
    course.begun(11.25)
    course.computed(12)
    course.ended(13)
    assert course.over
    assert (course.excess_s, course.latest_s) == (0, 0.25)
    assert course.moments[0].issued_s == 11.25


@pytest.mark.parametrize("rest", [(reduce(0, blocking=True),), ()])
def test_lateness_before_a_wait_or_the_end_is_longer_computing(rest: tuple[Together, ...]) -> None:
    course = Course((Pause(1, None), *rest))
    course.begin(0)
    course.computed(1.5)
    assert course.excess_s == 0.5


def test_who_has_waited_computes_from_then_on() -> None:
    course = Course((reduce(0, blocking=False), Pause(1, None), Pause(2, 0)))
    course.begin(0)
    course.begun(0)
    course.computed(1)
    assert course.due_s is None and not course.over
    course.ended(4)
    assert course.due_s == 6


def test_gathered_before_they_are_needed_parameters_delay_nothing() -> None:
    course = Course((reduce(0, blocking=False), Pause(1, None), Pause(2, 0)))
    course.begin(0)
    course.begun(0)
    course.ended(0.5)
    course.computed(1.125)
    assert course.due_s == 3
