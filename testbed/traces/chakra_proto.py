"""Chakra execution traces as protobuf: a ``GlobalMetadata``, then a ``Node`` each, a length before every one. Pure.

Field numbers: mlcommons/chakra ``schema/protobuf/et_def.proto``. The few that are needed are read by hand: the
package ``mlc-chakra`` would bring networkx, graphviz, pydot and HolisticTraceAnalysis along.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from testbed.traces import protobuf
from testbed.traces.chakra_nodes import ATTRIBUTES, INVALID, METADATA, Node, Nodes
from testbed.traces.findings import Findings
from testbed.traces.protobuf import BYTES, VARINT, Field, ProtobufError
from testbed.traces.trace import Trace

# Node
ID, NAME, TYPE, START, DURATION, INPUTS, ATTRIBUTE, LAST_FIELD = 1, 2, 3, 6, 7, 8, 10, 11
# IOInfo
IO_VALUES: Final = 1
# AttributeProto: its name, and one value by its type
ATTRIBUTE_NAME: Final = 1
DOUBLE, FLOAT, INT32, INT64, UINT32, UINT64, SINT32, SINT64 = 3, 5, 7, 9, 11, 13, 15, 17
FIXED32, FIXED64, SFIXED32, SFIXED64, BOOL, STRING = 19, 21, 23, 25, 27, 29

# GlobalMetadata has its version in field 1 and attributes in field 2, both of bytes.
HEADER_LAST_FIELD: Final = 2
USED: Final = frozenset(
    ((ID, VARINT), (TYPE, VARINT), (START, VARINT), (DURATION, VARINT), (NAME, BYTES), (INPUTS, BYTES))
)

MAX_NAME_BYTES: Final = 400


def parse(data: bytes, source: str) -> Trace:
    """Read a protobuf trace. Raises TraceError, with the byte, for what is no protobuf or ends too early."""
    findings = Findings(source, "chakra", "node")
    nodes = Nodes(findings)
    try:
        for index, (begin, end) in enumerate(protobuf.messages(data)):
            if index == 0 and not _is_node(data, begin, end):
                findings.known("header")
            else:
                nodes.add(_node(data, begin, end))
    except ProtobufError as error:
        findings.problem(None, f"is no protobuf of Chakra at byte {error.offset}", error.got, error.expected)
    return findings.trace(group_sizes=nodes.group_sizes)


def looks_like_chakra(data: bytes) -> bool:
    """Whether the file begins with one or two messages such a trace may begin with."""
    n_fields = 0
    try:
        for begin, end in islice(protobuf.messages(data), 2):
            for one in protobuf.fields(data, begin, end):
                n_fields += 1
                if one.number > LAST_FIELD:
                    return False
    except ProtobufError:
        return False
    return n_fields > 0


def _is_node(data: bytes, begin: int, end: int) -> bool:
    """Whether the first message is a node at once: the metadata has no numbers, and no third field."""
    fields = protobuf.fields(data, begin, end)
    return any(one.wire_type == VARINT or one.number > HEADER_LAST_FIELD for one in fields)


def _node(data: bytes, begin: int, end: int) -> Node:
    attributes: dict[str, object] = {}
    last: dict[tuple[int, int], Field] = {}  # a field that comes twice has its last value, as protobuf has it
    for one in protobuf.fields(data, begin, end):
        if (one.number, one.wire_type) == (ATTRIBUTE, BYTES):
            attributes.update(_attribute(data, one))
        elif (one.number, one.wire_type) in USED:
            last[one.number, one.wire_type] = one
    numbers = {number: one.value for (number, kind), one in last.items() if kind == VARINT}
    name, inputs = last.get((NAME, BYTES)), last.get((INPUTS, BYTES))
    kind = numbers.get(TYPE, INVALID)
    return Node(
        number=numbers.get(ID, 0),  # protobuf leaves out what is 0 or empty
        name="" if name is None else _text(data, name, MAX_NAME_BYTES),
        kind=kind,
        duration_us=numbers.get(DURATION),  # 0 cannot be told from missing: missing it is
        start_us=numbers.get(START),
        attributes=attributes,
        inputs=_values(data, inputs) if inputs is not None and kind == METADATA else "",
    )


def _attribute(data: bytes, attribute: Field) -> dict[str, object]:
    """Return name and value of an attribute that is asked for; of others nothing."""
    name, value = "", None
    for one in protobuf.fields(data, attribute.begin, attribute.end):
        if one.number == ATTRIBUTE_NAME and one.wire_type == BYTES:
            name = _text(data, one, MAX_NAME_BYTES)
        elif one.number in _VALUES:
            value = _value(data, one)
    return {name: value} if name in ATTRIBUTES and value is not None else {}


_SIGNED_BITS: Final = {INT32: 64, INT64: 64, SFIXED32: 32, SFIXED64: 64}  # a negative int32 is written in 64 bits
_VALUES: Final = frozenset(
    (DOUBLE, FLOAT, UINT32, UINT64, SINT32, SINT64, FIXED32, FIXED64, BOOL, STRING, *_SIGNED_BITS)
)


def _value(data: bytes, one: Field) -> object:
    if one.number == STRING:
        return _text(data, one) if one.wire_type == BYTES else None  # whole: it may be what a group is known by
    if one.wire_type == BYTES:
        return None
    if one.number == BOOL:
        return bool(one.value)
    if one.number in (DOUBLE, FLOAT):
        return (
            protobuf.floating(one.value, one.wire_type)
            if one.wire_type in (protobuf.FIXED32, protobuf.FIXED64)
            else None
        )
    if one.number in (SINT32, SINT64):
        return protobuf.zigzag(one.value)
    return protobuf.signed(one.value, _SIGNED_BITS[one.number]) if one.number in _SIGNED_BITS else one.value


def _values(data: bytes, inputs: Field) -> str:
    for one in protobuf.fields(data, inputs.begin, inputs.end):
        if one.number == IO_VALUES and one.wire_type == BYTES:
            return _text(data, one)
    return ""


def _text(data: bytes, one: Field, most: int | None = None) -> str:
    end = one.end if most is None else min(one.end, one.begin + most)
    return data[one.begin : end].decode(errors="replace")
