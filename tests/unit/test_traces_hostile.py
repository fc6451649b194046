"""Whatever a file holds, it becomes a trace or our own error, in bounded time and memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trace_files import OURS, file_id, format_of

from testbed.errors import TraceError
from testbed.traces import findings as limits
from testbed.traces import protobuf
from testbed.traces.detect import parse, recognised
from testbed.traces.files import load
from testbed.traces.jsontext import MAX_JSON_BYTES
from testbed.traces.lines import MAX_LINE_BYTES
from testbed.traces.trace import FORMATS, Format, Trace

AICB = "comm_type,comm_group,comm_group_size,msg_size,stage,dst,src,additional,_elapsed_time,algbw,busbw,count\n"
SIMAI = "MICRO\n1\n"
CALL = "AllReduce: opCount 0 sendbuff 0x1 recvbuff 0x2 count {} datatype {} op 0 root 0 comm 0x3 [nranks={}] stream 0x4"


def attempt(data: bytes, format: Format | None) -> Trace | None:
    """Return a trace, or None where the error is ours and complete."""
    try:
        return parse(data, "x", format)
    except TraceError as error:
        assert 1 <= len(error.problems) <= limits.MAX_PROBLEMS
        for problem in error.problems:
            assert problem.what and problem.where and problem.got and problem.expected
            assert len(str(problem)) < 2000
        return None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([None, *FORMATS]))
@example(b"", None)
@example(b"{}", "chakra")
@example(b"[]", "param")
@example(b"\x00" * 100, "chakra")
def test_any_bytes_are_a_trace_or_an_error_of_ours(data: bytes, format: Format | None) -> None:
    attempt(data, format)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(OURS.iterdir())), st.data())
def test_a_damaged_trace_is_a_trace_or_an_error_of_ours(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(max_size=6) | st.sampled_from([b"-1", b"9" * 40, b"\n", b"{", b"[", b'"', b"null"]))
        content[at : at + data.draw(st.integers(0, 8))] = piece
    attempt(bytes(content[: data.draw(st.integers(0, len(content)))]), data.draw(st.sampled_from([None, *FORMATS])))


FIELDS = (
    *("comms", "compute", "in_msg_size", "out_msg_size", "dtype", "world_size", "pg_id", "markers", "latency_us"),
    *("startTime_ns", "Id", "Name", "NodeType", "runtime", "is_cpu_op", "comm_type", "comm_size", "pg_name"),
    *("id", "name", "type", "attr", "inputs", "durationMicros"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        json_values | st.sampled_from(["all_reduce", "float32", 7, 4, 1, "COMM_COLL_NODE", [{"name": []}]]),
        max_size=8,
    )
)
def test_any_json_in_the_fields_we_read_is_a_trace_or_an_error_of_ours(entry: dict[str, object]) -> None:
    attempt(json.dumps([entry]).encode(), "param")
    attempt(json.dumps(entry).encode(), "chakra")
    attempt(json.dumps({"workload_graph": [entry]}).encode(), "chakra")


# --- what the errors say --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no trace we know; got an empty file, expected one of aicb, simai,"),
        (b"hello world\n", "got a file that begins with 'hello world"),
        (b"\x1f\x8b\x08\x00", "is compressed; got gzip, expected the trace itself"),
        (f"{AICB}CommType.all_reduce,CommGroup.dp_group,4,-5,s,,,,,,,1".encode(), "line 2: msg_size is wrong; got -5"),
        (f"{AICB}CommType.all_reduce,CommGroup.dp_group,4,{'9' * 99},s,,,,,,,1".encode(), "got 99999"),
        (f"{AICB}CommType.all_reduce,CommGroup.dp_group,-4,5,s,,,,,,,1".encode(), "comm_group_size is wrong; got -4"),
        (f"{AICB}CommType.computation,CommGroup.all,,0,s,,,,inf,,,1".encode(), "_elapsed_time is wrong; got inf"),
        (f"{AICB}CommType.all_reduce,".encode() + b"\xff\n", "line 2: is not UTF-8; got byte 0xff at 20"),
        (f"{AICB}{'x' * (MAX_LINE_BYTES + 1)}".encode(), "line 2: line too long"),
        (b"comm_type,comm_group\n", "columns missing; got comm_type,comm_group, expected msg_size, stage too"),
        (f"{AICB}".encode(), "no record of format aicb in it; got nothing"),
        (b"MICRO ep: \n1\n", "line 1: ep is wrong; got nothing, expected a whole number"),
        (f"[rank0 ~ rank99999999]\n{AICB}CommType.barrier,CommGroup.all,,0,s,,,,,,,1".encode(), "ranks are wrong"),
        (f"{SIMAI}x -1 1 ALLREDUCE -8 1 NONE 0 1 NONE 0 1".encode(), "line 3: forward bytes is wrong; got -8"),
        (f"{SIMAI}x -1 1e99 NONE 0 1 NONE 0 1 NONE 0 1".encode(), "line 3: forward computing is wrong; got 1e99"),
        (b"MICRO\n3\nx -1 1 NONE 0 1 NONE 0 1 NONE 0 1", "number of layers is wrong; got 3 and 1 rows below"),
        (CALL.format(-1, 7, 8).encode(), "line 1: count is wrong; got -1, expected a whole number from 0"),
        (CALL.format(1, 99, 8).encode(), "datatype is wrong; got 99, expected a whole number from 0 to 11"),
        (b'[{"comms": "send", "in_msg_size": -1, "out_msg_size": 1, "dtype": "int"}]', "entry 0: in_msg_size is wrong"),
        (b'[{"comms": "all_reduce", "out_msg_size": 1, "dtype": "int"}]', "in_msg_size is wrong; got None"),
        (b"[" * 100_000, "is not JSON; got too many levels"),
        (b"[1, " + b"9" * 5000 + b"]", "is not JSON; got a number of 5,000 digits"),
        (b"[NaN]", "is not JSON; got the number NaN"),
        (b'[{"comms": }]', "is not JSON; got Expecting value in line 1, column 12"),
        (f"{AICB}CommType.all_reduce,CommGroup.dp_group,4,8,s,,,,1_0,,,1".encode(), "_elapsed_time is wrong; got 1_0"),
        (b"[1] [2]", "is no comms trace; got 2 JSON values"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:40],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse(data, "x")
    assert said in str(caught.value)


def test_everything_wrong_is_said_at_once_up_to_a_limit() -> None:
    row = "CommType.all_reduce,CommGroup.dp_group,4,-5,s,None,None,,None,None,None,1\n"
    for rows, said in ((3, 3), (10 * limits.MAX_PROBLEMS, limits.MAX_PROBLEMS)):
        with pytest.raises(TraceError) as caught:
            parse((AICB + row * rows).encode(), "x")
        assert len(caught.value.problems) == said


def test_a_truncated_protobuf_is_refused_at_its_byte() -> None:
    whole = (OURS / "chakra.0.et").read_bytes()
    for end in (len(whole) - 1, len(whole) - 30):
        with pytest.raises(TraceError, match=r"is no protobuf of Chakra at byte \d+"):
            parse(whole[:end], "x", "chakra")


def test_a_length_of_a_gigabyte_takes_none(tmp_path: Path) -> None:
    path = tmp_path / "big.et"
    path.write_bytes(b"\x80\x80\x80\x80\x04\x0a\x00")  # 1 << 30 as a varint, and two bytes
    tracemalloc.start()
    with pytest.raises(TraceError, match="got 2 bytes to the end, expected 1,073,741,824 bytes"):
        load(path, "chakra")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    texts = [ours for ours in OURS.iterdir() if ours.suffix != ".et"]
    assert {format_of(ours) for ours in texts} == set(FORMATS)
    for ours in texts:
        path = tmp_path / ours.name
        path.write_bytes(b"\xef\xbb\xbf" + ours.read_bytes())
        assert replace(load(path), source="") == replace(load(ours), source="")


def test_reading_takes_the_memory_of_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    log = (OURS / "nccl.log").read_bytes()
    path.write_bytes(log + b"\n" + (b"x" * 60_000 + b"\n") * 300)
    list_path = tmp_path / "list.json"
    list_path.write_bytes(b" " * 18_000_000)
    for data, kind in ((path, None), (list_path, "simai")):
        tracemalloc.start()
        with suppress(TraceError):
            load(data, kind)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.5 * data.stat().st_size


def test_json_is_told_without_a_copy_of_the_file() -> None:
    data = b" " + b"[" + b" " * 20_000_000
    tracemalloc.start()
    assert recognised(data, "x") == "param"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_too_much_json_is_refused_before_it_is_read() -> None:
    with pytest.raises(TraceError, match="is too large; got 33,554,433 bytes, expected at most 33,554,432 bytes"):
        parse(b"[" + bytes(MAX_JSON_BYTES), "x", "param")


def of_fields(numbers: range) -> bytes:
    return b"".join(varint(number << 3) + b"\x01" for number in numbers)


def test_fields_nobody_knows_take_no_memory() -> None:
    nodes = b"".join(varint(len(node)) + node for node in [b"\x18\x04" + of_fields(range(1000, 1000 + 9000))] * 2)
    parse(nodes, "x", "chakra")  # warm
    tracemalloc.start()
    parse(nodes, "x", "chakra")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_messages_of_very_many_fields_are_refused() -> None:
    node = b"\x18\x04" + of_fields(range(1000, 1000 + protobuf.MAX_FIELDS))
    with pytest.raises(TraceError, match=r"at byte \d+; got more than 10,000 fields"):
        parse(varint(len(node)) + node, "x", "chakra")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("one line without an end", b"opCount sendbuff " + b"a" * 3_000_000),
        ("long words", (b"a" * 60_000 + b" opCount sendbuff \n") * 20),
        ("many prefixes", (b"host:1:2 [0] NCCL INFO comm 0x1 rank 1 nranks 2 " * 1000 + b"opCount sendbuff \n") * 20),
        ("comms without an end", (b"NCCL " + b"comm 0x1 rank 1 nranks 2 " * 2000 + b"\n") * 20 + b"opCount sendbuff "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_lines_take_no_time(name: str, data: bytes) -> None:
    began_s = time.process_time()
    attempt(data, "nccl")
    assert time.process_time() - began_s < 5  # of CPU: a careless expression would take minutes


def test_unknown_is_kept_up_to_a_limit_and_counted_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    row = "CommType.all_reduce,CommGroup.dp_group,4,8,s,None,None,,None,None,None,1\n"
    trace = parse((AICB + row + "what\n" * (limits.MAX_UNKNOWN + 7)).encode(), "x")
    assert (trace.n_unknown, len(trace.unknown)) == (limits.MAX_UNKNOWN + 7, limits.MAX_UNKNOWN)
    monkeypatch.setattr(limits, "MAX_RECORDS", 5)
    for rows, said in ((row * 6, "too many records"), ("what\n" * 6, "nearly nothing is understood")):
        with pytest.raises(TraceError, match=said):
            parse((AICB + rows).encode(), "x")


@pytest.mark.parametrize("path", [OURS, Path("/dev/zero"), Path("/nonexistent"), Path("a\0b")], ids=file_id)
def test_what_is_no_ordinary_file_is_refused(path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        load(path)


def test_protobuf_that_begins_like_json_is_protobuf() -> None:
    version = b"v" * (ord("{") - 2)
    data = b"{\x0a" + bytes([len(version)]) + version + (OURS / "chakra.0.et").read_bytes()
    assert recognised(data, "x") == "chakra"
    assert parse(data, "x").records


# --- protobuf's bytes -----------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    head = b""
    while value >= 0x80:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_read_as_it_was_written(value: int) -> None:
    data = varint(value)
    assert protobuf.varint(data, 0, len(data)) == (value, len(data))


def test_numbers_as_the_specification_has_them() -> None:
    assert protobuf.varint(b"\x96\x01", 0, 2) == (150, 2)  # the encoding guide's example
    assert protobuf.signed(2**64 - 2) == -2
    assert [protobuf.zigzag(value) for value in range(5)] == [0, -1, 1, -2, 2]
    assert protobuf.floating(0x3FF8000000000000, protobuf.FIXED64) == 1.5
    assert protobuf.floating(0x3FC00000, protobuf.FIXED32) == 1.5


@pytest.mark.parametrize("data", [b"\x07", b"\x08", b"\x80" * 11, b"\x0a\x05abc", b"\x0d\x00", b"\x00\x01"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(protobuf.ProtobufError):
        list(protobuf.fields(data, 0, len(data)))


# --- numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1_000", "٣", "", ".", "e5", "1e", "0x10", " 1", "1\n", "nan", "1e9999", "9" * 99])
def test_texts_that_are_no_number(text: str) -> None:
    assert limits.number(text) is None


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("-1.5", -1.5), (".5", 0.5), ("2.", 2), ("1e-3", 1e-3), ("+4E2", 400)]
)
def test_texts_that_are_numbers(text: str, value: float) -> None:
    assert limits.number(text) == value
