"""Chakra execution traces, one file per rank: protobuf, its JSON, or the older ``workload_graph``. Pure."""

from __future__ import annotations

from testbed.traces import chakra_json, chakra_proto
from testbed.traces.jsontext import looks_like_json
from testbed.traces.trace import Trace


def parse(data: bytes, source: str) -> Trace:
    """Read an execution trace in whichever way it is written. Raises TraceError."""
    return chakra_json.parse(data, source) if looks_like_json(data) else chakra_proto.parse(data, source)
