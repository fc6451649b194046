"""What the nodes of a Chakra execution trace mean, whichever way they are written down. Pure.

Numbers of node types and collectives: ``NodeType`` and ``CollectiveCommType`` of mlcommons/chakra
``schema/protobuf/et_def.proto``; attributes: ``src/feeder/et_feeder_node.cpp``. Times are microseconds
(``duration_micros``).

``comm_size`` is bytes a rank puts in: ``PyTorchNode.comm_size`` (``src/converter/pytorch_node.py``) adds up the input
tensors, and ASTRA-sim's ``Ring.cc`` makes ``data_size * nodes_in_ring`` of an all-gather. So nccl-tests' size of an
all-gather or a gather is ``comm_size`` times the ranks of the group, and is not known where these are not. They are
in the node ``process_group:init`` of traces of PyTorch, as JSON.

A communicating node with ``is_cpu_op`` is the host's call of it, and what the accelerator does is another node: the
converter gives sizes to nodes of the accelerator alone, and ASTRA-sim's ``Workload.cc`` refuses others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from testbed.collectives.operation import Operation
from testbed.traces.findings import MAX_NS, MAX_RANKS, Findings, group_name
from testbed.traces.trace import Record

INVALID, METADATA, MEM_LOAD, MEM_STORE, COMP, SEND, RECV, COLLECTIVE, STORAGE, BATCH, CHECKPOINT = range(11)
KNOWN: Final = {
    METADATA: "metadata",
    MEM_LOAD: "load from memory",
    MEM_STORE: "store to memory",
    STORAGE: "storage",
    BATCH: "batch",
    CHECKPOINT: "checkpoint",
}
COLLECTIVES: Final[tuple[Operation, ...]] = (
    "allreduce",
    "reduce",
    "all_gather",
    "gather",
    "scatter",
    "broadcast",
    "all_to_all",
    "reduce_scatter",
    "reduce_scatter",  # REDUCE_SCATTER_BLOCK: as MPI calls the one with equal parts
    "barrier",
)
# Order matters: a reduce-scatter has "reduce" in its name too.
NAMES: Final[tuple[tuple[str, Operation], ...]] = (
    ("allreduce", "allreduce"),
    ("reducescatter", "reduce_scatter"),
    ("allgather", "all_gather"),
    ("alltoall", "all_to_all"),
    ("sendrecv", "all_to_all"),  # how NCCL's kernel of an all-to-all is called
    ("broadcast", "broadcast"),
    ("barrier", "barrier"),
    ("reduce", "reduce"),
    ("scatter", "scatter"),
    ("gather", "gather"),
)
PER_RANK: Final = ("all_gather", "gather")
GROUP_ATTRIBUTES: Final = ("pg_name", "comm_group")
ATTRIBUTES: Final = frozenset(("is_cpu_op", "comm_type", "comm_size", *GROUP_ATTRIBUTES))
PROCESS_GROUPS: Final = "process_group:init"
MAX_GROUPS: Final = 100_000

_LETTERS = re.compile(r"[^a-z]+")
_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as the file has it; None: not in it. ``attributes`` are those of ``ATTRIBUTES`` it has."""

    number: int
    name: str
    kind: int | None
    duration_us: object = None
    start_us: object = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    inputs: str = ""


@dataclass(slots=True)
class Nodes:
    """Adds nodes to findings, in the order of the file."""

    findings: Findings
    group_sizes: dict[str, int] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add one node."""
        if node.kind == METADATA and PROCESS_GROUPS in node.name:
            self._note_groups(node)
        if node.kind in KNOWN:
            self.findings.known(KNOWN[node.kind])
        elif node.kind == COMP:
            self._compute(node)
        elif node.kind in (SEND, RECV, COLLECTIVE):
            self._communicate(node)
        else:
            self.findings.unknown(node.number, f"{node.name} type {node.kind}", "no node type we know")

    def _compute(self, node: Node) -> None:
        self.findings.record(
            Record(
                place=node.number,
                kind="host" if node.attributes.get("is_cpu_op") is True else "compute",
                name=node.name[:80],
                compute_s=self._duration_s(node),
                start_ns=self._start_ns(node),
            )
        )

    def _communicate(self, node: Node) -> None:
        operation = self._operation(node)
        if operation is None:
            self.findings.unknown(node.number, node.name, "no operation we know")
            return
        if node.attributes.get("is_cpu_op") is True:
            self.findings.record(Record(place=node.number, kind="host", operation=operation, name=node.name[:80]))
            return
        group = self._group(node)
        group_size = None if group is None else self.group_sizes.get(group)
        self.findings.record(
            Record(
                place=node.number,
                kind="communicate",
                operation=operation,
                group=group,
                group_size=group_size,
                size_bytes=self._size_bytes(node, operation, group_size),
                name=node.name[:80],
                measured_s=self._duration_s(node),
                start_ns=self._start_ns(node),
            )
        )

    def _group(self, node: Node) -> str | None:
        value = next((node.attributes[name] for name in GROUP_ATTRIBUTES if name in node.attributes), None)
        if value in (None, ""):
            return None
        name = group_name(value)
        if name is None:
            self.findings.unknown(node.number, value, "no name of a group")
        return name

    def _operation(self, node: Node) -> Operation | None:
        """Return what the node says it does, or, where it does not say so, what its name says."""
        if node.kind != COLLECTIVE:
            return "send" if node.kind == SEND else "recv"
        kind = node.attributes.get("comm_type")
        if kind is not None:
            if isinstance(kind, int) and not isinstance(kind, bool) and 0 <= kind < len(COLLECTIVES):
                return COLLECTIVES[kind]
            return None
        letters = _LETTERS.sub("", node.name.lower())
        return next((operation for name, operation in NAMES if name in letters), None)

    def _size_bytes(self, node: Node, operation: Operation, group_size: int | None) -> int | None:
        if "comm_size" not in node.attributes:
            if operation == "barrier":
                return 0
            self.findings.unknown(node.number, node.name, "no comm_size: how much it moves is not in the file")
            return None
        size = self.findings.count(node.number, "comm_size", node.attributes["comm_size"])
        if size is None or operation not in PER_RANK:
            return size
        if group_size is None:
            why = f"{operation} of {size} bytes of each rank, and how many there are is not in the file"
            self.findings.unknown(node.number, node.name, why)
            return None
        return size * group_size

    def _duration_s(self, node: Node) -> float | None:
        if node.duration_us is None:
            return None
        return self.findings.seconds(node.number, "duration", node.duration_us, per_second=1e6)

    def _start_ns(self, node: Node) -> int | None:
        if node.start_us is None:
            return None
        start = self.findings.count(node.number, "start time", node.start_us, most=MAX_NS // 1000)
        return None if start is None else start * 1000

    def _note_groups(self, node: Node) -> None:
        """Take the groups' sizes from JSON within a Python list within a text, as PyTorch writes it."""
        for match in _OBJECT.finditer(node.inputs.replace('\\"', '"')):
            group = _object(match[0])
            ranks = group.get("ranks")
            said = group.get("group_size", len(ranks) if isinstance(ranks, list) else None)
            size = None if said is None else self.findings.count(node.number, "group_size", said, most=MAX_RANKS)
            name = group_name(group.get("pg_name"))
            if name is None or not size:
                self.findings.unknown(node.number, match[0], "no process group whose size is known")
            elif len(self.group_sizes) < MAX_GROUPS:
                self.group_sizes[name] = size
            else:
                self.findings.unknown(node.number, match[0], f"more than {MAX_GROUPS:,} process groups")


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
