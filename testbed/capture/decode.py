"""A captured frame as one line of text: outer path, what GSE says, what is inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from testbed.capture import layers
from testbed.errors import printable


def lines(packets: Iterable[Any]) -> Iterator[str]:
    """Yield one line per packet (scapy's, as read from a file or a pipe), times counted from the first."""
    layers.load()
    first_s: float | None = None
    for packet in packets:
        now_s = float(packet.time)
        first_s = now_s if first_s is None else first_s
        yield f"{now_s - first_s:12.6f}  {describe(packet)}"


def describe(packet: Any) -> str:
    """Return a packet in words; a GSE frame with every number an engineer asks for. Raises nothing, whatever it is."""
    try:
        return printable(_described(packet))
    except Exception as error:  # scapy's decoders of what is inside raise whatever a stranger's bytes lead to
        return printable(f"malformed frame of {len(packet.original)} B: {type(error).__name__}: {error}")


def _described(packet: Any) -> str:
    if layers.GseData in packet:
        return _data(packet[layers.GseData])
    if layers.GseControl in packet:
        return _control(packet[layers.GseControl])
    return str(packet.summary())


def _gsp(address: int) -> str:
    """Return a GSP as ``l2`` (a leaf's) or ``l2.3`` (the host on its port 3)."""
    leaf, port = address >> 8, address & 0xFF
    return f"l{leaf}.{port}" if port else f"l{leaf}"


def _data(head: Any) -> str:
    flags = "".join([" first" if head.flags & 1 else "", " again" if head.flags & 2 else ""])
    rider = f", grants queue {head.grant_qid}: {head.grant}" if head.flags & 4 else ""
    return (
        f"DATA {_gsp(head.src)} > {_gsp(head.dst)} port {head.dst_port} path {head.path} queue {head.qid} "
        f"psn {head.psn} container {head.csn}.{head.pidx}{flags} {head.inner_bytes} B, sent {head.sent} of "
        f"{head.demand}{rider} | {head.payload.summary()}"
    )


def _control(head: Any) -> str:
    body = head.payload
    where = f"{layers.KINDS.get(head.kind, head.kind)} {_gsp(head.src)} > {_gsp(head.dst)}"
    if isinstance(body, layers.GseGrant):
        held = [entry for entry in body.entries if isinstance(entry, layers.GseGrantEntry)]
        if len(held) != head.qid:
            return f"{where} malformed: {len(held)} entries, {head.qid} promised"
        return where + "".join(f" queue {entry.qid}: {entry.grant}" for entry in body.entries)
    if isinstance(body, layers.GseRequest):
        return (
            f"{where} port {head.dst_port} class {head.tc} queue {head.qid}: demand {body.demand}, sent {body.sent}, "
            f"granted {body.granted}, oldest waits {body.head_age_us / 1e3:.1f} ms"
        )
    if isinstance(body, layers.GseFault):
        return f"{where} path {body.path} to l{body.leaf} {'works' if body.up else 'is dead'}"
    fields = ", ".join(f"{name} {value}" for name, value in body.fields.items())
    return f"{where} queue {head.qid}: {fields}" if head.kind in (3, 7) else f"{where} number {head.seq}: {fields}"
