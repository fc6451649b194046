"""What a rank does in a training iteration, as it is told: compute, take part in operations, hand messages on. Pure.

``testbed.training.job`` makes tasks from an iteration, ``testbed.workload.course`` goes through them. Operations and
messages, in short *communications*, are counted from 0 in the order of the tasks. In JSON a task is a list that begins
with its kind; groups, which many operations have in common, are listed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from testbed.collectives.operation import ProgramOperation


class Pause(NamedTuple):
    """The rank computes for ``duration_s``, once communication number ``after`` is over (None: at once)."""

    duration_s: float
    after: int | None


class Together(NamedTuple):
    """All ranks of ``members``, this one included, do an operation; ``number``: its place among all
    operations of its ranks."""

    operation: ProgramOperation
    algorithm: str
    members: tuple[int, ...]
    number: int
    size_bytes: int
    slice_bytes: int
    blocking: bool


class Message(NamedTuple):
    """``size_bytes`` to rank ``peer`` (``out``), from it (``into``), or both ways at once."""

    peer: int
    out: bool
    into: bool
    size_bytes: int
    slice_bytes: int
    blocking: bool


Task = Pause | Together | Message
KINDS: Mapping[str, type[Pause] | type[Together] | type[Message]] = {
    "pause": Pause,
    "together": Together,
    "message": Message,
}


@dataclass(frozen=True)
class Tasks:
    """All that a rank does in an iteration, in order."""

    tasks: tuple[Task, ...]

    @property
    def communications(self) -> tuple[Together | Message, ...]:
        """Operations and messages: what ``Pause.after`` counts."""
        return tuple(task for task in self.tasks if not isinstance(task, Pause))

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        names = {kind: name for name, kind in KINDS.items()}
        groups: dict[tuple[int, ...], int] = {}
        listed = []
        for task in self.tasks:
            if isinstance(task, Together):
                task = task._replace(members=groups.setdefault(task.members, len(groups)))  # type: ignore[arg-type]
            listed.append([names[type(task)], *task])
        return {"groups": list(groups), "tasks": listed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Tasks:
        """Read them. Raises ValueError for what are none."""
        try:
            groups = [tuple(group) for group in value["groups"]]
            return cls(tuple(_task(one, groups) for one in value["tasks"]))
        except (TypeError, LookupError) as error:
            raise ValueError(f"not the tasks of a rank: {error}") from None


def _task(one: Sequence[Any], groups: Sequence[tuple[int, ...]]) -> Task:
    name, *fields = one
    task = KINDS[name](*fields)
    return task._replace(members=groups[task.members]) if isinstance(task, Together) else task  # type: ignore[call-overload]
