"""Iterations from a trace: its records in the order they are executed, and a list of all that is not in them. Pure.

A trace's ``stage`` is our phase. A mark (AICB's ``epoch_end``) ends an iteration; what comes before the first is often
initialisation. Every operation is waited for, as AICB's ``workload_applyer.py`` does, but for the gradients of SimAI's
layers (``weight_grad``), which its simulator does not wait for. SimAI's file has a row per layer; executed are all
forward passes, then, from the last layer to the first, ``input_grad`` and ``weight_grad``
(``iterate_hybrid_parallel_Transformer`` in ``Workload.cc``). Forward passes computed again (checkpoints) are not in the
trace, and not here.

A receive and a send that AICB has directly after each other, with the same neighbour in the same phase, are Megatron's
one call (``send_forward_recv_backward``) and become an ``exchange``; executed one after the other they would wait for
the neighbour's for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from testbed.collectives.operation import MESSAGES, Operation
from testbed.fields import Mistakes
from testbed.traces.trace import Record, Trace
from testbed.training.groups import Group, group_ranks, inside_node
from testbed.training.iteration import Communicate, Iteration, Peer, Recorder
from testbed.training.layout import Layout

# what traces call our groups: AICB (CommGroup) and SimAI; callers add others, such as {"pg 0": "dp"}
GROUPS: Final[Mapping[str, Group]] = MappingProxyType(
    {"dp": "dp", "tp": "tp", "pp": "pp", "ep": "ep", "dp_ep": "dp_ep", "ep_dp": "dp_ep"}
)
# additional information of AICB's isend and irecv
PEERS: Final[Mapping[str, Peer]] = MappingProxyType(
    {"send_next": "next", "recv_next": "next", "send_prev": "previous", "recv_prev": "previous"}
)
NOT_WAITED_FOR: Final = "weight_grad"  # SimAI's third pass
MAX_MISTAKES: Final = 20


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a trace that is in no iteration; ``operation`` and ``size_bytes`` where it is one."""

    place: int  # see ``Trace.places``
    what: str
    why: str
    operation: Operation | None = None
    size_bytes: int = 0


@dataclass(frozen=True)
class Traced:
    """A trace as iterations of one rank.

    ``left_out``: what is in none of them, in the order of the file; ``n_unlisted``: what the trace itself has counted
    as unknown and not kept.
    """

    iterations: tuple[Iteration, ...]
    left_out: tuple[LeftOut, ...]
    n_unlisted: int

    def bytes_by_operation(self) -> dict[Operation, int]:
        """Return the bytes of each operation in the trace: sent, inside a node and left out together.

        An exchange is a send and a recv again: these are the sums of ``gse workload inspect``.
        """
        found: Counter[Operation] = Counter()
        for iteration in self.iterations:
            for op in (*iteration.communications, *iteration.local):
                both: tuple[Operation, ...] = ("send", "recv") if op.operation == "exchange" else (op.operation,)
                for operation in both:
                    found[operation] += op.size_bytes
        for left in self.left_out:
            if left.operation is not None:
                found[left.operation] += left.size_bytes
        return dict(found)


def iterations_of(
    trace: Trace, layout: Layout, *, groups: Mapping[str, Group] = GROUPS, rank: str | None = None
) -> Traced:
    """Return the iterations of a trace of a job of ``layout``, whose groups inside a node are local.

    ``groups``: what the trace calls them; ``rank``: whose records, of a trace that tells ranks apart. Raises
    ``Mistakes`` for a rank that is not there or not said, and for groups that have another size in the trace.
    """
    records = _of_rank(trace, rank)
    mistakes = _group_mistakes(trace, records, layout, groups)
    if mistakes:
        raise Mistakes(mistakes)
    left = [LeftOut(one.place, one.text, one.why) for one in trace.unknown]
    found = []
    behind = NOT_WAITED_FOR if trace.format == "simai" else None
    for part in _parts(_executed(records) if trace.format == "simai" else records):
        reader = _Reader(Recorder(inside_node(layout)), groups, left, behind)
        reader.read(part)
        iteration = reader.recorder.iteration()
        if iteration.ops or iteration.local:
            found.append(iteration)
    left.sort(key=lambda one: one.place)
    return Traced(tuple(found), tuple(left), trace.n_unknown - len(trace.unknown))


