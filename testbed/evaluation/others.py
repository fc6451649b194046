"""What was sent beside a user's program, and what of it hosts' links carried meanwhile. Pure.

Programs of the testbed note each message, flow and frame they send, iperf3 what arrived; how many frames that is
follows from the sizes. It is an estimate: of TCP the data and an acknowledgement for every second frame are counted,
not handshakes, frames sent again and what agents add; what a transfer moves it moves evenly from start to end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Window
from testbed.wire import frame_bytes, tcp_payload_bytes

REPLAYED = "replayed frames"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Something one host sent another; ``end_s`` is None where it had not arrived, ``size_bytes`` where unknown."""

    kind: str
    src_host: str
    dst_host: str
    start_s: float
    end_s: float | None
    size_bytes: float | None

    def share_in(self, window: Window) -> float:
        """Return which share of it the window has; what never arrived is taken to be sent until the window's end."""
        start_s, end_s = window
        own_end_s = end_s if self.end_s is None else self.end_s
        if own_end_s <= self.start_s:
            return float(start_s <= self.start_s <= end_s)
        return max(min(own_end_s, end_s) - max(self.start_s, start_s), 0.0) / (own_end_s - self.start_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """All of one kind in a run: how many, what they moved (None: not known of all), how many had not arrived."""

    kind: str
    count: int
    size_bytes: float | None
    missing: int


def transfers(run: RunRecord) -> tuple[Transfer, ...]:
    """Return everything that was sent beside ranks and programs, but for probes."""
    return (*_flows(run), *_replayed(run), *_messages(run), *_background(run))


def _flows(run: RunRecord) -> Iterator[Transfer]:
    names = {"poisson": "Poisson flows", "burst": "burst flows"}
    for row in run.tables.cross_flows:
        yield Transfer(
            kind=names.get(row.kind, row.kind),
            src_host=row.src_host,
            dst_host=row.dst_host,
            start_s=row.start_s,
            end_s=None if row.completion_s is None else row.start_s + row.completion_s,
            size_bytes=row.size_bytes,
        )


def _replayed(run: RunRecord) -> Iterator[Transfer]:
    for row in run.tables.replay:
        end_s = None if row.latency_s is None else row.sent_s + row.latency_s
        yield Transfer(
            kind=REPLAYED,
            src_host=row.src_host,
            dst_host=row.dst_host,
            start_s=row.sent_s,
            end_s=end_s,
            size_bytes=row.size_bytes,
        )


def _messages(run: RunRecord) -> Iterator[Transfer]:
    for row in run.tables.messages:
        yield Transfer(
            kind="small messages",
            src_host=row.src_host,
            dst_host=row.dst_host,
            start_s=row.sent_s,
            end_s=None if row.latency_s is None else row.sent_s + row.latency_s,
            size_bytes=row.size_bytes,
        )


def _background(run: RunRecord) -> Iterator[Transfer]:
    for event in run.events_named("background"):
        end_s, duration_s, size = float(event["t_s"]), event.get("duration_s"), event.get("received_bytes")
        yield Transfer(
            kind="background transfers",
            src_host=str(event["src_host"]),
            dst_host=str(event["dst_host"]),
            start_s=end_s - float(duration_s or 0.0),
            end_s=end_s,
            size_bytes=None if size is None or duration_s is None else float(size),
        )


def carried(found: Iterable[Transfer]) -> tuple[Carried, ...]:
    """Return what each kind moved, in order of their names."""
    kinds: dict[str, list[Transfer]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one)
    return tuple(
        Carried(
            kind=kind,
            count=len(own),
            size_bytes=None
            if any(one.size_bytes is None for one in own)
            else sum(one.size_bytes or 0.0 for one in own if one.end_s is not None),
            missing=sum(one.end_s is None for one in own),
        )
        for kind, own in sorted(kinds.items())
    )


def host_bytes(
    run: RunRecord, found: Iterable[Transfer], window: Window
) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return host -> bytes of frames it sent, and received, in the window; None where one of them is unknown."""
    sent: defaultdict[str, float] = defaultdict(float)
    received: defaultdict[str, float] = defaultdict(float)
    for one in found:
        if one.size_bytes is None:
            return None
        forth, back = _frames_bytes(run, one)
        share = one.share_in(window)
        for src, dst, moved in ((one.src_host, one.dst_host, forth), (one.dst_host, one.src_host, back)):
            sent[src] += moved * share
            received[dst] += moved * share
    return sent, received


def _frames_bytes(run: RunRecord, one: Transfer) -> tuple[float, float]:
    """Return the bytes of a transfer's frames, and of those that come back."""
    size = one.size_bytes or 0.0
    if one.kind == REPLAYED:
        return size, 0.0
    payload = tcp_payload_bytes(run.scenario.fabric.mtu_bytes)
    overhead = frame_bytes(run.scenario.fabric.mtu_bytes) - payload
    frames = ceil(size / payload)
    return size + frames * overhead, ceil(frames / 2) * overhead
