"""Tells the format of a trace by what is in it, and reads it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from testbed.errors import Problem, TraceError
from testbed.traces import aicb, chakra, chakra_proto, nccl, param, simai
from testbed.traces.findings import shown
from testbed.traces.jsontext import begins_with_list, looks_like_json
from testbed.traces.lines import raw_lines
from testbed.traces.trace import FORMATS, Format, Trace

PARSERS: Final[Mapping[Format, Callable[[bytes, str], Trace]]] = {
    "aicb": aicb.parse,
    "simai": simai.parse,
    "chakra": chakra.parse,
    "param": param.parse,
    "nccl": nccl.parse,
}
GZIP: Final = b"\x1f\x8b"
HEAD_LINES: Final = 20  # within which an AICB file has its header


def parse(data: bytes, source: str, format: Format | None = None) -> Trace:
    """Read a trace, of ``format`` or of whichever it is. ``source`` is what messages call it. Raises TraceError."""
    return PARSERS[format or recognised(data, source)](data, source)


def recognised(data: bytes, source: str) -> Format:
    """Return the format of a trace. Raises TraceError when it is none of ours."""
    if data.startswith(GZIP):
        raise TraceError(Problem("is compressed", source, "gzip", "the trace itself: gunzip it first"))
    found = _format(data)
    if found is not None:
        return found
    got = f"a file that begins with {shown(data[:40].decode(errors='replace'))!r}" if data else "an empty file"
    raise TraceError(Problem("is no trace we know", source, got, f"one of {', '.join(FORMATS)}, or --format"))


def _format(data: bytes) -> Format | None:
    head = [raw.decode(errors="replace") for _number, raw in islice(raw_lines(data), HEAD_LINES)]
    if any(line.startswith(aicb.HEADER) for line in head):  # before JSON: "[rank0 ~ rank7]" may stand above
        return "aicb"
    if nccl.looks_like_nccl(data):  # before JSON, too: launchers put "[default0]:" or "[1,0]<stdout>:" in front
        return "nccl"
    if looks_like_json(data):
        return "param" if begins_with_list(data) else "chakra"
    if len(head) >= 2 and simai.looks_like_simai(head[0].split(), head[1]):
        return "simai"
    return "chakra" if chakra_proto.looks_like_chakra(data) else None
