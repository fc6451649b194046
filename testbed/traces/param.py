"""PARAM's comms traces: a JSON list of what a rank communicates and computes. Pure.

Keys are those ``_parseBasicTrace`` reads in facebookresearch/param ``train/comms/pt/commsTraceParser.py``; the names of
operations are taken as ``paramToCommName`` in ``comms_utils.py`` takes them: by their letters.
``in_msg_size`` and ``out_msg_size`` are elements of ``dtype``: ``initTraceStat`` in ``commsTraceReplay.py`` multiplies
them by its size (``dtypeMap``). nccl-tests' size is the larger of the two: what a rank has before, or after.

Not kept: ``in_split``, ``out_split`` (how uneven an all-to-all is), ``req``, ``root``, who sends messages to whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from testbed.collectives.operation import Operation
from testbed.errors import Problem, TraceError
from testbed.traces.findings import MAX_NS, MAX_RANKS, Findings, group_name, shown
from testbed.traces.jsontext import values
from testbed.traces.trace import Record, Trace

OPERATIONS: Final[Mapping[str, Operation]] = {
    "allreduce": "allreduce",
    "reducescatter": "reduce_scatter",
    "reducescatterv": "reduce_scatter",
    "reducescatterbase": "reduce_scatter",
    "allgather": "all_gather",
    "allgatherv": "all_gather",
    "allgatherbase": "all_gather",
    "broadcast": "broadcast",
    "alltoall": "all_to_all",
    "alltoallv": "all_to_all",
    "alltoallbase": "all_to_all",
    "reduce": "reduce",
    "gather": "gather",
    "scatter": "scatter",
    "send": "send",
    "isend": "send",
    "recv": "recv",
    "irecv": "recv",
    "recvanysource": "recv",
    "barrier": "barrier",
}
KNOWN: Final = {"wait": "wait for an operation", "init": "group made", "batchisendirecv": "batch of messages started"}
PER_PEER: Final = {"gather": "in_msg_size", "scatter": "out_msg_size"}  # the other one is the root's alone
ELEMENT_BYTES: Final = {
    "float": 4,
    "float32": 4,
    "float16": 2,
    "half": 2,
    "bfloat16": 2,
    "float64": 8,
    "double": 8,
    "int32": 4,
    "int": 4,
    "long": 8,
    "int64": 8,
    "short": 2,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "byte": 1,
    "char": 1,
    "signed char": 1,
    "unsigned char": 1,
    "bool": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}


def parse(data: bytes, source: str) -> Trace:
    """Read a PARAM comms trace. Raises TraceError."""
    found = list(values(data, source))
    if len(found) != 1 or not isinstance(found[0], list):
        got = f"{len(found)} JSON values" if len(found) != 1 else type(found[0]).__name__
        raise TraceError(Problem("is no comms trace", source, got, "one list of entries with comms or compute"))
    findings = Findings(source, "param", "entry")
    sizes: dict[str, int] = {}
    for place, entry in enumerate(found[0]):
        if not isinstance(entry, dict):
            findings.unknown(place, entry, "no object")
        elif isinstance(entry.get("comms"), str):
            _comms(place, entry, sizes, findings)
        elif isinstance(entry.get("compute"), str):
            _compute(place, entry, findings)
        else:
            findings.unknown(place, entry, "neither comms nor compute")
    return findings.trace(group_sizes=sizes)


def _comms(place: int, entry: dict[str, Any], sizes: dict[str, int], findings: Findings) -> None:
    letters = "".join(character for character in entry["comms"].lower() if character.isalpha())
    group = group_name(entry.get("pg_id"))
    if group is None and entry.get("pg_id") is not None:
        findings.unknown(place, entry, "pg_id: no name of a group")
    group_size = _optional(place, entry, "world_size", findings, most=MAX_RANKS)
    if letters in KNOWN:
        findings.known(KNOWN[letters])
        if letters == "init" and group and group_size:
            sizes[group] = group_size
        return
    if letters not in OPERATIONS:
        findings.unknown(place, entry, "no operation we know")
        return
    if group_size is None and group is not None:
        group_size = sizes.get(group)
    operation = OPERATIONS[letters]
    findings.record(
        Record(
            place=place,
            kind="communicate",
            operation=operation,
            group=group,
            group_size=group_size,
            size_bytes=_size_bytes(place, entry, operation, group_size, findings),
            stage=_stage(entry),
            measured_s=_latency(place, entry, findings),
            start_ns=_optional(place, entry, "startTime_ns", findings, most=MAX_NS),
        )
    )


def _compute(place: int, entry: dict[str, Any], findings: Findings) -> None:
    """A kernel and its dimensions: how long it takes only a trace of a replay says."""
    seconds = _latency(place, entry, findings)
    findings.record(
        Record(place=place, kind="compute", stage=_stage(entry), name=entry["compute"][:80], compute_s=seconds)
    )


def _size_bytes(
    place: int, entry: dict[str, Any], operation: Operation, group_size: int | None, findings: Findings
) -> int | None:
    if operation == "barrier":
        return 0
    kind = entry.get("dtype")
    element_bytes = ELEMENT_BYTES.get(kind.lower()) if isinstance(kind, str) else None
    if element_bytes is None:
        findings.unknown(place, entry, f"dtype {shown(kind)[:40]}: its size is not known")
        return None
    names = (PER_PEER[operation],) if operation in PER_PEER else ("in_msg_size", "out_msg_size")
    elements = [findings.count(place, name, entry.get(name)) for name in names]
    sizes = [number * element_bytes for number in elements if number is not None]
    if len(sizes) < len(names):
        return None
    if operation not in PER_PEER:
        return max(sizes)
    if group_size is None:
        findings.unknown(place, entry, f"{operation} without world_size: its size is not known")
        return None
    return sizes[0] * group_size


def _stage(entry: dict[str, Any]) -> str | None:
    """Return the innermost of the markers an entry stands below."""
    markers = entry.get("markers", entry.get("marker_stack"))
    last = markers[-1] if isinstance(markers, list) and markers else markers
    return last if isinstance(last, str) else None


def _latency(place: int, entry: dict[str, Any], findings: Findings) -> float | None:
    value = entry.get("latency_us")
    return None if value is None else findings.seconds(place, "latency_us", value, per_second=1e6)


def _optional(place: int, entry: dict[str, Any], name: str, findings: Findings, *, most: int) -> int | None:
    return None if entry.get(name) is None else findings.count(place, name, entry[name], most=most)