def _of_rank(trace: Trace, rank: str | None) -> Sequence[Record]:
    names = list(dict.fromkeys(record.rank for record in trace.records))
    if rank is None and len(names) > 1:
        shown = ", ".join(map(str, names[:MAX_MISTAKES]))
        raise Mistakes([f"{trace.source}: records of {len(names)} ranks; expected rank to be one of {shown}"])
    if rank is not None and rank not in names:
        shown = ", ".join(map(str, names[:MAX_MISTAKES]))
        raise Mistakes([f"{trace.source}: rank={rank}; expected one of {shown}"])
    return [record for record in trace.records if rank is None or record.rank == rank]


def _group_mistakes(trace: Trace, records: Iterable[Record], layout: Layout, groups: Mapping[str, Group]) -> list[str]:
    """Return where the trace has a group of another size. Messages are of two ranks, whatever stands beside them."""
    sizes: dict[tuple[str, int], str] = {(name, size): "header" for name, size in trace.group_sizes if name in groups}
    for record in records:
        if record.group is None or record.group_size is None or record.operation in MESSAGES:
            continue
        sizes.setdefault((record.group, record.group_size), f"{trace.places} {record.place}")
    return [
        f"{trace.source}: {where}: group {name} of {size} ranks; expected {group_ranks(layout, groups[name])}, "
        f"the {groups[name]} of the layout"
        for (name, size), where in sizes.items()
        if name in groups and size != group_ranks(layout, groups[name])
    ][:MAX_MISTAKES]


def _executed(records: Sequence[Record]) -> list[Record]:
    """Return SimAI's records in the order they are executed; those of a layer have the same place."""
    forward = [record for record in records if record.stage == "forward"]
    layers: dict[int, list[Record]] = {}
    for record in records:
        if record.stage != "forward":
            layers.setdefault(record.place, []).append(record)
    return forward + [record for place in reversed(layers) for record in layers[place]]


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    for record in records:
        if record.kind == "mark":
            yield part
            part = []
        else:
            part.append(record)
    yield part


class _Reader:
    """Reads the records of one iteration."""

    def __init__(
        self, recorder: Recorder, groups: Mapping[str, Group], left: list[LeftOut], behind: str | None
    ) -> None:
        self.recorder = recorder
        self._groups = groups
        self._left = left
        self._behind = behind  # the phase whose operations are not waited for
        self._message: Communicate | None = None  # read, not recorded: its other direction may follow

    def read(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.kind == "communicate":
                self._communicate(record)
            elif record.kind == "host":
                self._leave_out(record, "the host's part, beside the accelerator")
            elif record.compute_s is None:
                self._record_message()  # the rank computes between two messages, however long
                self._leave_out(record, "computing of unknown duration")
            else:
                self._compute(record, record.compute_s)
        self._record_message()

    def _compute(self, record: Record, duration_s: float) -> None:
        self._record_message()
        self.recorder.compute(record.stage or "", duration_s)

    def _communicate(self, record: Record) -> None:
        if record.compute_s:
            self._compute(record, record.compute_s)
        group = self._groups.get(record.group or "")
        if why := self._why_not(record, group):
            self._record_message()
            self._leave_out(record, why)
            return
        assert record.operation and record.size_bytes and group  # _why_not
        op = Communicate(
            record.stage or "",
            record.operation,
            group,
            record.size_bytes,
            blocking=self._behind is None or record.stage != self._behind,
            peer=PEERS[record.name or ""] if record.operation in MESSAGES else None,
        )
        if op.peer is None:
            self._record_message()
            self.recorder.communicate(op)
        elif self._message is not None and _other_direction(self._message) == op:
            self._message = None
            self.recorder.communicate(replace(op, operation="exchange"))
        else:
            self._record_message()
            self._message = op

    def _why_not(self, record: Record, group: Group | None) -> str | None:
        """Say why a record is no operation of an iteration, if it is none."""
        if record.operation is None:
            return "no operation"
        if record.size_bytes is None:
            return "of unknown size"
        if record.size_bytes == 0:
            return "moves no bytes"
        if group is None:
            return f"group {record.group}, expected {', '.join(self._groups)}"
        if record.operation in MESSAGES and (group != "pp" or (record.name or "") not in PEERS):
            return f"a message {record.name or 'without direction'}, expected pp and {', '.join(PEERS)}"
        return None

    def _leave_out(self, record: Record, why: str) -> None:
        what = " ".join(str(part) for part in (record.operation or record.kind, record.name) if part)
        self._left.append(LeftOut(record.place, what, why, record.operation, record.size_bytes or 0))

    def _record_message(self) -> None:
        if self._message is not None:
            self.recorder.communicate(self._message)
            self._message = None


def _other_direction(op: Communicate) -> Communicate:
    return replace(op, operation="recv" if op.operation == "send" else "send")
