"""NCCL's debug log (``NCCL_DEBUG=INFO``, ``NCCL_DEBUG_SUBSYS=COLL``; RCCL's too): a line per call of each rank. Pure.

The line is printed by ``ncclEnqueueCheck`` in NVIDIA/nccl ``src/enqueue.cc``. ``count`` is the argument of the call, in
elements of ``datatype`` (``ncclDataType_t`` in ``src/nccl.h.in``): for AllGather, Gather and AlltoAll what a rank has
for, or of, one peer, for ReduceScatter and Scatter what is left to one. nccl-tests' size of these is ``nranks`` times
that (what ``src/nccl.h.in`` says of each call).

A log may hold several ranks, each with a line of its own for the same operation: ``rank`` tells them apart by host,
process and device. Communicators are addresses within a process; where the log says their identity, groups are
called by that, else by the address and the rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from testbed.collectives.operation import Operation
from testbed.traces.findings import MAX_RANKS, Findings
from testbed.traces.lines import MAX_LINE_BYTES, decoded, raw_lines
from testbed.traces.trace import Record, Trace

OPERATIONS: Final[Mapping[str, Operation]] = {
    "AllReduce": "allreduce",
    "ReduceScatter": "reduce_scatter",
    "AllGather": "all_gather",
    "Broadcast": "broadcast",
    "AlltoAll": "all_to_all",
    "AllToAll": "all_to_all",
    "Reduce": "reduce",
    "Gather": "gather",
    "Scatter": "scatter",
    "Send": "send",
    "Recv": "recv",
}
PER_PEER: Final = ("reduce_scatter", "all_gather", "all_to_all", "gather", "scatter")
ELEMENT_BYTES: Final = (1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1)  # by ncclDataType_t

_MARK = b"opCount"  # what only lines of operations have
_CALL = re.compile(
    r"(?P<name>\w{1,40}): opCount \w+ sendbuff \S+ recvbuff \S+ count (?P<count>-?\d+) datatype (?P<type>-?\d+) "
    r"op -?\d+ root -?\d+ comm (?P<comm>\S+) \[nranks=(?P<ranks>-?\d+)\]"
)
# What may be long in them is bounded: a hostile line would be searched for ever.
_RANK = re.compile(r"([\w.-]{1,80}:\d{1,10}):\d{1,10} \[(\d{1,6})\] ")
_MADE = re.compile(r"comm (\S{1,40}) rank \d{1,9} n[rR]anks \d{1,9} .{0,200}?commId (0x[0-9a-fA-F]{1,16})")
_PREFIX_CHARACTERS = 300

Comms = dict[tuple[str | None, str], str]  # rank and address -> identity


def parse(data: bytes, source: str) -> Trace:
    """Read a log. Raises TraceError."""
    findings = Findings(source, "nccl", "line")
    comms: Comms = {}
    for place, raw in raw_lines(data):
        if _MARK in raw:
            line = decoded(place, raw, findings)
            if line is not None:
                _calls(place, line, comms, findings)
        elif b"NCCL" in raw and len(raw) <= MAX_LINE_BYTES:
            findings.known("message of NCCL that is no operation")
            _note_comm(raw.decode(errors="replace"), comms)
        else:  # programs write what they like, in whatever encoding
            findings.known("line of the program" if raw.strip() else "blank line")
    return findings.trace()


def looks_like_nccl(data: bytes) -> bool:
    """Whether there is a line of an operation."""
    return _MARK in data and b" sendbuff " in data


def _calls(place: int, line: str, comms: Comms, findings: Findings) -> None:
    """Add the operations of a line: several where processes wrote at the same time."""
    matches = list(_CALL.finditer(line))
    if len(matches) < line.count(_MARK.decode()):
        findings.unknown(place, line, "an operation that cannot be read")
    begin = 0
    for match in matches:
        rank = _rank(line[begin : match.start()])
        begin = match.end()
        if match["name"] not in OPERATIONS:
            findings.unknown(place, match[0], "no operation we know")
            continue
        operation = OPERATIONS[match["name"]]
        group_size = findings.count(place, "nranks", match["ranks"], most=MAX_RANKS)
        address = match["comm"]
        unnamed = f"comm {address}" if rank is None else f"comm {address} of {rank}"
        findings.record(
            Record(
                place=place,
                kind="communicate",
                operation=operation,
                group=comms.get((rank, address), unnamed),
                group_size=group_size,
                size_bytes=_size_bytes(place, match, operation, group_size, findings),
                rank=rank,
            )
        )


def _size_bytes(
    place: int, match: re.Match[str], operation: Operation, group_size: int | None, findings: Findings
) -> int | None:
    elements = findings.count(place, "count", match["count"])
    kind = findings.count(place, "datatype", match["type"], most=len(ELEMENT_BYTES) - 1)
    if elements is None or kind is None or group_size is None:
        return None
    return elements * ELEMENT_BYTES[kind] * (group_size if operation in PER_PEER else 1)


def _rank(before: str) -> str | None:
    """Return who wrote an operation: the last to have begun a line before it."""
    found = _RANK.findall(before[-_PREFIX_CHARACTERS:])
    return "{} [{}]".format(*found[-1]) if found else None


def _note_comm(line: str, comms: Comms) -> None:
    match = _MADE.search(line)
    if match and len(comms) < MAX_RANKS // 10:
        comms[_rank(line[: match.start()]), match[1]] = f"commId {match[2]}"
