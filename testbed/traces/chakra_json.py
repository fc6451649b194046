"""Chakra execution traces as JSON: ``et_def.proto``'s, as ``chakra_jsonizer`` writes it, and the older graph. Pure.

``chakra_jsonizer`` (mlcommons/chakra ``src/jsonizer/jsonizer.py``) writes one object after the other, the metadata
first, with protobuf's names in camel case (https://protobuf.dev/programming-guides/json: numbers of 64 bits are texts,
what is 0 is left out). The older form is one object with ``workload_graph``, a list of nodes with the keys that
``src/feeder/JSONNode.cpp`` reads: ``Id``, ``Name``, ``NodeType``, ``runtime`` in microseconds, attributes beside them.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

from testbed.errors import Problem, TraceError
from testbed.traces.chakra_nodes import ATTRIBUTES, INVALID, Node, Nodes
from testbed.traces.findings import MAX_RANKS, Findings, shown
from testbed.traces.jsontext import values
from testbed.traces.trace import Trace

GRAPH: Final = "workload_graph"
NODE_TYPES: Final = (
    "INVALID_NODE",
    "METADATA_NODE",
    "MEM_LOAD_NODE",
    "MEM_STORE_NODE",
    "COMP_NODE",
    "COMM_SEND_NODE",
    "COMM_RECV_NODE",
    "COMM_COLL_NODE",
    "STORAGE_NODE",
    "BATCH_NODE",
    "CHECKPOINT_NODE",
)
# What only nodes have: a node that is number 0 and of no type has neither "id" nor "type".
NODE_KEYS: Final = frozenset(
    ("id", "type", "name", "inputs", "outputs", "ctrlDeps", "ctrl_deps", "dataDeps", "data_deps")
    + ("durationMicros", "duration_micros", "startTimeMicros", "start_time_micros")
)
MAX_NUMBER: Final = 2**64 - 1


def parse(data: bytes, source: str) -> Trace:
    """Read a JSON trace. Raises TraceError."""
    found = values(data, source)
    first = next(found, None)
    if not isinstance(first, dict):
        raise _refused(source, "is no Chakra trace", type(first).__name__)
    if "nodes" in first and "schema" in first:
        raise _refused(source, "is an execution trace of PyTorch, not yet of Chakra", f"schema {first['schema']!r}")
    if "traceEvents" in first:
        raise _refused(source, "is a profile of Kineto, not a Chakra trace", "traceEvents")
    findings = Findings(source, "chakra", "node")
    nodes = Nodes(findings)
    if GRAPH in first:
        n_ranks = None if first.get("ngpus") is None else findings.count(0, "ngpus", first["ngpus"], most=MAX_RANKS)
        _add_graph(first[GRAPH], nodes)
        for rest in found:
            findings.unknown(0, rest, "after the graph")
        return findings.trace(n_ranks=n_ranks)
    for index, value in enumerate(chain((first,), found)):
        if not isinstance(value, dict):
            findings.unknown(index, value, "no node")
        elif index == 0 and _is_header(value):
            findings.known("header")
        else:
            nodes.add(_node(index, value, findings))
    return findings.trace(group_sizes=nodes.group_sizes)


def _is_header(value: dict[str, Any]) -> bool:
    return value.keys().isdisjoint(NODE_KEYS) and not _attributes(value.get("attr"))


def _add_graph(graph: object, nodes: Nodes) -> None:
    if not isinstance(graph, list):
        nodes.findings.problem(None, f"{GRAPH} is wrong", type(graph).__name__, "a list of nodes")
        return
    for index, value in enumerate(graph):
        if isinstance(value, dict):
            nodes.add(_graph_node(index, value, nodes.findings))
        else:
            nodes.findings.unknown(index, value, "no node")


def _graph_node(index: int, value: dict[str, Any], findings: Findings) -> Node:
    return Node(
        number=_number(index, value.get("Id"), findings),
        name=_name(value.get("Name")),
        kind=_kind(value.get("NodeType")),
        duration_us=value.get("runtime"),
        attributes={name: _integer(value[name]) for name in ATTRIBUTES if value.get(name) is not None},
    )


def _node(index: int, value: dict[str, Any], findings: Findings) -> Node:
    inputs = value.get("inputs")
    texts = inputs.get("values") if isinstance(inputs, dict) else None
    return Node(
        number=_number(index, value.get("id", 0), findings),
        name=_name(value.get("name")),
        kind=_kind(value.get("type", INVALID)),
        duration_us=value.get("durationMicros", value.get("duration_micros")),
        start_us=value.get("startTimeMicros", value.get("start_time_micros")),
        attributes=_attributes(value.get("attr", [])),
        inputs=texts if isinstance(texts, str) else "",
    )


def _attributes(attributes: object) -> dict[str, object]:
    """Return the attributes that are asked for. Each has a name and one value, whose key says its type."""
    found: dict[str, object] = {}
    for attribute in attributes if isinstance(attributes, list) else []:
        name = attribute.get("name") if isinstance(attribute, dict) else None
        if isinstance(name, str) and name in ATTRIBUTES:
            for key, value in attribute.items():
                if key in ("stringVal", "string_val"):
                    found[name] = value
                elif key.lower().endswith("val"):
                    found[name] = _integer(value)
    return found


def _integer(value: object) -> object:
    """Return a number of 64 bits that JSON has as a text; anything else as it is."""
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    return int(str(value)) if digits.isdecimal() and digits.isascii() and len(digits) <= 20 else value


def _name(value: object) -> str:
    return value[:400] if isinstance(value, str) else ""


def _kind(value: object) -> int | None:
    if isinstance(value, str) and value in NODE_TYPES:
        return NODE_TYPES.index(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(index: int, value: object, findings: Findings) -> int:
    """Return a node's number; where it has none, or no valid one, its place in the file."""
    number = findings.count(index, "id", value, most=MAX_NUMBER)
    return index if number is None else number


def _refused(source: str, what: str, got: str) -> TraceError:
    expected = f"{GRAPH}, or nodes as chakra_jsonizer writes them (of PyTorch's: chakra_converter makes such traces)"
    return TraceError(Problem(what, source, shown(got), expected))
