"""The few kinds of bytes protobuf messages consist of, and messages one after the other. Pure.

Source: https://protobuf.dev/programming-guides/encoding (tags, varints, zigzag, wire types 0, 1, 2, 5) and, for a
length before each message, https://protobuf.dev/programming-guides/techniques (streaming multiple messages).
It does not know any message: whoever reads one knows its fields, and skips others, as protobuf does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
MAX_FIELDS: Final = 10_000  # of a message: far more than any we read has

_FIXED: Final = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_FIELD = 2**29 - 1


class ProtobufError(Exception):
    """These bytes are no protobuf message; ``offset`` counts from the first byte of the file."""

    def __init__(self, offset: int, got: str, expected: str) -> None:
        self.offset = offset
        self.got = got
        self.expected = expected
        super().__init__(f"byte {offset}: got {got}, expected {expected}")


class Field(NamedTuple):
    """A field as it stands in a message: its number, its wire type, its value, or where its bytes are."""

    number: int
    wire_type: int
    value: int  # of a varint; of fixed ones as unsigned
    begin: int  # of the bytes, where wire_type is BYTES
    end: int


def messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each message, a length before each. Raises ProtobufError."""
    at = 0
    while at < len(data):
        size, begin = varint(data, at, len(data))
        yield begin, _end(begin, size, len(data))
        at = begin + size


def fields(data: bytes, begin: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message at ``[begin, end)`` in order. Raises ProtobufError."""
    at, n_fields = begin, 0
    while at < end:
        tag_at, n_fields = at, n_fields + 1
        if n_fields > MAX_FIELDS:
            raise ProtobufError(tag_at, f"more than {MAX_FIELDS:,} fields", "a message of a trace")
        tag, at = varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD:
            raise ProtobufError(tag_at, f"field {number}", "a field's number from 1")
        if wire_type == VARINT:
            value, at = varint(data, at, end)
            yield Field(number, wire_type, value, at, at)
        elif wire_type == BYTES:
            size, at = varint(data, at, end)
            stop = _end(at, size, end)
            yield Field(number, wire_type, 0, at, stop)
            at = stop
        elif wire_type in _FIXED:
            stop = _end(at, _FIXED[wire_type], end)
            yield Field(number, wire_type, int.from_bytes(data[at:stop], "little"), at, stop)
            at = stop
        else:
            raise ProtobufError(tag_at, f"wire type {wire_type}", "0, 1, 2 or 5")


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the unsigned number at ``at`` and where the next thing begins. Raises ProtobufError."""
    number = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= end:
            raise ProtobufError(at, "the end", "a number")
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number & (2**64 - 1), at + index + 1
    raise ProtobufError(at, "a number of more than ten bytes", "at most ten")


def signed(value: int, bits: int = 64) -> int:
    """Return an int32, int64, sfixed32 or sfixed64, whose negative numbers are two's complements."""
    return value - 2**bits if value >= 2 ** (bits - 1) else value


def zigzag(value: int) -> int:
    """Return a sint32 or sint64."""
    return (value >> 1) ^ -(value & 1)


def floating(value: int, wire_type: int) -> float:
    """Return a double or a float."""
    size, code = (8, "<d") if wire_type == FIXED64 else (4, "<f")
    number: float = struct.unpack(code, value.to_bytes(size, "little"))[0]
    return number


def _end(begin: int, size: int, most: int) -> int:
    if size > most - begin:
        raise ProtobufError(begin, f"{most - begin:,} bytes to the end", f"{size:,} bytes")
    return begin + size
