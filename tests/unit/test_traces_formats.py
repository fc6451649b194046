"""What each format's fields become: every number of our small files, computed by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from trace_files import OURS, file_id, format_of, trace_files

from testbed.errors import TraceError
from testbed.traces.aicb import OPERATIONS as AICB_OPERATIONS
from testbed.traces.aicb import split_row
from testbed.traces.detect import parse, recognised
from testbed.traces.files import load
from testbed.traces.simai import OPERATIONS as SIMAI_OPERATIONS
from testbed.traces.totals import communications, computing, sums
from testbed.traces.trace import Format, Record, Trace


def read(name: str) -> Trace:
    return load(OURS / name)


def facts(trace: Trace, *fields: str) -> list[tuple[object, ...]]:
    return [tuple(getattr(record, field) for field in fields) for record in communications(trace)]


def unknown_places(trace: Trace) -> list[int]:
    return [one.place for one in trace.unknown]


@pytest.mark.parametrize("path", trace_files(), ids=file_id)
def test_every_file_is_recognised_and_read(path: Path) -> None:
    assert recognised(path.read_bytes(), path.name) == format_of(path)
    trace = load(path)
    assert trace.records and trace.format == format_of(path)
    assert trace == load(path, format_of(path))


def test_there_is_a_file_of_ours_for_every_format() -> None:
    assert {format_of(path) for path in OURS.iterdir()} == {"aicb", "simai", "chakra", "param", "nccl"}


# --- AICB ---------------------------------------------------------------------------------------------


def test_aicb_workload() -> None:
    trace = read("aicb-workload.csv")
    assert trace.n_ranks == 8
    assert facts(trace, "place", "operation", "group", "group_size", "size_bytes", "stage") == [
        (3, "allreduce", "dp", 4, 8, "init.setup"),
        (4, "barrier", "all", 8, 0, "init.setup"),
        (6, "broadcast", "tp", 2, 40, "forward_step"),
        (8, "allreduce", "tp", 2, 16384, "forward.RowLinear"),
        (10, "send", "pp", 1, 4096, "forward_step"),
        (11, "all_to_all", "ep", None, 2048, "forward.MoE"),
        (13, "reduce_scatter", "dp", 4, 65536, "step"),
        (14, "all_gather", "dp", 4, 32768, "step"),
    ]
    assert {record.rank for record in trace.records} == {"rank0 ~ rank7"}
    assert [record.place for record in trace.records if record.kind == "mark"] == [5, 16]
    assert next(record.name for record in trace.records if record.operation == "send") == "send_next"
    assert unknown_places(trace) == [12]
    assert trace.known == (("blank line", 1), ("header", 1), ("ranks of the rows below", 1))


def test_aicb_computing_is_nanoseconds_in_a_workload_and_missing_where_it_is_not_there() -> None:
    times = [record.compute_s for record in read("aicb-workload.csv").records if record.kind == "compute"]
    assert times == [1.5e-3, None]
    time = computing(read("aicb-workload.csv"))
    assert (time.compute_s, time.count, time.n_untimed) == (1.5e-3, 2, 1)


def test_aicb_times_are_milliseconds_in_a_log() -> None:
    trace = read("aicb-log.csv")
    assert [(record.kind, record.measured_s, record.compute_s) for record in trace.records] == [
        ("communicate", 0.5e-3, None),
        ("compute", None, 2.5e-3),
        ("communicate", 0.25e-3, None),
        ("mark", 4e-3, None),
    ]


def test_aicb_log_is_one_also_where_computing_comes_first() -> None:
    header, operation, compute, *_rest = (OURS / "aicb-log.csv").read_text().splitlines()
    trace = parse("\n".join([header, compute, operation]).encode(), "x")
    assert [record.compute_s for record in trace.records] == [2.5e-3, None]


def aicb_of(*rows: tuple[str, str]) -> bytes:
    """Return a file of rows: what, and its time."""
    header = "comm_type,comm_group,comm_group_size,msg_size,stage,_elapsed_time\n"
    return (header + "".join(f"{what},dp_group,8,10,a,{time}\n" for what, time in rows)).encode()


def test_aicb_time_of_0_makes_no_log() -> None:
    assert computing(parse(aicb_of(("computation", "1000000000"), ("all_reduce", "0")), "x")).compute_s == 1
    rows = (("computation", "1000000000"), ("all_reduce", "0"), ("all_reduce", ""))
    assert computing(parse(aicb_of(*rows), "x")).compute_s == 1


def test_aicb_log_may_have_zeros_and_barriers_without_time() -> None:
    rows = (("computation", "1000"), ("all_reduce", "0"), ("barrier", "None"), ("all_reduce", "0.5"))
    assert computing(parse(aicb_of(*rows), "x")).compute_s == 1


def test_aicb_computing_beside_operations_with_and_without_time_is_of_no_known_unit() -> None:
    rows = [("all_reduce", "5"), ("all_reduce", ""), ("computation", "1000")]
    with pytest.raises(TraceError, match=r"line 4: unit is unclear; got a time here .* in line 2, none in line 3"):
        parse(aicb_of(*rows), "x")
    assert [one.measured_s for one in parse(aicb_of(*rows[:2]), "x").records] == [5e-3, None]


def test_aicb_of_an_older_header_without_group_sizes() -> None:
    text = (
        "comm_type,comm_group,msg_size,stage,dst,src,additional,_elapsed_time,algbw,busbw,count\n"
        "CommType.all_to_all,CommGroup.dp_group,4096,warmup,None,None,,None,None,None,1\n"
        "CommType.all_to_all,CommGroup.dp_group,4096,warmup,None,None,,None,None,None,2\n"
    )
    trace = parse(text.encode(), "old")
    assert facts(trace, "operation", "group", "group_size", "size_bytes") == [("all_to_all", "dp", None, 4096)]
    assert [(one.place, one.why.partition(":")[0]) for one in trace.unknown] == [(3, "count=2")]


def test_aicb_stages_of_a_pipeline_in_one_file_are_told_apart() -> None:
    """As in AICB's Llama-65B with eight stages (L65B-M1-C05): taken together they would be one rank's rows."""
    header, row = "comm_type,comm_group,comm_group_size,msg_size,stage", "CommType.all_reduce,CommGroup.dp_group,2,{},a"
    lines = ["[ pp_stage0: [rank0, rank1] ]", header, row.format(8), "[ pp_stage1: [rank2, rank3] ]", header]
    trace = parse("\n".join([*lines, row.format(4)]).encode(), "x")
    assert facts(trace, "place", "size_bytes", "rank") == [(3, 8, "pp_stage0"), (6, 4, "pp_stage1")]
    assert (trace.n_ranks, trace.n_unknown) == (4, 0)
    assert trace.known == (("header", 2), ("ranks of the rows below", 2))


def test_aicb_barrier_moves_nothing_and_bytes_it_has_in_the_file_are_unknown() -> None:
    text = (OURS / "aicb-workload.csv").read_text().replace("CommGroup.all,8,0,", "CommGroup.all,8,32768,")
    trace = parse(text.encode(), "x")
    assert [record.size_bytes for record in communications(trace) if record.operation == "barrier"] == [0]
    assert [one.why for one in trace.unknown if one.place == 4] == ["a barrier of 32768 bytes, which moves none"]


def test_aicb_shapes_are_one_cell() -> None:
    assert split_row("a,((1, 2), (3, 4)),b,") == ["a", "((1, 2), (3, 4))", "b", ""]
    assert split_row("a)),b,(c,d") == ["a))", "b", "(c,d"]


@pytest.mark.parametrize("path", trace_files("aicb"), ids=file_id)
def test_aicb_totals_are_those_of_the_file(path: Path) -> None:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for what, group_size_and_size in re.findall(r"^CommType\.(\w+),[^,]*,([^,]*,[^,]*),", path.read_text(), re.M):
        if what in AICB_OPERATIONS:
            counts[AICB_OPERATIONS[what]] += 1
            if what != "barrier":  # which moves nothing, whatever the file says
                sizes[AICB_OPERATIONS[what]] += int(group_size_and_size.partition(",")[2])
    found = sums(load(path).records, ("operation",))
    assert {one.key[0]: (one.count, one.size_bytes) for one in found} == {
        name: (counts[name], sizes[name]) for name in counts
    }


# --- SimAI --------------------------------------------------------------------------------------------


def test_simai_passes_groups_and_sizes() -> None:
    trace = read("simai.txt")
    # 16 ranks / (tp 2 x pp 2) = dp 4; dp 4 / ep 2 = dp_ep 2
    assert trace.n_ranks == 16
    assert dict(trace.group_sizes) == {"tp": 2, "ep": 2, "pp": 2, "dp": 4, "dp_ep": 2}
    assert facts(trace, "place", "stage", "operation", "group", "group_size", "size_bytes", "compute_s") == [
        (3, "weight_grad", "all_gather", "dp", 4, 4000, 1e-9),
        (4, "forward", "allreduce", "tp", 2, 1024, 500e-6),
        (4, "input_grad", "allreduce", "tp", 2, 2048, 600e-6),
        (5, "forward", "all_to_all", "ep", 2, 512, 250e-6),
        (5, "input_grad", "all_to_all", "ep", 2, 512, 250e-6),
        (5, "weight_grad", "reduce_scatter", "dp_ep", 2, 8000, 1e-9),
        (6, "forward", "broadcast", "tp", 2, 256, 10e-9),
    ]
    assert [record.name for record in trace.records] == [
        *["grad_gather"] * 3, *["attention"] * 3, *["moe"] * 3, *["norm"] * 3
    ]  # fmt: skip
    # attention's weights' gradient is computing alone, and counts: 0.5 + 0.6 + 0.7 + 2 x 0.25 ms and some ns
    assert computing(trace).compute_s == pytest.approx(2.3e-3 + 17e-9)
    assert [(one.place, one.text) for one in trace.unknown] == [
        (1, "pp_comm 8192"),
        (6, "norm input_grad: ALLREDUCEALLTOALL 64"),
    ]


def test_simai_micro_benchmark() -> None:
    trace = read("simai-micro.txt")
    assert (trace.n_ranks, trace.group_sizes) == (None, ())
    assert facts(trace, "operation", "group", "group_size", "size_bytes") == [
        ("allreduce", "dp", None, 4096),
        ("allreduce", "dp", None, 8192),
    ]


@pytest.mark.parametrize(
    ("header", "unknown"),
    [
        ("HYBRID_DLRM_ENHANCED 5", []),
        ("HYBRID_DLRM DLRM_LAST_BOTTOM_LAYER: 5", []),
        ("HYBRID_TRANSFORMER model_parallel_NPU_group: 4 checkpoints: 2 3 5 pp_comm 0", []),
        ("DATA colour: 3", ["colour 3"]),
        ("NONSENSE", ["NONSENSE"]),
    ],
)
def test_simai_headers(header: str, unknown: list[str]) -> None:
    trace = parse(f"{header}\n1\nx -1 1 NONE 0 1 NONE 0 1 ALLREDUCE 8 1\n".encode(), "x", "simai")
    assert [one.text for one in trace.unknown] == unknown


def test_simai_computing_of_1_ns_everywhere_is_none() -> None:
    row = "x -1 {} NONE 0 1 NONE 0 1 ALLREDUCE 8 1\n"
    for nanoseconds, expected in (("1", [0, 0, 0]), ("2", [2e-9, 1e-9, 1e-9])):
        trace = parse(f"DATA\n1\n{row.format(nanoseconds)}".encode(), "x", "simai")
        assert [record.compute_s for record in trace.records] == pytest.approx(expected)


def test_simai_rows_of_other_widths_are_unknown() -> None:
    row = "x -1 1 NONE 0 1 NONE 0 1 ALLREDUCE 8 1"
    trace = parse(f"HYBRID_CUSTOMIZED\n2\n{row} DATA\n{row}\n".encode(), "x")
    assert (len(communications(trace)), unknown_places(trace)) == (1, [4])


@pytest.mark.parametrize("path", trace_files("simai"), ids=file_id)
def test_simai_totals_are_those_of_the_file(path: Path) -> None:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    times_ns = []
    for words in (line.split() for line in path.read_text().splitlines()[2:]):
        times_ns += [int(words[column]) for column in (2, 5, 8)]
        for column in (3, 6, 9):
            operation = SIMAI_OPERATIONS.get(words[column].partition("_")[0])
            if operation:
                counts[operation] += 1
                sizes[operation] += int(words[column + 1])
    trace = load(path)
    assert {one.key[0]: (one.count, one.size_bytes) for one in sums(trace.records, ("operation",))} == {
        name: (counts[name], sizes[name]) for name in counts
    }
    assert computing(trace).compute_s == pytest.approx(sum(times_ns) / 1e9 if max(times_ns) > 1 else 0)


# --- Chakra -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chakra.0.et", "chakra.0.json"])
def test_chakra_nodes_are_the_same_in_protobuf_and_in_its_json(name: str) -> None:
    trace = read(name)
    assert facts(trace, "place", "operation", "group", "group_size", "size_bytes", "measured_s") == [
        (4, "allreduce", "pg 0", 8, 4096, 800e-6),
        (5, "all_gather", "pg 1", 2, 2000, 200e-6),  # 1000 B of each of 2 ranks
        (6, "all_gather", None, None, None, None),
        (7, "reduce_scatter", "pg 0", 8, 512, None),  # by its name: no comm_type
        (8, "send", None, None, 300, None),
    ]
    assert [(one.place, one.why) for one in trace.unknown] == [
        (6, "all_gather of 1000 bytes of each rank, and how many there are is not in the file"),
        (9, "no operation we know"),
    ]
    assert [(r.place, r.kind, r.compute_s) for r in trace.records if r.kind in ("compute", "host")] == [
        (1, "host", 70e-6),
        (2, "compute", 1500e-6),
        (3, "compute", None),
    ]
    assert next(record.start_ns for record in trace.records if record.place == 2) == 10**9
    assert dict(trace.known) == {"header": 1, "metadata": 1, "load from memory": 1}


def test_chakra_graph_of_the_older_form() -> None:
    trace = read("chakra-graph.json")
    assert trace.n_ranks == 4
    assert facts(trace, "place", "operation", "size_bytes", "measured_s") == [
        (10, "allreduce", 65536, 400e-6),
        (11, "broadcast", None, 20e-6),
    ]
    assert [(record.place, record.kind) for record in trace.records] == [
        (7, "host"), (8, "compute"), (9, "host"), (10, "communicate"), (11, "communicate")
    ]  # fmt: skip
    assert computing(trace).compute_s == pytest.approx(250e-6)
    assert unknown_places(trace) == [11, 12]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": "1.0.2-chakra.0.0.4", "nodes": []}', "chakra_converter makes such traces"),
        ('{"traceEvents": []}', "is a profile of Kineto"),
        ('{"workload_graph": 5}', "workload_graph is wrong; got int"),
    ],
)
def test_json_that_is_something_else_is_said_to_be_that(text: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        parse(text.encode(), "x")


def lengthed(number: int, content: bytes) -> bytes:
    """Return a field of bytes of fewer than 128."""
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    ("value", "group"),
    [
        (b"\x38\x07", "pg 7"),  # int32
        (b"\x48" + b"\xff" * 9 + b"\x01", "pg -1"),  # int64
        (b"\x58\x07", "pg 7"),  # uint32
        (b"\x78\x03", "pg -2"),  # sint32, zigzag
        (b"\x9d\x01\x07\x00\x00\x00", "pg 7"),  # fixed32
        (b"\xc9\x01" + b"\xfe" + b"\xff" * 7, "pg -2"),  # sfixed64
        (b"\x19" + b"\x00" * 6 + b"\xf8\x3f", "pg 1.5"),  # double
        (b"\xea\x01\x02ab", "pg ab"),  # string
        (b"\xea\x01\x00", None),  # empty string
        (b"\x52\x02\x08\x07", None),  # a list
        (b"", None),
    ],
)
def test_chakra_attributes_of_any_type(value: bytes, group: str | None) -> None:
    size = lengthed(10, lengthed(1, b"comm_size") + b"\x48\x08")
    node = b"\x08\x05" + lengthed(2, b"AllReduce") + b"\x18\x07" + size + lengthed(10, lengthed(1, b"pg_name") + value)
    trace = parse(bytes([len(node)]) + node, "x", "chakra")  # a node at once: no header
    assert facts(trace, "place", "group", "size_bytes") == [(5, group, 8)]


def test_chakra_process_groups_that_cannot_be_read_are_unknown() -> None:
    text = (OURS / "chakra.0.json").read_text().replace('\\"group_size\\": 8', '\\"group_size\\": 0')
    trace = parse(text.encode(), "x")
    assert [one.why for one in trace.unknown if one.place == 0] == ["no process group whose size is known"]
    assert facts(trace, "group", "group_size")[0] == ("pg 0", None)


@pytest.mark.parametrize("size", ["true", "-8", "1.5"])
def test_chakra_group_sizes_that_are_no_count_are_wrong(size: str) -> None:
    text = (OURS / "chakra.0.json").read_text().replace('\\"group_size\\": 8', f'\\"group_size\\": {size}')
    with pytest.raises(TraceError, match="group_size is wrong"):
        parse(text.encode(), "x")


def chakra_of(groups: dict[str, int]) -> bytes:
    """Return a JSON trace with an all-gather of 100 bytes a rank in each group."""
    sizes = json.dumps([{"pg_name": name, "group_size": size} for name, size in groups.items()])
    nodes: list[object] = [{"version": "1"}, {"name": "process_group:init", "type": 1, "inputs": {"values": sizes}}]
    for name in groups:
        values = (("comm_type", "int64Val", "2"), ("comm_size", "int64Val", "100"), ("pg_name", "stringVal", name))
        attributes = [{"name": what, kind: value} for what, kind, value in values]
        nodes.append({"id": "7", "name": "ag", "type": "COMM_COLL_NODE", "attr": attributes})
    return "\n".join(map(json.dumps, nodes)).encode()


def test_chakra_groups_are_told_apart_by_their_whole_names() -> None:
    first, second = "x" * 500 + "A", "x" * 500 + "B"
    trace = parse(chakra_of({first: 2, second: 8}), "x")
    assert facts(trace, "group", "size_bytes") == [(f"pg {first}", 200), (f"pg {second}", 800)]
    assert dict(trace.group_sizes) == {f"pg {first}": 2, f"pg {second}": 8}


def test_chakra_groups_are_told_apart_by_their_whole_names_in_protobuf_too() -> None:
    data = b""
    for last in (b"A", b"B"):
        text = b"\xea\x01" + protobuf_number(501) + b"x" * 500 + last
        name = lengthed(1, b"pg_name") + text
        node = b"\x08\x05\x18\x07" + lengthed(2, b"Barrier") + b"\x52" + protobuf_number(len(name)) + name
        data += protobuf_number(len(node)) + node
    assert [len({group}) for (group,) in facts(parse(data, "x", "chakra"), "group")] == [1, 1]
    assert len({group for (group,) in facts(parse(data, "x", "chakra"), "group")}) == 2


def protobuf_number(value: int) -> bytes:
    """Return a number of at most 14 bits."""
    return bytes([value & 0x7F | 0x80, value >> 7])


def test_chakra_groups_whose_name_is_no_text_are_unknown() -> None:
    graph = '{"workload_graph": [{"Id": 1, "Name": "barrier", "NodeType": 7, "pg_name": [1]}]}'
    trace = parse(graph.encode(), "x")
    assert facts(trace, "group") == [(None,)]
    assert [(one.place, one.why) for one in trace.unknown] == [(1, "no name of a group")]


@pytest.mark.parametrize(
    "node",
    [
        lengthed(2, b"gemm") + b"\x18\x04\x38\x05",  # name, type, duration
        b"\x18\x04",
        b"\x38\x05",
        lengthed(10, lengthed(1, b"comm_size") + b"\x48\x08"),
    ],
)
def test_chakra_first_node_may_be_number_0_and_there_may_be_no_header(node: bytes) -> None:
    second = b"\x08\x01\x18\x04"
    trace = parse(bytes([len(node)]) + node + bytes([len(second)]) + second, "x", "chakra")
    assert trace.known == ()
    assert len(trace.records) + trace.n_unknown == 2
    assert {one.place for one in (*trace.records, *trace.unknown)} == {0, 1}


@pytest.mark.parametrize(
    "node",
    [
        '{"name": "gemm"}',
        '{"durationMicros": "5"}',
        '{"attr": [{"name": "comm_size", "int64Val": "8"}]}',
    ],
)
def test_chakra_first_node_without_number_and_type_is_a_node_in_json_too(node: str) -> None:
    trace = parse(f'{node} {{"id": "1", "type": "COMP_NODE"}}'.encode(), "x", "chakra")
    assert trace.known == ()
    assert [(one.place, one.why) for one in trace.unknown] == [(0, "no node type we know")]


def test_chakra_json_beside_nodes_is_unknown() -> None:
    graph = '{"workload_graph": [5, {"Id": 1, "Name": "x", "NodeType": 7, "comm_size": "64", "comm_type": "0"}]} [1]'
    trace = parse(graph.encode(), "x")
    assert facts(trace, "place", "operation", "size_bytes") == [(1, "allreduce", 64)]
    assert [one.why for one in trace.unknown] == ["no node", "after the graph"]
    attribute = '{"name": "comm_type", "int64Val": "9"}'
    nodes = f'{{"version": "1"}} {{"id": "3", "name": "b", "type": "COMM_COLL_NODE", "attr": [{attribute}]}} 7'
    trace = parse(nodes.encode(), "x", "chakra")
    assert facts(trace, "place", "operation", "size_bytes") == [(3, "barrier", 0)]
    assert [(one.place, one.why) for one in trace.unknown] == [(2, "no node")]


# --- PARAM --------------------------------------------------------------------------------------------


def test_param_elements_become_bytes_and_the_larger_side_is_the_size() -> None:
    trace = read("param.json")
    assert facts(trace, "place", "operation", "group", "group_size", "size_bytes") == [
        (1, "allreduce", "pg 0", 4, 4096),  # 1024 x 4
        (4, "all_gather", None, 4, 2048),  # 1024 x 2, what a rank has after it
        (5, "reduce_scatter", None, 4, 2048),  # 1024 x 2, before it
        (6, "all_to_all", None, 2, 480),  # 120 x 4
        (7, "gather", None, 4, 256),  # 8 x 8 of each of 4
        (8, "barrier", "pg 0", 4, 0),
        (10, "broadcast", None, None, None),
    ]
    first = communications(trace)[0]
    assert (first.stage, first.start_ns) == ("backward", 1000)
    assert communications(trace)[1].measured_s == pytest.approx(50e-6)
    assert [(r.place, r.name, r.compute_s) for r in trace.records if r.kind == "compute"] == [(3, "gemm", None)]
    assert unknown_places(trace) == [9, 10, 11]
    assert dict(trace.known) == {"group made": 1, "wait for an operation": 1}


def test_param_groups_and_stages_are_told_apart_by_their_whole_names() -> None:
    entry = {"comms": "barrier", "pg_id": "x" * 200 + "A", "markers": ["y" * 200 + "A"]}
    other = {"comms": "barrier", "pg_id": "x" * 200 + "B", "markers": ["y" * 200 + "B"]}
    nameless = {"comms": "barrier", "pg_id": [1]}
    trace = parse(json.dumps([entry, other, nameless]).encode(), "x")
    assert facts(trace, "group", "stage") == [
        (f"pg {one['pg_id']}", one["markers"][0]) for one in (entry, other)
    ] + [(None, None)]  # fmt: skip
    assert [(one.place, one.why) for one in trace.unknown] == [(2, "pg_id: no name of a group")]


# --- NCCL ---------------------------------------------------------------------------------------------


def test_nccl_counts_are_of_one_peer_where_the_call_has_them_so() -> None:
    trace = read("nccl.log")
    first, second, other = "node1:100 [0]", "node1:101 [1]", "comm 0xcc00 of node1:100 [0]"
    assert facts(trace, "place", "operation", "group", "group_size", "size_bytes", "rank") == [
        (5, "allreduce", "commId 0xc0ffee", 2, 4 << 20, first),
        (6, "allreduce", "commId 0xc0ffee", 2, 4 << 20, second),
        (8, "all_gather", "commId 0xc0ffee", 2, 2048, first),  # 512 x 2 B x 2 ranks
        (9, "reduce_scatter", "commId 0xc0ffee", 2, 1024, first),  # 256 x 2 B x 2 ranks
        (10, "send", other, 4, 80, first),
    ]
    assert unknown_places(trace) == [11, 12]
    assert dict(trace.known) == {"blank line": 1, "line of the program": 2, "message of NCCL that is no operation": 3}


def test_nccl_address_in_two_processes_is_two_groups() -> None:
    line = "{} [0] NCCL INFO AllReduce: opCount 0 sendbuff 0x1 recvbuff 0x2 count 4 datatype 7 op 0 root 0 comm 0x3 "
    text = line.format("h:1:2") + "[nranks=8] stream 0x4\n" + line.format("g:9:9") + "[nranks=2] stream 0x4\n"
    assert facts(parse(text.encode(), "x"), "group", "group_size") == [
        ("comm 0x3 of h:1 [0]", 8),
        ("comm 0x3 of g:9 [0]", 2),
    ]


@pytest.mark.parametrize("prefix", [b"[default0]:", b"[1,0]<stdout>:", b"[2024-01-01 10:00:00] ", b"{0} "])
def test_nccl_log_is_known_behind_what_launchers_put_in_front_of_its_lines(prefix: bytes) -> None:
    plain = (OURS / "nccl.log").read_bytes()
    prefixed = b"".join(prefix + line for line in plain.splitlines(keepends=True))
    assert recognised(prefixed, "job.log") == "nccl"
    assert [(one.operation, one.size_bytes) for one in parse(prefixed, "job.log").records] == [
        (one.operation, one.size_bytes) for one in parse(plain, "nccl.log").records
    ]


def test_nccl_log_may_hold_what_is_no_text() -> None:
    data = b"\xff\xfe progress\r 10%\n" * 3 + (OURS / "nccl.log").read_bytes() + b"x" * 200_000
    assert len(communications(parse(data, "x"))) == 5


# --- all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", trace_files("aicb", "simai", "nccl"), ids=file_id)
def test_every_line_is_a_record_known_or_unknown(path: Path) -> None:
    trace = load(path)
    lines = path.read_bytes().removesuffix(b"\n").count(b"\n") + 1
    in_records = {record.place for record in trace.records} | {one.place for one in trace.unknown}
    twice = 1 in in_records and dict(trace.known).get("header", 0) and trace.format == "simai"
    assert len(in_records) + sum(number for _what, number in trace.known) == lines + bool(twice)


@pytest.mark.parametrize("path", trace_files("chakra", "param"), ids=file_id)
def test_every_node_is_a_record_known_or_unknown(path: Path) -> None:
    trace = load(path)
    text = path.read_bytes()
    begin = rb"^  \{" if trace.format == "param" else rb'"Id":' if b"workload_graph" in text else rb"^\}?\{"
    nodes = 12 if path.suffix == ".et" else len(re.findall(begin, text, re.M))
    places = {record.place for record in trace.records} | {one.place for one in trace.unknown}
    assert len(places) + sum(number for _what, number in trace.known) == nodes


@pytest.mark.parametrize("format", ["aicb", "simai", "chakra", "param", "nccl"])
def test_an_explicit_format_is_taken_at_its_word(format: Format) -> None:
    other = OURS / ("param.json" if format != "param" else "nccl.log")
    with pytest.raises(TraceError):
        load(other, format)


def test_records_are_values() -> None:
    record = Record(place=1, kind="mark")
    with pytest.raises(AttributeError):
        record.place = 2  # type: ignore[misc]
