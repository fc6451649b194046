"""All ranks of a job, each with its iteration, executed together without a network. Pure.

An operation begins when all its ranks have come to it, and takes what ``seconds_of`` says; a rank's operations go one
after another in the order it issues them, as in ``testbed.training.timeline``, which this is where nobody waits for
anybody. What cannot be executed is found: ranks that wait for each other, members of a group that do not issue the same
sequence, messages that are not received as they were sent.

Whoever executes iterations on a fabric must see the same order, bytes and waits, and is slower only by what the fabric
takes longer than ``seconds_of`` (``testbed.training.scale.emulated_seconds``) and by what it carries at the same time:
two operations of different groups that share a link are at full rate each here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from testbed.collectives.operation import Operation
from testbed.fields import Mistakes
from testbed.training.groups import Group, groups
from testbed.training.iteration import Communicate, Iteration, Op, Peer
from testbed.training.layout import Layout
from testbed.training.timeline import SecondsOf, Timed, Timeline, checked_seconds

MAX_MISTAKES: Final = 20
# what the other end of a message does; of a collective all members do the same
FACING: Final[Mapping[Operation, Operation]] = {"send": "recv", "recv": "send"}

Members = Callable[[int, Group], tuple[int, ...]]  # the group of a kind that a rank is in, in its order


@dataclass(frozen=True, slots=True)
class Job:
    """Ranks with their iterations, and who is in a group with whom."""

    ranks: tuple[Iteration, ...]
    members: Members

    @classmethod
    def of(cls, layout: Layout, stages: Sequence[Iteration]) -> Job:
        """Return the job of a layout, whose pipeline stages do ``stages``. Raises ``Mistakes`` for too many or few."""
        if len(stages) != layout.pipeline:
            raise Mistakes([f"iterations of {len(stages)} stages; expected {layout.pipeline}, pipeline of the layout"])
        of_stage = layout.tensor * layout.data

        @cache
        def of_group(group: Group) -> dict[int, tuple[int, ...]]:
            return {rank: ranks for ranks in groups(layout, group) for rank in ranks}

        ranks = tuple(stages[rank // of_stage] for rank in range(layout.gpus))
        return cls(ranks, lambda rank, group: of_group(group)[rank])

    @classmethod
    def emulated(cls, stages: Sequence[Iteration], hosts: int) -> Job:
        """Return the job of emulated hosts: equally many a stage, which are all its groups (``scale``).

        Raises ``Mistakes`` when they cannot be divided among the stages.
        """
        if not stages or hosts % len(stages):
            raise Mistakes([f"hosts={hosts} with {len(stages)} stages; expected a multiple of them, and at least one"])
        of_stage = hosts // len(stages)

        def members(host: int, group: Group) -> tuple[int, ...]:
            if group == "pp":
                return tuple(range(host % of_stage, hosts, of_stage))
            first = host // of_stage * of_stage
            return tuple(range(first, first + of_stage))

        return cls(tuple(stages[host // of_stage] for host in range(hosts)), members)


Meeting = tuple[tuple[int, int], ...]  # rank, number


@dataclass(frozen=True)
class Execution:
    """A job as it went: a timeline for each rank. ``start_s`` of an operation is when its last rank had come to it.

    ``meetings``: for each operation of a group, or message, its ranks in the group's order, each with the number the
    operation has among its own.
    """

    timelines: tuple[Timeline, ...]
    meetings: tuple[Meeting, ...]

    @property
    def duration_s(self) -> float:
        """Seconds until the last rank is done."""
        return max(timeline.duration_s for timeline in self.timelines)


def execute(job: Job, seconds_of: SecondsOf) -> Execution:
    """Return how the job goes; a message takes what the end says that takes longer (``recv`` alone may say 0).

    Raises ``Mistakes`` with what does not fit together, and with who waits for whom when nobody can go on; ValueError
    for a duration that cannot be.
    """
    return _Floor(job, seconds_of).execute()


class _Key(NamedTuple):
    """What operations of several ranks have in common that are the same one."""

    group: Group
    members: tuple[int, ...]  # of a message the two ends


@dataclass(slots=True)
class _Issued:
    place: int  # in the rank's ops
    op: Communicate
    key: _Key
    issued_s: float


@dataclass(slots=True)
class _Rank:
    """How far one rank is."""

    ops: tuple[Op, ...]
    place: int = 0  # the op it comes to next
    now_s: float = 0.0
    free_s: float = 0.0  # when all operations that are done were over
    waits_for: int | None = None  # number of the operation that must be done before it goes on
    queue: deque[_Issued] = field(default_factory=deque)  # issued, not begun
    done: list[Timed] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.place == len(self.ops) and not self.queue

    def may_go_on(self) -> bool:
        """Wait for what must be done, and tell whether it is."""
        if self.waits_for is not None:
            if self.waits_for >= len(self.done):
                return False
            self.now_s = max(self.now_s, self.done[self.waits_for].end_s)
            self.waits_for = None
        return True


class _Floor:
    """Where ranks meet. What a rank does depends on what it has met with, not on who is asked first."""

    def __init__(self, job: Job, seconds_of: SecondsOf) -> None:
        self._job = job
        self._ranks = [_Rank(iteration.ops) for iteration in job.ranks]
        self._seconds_of = seconds_of
        self._mistakes: list[str] = []
        self._meetings: list[Meeting] = []

    def execute(self) -> Execution:
        self._check_neighbours()
        todo = deque(range(len(self._ranks)))
        while todo and len(self._mistakes) < MAX_MISTAKES:
            number = todo.popleft()
            self._go_on(number)
            if queue := self._ranks[number].queue:
                todo.extend(self._meet(queue[0].key))
        if mistakes := self._mistakes or self._stuck():
            raise Mistakes(mistakes)
        timelines = (
            Timeline(max(rank.now_s, rank.free_s), iteration.compute_s, tuple(rank.done))
            for rank, iteration in zip(self._ranks, self._job.ranks, strict=True)
        )
        return Execution(tuple(timelines), tuple(self._meetings))

    def _check_neighbours(self) -> None:
        for number, rank in enumerate(self._ranks):
            for place, op in enumerate(rank.ops):
                if isinstance(op, Communicate) and op.peer is not None and self._peer(number, op.peer) is None:
                    self._mistakes.append(f"rank {number} ops[{place}]: {_shown(op)}; expected a stage there")
        if self._mistakes:
            raise Mistakes(self._mistakes[:MAX_MISTAKES])

    def _peer(self, number: int, peer: Peer) -> int | None:
        ranks = self._job.members(number, "pp")
        at = ranks.index(number) + (1 if peer == "next" else -1)
        return ranks[at] if 0 <= at < len(ranks) else None

    def _key(self, number: int, op: Communicate) -> _Key:
        if op.peer is None:
            return _Key(op.group, self._job.members(number, op.group))
        other = self._peer(number, op.peer)
        assert other is not None  # _check_neighbours
        return _Key(op.group, (min(number, other), max(number, other)))

    def _go_on(self, number: int) -> None:
        """Have a rank compute and issue operations until it has to wait for one."""
        rank = self._ranks[number]
        while rank.may_go_on() and rank.place < len(rank.ops):
            op = rank.ops[rank.place]
            if isinstance(op, Communicate):
                if op.blocking:
                    rank.waits_for = len(rank.done) + len(rank.queue)
                rank.queue.append(_Issued(rank.place, op, self._key(number, op), rank.now_s))
            elif op.after is not None and op.after >= len(rank.done):
                rank.waits_for = op.after
                continue
            else:
                waited_s = rank.done[op.after].end_s if op.after is not None else 0.0
                rank.now_s = max(rank.now_s, waited_s) + op.duration_s
            rank.place += 1

    def _meet(self, key: _Key) -> tuple[int, ...]:
        """Do the operation if all its ranks have come to it, and return them."""
        queues = [self._ranks[member].queue for member in key.members]
        if not all(queue and queue[0].key == key for queue in queues):
            return ()
        met = {member: queue.popleft() for member, queue in zip(key.members, queues, strict=True)}
        self._check_agreement(met)
        start_s = max(max(issued.issued_s, self._ranks[member].free_s) for member, issued in met.items())
        seconds = max(checked_seconds(self._seconds_of, issued.op) for issued in met.values())
        self._meetings.append(tuple((member, len(self._ranks[member].done)) for member in met))
        for member, issued in met.items():
            rank = self._ranks[member]
            rank.free_s = start_s + seconds
            rank.done.append(Timed(issued.op, issued.issued_s, start_s, rank.free_s))
        return key.members

    def _check_agreement(self, met: dict[int, _Issued]) -> None:
        (first, one), *others = met.items()
        expected = FACING.get(one.op.operation, one.op.operation)
        for number, other in others:
            if (other.op.operation, other.op.size_bytes) != (expected, one.op.size_bytes):
                self._mistakes.append(
                    f"rank {number} ops[{other.place}]: {_shown(other.op)}, met with {_shown(one.op)} of "
                    f"rank {first} ops[{one.place}]; expected {expected} of {one.op.size_bytes} bytes"
                )

    def _stuck(self) -> list[str]:
        """Return who waits for whom, if anybody does."""
        return [
            f"rank {number} waits in {_where(rank)}; expected "
            + ", ".join(f"rank {member} there, which {self._state(member)}" for member in self._absent(rank))
            for number, rank in enumerate(self._ranks)
            if not rank.over
        ][:MAX_MISTAKES]

    def _absent(self, rank: _Rank) -> list[int]:
        key = rank.queue[0].key
        queues = {member: self._ranks[member].queue for member in key.members}
        return [member for member, queue in queues.items() if not queue or queue[0].key != key]

    def _state(self, number: int) -> str:
        rank = self._ranks[number]
        return "is done" if rank.over else f"waits in {_where(rank)}"


def _where(rank: _Rank) -> str:
    return f"ops[{rank.queue[0].place}] ({_shown(rank.queue[0].op)})"


def _shown(op: Communicate) -> str:
    peer = "" if op.peer is None else f" with {op.peer}"
    return f"{op.operation} {op.group}{peer} of {op.size_bytes} bytes"
